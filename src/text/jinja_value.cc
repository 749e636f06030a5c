#include "text/jinja_value.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

constexpr int kNestingMax = 200;

int checked_depth(int depth) {
  if (depth > kNestingMax) throw Error("a value is nested too deep", 0, Code::kTooLarge);
  return depth;
}

std::string hex(uint32_t c, int digits) {
  std::string out;
  for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4)
    out += "0123456789abcdef"[(c >> shift) & 15];
  return out;
}

// str.isprintable of one code point.
bool is_printable(char32_t c) {
  if (c == ' ') return true;
  return (category_bit(category_of(c)) & (categories_of_class('C') | categories_of_class('Z'))) ==
         0;
}

std::string string_repr(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    if (c == '\\' || c == static_cast<char32_t>(quote)) {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (is_printable(c)) {
      append_utf8(out, c);
    } else if (c < 0x100) {
      out += "\\x" + hex(static_cast<uint32_t>(c), 2);
    } else if (c < 0x10000) {
      out += "\\u" + hex(static_cast<uint32_t>(c), 4);
    } else {
      out += "\\U" + hex(static_cast<uint32_t>(c), 8);
    }
  }
  return out + quote;
}

// Builds repr(); every part is charged. Namespaces can contain themselves, hence the depth.
struct Printer {
  Budget& budget;
  std::string out = {};

  void append(std::string_view text) {
    budget.spend_bytes(text.size());
    out += text;
  }

  void print(const Value& value, int depth) {
    checked_depth(depth);
    budget.spend_steps(1);
    if (value.is_undefined()) return append("Undefined");
    if (value.is_none()) return append("None");
    if (const bool* b = value.if_bool()) return append(*b ? "True" : "False");
    if (const int64_t* i = value.if_int()) return append(std::to_string(*i));
    if (const double* d = value.if_double()) return append(float_repr(*d));
    if (const std::string* s = value.if_string()) return append(string_repr(*s));
    if (const Sequence* s = value.if_sequence()) return print_sequence(*s, depth);
    if (const Dict* d = value.if_dict()) return print_dict(*d, depth);
    const Namespace* n = value.if_namespace();
    if (n == nullptr) throw Error("a " + type_name(value) + " cannot be printed");
    append("<Namespace ");
    print_dict(n->attributes, depth + 1);
    append(">");
  }

  void print_sequence(const Sequence& s, int depth) {
    if (s.kind == Sequence::kRange) {
      append("range(" + std::to_string(s.start) + ", " + std::to_string(s.stop));
      return append(s.step == 1 ? ")" : ", " + std::to_string(s.step) + ")");
    }
    if (s.kind == Sequence::kGenerator) throw Error("a generator cannot be printed; use |list");
    append(s.kind == Sequence::kTuple ? "(" : s.kind == Sequence::kView ? "dict_view([" : "[");
    for (size_t i = 0; i < s.items.size(); ++i) {
      if (i > 0) append(", ");
      print(s.items[i], depth + 1);
    }
    if (s.kind == Sequence::kTuple) return append(s.items.size() == 1 ? ",)" : ")");
    append(s.kind == Sequence::kView ? "])" : "]");
  }

  void print_dict(const Dict& dict, int depth) {
    append("{");
    bool first = true;
    for (const auto& [key, value] : dict.items()) {
      if (!std::exchange(first, false)) append(", ");
      print(key, depth + 1);
      append(": ");
      print(value, depth + 1);
    }
    append("}");
  }
};

// Splits the shortest decimal form of a finite value into digits and the exponent of the first one.
struct Decimal {
  std::string digits;
  int exponent = 0;
};
Decimal shortest(double value) {
  char buffer[64];
  const auto result =
      std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<size_t>(result.ptr - buffer));
  const size_t e = text.find('e');
  Decimal out;
  for (const char c : text.substr(0, e)) {
    if (c != '.') out.digits += c;
  }
  const char* exponent = text.data() + e + 1;
  if (*exponent == '+') ++exponent;
  std::from_chars(exponent, text.data() + text.size(), out.exponent);
  return out;
}

