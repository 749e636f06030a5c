// Methods of Python's str, dict, list and tuple.
#include <algorithm>
#include <unordered_map>

#include "text/jinja_machine.h"
#include "text/jinja_strings.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

using Method = Value (*)(Machine&, const Value&, Arguments&);
using Methods = std::unordered_map<std::string_view, Method>;

const std::string& self(const Value& value) {
  return *value.if_string();
}

Value string_list(Machine& m, const std::vector<std::string>& parts) {
  std::vector<Value> items;
  items.reserve(parts.size());
  for (const std::string& part : parts) items.push_back(m.text(part));
  return m.list(std::move(items));
}

std::optional<std::string> optional_string(const Bound& bound, size_t i) {
  if (!bound.has(i) || bound[i].is_none()) return std::nullopt;
  return bound.string(i, "");
}

Value strip_method(Machine& m, const Value& v, Arguments& args, bool left, bool right) {
  const Bound bound("strip", args, {"chars"});
  return m.text(std::string(strip(self(v), optional_string(bound, 0), left, right)));
}

Value split_method(Machine& m, const Value& v, Arguments& args, bool from_right) {
  const Bound bound("split", args, {"sep", "maxsplit"});
  const std::optional<std::string> separator = optional_string(bound, 0);
  const int64_t splits_max = bound.integer(1, -1);
  // Each part costs an object; how many there are is bounded by the text.
  m.budget().spend_steps(self(v).size() / 16 + 1);
  if (!separator) return string_list(m, split_space(self(v), splits_max, from_right));
  if (separator->empty()) throw Error("empty separator");
  return string_list(m, split_at(self(v), *separator, splits_max, from_right));
}

// The part of `text` from code point `start` to `stop`, as s.startswith(x, start, stop) counts.
std::string_view window(std::string_view text, const Bound& bound, size_t start_at, size_t stop_at,
                        size_t& offset) {
  std::vector<size_t> offsets;
  for (size_t i = 0; i < text.size(); ++i) {
    if ((static_cast<uint8_t>(text[i]) & 0xC0) != 0x80) offsets.push_back(i);
  }
  offsets.push_back(text.size());
  const auto length = static_cast<int64_t>(offsets.size() - 1);
  const auto place = [&](size_t i, int64_t fallback) {
    if (!bound.has(i) || bound[i].is_none()) return fallback;
    int64_t at = bound.integer(i, 0);
    if (at < 0) at = at < -length ? 0 : at + length;
    return std::min(at, length);
  };
  const int64_t start = place(start_at, 0);
  const int64_t stop = std::max(place(stop_at, length), start);
  offset = static_cast<size_t>(start);
  const size_t begin = offsets[static_cast<size_t>(start)];
  return text.substr(begin, offsets[static_cast<size_t>(stop)] - begin);
}

Value affix_method(const Value& v, Arguments& args, bool at_end) {
  const Bound bound(at_end ? "endswith" : "startswith", args, {"prefix", "start", "end"});
  size_t offset = 0;
  const std::string_view text =
      bound.has(1) ? window(self(v), bound, 1, 2, offset) : std::string_view(self(v));
  const auto matches = [&](const Value& affix) {
    require_defined(affix);
    const std::string* s = affix.if_string();
    if (s == nullptr)
      throw Error("startswith/endswith first arg must be str or a tuple of str, not " +
                  type_name(affix));
    return at_end ? text.ends_with(*s) : text.starts_with(*s);
  };
  const Value& affix = bound.required(0);
  if (!affix.is_sequence(Sequence::kTuple)) return matches(affix);
  const std::vector<Value>& items = affix.if_sequence()->items;
  return std::any_of(items.begin(), items.end(), matches);
}

Value find_in(Machine& m, const Value& v, Arguments& args, bool from_right, bool must) {
  const Bound bound("find", args, {"sub", "start", "end"});
  size_t offset = 0;
  m.budget().spend_steps(self(v).size() / 16 + 1);
  const std::string_view text = window(self(v), bound, 1, 2, offset);
  const std::string part = (void(bound.required(0)), bound.string(0, ""));
  const size_t at = from_right ? text.rfind(part) : text.find(part);
  if (at == std::string_view::npos) {
    if (must) throw Error("substring not found");
    return int64_t{-1};
  }
  return static_cast<int64_t>(offset) + length_of(text.substr(0, at));
}

