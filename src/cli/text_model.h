// From a model folder to gateway::TextModel: tokenizer, chat template, how thoughts are marked.
#pragma once

#include <string>

#include "base/status.h"
#include "gateway/text_model.h"

namespace galley::cli {

struct TextModelOptions {
  std::string folder;
  std::string chat_template;              // a file that replaces the folder's; empty: the folder's
  std::string reasoning_parser = "auto";  // or none, deepseek_r1, deepseek_v3, qwen3
  std::string tool_call_parser = "auto";  // or one of text::tool_format_named
  std::vector<int32_t> eos_ids;
  int32_t vocab_size = 0;  // of the model's logits; 0: no grammars
};

// The template is looked for in chat_template.jinja, then in tokenizer_config.json (the one called
// "default" where there are several). A folder without one serves completions only.
// Errors  kNotFound, kInvalid  names the file and what is wrong with it
Result<gateway::TextModel> load_text_model(const TextModelOptions& options);

// Whether a template prints the arguments of tool calls by `| tojson`: then it wants them parsed,
// else as the text they are in the request.
bool wants_parsed_arguments(const std::string& chat_template);

// The tokens to fill in between, in DeepSeek's or Qwen's spelling; empty where the vocabulary has
// neither.
gateway::FillTokens find_fill_tokens(const text::Tokenizer& tokenizer);

}  // namespace galley::cli
