#include "engine/step_arrays.h"

#include <algorithm>

#include "base/check.h"

namespace galley::engine {
namespace {

using kernels::kBlockTokens;

// Tokens and sequences of every array; layout_of() has the list.
size_t ints_max(const StepArrays::Limits& limits) {
  const auto tokens = static_cast<size_t>(limits.tokens_max);
  const auto sequences = static_cast<size_t>(limits.sequences_max);
  return 4 * tokens + 3 * sequences + 1 + sequences * static_cast<size_t>(limits.blocks_max);
}

int32_t num_blocks(const SequencePart& part) {
  return (part.begin + part.count + kBlockTokens - 1) / kBlockTokens;
}

int32_t blocks_of_longest(std::span<const SequencePart> parts) {
  int32_t blocks = 1;
  for (const SequencePart& part : parts) blocks = std::max(blocks, num_blocks(part));
  return blocks;
}

}  // namespace

int64_t StepArrays::size_bytes(const Limits& limits) {
  return static_cast<int64_t>(ints_max(limits) * sizeof(int32_t));
}

StepArrays::StepArrays(const Limits& limits, kernels::Ops* ops)
    : limits_(limits), ops_(ops), host_(ints_max(limits)) {
  device_ = static_cast<int32_t*>(ops->allocate(host_.size() * sizeof(int32_t)));
}

StepArrays::Layout StepArrays::layout_of(int32_t tokens, int32_t sequences) {
  Layout at;
  at.ids = host_.data();
  at.query_begin = at.ids + tokens;                 // [S + 1]
  at.context_len = at.query_begin + sequences + 1;  // [S]
  at.positions = at.context_len + sequences;        // [T]
  at.slots = at.positions + tokens;                 // [T]
  at.rows = at.slots + tokens;                      // [T]
  at.picked = at.rows + tokens;                     // [S]
  at.table = at.picked + sequences;                 // [S, table_ld]
  return at;
}

model::Step StepArrays::fill(const Layout& at, std::span<const SequencePart> parts,
                             int32_t table_ld) {
  model::Step step{.ids = {}, .batch = &batch_};
  batch_ = {};
  int32_t t = 0;
  for (size_t s = 0; s < parts.size(); ++s) {
    const SequencePart& part = parts[s];
    const int32_t end = part.begin + part.count;
    GALLEY_CHECK(part.begin >= 0 && part.count >= 1 && t + part.count <= limits_.tokens_max,
                 "a part has tokens");
    GALLEY_CHECK(num_blocks(part) <= static_cast<int32_t>(part.blocks.size()),
                 "the blocks hold every position");
    at.query_begin[s] = t;
    at.context_len[s] = end;
    int32_t* const row = at.table + s * static_cast<size_t>(table_ld);
    std::copy_n(part.blocks.data(), num_blocks(part), row);
    std::fill(row + num_blocks(part), row + table_ld, 0);  // never read
    for (int32_t position = part.begin; position < end; ++position, ++t) {
      at.positions[t] = position;
      at.slots[t] = row[position / kBlockTokens] * kBlockTokens + position % kBlockTokens;
    }
    batch_.query_len_max = std::max(batch_.query_len_max, part.count);
    batch_.context_len_max = std::max(batch_.context_len_max, end);
    step.context_sum += end;
    step.pair_sum += int64_t{part.count} * (part.begin + 1 + end) / 2;
  }
  at.query_begin[parts.size()] = t;
  return step;
}

// Points batch_ and the spans at the device's copies.
void StepArrays::send(const Layout& at, int32_t tokens, int32_t sequences) {
  ops_->upload(device_, host_.data(),
               static_cast<size_t>(at.table - host_.data()) * sizeof(int32_t));
  const auto on_device = [&](const int32_t* p) { return device_ + (p - host_.data()); };
  batch_.num_tokens = tokens;
  batch_.num_sequences = sequences;
  batch_.query_begin = on_device(at.query_begin);
  batch_.context_len = on_device(at.context_len);
  batch_.positions = on_device(at.positions);
  batch_.slots = on_device(at.slots);
  batch_.block_table = on_device(at.table);
  rows_ = {on_device(at.rows), static_cast<size_t>(tokens)};
  picked_ = {on_device(at.picked), static_cast<size_t>(sequences)};
}

model::Step StepArrays::build(std::span<const SequencePart> parts, std::span<const int32_t> ids) {
  const auto sequences = static_cast<int32_t>(parts.size());
  const auto tokens = static_cast<int32_t>(ids.size());
  GALLEY_CHECK(sequences <= limits_.sequences_max && tokens <= limits_.tokens_max,
               "the step is within its limits");
  const int32_t table_ld = blocks_of_longest(parts);
  GALLEY_CHECK(table_ld <= limits_.blocks_max, "a sequence is within the context");
  const Layout at = layout_of(tokens, sequences);
  model::Step step = fill(at, parts, table_ld);
  GALLEY_CHECK(at.query_begin[sequences] == tokens, "one id for each position");
  std::ranges::copy(ids, at.ids);
  std::fill(at.rows, at.table, 0);
  send(at, tokens, sequences);
  batch_.block_table_ld = table_ld;
  ops_->upload(const_cast<int32_t*>(batch_.block_table), at.table,
               static_cast<size_t>(sequences) * static_cast<size_t>(table_ld) * sizeof(int32_t));
  step.ids = {device_, ids.size()};
  return step;
}

model::Step StepArrays::build(std::span<const SequencePart> parts, std::span<const int32_t> ids,
                              const StepShape& shape, std::span<const int32_t> rows,
                              std::span<const int32_t> picked) {
  const int32_t tokens = shape.tokens(), sequences = shape.sequences;
  GALLEY_CHECK(limits_.padding_block >= 0 && sequences <= limits_.sequences_max &&
                   tokens <= limits_.tokens_max && static_cast<int32_t>(parts.size()) <= sequences,
               "the padded step is within the limits");
  GALLEY_CHECK(static_cast<int32_t>(rows.size()) <= tokens &&
                   static_cast<int32_t>(picked.size()) <= sequences,
               "rows are padded too");
  // The host's rows of blocks are as long as this step needs; the device's always the longest.
  const int32_t table_ld = blocks_of_longest(parts);
  GALLEY_CHECK(table_ld <= limits_.blocks_max, "a sequence is within the context");
  const Layout at = layout_of(tokens, sequences);
  model::Step step = fill(at, parts, table_ld);
  const auto used = static_cast<int32_t>(ids.size());
  GALLEY_CHECK(at.query_begin[parts.size()] == used && used <= tokens, "one id for each position");
  GALLEY_CHECK(batch_.query_len_max <= shape.queries, "no sequence has more queries");
  std::fill(std::ranges::copy(ids, at.ids).out, at.ids + tokens, 0);
  std::fill(at.query_begin + parts.size(), at.query_begin + sequences + 1, used);
  std::fill(at.context_len + parts.size(), at.context_len + sequences, 0);
  std::fill(at.positions + used, at.positions + tokens, 0);
  for (int32_t t = used; t < tokens; ++t)
    at.slots[t] = limits_.padding_block * kBlockTokens + t % kBlockTokens;
  std::fill(std::ranges::copy(rows, at.rows).out, at.rows + tokens, 0);
  std::fill(std::ranges::copy(picked, at.picked).out, at.picked + sequences, 0);
  std::fill(at.table + parts.size() * static_cast<size_t>(table_ld),
            at.table + static_cast<size_t>(sequences) * static_cast<size_t>(table_ld),
            limits_.padding_block);
  send(at, tokens, sequences);
  batch_.block_table_ld = limits_.blocks_max;
  ops_->upload_rows(const_cast<int32_t*>(batch_.block_table),
                    static_cast<size_t>(limits_.blocks_max) * sizeof(int32_t), at.table,
                    static_cast<size_t>(table_ld) * sizeof(int32_t),
                    static_cast<size_t>(sequences));
  // What decides about grids and forms is the shape's, not the step's.
  batch_.query_len_max = shape.queries;
  batch_.context_len_max = limits_.blocks_max * kBlockTokens;
  step.context_sum = int64_t{sequences} * batch_.context_len_max;
  step.pair_sum = int64_t{tokens} * batch_.context_len_max;
  step.ids = {device_, static_cast<size_t>(tokens)};
  return step;
}

}  // namespace galley::engine
