// ChatTemplate: a model folder's chat template with its special tokens.
//
// First stage of a chat request: conversation to prompt text, as transformers' apply_chat_template
// does it. Immutable; any number of threads may render at once.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "text/jinja.h"

namespace galley::text {

struct RenderedChat {
  std::string text;
  bool opens_think = false;  // ends inside a thought that the template itself has opened
};

class ChatTemplate {
 public:
  // Reads <folder>/chat_template.jinja, else "chat_template" of tokenizer_config.json: one template
  // or a list of named ones. kNotFound when the folder has none; kInvalid names file, line, cause.
  // `file`, when not empty, replaces the folder's template.
  static Result<std::shared_ptr<const ChatTemplate>> load(const std::string& folder,
                                                          const std::string& file = "",
                                                          const JinjaLimits& limits = {});

  // The same from contents. `source` may be empty: then `config` has the template.
  static Result<std::shared_ptr<const ChatTemplate>> parse(std::string_view source,
                                                           const boost::json::object& config,
                                                           const JinjaLimits& limits = {});

  // `context` has messages and what else the request gives the template: tools,
  // add_generation_prompt, thinking, ... Absent tools and documents are none, as in transformers,
  // and special tokens (bos_token, eos_token, ...) are added. With tools a template named
  // "tool_use" is preferred. Errors as Template::render's.
  Result<RenderedChat> render(const boost::json::object& context, int64_t now_unix_s) const;

  // The text of the template called "default".
  const std::string& source() const { return source_; }

 private:
  ChatTemplate() = default;

  std::string source_;
  std::map<std::string, Template, std::less<>> templates_;  // by name, "default" among them
  boost::json::object special_tokens_;
};

}  // namespace galley::text
