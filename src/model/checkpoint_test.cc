#include "model/checkpoint.h"

#include <gtest/gtest.h>

#include "model/testing/folder.h"

namespace galley::model {
namespace {

using testing::FileTensor;
using testing::safetensors_file;
using testing::TemporaryFolder;

FileTensor bytes4(const std::string& name, char fill) {
  return {name, StoredType::kU8, {4}, std::string(4, fill)};
}

void expect_refused(const TemporaryFolder& folder, Code code, const std::string& why) {
  const auto opened = Checkpoint::open(folder.path());
  ASSERT_FALSE(opened.ok());
  EXPECT_EQ(opened.code(), code) << opened.message();
  EXPECT_NE(opened.message().find(why), std::string::npos) << opened.message();
}

TEST(Checkpoint, OpensOneFile) {
  const TemporaryFolder folder;
  expect_refused(folder, Code::kNotFound, "neither");
  folder.write("model.safetensors", safetensors_file({bytes4("a", 'A'), bytes4("b", 'B')}));
  const auto opened = Checkpoint::open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.message();
  ASSERT_NE(opened->find("b"), nullptr);
  EXPECT_EQ(static_cast<char>(opened->find("b")->data[3]), 'B');
  EXPECT_EQ(opened->find("c"), nullptr);
  int64_t done = -1;
  opened->page_in([&done](int64_t bytes) { done = bytes; });
  EXPECT_EQ(done, opened->size_bytes());
}

TEST(Checkpoint, OpensShards) {
  const TemporaryFolder folder;
  folder.write("model-1.safetensors", safetensors_file({bytes4("a", 'A')}));
  folder.write("model-2.safetensors", safetensors_file({bytes4("b", 'B')}));
  folder.write("model.safetensors.index.json",
               R"({"weight_map":{"a":"model-1.safetensors","b":"model-2.safetensors"}})");
  const auto opened = Checkpoint::open(folder.path());
  ASSERT_TRUE(opened.ok()) << opened.message();
  EXPECT_EQ(static_cast<char>(opened->find("b")->data[0]), 'B');
  EXPECT_EQ(static_cast<char>(opened->find("a")->data[0]), 'A');
}

TEST(Checkpoint, RefusesAnIndexThatLies) {
  const TemporaryFolder folder;
  const auto index = [&folder](const std::string& map) {
    folder.write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
  };
  folder.write("s1", safetensors_file({bytes4("a", 'A')}));
  folder.write("s2", safetensors_file({bytes4("a", 'A')}));
  folder.write("s3", safetensors_file({bytes4("c", 'A')}));
  index(R"({"a":"s1","x":"s1"})");
  expect_refused(folder, Code::kCorrupt, "\"x\"");
  index(R"({"x":"s1"})");
  expect_refused(folder, Code::kCorrupt, "\"a\"");
  index(R"({"a":"s4"})");
  expect_refused(folder, Code::kNotFound, "s4");
  for (const char* name : {"../s1", "/etc/passwd", "", ".", "s1/../s2"}) {
    index(std::string(R"({"a":")") + name + "\"}");
    expect_refused(folder, Code::kInvalid, "\"a\"");
  }
  index(R"({"a":1})");
  expect_refused(folder, Code::kInvalid, "\"a\"");
  index("[]");
  expect_refused(folder, Code::kInvalid, "weight_map");
  folder.write("model.safetensors.index.json", "{}");
  expect_refused(folder, Code::kInvalid, "weight_map");
  folder.write("model.safetensors", "short");
  expect_refused(folder, Code::kCorrupt, "model.safetensors");
}

}  // namespace
}  // namespace galley::model