Value partition_method(Machine& m, const Value& v, Arguments& args, bool from_right) {
  const Bound bound("partition", args, {"sep"});
  const std::string separator = (void(bound.required(0)), bound.string(0, ""));
  if (separator.empty()) throw Error("empty separator");
  const std::string& text = self(v);
  const size_t at = from_right ? text.rfind(separator) : text.find(separator);
  std::vector<Value> parts;
  if (at == std::string::npos) {
    parts = from_right ? std::vector<Value>{"", "", text} : std::vector<Value>{text, "", ""};
  } else {
    parts = {text.substr(0, at), separator, text.substr(at + separator.size())};
  }
  m.budget().spend_bytes(text.size());
  return m.list(std::move(parts), Sequence::kTuple);
}

// All characters satisfy `predicate`, and there is one.
Value all_characters(const Value& v, Arguments& args, bool (*predicate)(char32_t)) {
  const Bound bound("str method", args, {});
  const std::string& text = self(v);
  for (size_t pos = 0; pos < text.size();) {
    if (!predicate(next_code_point(text, pos))) return false;
  }
  return !text.empty();
}

bool has_category(char32_t c, uint32_t mask) {
  return (category_bit(category_of(c)) & mask) != 0;
}

// str.isupper and str.islower: some cased character, and none of the other case.
Value one_case(const Value& v, Arguments& args, Category wanted) {
  const Bound bound("str method", args, {});
  const std::string& text = self(v);
  bool found = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    if (!is_cased(c)) continue;
    if (category_of(c) != wanted) return false;
    found = true;
  }
  return found;
}

Value pad_method(Machine& m, const Value& v, Arguments& args, double left_share) {
  const Bound bound("just", args, {"width", "fillchar"});
  const int64_t missing = bound.integer(0, 0) - length_of(v);
  const std::string fill = bound.string(1, " ");
  if (length_of(fill) != 1) throw Error("The fill character must be exactly one character long");
  if (missing <= 0) return v;
  m.budget().spend_bytes(static_cast<size_t>(missing) * fill.size());
  // str.center puts the odd one to the left when both width and margin are odd.
  int64_t left = left_share == 0.5 ? missing / 2 + (missing & bound.integer(0, 0) & 1)
                 : left_share == 1 ? missing
                                   : 0;
  std::string out;
  for (int64_t i = 0; i < left; ++i) out += fill;
  out += self(v);
  for (int64_t i = left; i < missing; ++i) out += fill;
  return m.text(std::move(out));
}

Value replace_method(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("replace", args, {"old", "new", "count"});
  const std::string from = (void(bound.required(0)), bound.string(0, ""));
  const std::string to = (void(bound.required(1)), bound.string(1, ""));
  const std::string& text = self(v);
  // The longest result: every place replaced.
  const size_t places = from.empty() ? text.size() + 1 : text.size() / from.size();
  if (!to.empty() && places > m.budget().bytes / to.size()) m.budget().spend_bytes(~size_t{0});
  m.budget().spend_steps(text.size() / 16 + 1);
  return m.text(replace_all(text, from, to, bound.integer(2, -1)));
}

Value join_method(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("join", args, {"iterable"});
  std::string out;
  bool first = true;
  for (const Value& item : iterate(bound.required(0), m.budget())) {
    require_defined(item);
    if (item.if_string() == nullptr)
      throw Error("sequence item: expected str instance, " + type_name(item) + " found");
    if (!std::exchange(first, false)) out += self(v);
    out += *item.if_string();
    m.budget().spend_bytes(item.if_string()->size() + self(v).size());
  }
  return out;
}

// str.format with {}, {0} and {name}; format specifications are not supported.
Value format_method(Machine& m, const Value& v, Arguments& args) {
  const std::string& text = self(v);
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool doubled = i + 1 < text.size() && text[i + 1] == text[i];
    if ((text[i] == '{' || text[i] == '}') && doubled) {
      out += text[i++];
      continue;
    }
    if (text[i] == '}') throw Error("Single '}' encountered in format string");
    if (text[i] != '{') {
      out += text[i];
      continue;
    }
    const size_t end = text.find('}', i);
    if (end == std::string::npos) throw Error("expected '}' before end of string");
    const std::string name = text.substr(i + 1, end - i - 1);
    i = end;
    const bool is_index = name.empty() || std::all_of(name.begin(), name.end(),
                                                      [](char c) { return c >= '0' && c <= '9'; });
    if (is_index && name.size() < 6) {
      const size_t index = name.empty() ? next++ : std::stoul(name);
      if (index >= args.positional.size())
        throw Error("Replacement index " + std::to_string(index) +
                    " out of range for positional args tuple");
      out += m.str(args.positional[index]);
      continue;
    }
    const auto it = std::find_if(args.named.begin(), args.named.end(),
                                 [&](const auto& n) { return n.first == name; });
    if (it == args.named.end())
      throw Error("format field '{" + name + "}' is missing or not supported");
    out += m.str(it->second);
  }
  return m.text(std::move(out));
}

