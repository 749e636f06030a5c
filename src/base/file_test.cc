#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <utility>

namespace galley {
namespace {

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = ::testing::TempDir() + "galley_file_XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(folder_ + "/" + name, std::ios::binary) << text;
    return folder_ + "/" + name;
  }

  std::string folder_;
};

TEST_F(FileTest, ReadsWholeFilesUpToTheBound) {
  const std::string path = write("a", std::string("x\0y", 3));
  EXPECT_EQ(read_file(path, 3).value(), std::string("x\0y", 3));
  const auto refused = read_file(path, 2);
  EXPECT_EQ(refused.code(), Code::kInvalid);
  EXPECT_NE(refused.message().find("3 bytes"), std::string::npos) << refused.message();
  EXPECT_EQ(read_file(write("empty", ""), 0).value(), "");
}

TEST_F(FileTest, NamesWhatItCannotRead) {
  EXPECT_EQ(read_file(folder_ + "/none", 1).code(), Code::kNotFound);
  EXPECT_EQ(read_file(folder_, 1).code(), Code::kInvalid);
  ASSERT_EQ(::mkfifo((folder_ + "/pipe").c_str(), 0600), 0);
  EXPECT_EQ(read_file(folder_ + "/pipe", 1).code(), Code::kInvalid);
  EXPECT_FALSE(file_exists(folder_));
  EXPECT_FALSE(file_exists(folder_ + "/none"));
}

TEST_F(FileTest, ReadsFilesOfTheSystem) {
  const auto text = read_system_file("/proc/self/status");
  ASSERT_TRUE(text.ok()) << text.message();
  EXPECT_NE(text->find("VmRSS"), std::string::npos);
}

TEST_F(FileTest, MapsAndMoves) {
  auto mapped = MappedFile::open(write("a", "hello"));
  ASSERT_TRUE(mapped.ok()) << mapped.message();
  MappedFile moved = std::move(mapped).value();
  MappedFile again;
  again = std::move(moved);
  ASSERT_EQ(again.bytes().size(), 5u);
  EXPECT_EQ(static_cast<char>(again.bytes()[4]), 'o');
  EXPECT_TRUE(MappedFile::open(write("empty", "")).value().bytes().empty());
  EXPECT_EQ(MappedFile::open(folder_ + "/none").code(), Code::kNotFound);
  EXPECT_EQ(MappedFile::open("/dev/zero").code(), Code::kInvalid);
}

}  // namespace
}  // namespace galley