void dump_string(std::string_view text, bool ensure_ascii, std::string& out) {
  out += '"';
  for (size_t pos = 0; pos < text.size();) {
    const size_t begin = pos;
    const char32_t c = next_code_point(text, pos);
    switch (c) {
      case '"':
        out += "\\\"";
        continue;
      case '\\':
        out += "\\\\";
        continue;
      case '\n':
        out += "\\n";
        continue;
      case '\r':
        out += "\\r";
        continue;
      case '\t':
        out += "\\t";
        continue;
      case '\f':
        out += "\\f";
        continue;
      case '\b':
        out += "\\b";
        continue;
      default:
        break;
    }
    const auto code = static_cast<uint32_t>(c);
    if (code >= 0x20 && (code < 0x7F || !ensure_ascii)) {
      out.append(text.substr(begin, pos - begin));
    } else if (code < 0x10000) {
      out += "\\u" + hex(code, 4);
    } else {
      out += "\\u" + hex(0xD800 + ((code - 0x10000) >> 10), 4);
      out += "\\u" + hex(0xDC00 + ((code - 0x10000) & 0x3FF), 4);
    }
  }
  out += '"';
}

std::string dump_key(const Value& key, Budget& budget) {
  if (const std::string* s = key.if_string()) return *s;
  if (const bool* b = key.if_bool()) return *b ? "true" : "false";
  if (key.is_none()) return "null";
  if (key.if_int() != nullptr || key.if_double() != nullptr) return to_str(key, budget);
  throw Error("keys must be str, int, float, bool or None, not " + type_name(key));
}

struct Dumper {
  const DumpOptions& options;
  Budget& budget;
  std::string out = {};

  void line_break(int depth) {
    if (!options.indent) return;
    out += '\n';
    budget.spend_bytes(options.indent->size() * static_cast<size_t>(depth) + 1);
    for (int i = 0; i < depth; ++i) out += *options.indent;
  }

  void dump(const Value& value, int depth) {
    budget.spend_steps(1);
    const size_t before = out.size();
    dump_one(value, depth);
    // Elements have been charged; what is left is this value's own text.
    if (value.depth() == 0) budget.spend_bytes(out.size() - before);
  }

  void dump_one(const Value& value, int depth) {
    if (value.is_none()) {
      out += "null";
    } else if (const bool* b = value.if_bool()) {
      out += *b ? "true" : "false";
    } else if (const std::string* s = value.if_string()) {
      dump_string(*s, options.ensure_ascii, out);
    } else if (const int64_t* i = value.if_int()) {
      out += std::to_string(*i);
    } else if (const double* d = value.if_double()) {
      out += std::isnan(*d)   ? "NaN"
             : std::isinf(*d) ? (*d > 0 ? "Infinity" : "-Infinity")
                              : float_repr(*d);
    } else if (const Dict* dict = value.if_dict()) {
      dump_dict(*dict, depth);
    } else if (value.is_sequence(Sequence::kList) || value.is_sequence(Sequence::kTuple)) {
      dump_list(value.if_sequence()->items, depth);
    } else {
      throw Error("Object of type " + type_name(value) + " is not JSON serializable");
    }
  }

  void dump_list(const std::vector<Value>& items, int depth) {
    if (items.empty()) {
      out += "[]";
      return;
    }
    out += '[';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += options.item_separator;
      line_break(depth + 1);
      dump(items[i], depth + 1);
    }
    line_break(depth);
    out += ']';
  }

  void dump_dict(const Dict& dict, int depth) {
    if (dict.items().empty()) {
      out += "{}";
      return;
    }
    std::vector<std::pair<Value, Value>> items = dict.items();
    if (options.sort_keys) {
      std::stable_sort(items.begin(), items.end(), [&](const auto& a, const auto& b) {
        return less(a.first, b.first, budget);
      });
    }
    out += '{';
    for (size_t i = 0; i < items.size(); ++i) {
      if (i > 0) out += options.item_separator;
      line_break(depth + 1);
      dump_string(dump_key(items[i].first, budget), options.ensure_ascii, out);
      out += options.key_separator;
      dump(items[i].second, depth + 1);
    }
    line_break(depth);
    out += '}';
  }
};

}  // namespace

