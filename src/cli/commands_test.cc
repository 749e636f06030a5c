// What holds for every command: its help fits a screen, and a slip is answered with a suggestion.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>
#include <vector>

#include "cli/bench.h"
#include "cli/command.h"

namespace galley::cli {
namespace {

using ::testing::HasSubstr;

struct Named {
  const char* name;
  Run run;
};
const std::vector<Named> kAll = {{"serve", run_serve},
                                 {"chat", run_chat},
                                 {"inspect", run_inspect},
                                 {"tokenize", run_tokenize},
                                 {"version", run_version},
                                 {"bench", run_bench},
                                 {"bench offline", run_bench_offline},
                                 {"bench serve", run_bench_serve}};

TEST(Commands, HelpFitsAScreen) {
  for (const Named& command : kAll) {
    testing::internal::CaptureStdout();
    const std::vector<std::string> args = {"--help"};
    EXPECT_TRUE(command.run(args, {}).ok()) << command.name;
    const std::string text = testing::internal::GetCapturedStdout();
    EXPECT_FALSE(text.empty()) << command.name;
    EXPECT_LE(std::count(text.begin(), text.end(), '\n'), kHelpLinesMax) << command.name;
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size());
      EXPECT_LE(end - begin, kHelpColumnsMax)
          << command.name << ": " << text.substr(begin, end - begin);
      begin = end + 1;
    }
  }
}

TEST(Commands, EveryFlagIsInTheDocument) {
  std::ifstream file(std::string(GALLEY_SOURCE_DIR) + "/docs/configuration.md");
  const std::string document((std::istreambuf_iterator<char>(file)), {});
  ASSERT_FALSE(document.empty());
  for (const Named& command : kAll) {
    testing::internal::CaptureStdout();
    const std::vector<std::string> args = {"--help-all"};
    // A command that only lists others answers an unknown one; it has no flags.
    if (!command.run(args, {}).ok()) {
      testing::internal::GetCapturedStdout();
      continue;
    }
    std::istringstream lines(testing::internal::GetCapturedStdout());
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with("  --")) continue;
      std::string flag = line.substr(4, line.find_first_of(" ,", 4) - 4);
      if (flag.starts_with("[no-]")) flag.erase(0, 5);
      if (flag == "help") continue;
      EXPECT_NE(document.find("`--" + flag + "`"), std::string::npos)
          << "--" << flag << " of " << command.name << " is not in docs/configuration.md";
    }
  }
}

TEST(Commands, UnknownFlagsAreRefusedEverywhere) {
  for (const Named& command : kAll) {
    if (std::string(command.name) == "bench") continue;
    const std::vector<std::string> args = {"--hepl"};
    const Status status = command.run(args, {});
    EXPECT_EQ(status.code(), Code::kInvalid) << command.name;
    EXPECT_THAT(status.message(), HasSubstr("did you mean --help?")) << command.name;
  }
}

TEST(Commands, ServeTakesTheFlagsOfVllm) {
  for (const char* flag : {"--model",
                           "--served-model-name",
                           "--host",
                           "--port",
                           "--api-key",
                           "--dtype",
                           "--max-model-len",
                           "--max-num-seqs",
                           "--max-num-batched-tokens",
                           "--num-gpu-blocks-override",
                           "--enable-prefix-caching",
                           "--no-enable-prefix-caching",
                           "--kv-cache-dtype",
                           "--speculative-config",
                           "--max-num-queued-reqs",
                           "--shutdown-timeout",
                           "--reasoning-parser",
                           "--seed",
                           "--batch-invariant",
                           "--no-batch-invariant",
                           "--load-format",
                           "--chat-template",
                           "--generation-config"}) {
    // Known: the complaint is about the next flag, which no command has.
    std::vector<std::string> args = {flag};
    if (!std::string(flag).ends_with("caching") && !std::string(flag).ends_with("invariant")) {
      args.push_back("1");
    }
    args.push_back("--hepl");
    EXPECT_THAT(run_serve(args, {}).message(), HasSubstr("unknown flag --hepl")) << flag;
  }
}

TEST(Commands, WhatMeansNothingHereIsRefusedWithTheReason) {
  const std::vector<std::string> args = {"--swap-space", "4"};
  EXPECT_THAT(run_serve(args, {}).message(), HasSubstr("there is no swap"));
}

TEST(Commands, TheFileOfServeServesOtherCommands) {
  const std::string path = testing::TempDir() + "/galley-commands.yaml";
  const auto write = [&](const std::string& text) { std::ofstream(path) << text; };
  const auto inspect = [&](std::vector<std::string> args) {
    args.insert(args.end(), {"--config", path, "--json"});
    testing::internal::CaptureStdout();
    const Status status = run_inspect(args, {});
    const std::string out = testing::internal::GetCapturedStdout();
    return status.ok() ? out : status.message();
  };
  const std::string model = std::string("model: ") + GALLEY_SOURCE_DIR + "/models/demo\n";
  write(model + "host: 0.0.0.0\nport: 1234\napi_key: [a, b]\nmax-model-len: 1K\n");
  EXPECT_THAT(inspect({}), HasSubstr("\"max_model_len\":1024"))
      << "host and port mean nothing here";
  EXPECT_THAT(inspect({"--max-model-len", "512"}), HasSubstr("\"max_model_len\":512"));
  write(model + "max-modle-len: 1K\n");
  EXPECT_THAT(inspect({}), HasSubstr("did you mean max-model-len?"));
  const std::vector<std::string> args = {"--config", path};
  for (const cli::Run run : {run_chat, run_tokenize, run_bench_offline})
    EXPECT_THAT(run(args, {}).message(), HasSubstr("unknown key 'max-modle-len'"));
}

TEST(Commands, ServeRefusesAModelThatTheMemoryLimitCannotHold) {
  const std::string model = std::string(GALLEY_SOURCE_DIR) + "/models/demo";
  const std::vector<std::string> args = {model,    "--memory-limit", "8MiB",        "--port", "0",
                                         "--host", "127.0.0.1",      "--log-level", "off"};
  testing::internal::CaptureStderr();
  const Status status = run_serve(args, {});
  const std::string printed = testing::internal::GetCapturedStderr();
  EXPECT_EQ(status.code(), Code::kTooLarge);
  EXPECT_THAT(status.message(), HasSubstr("8388608 are available"));
  EXPECT_THAT(status.message(), HasSubstr("weights and one short request need"));
  // What the plan has chosen is printed, not the 0 that left it the choice.
  EXPECT_THAT(printed, ::testing::ContainsRegex("max-num-batched-tokens +[1-9]"));
  EXPECT_THAT(printed, ::testing::ContainsRegex("threads +[1-9]"));
}

TEST(Commands, DispatchSuggestsTheNearestCommand) {
  static constexpr Command kCommands[] = {{"serve", "", run_serve}, {"chat", "", run_chat}};
  const std::vector<std::string> slip = {"sevre"};
  EXPECT_THAT(dispatch("galley", "", kCommands, slip, {}).message(),
              HasSubstr("did you mean 'galley serve'?"));
  const std::vector<std::string> nonsense = {"xyzzyxyzzy"};
  EXPECT_THAT(dispatch("galley", "", kCommands, nonsense, {}).message(), HasSubstr("--help"));
}

}  // namespace
}  // namespace galley::cli
