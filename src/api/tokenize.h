// POST /tokenize and /detokenize, in vLLM's shapes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "api/chat.h"
#include "api/json_reader.h"
#include "api/limits.h"

namespace galley::api {

// Either `prompt` or `chat.messages`.
struct TokenizeRequest {
  std::string model;
  std::optional<std::string> prompt;
  ChatRequest chat;  // messages, tools and template fields only
  bool add_special_tokens = true;
  bool return_token_strs = false;
};

struct DetokenizeRequest {
  std::string model;
  std::vector<int32_t> tokens;
};

Parsed<TokenizeRequest> parse_tokenize_request(std::string_view body, const ParseContext& context);
Parsed<DetokenizeRequest> parse_detokenize_request(std::string_view body,
                                                   const ParseContext& context);

// `spellings` is null or has one entry per token.
std::string tokenize_response(const std::vector<int32_t>& tokens,
                              const std::vector<std::string>* spellings, int32_t max_model_len);
std::string detokenize_response(std::string_view text);

}  // namespace galley::api
