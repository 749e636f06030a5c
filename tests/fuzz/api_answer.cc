// Fuzzes the way from tokens to text: stop strings, thought, tool calls. What is said must not
// depend on how tokens were cut into steps.
//
// First byte: options. Second: seed of the cuts. Then tokens; a byte above 0xEF stands for one of
// the pieces below.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "gateway/choice_stream.h"
#include "gateway/testing/text_models.h"
#include "text/tool_calls.h"
#include "text/utf8.h"

namespace galley::gateway {
namespace {

std::vector<int32_t> tokens_of(std::string_view data) {
  constexpr std::array<std::string_view, 12> kPieces = {text::kCallsBegin,
                                                        text::kCallsEnd,
                                                        text::kCallBegin,
                                                        text::kCallEnd,
                                                        text::kCallSeparator,
                                                        "function",
                                                        "\n```json\n",
                                                        "\n```",
                                                        "<think>",
                                                        "</think>",
                                                        "stop",
                                                        "{\"a\":1}"};
  std::vector<int32_t> out;
  for (const char c : data) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte == 0xFC || byte == 0xFD) {
      out.push_back(byte == 0xFC ? 302 : 303);  // <think> and </think> as tokens
    } else if (byte >= 0xF0 && byte < 0xF0 + kPieces.size()) {
      for (const char piece : kPieces[byte - 0xF0])
        out.push_back(static_cast<unsigned char>(piece));
    } else {
      out.push_back(byte);
    }
  }
  return out;
}

template <typename NextSize>
api::Choice say(const TextModel& text, const ChoiceOptions& options,
                const api::CommonFields& common, const std::vector<int32_t>& tokens,
                NextSize next_size) {
  ChoiceStream stream(options, common, text);
  api::Choice out;
  size_t at = 0;
  do {
    engine::Event event;
    const size_t end = std::min(tokens.size(), at + next_size());
    for (; at < end; ++at) event.tokens.push_back({.token = tokens[at], .top = {}});
    if (at == tokens.size()) event.finish = engine::FinishReason::kLength;
    out.append(stream.add(event));
  } while (!stream.over());
  return out;
}

void check(uint8_t flags, uint32_t seed, std::string_view data) {
  static const TextModel text = testing::tiny_text_model(true);
  ChoiceOptions options;
  options.chat = (flags & 1) != 0;
  options.thinking_open = (flags & 2) != 0;
  options.tool_calls = (flags & 4) != 0;
  options.one_tool_call = (flags & 8) != 0;
  api::CommonFields common;
  if ((flags & 16) != 0) common.stop = {"stop", "top!", "\n\n"};
  common.include_stop_str_in_output = (flags & 32) != 0;
  common.sampling.min_tokens = (flags & 64) != 0 ? 5 : 0;
  common.skip_special_tokens = (flags & 128) == 0;
  const std::vector<int32_t> tokens = tokens_of(data);
  const api::Choice one = say(text, options, common, tokens, [] { return size_t{1}; });
  uint32_t state = seed * 2654435761u + 1;
  const api::Choice other = say(text, options, common, tokens, [&] {
    state = state * 1664525u + 1013904223u;
    return size_t{1} + (state >> 24) % 9;
  });
  GALLEY_CHECK(one.content == other.content, "a cut changes the answer");
  GALLEY_CHECK(one.reasoning == other.reasoning, "a cut changes the thought");
  GALLEY_CHECK(one.token_ids == other.token_ids, "a cut changes the tokens");
  GALLEY_CHECK(one.finish == other.finish && one.stop_text == other.stop_text, "or the end");
  GALLEY_CHECK(one.tool_calls.size() == other.tool_calls.size(), "a cut changes the calls");
  for (size_t i = 0; i < one.tool_calls.size(); ++i) {
    GALLEY_CHECK(one.tool_calls[i].name == other.tool_calls[i].name &&
                     one.tool_calls[i].arguments == other.tool_calls[i].arguments,
                 "a cut changes a call");
  }
  GALLEY_CHECK(text::is_valid_utf8(one.content) && text::is_valid_utf8(one.reasoning), "UTF-8");
}

}  // namespace
}  // namespace galley::gateway

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 || size > 4096) return 0;
  galley::gateway::check(data[0], data[1], {reinterpret_cast<const char*>(data) + 2, size - 2});
  return 0;
}
