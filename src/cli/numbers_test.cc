#include "cli/numbers.h"

#include <gtest/gtest.h>

#include <cmath>

namespace galley::cli {
namespace {

TEST(Numbers, CountsFollowTheSuffixRule) {
  EXPECT_EQ(*parse_count("0"), 0);
  EXPECT_EQ(*parse_count("-1"), -1);
  EXPECT_EQ(*parse_count("4k"), 4000);
  EXPECT_EQ(*parse_count("4K"), 4096);
  EXPECT_EQ(*parse_count("25.6k"), 25600);
  EXPECT_EQ(*parse_count("1M"), 1 << 20);
  EXPECT_EQ(*parse_count("9223372036854775807"), INT64_MAX);
}

TEST(Numbers, CountsRefuseEverythingElse) {
  for (const char* text : {"", "-", "k", "4kk", "4 k", "1.5", "1.5K", "1e3", "0x10", "4kB", "nan",
                           "9223372036854775808", "9000000000G", "1.2.3k", "+4", "tcp://1:80"}) {
    EXPECT_FALSE(parse_count(text).ok()) << text;
  }
}

TEST(Numbers, SizesAreBinaryUnlessTheySayB) {
  EXPECT_EQ(*parse_size("17"), 17);
  EXPECT_EQ(*parse_size("17B"), 17);
  EXPECT_EQ(*parse_size("2G"), int64_t{2} << 30);
  EXPECT_EQ(*parse_size("2GiB"), int64_t{2} << 30);
  EXPECT_EQ(*parse_size("2GB"), 2'000'000'000);
  EXPECT_EQ(*parse_size("1.5KiB"), 1536);
  for (const char* text : {"", "-1", "iB", "2X", "2GiBB", "2g", "1e9", "99999999T"}) {
    EXPECT_FALSE(parse_size(text).ok()) << text;
  }
}

TEST(Numbers, RealsAreFiniteOrInf) {
  EXPECT_DOUBLE_EQ(*parse_real("2.5"), 2.5);
  EXPECT_TRUE(std::isinf(*parse_real("inf")));
  for (const char* text : {"", "nan", "-inf", "1e999", "2.5x", " 1"}) {
    EXPECT_FALSE(parse_real(text).ok()) << text;
  }
}

TEST(Numbers, ShowsWhatPeopleRead) {
  EXPECT_EQ(show_size(512), "512 B");
  EXPECT_EQ(show_size(1536.0 * 1024 * 1024), "1.50 GiB");
  EXPECT_EQ(show_count(26'500'000), "26.5 M");
  EXPECT_EQ(show_grouped(1234567), "1,234,567");
  EXPECT_EQ(show_grouped(-123), "-123");
  EXPECT_EQ(show_grouped(0), "0");
}

}  // namespace
}  // namespace galley::cli
