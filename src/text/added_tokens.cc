#include "text/added_tokens.h"

#include <algorithm>

#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text {
namespace {

// \w of Rust's regex crate, which decides where a single word ends: Alphabetic, marks, digits,
// connectors and joiners.
bool is_word(char32_t c) {
  constexpr uint32_t kWord = categories_of_class('L') | categories_of_class('M') |
                             category_bit(Category::ND) | category_bit(Category::NL) |
                             category_bit(Category::PC);
  if ((category_bit(category_of(c)) & kWord) != 0) return true;
  return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) ||
         (c >= 0x1F130 && c <= 0x1F149) || (c >= 0x1F150 && c <= 0x1F169) ||
         (c >= 0x1F170 && c <= 0x1F189);
}

bool ends_with_word(std::string_view text) {
  if (text.empty()) return false;
  size_t pos = last_code_point_at(text);
  return is_word(next_code_point(text, pos));
}

bool starts_with_word(std::string_view text) {
  size_t pos = 0;
  return !text.empty() && is_word(next_code_point(text, pos));
}

// Where the white space at the end of text[from, end) begins.
size_t white_space_begin(std::string_view text, size_t from, size_t end) {
  while (end > from) {
    const size_t last = last_code_point_at(text.substr(0, end));
    size_t pos = last;
    if (last < from || !is_white_space(next_code_point(text, pos))) break;
    end = last;
  }
  return end;
}

// Where the white space at the start of text[begin, ...) ends.
size_t white_space_end(std::string_view text, size_t begin) {
  while (begin < text.size()) {
    size_t pos = begin;
    if (!is_white_space(next_code_point(text, pos))) break;
    begin = pos;
  }
  return begin;
}

}  // namespace

void AddedTokens::Trie::insert(std::string_view key, int32_t token) {
  if (key.empty()) return;
  first[static_cast<uint8_t>(key[0])] = true;
  uint32_t at = 0;
  for (const char c : key) {
    const std::pair<uint8_t, uint32_t> wanted = {static_cast<uint8_t>(c), 0};
    auto& children = nodes[at].children;
    auto it = std::lower_bound(children.begin(), children.end(), wanted);
    if (it != children.end() && it->first == wanted.first) {
      at = it->second;
      continue;
    }
    const auto added = static_cast<uint32_t>(nodes.size());
    children.insert(it, {wanted.first, added});
    nodes.emplace_back();
    at = added;
  }
  if (nodes[at].token < 0) nodes[at].token = token;
}

std::pair<int32_t, size_t> AddedTokens::Trie::longest(std::string_view text) const {
  std::pair<int32_t, size_t> found = {-1, 0};
  uint32_t at = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto& children = nodes[at].children;
    const std::pair<uint8_t, uint32_t> wanted = {static_cast<uint8_t>(text[i]), 0};
    const auto it = std::lower_bound(children.begin(), children.end(), wanted);
    if (it == children.end() || it->first != wanted.first) break;
    at = it->second;
    if (nodes[at].token >= 0) found = {nodes[at].token, i + 1};
  }
  return found;
}

Result<AddedTokens> AddedTokens::build(std::vector<AddedToken> tokens, const Normalizer& normalizer,
                                       const TokenizerLimits& limits) {
  AddedTokens added;
  added.tokens_ = std::move(tokens);
  for (size_t i = 0; i < added.tokens_.size(); ++i) {
    const AddedToken& token = added.tokens_[i];
    if (!token.normalized) {
      added.as_given_.insert(token.content, static_cast<int32_t>(i));
      continue;
    }
    std::string content = token.content;
    MatchBudget budget = {limits.match_steps_base};
    GALLEY_RETURN_IF_ERROR(normalizer.apply(content, budget));
    if (content.size() > limits.token_bytes_max) {
      return Status(Code::kTooLarge, "added token '" + token.content +
                                         "': its normalized form has " +
                                         std::to_string(content.size()) + " bytes, the limit is " +
                                         std::to_string(limits.token_bytes_max));
    }
    added.normalized_.insert(content, static_cast<int32_t>(i));
  }
  return added;
}

void AddedTokens::split(std::string_view text, bool at_start, bool normalized, bool parse_special,
                        std::vector<TextOrToken>& out) const {
  const Trie& trie = normalized ? normalized_ : as_given_;
  size_t done = 0;  // everything before is in `out`
  const auto push_text = [&](size_t end) {
    if (end > done) out.push_back({text.substr(done, end - done), -1, at_start && done == 0});
  };
  for (size_t at = 0; at < text.size();) {
    if (!trie.first[static_cast<uint8_t>(text[at])]) {
      ++at;
      continue;
    }
    const auto [index, length] = trie.longest(text.substr(at));
    if (index < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = tokens_[static_cast<size_t>(index)];
    size_t begin = at;
    size_t end = at + length;
    at = end;
    if (token.special && !parse_special) continue;
    if (token.single_word &&
        (ends_with_word(text.substr(0, begin)) || starts_with_word(text.substr(end)))) {
      continue;
    }
    if (token.lstrip) begin = white_space_begin(text, done, begin);
    if (token.rstrip) end = white_space_end(text, end);
    push_text(begin);
    out.push_back({text.substr(begin, end - begin), token.id, at_start && begin == 0});
    done = end;
  }
  push_text(text.size());
}

}  // namespace galley::text
