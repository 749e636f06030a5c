// Python's string operations for the Jinja engine. Internal to jinja_*.cc. All text is valid UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace galley::text::jinja {

// str.isspace of one code point.
bool is_python_space(char32_t c);

// str.strip and its halves: white space, or the characters of `chars`.
std::string_view strip(std::string_view text, const std::optional<std::string>& chars, bool left,
                       bool right);

// str.split without a separator: by runs of white space. `splits_max` < 0: no bound.
std::vector<std::string> split_space(std::string_view text, int64_t splits_max, bool from_right);
// str.split with one.
std::vector<std::string> split_at(std::string_view text, std::string_view separator,
                                  int64_t splits_max, bool from_right);
std::vector<std::string> split_lines(std::string_view text, bool keep_ends);

// str.replace; `count` < 0: all.
std::string replace_all(std::string_view text, std::string_view from, std::string_view to,
                        int64_t count);

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
// str.title: a letter behind a character without case begins a word.
std::string title(std::string_view text);

bool is_cased(char32_t c);

}  // namespace galley::text::jinja
