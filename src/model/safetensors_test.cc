#include "model/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>

namespace galley::model {
namespace {

std::string file_of(const std::string& header, size_t data_bytes) {
  std::string file(8, '\0');
  const uint64_t size = header.size();
  std::memcpy(file.data(), &size, 8);
  return file + header + std::string(data_bytes, 'x');
}

Result<std::vector<StoredTensor>> parse(const std::string& file) {
  return parse_safetensors(std::as_bytes(std::span(file.data(), file.size())), "f");
}

void expect_refused(const std::string& header, size_t data_bytes, const std::string& why) {
  const auto parsed = parse(file_of(header, data_bytes));
  ASSERT_FALSE(parsed.ok()) << header;
  EXPECT_EQ(parsed.code(), Code::kCorrupt);
  EXPECT_NE(parsed.message().find(why), std::string::npos) << parsed.message();
}

TEST(Safetensors, ReadsTensorsInTheOrderOfTheirData) {
  const std::string file = file_of(R"({"__metadata__":{"format":"pt"},)"
                                   R"("b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                                   R"("e":{"dtype":"F32","shape":[0,7],"data_offsets":[4,4]},)"
                                   R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )",
                                   16);
  const auto parsed = parse(file);
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  ASSERT_EQ(parsed->size(), 3u);
  EXPECT_EQ((*parsed)[0].name, "a");
  EXPECT_EQ((*parsed)[0].rank, 0u);
  EXPECT_EQ((*parsed)[1].name, "e");
  EXPECT_EQ((*parsed)[2].type, StoredType::kBF16);
  EXPECT_EQ(shape_text((*parsed)[2].dims()), "[2, 3]");
  EXPECT_EQ((*parsed)[2].data.size(), 12u);
  EXPECT_EQ(reinterpret_cast<const char*>((*parsed)[2].data.data()),
            file.data() + file.size() - 12);
  EXPECT_TRUE(parse(file_of("{}", 0)).ok());
}

TEST(Safetensors, RefusesWrongLengths) {
  EXPECT_FALSE(parse("").ok());
  EXPECT_FALSE(parse("1234567").ok());
  std::string file = file_of("{}", 0);
  for (const uint64_t claim : {uint64_t{3}, uint64_t{1} << 60, ~uint64_t{0}, ~uint64_t{0} - 7}) {
    std::memcpy(file.data(), &claim, 8);
    const auto parsed = parse(file);
    ASSERT_FALSE(parsed.ok());
    EXPECT_NE(parsed.message().find("claims a header"), std::string::npos) << parsed.message();
  }
}

TEST(Safetensors, RefusesWrongJson) {
  expect_refused("", 0, "header");
  expect_refused("[]", 0, "list");
  expect_refused("{} {}", 0, "more than one");
  expect_refused("{", 0, "header");
  expect_refused(R"({"a":1})", 0, "number");
  expect_refused(R"({"a":null})", 0, "null");
  expect_refused(R"({"a":{}})", 0, "dtype is missing");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1]}})", 4, "data_offsets");
  expect_refused(R"({"a":{"dtype":"F33","shape":[1],"data_offsets":[0,4]}})", 4, "F33");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}})", 4, "\"x\"");
  expect_refused(R"({"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 4,
                 "twice");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1.5],"data_offsets":[0,4]}})", 4, "integer");
  expect_refused(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4, "negative");
  expect_refused(R"({"a":{"dtype":"F32","shape":[[1]],"data_offsets":[0,4]}})", 4, "list");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,4]}})", 4, "two numbers");
  expect_refused(R"({"a":{"dtype":"F32","shape":[1,1,1,1,1,1,1,1,1],"data_offsets":[0,4]}})", 4,
                 "8 dimensions");
  expect_refused(R"({"__metadata__":{"a":{}}})", 0, "object");
  expect_refused("{\"" + std::string(513, 'n') + "\":{}}", 0, "512");
  expect_refused(std::string(1000000, '['), 0, "header");
  std::string deep;
  for (int i = 0; i < 1000000; ++i) deep += "{\"a\":";
  expect_refused(deep, 0, "header");
}

TEST(Safetensors, RefusesWrongOffsets) {
  const auto two = [](const std::string& a, const std::string& b) {
    return R"({"a":{"dtype":"U8","shape":[4],"data_offsets":)" + a +
           R"(},"b":{"dtype":"U8","shape":[4],"data_offsets":)" + b + "}}";
  };
  EXPECT_TRUE(parse(file_of(two("[4,8]", "[0,4]"), 8)).ok());
  expect_refused(two("[0,4]", "[3,7]"), 7, "overlap");
  expect_refused(two("[0,4]", "[0,4]"), 4, "overlap");
  expect_refused(two("[0,4]", "[5,9]"), 9, "to no tensor");
  expect_refused(two("[0,4]", "[4,8]"), 9, "belong to no tensor");
  expect_refused(two("[0,4]", "[4,8]"), 7, "past the file");
  expect_refused(two("[4,0]", "[4,8]"), 8, "backwards");
  expect_refused(two("[0,3]", "[4,8]"), 8, "3 bytes");
  expect_refused(two("[0,4]", "[18446744073709551612,18446744073709551615]"), 8, "past");
  expect_refused(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},)"
                 R"("a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
                 2, "\"a\" occurs twice");
  // 2^32 x 2^32 x 4 bytes is 0 modulo 2^64.
  expect_refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
                 "2^60");
  expect_refused(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,4]}})", 4,
                 "2^60");
}

// Any single changed byte gives a clean answer: an error, or tensors that lie inside the file.
TEST(Safetensors, SurvivesEveryChangedByte) {
  const std::string good = file_of(R"({"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
                                   R"("a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
                                   16);
  for (size_t at = 0; at + 16 < good.size(); ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string bad = good;
      bad[at] = static_cast<char>(value);
      const auto parsed = parse(bad);
      if (!parsed.ok()) continue;
      for (const StoredTensor& tensor : *parsed) {
        const auto* const begin = reinterpret_cast<const char*>(tensor.data.data());
        ASSERT_GE(begin, bad.data());
        ASSERT_LE(begin + tensor.data.size(), bad.data() + bad.size());
      }
    }
  }
}

}  // namespace
}  // namespace galley::model
