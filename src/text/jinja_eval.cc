// Expressions of the Jinja engine.
#include <algorithm>
#include <cmath>

#include "text/jinja_machine.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

[[noreturn]] void overflow() {
  throw Error("an integer exceeds 64 bits");
}

[[noreturn]] void unsupported(const std::string& op, const Value& a, const Value& b) {
  throw Error("unsupported operand type(s) for " + op + ": '" + type_name(a) + "' and '" +
              type_name(b) + "'");
}

int64_t power_of_ints(int64_t base, int64_t exponent) {
  int64_t result = 1;
  while (true) {
    if (exponent & 1) {
      if (__builtin_mul_overflow(result, base, &result)) overflow();
    }
    exponent >>= 1;
    if (exponent == 0) return result;
    if (__builtin_mul_overflow(base, base, &base)) overflow();
  }
}

Value int_binary(const std::string& op, int64_t a, int64_t b) {
  int64_t result = 0;
  if (op == "+") {
    if (__builtin_add_overflow(a, b, &result)) overflow();
    return result;
  }
  if (op == "-") {
    if (__builtin_sub_overflow(a, b, &result)) overflow();
    return result;
  }
  if (op == "*") {
    if (__builtin_mul_overflow(a, b, &result)) overflow();
    return result;
  }
  if (op == "**") {
    if (b < 0) return std::pow(static_cast<double>(a), static_cast<double>(b));
    return power_of_ints(a, b);
  }
  if (b == 0) throw Error(op == "/" ? "division by zero" : "integer division or modulo by zero");
  if (op == "/") return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1) {  // INT64_MIN / -1 traps.
    if (op == "%") return int64_t{0};
    if (__builtin_sub_overflow(int64_t{0}, a, &result)) overflow();
    return result;
  }
  int64_t quotient = a / b;
  int64_t rest = a % b;
  if (rest != 0 && (rest < 0) != (b < 0)) {  // Python rounds down.
    --quotient;
    rest += b;
  }
  return op == "//" ? quotient : rest;
}

Value float_binary(const std::string& op, double a, double b) {
  if (op == "+") return a + b;
  if (op == "-") return a - b;
  if (op == "*") return a * b;
  if (op == "**") return std::pow(a, b);
  if (b == 0) throw Error("float division by zero");
  if (op == "/") return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0)) rest += b;
  if (op == "%") return rest;
  return std::floor((a - rest) / b + 0.5);
}

struct Slice {
  int64_t start;
  int64_t stop;
  int64_t step;

  std::vector<size_t> indices() const {
    std::vector<size_t> out;
    for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
      out.push_back(static_cast<size_t>(i));
      if (__builtin_add_overflow(i, step, &i)) break;
    }
    return out;
  }
};

// What [start:stop:step] picks out of `length` elements, by Python's rules.
Slice slice_of(int64_t length, const Value& start_value, const Value& stop_value,
               const Value& step_value) {
  const auto number = [](const Value& v, int64_t fallback) {
    if (v.is_none()) return fallback;
    require_defined(v);
    const std::optional<int64_t> i = v.as_int();
    if (!i) throw Error("slice indices must be integers or None");
    return *i;
  };
  const int64_t step = number(step_value, 1);
  if (step == 0) throw Error("slice step cannot be zero");
  const int64_t low = step > 0 ? 0 : -1;
  const int64_t high = step > 0 ? length : length - 1;
  const auto clamp = [&](int64_t i) {
    if (i < 0) i = i < -length ? -1 : i + length;
    return std::clamp(i, low, high);
  };
  return {start_value.is_none() ? (step > 0 ? low : high) : clamp(number(start_value, 0)),
          stop_value.is_none() ? (step > 0 ? high : low) : clamp(number(stop_value, 0)), step};
}

// Byte offsets of the code points of `s`, and its size.
std::vector<size_t> code_point_offsets(const std::string& s) {
  std::vector<size_t> out;
  for (size_t i = 0; i < s.size(); ++i) {
    if ((static_cast<uint8_t>(s[i]) & 0xC0) != 0x80) out.push_back(i);
  }
  out.push_back(s.size());
  return out;
}

