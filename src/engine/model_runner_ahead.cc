// The part of ModelRunner that begins a step before the engine has planned it.
//
// A step begun ahead continues the one before: the same items but those that end for certain, each
// with the token that is being sampled. take_sampled() puts those tokens where the step reads them,
// so the device goes on while the host accounts for the step before and plans this one.
#include <algorithm>

#include "base/check.h"
#include "engine/model_runner.h"
#include "model/activations.h"

namespace galley::engine {

using kernels::kBlockTokens;
using kernels::SampleResult;

void ModelRunner::forget(RequestId id) {
  penalties_.erase(id);
  for (Ahead& row : ahead_) row.is_over = row.is_over || row.id == id;
}

// Whether the rules of every item are known before its token is, and there is room for one more.
bool ModelRunner::may_begin_ahead(std::span<const StepItem> plan) const {
  if (options_.info.lookahead_tokens == 0) return false;
  return std::all_of(plan.begin(), plan.end(), [&](const StepItem& item) {
    const size_t known = item.known.size();
    return item.samples && item.token_count == 1 && item.drafts.empty() &&
           item.constraint == nullptr && !has_penalties(*item.sampling) &&
           (is_last(item) || (known < item.blocks.size() * kBlockTokens &&
                              known < static_cast<size_t>(options_.info.context_max)));
  });
}

// The token that is being sampled is the request's last, whatever it is.
bool ModelRunner::is_last(const StepItem& item) {
  return static_cast<int32_t>(item.known.size()) + 1 - item.prompt_len >= item.sampling->max_tokens;
}

// Begins the step after `plan`, whose own sample is the newest begun. Fills ahead_.
void ModelRunner::begin_ahead(std::span<const StepItem> plan) {
  next_ahead_.clear();
  parts_.clear();
  ids_.clear();
  rows_.clear();
  sample_rows_.clear();
  for (size_t i = 0; i < plan.size(); ++i) {
    const StepItem& item = plan[i];
    if (is_last(item)) continue;
    const auto position = static_cast<int32_t>(item.known.size());
    next_ahead_.push_back(
        {.id = item.id,
         .position = position,
         .previous = items_[i].ahead >= 0 ? items_[i].ahead : items_[i].first_sample,
         .block = item.blocks[static_cast<size_t>(position / kBlockTokens)],
         .sampling = item.sampling});
    parts_.push_back({.blocks = item.blocks, .begin = position, .count = 1});
    ids_.push_back(0);  // replaced on the device
    rows_.push_back(next_ahead_.back().previous);
    sample_rows_.push_back(sample_row(item, 1, {}));
  }
  ahead_.swap(next_ahead_);
  num_begun_ahead_ += static_cast<int64_t>(ahead_.size());
  if (ahead_.empty()) return;
  const auto size = std::lower_bound(padded_sizes_.begin(), padded_sizes_.end(),
                                     static_cast<int32_t>(ahead_.size()));
  GALLEY_CHECK(size != padded_sizes_.end(), "no more rows than the step before");
  run_ahead({.sequences = *size, .queries = 1});
  ops_->begin_sample(model::first_rows(logits_, static_cast<int64_t>(ahead_.size())), sample_rows_);
}

// The answer to an item of the plan, in ahead_; -1: it was not begun like that. Both are in the
// same order.
int32_t ModelRunner::find_ahead(const StepItem& item, size_t* from) const {
  for (size_t i = *from; i < ahead_.size(); ++i) {
    const Ahead& row = ahead_[i];
    if (row.id != item.id || row.is_over) continue;
    *from = i + 1;
    const bool is_same = item.samples && item.token_count == 1 && item.drafts.empty() &&
                         item.constraint == nullptr && item.token_begin == row.position &&
                         item.known.back() == row.token && item.sampling == row.sampling &&
                         item.blocks[static_cast<size_t>(row.position / kBlockTokens)] == row.block;
    return is_same ? static_cast<int32_t>(i) : -1;
  }
  return -1;
}

// Waits for the step that was begun; its rows, none if there is none.
std::span<SampleResult> ModelRunner::finish_ahead() {
  const auto results = std::span(ahead_samples_).first(ahead_.size());
  if (!results.empty()) ops_->finish_sample(results);
  ahead_.clear();
  return results;
}

// Every item was begun: the next step begins before this one's tokens are waited for.
void ModelRunner::answer_ahead(std::span<const StepItem> plan) {
  const auto results = std::span(ahead_samples_).first(ahead_.size());
  if (!may_begin_ahead(plan)) {
    static_cast<void>(finish_ahead());
    return;
  }
  begin_ahead(plan);
  ops_->finish_sample(results);
  for (Ahead& row : ahead_) row.token = results[static_cast<size_t>(row.previous)].token;
}

}  // namespace galley::engine
