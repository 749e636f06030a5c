#include "gateway/prompt.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/hash.h"
#include "text/tool_grammar.h"

namespace galley::gateway {
namespace json = boost::json;
namespace {

constexpr size_t kArgumentsDepthMax = 64;

api::Error bad_messages(std::string message) {
  return api::invalid("messages", "invalid_value", std::move(message));
}

// Tool calls' arguments come as JSON text. Some templates want the object it stands for.
void parse_arguments(json::array& messages) {
  for (json::value& message : messages) {
    json::value* calls = message.get_object().if_contains("tool_calls");
    if (calls == nullptr) continue;
    for (json::value& call : calls->get_array()) {
      json::value& arguments = call.get_object()["function"].get_object()["arguments"];
      json::error_code failure;
      json::parse_options options;
      options.max_depth = kArgumentsDepthMax;
      json::value parsed = json::parse(arguments.get_string(), failure, {}, options);
      if (!failure && parsed.is_object()) arguments = std::move(parsed);
    }
  }
}

json::object template_context(const api::ChatRequest& request, const TextModel& text) {
  json::object context = request.template_kwargs;
  if (request.thinking.enabled) {  // The names DeepSeek's and Qwen's templates look for.
    for (const char* name : {"thinking", "enable_thinking"})
      if (!context.contains(name)) context[name] = *request.thinking.enabled;
  }
  json::array messages = request.messages;
  if (text.arguments_as_objects) parse_arguments(messages);
  context["messages"] = std::move(messages);
  if (!request.tools.empty()) context["tools"] = request.tools;
  context["add_generation_prompt"] = request.add_generation_prompt;
  return context;
}

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) + 1 - begin);
}

// Cuts what the template wrote after the last message, so that the model goes on with it.
std::optional<api::Error> cut_after_last_message(const api::ChatRequest& request,
                                                 std::string* rendered) {
  const json::value* content = request.messages.back().get_object().if_contains("content");
  if (content == nullptr || !content->is_string())
    return bad_messages("the last message has no content to continue; give it some");
  const json::string& last = content->get_string();
  const std::string_view text = trimmed({last.data(), last.size()});
  if (text.empty())
    return bad_messages("the last message has no content to continue; give it some");
  const size_t at = rendered->rfind(text);
  if (at == std::string::npos) {
    return bad_messages(
        "the chat template changes the last message, so it cannot be continued; remove "
        "continue_final_message");
  }
  rendered->resize(at + text.size());
  return std::nullopt;
}

struct Rendered {
  std::string text;
  std::optional<api::Error> error;
};

Rendered render(const api::ChatRequest& request, const TextModel& text) {
  Rendered out;
  if (!text.render_chat) {
    out.error = bad_messages("the model has no chat template; use /v1/completions");
    return out;
  }
  Result<std::string> rendered = text.render_chat(template_context(request, text));
  if (!rendered.ok()) {
    out.error = api::error_of(rendered.status());
    out.error->http = 400;
    out.error->code = "chat_template_error";
    out.error->param = "messages";
    out.error->message = "the chat template refuses the messages: " + rendered.message();
    return out;
  }
  out.text = std::move(*rendered);
  if (request.continue_final_message) out.error = cut_after_last_message(request, &out.text);
  return out;
}

// Whether a prompt ends inside a thought: the template has opened one, or the message to be
// continued has.
bool ends_in_thought(const api::ChatRequest& request, std::string_view rendered,
                     const ThinkingTags& tags) {
  if (!tags.enabled) return false;
  if (!request.continue_final_message) return trimmed(rendered).ends_with(tags.begin);
  const json::value& content = request.messages.back().get_object().at("content");
  const std::string_view last(content.get_string().data(), content.get_string().size());
  const size_t begin = last.rfind(tags.begin);
  const size_t end = last.rfind(tags.end);
  return begin != std::string_view::npos && (end == std::string_view::npos || end < begin);
}

