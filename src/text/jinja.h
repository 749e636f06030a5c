// A bounded Jinja engine: renders chat templates exactly as Python's jinja2 does.
//
// The dialect is the one transformers sets up for chat templates: an immutable sandbox,
// trim_blocks, lstrip_blocks, loop controls, {% generation %}, a tojson filter over json.dumps,
// raise_exception() and strftime_now(). What a template could do that a chat template has no use
// for (include, import, extends, block, do, random, pprint, ...) is refused by name.
//
// Templates and what they render are hostile: size, nesting, steps, memory and output have bounds.
// Integers have 64 bits; an operation that leaves them is an error, never a wrong number. A
// Template is immutable after parse(); any number of threads may render one. Within this layer's
// jinja_*.cc errors travel as exceptions of one type; they never leave parse() and render().
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"

namespace galley::text {

struct JinjaLimits {
  size_t template_bytes_max = size_t{1} << 20;
  size_t nodes_max = 100'000;                  // of the parsed template
  int nesting_max = 100;                       // of expressions and blocks in the template's text
  int expression_depth_max = 200;              // operators that one expression chains
  uint64_t steps_max = 5'000'000;              // nodes evaluated by one render
  int depth_max = 600;                         // of expressions, blocks and calls being evaluated
  size_t value_bytes_max = size_t{256} << 20;  // made by one render in total
  size_t output_bytes_max = size_t{64} << 20;
};

namespace jinja {
struct Block;
}

class Template {
 public:
  // kInvalid: "line N: what is wrong".
  static Result<Template> parse(std::string_view source, const JinjaLimits& limits = {});

  // The text for `context`, an object whose members are the template's variables. `now_unix_s` is
  // what strftime_now() shows, in the local time zone. kInvalid with "line N: ..." when the
  // template fails or calls raise_exception, kTooLarge when it reaches a limit.
  Result<std::string> render(const boost::json::object& context, int64_t now_unix_s) const;

 private:
  Template() = default;

  std::shared_ptr<const jinja::Block> root_;
  JinjaLimits limits_;
};

}  // namespace galley::text
