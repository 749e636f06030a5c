#include "api/errors.h"

#include <utility>

#include "api/http_status.h"
#include "api/json_writer.h"

namespace galley::api {
namespace {

constexpr int kRetryAfterOverloadedS = 1;
constexpr int kRetryAfterUnavailableS = 5;

}  // namespace

Error invalid(std::string param, std::string code, std::string message) {
  Error error;
  error.param = std::move(param);
  error.code = std::move(code);
  error.message = std::move(message);
  return error;
}

Error error_of(const Status& status) {
  Error error;
  error.http = http_status(status.code());
  error.message = status.message();
  switch (status.code()) {
    case Code::kInvalid:
      error.code = "invalid_value";
      break;
    case Code::kNotFound:
      error.code = "not_found";
      break;
    case Code::kTooLarge:
      error.code = "request_too_large";
      break;
    case Code::kOverloaded:
      error.type = "rate_limit_error";
      error.code = "overloaded";
      error.retry_after_s = kRetryAfterOverloadedS;
      break;
    case Code::kDeadline:
      error.type = "timeout_error";
      error.code = "deadline_exceeded";
      break;
    case Code::kCancelled:
      error.code = "cancelled";
      break;
    case Code::kUnavailable:
      error.type = "server_error";
      error.code = "unavailable";
      error.retry_after_s = kRetryAfterUnavailableS;
      break;
    case Code::kOk:
    case Code::kCorrupt:
      error.type = "server_error";
      error.code = "internal_error";
      break;
  }
  return error;
}

std::string error_body(const Error& error) {
  JsonWriter json;
  json.begin_object().key("error").begin_object();
  json.key("message").string(error.message);
  json.key("type").string(error.type);
  json.key("param");
  error.param.empty() ? json.null() : json.string(error.param);
  json.key("code");
  error.code.empty() ? json.null() : json.string(error.code);
  json.end_object().end_object();
  return json.take();
}

std::string excerpt(std::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace galley::api
