#include "hub/progress.h"

#include <gtest/gtest.h>

namespace galley::hub {
namespace {

TEST(Progress, RateIsOfTheLastSeconds) {
  Progress progress(1'000'000'000, 0);
  int64_t now = 0;
  for (; now < 60'000; now += 100) progress.add(100'000, now);  // 1 MB/s
  EXPECT_NEAR(progress.rate(now), 1e6, 3e4);
  for (; now < 80'000; now += 100) progress.add(500'000, now);  // 5 MB/s
  EXPECT_NEAR(progress.rate(now), 5e6, 2e5);
  EXPECT_EQ(progress.left_s(now), static_cast<int64_t>(840e6 / progress.rate(now) + 0.5));
  EXPECT_EQ(progress.rate(now + 20'000), 0) << "nothing came";
  EXPECT_EQ(progress.left_s(now + 20'000), -1);
}

TEST(Progress, WhatWasThereIsNoRate) {
  Progress progress(100, 0);
  progress.skip(60);
  EXPECT_EQ(progress.rate(0), 0);
  EXPECT_EQ(progress.done(), 60);
  progress.skip(-60);
  EXPECT_EQ(progress.done(), 0);
}

TEST(Progress, Line) {
  Progress progress(15'100'000'000, 4'100'000'000);
  for (int64_t now = 0; now <= 1000; now += 250) progress.add(20'000'000, now);
  EXPECT_EQ(progress.line(3, 12, 1000),
            "3 of 12 files, 4.2 GB of 15.1 GB (27 %), 100.0 MB/s, 1 min 49 s left");
  EXPECT_EQ(Progress(0, 0).line(1, 1, 0), "1 of 1 files, 0 B of 0 B (100 %), 0 B/s");
  EXPECT_EQ(size_text(999), "999 B");
  EXPECT_EQ(size_text(999'999), "1.0 MB");
  EXPECT_EQ(size_text(1234), "1.2 kB");
}

}  // namespace
}  // namespace galley::hub
