#include "hub/repository.h"

#include <gtest/gtest.h>

#include "hub/http_fetch.h"

namespace galley::hub {
namespace {

const std::string kSha256(64, 'a');
const std::string kSha1(40, 'b');

std::string listing(const std::string& files) {
  return R"({"sha": ")" + std::string(40, 'c') + R"(", "siblings": [)" + files + "]}";
}

std::string small(const std::string& path, const std::string& rest = "") {
  return R"({"rfilename": ")" + path + R"(", "size": 5, "blobId": ")" + kSha1 + "\"" + rest + "}";
}

TEST(Repository, Names) {
  for (const char* good : {"deepseek-ai/DeepSeek-V3.1", "gpt2", "Qwen/Qwen2.5-1.5B", "a_b/c_d"})
    EXPECT_TRUE(check_repository(good).ok()) << good;
  for (const char* bad : {"", "a/b/c", "/a", "a/", "../x", "a/..", "a/.b", "a--b/c", "a b/c",
                          "a/b\n", ".a/b", "a//b", "https://x/y", "a/b?c", "\\\\a/b", "a%2fb/c"})
    EXPECT_EQ(check_repository(bad).code(), Code::kInvalid) << bad;
  EXPECT_TRUE(looks_like_repository("org/name"));
  for (const char* folder : {"demo", "./a/b", "models/demo/", "/models/demo", "../demo", "a/b/c"})
    EXPECT_FALSE(looks_like_repository(folder)) << folder;
  for (const char* good : {"main", "v1.0", "refs/pr/1", "feature/x"})
    EXPECT_TRUE(check_revision(good).ok()) << good;
  for (const char* bad : {"", "../x", "a/../b", "/a", "a/", "a//b", "a b", "a?b"})
    EXPECT_FALSE(check_revision(bad).ok()) << bad;
}

TEST(Repository, HostilePathsAreRefused) {
  for (const char* bad : {"", "/etc/passwd", "..", "../x", "a/../../x", "a//b", "./a", "a/.",
                          "a\\..\\b", "a\nb", "a/"})
    EXPECT_EQ(check_path(bad, 512).code(), Code::kCorrupt) << bad;
  EXPECT_EQ(check_path(std::string(600, 'a'), 512).code(), Code::kCorrupt);
  EXPECT_EQ(check_path(std::string(201, 'a'), 512).code(), Code::kCorrupt);
  for (const char* good : {"a", "model-00001-of-00002.safetensors", "onnx/model.onnx", "中文.txt"})
    EXPECT_TRUE(check_path(good, 512).ok()) << good;
  const auto parsed = parse_listing(Source::kHuggingFace, listing(small("../../.bashrc")), {});
  EXPECT_EQ(parsed.code(), Code::kCorrupt);
}

TEST(Repository, HuggingFaceListing) {
  const auto parsed = parse_listing(
      Source::kHuggingFace,
      listing(small("config.json") + "," +
              small("a.safetensors", R"(, "lfs": {"sha256": ")" + kSha256 + R"(", "size": 700})")),
      {});
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed->commit, std::string(40, 'c'));
  ASSERT_EQ(parsed->files.size(), 2u);
  EXPECT_EQ(parsed->files[0].path, "a.safetensors");
  EXPECT_EQ(parsed->files[0].size, 700);
  EXPECT_EQ(parsed->files[0].etag(), kSha256);
  EXPECT_EQ(parsed->files[1].etag(), kSha1);
}

TEST(Repository, WhatIsMissingIsNamed) {
  const auto message = [](const std::string& body) {
    const auto parsed = parse_listing(Source::kHuggingFace, body, {.files_max = 2});
    EXPECT_EQ(parsed.code(), Code::kCorrupt);
    return parsed.ok() ? std::string() : parsed.message();
  };
  EXPECT_EQ(message("<html>"), "the hub's list of files is no JSON");
  EXPECT_EQ(message("[]"), "the hub's list of files is no JSON");
  EXPECT_EQ(message("{}"), "the hub's list of files names no commit");
  EXPECT_EQ(message(listing("1")), "the hub's list of files has an entry that is no object");
  EXPECT_EQ(message(listing(R"({"rfilename": "x", "blobId": "y"})")),
            "the hub's list of files has no size for 'x'");
  EXPECT_EQ(message(listing(R"({"rfilename": "x", "size": -1, "blobId": "y"})")),
            "the hub's list of files has no size for 'x'");
  EXPECT_EQ(message(listing(R"({"rfilename": "x", "size": 1, "blobId": "../../y"})")),
            "the hub's list of files has no hash for 'x'");
  EXPECT_EQ(message(listing(small("x", R"(, "lfs": {"size": 1, "sha256": "AB"})"))),
            "the hub's list of files has no hash for 'x'");
  EXPECT_EQ(message(listing(small("x") + "," + small("x"))),
            "the hub's list of files names 'x' twice");
  EXPECT_EQ(message(listing(small("x") + "," + small("y") + "," + small("z"))),
            "the hub's list of files is missing or too long");
}

