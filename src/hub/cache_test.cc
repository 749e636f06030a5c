#include "hub/cache.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <iterator>

namespace galley::hub {
namespace {

namespace fs = std::filesystem;

const std::string kCommit(40, 'c');

class CacheTest : public ::testing::Test {
 protected:
  CacheTest() : root_(::testing::TempDir() + "galley-cache-" + std::to_string(::getpid())) {
    fs::remove_all(root_);
  }
  ~CacheTest() override { fs::remove_all(root_); }

  static RemoteFile file(const std::string& path, int64_t size) {
    RemoteFile out;
    out.path = path;
    out.size = size;
    out.sha256 = std::string(63, 'a') + std::to_string(size % 10);
    return out;
  }
  static std::string read(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void put(Cache& cache, const RemoteFile& one, const std::string& bytes) {
    auto writer = cache.open_blob(one, [] { return false; });
    ASSERT_TRUE(writer.ok()) << writer.message();
    ASSERT_TRUE(writer->append(bytes).ok());
    ASSERT_TRUE(writer->publish().ok());
    ASSERT_TRUE(cache.link(kCommit, one).ok());
  }

  const std::string root_;
};

TEST_F(CacheTest, LaysFilesOutAsHuggingFaceDoes) {
  Cache cache(root_, "org/name");
  const RemoteFile deep = file("sub/dir/x.json", 5);
  put(cache, deep, "hello");
  ASSERT_TRUE(cache.write_ref("refs/pr/1", kCommit).ok());
  const std::string folder = root_ + "/models--org--name";
  EXPECT_EQ(read(folder + "/blobs/" + deep.etag()), "hello");
  EXPECT_EQ(fs::read_symlink(folder + "/snapshots/" + kCommit + "/sub/dir/x.json"),
            "../../../../blobs/" + deep.etag());
  EXPECT_EQ(read(cache.snapshot(kCommit) + "/sub/dir/x.json"), "hello");
  EXPECT_EQ(read(folder + "/refs/refs/pr/1"), kCommit);
  EXPECT_EQ(cache.read_ref("refs/pr/1"), kCommit);
  EXPECT_EQ(cache.read_ref(kCommit), kCommit);
  EXPECT_EQ(cache.read_ref("main"), std::nullopt);
  EXPECT_TRUE(fs::exists(root_ + "/.locks/models--org--name/" + deep.etag() + ".lock"));
}

TEST_F(CacheTest, AHalfFileIsNoFileAndIsGoneOnWith) {
  Cache cache(root_, "org/name");
  const RemoteFile one = file("a", 6);
  {
    auto writer = cache.open_blob(one, [] { return false; });
    ASSERT_TRUE(writer.ok());
    ASSERT_TRUE(writer->append("abc").ok());
  }
  EXPECT_FALSE(cache.has_blob(one));
  auto writer = cache.open_blob(one, [] { return false; });
  ASSERT_TRUE(writer.ok());
  EXPECT_EQ(writer->size(), 3);
  std::string there;
  ASSERT_TRUE(writer->read_back([&](std::string_view piece) { there += piece; }).ok());
  EXPECT_EQ(there, "abc");
  ASSERT_TRUE(writer->append("def").ok());
  ASSERT_TRUE(writer->publish().ok());
  EXPECT_TRUE(cache.has_blob(one));
  EXPECT_TRUE(cache.open_blob(file("a", 6), [] { return false; })->published());
}

TEST_F(CacheTest, OneWriterAtATime) {
  Cache cache(root_, "org/name");
  const RemoteFile one = file("a", 6);
  auto first = cache.open_blob(one, [] { return false; });
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(cache.open_blob(one, [] { return true; }).code(), Code::kCancelled);
  first = Status(Code::kCancelled, "done");
  EXPECT_TRUE(cache.open_blob(one, [] { return true; }).ok());
}

TEST_F(CacheTest, CompleteIsWhatAPullHasFinished) {
  Cache cache(root_, "org/name");
  const std::vector<RemoteFile> files = {file("a b", 1), file("c", 2)};
  put(cache, files[0], "1");
  put(cache, files[1], "22");
  EXPECT_FALSE(cache.is_complete(kCommit)) << "nobody has said so";
  ASSERT_TRUE(cache.mark_complete(kCommit, files).ok());
  EXPECT_TRUE(cache.is_complete(kCommit));
  fs::remove(root_ + "/models--org--name/blobs/" + files[1].etag());
  EXPECT_FALSE(cache.is_complete(kCommit)) << "somebody has tidied up";
}

TEST_F(CacheTest, FreeBytesOfAFolderThatIsNotThereYet) {
  EXPECT_GT(Cache(root_ + "/x/y", "org/name").free_bytes(), 0);
}

}  // namespace
}  // namespace galley::hub