std::string object_name(const Value& value) {
  return value.is_none() ? "None" : type_name(value) + " object";
}

Value loop_attribute(const std::shared_ptr<Loop>& loop, const std::string& name) {
  const auto index = static_cast<int64_t>(loop->index);
  const auto length = static_cast<int64_t>(loop->items.size());
  if (name == "index") return index + 1;
  if (name == "index0") return index;
  if (name == "revindex") return length - index;
  if (name == "revindex0") return length - index - 1;
  if (name == "first") return index == 0;
  if (name == "last") return index + 1 == length;
  if (name == "length") return length;
  if (name == "depth") return loop->depth;
  if (name == "depth0") return loop->depth - 1;
  if (name == "previtem") {
    return index > 0 ? loop->items[loop->index - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return index + 1 < length ? loop->items[loop->index + 1]
                              : Value::undefined("there is no next item");
  }
  if (name == "cycle") {
    return Value::function("cycle", [loop](Machine&, Arguments& args) -> Value {
      if (args.positional.empty()) throw Error("no items for cycling given");
      return args.positional[loop->index % args.positional.size()];
    });
  }
  if (name == "changed") {
    return Value::function("changed", [loop](Machine& m, Arguments& args) -> Value {
      const Value seen = Value::sequence(args.positional, Sequence::kTuple);
      if (loop->changed && equal(*loop->changed, seen, m.budget())) return false;
      loop->changed = seen;
      return true;
    });
  }
  return Value::undefined("'LoopContext object' has no attribute '" + name + "'");
}

}  // namespace

Value no_attribute(const Value& value, const std::string& name) {
  Budget budget = {1, ~size_t{0}};  // A message; its name is as long as the template made it.
  return Value::undefined("'" + object_name(value) + "' has no attribute " + to_repr(name, budget));
}

Value Machine::name(const std::string& name) {
  const Value* found = scope_->find(name);
  return found != nullptr ? *found : Value::undefined("'" + name + "' is undefined");
}

Value Machine::eval(const Expr& e) {
  const Deeper deeper(*this);
  budget_.spend_steps(1);
  try {
    return eval_kind(e);
  } catch (const Error& error) {
    if (error.line != 0) throw;
    throw Error(error.what(), e.line, error.code);
  }
}

Value Machine::eval_kind(const Expr& e) {
  const auto kid = [&](size_t i) { return eval(*e.kids[i]); };
  const auto kids = [&] {
    std::vector<Value> values;
    values.reserve(e.kids.size());
    for (const ExprPtr& k : e.kids) values.push_back(eval(*k));
    return values;
  };
  switch (e.kind) {
    case Expr::kConst:
      return e.constant;
    case Expr::kName:
      return name(e.name);
    case Expr::kList:
      return list(kids());
    case Expr::kTuple:
      return list(kids(), Sequence::kTuple);
    case Expr::kDict: {
      auto dict = std::make_shared<Dict>();
      for (size_t i = 0; i < e.kids.size(); i += 2) {
        Value key = kid(i);
        dict->set(std::move(key), kid(i + 1));
      }
      budget_.spend_bytes(e.kids.size() * sizeof(Value));
      return std::shared_ptr<const Dict>(std::move(dict));
    }
    case Expr::kAttribute:
      return attribute(kid(0), e.name);
    case Expr::kItem: {
      const Value object = kid(0);
      return item(object, kid(1));
    }
    case Expr::kSlice:
      return eval_slice(e);
    case Expr::kCall:
      return eval_call(e);
    case Expr::kFilter:
      return eval_filter(e, nullptr);
    case Expr::kTest: {
      const Value input = kid(0);
      Arguments args = arguments(e);
      if (!has_test(e.name)) throw Error("No test named '" + e.name + "' found.");
      return test(e.name, input, args);
    }
    case Expr::kNot:
      return !truth(kid(0));
    case Expr::kNegative:
    case Expr::kPositive: {
      const Value value = kid(0);
      require_defined(value);
      if (const std::optional<int64_t> i = value.as_int()) {
        return e.kind == Expr::kPositive ? Value(*i) : int_binary("-", 0, *i);
      }
      if (const double* d = value.if_double()) return e.kind == Expr::kPositive ? *d : -*d;
      throw Error("bad operand type for unary " +
                  std::string(e.kind == Expr::kPositive ? "+" : "-") + ": '" + type_name(value) +
                  "'");
    }
    case Expr::kBinary: {
      const Value left = kid(0);
      return binary(e.name, left, kid(1));
    }
    case Expr::kConcat: {
      std::string out;
      for (const ExprPtr& k : e.kids) out += str(eval(*k));
      return out;
    }
    case Expr::kAnd: {
      Value left = kid(0);
      return truth(left) ? kid(1) : left;
    }
    case Expr::kOr: {
      Value left = kid(0);
      return truth(left) ? left : kid(1);
    }
    case Expr::kCompare:
      return eval_compare(e);
    case Expr::kIf:
      if (truth(kid(0))) return kid(1);
      if (e.kids[2]) return kid(2);
      return Value::undefined("the inline if-expression on line " + std::to_string(e.line) +
                              " evaluated to false and no else section was defined.");
  }
  return {};
}

