// The promise of --batch-invariant for the other types and architectures: model_invariance_test.cc
// proves it for an FP8 V3, this one for bf16, f32, V2-Lite and Qwen2. Small caches, so that
// requests are preempted; arrivals while others run, so that priorities displace; prompts that
// continue earlier answers. GALLEY_SEED=<n> replays one mix.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/testing/tiny_models.h"

namespace galley::engine {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kMixesDivisor = 4;
constexpr size_t kNumRequests = 24;
#else
constexpr int kMixesDivisor = 1;
constexpr size_t kNumRequests = 64;
#endif

constexpr int32_t kVocab = 160;

struct Answer {
  std::vector<OutputToken> tokens;
  std::vector<OutputToken> prompt_logprobs;
  FinishReason finish = FinishReason::kNone;
};
using Answers = std::map<RequestId, Answer>;

// Runs all requests to their ends, on this thread: `num_at_once` from the start, one more after
// each step.
Answers run_engine(Runner* runner, const EngineOptions& options,
                   const std::vector<Request>& requests, size_t num_at_once,
                   EngineStats* stats = nullptr) {
  Answers answers;
  const RealClock clock;
  Engine* to_submit = nullptr;
  size_t num_submitted = 0;
  const auto submit_one = [&] {
    if (num_submitted == requests.size()) return to_submit->drain();
    const Status status = to_submit->submit(requests[num_submitted++]);
    EXPECT_TRUE(status.ok()) << status.message();
  };
  Engine engine(options, runner, &clock, [&](std::span<Event> events) {
    submit_one();
    for (Event& event : events) {
      Answer& answer = answers[event.id];
      std::move(event.tokens.begin(), event.tokens.end(), std::back_inserter(answer.tokens));
      if (!event.prompt_logprobs.empty()) answer.prompt_logprobs = event.prompt_logprobs;
      if (event.finish != FinishReason::kNone) answer.finish = event.finish;
    }
  });
  to_submit = &engine;
  for (size_t i = 0; i < num_at_once; ++i) submit_one();
  engine.run();
  if (stats != nullptr) *stats = engine.stats();
  return answers;
}

void expect_same(const std::vector<OutputToken>& actual, const std::vector<OutputToken>& alone) {
  ASSERT_EQ(actual.size(), alone.size());
  for (size_t i = 0; i < alone.size(); ++i) {
    ASSERT_EQ(actual[i].token, alone[i].token) << "token " << i;
    ASSERT_EQ(actual[i].logprob, alone[i].logprob) << "token " << i;
    ASSERT_EQ(actual[i].rank, alone[i].rank) << "token " << i;
    ASSERT_EQ(actual[i].top.size(), alone[i].top.size());
    for (size_t k = 0; k < alone[i].top.size(); ++k) {
      ASSERT_EQ(actual[i].top[k].token, alone[i].top[k].token) << "token " << i;
      ASSERT_EQ(actual[i].top[k].logprob, alone[i].top[k].logprob) << "token " << i;
    }
  }
}

class Random {
 public:
  explicit Random(uint32_t seed) : random_(seed) {}
  int pick(int low, int high) { return std::uniform_int_distribution(low, high)(random_); }
  std::mt19937& bits() { return random_; }

