#include "cli/text_model.h"

#include <boost/json/object.hpp>
#include <boost/json/parse.hpp>
#include <ctime>
#include <optional>

#include "base/file.h"
#include "base/log.h"
#include "text/jinja.h"

namespace galley::cli {

namespace {

constexpr size_t kConfigBytesMax = size_t{64} << 20;  // tokenizer_config.json lists added tokens

// chat_template of tokenizer_config.json: text, or a list of {name, template}.
Result<std::optional<std::string>> template_of_config(const std::string& path) {
  GALLEY_ASSIGN_OR_RETURN(const std::string text, read_file(path, kConfigBytesMax));
  boost::system::error_code error;
  const boost::json::value parsed = boost::json::parse(text, error);
  if (error || !parsed.is_object()) return Status(Code::kInvalid, path + ": is not a JSON object");
  const boost::json::value* const field = parsed.as_object().if_contains("chat_template");
  if (field == nullptr || field->is_null()) return std::optional<std::string>();
  if (field->is_string()) return std::optional<std::string>(field->as_string().c_str());
  const Status wrong(Code::kInvalid, path +
                                         ": chat_template is neither text nor a list of"
                                         " templates with one named \"default\"");
  if (!field->is_array()) return wrong;
  for (const boost::json::value& item : field->as_array()) {
    if (!item.is_object()) return wrong;
    const boost::json::value* const name = item.as_object().if_contains("name");
    const boost::json::value* const body = item.as_object().if_contains("template");
    if (name == nullptr || body == nullptr || !name->is_string() || !body->is_string()) {
      return wrong;
    }
    if (name->as_string() == "default")
      return std::optional<std::string>(body->as_string().c_str());
  }
  return wrong;
}

struct TemplateText {
  std::string path;  // where it was found, for messages
  std::string text;
};

Result<std::optional<TemplateText>> find_template(const TextModelOptions& options) {
  const std::string in_folder = options.folder + "/chat_template.jinja";
  const std::string path = !options.chat_template.empty() ? options.chat_template : in_folder;
  if (!options.chat_template.empty() || file_exists(in_folder)) {
    GALLEY_ASSIGN_OR_RETURN(std::string text, read_file(path, kTemplateBytesMax));
    return std::optional(TemplateText{path, std::move(text)});
  }
  const std::string config = options.folder + "/tokenizer_config.json";
  if (!file_exists(config)) return std::optional<TemplateText>();
  GALLEY_ASSIGN_OR_RETURN(const std::optional<std::string> text, template_of_config(config));
  if (!text) return std::optional<TemplateText>();
  return std::optional(TemplateText{config + ": chat_template", *text});
}

void read_thinking_tags(const text::Tokenizer& tokenizer, gateway::ThinkingTags* tags) {
  tags->begin_id = tokenizer.id_of(tags->begin).value_or(-1);
  tags->end_id = tokenizer.id_of(tags->end).value_or(-1);
  const Result<std::vector<int32_t>> close =
      tokenizer.encode("\n" + tags->end + "\n\n", {.add_special_tokens = false});
  if (close.ok()) tags->close = *close;
}

}  // namespace

bool wants_parsed_arguments(const std::string& chat_template) {
  constexpr std::string_view kName = "arguments";
  constexpr std::string_view kFilter = "tojson";
  const std::string_view text = chat_template;
  for (size_t at = 0; (at = text.find(kName, at)) != std::string_view::npos;) {
    at += kName.size();
    size_t next = text.find_first_not_of("'\"] \t\n", at);
    if (next == std::string_view::npos || text[next] != '|') continue;
    next = text.find_first_not_of(" \t\n", next + 1);
    if (next != std::string_view::npos && text.substr(next, kFilter.size()) == kFilter) return true;
  }
  return false;
}

Result<gateway::TextModel> load_text_model(const TextModelOptions& options) {
  gateway::TextModel out;
  GALLEY_ASSIGN_OR_RETURN(out.tokenizer, text::Tokenizer::load(options.folder));
  out.eos_ids = options.eos_ids;
  GALLEY_ASSIGN_OR_RETURN(const std::optional<TemplateText> source, find_template(options));
  if (source) {
    const Result<text::Template> parsed = text::Template::parse(source->text);
    if (!parsed.ok()) return Status(parsed.code(), source->path + ": " + parsed.message());
    out.render_chat = [chat_template = *parsed, tokenizer = out.tokenizer](
                          const boost::json::object& context) -> Result<std::string> {
      boost::json::object all = context;
      // transformers gives a template the tokenizer's own tokens too.
      if (!all.contains("bos_token")) all["bos_token"] = tokenizer->bos_token();
      if (!all.contains("eos_token")) all["eos_token"] = tokenizer->eos_token();
      return chat_template.render(all, static_cast<int64_t>(std::time(nullptr)));
    };
    out.arguments_as_objects = wants_parsed_arguments(source->text);
  } else {
    log_warning(options.folder, " has no chat template: /v1/chat/completions will refuse;",
                " --chat-template FILE gives one");
  }
  const bool thinks = source && source->text.find(out.thinking.end) != std::string::npos;
  out.thinking.enabled =
      options.reasoning_parser == "auto" ? thinks : options.reasoning_parser != "none";
  if (out.thinking.enabled) read_thinking_tags(*out.tokenizer, &out.thinking);
  return out;
}

}  // namespace galley::cli
