// The page: chat and operation in a browser. Its files (web/, and the libraries they use) are part
// of the program (cmake/page.cmake); nothing is read from disk and no other host is asked.
//
// What the browser may do with it is said by its Content-Security-Policy: scripts, styles and fonts
// from here only, nothing inline, no string ever becomes markup (Trusted Types), no frames, no
// images of other hosts, by which a model's answer could carry off what it was told.
#pragma once

#include <span>
#include <string_view>

#include "gateway/exchange.h"

namespace galley::gateway {

struct PageFile {
  std::string_view path;  // in URLs; "/" is the page itself
  struct Bytes {
    const char* begin;
    const char* end;
  } bytes;
  std::string_view etag;  // with its quotes
};

// All of them. Generated.
std::span<const PageFile> page_files();

// Null: there is none at this path.
const PageFile* find_page_file(std::string_view path);

// `if_none_match`: what the browser has already, as its header says.
HttpResponse page_response(const PageFile& file, std::string_view if_none_match);

}  // namespace galley::gateway