 private:
  std::mt19937 random_;
};

std::vector<int32_t> random_tokens(Random* random, int num_tokens) {
  std::vector<int32_t> tokens;
  tokens.reserve(static_cast<size_t>(num_tokens));
  for (int i = 0; i < num_tokens; ++i) tokens.push_back(random->pick(0, kVocab - 1));
  return tokens;
}

// Three texts; a prompt is a beginning of one, and perhaps goes on by itself.
std::vector<Request> make_requests(Random* random) {
  std::vector<std::vector<int32_t>> texts;
  texts.reserve(3);
  for (int i = 0; i < 3; ++i) texts.push_back(random_tokens(random, 150));
  std::vector<Request> requests;
  for (RequestId id = 1; id <= kNumRequests; ++id) {
    Request request;
    request.id = id;
    const auto& text = texts[static_cast<size_t>(random->pick(0, 2))];
    const int num_shared = random->pick(0, 2) == 0 ? random->pick(0, 20) : random->pick(60, 150);
    request.prompt.assign(text.begin(), text.begin() + num_shared);
    for (const int32_t token : random_tokens(random, random->pick(1, 12)))
      request.prompt.push_back(token);
    request.sampling.temperature = random->pick(0, 2) == 0 ? 0.8f : 0.0f;
    request.sampling.seed = static_cast<uint64_t>(random->pick(0, 1'000'000));
    if (random->pick(0, 3) == 0) {
      request.sampling.top_p = 0.9f;
      request.sampling.frequency_penalty = 0.5f;
      request.sampling.repetition_penalty = 1.1f;
    }
    request.sampling.max_tokens =
        random->pick(0, 5) == 0 ? random->pick(70, 140) : random->pick(1, 24);
    request.sampling.logprobs = random->pick(0, 3);
    if (random->pick(0, 9) == 0) request.sampling.prompt_logprobs = 1;
    requests.push_back(std::move(request));
  }
  return requests;
}

// The second half of the requests continue the answers of the first.
void continue_answers(Random* random, const Answers& answers, std::vector<Request>* requests) {
  const size_t half = requests->size() / 2;
  for (size_t i = 0; i < half; ++i) {
    if (random->pick(0, 1) == 0) continue;
    Request& next = (*requests)[half + i];
    next.prompt = (*requests)[i].prompt;
    for (const OutputToken& token : answers.at((*requests)[i].id).tokens)
      next.prompt.push_back(token.token);
    for (const int32_t token : random_tokens(random, random->pick(1, 4)))
      next.prompt.push_back(token);
  }
}

EngineOptions options_for(const Runner& runner) {
  EngineOptions options;
  options.limits.batch_requests_max = runner.info().step_requests_max;
  options.limits.step_tokens_max = runner.info().step_tokens_max;
  options.drafts = runner.info().drafts_max;
  options.block_key = {1, 2};
  return options;
}

struct ModelCase {
  std::string name;  // of a made-up model with dummy weights (testing/tiny_models.h)
  DTypeChoice dtype = DTypeChoice::kAuto;
  bool has_mtp = false;
  int mixes_each = 12;  // for each number of threads, drafts and blocks
};

struct Machine {
  int32_t threads = 1;
  int32_t drafts = 0;
  int32_t num_blocks = 160;
};

Result<LoadedModel> load(const ModelCase& model, const Machine& machine) {
  return testing::load_tiny({.name = model.name,
                             .drafts = machine.drafts,
                             .threads = machine.threads,
                             .dtype = model.dtype,
                             .num_blocks = machine.num_blocks});
}

Answers run_alone(const ModelCase& model, const std::vector<Request>& requests) {
  Answers answers;
  auto loaded = load(model, {});
  EXPECT_TRUE(loaded.ok()) << loaded.message();
  if (!loaded.ok()) return answers;
  EngineOptions options = options_for(*loaded->runner);
  options.enable_prefix_caching = false;
  for (const Request& request : requests)
    answers.merge(run_engine(loaded->runner.get(), options, {request}, 1));
  return answers;
}

struct Totals {
  uint64_t mixes = 0, preemptions = 0, hits = 0, accepted = 0;
};

// One random subset of the requests in random order, under random limits.
void run_mix(uint32_t seed, Runner* runner, const std::vector<Request>& requests,
             const Answers& alone, Totals* totals) {
  SCOPED_TRACE("replay with GALLEY_SEED=" + std::to_string(seed));
  Random random(seed);
  EngineOptions options = options_for(*runner);
  options.limits.batch_requests_max = random.pick(1, 64);
  options.limits.step_tokens_max =
      random.pick(options.limits.batch_requests_max, runner->info().step_tokens_max);
  options.enable_prefix_caching = random.pick(0, 3) > 0;
  options.drafts = random.pick(0, runner->info().drafts_max);
  SCOPED_TRACE("batch " + std::to_string(options.limits.batch_requests_max) + ", step tokens " +
               std::to_string(options.limits.step_tokens_max) + ", drafts " +
               std::to_string(options.drafts) + ", prefix caching " +
               std::to_string(options.enable_prefix_caching));
  std::vector<Request> mix = requests;
  std::shuffle(mix.begin(), mix.end(), random.bits());
  mix.resize(static_cast<size_t>(random.pick(0, 7) == 0 ? static_cast<int>(kNumRequests)
                                                        : random.pick(1, 16)));
  for (Request& request : mix) request.priority = random.pick(-1, 1);

  EngineStats stats;
  const Answers answers =
      run_engine(runner, options, mix,
                 static_cast<size_t>(random.pick(1, static_cast<int>(mix.size()))), &stats);
  for (const Request& request : mix) {
    SCOPED_TRACE("request " + std::to_string(request.id));
    expect_same(answers.at(request.id).tokens, alone.at(request.id).tokens);
    expect_same(answers.at(request.id).prompt_logprobs, alone.at(request.id).prompt_logprobs);
    EXPECT_EQ(answers.at(request.id).finish, alone.at(request.id).finish);
    if (::testing::Test::HasFailure()) return;
  }
  totals->mixes += 1;
  totals->preemptions += stats.preemptions;
  totals->hits += stats.prefix_hit_tokens;
  totals->accepted += stats.drafts_accepted;
}

void run_model(const ModelCase& model) {
  Random random(7);
  std::vector<Request> requests = make_requests(&random);
  continue_answers(&random, run_alone(model, requests), &requests);
  const Answers alone = run_alone(model, requests);
  ASSERT_EQ(alone.size(), kNumRequests);

  const char* only = std::getenv("GALLEY_SEED");
  Totals totals;
  uint32_t seed = 0;
  for (const int32_t threads : {1, 2}) {
    for (const int32_t drafts : {0, 1, 3}) {
      if (drafts > 0 && !model.has_mtp) continue;
      for (const int32_t num_blocks : {9, 160}) {  // 9: hardly enough for one
        auto loaded = load(model, {.threads = threads, .drafts = drafts, .num_blocks = num_blocks});
        ASSERT_TRUE(loaded.ok()) << loaded.message();
        for (int i = 0; i < model.mixes_each / kMixesDivisor; ++i) {
          seed += 1;
          if (only != nullptr && static_cast<uint32_t>(std::atoll(only)) != seed) continue;
          run_mix(seed, loaded->runner.get(), requests, alone, &totals);
          if (::testing::Test::HasFailure()) {
            ADD_FAILURE() << threads << " threads, " << drafts << " drafts at most, " << num_blocks
                          << " blocks";
            return;
          }
        }
      }
    }
  }
  std::printf(
      "%llu mixes, %llu preemptions, %llu tokens from the prefix tree, %llu drafts "
      "accepted\n",
      static_cast<unsigned long long>(totals.mixes),
      static_cast<unsigned long long>(totals.preemptions),
      static_cast<unsigned long long>(totals.hits),
      static_cast<unsigned long long>(totals.accepted));
  if (only != nullptr) return;
  EXPECT_GT(totals.preemptions, 0u);
  EXPECT_GT(totals.hits, 0u);
  EXPECT_EQ(totals.accepted > 0, model.has_mtp);
}

TEST(BatchInvariance, V3InBFloat16) {
  run_model({.name = "v3", .has_mtp = true, .mixes_each = 4});
}

TEST(BatchInvariance, V3InFloat32) {
  run_model({.name = "v3", .dtype = DTypeChoice::kFloat32, .has_mtp = true, .mixes_each = 4});
}

TEST(BatchInvariance, V2Lite) {
  run_model({.name = "v2_lite"});
}

TEST(BatchInvariance, Qwen2) {
  run_model({.name = "qwen2"});
}

}  // namespace
}  // namespace galley::engine