Arguments Machine::arguments(const Expr& e) {
  Arguments out;
  for (const Argument& a : e.arguments) {
    Value value = eval(*a.value);
    switch (a.kind) {
      case Argument::kPositional:
        out.positional.push_back(std::move(value));
        break;
      case Argument::kNamed:
        out.named.emplace_back(a.name, std::move(value));
        break;
      case Argument::kSpread:
        for (Value& item : iterate(value, budget_)) out.positional.push_back(std::move(item));
        break;
      case Argument::kSpreadNamed: {
        const Dict* dict = value.if_dict();
        if (dict == nullptr)
          throw Error("argument after ** must be a mapping, not " + type_name(value));
        for (const auto& [key, item] : dict->items()) {
          if (key.if_string() == nullptr) throw Error("keywords must be strings");
          out.named.emplace_back(*key.if_string(), item);
        }
        budget_.spend_bytes(dict->items().size() * sizeof(Value));
        break;
      }
    }
  }
  return out;
}

Value Machine::eval_call(const Expr& e) {
  const Value callee = eval(*e.kids[0]);
  Arguments args = arguments(e);
  return call(callee, args);
}

Value Machine::call(const Value& callee, Arguments& args) {
  require_defined(callee);
  const Callable* function = callee.if_callable();
  if (function == nullptr) throw Error("'" + type_name(callee) + "' object is not callable");
  const Deeper deeper(*this);
  return function->call(*this, args);
}

Value Machine::eval_filter(const Expr& e, const Value* input) {
  if (e.kind !=
      Expr::kFilter) {  // A chain for a block may hold tests and calls; only filters make sense.
    throw Error("expected a filter");
  }
  const Value value =
      e.kids[0] ? (input != nullptr ? eval_filter(*e.kids[0], input) : eval(*e.kids[0])) : *input;
  Arguments args = arguments(e);
  if (!has_filter(e.name)) throw Error("No filter named '" + e.name + "' found.");
  return filter(e.name, value, args);
}

Value Machine::eval_compare(const Expr& e) {
  Value left = eval(*e.kids[0]);
  for (size_t i = 0; i < e.operators.size(); ++i) {
    Value right = eval(*e.kids[i + 1]);
    const std::string& op = e.operators[i];
    bool holds = false;
    if (op[0] == '<' || op[0] == '>') {
      require_defined(left);
      require_defined(right);
    }
    if (op == "==" || op == "!=") {
      holds = equal(left, right, budget_) == (op == "==");
    } else if (op == "<") {
      holds = less(left, right, budget_);
    } else if (op == ">") {
      holds = less(right, left, budget_);
    } else if (op == "<=") {
      holds = less(left, right, budget_) || equal(left, right, budget_);
    } else if (op == ">=") {
      holds = less(right, left, budget_) || equal(left, right, budget_);
    } else {
      holds = contains(right, left) == (op == "in");
    }
    if (!holds) return false;
    left = std::move(right);
  }
  return true;
}

