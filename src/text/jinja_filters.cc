// Filters of the Jinja engine that make text and numbers; jinja_list_filters.cc has the others.
#include "text/jinja_filters.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>

#include "text/jinja_strings.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

Value default_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("default", args, {"default_value", "boolean"});
  const bool missing = v.is_undefined() || (bound.boolean(1, false) && !truth(v));
  if (!missing) return v;
  return bound.has(0) ? bound[0] : Value("");
}

Value tojson_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("tojson", args, {"ensure_ascii", "indent", "separators", "sort_keys"});
  DumpOptions options;
  options.ensure_ascii = bound.boolean(0, false);
  options.sort_keys = bound.boolean(3, false);
  if (bound.has(1) && !bound[1].is_none()) {
    const std::optional<int64_t> width = bound[1].as_int();
    if (width && *width > 100) throw Error("tojson(): indent is larger than 100");
    options.indent = width ? std::string(static_cast<size_t>(std::max<int64_t>(*width, 0)), ' ')
                           : bound.string(1, "");
    options.item_separator = ",";
  }
  if (bound.has(2) && !bound[2].is_none()) {
    const std::vector<Value> parts = iterate(bound[2], m.budget());
    if (parts.size() != 2 || parts[0].if_string() == nullptr || parts[1].if_string() == nullptr) {
      throw Error("tojson(): separators must be two strings");
    }
    options.item_separator = *parts[0].if_string();
    options.key_separator = *parts[1].if_string();
  }
  require_defined(v);
  return dump_json(v, options, m.budget());
}

Value trim_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("trim", args, {"chars"});
  const std::string text = m.str(v);
  std::optional<std::string> chars;
  if (bound.has(0) && !bound[0].is_none()) chars = bound.string(0, "");
  return std::string(strip(text, chars, true, true));
}

Value replace_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("replace", args, {"old", "new", "count"});
  Arguments forwarded;
  forwarded.positional = {m.str(bound.required(0)), m.str(bound.required(1))};
  if (bound.has(2) && !bound[2].is_none()) forwarded.positional.push_back(bound[2]);
  const Value text = m.str(v);
  return m.call(*find_method(text, "replace"), forwarded);
}

Value int_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("int", args, {"default", "base"});
  require_defined(v);
  Value fallback = bound.has(0) ? bound[0] : Value(int64_t{0});
  if (bound.integer(1, 10) != 10) throw Error("int(): only base 10 is supported");
  if (const std::optional<int64_t> i = v.as_int()) return *i;
  const double* d = v.if_double();
  std::string text;
  if (const std::string* s = v.if_string()) {
    text = std::string(strip(*s, std::nullopt, true, true));
    if (text.starts_with('+')) text.erase(0, 1);
    std::erase(text, '_');
    int64_t value = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
    if (result.ec == std::errc() && result.ptr == text.data() + text.size() && !text.empty())
      return value;
  }
  double parsed = 0;
  if (d == nullptr && !text.empty()) {
    const auto result = std::from_chars(text.data(), text.data() + text.size(), parsed);
    if (result.ec == std::errc() && result.ptr == text.data() + text.size()) d = &parsed;
  }
  // 2^63: beyond it the value has no place in 64 bits.
  if (d == nullptr || !(std::fabs(*d) < 9223372036854775808.0)) return fallback;
  return static_cast<int64_t>(*d);
}

Value float_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("float", args, {"default"});
  require_defined(v);
  Value fallback = bound.has(0) ? bound[0] : Value(0.0);
  if (const std::optional<double> d = v.as_double()) return *d;
  const std::string* s = v.if_string();
  if (s == nullptr) return fallback;
  std::string text(strip(*s, std::nullopt, true, true));
  if (text.starts_with('+')) text.erase(0, 1);
  double value = 0;
  const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size())
    return fallback;
  return value;
}

Value abs_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("abs", args, {});
  require_defined(v);
  if (const std::optional<int64_t> i = v.as_int()) {
    if (*i == INT64_MIN) throw Error("an integer exceeds 64 bits");
    return *i < 0 ? -*i : *i;
  }
  if (const double* d = v.if_double()) return std::fabs(*d);
  throw Error("bad operand type for abs(): '" + type_name(v) + "'");
}

