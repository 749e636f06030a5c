// AnswerWriter: one answer in the wire format of one interface, whole or as a stream. Each
// interface beside OpenAI's completions has one; the gateway drives them all the same way.
//
// Whole:   whole() alone.
// Stream:  begin() once the request is taken, delta() for each, then end() or failed(). Each gives
//          the frames to send now, empty if there is nothing to say. A request that is refused
//          before begin() gets error_body() of the dialect.
#pragma once

#include <string>
#include <string_view>

#include "api/answer.h"
#include "api/errors.h"

namespace galley::api {

// Whose shapes a path speaks.
enum class Dialect : uint8_t { kOpenAi, kAnthropic, kOllama };

// The body of an error in the shape of `dialect`.
std::string error_body(Dialect dialect, const Error& error, std::string_view request_id);

class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  virtual std::string whole(const Choice& choice) = 0;

  virtual std::string begin() = 0;
  virtual std::string delta(const Delta& delta) = 0;
  virtual std::string end() = 0;
  virtual std::string failed(const Error& error) = 0;
};

// What all answers of one interface know of their request.
struct AnswerHead {
  std::string id;          // unique, without the interface's prefix
  std::string request_id;  // as in X-Request-Id
  int64_t created_s = 0;
  std::string model;
};

}  // namespace galley::api