bool Machine::contains(const Value& container, const Value& element) {
  if (container.is_undefined()) return false;
  if (const std::string* s = container.if_string()) {
    require_defined(element);
    const std::string* part = element.if_string();
    if (part == nullptr)
      throw Error("'in <string>' requires string as left operand, not " + type_name(element));
    budget_.spend_steps(s->size() / 64 + 1);
    return s->find(*part) != std::string::npos;
  }
  if (const Dict* d = container.if_dict()) {
    require_hashable(element);
    return d->find(element) != nullptr;
  }
  if (container.if_sequence() == nullptr) {
    throw Error("argument of type '" + type_name(container) + "' is not iterable");
  }
  for (const Value& item : iterate(container, budget_)) {
    if (equal(item, element, budget_)) return true;
  }
  return false;
}

Value Machine::binary(const std::string& op, const Value& a, const Value& b) {
  require_defined(a);
  // Python takes an undefined right side of a format for a mapping.
  if (op == "%" && a.if_string() != nullptr && b.is_undefined()) {
    return format_percent(*this, *a.if_string(), {b}, false);
  }
  require_defined(b);
  if (a.as_int() && b.as_int()) return int_binary(op, *a.as_int(), *b.as_int());
  if (a.as_double() && b.as_double()) return float_binary(op, *a.as_double(), *b.as_double());
  if (op == "+") {
    if (a.if_string() != nullptr && b.if_string() != nullptr)
      return text(*a.if_string() + *b.if_string());
    const Sequence* s = a.if_sequence();
    const Sequence* t = b.if_sequence();
    if (s != nullptr && t != nullptr && s->kind == t->kind &&
        (s->kind == Sequence::kList || s->kind == Sequence::kTuple)) {
      std::vector<Value> items = s->items;
      items.insert(items.end(), t->items.begin(), t->items.end());
      return list(std::move(items), s->kind);
    }
    if (a.if_string() != nullptr)
      throw Error("can only concatenate str (not \"" + type_name(b) + "\") to str");
  }
  if (op == "*") {
    const bool swapped = a.as_int().has_value();
    const Value& repeated = swapped ? b : a;
    const std::optional<int64_t> times = (swapped ? a : b).as_int();
    if (times && repeated.if_string() != nullptr) {
      const std::string& s = *repeated.if_string();
      const auto count = static_cast<size_t>(std::max<int64_t>(*times, 0));
      if (!s.empty() && count > limits_.value_bytes_max / s.size()) budget_.spend_bytes(~size_t{0});
      budget_.spend_bytes(s.size() * count);
      std::string out;
      out.reserve(s.size() * count);
      for (size_t i = 0; i < count && !s.empty(); ++i) out += s;
      return out;
    }
    if (times &&
        (repeated.is_sequence(Sequence::kList) || repeated.is_sequence(Sequence::kTuple))) {
      const std::vector<Value>& items = repeated.if_sequence()->items;
      const auto count = static_cast<size_t>(std::max<int64_t>(*times, 0));
      if (!items.empty() && count > limits_.value_bytes_max / sizeof(Value) / items.size())
        budget_.spend_bytes(~size_t{0});
      budget_.spend_bytes(items.size() * count * sizeof(Value));
      std::vector<Value> out;
      for (size_t i = 0; i < count && !items.empty(); ++i)
        out.insert(out.end(), items.begin(), items.end());
      return Value::sequence(std::move(out), repeated.if_sequence()->kind);
    }
  }
  if (op == "%" && a.if_string() != nullptr) {
    if (b.is_sequence(Sequence::kTuple))
      return format_percent(*this, *a.if_string(), b.if_sequence()->items, true);
    // Lists and dicts count as mappings, of which not all need be used.
    const bool is_mapping = b.if_sequence() != nullptr || b.if_dict() != nullptr;
    return format_percent(*this, *a.if_string(), {b}, !is_mapping);
  }
  unsupported(op, a, b);
}