// Python's round(): the exact decimal value decides, ties go to the even digit.
double rounded(double value, int64_t digits) {
  if (!std::isfinite(value) || digits > 300) return value;
  if (digits < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return std::nearbyint(value / scale) * scale;
  }
  char buffer[700];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, value, std::chars_format::fixed,
                                    static_cast<int>(digits));
  double out = 0;
  std::from_chars(buffer, result.ptr, out);
  return out;
}

Value round_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("round", args, {"precision", "method"});
  const int64_t digits = bound.integer(0, 0);
  const std::string method = bound.string(1, "common");
  require_defined(v);
  const std::optional<double> value = v.as_double();
  if (!value) throw Error("type " + type_name(v) + " doesn't define __round__ method");
  if (method == "common") {
    if (const std::optional<int64_t> i = v.as_int(); i && digits >= 0) return *i;
    return rounded(*value, digits);
  }
  if (method != "ceil" && method != "floor") throw Error("method must be common, ceil or floor");
  const double scale = std::pow(10.0, static_cast<double>(digits));
  return (method == "ceil" ? std::ceil(*value * scale) : std::floor(*value * scale)) / scale;
}

Value indent_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("indent", args, {"width", "first", "blank"});
  require_defined(v);
  if (v.if_string() == nullptr) throw Error("indent needs a str, not " + type_name(v));
  std::string margin;
  if (bound.has(0) && bound[0].if_string() != nullptr) {
    margin = *bound[0].if_string();
  } else {
    margin =
        std::string(static_cast<size_t>(std::clamp<int64_t>(bound.integer(0, 4), 0, 1000)), ' ');
  }
  const std::vector<std::string> lines = split_lines(m.str(v) + "\n", false);
  m.budget().spend_bytes(lines.size() * (margin.size() + 1));
  std::string out = bound.boolean(1, false) ? margin : "";
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += "\n";
    if (i > 0 && (!lines[i].empty() || bound.boolean(2, false))) out += margin;
    out += lines[i];
  }
  return m.text(std::move(out));
}

Value escape_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("escape", args, {});
  std::string out;
  for (const char c : m.str(v)) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&#39;";
        break;
      case '"':
        out += "&#34;";
        break;
      default:
        out += c;
    }
  }
  return m.text(std::move(out));
}

// jinja2's title differs from str.title: words begin after white space and - ( { [ <.
Value title_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("title", args, {});
  const std::string text = m.str(v);
  std::string out;
  bool begins = true;
  for (size_t pos = 0; pos < text.size();) {
    const size_t at = pos;
    const char32_t c = next_code_point(text, pos);
    const std::string_view character = std::string_view(text).substr(at, pos - at);
    const bool separates =
        is_python_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
    out += begins ? upper(character) : lower(character);
    begins = separates;
  }
  return m.text(std::move(out));
}

// Runs of \w as Python's re has it: letters, numbers and underscores.
Value wordcount_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("wordcount", args, {});
  constexpr uint32_t kWord = categories_of_class('L') | categories_of_class('N');
  const std::string text = m.str(v);
  int64_t count = 0;
  bool in_word = false;
  for (size_t pos = 0; pos < text.size();) {
    const char32_t c = next_code_point(text, pos);
    const bool is_word = c == '_' || (category_bit(category_of(c)) & kWord) != 0;
    count += is_word && !in_word;
    in_word = is_word;
  }
  return count;
}

Value center_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("center", args, {"width"});
  Arguments forwarded;
  forwarded.positional = {bound.integer(0, 80)};
  return m.call(*find_method(m.str(v), "center"), forwarded);
}

