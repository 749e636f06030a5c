// What a client is told when its request fails: OpenAI's error object, with the status to send.
//
//   {"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
//
// `code` is for machines and comes from the list in docs/api.md, `param` names the field, `message`
// says the value and the remedy. The official clients choose their exception by the HTTP status.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace galley::api {

struct Error {
  int http = 400;
  std::string type = "invalid_request_error";
  std::string code;       // "invalid_value", "context_length_exceeded", ...
  std::string param;      // the field; empty: none, sent as null
  std::string message;    // one or two sentences
  int retry_after_s = 0;  // > 0: sent as Retry-After
};

// A request that must be changed before it is sent again: 400.
Error invalid(std::string param, std::string code, std::string message);

// Any Status that is not ok, mapped by http_status.h. kOverloaded and kUnavailable get Retry-After.
Error error_of(const Status& status);

// The JSON body.
std::string error_body(const Error& error);

// `text` for a message: at most `bytes_max` bytes, cut between characters, "..." when shortened.
std::string excerpt(std::string_view text, size_t bytes_max = 40);

}  // namespace galley::api
