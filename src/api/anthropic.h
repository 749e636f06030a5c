// Anthropic's Messages API: POST /v1/messages and /v1/messages/count_tokens, to and from the one
// chat request and answer of this layer.
//
// system, text, thinking, tool_use and tool_result blocks; images and documents are refused by
// name. A last message of the assistant is continued, as Anthropic's models do. Its exact order of
// stream events: message_start, ping, then per block content_block_start, content_block_delta...,
// content_block_stop, at last message_delta and message_stop.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "api/answer_writer.h"
#include "api/chat.h"
#include "api/tokenize.h"

namespace galley::api {

struct MessagesRequest {
  ChatRequest chat;  // include_reasoning: whether thinking blocks were asked for
};

Parsed<MessagesRequest> parse_messages_request(std::string_view body, const ParseContext& context);
// The same without max_tokens, to be counted.
Parsed<TokenizeRequest> parse_count_tokens_request(std::string_view body,
                                                   const ParseContext& context);

std::string count_tokens_response(size_t tokens);

// {"type": "error", "error": {"type": ..., "message": ...}, "request_id": ...}
std::string anthropic_error(const Error& error, std::string_view request_id);

std::unique_ptr<AnswerWriter> messages_writer(const MessagesRequest& request, AnswerHead head);

}  // namespace galley::api
