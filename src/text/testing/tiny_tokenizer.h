// A small byte-level tokenizer.json for tests: all 256 bytes, a few merges, special tokens.
#pragma once

#include <boost/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace galley::text::testing {

struct TinyTokenizer {
  // Each pair, spelt as raw bytes, is a merge, in this order.
  std::vector<std::pair<std::string, std::string>> merges = {
      {"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {" ", "w"}, {"a", "a"}, {"aa", "aa"}};
  boost::json::value normalizer = nullptr;
  boost::json::value pre_tokenizer = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
  boost::json::value post_processor = nullptr;
  boost::json::array added_tokens = {added(300, "<bos>", true), added(301, "<eos>", true),
                                     added(302, "<think>", false), added(303, "</think>", false)};

  static boost::json::object added(int id, const std::string& content, bool special) {
    return {{"id", id},        {"content", content},  {"single_word", false}, {"lstrip", false},
            {"rstrip", false}, {"normalized", false}, {"special", special}};
  }

  // Ids: byte b is b, merge i is 256 + i.
  boost::json::object document() const {
    boost::json::object vocab;
    for (unsigned b = 0; b < 256; ++b) {
      vocab[to_byte_symbols(std::string(1, static_cast<char>(b)))] = b;
    }
    boost::json::array list;
    int id = 256;
    for (const auto& [left, right] : merges) {
      vocab.emplace(to_byte_symbols(left + right), id++);
      list.push_back({to_byte_symbols(left), to_byte_symbols(right)});
    }
    return {{"normalizer", normalizer},
            {"pre_tokenizer", pre_tokenizer},
            {"post_processor", post_processor},
            {"decoder", {{"type", "ByteLevel"}}},
            {"added_tokens", added_tokens},
            {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", list}}}};
  }
  std::string json() const { return boost::json::serialize(document()); }
};

}  // namespace galley::text::testing
