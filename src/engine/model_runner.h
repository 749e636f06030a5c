// ModelRunner: computes steps with a model over kernels::Ops.
//
// execute() on one screen: build the index arrays, forward (while the masks of grammars are made),
// score prompt tokens where asked, sample each item's rows (one more than its drafts), accept
// drafts by comparison, let the MTP layer draft the next ones. A step in which every item only
// decodes is padded to one of a few shapes where the backend records (Ops::repeat), and costs the
// host one call instead of hundreds; record() makes the recordings at the start. The draw of a row
// is a pure function of (seed, position), so verifying a draft by sampling its position as usual
// keeps the distribution exactly, penalties and top_p included.
//
// Ahead      after a step in which every item decodes, and by rules that need no earlier token, the
//            next step is begun before this one's tokens are known: they stay on the device. What
//            the engine then plans is compared with what was begun (model_runner_ahead.cc). Equal
//            items have their answer already; the rest is computed as usual, and what nobody
//            planned is dropped: its rows lie behind the known tokens of a sequence, where the next
//            step that reads them writes them first.
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
#include <functional>
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
#include "model/memory_plan.h"
#include "model/model.h"

namespace galley::engine {

struct ModelRunnerOptions {
  model::ModelConfig config;
  RunnerInfo info;
  kernels::CacheFormat cache_format = kernels::CacheFormat::kBF16;
  int32_t sample_rows_max = model::kSampleRowsMax;  // of logits at one time
  // Pads decode steps and begins them ahead; always where the backend records. For tests.
  bool pads_steps = false;
};

// The numbers of sequences that decode steps are padded to, ascending: every power of two up to 8,
// then steps of at most a quarter. `rows_max`: tokens of a padded step.
std::vector<int32_t> padded_sizes(const RunnerInfo& info, int32_t rows_max);

class ModelRunner final : public Runner {
 public:
  // `ops` outlives the runner and has had reserve() called with limits that cover `options.info`.
  // Errors  kTooLarge  the KV cache or the buffers do not fit, with the bytes and the flag
  static Result<std::unique_ptr<ModelRunner>> make(const ModelRunnerOptions& options,
                                                   std::unique_ptr<model::Model> model,
                                                   kernels::Ops* ops);

  const RunnerInfo& info() const override { return options_.info; }
  std::span<const StepResult> execute(std::span<const StepItem> plan) override;
  void forget(RequestId id) override;

  // Where the backend records: makes the recordings of all padded shapes, the largest first, for at
  // most kRecordingMsMax; what is left is recorded when it first comes. Start-up only.
  // Errors  as Ops::status()
  using RecordedFn = std::function<void(int32_t done, int32_t total)>;
  Status record(const RecordedFn& progress);

  const model::Model& model() const { return *model_; }
  // Items whose step was begun before it was planned, and items begun that nobody planned.
  int64_t num_answered_ahead() const { return num_answered_ahead_; }
  int64_t num_begun_in_vain() const { return num_begun_ahead_ - num_answered_ahead_; }

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
    int32_t ahead = -1;      // in ahead_: this step's answer was begun already; -1: it was not
    int32_t draft_row = -1;  // of the newest draft pass; -1: takes no part in it
    bool may_draft = false;
    Status status = {};  // of its masks
  };
  // One row of a step that was begun before it was planned.
  struct Ahead {
    RequestId id = 0;
    int32_t position = 0;  // of the token that it computes
    int32_t previous = 0;  // the row of the step before that samples that token
    int32_t token = -1;    // that token, once it is known
    BlockId block = -1;    // of the position
    const SamplingParams* sampling = nullptr;
    bool is_over = false;  // nobody wants it any more
  };
  using HeadFn = void (*)(model::Model&, const Matrix& hidden, const Matrix& logits);

  ModelRunner(const ModelRunnerOptions& options, std::unique_ptr<model::Model> model,
              kernels::Ops* ops);
  Status allocate();

  // What repeat() tells apart beside the number of sequences.
  enum class Recorded : uint8_t { kDecode, kFirstDraft, kNextDraft };

