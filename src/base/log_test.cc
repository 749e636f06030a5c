#include "base/log.h"

#include <gtest/gtest.h>

#include <string>
#include <thread>
#include <vector>

namespace galley {
namespace {

TEST(Log, LevelsParseByNameAndUnknownOnesAreNamed) {
  EXPECT_EQ(*parse_log_level("debug"), LogLevel::kDebug);
  EXPECT_EQ(*parse_log_level("off"), LogLevel::kOff);
  const Result<LogLevel> wrong = parse_log_level("verbose");
  ASSERT_FALSE(wrong.ok());
  EXPECT_NE(wrong.message().find("'verbose'"), std::string::npos);
  EXPECT_NE(wrong.message().find("warning"), std::string::npos);
}

TEST(Log, LinesBelowTheLevelAreDropped) {
  testing::internal::CaptureStderr();
  set_log_level(LogLevel::kWarning);
  log_info("quiet");
  log_warning("port ", 8000, " of ", std::string("host"), ", share ", 0.5, ", on ", true);
  set_log_level(LogLevel::kOff);
  log_error("never");
  set_log_level(LogLevel::kInfo);
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_EQ(out.find("quiet"), std::string::npos);
  EXPECT_EQ(out.find("never"), std::string::npos);
  EXPECT_NE(out.find("warning port 8000 of host, share 0.5, on true\n"), std::string::npos) << out;
}

TEST(Log, TextFromOutsideCannotForgeALineOrAColour) {
  testing::internal::CaptureStderr();
  log_info("model 'a\nb\x1b[31m\x7f'");
  const std::string out = testing::internal::GetCapturedStderr();
  EXPECT_NE(out.find("model 'a\\x0ab\\x1b[31m\\x7f'\n"), std::string::npos) << out;
}

TEST(Log, LinesOfSeveralThreadsDoNotMix) {
  testing::internal::CaptureStderr();
  std::vector<std::thread> threads;
  threads.reserve(4);
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([] {
      for (int i = 0; i < 200; ++i) log_info("0123456789");
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::string out = testing::internal::GetCapturedStderr();
  size_t lines = 0;
  for (size_t at = 0; (at = out.find(" 0123456789\n", at)) != std::string::npos; ++at) ++lines;
  EXPECT_EQ(lines, 800u);
}

}  // namespace
}  // namespace galley
