// LocalEngine over the real engine with a runner whose tokens can be foretold.
#include "gateway/local_engine.h"

#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "engine/testing/fake_runner.h"
#include "gateway/testing/text_models.h"

namespace galley::gateway {
namespace {

constexpr int32_t kVocab = 304;
constexpr int32_t kContext = 512;

class Recorder : public GenerationSink {
 public:
  void on_prepared(const Demand& asked) override {
    demand = asked;
    start();
  }
  void on_accepted() override { accepted = true; }
  void on_prompt(api::PromptInfo prompt) override { prompts.push_back(std::move(prompt)); }
  void on_delta(api::Delta delta) override {
    const auto choice = static_cast<size_t>(delta.choice);
    if (choices.size() <= choice) choices.resize(choice + 1);
    choices[choice].append(std::move(delta));
    if (on_first_delta) std::exchange(on_first_delta, nullptr)();
  }
  void on_end(std::optional<api::Error> end_error) override {
    EXPECT_FALSE(ended);
    ended = true;
    error = std::move(end_error);
  }

  std::function<void()> start;
  Demand demand;
  bool accepted = false;
  bool ended = false;
  std::vector<api::PromptInfo> prompts;
  std::vector<api::Choice> choices;
  std::optional<api::Error> error;
  std::function<void()> on_first_delta;
};

class LocalEngineTest : public ::testing::Test {
 protected:
  LocalEngineTest()
      : text_(testing::tiny_text_model(true)),
        pool_(context_.get_executor(), 1, 8),
        local_({.max_model_len = kContext, .requests_max = 64}, &text_, &pool_,
               context_.get_executor()) {}

  void start(int32_t requests_max = 64) {
    engine::testing::FakeRunner::Options fake;
    fake.info.vocab_size = kVocab;
    fake.info.context_max = kContext;
    fake.info.num_blocks = 64;
    fake.info.block_tokens = 64;
    fake.info.step_requests_max = 8;
    fake.info.step_tokens_max = 256;
    fake.step_us = 200;
    runner_ = std::make_unique<engine::testing::FakeRunner>(fake);
    engine::EngineOptions options;
    options.limits.requests_max = requests_max;
    options.limits.batch_requests_max = 8;
    options.limits.step_tokens_max = 256;
    engine_ = std::make_unique<engine::Engine>(options, runner_.get(), &clock_, local_.sink());
    local_.attach(engine_.get());
    thread_ = std::thread([this] { engine_->run(); });
  }

  ~LocalEngineTest() override {
    if (!thread_.joinable()) return;
    engine_->stop();
    thread_.join();
  }

  // Runs the event loop until `condition`, at most five seconds.
  bool until(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!condition() && std::chrono::steady_clock::now() < end) {
      context_.restart();
      context_.run_for(std::chrono::milliseconds(1));
    }
    return condition();
  }

  api::CompletionRequest completion(const std::string& prompt, int32_t max_tokens) {
    api::CompletionRequest request;
    request.prompts = {prompt};
    request.common.max_tokens = max_tokens;
    request.common.seed = 5;
    request.common.sampling.temperature = 0;
    return request;
  }

  // Starts at once what is prepared.
  Upstream::GenerationId generate(GenerationRequest request,
                                  const std::shared_ptr<Recorder>& recorder) {
    const Upstream::GenerationId id = local_.prepare(std::move(request), {}, recorder);
    recorder->start = [this, id] { local_.start(id, {}); };
    return id;
  }
  std::shared_ptr<Recorder> run(GenerationRequest request) {
    auto recorder = std::make_shared<Recorder>();
    generate(std::move(request), recorder);
    EXPECT_TRUE(until([&] { return recorder->ended; }));
    return recorder;
  }

  bool idle() {
    const engine::EngineStats stats = engine_->stats();
    return stats.requests_running == 0 && stats.requests_waiting == 0 && stats.blocks_held == 0;
  }