TEST(Repository, ModelScopeListing) {
  const std::string body =
      R"({"Code": 200, "Data": {"Files": [{"Path": "onnx", "Type": "tree", "Size": 0},
          {"Path": "config.json", "Type": "blob", "Size": 5, "Sha256": ")" +
      kSha256 + R"("}]}})";
  const auto parsed = parse_listing(Source::kModelScope, body, {});
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed->commit.size(), 40u);
  ASSERT_EQ(parsed->files.size(), 1u);
  EXPECT_EQ(parsed->files[0].etag(), kSha256);
  EXPECT_EQ(
      parse_listing(Source::kModelScope, R"({"Code": 10010205001, "Message": "no"})", {}).message(),
      "the hub's list of files is missing or too long: no");
}

TEST(Repository, Targets) {
  EXPECT_EQ(listing_target(Source::kHuggingFace, "a/b", "refs/pr/1"),
            "/api/models/a/b/revision/refs%2Fpr%2F1?blobs=true");
  EXPECT_EQ(file_target(Source::kHuggingFace, "a/b", "c0ffee", "main", "x y/#1.json"),
            "/a/b/resolve/c0ffee/x%20y/%231.json");
  EXPECT_EQ(file_target(Source::kModelScope, "a/b", "c0ffee", "v1", "x/y"),
            "/api/v1/models/a/b/repo?Revision=v1&FilePath=x%2Fy");
}

TEST(Repository, WhatAServerNeeds) {
  for (const char* path : {"config.json", "model.safetensors", "model.safetensors.index.json",
                           "tokenizer.json", "chat_template.jinja", "merges.txt", "LICENSE-MODEL"})
    EXPECT_TRUE(wanted(path, {})) << path;
  for (const char* path :
       {"pytorch_model.bin", "model.gguf", "onnx/model.onnx", "original/params.json",
        ".gitattributes", "figures/x.png", "configuration_deepseek.py"})
    EXPECT_FALSE(wanted(path, {})) << path;
  EXPECT_TRUE(wanted("onnx/model.onnx", {"*.gguf", "onnx/*"}));
  EXPECT_TRUE(matches("abcabd", "*ab?"));
  EXPECT_TRUE(matches("", "*"));
  EXPECT_FALSE(matches("abc", "ab"));
  EXPECT_FALSE(matches(std::string(5000, 'a'), "*a*a*a*a*a*a*b"));  // Quickly.
}

TEST(FetchUrls, ParseAndResolve) {
  const auto base = parse_fetch_url("https://hub.example/api/x?y=1");
  ASSERT_TRUE(base.ok());
  EXPECT_EQ(base->port, "443");
  EXPECT_EQ(base->target, "/api/x?y=1");
  EXPECT_EQ(resolve_location(*base, "/z?q=a%20b")->text(), "https://hub.example/z?q=a%20b");
  EXPECT_EQ(resolve_location(*base, "//cdn.example:8443/f")->text(), "https://cdn.example:8443/f");
  EXPECT_FALSE(resolve_location(*base, "http://cdn.example/f")->tls);
  EXPECT_FALSE(base->same_server(*resolve_location(*base, "https://hub.example:444/")));
  for (const char* bad : {"file:///etc/passwd", "ftp://x/y", "https://", "https://a:b@c/", "x"})
    EXPECT_FALSE(parse_fetch_url(bad).ok()) << bad;
  EXPECT_FALSE(resolve_location(*base, "javascript:x").ok());
}

}  // namespace
}  // namespace galley::hub
