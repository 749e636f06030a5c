#include "api/completions.h"

#include <limits>
#include <utility>

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr std::string_view kPromptShapes =
    "a string, an array of strings, an array of token ids, or an array of such arrays";

class PromptReader {
 public:
  PromptReader(FieldReader& reader, const ParseContext& context)
      : reader_(reader), context_(context) {}

  void read(std::vector<Prompt>& out) {
    const json::value* value = reader_.find("prompt");
    if (value == nullptr) {
      return reader_.fail("prompt", "missing_required_parameter",
                          "prompt is missing; it must be " + std::string(kPromptShapes));
    }
    if (value->is_string()) return add_text(*value, out);
    if (!value->is_array()) return reader_.wrong_type("prompt", kPromptShapes, *value);
    const json::array& items = value->get_array();
    if (items.empty())
      return reader_.fail("prompt", "empty_array", "prompt is an empty array; give one prompt");
    if (is_number(items.front())) return add_tokens(items, out);
    if (items.size() > context_.limits.prompts_max) {
      return reader_.fail("prompt", "array_above_max_length",
                          "prompt has " + std::to_string(items.size()) + " prompts; at most " +
                              std::to_string(context_.limits.prompts_max) + " are allowed");
    }
    const bool texts = items.front().is_string();
    for (const json::value& item : items) {
      if (texts && item.is_string()) {
        add_text(item, out);
      } else if (!texts && item.is_array()) {
        add_tokens(item.get_array(), out);
      } else {
        return reader_.wrong_type("prompt", kPromptShapes, item);
      }
    }
  }

 private:
  void add_text(const json::value& value, std::vector<Prompt>& out) {
    const std::string_view text(value.get_string().data(), value.get_string().size());
    if (text.size() > context_.limits.prompt_bytes_max) {
      return reader_.fail("prompt", "string_above_max_length",
                          "a prompt has " + std::to_string(text.size()) + " bytes; at most " +
                              std::to_string(context_.limits.prompt_bytes_max) + " are allowed");
    }
    out.emplace_back(std::string(text));
  }

  void add_tokens(const json::array& items, std::vector<Prompt>& out) {
    if (items.empty()) {
      return reader_.fail("prompt", "empty_array", "a prompt has no tokens; it needs at least one");
    }
    if (items.size() > context_.limits.prompt_tokens_max) {
      return reader_.fail("prompt", "array_above_max_length",
                          "a prompt has " + std::to_string(items.size()) + " tokens; at most " +
                              std::to_string(context_.limits.prompt_tokens_max) + " are allowed");
    }
    std::vector<int32_t> tokens;
    tokens.reserve(items.size());
    for (const json::value& item : items) {
      if (!is_number(item)) return reader_.wrong_type("prompt", kPromptShapes, item);
      const auto token = whole_number(item, {0, context_.vocab_size - 1});
      if (!token) {
        return reader_.wrong_value(
            "prompt", "token ids from 0 to " + std::to_string(context_.vocab_size - 1), item);
      }
      tokens.push_back(static_cast<int32_t>(*token));
    }
    out.emplace_back(std::move(tokens));
  }

  FieldReader& reader_;
  const ParseContext& context_;
};

void check_counts(FieldReader& reader, const Limits& limits, const CompletionRequest& request) {
  if (!reader.ok()) return;
  const CommonFields& common = request.common;
  if (request.best_of < common.n) {
    return reader.fail("best_of", "invalid_value",
                       "best_of is " + std::to_string(request.best_of) +
                           "; it must be at least n, which is " + std::to_string(common.n));
  }
  if (request.best_of > common.n && common.stream) {
    return reader.fail("best_of", "invalid_value",
                       "best_of above n cannot be streamed; set stream to false");
  }
  const auto choices = request.prompts.size() * static_cast<size_t>(request.best_of);
  if (choices > static_cast<size_t>(limits.choices_max)) {
    return reader.fail("n", "invalid_value",
                       "the request asks for " + std::to_string(choices) +
                           " answers (prompts times n or best_of); at most " +
                           std::to_string(limits.choices_max) + " are allowed");
  }
  if (common.max_tokens && *common.max_tokens == 0 && !request.echo) {
    return reader.fail("max_tokens", "invalid_value",
                       "max_tokens may be 0 only with echo; it must be at least 1");
  }
  if (common.max_tokens && common.sampling.min_tokens > *common.max_tokens) {
    return reader.fail("min_tokens", "invalid_value",
                       "min_tokens is " + std::to_string(common.sampling.min_tokens) +
                           "; it must be at most max_tokens, which is " +
                           std::to_string(*common.max_tokens));
  }
}

// Whether the model knows how to fill in between is its text model's to say (gateway/prompt.cc).
void check_suffix(FieldReader& reader, const CompletionRequest& request) {
  if (!reader.ok()) return;
  if (request.echo) {
    return reader.fail("suffix", "invalid_value",
                       "suffix and echo exclude each other; leave one of them out");
  }
  for (const Prompt& prompt : request.prompts) {
    if (std::holds_alternative<std::string>(prompt)) continue;
    return reader.fail("suffix", "invalid_value",
                       "suffix needs a prompt of text; token ids can hold the model's own tokens "
                       "for what stands before and after");
  }
}

}  // namespace

Parsed<CompletionRequest> parse_completion_request(std::string_view body,
                                                   const ParseContext& context) {
  Parsed<CompletionRequest> parsed;
  Parsed<json::object> object = parse_body(body, context.limits.json_depth_max);
  if (!object.ok()) {
    parsed.error = std::move(object.error);
    return parsed;
  }
  CompletionRequest& request = parsed.value;
  FieldReader reader(object.value);
  read_common_fields(reader, context, request.common);
  PromptReader(reader, context).read(request.prompts);
  if (reader.find("max_tokens") != nullptr) {
    int32_t max_tokens = 0;
    reader.integer("max_tokens", {0, std::numeric_limits<int32_t>::max()}, max_tokens);
    request.common.max_tokens = max_tokens;
  } else {
    request.common.max_tokens = 16;  // OpenAI's default for this endpoint.
    if (request.common.sampling.min_tokens > 16)
      request.common.max_tokens = request.common.sampling.min_tokens;
  }
  reader.integer("logprobs", {0, context.limits.logprobs_max}, request.common.sampling.logprobs);
  reader.boolean("echo", request.echo);
  request.best_of = request.common.n;
  reader.integer("best_of", {1, context.limits.choices_max}, request.best_of);
  reader.string("suffix", context.limits.prompt_bytes_max, request.suffix);
  if (!request.suffix.empty()) check_suffix(reader, request);
  check_counts(reader, context.limits, request);
  parsed.error = reader.error();
  request.unknown_fields = reader.unknown();
  return parsed;
}

}  // namespace galley::api
