// Upstream: whoever turns requests into answers. The in-process engine is one; other servers come
// behind the same seam. All calls and all callbacks are on the event loop.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/answer.h"
#include "api/chat.h"
#include "api/completions.h"
#include "api/errors.h"
#include "api/tokenize.h"

namespace galley::gateway {

using GenerationRequest = std::variant<api::ChatRequest, api::CompletionRequest>;

// What a prepared generation will cost at most.
struct Demand {
  int64_t prompt_tokens = 0;  // of all its prompts
  int32_t output_max = 1;     // of each sequence
  int32_t sequences = 1;
};

struct StartOptions {
  int32_t priority = 0;              // lower is served earlier
  std::string cache_isolation = {};  // prefixes are shared under equal ones only; empty: with all
};

// Hears about one generation, in this order: on_prepared, and once it is started on_accepted, then
// prompts and deltas, then on_end.
class GenerationSink {
 public:
  virtual ~GenerationSink() = default;
  // The request is valid, and waits for start().
  virtual void on_prepared(const Demand& demand) = 0;
  // It has begun. Not called when on_end brings an error instead.
  virtual void on_accepted() = 0;
  // Once per prompt, before the first delta of its choices.
  virtual void on_prompt(api::PromptInfo prompt) = 0;
  virtual void on_delta(api::Delta delta) = 0;
  // Exactly once, unless cancelled; nothing follows.
  virtual void on_end(std::optional<api::Error> error) = 0;
};

struct Tokens {
  std::vector<int32_t> ids;
  std::vector<std::string> spellings;
};

class Upstream {
 public:
  using GenerationId = uint64_t;
  using TokensDone = std::function<void(api::Parsed<Tokens>)>;
  using TextDone = std::function<void(api::Parsed<std::string>)>;

  virtual ~Upstream() = default;

  // Finds out what the request costs; answers through `sink`, never from within the call. What is
  // compiled for it, such as a grammar, is shared under equal `tenant`s only; empty: with all.
  virtual GenerationId prepare(GenerationRequest request, const std::string& tenant,
                               std::shared_ptr<GenerationSink> sink) = 0;
  // Begins a generation that is prepared. May answer from within the call. Unknown ids are ignored.
  virtual void start(GenerationId id, const StartOptions& options) = 0;
  // The client has gone: frees what the generation holds. Unknown ids are ignored. The sink hears
  // nothing more.
  virtual void cancel(GenerationId id) = 0;

  virtual void tokenize(api::TokenizeRequest request, TokensDone done) = 0;
  virtual void detokenize(api::DetokenizeRequest request, TextDone done) = 0;

  // Whether it can answer now; /ready says so.
  virtual bool ready() const = 0;
};

}  // namespace galley::gateway
