// Status and Result: the outcome of an operation that the outside world can make fail.
//
// Each code names what the caller should DO, not what went wrong inside; the message says what went
// wrong: it names the field or file, the value, and the remedy. api/http_status.h maps codes to
// HTTP in one table.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/check.h"

namespace galley {

enum class Code : uint8_t {
  kOk,
  kInvalid,      // the request is wrong; do not retry it
  kNotFound,     // the named thing does not exist; do not retry it
  kTooLarge,     // the request exceeds a limit of this deployment; do not retry it here
  kOverloaded,   // correct, but not now; retry elsewhere or later
  kDeadline,     // the time given ran out
  kCancelled,    // the caller withdrew it
  kUnavailable,  // a peer or device is gone; retry on another replica
  kCorrupt,      // data does not match its checksum or schema; never retry
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// A value or the Status that says why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: implicit by design
  Result(Status status) : status_(std::move(status)) {  // NOLINT: implicit by design
    GALLEY_CHECK(!status_.ok(), "a Result without a value needs an error");
  }

  bool ok() const { return value_.has_value(); }
  const Status& status() const { return status_; }
  Code code() const { return status_.code(); }
  const std::string& message() const { return status_.message(); }

  T& value() & {
    GALLEY_CHECK(ok(), "value() of a Result that holds an error");
    return *value_;
  }
  const T& value() const& {
    GALLEY_CHECK(ok(), "value() of a Result that holds an error");
    return *value_;
  }
  T&& value() && {
    GALLEY_CHECK(ok(), "value() of a Result that holds an error");
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace galley

// Returns the Status of `expression` from the calling function if it is not ok.
#define GALLEY_RETURN_IF_ERROR(expression)                                    \
  do {                                                                        \
    if (::galley::Status galley_status_ = (expression); !galley_status_.ok()) \
      return galley_status_;                                                  \
  } while (false)

// GALLEY_ASSIGN_OR_RETURN(auto x, f()): x = value of f(), or returns its Status.
#define GALLEY_CONCAT_INNER_(a, b) a##b
#define GALLEY_CONCAT_(a, b) GALLEY_CONCAT_INNER_(a, b)
#define GALLEY_ASSIGN_OR_RETURN(declaration, expression) \
  GALLEY_ASSIGN_OR_RETURN_(GALLEY_CONCAT_(galley_result_, __LINE__), declaration, expression)
#define GALLEY_ASSIGN_OR_RETURN_(result, declaration, expression) \
  auto result = (expression);                                     \
  if (!result.ok()) return result.status();                       \
  declaration = std::move(result).value()