const FilterTable& text_filters() {
  static const FilterTable table = {
      {"abs", abs_filter},
      {"attr",
       [](Machine& m, const Value& v, Arguments& a) {
         const Bound bound("attr", a, {"name"});
         // Attributes only, never keys.
         if (v.if_dict() == nullptr) return m.attribute(v, bound.string(0, ""));
         std::optional<Value> method = find_method(v, bound.string(0, ""));
         return method ? *method : no_attribute(v, bound.string(0, ""));
       }},
      {"capitalize",
       [](Machine& m, const Value& v, Arguments&) { return m.text(capitalize(m.str(v))); }},
      {"center", center_filter},
      {"count", [](Machine&, const Value& v, Arguments&) -> Value { return length_of(v); }},
      {"d", default_filter},
      {"default", default_filter},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"float", float_filter},
      {"forceescape", escape_filter},
      {"format", [](Machine& m, const Value& v,
                    Arguments& a) { return format_percent(m, m.str(v), a.positional, true); }},
      {"indent", indent_filter},
      {"int", int_filter},
      {"length", [](Machine&, const Value& v, Arguments&) -> Value { return length_of(v); }},
      {"lower", [](Machine& m, const Value& v, Arguments&) { return m.text(lower(m.str(v))); }},
      {"replace", replace_filter},
      {"round", round_filter},
      {"safe", [](Machine& m, const Value& v, Arguments&) -> Value { return m.str(v); }},
      {"string", [](Machine& m, const Value& v, Arguments&) -> Value { return m.str(v); }},
      {"title", title_filter},
      {"tojson", tojson_filter},
      {"trim", trim_filter},
      {"upper", [](Machine& m, const Value& v, Arguments&) { return m.text(upper(m.str(v))); }},
      {"wordcount", wordcount_filter},
  };
  return table;
}

}  // namespace

Value format_percent(Machine& m, const std::string& format, const std::vector<Value>& values,
                     bool all_used) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    if (++i == format.size()) throw Error("incomplete format");
    if (format[i] == '%') {
      out += '%';
      continue;
    }
    int precision = 6;
    if (format[i] == '.') {
      precision = 0;
      for (++i; i < format.size() && format[i] >= '0' && format[i] <= '9' && precision < 100; ++i) {
        precision = precision * 10 + (format[i] - '0');
      }
    }
    if (next >= values.size()) throw Error("not enough arguments for format string");
    const Value& value = values[next++];
    const char kind = i < format.size() ? format[i] : ' ';
    if (kind == 's' || kind == 'r') {
      out += kind == 's' ? m.str(value) : to_repr(value, m.budget());
    } else if ((kind == 'd' || kind == 'i') && value.as_int()) {
      out += std::to_string(*value.as_int());
    } else if ((kind == 'd' || kind == 'i') && value.if_double() != nullptr &&
               std::fabs(*value.if_double()) < 9e18) {
      out += std::to_string(static_cast<int64_t>(*value.if_double()));
    } else if (kind == 'f' && value.as_double()) {
      char buffer[512];
      const auto result = std::to_chars(buffer, buffer + sizeof buffer, *value.as_double(),
                                        std::chars_format::fixed, std::min(precision, 100));
      out.append(buffer, result.ptr);
    } else {
      throw Error(std::string("format %") + kind + " is not supported or does not fit a " +
                  type_name(value));
    }
  }
  if (all_used && next < values.size()) {
    throw Error("not all arguments converted during string formatting");
  }
  return m.text(std::move(out));
}

namespace {

Filter find_filter(std::string_view name) {
  for (const FilterTable* table : {&text_filters(), &list_filters()})
    if (const auto it = table->find(name); it != table->end()) return it->second;
  return nullptr;
}

}  // namespace

bool has_filter(std::string_view name) {
  return find_filter(name) != nullptr;
}

Value Machine::filter(const std::string& name, const Value& input, Arguments& args) {
  const Filter found = find_filter(name);
  if (found == nullptr) throw Error("No filter named '" + name + "'.");
  // Those of the table that do not look at their arguments.
  constexpr std::string_view kPlain[] = {"capitalize", "count",  "length", "lower",
                                         "safe",       "string", "upper"};
  const bool is_plain = std::find(std::begin(kPlain), std::end(kPlain), name) != std::end(kPlain);
  if (is_plain && !(args.positional.empty() && args.named.empty())) {
    throw Error("filter '" + name + "' takes no argument");
  }
  return found(*this, input, args);
}

}  // namespace galley::text::jinja