const Methods& string_methods() {
  static const Methods methods = {
      {"strip",
       [](Machine& m, const Value& v, Arguments& a) { return strip_method(m, v, a, true, true); }},
      {"lstrip",
       [](Machine& m, const Value& v, Arguments& a) { return strip_method(m, v, a, true, false); }},
      {"rstrip",
       [](Machine& m, const Value& v, Arguments& a) { return strip_method(m, v, a, false, true); }},
      {"split",
       [](Machine& m, const Value& v, Arguments& a) { return split_method(m, v, a, false); }},
      {"rsplit",
       [](Machine& m, const Value& v, Arguments& a) { return split_method(m, v, a, true); }},
      {"splitlines",
       [](Machine& m, const Value& v, Arguments& a) {
         const Bound bound("splitlines", a, {"keepends"});
         return string_list(m, split_lines(self(v), bound.boolean(0, false)));
       }},
      {"startswith",
       [](Machine&, const Value& v, Arguments& a) { return affix_method(v, a, false); }},
      {"endswith", [](Machine&, const Value& v, Arguments& a) { return affix_method(v, a, true); }},
      {"find",
       [](Machine& m, const Value& v, Arguments& a) { return find_in(m, v, a, false, false); }},
      {"rfind",
       [](Machine& m, const Value& v, Arguments& a) { return find_in(m, v, a, true, false); }},
      {"index",
       [](Machine& m, const Value& v, Arguments& a) { return find_in(m, v, a, false, true); }},
      {"rindex",
       [](Machine& m, const Value& v, Arguments& a) { return find_in(m, v, a, true, true); }},
      {"partition",
       [](Machine& m, const Value& v, Arguments& a) { return partition_method(m, v, a, false); }},
      {"rpartition",
       [](Machine& m, const Value& v, Arguments& a) { return partition_method(m, v, a, true); }},
      {"replace", replace_method},
      {"join", join_method},
      {"format", format_method},
      {"count",
       [](Machine& m, const Value& v, Arguments& a) -> Value {
         const Bound bound("count", a, {"sub"});
         const std::string part = (void(bound.required(0)), bound.string(0, ""));
         m.budget().spend_steps(self(v).size() / 16 + 1);
         if (part.empty()) return length_of(v) + 1;
         return static_cast<int64_t>(split_at(self(v), part, -1, false).size()) - 1;
       }},
      {"upper", [](Machine& m, const Value& v, Arguments&) { return m.text(upper(self(v))); }},
      {"lower", [](Machine& m, const Value& v, Arguments&) { return m.text(lower(self(v))); }},
      {"capitalize",
       [](Machine& m, const Value& v, Arguments&) { return m.text(capitalize(self(v))); }},
      {"title", [](Machine& m, const Value& v, Arguments&) { return m.text(title(self(v))); }},
      {"removeprefix",
       [](Machine& m, const Value& v, Arguments& a) {
         const Bound bound("removeprefix", a, {"prefix"});
         const std::string affix = bound.string(0, "");
         return m.text(self(v).starts_with(affix) ? self(v).substr(affix.size()) : self(v));
       }},
      {"removesuffix",
       [](Machine& m, const Value& v, Arguments& a) {
         const Bound bound("removesuffix", a, {"suffix"});
         const std::string affix = bound.string(0, "");
         return m.text(self(v).ends_with(affix) ? self(v).substr(0, self(v).size() - affix.size())
                                                : self(v));
       }},
      {"ljust", [](Machine& m, const Value& v, Arguments& a) { return pad_method(m, v, a, 0); }},
      {"rjust", [](Machine& m, const Value& v, Arguments& a) { return pad_method(m, v, a, 1); }},
      {"center", [](Machine& m, const Value& v, Arguments& a) { return pad_method(m, v, a, 0.5); }},
      {"isdigit",
       [](Machine&, const Value& v, Arguments& a) {
         return all_characters(v, a, [](char32_t c) {
           return category_of(c) == Category::ND || c == 0xB2 || c == 0xB3 || c == 0xB9 ||
                  c == 0x2070 || (c >= 0x2074 && c <= 0x2079) || (c >= 0x2080 && c <= 0x2089);
         });
       }},
      {"isdecimal",
       [](Machine&, const Value& v, Arguments& a) {
         return all_characters(v, a, [](char32_t c) { return category_of(c) == Category::ND; });
       }},
      {"isnumeric",
       [](Machine&, const Value& v, Arguments& a) { return all_characters(v, a, is_numeric); }},
      {"isalpha",
       [](Machine&, const Value& v, Arguments& a) {
         return all_characters(
             v, a, [](char32_t c) { return has_category(c, categories_of_class('L')); });
       }},
      {"isalnum",
       [](Machine&, const Value& v, Arguments& a) {
         return all_characters(v, a, [](char32_t c) {
           return has_category(c, categories_of_class('L') | categories_of_class('N'));
         });
       }},
      {"isspace", [](Machine&, const Value& v,
                     Arguments& a) { return all_characters(v, a, is_python_space); }},
      {"isupper",
       [](Machine&, const Value& v, Arguments& a) { return one_case(v, a, Category::LU); }},
      {"islower",
       [](Machine&, const Value& v, Arguments& a) { return one_case(v, a, Category::LL); }},
  };
  return methods;
}