void Budget::spend_steps(uint64_t n) {
  if (n > steps) throw Error("the template runs longer than its limit", 0, Code::kTooLarge);
  steps -= n;
}

void Budget::spend_bytes(size_t n) {
  if (n > bytes) throw Error("the template needs more memory than its limit", 0, Code::kTooLarge);
  bytes -= n;
}

// Keys that are not strings are rare (a dict literal with numbers); they are few and searched.
const Value* Dict::find(const Value& key) const {
  if (const std::string* s = key.if_string()) {
    const auto it = by_string_.find(*s);
    return it == by_string_.end() ? nullptr : &items_[it->second].second;
  }
  if (by_string_.size() == items_.size()) return nullptr;
  for (const auto& [k, v] : items_) {
    const bool same = (k.is_none() && key.is_none()) ||
                      (k.as_double() && key.as_double() && *k.as_double() == *key.as_double());
    if (same) return &v;
  }
  return nullptr;
}

void Dict::set(Value key, Value value) {
  if (key.if_string() == nullptr && !key.is_none() && !key.as_double()) {
    throw Error("a key of a dict must be a string, a number or none, not " + type_name(key));
  }
  depth_ = std::max(depth_, checked_depth(value.depth() + 1));
  if (const Value* present = find(key)) {
    const_cast<Value&>(*present) = std::move(value);
    return;
  }
  constexpr size_t kOtherKeysMax = 1000;
  if (const std::string* s = key.if_string()) {
    by_string_.emplace(*s, items_.size());
  } else if (items_.size() - by_string_.size() >= kOtherKeysMax) {
    throw Error("a dict has too many keys that are not strings", 0, Code::kTooLarge);
  }
  items_.emplace_back(std::move(key), std::move(value));
}

Value Value::undefined(std::string reason) {
  Value v;
  v.data_ = Undefined{std::make_shared<const std::string>(std::move(reason))};
  return v;
}

Value Value::sequence(std::vector<Value> items, Sequence::Kind kind) {
  auto s = std::make_shared<Sequence>();
  s->kind = kind;
  s->items = std::move(items);
  for (const Value& item : s->items) s->depth = std::max(s->depth, checked_depth(item.depth() + 1));
  return std::shared_ptr<const Sequence>(std::move(s));
}

Value Value::range(int64_t start, int64_t stop, int64_t step) {
  constexpr size_t kRangeMax = 100'000;
  auto s = std::make_shared<Sequence>();
  s->kind = Sequence::kRange;
  s->start = start;
  s->stop = stop;
  s->step = step;
  for (int64_t i = start; step > 0 ? i < stop : i > stop;) {
    if (s->items.size() == kRangeMax) {
      throw Error("Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000).");
    }
    s->items.emplace_back(i);
    if (__builtin_add_overflow(i, step, &i)) break;
  }
  return std::shared_ptr<const Sequence>(std::move(s));
}

Value Value::function(std::string name, std::function<Value(Machine&, Arguments&)> call) {
  return std::make_shared<const Callable>(Callable{std::move(name), std::move(call)});
}

std::optional<int64_t> Value::as_int() const {
  if (const bool* b = if_bool()) return *b ? 1 : 0;
  if (const int64_t* i = if_int()) return *i;
  return std::nullopt;
}

std::optional<double> Value::as_double() const {
  if (const double* d = if_double()) return *d;
  if (const std::optional<int64_t> i = as_int()) return static_cast<double>(*i);
  return std::nullopt;
}

int Value::depth() const {
  if (const Sequence* s = if_sequence()) return s->depth;
  if (const Dict* d = if_dict()) return d->depth();
  return 0;
}

