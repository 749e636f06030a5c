#include "gateway/page.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <string>

#include "gateway/testing/client.h"
#include "gateway/testing/test_server.h"

namespace galley::gateway {
namespace {

using testing::Client;
using testing::get;
using testing::TestServer;

std::string header(const HttpResponse& response, std::string_view name) {
  for (const auto& [key, value] : response.headers)
    if (key == name) return value;
  return {};
}

std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

TEST(Page, FilesAreThoseOfTheSource) {
  const PageFile* page = find_page_file("/");
  ASSERT_NE(page, nullptr);
  const HttpResponse response = page_response(*page, "");
  EXPECT_EQ(response.body, contents(std::string(GALLEY_SOURCE_DIR) + "/web/index.html"));
  EXPECT_EQ(response.content_type, "text/html; charset=utf-8");
  for (const char* path : {"/ui/lib/katex.js", "/ui/lib/marked.js", "/ui/lib/chart.js",
                           "/ui/lib/highlight.js", "/ui/lib/fonts/KaTeX_Main-Regular.woff2"})
    EXPECT_NE(find_page_file(path), nullptr) << path;
  EXPECT_EQ(find_page_file("/ui/../index.html"), nullptr);
  for (const PageFile& file : page_files()) {
    EXPECT_GT(file.bytes.end, file.bytes.begin) << file.path;
    EXPECT_FALSE(page_response(file, "").content_type.empty()) << file.path;
  }
}

// The page and what it loads need nothing that the policy forbids.
TEST(Page, NothingInlineAndNoOtherHost) {
  const std::string page = page_response(*find_page_file("/"), "").body;
  EXPECT_EQ(page.find("<style"), std::string::npos);
  EXPECT_EQ(page.find(" style="), std::string::npos);
  EXPECT_EQ(page.find("://"), std::string::npos);
  EXPECT_EQ(page.find(" onclick"), std::string::npos);
  const std::string policy =
      header(page_response(*find_page_file("/"), ""), "Content-Security-Policy");
  EXPECT_NE(policy.find("default-src 'none'"), std::string::npos);
  EXPECT_NE(policy.find("require-trusted-types-for 'script'"), std::string::npos);
  EXPECT_EQ(policy.find("unsafe"), std::string::npos);
  EXPECT_EQ(policy.find("http"), std::string::npos);
}

TEST(Page, IsServedWithoutAKeyAndOnlyOnceWhenUnchanged) {
  ServerOptions options = TestServer::options();
  options.api_keys = {"secret"};
  TestServer server(options);
  Client client(server.port());
  client.send(get("/"));
  const std::string page = client.read_response();
  EXPECT_TRUE(page.starts_with("HTTP/1.1 200 "));
  const size_t at = page.find("ETag: ") + 6;
  const std::string etag = page.substr(at, page.find('\r', at) - at);
  client.send(get("/", "If-None-Match: " + etag + "\r\n"));
  const std::string again = client.read_response();
  EXPECT_TRUE(again.starts_with("HTTP/1.1 304 Not Modified\r\n")) << again;
  EXPECT_EQ(again.find("<html"), std::string::npos);
  client.send(get("/ui/nothing.js"));  // Needs a key, as whatever is not known.
  EXPECT_TRUE(client.read_response().starts_with("HTTP/1.1 401 "));
  client.send(get("/history"));
  EXPECT_TRUE(client.read_response().starts_with("HTTP/1.1 404 "));
}

}  // namespace
}  // namespace galley::gateway
