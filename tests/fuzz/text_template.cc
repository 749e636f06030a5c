// Fuzzes the Jinja engine: a template is refused or renders to UTF-8, twice the same, within its
// limits.
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "text/jinja.h"
#include "text/utf8.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace galley::text;
  static const boost::json::value context =
      boost::json::parse(R"({"n": 7, "f": 2.5, "s": "Hello World",
    "t": true, "nil": null, "xs": [3, 1, 2], "d": {"b": 1, "a": [1, 2]}, "add_generation_prompt": true,
    "bos_token": "<b>", "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}],
    "messages": [{"role": "system", "content": "be"}, {"role": "user", "content": "hi"},
      {"role": "assistant", "content": "<think>a</think>b", "tool_calls": []}]})");
  JinjaLimits limits;
  limits.steps_max = 20'000;
  limits.value_bytes_max = 1 << 22;
  limits.output_bytes_max = 1 << 20;
  const auto parsed = Template::parse({reinterpret_cast<const char*>(data), size}, limits);
  if (!parsed.ok()) {
    GALLEY_CHECK(!parsed.message().empty(), "a refusal says why");
    return 0;
  }
  const auto first = parsed->render(context.get_object(), 0);
  const auto second = parsed->render(context.get_object(), 0);
  GALLEY_CHECK(first.ok() == second.ok(), "rendering is deterministic");
  if (!first.ok()) return 0;
  GALLEY_CHECK(*first == *second, "rendering is deterministic");
  GALLEY_CHECK(is_valid_utf8(*first), "a template gives UTF-8");
  return 0;
}
