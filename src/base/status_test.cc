#include "base/status.h"

#include <gtest/gtest.h>

#include <memory>

namespace galley {
namespace {

Result<std::unique_ptr<int>> half(int n) {
  if (n % 2 != 0) return Status(Code::kInvalid, "n is odd");
  return std::make_unique<int>(n / 2);
}

Result<int> quarter(int n) {
  GALLEY_ASSIGN_OR_RETURN(const auto first, half(n));
  GALLEY_ASSIGN_OR_RETURN(const auto second, half(*first));
  return *second;
}

TEST(Result, CarriesTheValueOrTheFirstError) {
  EXPECT_EQ(quarter(8).value(), 2);
  EXPECT_EQ(quarter(6).code(), Code::kInvalid);
  EXPECT_EQ(quarter(6).message(), "n is odd");
}

TEST(ResultDeathTest, ValueOfAnErrorIsABug) {
  EXPECT_DEATH((void)half(3).value(), "holds an error");
}

}  // namespace
}  // namespace galley
