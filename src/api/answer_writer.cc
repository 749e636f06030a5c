#include "api/answer_writer.h"

#include "api/anthropic.h"
#include "api/json_writer.h"

namespace galley::api {

std::string error_body(Dialect dialect, const Error& error, std::string_view request_id) {
  switch (dialect) {
    case Dialect::kOpenAi:
      return error_body(error);
    case Dialect::kAnthropic:
      return anthropic_error(error, request_id);
    case Dialect::kOllama: {
      JsonWriter json;
      json.begin_object().key("error").string(error.message).end_object();
      return json.take();
    }
  }
  return error_body(error);
}

}  // namespace galley::api