Value Machine::attribute(const Value& value, const std::string& name) {
  require_defined(value);
  if (const std::shared_ptr<Loop> loop = value.loop()) return loop_attribute(loop, name);
  if (const Namespace* ns = value.if_namespace()) {
    const Value* found = ns->attributes.find(name);
    return found != nullptr
               ? *found
               : Value::undefined("'Namespace object' has no attribute '" + name + "'");
  }
  if (std::optional<Value> method = find_method(value, name)) return *std::move(method);
  if (const Dict* d = value.if_dict()) {
    if (const Value* found = d->find(name)) return *found;
  }
  return no_attribute(value, name);
}

Value Machine::item(const Value& value, const Value& key) {
  require_defined(value);
  if (const Dict* d = value.if_dict()) {
    if (const Value* found = d->find(key)) return *found;
  }
  if (const std::string* name = key.if_string()) return attribute(value, *name);
  const std::optional<int64_t> index = key.as_int();
  const Sequence* s = value.if_sequence();
  const bool indexable =
      s != nullptr && s->kind != Sequence::kGenerator && s->kind != Sequence::kView;
  if (index && (indexable || value.if_string() != nullptr)) {
    const int64_t length = length_of(value);
    const int64_t at = *index < 0 ? *index + length : *index;
    if (at >= 0 && at < length) {
      if (indexable) return s->items[static_cast<size_t>(at)];
      const std::string& text = *value.if_string();
      budget_.spend_steps(text.size() / 64 + 1);
      const std::vector<size_t> offsets = code_point_offsets(text);
      const auto i = static_cast<size_t>(at);
      return text.substr(offsets[i], offsets[i + 1] - offsets[i]);
    }
  }
  return Value::undefined(object_name(value) + " has no element " + to_repr(key, budget_));
}

Value Machine::eval_slice(const Expr& e) {
  const Value value = eval(*e.kids[0]);
  const auto part = [&](size_t i) { return e.kids[i] ? eval(*e.kids[i]) : Value(); };
  const Value start = part(1);
  const Value stop = part(2);
  const Value step = part(3);
  require_defined(value);
  const Sequence* s = value.if_sequence();
  if (const std::string* text = value.if_string()) {
    budget_.spend_steps(text->size() / 64 + 1);
    const std::vector<size_t> offsets = code_point_offsets(*text);
    std::string out;
    for (const size_t i :
         slice_of(static_cast<int64_t>(offsets.size() - 1), start, stop, step).indices()) {
      out.append(*text, offsets[i], offsets[i + 1] - offsets[i]);
    }
    return this->text(std::move(out));
  }
  if (s == nullptr || s->kind == Sequence::kGenerator || s->kind == Sequence::kView) {
    throw Error("'" + type_name(value) + "' object is not subscriptable");
  }
  const Slice slice = slice_of(static_cast<int64_t>(s->items.size()), start, stop, step);
  if (s->kind == Sequence::kRange) {
    int64_t new_step = 0;
    if (__builtin_mul_overflow(s->step, slice.step, &new_step)) overflow();
    const auto at = [&](int64_t i) {
      return *binary("+", s->start, binary("*", i, s->step)).as_int();
    };
    return Value::range(at(slice.start), at(slice.stop), new_step);
  }
  std::vector<Value> out;
  for (const size_t i : slice.indices()) out.push_back(s->items[i]);
  return list(std::move(out), s->kind == Sequence::kTuple ? Sequence::kTuple : Sequence::kList);
}

}  // namespace galley::text::jinja
