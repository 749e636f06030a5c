// OpenAI's Responses API: POST /v1/responses, to and from the one chat request and answer of this
// layer; and the bounded store that previous_response_id looks into.
//
// Input items are messages, reasoning, function_call and function_call_output. What belongs to one
// turn of the assistant (its thought, its text, its calls) becomes one message, as templates want.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

#include "api/answer_writer.h"
#include "api/chat.h"

namespace galley::api {

struct ResponsesRequest {
  ChatRequest chat;  // its messages: `input` alone; instructions and the past come in front later
  std::string instructions;
  std::string previous_response_id;
  bool store = true;
  boost::json::object echo;  // fields a response repeats: tools, metadata, ...
};

Parsed<ResponsesRequest> parse_responses_request(std::string_view body,
                                                 const ParseContext& context);

struct ResponseStoreLimits {
  size_t responses_max = 1024;
  size_t bytes_max = 64u << 20;  // of all of them
};

// What is kept of a response: enough to go on from it, and to show it again.
struct StoredResponse {
  boost::json::array messages;  // the conversation, the answer included, instructions not
  std::string body;             // the response object
};

// In memory, the least recently used goes first. Each response belongs to the `owner` that asked
// for it; nobody else finds it. Not thread-safe: the event loop's.
class ResponseStore {
 public:
  explicit ResponseStore(const ResponseStoreLimits& limits) : limits_(limits) {}

  void put(const std::string& owner, const std::string& id, StoredResponse response);
  // Null when it is not there (any more). Valid until the next call.
  const StoredResponse* find(const std::string& owner, const std::string& id);
  bool erase(const std::string& owner, const std::string& id);

  size_t size() const { return by_key_.size(); }
  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    StoredResponse response;
    size_t bytes = 0;
  };
  using Place = std::list<Entry>::iterator;

  static std::string key_of(const std::string& owner, const std::string& id);
  void erase(Place place);

  const ResponseStoreLimits limits_;
  std::list<Entry> entries_;  // the most recently used first
  std::unordered_map<std::string, Place> by_key_;
  size_t bytes_ = 0;
};

// Puts the past and the instructions in front of the request's own messages. An unknown id is an
// error: 400, as OpenAI answers it.
std::optional<Error> resume(ResponsesRequest& request, const StoredResponse* previous);

// Hears of each response that ends well and is to be kept.
using KeepResponse = std::function<void(const std::string& id, StoredResponse response)>;

// `request` as resume() left it; its chat part is read before it is generated.
std::unique_ptr<AnswerWriter> responses_writer(const ResponsesRequest& request, AnswerHead head,
                                               KeepResponse keep);

}  // namespace galley::api
