#include "api/sampling_fields.h"

#include <charconv>
#include <limits>
#include <utility>

#include "api/grammar_fields.h"

namespace galley::api {
namespace json = boost::json;
namespace {

constexpr IntegerRange kInt32{std::numeric_limits<int32_t>::min(),
                              std::numeric_limits<int32_t>::max()};
constexpr IntegerRange kInt64{std::numeric_limits<int64_t>::min(),
                              std::numeric_limits<int64_t>::max()};

void read_sampling(FieldReader& reader, const ParseContext& context, CommonFields& out) {
  engine::SamplingParams& sampling = out.sampling;
  reader.number("temperature", {0, 2}, sampling.temperature);
  reader.number("top_p", {0, 1, true}, sampling.top_p);
  reader.number("min_p", {0, 1}, sampling.min_p);
  reader.integer("top_k", {-1, kInt32.max}, sampling.top_k);
  if (sampling.top_k == -1) sampling.top_k = 0;  // Both mean all tokens.
  reader.number("presence_penalty", {-2, 2}, sampling.presence_penalty);
  reader.number("frequency_penalty", {-2, 2}, sampling.frequency_penalty);
  reader.number("repetition_penalty", {0, 2, true}, sampling.repetition_penalty);
  if (reader.find("seed") != nullptr) {
    int64_t seed = 0;
    reader.integer("seed", kInt64, seed);
    out.seed = seed;
  }
  reader.integer("min_tokens", {0, kInt32.max}, sampling.min_tokens);
  reader.boolean("ignore_eos", sampling.ignore_eos);
  reader.integers("stop_token_ids", {0, context.vocab_size - 1}, context.limits.stop_token_ids_max,
                  sampling.stop_token_ids);
  reader.integer("prompt_logprobs", {0, context.limits.logprobs_max}, sampling.prompt_logprobs);
}

void read_logit_bias(FieldReader& reader, const ParseContext& context, CommonFields& out) {
  const json::value* value = reader.find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object())
    return reader.wrong_type("logit_bias", "an object from token ids to numbers", *value);
  const json::object& object = value->get_object();
  if (object.size() > context.limits.logit_bias_max) {
    return reader.fail("logit_bias", "array_above_max_length",
                       "logit_bias has " + std::to_string(object.size()) + " entries; at most " +
                           std::to_string(context.limits.logit_bias_max) + " are allowed");
  }
  FieldReader entries(object, reader.name("logit_bias") + ".");
  std::vector<std::pair<int32_t, float>> biases;
  for (const auto& entry : object) {
    const std::string_view key(entry.key().data(), entry.key().size());
    int32_t token = -1;
    const auto [end, failure] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (failure != std::errc() || end != key.data() + key.size() || token < 0 ||
        token >= context.vocab_size) {
      return reader.fail("logit_bias", "invalid_value",
                         "logit_bias has the key '" + excerpt(key) +
                             "'; its keys must be token ids from 0 to " +
                             std::to_string(context.vocab_size - 1));
    }
    float bias = 0;
    entries.number(key, {-100, 100}, bias);
    biases.emplace_back(token, bias);
  }
  if (!entries.ok()) return reader.fail(*entries.error());
  out.sampling.logit_bias = std::move(biases);
}

void read_stop(FieldReader& reader, const Limits& limits, CommonFields& out) {
  const json::value* value = reader.find("stop");
  if (value == nullptr) return;
  std::vector<std::string> stops;
  const auto add = [&](const json::value& item) {
    if (!item.is_string())
      return reader.wrong_type("stop", "a string or an array of strings", item);
    const std::string_view text(item.get_string().data(), item.get_string().size());
    if (text.empty() || text.size() > limits.stop_bytes_max) {
      return reader.fail("stop", "invalid_value",
                         "a stop string must have from 1 to " +
                             std::to_string(limits.stop_bytes_max) + " bytes, not " +
                             std::to_string(text.size()));
    }
    stops.emplace_back(text);
  };
  if (!value->is_array()) {
    add(*value);
  } else if (value->get_array().size() > limits.stop_max) {
    reader.fail("stop", "array_above_max_length",
                "stop has " + std::to_string(value->get_array().size()) + " strings; at most " +
                    std::to_string(limits.stop_max) + " are allowed");
  } else {
    for (const json::value& item : value->get_array()) add(item);
  }
  if (reader.ok()) out.stop = std::move(stops);
}

void read_stream_options(FieldReader& reader, CommonFields& out) {
  reader.boolean("stream", out.stream);
  const json::value* value = reader.find("stream_options");
  if (value == nullptr) return;
  if (!value->is_object()) return reader.wrong_type("stream_options", "an object", *value);
  if (!out.stream) {
    return reader.fail("stream_options", "invalid_value",
                       "stream_options is only allowed when stream is true");
  }
  FieldReader options(value->get_object(), reader.name("stream_options") + ".");
  options.boolean("include_usage", out.include_usage);
  options.boolean("continuous_usage_stats", out.continuous_usage_stats);
  if (!options.ok()) reader.fail(*options.error());
}

void refuse_unsupported(FieldReader& reader) {
  reader.refuse("structural_tag", "use structured_outputs or tools");
  reader.refuse("bad_words", "use logit_bias with -100 for the tokens instead");
  reader.refuse("allowed_token_ids", "use logit_bias instead");
  reader.refuse("logits_processors", "use logit_bias instead");
  reader.refuse("truncate_prompt_tokens", "send a shorter prompt");
  reader.refuse("prompt_embeds", "send text or token ids");
  reader.refuse("kv_transfer_params", "remove it");
  bool beam_search = false;
  reader.boolean("use_beam_search", beam_search);
  if (beam_search) {
    reader.fail("use_beam_search", "unsupported_parameter",
                "use_beam_search is not supported by this server: set it to false");
  }
}

}  // namespace

void read_common_fields(FieldReader& reader, const ParseContext& context, CommonFields& out) {
  const Limits& limits = context.limits;
  out.sampling = context.defaults;
  reader.string("model", limits.name_bytes_max, out.model);
  read_sampling(reader, context, out);
  read_logit_bias(reader, context, out);
  reader.integer("n", {1, limits.choices_max}, out.n);
  read_stop(reader, limits, out);
  reader.boolean("include_stop_str_in_output", out.include_stop_str_in_output);
  reader.boolean("skip_special_tokens", out.skip_special_tokens);
  read_stream_options(reader, out);
  reader.boolean("return_token_ids", out.return_token_ids);
  reader.boolean("return_tokens_as_token_ids", out.return_tokens_as_token_ids);
  reader.integer("priority", kInt32, out.priority);
  if (const json::value* salt = reader.find("cache_salt"); salt != nullptr) {
    reader.string("cache_salt", limits.name_bytes_max, out.cache_salt);
    if (reader.ok() && out.cache_salt.empty())
      reader.fail("cache_salt", "invalid_value", "cache_salt must not be empty; leave it out");
  }
  if (reader.find("add_special_tokens") != nullptr) {
    bool add = false;
    reader.boolean("add_special_tokens", add);
    out.add_special_tokens = add;
  }
  // OpenAI's newer name and DeepSeek's; the first that is there counts.
  for (const std::string_view key : {"user", "safety_identifier", "user_id"})
    if (out.user.empty()) reader.string(key, limits.name_bytes_max, out.user);
  refuse_unsupported(reader);
  read_grammar_fields(reader, limits, out);
  if (reader.ok() && out.stream && out.sampling.prompt_logprobs >= 0) {
    reader.fail("prompt_logprobs", "invalid_value",
                "prompt_logprobs is not available with stream; set stream to false");
  }
}

}  // namespace galley::api
