#include "engine/step_arrays.h"

#include <algorithm>

#include "base/check.h"

namespace galley::engine {
namespace {

using kernels::kBlockTokens;

size_t ints_max(const StepArrays::Limits& limits) {
  const auto tokens = static_cast<size_t>(limits.tokens_max);
  const auto sequences = static_cast<size_t>(limits.sequences_max);
  return 2 * tokens + 2 * sequences + 1 + sequences * static_cast<size_t>(limits.blocks_max);
}

int32_t num_blocks(const SequencePart& part) {
  return (part.begin + part.count + kBlockTokens - 1) / kBlockTokens;
}

}  // namespace

int64_t StepArrays::size_bytes(const Limits& limits) {
  return static_cast<int64_t>(ints_max(limits) * sizeof(int32_t));
}

StepArrays::StepArrays(const Limits& limits, kernels::Ops* ops)
    : limits_(limits), ops_(ops), host_(ints_max(limits)) {
  device_ = static_cast<int32_t*>(ops->allocate(host_.size() * sizeof(int32_t)));
}

model::Step StepArrays::build(std::span<const SequencePart> parts, std::span<const int32_t> ids) {
  const auto sequences = static_cast<int32_t>(parts.size());
  const auto tokens = static_cast<int32_t>(ids.size());
  GALLEY_CHECK(sequences <= limits_.sequences_max && tokens <= limits_.tokens_max,
               "the step is within its limits");
  int32_t table_ld = 0;
  for (const SequencePart& part : parts) table_ld = std::max(table_ld, num_blocks(part));
  GALLEY_CHECK(table_ld <= limits_.blocks_max, "a sequence is within the context");

  // query_begin [S + 1], context_len [S], positions [T], slots [T], block_table [S, table_ld]
  int32_t* const query_begin = host_.data();
  int32_t* const context_len = query_begin + sequences + 1;
  int32_t* const positions = context_len + sequences;
  int32_t* const slots = positions + tokens;
  int32_t* const table = slots + tokens;
  model::Step step{.ids = ids, .batch = &batch_};
  batch_ = {.num_tokens = tokens, .num_sequences = sequences, .block_table_ld = table_ld};
  int32_t t = 0;
  for (int32_t s = 0; s < sequences; ++s) {
    const SequencePart& part = parts[static_cast<size_t>(s)];
    const int32_t end = part.begin + part.count;
    GALLEY_CHECK(part.begin >= 0 && part.count >= 1 && t + part.count <= tokens,
                 "a part has tokens");
    GALLEY_CHECK(num_blocks(part) <= static_cast<int32_t>(part.blocks.size()),
                 "the blocks hold every position");
    query_begin[s] = t;
    context_len[s] = end;
    int32_t* const row = table + int64_t{s} * table_ld;
    std::copy_n(part.blocks.data(), num_blocks(part), row);
    std::fill(row + num_blocks(part), row + table_ld, 0);  // never read
    for (int32_t position = part.begin; position < end; ++position, ++t) {
      positions[t] = position;
      slots[t] = row[position / kBlockTokens] * kBlockTokens + position % kBlockTokens;
    }
    batch_.query_len_max = std::max(batch_.query_len_max, part.count);
    batch_.context_len_max = std::max(batch_.context_len_max, end);
    step.context_sum += end;
    step.pair_sum += int64_t{part.count} * (part.begin + 1 + end) / 2;
  }
  GALLEY_CHECK(t == tokens, "one id for each position");
  query_begin[sequences] = t;

  const auto used = static_cast<size_t>(table - host_.data()) +
                    static_cast<size_t>(sequences) * static_cast<size_t>(table_ld);
  ops_->upload(device_, host_.data(), used * sizeof(int32_t));
  const auto on_device = [&](const int32_t* at) { return device_ + (at - host_.data()); };
  batch_.query_begin = on_device(query_begin);
  batch_.context_len = on_device(context_len);
  batch_.positions = on_device(positions);
  batch_.slots = on_device(slots);
  batch_.block_table = on_device(table);
  return step;
}

}  // namespace galley::engine