std::optional<api::Error> encode(const std::string& text, bool add_special, const char* param,
                                 const TextModel& model, std::vector<int32_t>* out) {
  Result<std::vector<int32_t>> tokens =
      model.tokenizer->encode(text, {.add_special_tokens = add_special, .parse_special = true});
  if (!tokens.ok()) {
    api::Error error = api::error_of(tokens.status());
    error.http = 400;
    error.param = param;
    return error;
  }
  *out = std::move(*tokens);
  return std::nullopt;
}

std::optional<api::Error> check_length(size_t prompt_tokens, const api::CommonFields& common,
                                       const char* param, int32_t max_model_len) {
  if (prompt_tokens == 0)
    return api::invalid(param, "invalid_value", std::string(param) + " gives no tokens");
  const int64_t room = int64_t{max_model_len} - static_cast<int64_t>(prompt_tokens);
  const int64_t wanted = std::max(common.max_tokens.value_or(1), 1);
  if (wanted <= room) return std::nullopt;
  std::string message = "the model's context has " + std::to_string(max_model_len) +
                        " tokens, but the prompt has " + std::to_string(prompt_tokens);
  message += common.max_tokens
                 ? " and max_tokens is " + std::to_string(*common.max_tokens) + "; shorten either"
                 : " and leaves no room for an answer; shorten it";
  return api::invalid(param, "context_length_exceeded", std::move(message));
}

Prepared prepare_chat(const api::ChatRequest& request, const TextModel& text,
                      int32_t max_model_len) {
  Prepared out;
  Rendered rendered = render(request, text);
  if (rendered.error) {
    out.error = std::move(rendered.error);
    return out;
  }
  PreparedPrompt prompt;
  const bool add_special = request.common.add_special_tokens.value_or(false);
  out.error = encode(rendered.text, add_special, "messages", text, &prompt.tokens);
  if (!out.error)
    out.error = check_length(prompt.tokens.size(), request.common, "messages", max_model_len);
  if (out.error) return out;
  prompt.thinking_open = ends_in_thought(request, rendered.text, text.thinking);
  prompt.thinking_may_open = text.thinking.enabled && !prompt.thinking_open &&
                             !request.continue_final_message &&
                             request.thinking.enabled.value_or(true) &&
                             !trimmed(rendered.text).ends_with(text.thinking.end);
  out.prompts.push_back(std::move(prompt));
  return out;
}

std::string with_hole(const std::string& prefix, const api::CompletionRequest& request,
                      const FillTokens& fill) {
  return fill.begin + prefix + fill.hole + request.suffix + fill.end;
}

Prepared prepare_completion(const api::CompletionRequest& request, const TextModel& text,
                            int32_t max_model_len) {
  Prepared out;
  if (!request.suffix.empty() && text.fill.begin.empty()) {
    out.error = api::invalid("suffix", "unsupported_parameter",
                             "this model has no tokens to fill in between; leave suffix out");
    return out;
  }
  for (const api::Prompt& asked : request.prompts) {
    PreparedPrompt prompt;
    if (const auto* written = std::get_if<std::string>(&asked)) {
      const bool add_special = request.common.add_special_tokens.value_or(true);
      out.error =
          encode(request.suffix.empty() ? *written : with_hole(*written, request, text.fill),
                 add_special, "prompt", text, &prompt.tokens);
      if (out.error) return out;
      if (request.echo) prompt.text = *written;
    } else {
      prompt.tokens = std::get<std::vector<int32_t>>(asked);
      if (request.echo) prompt.text = text.tokenizer->decode(prompt.tokens, false);
    }
    out.error = check_length(prompt.tokens.size(), request.common, "prompt", max_model_len);
    if (out.error) return out;
    out.prompts.push_back(std::move(prompt));
  }
  return out;
}

const api::CommonFields& common_of(const GenerationRequest& request) {
  return std::visit([](const auto& one) -> const api::CommonFields& { return one.common; },
                    request);
}

// A process keeps its scopes apart from every other's and from what a client could compute.
// Another stream of randomness for each choice, the first being the seed's own.
uint64_t seed_of_choice(uint64_t seed, int32_t choice) {
  uint64_t mixed = static_cast<uint64_t>(choice) * 0x9E3779B97F4A7C15u;  // 2^64 / golden ratio
  mixed ^= mixed >> 32;
  return seed + mixed;
}

