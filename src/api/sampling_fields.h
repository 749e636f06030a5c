// The parameters /v1/chat/completions and /v1/completions share: names, types, ranges, defaults.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "api/json_reader.h"
#include "api/limits.h"
#include "engine/request.h"
#include "text/grammar.h"

namespace galley::api {

struct CommonFields {
  std::string model;  // as the client wrote it; empty: the first served name
  // As the client gave it over the model's defaults. `max_tokens` and `seed` are taken from the
  // fields below, which know whether they were given.
  engine::SamplingParams sampling;
  std::optional<int32_t> max_tokens;  // 0 only in completions with echo
  std::optional<int64_t> seed;
  int32_t n = 1;
  std::vector<std::string> stop;
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  bool stream = false;
  bool include_usage = false;           // a last chunk with usage
  bool continuous_usage_stats = false;  // usage in every chunk
  bool return_token_ids = false;
  bool return_tokens_as_token_ids = false;
  std::string cache_salt;
  std::string user;  // the end user, as the caller names them
  int32_t priority = 0;
  // Not a field of the body: how long the client waits for the whole answer (x-galley-deadline-ms).
  std::optional<int64_t> deadline_ms;
  // Not a field of the body: the wire format has no pieces of tool calls, even in a stream.
  bool whole_tool_calls = false;
  // What the answer must look like, and the field that says so, for errors about it.
  text::GrammarSpec grammar;
  std::string grammar_field;
  std::optional<bool> add_special_tokens;  // absent: as the endpoint does by default
};

// Reads all of the above but max_tokens and logprobs, whose rules differ by endpoint, and refuses
// what no endpoint of this server has. Errors stay in `reader`.
void read_common_fields(FieldReader& reader, const ParseContext& context, CommonFields& out);

}  // namespace galley::api
