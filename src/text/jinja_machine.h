// The evaluator of the Jinja engine: one Machine is one render. Internal to jinja_*.cc.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "text/jinja.h"
#include "text/jinja_ast.h"
#include "text/jinja_value.h"

namespace galley::text::jinja {

// Variables of one block; looks outwards for what it does not have.
struct Scope {
  std::shared_ptr<Scope> outer;
  std::unordered_map<std::string, Value> variables;

  const Value* find(const std::string& name) const;
};

// Arguments bound to parameters by position and name. Errors name the function.
class Bound {
 public:
  Bound(std::string_view function, Arguments& arguments,
        std::initializer_list<std::string_view> parameters);

  bool has(size_t i) const { return given_[i]; }
  const Value& operator[](size_t i) const { return values_[i]; }
  // The argument, or an error that it is missing.
  const Value& required(size_t i) const;
  int64_t integer(size_t i, int64_t fallback) const;
  bool boolean(size_t i, bool fallback) const { return has(i) ? truth(values_[i]) : fallback; }
  std::string string(size_t i, std::string_view fallback) const;

 private:
  std::string_view function_;
  std::vector<std::string_view> parameters_;
  std::vector<Value> values_;
  std::vector<bool> given_;
};

class Machine {
 public:
  Machine(const JinjaLimits& limits, int64_t now_unix_s);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  std::string render(const Block& root, const boost::json::object& context);

  // --- for filters, tests and methods ---
  Budget& budget() { return budget_; }
  Value filter(const std::string& name, const Value& input, Arguments& arguments);
  bool test(const std::string& name, const Value& input, Arguments& arguments);
  Value call(const Value& callee, Arguments& arguments);
  Value attribute(const Value& value, const std::string& name);
  Value item(const Value& value, const Value& key);
  // A string made by the template, charged.
  Value text(std::string s) {
    budget_.spend_bytes(s.size());
    return s;
  }
  // A list made by the template, charged.
  Value list(std::vector<Value> items, Sequence::Kind kind = Sequence::kList) {
    budget_.spend_bytes(items.size() * sizeof(Value));
    return Value::sequence(std::move(items), kind);
  }
  std::string str(const Value& value) { return to_str(value, budget_); }
  Value binary(const std::string& op, const Value& a, const Value& b);
  bool contains(const Value& container, const Value& element);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  // One level of recursion, for the time of a function.
  struct Deeper {
    explicit Deeper(Machine& machine) : machine_(machine) {
      if (++machine_.depth_ <= machine_.limits_.depth_max) return;
      --machine_.depth_;
      throw Error("the template recurses too deep", 0, Code::kTooLarge);
    }
    ~Deeper() { --machine_.depth_; }
    Deeper(const Deeper&) = delete;
    Deeper& operator=(const Deeper&) = delete;
    Machine& machine_;
  };

  void define_globals();
  void write(std::string_view text);

  // A scope within `outer` for `block` to run in.
  static std::shared_ptr<Scope> scope_for(const Block& block, const std::shared_ptr<Scope>& outer);

  Flow run(const Block& block);
  Flow run(const Statement& s);
  Flow run_if(const Statement& s);
  Flow run_for(const Statement& s);
  void run_with(const Statement& s);
  // The text of `block`, run in a scope of its own.
  std::string capture(const Block& block);
  Flow run_scoped(const Block& block);
  void assign(const Target& target, const Value& value);
  Value make_macro(const Statement& s, const std::string& name);
  Value call_macro(const Statement& s, const std::string& name,
                   const std::shared_ptr<Scope>& defined_in, Arguments& arguments);
  Value call_block(const Statement& s);

  Value eval(const Expr& e);
  Value eval_kind(const Expr& e);
  Value eval_filter(const Expr& e, const Value* input);
  Value eval_compare(const Expr& e);
  Value eval_slice(const Expr& e);
  Value eval_call(const Expr& e);
  Value name(const std::string& name);
  Arguments arguments(const Expr& e);

  const JinjaLimits limits_;
  const int64_t now_unix_s_;
  Budget budget_;
  int depth_ = 0;
  std::string* out_ = nullptr;
  std::shared_ptr<Scope> globals_;
  std::shared_ptr<Scope> scope_;
  // Macros keep their scope alive and are variables in it; such cycles are cut at the end.
  std::vector<std::shared_ptr<Scope>> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

// jinja_methods.cc: methods of str, dict, list and tuple, bound to `value`; nothing for another
// name. Methods that would change the value exist and fail when called, as in the sandbox.
std::optional<Value> find_method(const Value& value, const std::string& name);

// Python's format % values, with the conversions templates use: %s %r %d %i %f %.Nf %%.
// `all_used`: values left over are an error.
Value format_percent(Machine& m, const std::string& format, const std::vector<Value>& values,
                     bool all_used);

// "'dict object' has no attribute 'x'".
Value no_attribute(const Value& value, const std::string& name);

}  // namespace galley::text::jinja