  void begin_step(std::span<const StepItem> plan);
  // The shape that the step is padded to; without sequences: it is not.
  StepShape padded_shape(std::span<const StepItem> plan) const;
  // The device's part of a padded step and of its drafts: parts_ and ids_ to logits_.
  void run_decode(const StepShape& shape);
  void run_ahead(const StepShape& shape);  // as run_decode(), of the newest sampled tokens
  void run_first_draft(const StepShape& shape);
  void run_next_draft(const StepShape& shape);
  void repeat_decode(const StepShape& shape);
  void repeat(Recorded what, const StepShape& shape, const std::function<void()>& operations);

  // model_runner_ahead.cc
  bool may_begin_ahead(std::span<const StepItem> plan) const;
  void begin_ahead(std::span<const StepItem> plan);
  static bool is_last(const StepItem& item);
  int32_t find_ahead(const StepItem& item, size_t* from) const;
  std::span<kernels::SampleResult> finish_ahead();
  void answer_ahead(std::span<const StepItem> plan);

  void start_masks(std::span<const StepItem> plan);
  void start_draft_masks(std::span<const StepItem> plan);
  void finish_masks();
  void score_prompts(std::span<const StepItem> plan);
  void choose_samples(std::span<const StepItem> plan);
  void accept(std::span<const StepItem> plan);
  void draft(std::span<const StepItem> plan, const StepShape& shape);
  bool begin_first_draft(std::span<const StepItem> plan);
  bool begin_next_draft(std::span<const StepItem> plan);
  void pick_drafts(std::span<const StepItem> plan);
  void choose_drafts(std::span<const StepItem> plan);
  void take_drafts(std::span<const StepItem> plan);

  // Row `index` after the newest known token: what is sampled there, and how.
  kernels::SampleRow sample_row(const StepItem& item, int32_t index,
                                std::span<const int32_t> pending);
  // Gathers rows_ of `hidden`, in pieces, makes logits and samples.
  void run_head(const Matrix& hidden, HeadFn head, std::span<kernels::SampleResult> results);
  // Samples the first rows of logits_.
  void sample_logits(std::span<kernels::SampleResult> results);
  // out[i] = x[rows[i]], rows on the host.
  void gather(const Matrix& x, std::span<const int32_t> rows, const Matrix& out);
  std::span<int32_t> tokens_after(size_t item) {
    const size_t width = 2 * (static_cast<size_t>(options_.info.drafts_max) + 1);
    return {after_.data() + item * width, width};
  }

  const ModelRunnerOptions options_;
  std::unique_ptr<model::Model> model_;
  kernels::Ops* const ops_;
  const std::vector<int32_t> padded_sizes_;  // empty: nothing is padded
  StepArrays arrays_;
  std::vector<kernels::CacheLayer> caches_;
  kernels::CacheLayer mtp_cache_;
  std::unordered_map<RequestId, PenaltyCounts> penalties_;
  MaskMaker masks_;

  // Of the step in progress; sized at construction.
  std::vector<Item> items_;
  std::vector<SequencePart> parts_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> rows_;                    // rows of hidden states that are gathered
  std::vector<int32_t> picked_;                  // rows of a draft pass that are sampled
  std::vector<kernels::SampleRow> sample_rows_;  // beside rows_
  std::vector<kernels::SampleResult> samples_;
  std::vector<kernels::SampleResult> scores_;
  std::vector<kernels::SampleResult> draft_samples_;
  std::vector<int32_t> after_;  // for each item: its new tokens, then its new drafts
  std::vector<StepResult> results_;
  std::vector<Ahead> ahead_;       // rows of the step that was begun; its sample is under way
  std::vector<Ahead> next_ahead_;  // of the one after
  std::vector<kernels::SampleResult> ahead_samples_;
  int64_t num_begun_ahead_ = 0, num_answered_ahead_ = 0;
  model::Step step_;
  Matrix hidden_;               // what forward() returned; the same memory every time
  Matrix drafted_;              // what draft() returned, likewise
  Matrix head_input_;           // [sample_rows_max, H]
  Matrix logits_;               // [sample_rows_max, V] f32
  Matrix mtp_hidden_;           // [T, H]
  int32_t* row_ids_ = nullptr;  // [T] of gather(), in the backend's memory
};

}  // namespace galley::engine
