// Tests of the Jinja engine ("x is defined"): jinja2's.
#include <algorithm>
#include <iterator>
#include <unordered_map>

#include "text/jinja_machine.h"
#include "text/jinja_strings.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

using Test = bool (*)(Machine&, const Value&, Arguments&);

bool divisible(Machine& m, const Value& v, int64_t by, int64_t rest) {
  return equal(m.binary("%", v, by), rest, m.budget());
}

Value operand(const char* test, Arguments& args) {
  return Bound(test, args, {"other"}).required(0);
}

bool is_iterable(const Value& v) {
  return v.is_undefined() || v.if_string() != nullptr || v.if_dict() != nullptr ||
         v.if_sequence() != nullptr || v.if_loop() != nullptr;
}

// str.islower and str.isupper.
bool has_case(Machine& m, const Value& v, const char* method) {
  Arguments none;
  return truth(m.call(*find_method(m.str(v), method), none));
}

bool same_as(const Value& a, const Value& b) {
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (a.if_bool() != nullptr || b.if_bool() != nullptr) {
    return a.if_bool() != nullptr && b.if_bool() != nullptr && *a.if_bool() == *b.if_bool();
  }
  if (a.if_dict() != nullptr) return a.if_dict() == b.if_dict();
  if (a.if_sequence() != nullptr) return a.if_sequence() == b.if_sequence();
  Budget budget = {1000, 0};
  return type_name(a) == type_name(b) && equal(a, b, budget);
}

const std::unordered_map<std::string_view, Test>& tests() {
  static const Test eq = [](Machine& m, const Value& v, Arguments& a) {
    return equal(v, operand("eq", a), m.budget());
  };
  static const Test ne = [](Machine& m, const Value& v, Arguments& a) {
    return !equal(v, operand("ne", a), m.budget());
  };
  static const Test lt = [](Machine& m, const Value& v, Arguments& a) {
    return less(v, operand("lt", a), m.budget());
  };
  static const Test gt = [](Machine& m, const Value& v, Arguments& a) {
    return less(operand("gt", a), v, m.budget());
  };
  static const Test le = [](Machine& m, const Value& v, Arguments& a) {
    const Value other = operand("le", a);
    return less(v, other, m.budget()) || equal(v, other, m.budget());
  };
  static const Test ge = [](Machine& m, const Value& v, Arguments& a) {
    const Value other = operand("ge", a);
    return less(other, v, m.budget()) || equal(v, other, m.budget());
  };
  static const std::unordered_map<std::string_view, Test> table = {
      {"boolean", [](Machine&, const Value& v, Arguments&) { return v.if_bool() != nullptr; }},
      {"callable", [](Machine&, const Value& v,
                      Arguments&) { return v.if_callable() != nullptr || v.is_undefined(); }},
      {"defined", [](Machine&, const Value& v, Arguments&) { return !v.is_undefined(); }},
      {"undefined", [](Machine&, const Value& v, Arguments&) { return v.is_undefined(); }},
      {"divisibleby",
       [](Machine& m, const Value& v, Arguments& a) {
         return divisible(m, v, Bound("divisibleby", a, {"num"}).integer(0, 0), 0);
       }},
      {"even", [](Machine& m, const Value& v, Arguments&) { return divisible(m, v, 2, 0); }},
      {"odd", [](Machine& m, const Value& v, Arguments&) { return divisible(m, v, 2, 1); }},
      {"eq", eq},
      {"==", eq},
      {"equalto", eq},
      {"ne", ne},
      {"!=", ne},
      {"lt", lt},
      {"<", lt},
      {"lessthan", lt},
      {"gt", gt},
      {">", gt},
      {"greaterthan", gt},
      {"le", le},
      {"<=", le},
      {"ge", ge},
      {">=", ge},
      {"escaped", [](Machine&, const Value&, Arguments&) { return false; }},
      {"false", [](Machine&, const Value& v,
                   Arguments&) { return v.if_bool() != nullptr && !*v.if_bool(); }},
      {"true",
       [](Machine&, const Value& v, Arguments&) { return v.if_bool() != nullptr && *v.if_bool(); }},
      {"filter", [](Machine&, const Value& v,
                    Arguments&) { return v.if_string() != nullptr && has_filter(*v.if_string()); }},
      {"test", [](Machine&, const Value& v,
                  Arguments&) { return v.if_string() != nullptr && has_test(*v.if_string()); }},
      {"float", [](Machine&, const Value& v, Arguments&) { return v.if_double() != nullptr; }},
      {"in",
       [](Machine& m, const Value& v, Arguments& a) { return m.contains(operand("in", a), v); }},
      {"integer", [](Machine&, const Value& v, Arguments&) { return v.if_int() != nullptr; }},
      {"iterable", [](Machine&, const Value& v, Arguments&) { return is_iterable(v); }},
      {"lower", [](Machine& m, const Value& v, Arguments&) { return has_case(m, v, "islower"); }},
      {"upper", [](Machine& m, const Value& v, Arguments&) { return has_case(m, v, "isupper"); }},
      {"mapping", [](Machine&, const Value& v, Arguments&) { return v.if_dict() != nullptr; }},
      {"none", [](Machine&, const Value& v, Arguments&) { return v.is_none(); }},
      {"number", [](Machine&, const Value& v, Arguments&) { return v.as_double().has_value(); }},
      {"sameas",
       [](Machine&, const Value& v, Arguments& a) { return same_as(v, operand("sameas", a)); }},
      // len() and indexing; an undefined value has a length, but fails on the index.
      {"sequence",
       [](Machine&, const Value& v, Arguments&) {
         const Sequence* s = v.if_sequence();
         return v.if_string() != nullptr || v.if_dict() != nullptr || v.is_undefined() ||
                (s != nullptr && s->kind != Sequence::kGenerator && s->kind != Sequence::kView);
       }},
      {"string", [](Machine&, const Value& v, Arguments&) { return v.if_string() != nullptr; }},
  };
  return table;
}

}  // namespace

bool has_test(std::string_view name) {
  return tests().contains(name);
}

bool Machine::test(const std::string& name, const Value& input, Arguments& args) {
  const auto it = tests().find(name);
  if (it == tests().end()) throw Error("No test named '" + name + "'.");
  constexpr std::string_view kWithArgument[] = {
      "divisibleby", "eq", "==",          "equalto", "ne", "!=", "lt", "<",  "lessthan",
      "gt",          ">",  "greaterthan", "le",      "<=", "ge", ">=", "in", "sameas"};
  const bool takes_one = std::find(std::begin(kWithArgument), std::end(kWithArgument), name) !=
                         std::end(kWithArgument);
  if (!takes_one && !(args.positional.empty() && args.named.empty())) {
    throw Error("test '" + name + "' takes no argument");
  }
  return it->second(*this, input, args);
}

}  // namespace galley::text::jinja
