// ModelRunner: computes steps with a model over kernels::Ops.
//
// execute() on one screen: build the index arrays, forward (while the masks of grammars are made),
// score prompt tokens where asked, sample each item's rows (one more than its drafts), accept
// drafts by comparison, let the MTP layer draft the next ones. The draw of a row is a pure function
// of (seed, position), so verifying a draft by sampling its position as usual keeps the
// distribution exactly, penalties and top_p included.
//
// MTP cache  row i of the MTP layer's cache belongs to position i and was made from the hidden
// state
//            at i and the token at i + 1. It is written in the step that computes position i, once
//            the token after it is known; later drafts of the same step write rows beyond, which
//            the next step overwrites. Drafts are hints: a stale row costs acceptance, never the
//            answer.
//
// Owns the model and the KV cache. Engine thread only. After make() a step allocates nothing,
// except on the first step of a request with penalties.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "engine/mask_maker.h"
#include "engine/penalty_counts.h"
#include "engine/runner.h"
#include "engine/step_arrays.h"
#include "kernels/ops.h"
#include "model/model.h"

namespace galley::engine {

struct ModelRunnerOptions {
  model::ModelConfig config;
  RunnerInfo info;
  kernels::CacheFormat cache_format = kernels::CacheFormat::kBF16;
};

class ModelRunner final : public Runner {
 public:
  // `ops` outlives the runner and has had reserve() called with limits that cover `options.info`.
  // Errors  kTooLarge  the KV cache or the buffers do not fit, with the bytes and the flag
  static Result<std::unique_ptr<ModelRunner>> make(const ModelRunnerOptions& options,
                                                   std::unique_ptr<model::Model> model,
                                                   kernels::Ops* ops);

  const RunnerInfo& info() const override { return options_.info; }
  std::span<const StepResult> execute(std::span<const StepItem> plan) override;
  void forget(RequestId id) override { penalties_.erase(id); }

  const model::Model& model() const { return *model_; }

 private:
  // One item's place in the step's rows and results.
  struct Item {
    int32_t first_row = 0;     // of the hidden states
    int32_t first_sample = 0;  // in samples_
    int32_t num_samples = 0;   // 1 + drafts, 0 when it does not sample
    int32_t num_tokens = 0;    // sampled tokens that count: 1 + accepted drafts
    int32_t num_drafts = 0;    // for the next step
    int32_t first_score = 0;   // in scores_
    int32_t num_scores = 0;
    int32_t draft_row = -1;  // of the newest draft pass; -1: takes no part in it
    bool may_draft = false;
    Status status = {};  // of its masks
  };
  using HeadFn = void (*)(model::Model&, const Matrix& hidden, const Matrix& logits);

  ModelRunner(const ModelRunnerOptions& options, std::unique_ptr<model::Model> model,
              kernels::Ops* ops);
  Status allocate();

  model::Step begin_step(std::span<const StepItem> plan);
  void start_masks(std::span<const StepItem> plan);
  void start_draft_masks(std::span<const StepItem> plan);
  void finish_masks();
  void score_prompts(std::span<const StepItem> plan, const Matrix& hidden);
  void sample(std::span<const StepItem> plan, const Matrix& hidden);
  void accept(std::span<const StepItem> plan);
  void draft(std::span<const StepItem> plan, const Matrix& hidden);
  bool begin_first_draft(std::span<const StepItem> plan);
  bool begin_next_draft(std::span<const StepItem> plan, const Matrix& previous);
  void sample_drafts(std::span<const StepItem> plan, const Matrix& drafted);

  // Row `index` after the newest known token: what is sampled there, and how.
  kernels::SampleRow sample_row(const StepItem& item, int32_t index,
                                std::span<const int32_t> pending);
  // Gathers rows of `hidden`, in pieces, makes logits and samples.
  void run_head(const Matrix& hidden, HeadFn head, std::span<kernels::SampleResult> results);
  std::span<int32_t> tokens_after(size_t item) {
    const size_t width = 2 * (static_cast<size_t>(options_.info.drafts_max) + 1);
    return {after_.data() + item * width, width};
  }

  const ModelRunnerOptions options_;
  std::unique_ptr<model::Model> model_;
  kernels::Ops* const ops_;
  StepArrays arrays_;
  std::vector<kernels::CacheLayer> caches_;
  kernels::CacheLayer mtp_cache_;
  std::unordered_map<RequestId, PenaltyCounts> penalties_;
  MaskMaker masks_;

  // Of the step in progress; sized at construction.
  std::vector<Item> items_;
  std::vector<SequencePart> parts_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> rows_;                    // hidden rows that run_head gathers
  std::vector<kernels::SampleRow> sample_rows_;  // beside rows_
  std::vector<kernels::SampleResult> samples_;
  std::vector<kernels::SampleResult> scores_;
  std::vector<kernels::SampleResult> draft_samples_;
  std::vector<int32_t> after_;  // for each item: its new tokens, then its new drafts
  std::vector<StepResult> results_;
  Matrix head_input_;  // [kSampleRowsMax, H]
  Matrix logits_;      // [kSampleRowsMax, V] f32
  Matrix mtp_hidden_;  // [T, H]
};

}  // namespace galley::engine
