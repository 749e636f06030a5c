#include "engine/model_runner.h"

#include <algorithm>
#include <chrono>

#include "base/check.h"
#include "model/activations.h"
#include "model/memory_plan.h"

namespace galley::engine {
namespace {

using kernels::kBlockTokens;
using kernels::SampleResult;
using kernels::SampleRow;
using model::first_rows;

constexpr int64_t kRecordingMsMax = 15'000;

StepArrays::Limits array_limits(const RunnerInfo& info, bool pads) {
  const int32_t positions = info.context_max + info.drafts_max;
  return {.tokens_max = info.step_tokens_max,
          .sequences_max = info.step_requests_max,
          .blocks_max = (positions + kBlockTokens - 1) / kBlockTokens,
          .padding_block = pads ? info.num_blocks : -1};
}

int32_t size_of_span(std::span<const int32_t> span) {
  return static_cast<int32_t>(span.size());
}

}  // namespace

std::vector<int32_t> padded_sizes(const RunnerInfo& info, int32_t rows_max) {
  const int32_t queries = 1 + info.drafts_max;
  const int32_t max =
      std::min(info.step_requests_max, std::min(rows_max, info.step_tokens_max) / queries);
  std::vector<int32_t> sizes;
  for (int32_t size = 1; size < max;) {
    sizes.push_back(size);
    int32_t step = size < 8 ? size : 8;
    while (step * 8 <= size) step *= 2;
    size += step;
  }
  if (max > 0) sizes.push_back(max);
  return sizes;
}

ModelRunner::ModelRunner(const ModelRunnerOptions& options, std::unique_ptr<model::Model> model,
                         kernels::Ops* ops)
    : options_(options),
      model_(std::move(model)),
      ops_(ops),
      padded_sizes_(ops->records() || options.pads_steps
                        ? padded_sizes(options.info, options.sample_rows_max)
                        : std::vector<int32_t>()),
      arrays_(array_limits(options.info, !padded_sizes_.empty()), ops),
      masks_(static_cast<size_t>(options.info.step_requests_max)) {
  const auto tokens = static_cast<size_t>(options.info.step_tokens_max);
  const auto requests = static_cast<size_t>(options.info.step_requests_max);
  items_.reserve(requests);
  parts_.reserve(requests);
  ids_.reserve(tokens);
  rows_.reserve(tokens);
  picked_.reserve(requests);
  sample_rows_.reserve(tokens);
  samples_.resize(tokens);
  scores_.resize(tokens);
  draft_samples_.resize(requests);
  ahead_.reserve(requests);
  next_ahead_.reserve(requests);
  ahead_samples_.resize(requests);
  after_.resize(requests * 2 * (static_cast<size_t>(options.info.drafts_max) + 1));
  results_.reserve(requests);
}

Result<std::unique_ptr<ModelRunner>> ModelRunner::make(const ModelRunnerOptions& options,
                                                       std::unique_ptr<model::Model> model,
                                                       kernels::Ops* ops) {
  GALLEY_CHECK(options.info.block_tokens == kBlockTokens, "the kernels' blocks have 64 tokens");
  GALLEY_CHECK(options.info.drafts_max == 0 || model->num_mtp_layers() > 0,
               "only an MTP layer can draft");
  std::unique_ptr<ModelRunner> runner(new ModelRunner(options, std::move(model), ops));
  GALLEY_RETURN_IF_ERROR(runner->allocate());
  return runner;
}

Status ModelRunner::allocate() {
  const RunnerInfo& info = options_.info;
  const int64_t row_bytes = model::cache_row_bytes(options_.config, options_.cache_format);
  // One more where steps are padded: it takes the rows of padding.
  const int32_t num_blocks = info.num_blocks + (padded_sizes_.empty() ? 0 : 1);
  const int64_t layer_bytes = row_bytes * kBlockTokens * num_blocks;
  const int32_t layers = model_->num_cache_layers() + (info.drafts_max > 0 ? 1 : 0);
  for (int32_t i = 0; i < layers; ++i) {
    kernels::CacheLayer cache{.format = options_.cache_format,
                              .num_blocks = num_blocks,
                              .width = options_.config.cache_width(),
                              .row_bytes = row_bytes};
    cache.data = static_cast<std::byte*>(ops_->allocate(static_cast<size_t>(layer_bytes)));
    if (cache.data == nullptr) {
      return Status(Code::kTooLarge, "a KV cache of " + std::to_string(layers * layer_bytes) +
                                         " bytes does not fit: lower --num-gpu-blocks-override "
                                         "or --max-model-len");
    }
    caches_.push_back(cache);
  }
  if (info.drafts_max > 0) {
    mtp_cache_ = caches_.back();
    caches_.pop_back();
  }
  model::MatrixPool pool(ops_);
  const int64_t hidden = options_.config.hidden_size;
  head_input_ = pool.take(options_.sample_rows_max, hidden, ops_->activation_dtype());
  logits_ = pool.take(options_.sample_rows_max, info.vocab_size, DType::kF32);
  if (info.drafts_max > 0)
    mtp_hidden_ = pool.take(info.step_tokens_max, hidden, ops_->activation_dtype());
  row_ids_ = static_cast<int32_t*>(
      ops_->allocate(static_cast<size_t>(info.step_tokens_max) * sizeof(int32_t)));
  if (pool.failed() || !arrays_.ok() || row_ids_ == nullptr)
    return Status(Code::kTooLarge, "buffers of a step do not fit: lower --max-num-batched-tokens");
  return {};
}

std::span<const StepResult> ModelRunner::execute(std::span<const StepItem> plan) {
  results_.clear();
  if (plan.empty()) return results_;
  begin_step(plan);
  start_masks(plan);
  const StepShape shape = padded_shape(plan);
  if (parts_.empty()) {
    answer_ahead(plan);
  } else if (shape.sequences > 0) {
    run_decode(shape);
    finish_masks();
    choose_samples(plan);
    const bool is_alone = finish_ahead().empty();
    if (is_alone && may_begin_ahead(plan)) {
      ops_->begin_sample(first_rows(logits_, size_of_span(rows_)), sample_rows_);
      const auto count = rows_.size();
      begin_ahead(plan);
      ops_->finish_sample(std::span(samples_).first(count));
      for (Ahead& row : ahead_) row.token = samples_[static_cast<size_t>(row.previous)].token;
    } else {
      sample_logits(samples_);
    }
  } else {
    hidden_ = model_->forward(arrays_.build(parts_, ids_), caches_);
    finish_masks();
    static_cast<void>(finish_ahead());
    score_prompts(plan);
    choose_samples(plan);
    run_head(
        hidden_, [](model::Model& m, const Matrix& x, const Matrix& out) { m.logits(x, out); },
        samples_);
  }
  accept(plan);
  if (options_.info.drafts_max > 0) draft(plan, shape);

  for (size_t i = 0; i < plan.size(); ++i) {
    const Item& item = items_[i];
    const auto at = [](auto& list, int32_t first, int32_t count) {
      return std::span(list).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
    };
    StepResult& result = results_.emplace_back();
    result.id = plan[i].id;
    result.tokens = item.ahead >= 0 ? at(ahead_samples_, item.ahead, 1)
                                    : at(samples_, item.first_sample, item.num_tokens);
    result.prompt_scores = at(scores_, item.first_score, item.num_scores);
    result.drafts = tokens_after(i).subspan(static_cast<size_t>(item.num_tokens),
                                            static_cast<size_t>(item.num_drafts));
    if (!item.status.ok()) {
      result.status = item.status;
    } else if (!result.tokens.empty() && result.tokens.back().token < 0) {
      result.status =
          Status(Code::kInvalid,
                 "no token may be sampled: logit_bias, min_tokens and the grammar ban all");
    }
    if (const Status device = ops_->status(); !device.ok()) result.status = device;
  }
  return results_;
}

void ModelRunner::begin_step(std::span<const StepItem> plan) {
  items_.clear();
  parts_.clear();
  ids_.clear();
  GALLEY_CHECK(static_cast<int32_t>(plan.size()) <= options_.info.step_requests_max,
               "the step is within its limits");
  size_t next_ahead = 0;
  for (const StepItem& planned : plan) {
    const int32_t end = planned.token_begin + planned.token_count;
    GALLEY_CHECK(
        planned.token_begin >= 0 && planned.token_count >= 1 && end <= size_of_span(planned.known),
        "an item computes known tokens");
    GALLEY_CHECK(planned.samples ? end == size_of_span(planned.known) : planned.drafts.empty(),
                 "an item samples after the newest known token");
    GALLEY_CHECK(size_of_span(planned.drafts) <= options_.info.drafts_max,
                 "as many drafts as made");
    items_.push_back({.first_row = size_of_span(ids_)});
    items_.back().ahead = find_ahead(planned, &next_ahead);
    if (items_.back().ahead >= 0) {
      num_answered_ahead_ += 1;
      continue;
    }
    const auto known = planned.known.subspan(static_cast<size_t>(planned.token_begin),
                                             static_cast<size_t>(planned.token_count));
    GALLEY_CHECK(ids_.size() + known.size() + planned.drafts.size() <= samples_.size(),
                 "the step is within its limits");
    ids_.insert(ids_.end(), known.begin(), known.end());
    ids_.insert(ids_.end(), planned.drafts.begin(), planned.drafts.end());
    parts_.push_back({.blocks = planned.blocks,
                      .begin = planned.token_begin,
                      .count = planned.token_count + size_of_span(planned.drafts)});
  }
}

// Masks depend on tokens alone, so they are made while the model computes.
void ModelRunner::start_masks(std::span<const StepItem> plan) {
  masks_.begin();
  for (size_t i = 0; i < plan.size(); ++i)
    if (plan[i].samples && plan[i].constraint != nullptr)
      masks_.add({.constraint = plan[i].constraint, .tokens = plan[i].drafts, .item = i});
  masks_.start();
}

// The mask of the next draft of every item that takes part.
void ModelRunner::start_draft_masks(std::span<const StepItem> plan) {
  masks_.begin();
  for (size_t i = 0; i < plan.size(); ++i) {
    const Item& item = items_[i];
    if (item.draft_row < 0 || plan[i].constraint == nullptr) continue;
    const int32_t after = item.num_tokens + item.num_drafts;
    masks_.add({.constraint = plan[i].constraint,
                .tokens = tokens_after(i).first(static_cast<size_t>(after)),
                .first_row = after,
                .item = i});
  }
  masks_.start();
}

void ModelRunner::finish_masks() {
  for (const MaskMaker::Job& job : masks_.finish())
    if (!job.status.ok()) items_[job.item].status = job.status;
}

// --- padded steps -------------------------------------------------------------------------------

StepShape ModelRunner::padded_shape(std::span<const StepItem> plan) const {
  const auto size = std::lower_bound(padded_sizes_.begin(), padded_sizes_.end(),
                                     static_cast<int32_t>(parts_.size()));
  bool decodes = true;
  for (size_t i = 0; i < plan.size(); ++i)
    decodes = decodes && (items_[i].ahead >= 0 || (plan[i].samples && plan[i].token_count == 1));
  if (size == padded_sizes_.end() || !decodes) return {};
  return {.sequences = *size, .queries = 1 + options_.info.drafts_max};
}

void ModelRunner::repeat(Recorded what, const StepShape& shape,
                         const std::function<void()>& operations) {
  const uint64_t key =
      (uint64_t{static_cast<uint8_t>(what)} << 32) | static_cast<uint32_t>(shape.sequences);
  ops_->repeat(key, operations);
}

// Every row of a decode step is sampled, in order: its logits are those of all hidden states.
void ModelRunner::run_decode(const StepShape& shape) {
  step_ = arrays_.build(parts_, ids_, shape);
  repeat_decode(shape);
}

void ModelRunner::run_ahead(const StepShape& shape) {
  step_ = arrays_.build(parts_, ids_, shape, rows_);
  ops_->take_sampled(arrays_.rows(), arrays_.ids());
  repeat_decode(shape);
}

void ModelRunner::repeat_decode(const StepShape& shape) {
  repeat(Recorded::kDecode, shape, [this] {
    hidden_ = model_->forward(step_, caches_);
    model_->logits(hidden_, first_rows(logits_, hidden_.rows));
  });
  hidden_.rows = shape.tokens();
}

void ModelRunner::run_first_draft(const StepShape& shape) {
  step_ = arrays_.build(parts_, ids_, shape, rows_, picked_);
  repeat(Recorded::kFirstDraft, shape, [this] {
    const Matrix input = first_rows(mtp_hidden_, static_cast<int64_t>(step_.ids.size()));
    const Matrix head_input = first_rows(head_input_, step_.batch->num_sequences);
    ops_->gather_rows(hidden_, arrays_.rows(), input);
    drafted_ = model_->draft(0, step_, input, mtp_cache_);
    ops_->gather_rows(drafted_, arrays_.picked(), head_input);
    model_->draft_logits(0, head_input, first_rows(logits_, head_input.rows));
  });
  drafted_.rows = shape.tokens();
}

void ModelRunner::run_next_draft(const StepShape& shape) {
  step_ = arrays_.build(parts_, ids_, shape, rows_, picked_);
  repeat(Recorded::kNextDraft, shape, [this] {
    const Matrix input = first_rows(mtp_hidden_, static_cast<int64_t>(step_.ids.size()));
    const Matrix head_input = first_rows(head_input_, step_.batch->num_sequences);
    ops_->gather_rows(drafted_, arrays_.rows(), input);
    drafted_ = model_->draft(0, step_, input, mtp_cache_);
    ops_->gather_rows(drafted_, arrays_.picked(), head_input);
    model_->draft_logits(0, head_input, first_rows(logits_, head_input.rows));
  });
  drafted_.rows = shape.tokens();
}

// Steps of padding alone. A backend records what comes the second time.
Status ModelRunner::record(const RecordedFn& progress) {
  parts_.clear();
  ids_.clear();
  rows_.clear();
  picked_.clear();
  const auto total = ops_->records() ? static_cast<int32_t>(padded_sizes_.size()) : 0;
  const auto begin = std::chrono::steady_clock::now();
  for (int32_t done = 0; done < total; ++done) {
    const auto spent = std::chrono::steady_clock::now() - begin;
    if (spent > std::chrono::milliseconds(kRecordingMsMax)) break;
    const int32_t sequences = padded_sizes_[static_cast<size_t>(total - 1 - done)];
    for (int32_t time = 0; time < 2; ++time) {
      run_decode({.sequences = sequences, .queries = 1 + options_.info.drafts_max});
      if (options_.info.drafts_max > 0)
        run_first_draft({.sequences = sequences, .queries = 1 + options_.info.drafts_max});
      if (options_.info.drafts_max > 1) run_next_draft({.sequences = sequences, .queries = 1});
    }
    if (progress) progress(done + 1, total);
  }
  int32_t ignored = 0;
  if (total > 0) ops_->download(&ignored, row_ids_, sizeof ignored);
  return ops_->status();
}

// --- sampling -----------------------------------------------------------------------------------

// Scores known[p + 1] at every computed position p whose next token belongs to the prompt.
void ModelRunner::score_prompts(std::span<const StepItem> plan) {
  rows_.clear();
  sample_rows_.clear();
  for (size_t i = 0; i < plan.size(); ++i) {
    items_[i].first_score = size_of_span(rows_);
    const StepItem& planned = plan[i];
    if (planned.sampling->prompt_logprobs < 0 || items_[i].ahead >= 0) continue;
    const int32_t end = std::min(planned.token_begin + planned.token_count, planned.prompt_len - 1);
    for (int32_t position = planned.token_begin; position < end; ++position) {
      rows_.push_back(items_[i].first_row + position - planned.token_begin);
      SampleRow row;
      row.num_logprobs = planned.sampling->prompt_logprobs;
      row.target = planned.known[static_cast<size_t>(position) + 1];
      sample_rows_.push_back(row);
    }
    items_[i].num_scores = size_of_span(rows_) - items_[i].first_score;
  }
  run_head(
      hidden_, [](model::Model& m, const Matrix& x, const Matrix& out) { m.logits(x, out); },
      scores_);
}

SampleRow ModelRunner::sample_row(const StepItem& item, int32_t index,
                                  std::span<const int32_t> pending) {
  const SamplingParams& sampling = *item.sampling;
  SampleRow row;
  row.temperature = sampling.temperature;
  row.top_p = sampling.top_p;
  row.min_p = sampling.min_p;
  row.top_k = std::max(sampling.top_k, 0);
  row.presence_penalty = sampling.presence_penalty;
  row.frequency_penalty = sampling.frequency_penalty;
  row.repetition_penalty = sampling.repetition_penalty;
  row.seed = sampling.seed;
  row.position = item.known.size() + static_cast<size_t>(index);
  row.logit_bias = sampling.logit_bias;
  row.num_logprobs = sampling.logprobs;
  // min_tokens counts output tokens: a later row of the same step may be past it.
  const int32_t output = size_of_span(item.known) - item.prompt_len + index;
  if (output < sampling.min_tokens) row.banned = item.banned;
  if (item.constraint != nullptr) {
    row.mask = item.constraint->mask(index);
    if (item.constraint->ends(index)) row.banned = {};  // else nothing would be left
  }
  if (has_penalties(sampling)) {
    const auto at = penalties_.find(item.id);
    GALLEY_CHECK(at != penalties_.end(), "sample() counts before it asks");
    row.counts = at->second.counts();
    row.pending = pending;
  }
  return row;
}

// rows_ and sample_rows_ of the tokens to be sampled, for each item one more than its drafts.
void ModelRunner::choose_samples(std::span<const StepItem> plan) {
  rows_.clear();
  sample_rows_.clear();
  for (size_t i = 0; i < plan.size(); ++i) {
    const StepItem& planned = plan[i];
    Item& item = items_[i];
    item.first_sample = size_of_span(rows_);
    if (!planned.samples || item.ahead >= 0) continue;
    if (has_penalties(*planned.sampling)) {
      constexpr int64_t kForcedMax = 256;  // tokens the engine may append by itself; 64 today
      const auto tokens_max = static_cast<size_t>(
          std::min(int64_t{options_.info.context_max} + 1,
                   int64_t{planned.prompt_len} + planned.sampling->max_tokens + kForcedMax));
      const auto at =
          penalties_.try_emplace(planned.id, options_.info.vocab_size, tokens_max).first;
      at->second.update(planned.known, planned.prompt_len);
    }
    item.num_samples = 1 + size_of_span(planned.drafts);
    for (int32_t k = 0; k < item.num_samples; ++k) {
      rows_.push_back(item.first_row + planned.token_count - 1 + k);
      sample_rows_.push_back(sample_row(planned, k, planned.drafts.first(static_cast<size_t>(k))));
    }
  }
}

// A draft is accepted exactly when sampling its position gave it; the first that differs is
// replaced by what was sampled, and what follows it is void.
void ModelRunner::accept(std::span<const StepItem> plan) {
  for (size_t i = 0; i < plan.size(); ++i) {
    Item& item = items_[i];
    if (item.num_samples == 0) continue;
    const SampleResult* const sampled = &samples_[static_cast<size_t>(item.first_sample)];
    const std::span<int32_t> after = tokens_after(i);
    int32_t count = 0;
    for (bool agrees = true; agrees && count < item.num_samples; ++count) {
      after[static_cast<size_t>(count)] = sampled[count].token;
      agrees = count + 1 < item.num_samples &&
               sampled[count].token == plan[i].drafts[static_cast<size_t>(count)];
    }
    item.num_tokens = count;
    item.may_draft = sampled[count - 1].token >= 0;
  }
}

void ModelRunner::run_head(const Matrix& hidden, HeadFn head, std::span<SampleResult> results) {
  const auto rows_max = static_cast<size_t>(options_.sample_rows_max);
  for (size_t first = 0; first < rows_.size(); first += rows_max) {
    const size_t count = std::min(rows_max, rows_.size() - first);
    const Matrix input = first_rows(head_input_, static_cast<int64_t>(count));
    const Matrix logits = first_rows(logits_, static_cast<int64_t>(count));
    gather(hidden, std::span(rows_).subspan(first, count), input);
    head(*model_, input, logits);
    ops_->sample(logits, std::span(sample_rows_).subspan(first, count),
                 results.subspan(first, count));
  }
}

void ModelRunner::sample_logits(std::span<SampleResult> results) {
  const Matrix logits = first_rows(logits_, static_cast<int64_t>(sample_rows_.size()));
  ops_->sample(logits, sample_rows_, results.first(sample_rows_.size()));
}

void ModelRunner::gather(const Matrix& x, std::span<const int32_t> rows, const Matrix& out) {
  ops_->upload(row_ids_, rows.data(), rows.size_bytes());
  ops_->gather_rows(x, {row_ids_, rows.size()}, out);
}

// --- drafting -----------------------------------------------------------------------------------

void ModelRunner::draft(std::span<const StepItem> plan, const StepShape& shape) {
  if (!begin_first_draft(plan)) return;
  for (int32_t pass = 0;; ++pass) {
    start_draft_masks(plan);
    pick_drafts(plan);
    if (shape.sequences > 0) {
      if (pass == 0) {
        run_first_draft(shape);
      } else {
        run_next_draft({.sequences = shape.sequences, .queries = 1});
      }
      finish_masks();
      choose_drafts(plan);
      sample_logits(draft_samples_);
    } else {
      const Matrix input = first_rows(mtp_hidden_, size_of_span(ids_));
      gather(pass == 0 ? hidden_ : drafted_, rows_, input);
      drafted_ = model_->draft(0, arrays_.build(parts_, ids_), input, mtp_cache_);
      finish_masks();
      choose_drafts(plan);
      rows_ = picked_;
      run_head(
          drafted_,
          [](model::Model& m, const Matrix& x, const Matrix& out) { m.draft_logits(0, x, out); },
          draft_samples_);
    }
    take_drafts(plan);
    if (pass + 1 == options_.info.drafts_max || !begin_next_draft(plan)) return;
  }
}

// Every position this step computed for good, with the token after it: writes their MTP rows. Fills
// parts_, ids_ and rows_ (of the hidden states).
bool ModelRunner::begin_first_draft(std::span<const StepItem> plan) {
  parts_.clear();
  ids_.clear();
  rows_.clear();
  for (size_t i = 0; i < plan.size(); ++i) {
    const StepItem& planned = plan[i];
    Item& item = items_[i];
    item.draft_row = -1;
    const int32_t known = size_of_span(planned.known);
    // Positions whose next token is known by now.
    int32_t count = planned.token_count + std::max(item.num_tokens - 1, 0);
    if (item.num_tokens == 0 || !item.may_draft)
      count = std::min(count, known - 1 - planned.token_begin);
    if (count <= 0) continue;
    for (int32_t k = 0; k < count; ++k) {
      const int32_t next = planned.token_begin + k + 1;
      ids_.push_back(next < known ? planned.known[static_cast<size_t>(next)]
                                  : tokens_after(i)[static_cast<size_t>(next - known)]);
      rows_.push_back(item.first_row + k);
    }
    parts_.push_back({.blocks = planned.blocks, .begin = planned.token_begin, .count = count});
    if (item.may_draft) item.draft_row = size_of_span(ids_) - 1;
  }
  return !parts_.empty();
}

// One position further for every item that drafts and has room: the draft is the next token, and
// the block's own output stands for the hidden state there. rows_ are of that output.
bool ModelRunner::begin_next_draft(std::span<const StepItem> plan) {
  parts_.clear();
  ids_.clear();
  rows_.clear();
  for (size_t i = 0; i < plan.size(); ++i) {
    Item& item = items_[i];
    if (item.draft_row < 0) continue;
    const int32_t position = size_of_span(plan[i].known) + item.num_tokens + item.num_drafts - 2;
    const int64_t room = std::min<int64_t>(
        static_cast<int64_t>(plan[i].blocks.size()) * kBlockTokens, options_.info.context_max);
    if (position >= room) {
      item.draft_row = -1;
      continue;
    }
    rows_.push_back(item.draft_row);
    item.draft_row = size_of_span(ids_);
    ids_.push_back(tokens_after(i)[static_cast<size_t>(item.num_tokens + item.num_drafts - 1)]);
    parts_.push_back({.blocks = plan[i].blocks, .begin = position, .count = 1});
  }
  return !parts_.empty();
}

// The rows of a draft pass that are sampled: the newest of every item that takes part.
void ModelRunner::pick_drafts(std::span<const StepItem> plan) {
  picked_.clear();
  for (size_t i = 0; i < plan.size(); ++i)
    if (items_[i].draft_row >= 0) picked_.push_back(items_[i].draft_row);
}

// Draws the next draft of every item that takes part, by the request's own rules and its own draw
// for that position: where both distributions agree, so do the tokens.
void ModelRunner::choose_drafts(std::span<const StepItem> plan) {
  sample_rows_.clear();
  for (size_t i = 0; i < plan.size(); ++i) {
    const Item& item = items_[i];
    if (item.draft_row < 0) continue;
    const int32_t after = item.num_tokens + item.num_drafts;
    SampleRow row = sample_row(plan[i], after, tokens_after(i).first(static_cast<size_t>(after)));
    row.num_logprobs = -1;
    sample_rows_.push_back(row);
  }
}

void ModelRunner::take_drafts(std::span<const StepItem> plan) {
  size_t at = 0;
  for (size_t i = 0; i < plan.size(); ++i) {
    Item& item = items_[i];
    if (item.draft_row < 0) continue;
    const int32_t token = draft_samples_[at++].token;
    if (token < 0) {  // nothing may be sampled there
      item.draft_row = -1;
      continue;
    }
    const int32_t index = item.num_tokens + item.num_drafts++;
    tokens_after(i)[static_cast<size_t>(index)] = token;
  }
}

}  // namespace galley::engine