std::string type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.if_bool() != nullptr) return "bool";
  if (value.if_int() != nullptr) return "int";
  if (value.if_double() != nullptr) return "float";
  if (value.if_string() != nullptr) return "str";
  if (value.if_dict() != nullptr) return "dict";
  if (value.if_namespace() != nullptr) return "Namespace";
  if (value.if_loop() != nullptr) return "LoopContext";
  if (const Sequence* s = value.if_sequence()) {
    constexpr const char* kNames[] = {"list", "tuple", "generator", "dict_view", "range"};
    return kNames[s->kind];
  }
  return "function";
}

void require_defined(const Value& value) {
  if (value.is_undefined()) throw Error(value.undefined_reason());
}

void require_hashable(const Value& value) {
  if (value.is_sequence(Sequence::kList) || value.if_dict() != nullptr) {
    throw Error("unhashable type: '" + type_name(value) + "'");
  }
  if (!value.is_sequence(Sequence::kTuple)) return;
  for (const Value& item : value.if_sequence()->items) require_hashable(item);
}

bool truth(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const bool* b = value.if_bool()) return *b;
  if (const int64_t* i = value.if_int()) return *i != 0;
  if (const double* d = value.if_double()) return *d != 0.0;
  if (const std::string* s = value.if_string()) return !s->empty();
  if (const Dict* d = value.if_dict()) return !d->items().empty();
  if (const Sequence* s = value.if_sequence())
    return s->kind == Sequence::kGenerator || !s->items.empty();
  return true;
}

bool equal(const Value& a, const Value& b, Budget& budget) {
  budget.spend_steps(1);
  if (a.is_undefined() || b.is_undefined()) return a.is_undefined() && b.is_undefined();
  if (a.is_none() || b.is_none()) return a.is_none() && b.is_none();
  if (const std::string* s = a.if_string()) return b.if_string() != nullptr && *s == *b.if_string();
  if (a.as_int() && b.as_int()) return *a.as_int() == *b.as_int();
  if (a.as_double() && b.as_double()) return *a.as_double() == *b.as_double();
  if (const Sequence* s = a.if_sequence()) {
    const Sequence* t = b.if_sequence();
    if (t == nullptr || s->kind != t->kind) return false;
    return std::equal(s->items.begin(), s->items.end(), t->items.begin(), t->items.end(),
                      [&](const Value& x, const Value& y) { return equal(x, y, budget); });
  }
  if (const Dict* d = a.if_dict()) {
    const Dict* e = b.if_dict();
    if (e == nullptr || d->items().size() != e->items().size()) return false;
    return std::all_of(d->items().begin(), d->items().end(), [&](const auto& item) {
      const Value* other = e->find(item.first);
      return other != nullptr && equal(item.second, *other, budget);
    });
  }
  return a.if_namespace() != nullptr && a.if_namespace() == b.if_namespace();
}

bool less(const Value& a, const Value& b, Budget& budget) {
  budget.spend_steps(1);
  require_defined(a);
  require_defined(b);
  if (a.if_string() != nullptr && b.if_string() != nullptr) {
    return *a.if_string() < *b.if_string();  // UTF-8 sorts as code points do.
  }
  if (a.as_int() && b.as_int()) return *a.as_int() < *b.as_int();
  if (a.as_double() && b.as_double()) return *a.as_double() < *b.as_double();
  const Sequence* s = a.if_sequence();
  const Sequence* t = b.if_sequence();
  if (s != nullptr && t != nullptr && s->kind == t->kind &&
      (s->kind == Sequence::kList || s->kind == Sequence::kTuple)) {
    for (size_t i = 0; i < s->items.size() && i < t->items.size(); ++i) {
      if (!equal(s->items[i], t->items[i], budget)) return less(s->items[i], t->items[i], budget);
    }
    return s->items.size() < t->items.size();
  }
  throw Error("'<' not supported between instances of '" + type_name(a) + "' and '" + type_name(b) +
              "'");
}