engine::ThinkingLimit thinking_limit(const api::ChatRequest& request, const PreparedPrompt& prompt,
                                     const ThinkingTags& tags) {
  engine::ThinkingLimit limit;
  if (!tags.enabled || tags.end_id < 0) return limit;
  limit.open_at_start = prompt.thinking_open;
  limit.may_open = prompt.thinking_may_open;
  limit.begin = tags.begin_id;
  limit.end = tags.end_id;
  limit.budget = request.thinking.budget_tokens.value_or(-1);
  if (request.thinking.enabled == false) limit.budget = 0;  // Also when the template cannot.
  limit.close = tags.close;
  return limit;
}

}  // namespace

uint64_t cache_scope(const std::string& salt) {
  static const HashKey key = random_hash_key();
  if (salt.empty()) return 0;
  const Hash128 hash = siphash128(key, std::as_bytes(std::span(salt.data(), salt.size())));
  return hash.low == 0 ? 1 : hash.low;
}

Prepared prepare(const GenerationRequest& request, const TextModel& text, int32_t max_model_len) {
  const auto* chat = std::get_if<api::ChatRequest>(&request);
  Prepared out = chat != nullptr ? prepare_chat(*chat, text, max_model_len)
                                 : prepare_completion(std::get<api::CompletionRequest>(request),
                                                      text, max_model_len);
  const api::CommonFields& common = common_of(request);
  out.grammar = common.grammar;
  out.grammar_field = common.grammar_field;
  if (chat != nullptr && !chat->tools.empty() && !out.error &&
      out.grammar.kind == text::GrammarSpec::Kind::kNone) {
    text::ToolGrammarOptions options;
    options.format = text.tool_format;
    options.required = chat->tool_required;
    options.parallel = chat->parallel_tool_calls;
    options.only = chat->tool_name;
    options.token_id = [&](std::string_view marker) { return text.tokenizer->id_of(marker); };
    Result<text::GrammarSpec> grammar = text::tool_grammar(chat->tools, options);
    if (grammar.ok()) {
      out.grammar = *std::move(grammar);
      out.grammar_field = "tools";
    } else {
      out.error = api::invalid("tools", "invalid_grammar", grammar.message());
    }
  }
  return out;
}

api::Parsed<Tokens> tokenize(const api::TokenizeRequest& request, const TextModel& text) {
  api::Parsed<Tokens> out;
  std::string written;
  const char* param = "prompt";
  if (request.prompt) {
    written = *request.prompt;
  } else {
    Rendered rendered = render(request.chat, text);
    out.error = std::move(rendered.error);
    written = std::move(rendered.text);
    param = "messages";
  }
  if (!out.error)
    out.error = encode(written, request.add_special_tokens, param, text, &out.value.ids);
  if (out.error || !request.return_token_strs) return out;
  for (const int32_t id : out.value.ids)
    out.value.spellings.emplace_back(text.tokenizer->token_string(id));
  return out;
}

engine::Request engine_request(const GenerationRequest& request, const PreparedPrompt& prompt,
                               const TextModel& text, int32_t max_model_len, int32_t choice,
                               uint64_t seed) {
  const api::CommonFields& common = common_of(request);
  engine::Request out;
  out.prompt = prompt.tokens;
  out.sampling = common.sampling;
  out.sampling.seed = seed_of_choice(seed, choice);
  const int32_t room = max_model_len - static_cast<int32_t>(prompt.tokens.size());
  out.sampling.max_tokens = std::max(common.max_tokens.value_or(room), 1);
  out.sampling.min_tokens = std::min(out.sampling.min_tokens, out.sampling.max_tokens);
  if (const auto* chat = std::get_if<api::ChatRequest>(&request))
    out.thinking = thinking_limit(*chat, prompt, text.thinking);
  out.cache_scope = cache_scope(common.cache_salt);
  return out;
}

}  // namespace galley::gateway