Value dict_view(Machine& m, const Value& v, Arguments& args, bool keys, bool values) {
  const Bound bound("dict method", args, {});
  std::vector<Value> items;
  for (const auto& [key, value] : v.if_dict()->items()) {
    if (keys && values) {
      items.push_back(m.list({key, value}, Sequence::kTuple));
    } else {
      items.push_back(keys ? key : value);
    }
  }
  return m.list(std::move(items), Sequence::kView);
}

const Methods& dict_methods() {
  static const Methods methods = {
      {"get",
       [](Machine&, const Value& v, Arguments& a) -> Value {
         const Bound bound("get", a, {"key", "default"});
         require_hashable(bound.required(0));
         const Value* found = v.if_dict()->find(bound[0]);
         return found != nullptr ? *found : bound[1];
       }},
      {"items",
       [](Machine& m, const Value& v, Arguments& a) { return dict_view(m, v, a, true, true); }},
      {"keys",
       [](Machine& m, const Value& v, Arguments& a) { return dict_view(m, v, a, true, false); }},
      {"values",
       [](Machine& m, const Value& v, Arguments& a) { return dict_view(m, v, a, false, true); }},
      {"copy", [](Machine&, const Value& v, Arguments&) { return v; }},
  };
  return methods;
}

const Methods& list_methods() {
  static const Methods methods = {
      {"count",
       [](Machine& m, const Value& v, Arguments& a) -> Value {
         const Bound bound("count", a, {"value"});
         int64_t count = 0;
         for (const Value& item : v.if_sequence()->items)
           count += equal(item, bound.required(0), m.budget());
         return count;
       }},
      {"index",
       [](Machine& m, const Value& v, Arguments& a) -> Value {
         const Bound bound("index", a, {"value"});
         const std::vector<Value>& items = v.if_sequence()->items;
         for (size_t i = 0; i < items.size(); ++i) {
           if (equal(items[i], bound.required(0), m.budget())) return static_cast<int64_t>(i);
         }
         throw Error("the value is not in the list");
       }},
      {"copy", [](Machine&, const Value& v, Arguments&) { return v; }},
  };
  return methods;
}

bool is_one_of(const std::string& name, std::initializer_list<std::string_view> names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace

std::optional<Value> find_method(const Value& value, const std::string& name) {
  const Methods* methods = nullptr;
  bool changes = false;
  if (value.if_string() != nullptr) {
    methods = &string_methods();
  } else if (value.if_dict() != nullptr) {
    methods = &dict_methods();
    changes = is_one_of(name, {"clear", "pop", "popitem", "setdefault", "update"});
  } else if (value.is_sequence(Sequence::kList) || value.is_sequence(Sequence::kTuple)) {
    methods = &list_methods();
    changes = value.is_sequence(Sequence::kList) &&
              is_one_of(name, {"append", "clear", "extend", "insert", "pop", "remove", "reverse",
                               "sort"});
  } else {
    return std::nullopt;
  }
  if (changes) {
    const std::string message =
        "access to attribute '" + name + "' of '" + type_name(value) + "' object is unsafe.";
    return Value::undefined(message);
  }
  const auto it = methods->find(name);
  if (it == methods->end()) return std::nullopt;
  return Value::function(name, [value, method = it->second](Machine& m, Arguments& args) {
    return method(m, value, args);
  });
}

}  // namespace galley::text::jinja