std::string float_repr(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string sign = std::signbit(value) ? "-" : "";
  if (value == 0) return sign + "0.0";
  const Decimal decimal = shortest(std::fabs(value));
  const std::string& digits = decimal.digits;
  const auto count = static_cast<int>(digits.size());
  if (decimal.exponent < -4 ||
      decimal.exponent >= 16) {  // Python's repr switches to exponents here.
    std::string out = sign + digits.substr(0, 1);
    if (count > 1) out += "." + digits.substr(1);
    const int magnitude = std::abs(decimal.exponent);
    return out + (decimal.exponent < 0 ? "e-" : "e+") + (magnitude < 10 ? "0" : "") +
           std::to_string(magnitude);
  }
  if (decimal.exponent < 0) {
    return sign + "0." + std::string(static_cast<size_t>(-decimal.exponent - 1), '0') + digits;
  }
  const int point = decimal.exponent + 1;
  if (count <= point)
    return sign + digits + std::string(static_cast<size_t>(point - count), '0') + ".0";
  return sign + digits.substr(0, static_cast<size_t>(point)) + "." +
         digits.substr(static_cast<size_t>(point));
}

std::string to_str(const Value& value, Budget& budget) {
  if (value.is_undefined()) return "";
  if (const std::string* s = value.if_string()) {
    budget.spend_bytes(s->size());
    return *s;
  }
  return to_repr(value, budget);
}

std::string to_repr(const Value& value, Budget& budget) {
  Printer printer{budget};
  printer.print(value, 0);
  return std::move(printer.out);
}

std::vector<Value> iterate(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (const Sequence* s = value.if_sequence()) {
    if (s->kind == Sequence::kGenerator && std::exchange(s->consumed, true)) return {};
    budget.spend_steps(s->items.size());
    budget.spend_bytes(s->items.size() * sizeof(Value));
    return s->items;
  }
  std::vector<Value> out;
  if (const Dict* d = value.if_dict()) {
    budget.spend_bytes(d->items().size() * sizeof(Value));
    for (const auto& item : d->items()) out.push_back(item.first);
    return out;
  }
  if (const std::string* s = value.if_string()) {
    budget.spend_steps(s->size());
    budget.spend_bytes(s->size() * 64);  // a string of its own for every character
    for (size_t pos = 0; pos < s->size();) {
      const size_t begin = pos;
      (void)next_code_point(*s, pos);
      out.emplace_back(s->substr(begin, pos - begin));
    }
    return out;
  }
  throw Error("'" + type_name(value) + "' object is not iterable");
}

int64_t length_of(const Value& value) {
  if (value.is_undefined()) return 0;
  if (const std::string* s = value.if_string()) {
    return std::count_if(s->begin(), s->end(),
                         [](char c) { return (static_cast<uint8_t>(c) & 0xC0) != 0x80; });
  }
  if (const Dict* d = value.if_dict()) return static_cast<int64_t>(d->items().size());
  if (const Sequence* s = value.if_sequence(); s != nullptr && s->kind != Sequence::kGenerator) {
    return static_cast<int64_t>(s->items.size());
  }
  if (const Loop* l = value.if_loop()) return static_cast<int64_t>(l->items.size());
  throw Error("object of type '" + type_name(value) + "' has no len()");
}

Value from_json(const boost::json::value& json) {
  switch (json.kind()) {
    case boost::json::kind::null:
      return {};
    case boost::json::kind::bool_:
      return json.get_bool();
    case boost::json::kind::int64:
      return json.get_int64();
    case boost::json::kind::uint64:
      return static_cast<double>(json.get_uint64());
    case boost::json::kind::double_:
      return json.get_double();
    case boost::json::kind::string:
      return std::string_view(json.get_string());
    case boost::json::kind::array: {
      std::vector<Value> items;
      items.reserve(json.get_array().size());
      for (const boost::json::value& item : json.get_array()) items.push_back(from_json(item));
      return Value::sequence(std::move(items));
    }
    case boost::json::kind::object: {
      auto dict = std::make_shared<Dict>();
      for (const auto& item : json.get_object()) {
        dict->set(std::string_view(item.key()), from_json(item.value()));
      }
      return std::shared_ptr<const Dict>(std::move(dict));
    }
  }
  return {};
}

std::string dump_json(const Value& value, const DumpOptions& options, Budget& budget) {
  Dumper dumper{options, budget};
  dumper.dump(value, 0);
  return std::move(dumper.out);
}

}  // namespace galley::text::jinja
