// Text models for tests: bytes as tokens, a template without Jinja.
#pragma once

#include <boost/json.hpp>
#include <string>

#include "gateway/text_model.h"
#include "text/testing/tiny_tokenizer.h"

namespace galley::gateway::testing {

// Token ids: byte b is b, <bos> 300, <eos> 301, <think> 302, </think> 303. The template writes
// "role:content|" for each message and, before an answer, "A:", or "A:<think>" if `thinks`.
inline TextModel tiny_text_model(bool thinks) {
  TextModel model;
  text::testing::TinyTokenizer tiny;
  tiny.merges.clear();
  model.tokenizer = text::Tokenizer::parse(tiny.json(), "").value();
  model.render_chat = [thinks](const boost::json::object& context) -> Result<std::string> {
    std::string out;
    for (const auto& value : context.at("messages").as_array()) {
      const auto& message = value.as_object();
      const std::string role(message.at("role").as_string());
      if (role == "tool") return Status(Code::kInvalid, "line 1: no tools");
      const auto& content = message.at("content");
      out += role + ":" + (content.is_string() ? std::string(content.as_string()) : "") + "|";
    }
    if (context.contains("tools")) out += "T|";
    if (context.at("add_generation_prompt").as_bool()) out += thinks ? "A:<think>" : "A:";
    return out;
  };
  model.thinking.enabled = thinks;
  model.thinking.begin_id = 302;
  model.thinking.end_id = 303;
  model.thinking.close = {'\n', 303, '\n', '\n'};
  model.eos_ids = {301};
  return model;
}

}  // namespace galley::gateway::testing