  boost::asio::io_context context_;
  const RealClock clock_;
  const TextModel text_;
  WorkPool pool_;
  LocalEngine local_;
  std::unique_ptr<engine::testing::FakeRunner> runner_;
  std::unique_ptr<engine::Engine> engine_;
  std::thread thread_;
};

std::vector<int32_t> expected(const std::string& prompt, uint64_t seed, int32_t count) {
  engine::SamplingParams sampling;
  sampling.seed = seed;
  sampling.temperature = 0;
  std::vector<int32_t> known;
  for (const char c : prompt) known.push_back(static_cast<unsigned char>(c));
  return engine::testing::FakeRunner::reference(known, sampling, kVocab, count);
}

TEST_F(LocalEngineTest, CompletesText) {
  start();
  const auto answer = run(completion("hello", 20));
  EXPECT_TRUE(answer->accepted);
  ASSERT_FALSE(answer->error);
  ASSERT_EQ(answer->prompts.size(), 1u);
  EXPECT_EQ(answer->prompts[0].token_ids.size(), 5u);
  EXPECT_EQ(answer->choices[0].token_ids, expected("hello", 5, 20));
  EXPECT_EQ(answer->choices[0].finish, api::Finish::kLength);
  EXPECT_EQ(answer->choices[0].usage.prompt_tokens, 5);
  EXPECT_EQ(answer->choices[0].content, text_.tokenizer->decode(expected("hello", 5, 20), true));
  EXPECT_EQ(local_.live(), 0u);
}

TEST_F(LocalEngineTest, SeveralPromptsAndChoices) {
  start();
  api::CompletionRequest request = completion("a", 8);
  request.prompts.emplace_back(std::vector<int32_t>{'b', 'c'});
  request.common.n = request.best_of = 2;
  const auto answer = run(request);
  ASSERT_EQ(answer->choices.size(), 4u);
  EXPECT_EQ(answer->prompts.size(), 2u);
  EXPECT_EQ(answer->choices[0].token_ids, expected("a", 5, 8));
  EXPECT_EQ(answer->choices[2].token_ids, expected("bc", 5, 8));
  EXPECT_NE(answer->choices[0].token_ids, answer->choices[1].token_ids);
}

TEST_F(LocalEngineTest, ChatThinksWithinItsBudget) {
  start();
  api::ChatRequest request;
  request.messages = {{{"role", "user"}, {"content", "hi"}}};
  request.common.max_tokens = 30;
  request.common.seed = 5;
  request.thinking.budget_tokens = 4;
  const auto answer = run(request);
  ASSERT_FALSE(answer->error) << answer->error->message;
  const std::vector<int32_t>& ids = answer->choices[0].token_ids;
  EXPECT_EQ(ids[5], 303);
  EXPECT_EQ(answer->choices[0].usage.reasoning_tokens, 4);
  EXPECT_FALSE(answer->choices[0].content.empty());
  request.thinking.enabled = false;
  request.thinking.budget_tokens.reset();
  const auto silent = run(request);
  EXPECT_EQ(silent->choices[0].reasoning, "");
  EXPECT_EQ(silent->choices[0].usage.reasoning_tokens, 0);
}

TEST_F(LocalEngineTest, StopStringFreesTheEngine) {
  start();
  api::CompletionRequest request = completion("hello", 400);
  const std::string text = text_.tokenizer->decode(expected("hello", 5, 40), true);
  request.common.stop = {text.substr(text.size() - 3)};
  const auto answer = run(request);
  EXPECT_EQ(answer->choices[0].finish, api::Finish::kStop);
  EXPECT_LE(answer->choices[0].usage.completion_tokens, 40);
  EXPECT_TRUE(until([&] { return idle(); }));
  const auto finished = [&](engine::FinishReason reason) {
    return engine_->stats().finished[static_cast<size_t>(reason)];
  };
  EXPECT_TRUE(until([&] { return finished(engine::FinishReason::kStop) == 1; }));
  EXPECT_EQ(finished(engine::FinishReason::kCancelled), 0u) << "nobody withdrew it";
}

TEST_F(LocalEngineTest, ADeadlineEndsTheAnswer) {
  start();
  api::CompletionRequest request = completion("hello", 400);
  request.common.deadline_ms = 20;  // 400 steps of 0.2 ms take longer.
  const auto answer = run(request);
  ASSERT_TRUE(answer->error);
  EXPECT_EQ(answer->error->http, 504);
  EXPECT_EQ(answer->error->code, "deadline_exceeded");
  EXPECT_TRUE(until([&] { return idle(); }));
  request.common.deadline_ms = 60'000;
  EXPECT_FALSE(run(request)->error);
}

TEST_F(LocalEngineTest, IsNotReadyWhileTheRunnerFails) {
  EXPECT_FALSE(local_.ready()) << "no engine yet";
  start();
  EXPECT_TRUE(local_.ready());
  runner_->failing = {1};
  const auto failed = run(completion("hello", 4));
  ASSERT_TRUE(failed->error);
  EXPECT_EQ(failed->error->http, 503);
  EXPECT_FALSE(local_.ready());
  EXPECT_FALSE(run(completion("hello", 4))->error);
  EXPECT_TRUE(local_.ready()) << "it computes again";
}

TEST_F(LocalEngineTest, Cancel) {
  start();
  const auto recorder = std::make_shared<Recorder>();
  api::CompletionRequest request = completion("hello", 400);
  request.common.n = request.best_of = 4;
  const auto id = generate(request, recorder);
  EXPECT_TRUE(until([&] { return !recorder->choices.empty(); }));
  local_.cancel(id);
  local_.cancel(id);
  EXPECT_EQ(local_.live(), 0u);
  EXPECT_TRUE(until([&] { return idle(); }));
  EXPECT_FALSE(recorder->ended);
  const auto early = std::make_shared<Recorder>();
  local_.cancel(generate(completion("x", 4), early));  // Before it is prepared.
  const auto within = std::make_shared<Recorder>();
  Upstream::GenerationId own = 0;
  within->on_first_delta = [&] { local_.cancel(own); };
  own = generate(completion("y", 100), within);
  EXPECT_TRUE(until([&] { return !within->choices.empty() && local_.live() == 0; }));
  EXPECT_TRUE(until([&] { return idle(); }));
  EXPECT_FALSE(early->ended || within->ended);
}

TEST_F(LocalEngineTest, Errors) {
  start();
  const auto long_prompt = run(completion(std::string(kContext, 'x'), 1));
  EXPECT_EQ(long_prompt->error->code, "context_length_exceeded");
  EXPECT_FALSE(long_prompt->accepted);
  EXPECT_EQ(run(completion("x", kContext))->error->code, "context_length_exceeded");
  EXPECT_EQ(run(completion("", 1))->error->param, "prompt");
  api::ChatRequest refused;
  refused.messages = {{{"role", "tool"}, {"content", "hi"}}};
  const auto by_template = run(refused);
  EXPECT_EQ(by_template->error->code, "chat_template_error");
  EXPECT_EQ(by_template->error->http, 400);
  EXPECT_EQ(local_.live(), 0u);
}

TEST_F(LocalEngineTest, AFullEngineRefusesTheWholeRequest) {
  start(2);
  api::CompletionRequest request = completion("hello", 400);
  request.common.n = request.best_of = 3;
  const auto answer = run(request);
  ASSERT_TRUE(answer->error);
  EXPECT_EQ(answer->error->http, 429);
  // The two that had been let in are cancelled through the engine's inbox: their places come back
  // once it has read it, which idle statistics from before do not show.
  EXPECT_TRUE(until([&] { return !run(completion("hello", 4))->error; }));
}

TEST_F(LocalEngineTest, TheEngineStops) {
  start();
  const auto recorder = std::make_shared<Recorder>();
  generate(completion("hello", 500), recorder);
  EXPECT_TRUE(until([&] { return !recorder->choices.empty(); }));
  engine_->stop();
  EXPECT_TRUE(until([&] { return recorder->ended; }));
  EXPECT_EQ(recorder->error->http, 503);
  EXPECT_EQ(run(completion("x", 1))->error->http, 503);
}

TEST_F(LocalEngineTest, ContinuesTheLastMessage) {
  start();
  api::ChatRequest request;
  request.messages = {{{"role", "user"}, {"content", "hi"}},
                      {{"role", "assistant"}, {"content", "so "}}};
  request.continue_final_message = true;
  request.add_generation_prompt = false;
  request.common.max_tokens = 1;
  const auto answer = run(request);
  EXPECT_EQ(text_.tokenizer->decode(answer->prompts.at(0).token_ids, false),
            "user:hi|assistant:so");
}

TEST_F(LocalEngineTest, EchoAndTokenize) {
  start();
  api::CompletionRequest request = completion("hey", 1);
  request.echo = true;
  EXPECT_EQ(run(request)->prompts.at(0).text, "hey");
  std::optional<api::Parsed<Tokens>> tokens;
  api::TokenizeRequest asked;
  asked.prompt = "ab";
  asked.return_token_strs = true;
  local_.tokenize(asked, [&](api::Parsed<Tokens> got) { tokens = std::move(got); });
  EXPECT_TRUE(until([&] { return tokens.has_value(); }));
  EXPECT_EQ(tokens->value.ids, (std::vector<int32_t>{'a', 'b'}));
  EXPECT_EQ(tokens->value.spellings, (std::vector<std::string>{"a", "b"}));
  std::optional<std::string> text;
  local_.detokenize({"", {'a', 'b'}},
                    [&](const api::Parsed<std::string>& got) { text = got.value; });
  EXPECT_TRUE(until([&] { return text.has_value(); }));
  EXPECT_EQ(*text, "ab");
}

}  // namespace
}  // namespace galley::gateway
