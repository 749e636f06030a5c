#include "gateway/page.h"

#include <array>
#include <string>
#include <utility>

#include "base/check.h"

namespace galley::gateway {
namespace {

constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'";

std::string content_type(std::string_view path) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 4> kTypes = {
      {{".css", "text/css; charset=utf-8"},
       {".js", "text/javascript; charset=utf-8"},
       {".svg", "image/svg+xml"},
       {".woff2", "font/woff2"}}};
  if (path == "/") return "text/html; charset=utf-8";
  for (const auto& [ending, type] : kTypes)
    if (path.ends_with(ending)) return std::string(type);
  GALLEY_CHECK(false, "a file of the page has an ending without a type");
  return {};
}

}  // namespace

const PageFile* find_page_file(std::string_view path) {
  for (const PageFile& file : page_files())
    if (file.path == path) return &file;
  return nullptr;
}

HttpResponse page_response(const PageFile& file, std::string_view if_none_match) {
  HttpResponse response;
  response.content_type = content_type(file.path);
  response.headers = {{"Content-Security-Policy", std::string(kPolicy)},
                      {"X-Content-Type-Options", "nosniff"},
                      {"X-Frame-Options", "DENY"},
                      {"Referrer-Policy", "no-referrer"},
                      {"Cross-Origin-Opener-Policy", "same-origin"},
                      {"Cross-Origin-Resource-Policy", "same-origin"},
                      {"Cache-Control", "no-cache"},  // asks each time, and is told 304
                      {"ETag", std::string(file.etag)}};
  if (if_none_match.find(file.etag) != std::string_view::npos) {
    response.status = 304;
    return response;
  }
  response.body.assign(file.bytes.begin, file.bytes.end);
  return response;
}

}  // namespace galley::gateway
