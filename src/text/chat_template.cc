#include "text/chat_template.h"

#include <utility>

#include "base/file.h"
#include "text/json.h"

namespace galley::text {

namespace json = boost::json;

namespace {

constexpr size_t kConfigBytesMax = size_t{48} << 20;
constexpr size_t kConfigDepthMax = 64;
constexpr size_t kNamedTemplatesMax = 16;

// Adds bos_token, eos_token, ... of tokenizer_config.json: a string or {"content": "..."}.
void collect_special_tokens(const json::object& config, json::object& out) {
  for (const std::string_view key : {"bos_token", "eos_token", "unk_token", "sep_token",
                                     "pad_token", "cls_token", "mask_token"}) {
    const json::value* value = config.if_contains(key);
    if (value == nullptr) continue;
    if (const json::object* object = value->if_object()) value = object->if_contains("content");
    if (value != nullptr && value->is_string()) out[key] = *value;
  }
  const json::value* more = config.if_contains("additional_special_tokens");
  if (more != nullptr && more->is_array()) out["additional_special_tokens"] = *more;
}

bool ends_in_open_think(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t last = text.find_last_not_of(kSpace);
  return last != std::string_view::npos && text.substr(0, last + 1).ends_with("<think>");
}

}  // namespace

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::load(const std::string& folder,
                                                               const std::string& file,
                                                               const JinjaLimits& limits) {
  const std::string config_path = folder + "/tokenizer_config.json";
  const std::string path = file.empty() ? folder + "/chat_template.jinja" : file;
  Result<std::string> source = read_file(path, limits.template_bytes_max);
  if (!source.ok() && (source.code() != Code::kNotFound || !file.empty())) return source.status();
  json::value config = json::object();
  Result<std::string> config_text = read_file(config_path, kConfigBytesMax);
  if (!config_text.ok() && config_text.code() != Code::kNotFound) return config_text.status();
  if (config_text.ok()) {
    GALLEY_ASSIGN_OR_RETURN(config, parse_json(*config_text, config_path, kConfigDepthMax));
    GALLEY_RETURN_IF_ERROR(object_of(config, config_path).status());
  }
  Result<std::shared_ptr<const ChatTemplate>> loaded = parse(
      source.ok() ? std::string_view(*source) : std::string_view(), config.get_object(), limits);
  if (loaded.ok()) return loaded;
  return Status(loaded.code(), (source.ok() ? path : config_path) + ": " + loaded.message());
}

Result<std::shared_ptr<const ChatTemplate>> ChatTemplate::parse(std::string_view source,
                                                                const json::object& config,
                                                                const JinjaLimits& limits) {
  std::shared_ptr<ChatTemplate> out(new ChatTemplate());
  collect_special_tokens(config, out->special_tokens_);
  const auto add = [&](const std::string& name, std::string_view text) -> Status {
    Result<Template> parsed = Template::parse(text, limits);
    if (!parsed.ok()) return {parsed.code(), "chat template '" + name + "', " + parsed.message()};
    if (name == "default") out->source_ = std::string(text);
    out->templates_.insert_or_assign(name, std::move(parsed).value());
    return {};
  };
  const json::value* value = config.if_contains("chat_template");
  if (!source.empty()) {
    GALLEY_RETURN_IF_ERROR(add("default", source));
  } else if (value == nullptr || value->is_null()) {
    return Status(Code::kNotFound,
                  "field 'chat_template' is missing, and so is chat_template.jinja");
  } else if (value->is_string()) {
    GALLEY_RETURN_IF_ERROR(add("default", value->get_string()));
  } else {
    GALLEY_ASSIGN_OR_RETURN(const json::array* list, array_of(*value, "field 'chat_template'"));
    if (list->size() > kNamedTemplatesMax)
      return Status(Code::kTooLarge, "field 'chat_template': too many templates");
    for (const json::value& entry : *list) {
      GALLEY_ASSIGN_OR_RETURN(const json::object* named,
                              object_of(entry, "an entry of 'chat_template'"));
      GALLEY_ASSIGN_OR_RETURN(const std::string name,
                              string_field(*named, "name", "chat_template"));
      GALLEY_ASSIGN_OR_RETURN(const std::string text,
                              string_field(*named, "template", "chat_template"));
      GALLEY_RETURN_IF_ERROR(add(name, text));
    }
    if (!out->templates_.contains("default")) {
      return Status(Code::kInvalid, "field 'chat_template' has no template named 'default'");
    }
  }
  return std::shared_ptr<const ChatTemplate>(std::move(out));
}

Result<RenderedChat> ChatTemplate::render(const json::object& context, int64_t now_unix_s) const {
  json::object variables = special_tokens_;
  variables["tools"] = nullptr;
  variables["documents"] = nullptr;
  for (const auto& entry : context) variables.insert_or_assign(entry.key(), entry.value());
  auto chosen = templates_.find("default");
  if (!variables["tools"].is_null()) {
    const auto tool_use = templates_.find("tool_use");
    if (tool_use != templates_.end()) chosen = tool_use;
  }
  RenderedChat out;
  GALLEY_ASSIGN_OR_RETURN(out.text, chosen->second.render(variables, now_unix_s));
  out.opens_think = ends_in_open_think(out.text);
  return out;
}

}  // namespace galley::text
