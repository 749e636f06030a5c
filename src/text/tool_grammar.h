// Grammars of tool calls: what an answer may be when a call must be made, or when the arguments of
// the calls it makes must fit.
#pragma once

#include <boost/json.hpp>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/grammar.h"
#include "text/tool_calls.h"

namespace galley::text {

struct ToolGrammarOptions {
  ToolFormat format = ToolFormat::kDeepseekV3;
  bool required = false;  // at least one call; false: text, then perhaps calls
  bool parallel = true;   // false: at most one call
  std::string only;       // the one function that may be called; empty: any
  // The id of a token, by its text: markers that are tokens are matched as such.
  std::function<std::optional<int32_t>(std::string_view)> token_id;
  SchemaLimits schema;
};

// `tools` as OpenAI's API has them, checked. Arguments fit `parameters`; where a function is not
// strict and its schema asks what no grammar can promise, they are any object.
// Without `required` there is a grammar only when a function is strict, and the format has a marker
// before its calls: else kNone, and the model writes what it will.
// Errors  kInvalid  the schema of a strict function, with its path
Result<GrammarSpec> tool_grammar(const boost::json::array& tools,
                                 const ToolGrammarOptions& options);

}  // namespace galley::text
