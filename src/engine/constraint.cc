#include "engine/constraint.h"

#include <time.h>

#include <algorithm>
#include <string>

#include "base/check.h"

namespace galley::engine {
namespace {

// A mask may be slow once; on average it may not, or others would wait for it at every step.
constexpr int64_t kMaskUs = 20'000;
constexpr int64_t kBurstUs = 500'000;

int64_t thread_us() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
}

}  // namespace

Constraint::Constraint(std::shared_ptr<const text::CompiledGrammar> grammar,
                       const ThinkingLimit& thinking, int32_t rows_max, int32_t output_max)
    : matcher_(grammar),
      grammar_(std::move(grammar)),
      think_begin_(thinking.begin),
      think_end_(thinking.end),
      rows_(static_cast<size_t>(rows_max)) {
  place_.in_thought = thinking.open_at_start && thinking.end >= 0;
  place_.at_start =
      !place_.in_thought && thinking.may_open && thinking.begin >= 0 && thinking.end >= 0;
  // Steps take them out; only a sequence that is not planned for long would collect them.
  pending_.reserve(static_cast<size_t>(std::min(output_max, 256)));
  for (Row& row : rows_) row.mask.resize(grammar_->vocabulary().mask_words());
}

Constraint::Step Constraint::step(Place* place, int32_t token, bool forced) {
  if (place->in_thought) {
    if (token == think_end_) place->in_thought = false;
    return Step::kFree;
  }
  const bool at_start = place->at_start;
  place->at_start = false;
  if (at_start && token == think_begin_) {
    place->in_thought = true;
    return Step::kFree;
  }
  if (forced) {
    if (token == think_begin_) place->in_thought = true;
    return Step::kFree;
  }
  return matcher_.accept(token) ? Step::kAccepted : Step::kForbidden;
}

Status Constraint::catch_up() {
  for (const Pushed& pushed : pending_) {
    if (step(&place_, pushed.token, pushed.forced) == Step::kForbidden)
      return Status(Code::kInvalid,
                    "the grammar cannot go on after token " + std::to_string(pushed.token));
  }
  pending_.clear();
  return Status();
}

Status Constraint::make_row(const Place& place, Row* row) {
  row->open = place.in_thought || matcher_.ended();
  row->ends = false;
  if (row->open) return Status();
  GALLEY_RETURN_IF_ERROR(matcher_.fill(row->mask));
  const auto bit = [&](int32_t token) -> uint32_t& {
    return row->mask[static_cast<size_t>(token) / 32];
  };
  const std::span<const int32_t> ends = grammar_->vocabulary().end_tokens();
  // Only a complete text may end, so only then can ending be all that is left.
  if (matcher_.complete()) {
    uint32_t others = 0;
    for (const uint32_t word : row->mask) others += static_cast<uint32_t>(__builtin_popcount(word));
    for (const int32_t token : ends) others -= (bit(token) >> (token % 32)) & 1u;
    row->ends = others == 0;
  }
  if (place.at_start) bit(think_begin_) |= 1u << (think_begin_ % 32);
  return Status();
}

Status Constraint::fill(std::span<const int32_t> tokens, int32_t first_row) {
  GALLEY_CHECK(tokens.size() < rows_.size(), "a row for each token and one more");
  const int64_t begin_us = thread_us();
  for (Row& row : rows_) row.open = true;
  GALLEY_RETURN_IF_ERROR(catch_up());
  Place place = place_;
  int32_t num_accepted = 0;
  Status status;
  for (size_t i = 0; i <= tokens.size(); ++i) {
    if (static_cast<int32_t>(i) >= first_row) {
      status = make_row(place, &rows_[i]);
      num_masks_ += 1;
      if (!status.ok()) return status;
    }
    if (i == tokens.size()) break;
    const Step done = step(&place, tokens[i], false);
    if (done == Step::kForbidden) break;
    if (done == Step::kAccepted) num_accepted += 1;
  }
  matcher_.rollback(num_accepted);
  spent_us_ += thread_us() - begin_us;
  if (spent_us_ > kBurstUs + kMaskUs * num_masks_)
    return Status(Code::kTooLarge,
                  "the grammar needs " +
                      std::to_string(spent_us_ / std::max<int64_t>(num_masks_, 1)) +
                      " us for each token, at most " + std::to_string(kMaskUs) +
                      " are allowed: make it simpler");
  return status;
}

}  // namespace galley::engine
