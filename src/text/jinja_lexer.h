// The lexer of the Jinja engine: text between tags, and the tokens within tags.
//
// Internal to jinja_*.cc. White-space control happens here, by the rules of jinja2's lexer with
// trim_blocks and lstrip_blocks on and keep_trailing_newline off.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace galley::text::jinja {

struct Token {
  enum Kind {
    kData,           // text outside of tags
    kVariableBegin,  // {{
    kVariableEnd,    // }}
    kBlockBegin,     // {%
    kBlockEnd,       // %}
    kName,
    kInteger,
    kFloat,
    kString,  // unescaped
    kOperator,
    kEnd,
  };
  Kind kind = kEnd;
  std::string text;
  int line = 1;
};

// All tokens of `source` (valid UTF-8), ending in kEnd. Throws Error.
std::vector<Token> tokenize(std::string_view source);

}  // namespace galley::text::jinja
