// Filters of the Jinja engine: jinja2's, without those that need random numbers, HTML or URLs.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <iterator>
#include <unordered_map>

#include "text/jinja_machine.h"
#include "text/jinja_strings.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace galley::text::jinja {
namespace {

using Filter = Value (*)(Machine&, const Value&, Arguments&);

std::vector<Value> elements(Machine& m, const Value& v) {
  return iterate(v, m.budget());
}

// What an attribute argument means: "a.b.0" is a path of keys and indices.
Value by_path(Machine& m, Value value, const Value& path) {
  if (path.as_int()) return m.item(value, path);
  const std::string* text = path.if_string();
  if (text == nullptr) throw Error("an attribute must be str or int, not " + type_name(path));
  for (const std::string& part : split_at(*text, ".", -1, false)) {
    int64_t index = 0;
    const auto result = std::from_chars(part.data(), part.data() + part.size(), index);
    const bool is_index = !part.empty() && part[0] != '-' && result.ec == std::errc() &&
                          result.ptr == part.data() + part.size();
    value = m.item(value, is_index ? Value(index) : Value(part));
  }
  return value;
}

// ignore_case of jinja2: strings compare in lower case.
Value sort_key(const Value& value, bool case_sensitive) {
  if (case_sensitive || value.if_string() == nullptr) return value;
  return lower(*value.if_string());
}

void sort_by(Machine& m, std::vector<std::pair<Value, Value>>& keyed, bool reverse) {
  m.budget().spend_steps(keyed.size() * 16);
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    return reverse ? less(b.first, a.first, m.budget()) : less(a.first, b.first, m.budget());
  });
}

Value default_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("default", args, {"default_value", "boolean"});
  const bool missing = v.is_undefined() || (bound.boolean(1, false) && !truth(v));
  if (!missing) return v;
  return bound.has(0) ? bound[0] : Value("");
}

Value join_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("join", args, {"d", "attribute"});
  const std::string separator = bound.has(0) ? m.str(bound[0]) : "";
  std::string out;
  bool first = true;
  for (const Value& item : elements(m, v)) {
    if (!std::exchange(first, false)) {
      m.budget().spend_bytes(separator.size());
      out += separator;
    }
    out += m.str(bound.has(1) ? by_path(m, item, bound[1]) : item);
  }
  return out;
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
    const std::vector<Value> parts = elements(m, bound[2]);
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

Value first_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("first", args, {});
  const std::vector<Value> items = elements(m, v);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value last_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("last", args, {});
  if (v.is_sequence(Sequence::kGenerator)) throw Error("'generator' object is not reversible");
  const std::vector<Value> items = elements(m, v);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value int_filter(Machine&, const Value& v, Arguments& args) {
  const Bound bound("int", args, {"default", "base"});
  require_defined(v);
  const Value fallback = bound.has(0) ? bound[0] : Value(int64_t{0});
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
  const Value fallback = bound.has(0) ? bound[0] : Value(0.0);
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

Value sort_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("sort", args, {"reverse", "case_sensitive", "attribute"});
  const bool by_attribute = bound.has(2) && !bound[2].is_none();
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : elements(m, v)) {
    std::vector<Value> key;
    if (by_attribute && bound[2].if_string() != nullptr) {
      for (const std::string& path : split_at(*bound[2].if_string(), ",", -1, false)) {
        key.push_back(sort_key(by_path(m, item, path), bound.boolean(1, false)));
      }
    } else {
      key.push_back(
          sort_key(by_attribute ? by_path(m, item, bound[2]) : item, bound.boolean(1, false)));
    }
    keyed.emplace_back(Value::sequence(std::move(key), Sequence::kTuple), item);
  }
  sort_by(m, keyed, bound.boolean(0, false));
  std::vector<Value> out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return m.list(std::move(out));
}

Value dictsort_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("dictsort", args, {"case_sensitive", "by", "reverse"});
  const std::string by = bound.string(1, "key");
  const Dict* dict = v.if_dict();
  require_defined(v);
  if (dict == nullptr) throw Error("dictsort needs a dict, not " + type_name(v));
  if (by != "key" && by != "value") throw Error("You can only sort by either \"key\" or \"value\"");
  std::vector<std::pair<Value, Value>> keyed;
  for (const auto& [key, value] : dict->items()) {
    keyed.emplace_back(sort_key(by == "key" ? key : value, bound.boolean(0, false)),
                       m.list({key, value}, Sequence::kTuple));
  }
  sort_by(m, keyed, bound.boolean(2, false));
  std::vector<Value> out;
  for (auto& entry : keyed) out.push_back(std::move(entry.second));
  return m.list(std::move(out));
}

Value extreme_filter(Machine& m, const Value& v, Arguments& args, bool want_max) {
  const Bound bound(want_max ? "max" : "min", args, {"case_sensitive", "attribute"});
  const std::vector<Value> items = elements(m, v);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  const auto key = [&](const Value& item) {
    return sort_key(bound.has(1) ? by_path(m, item, bound[1]) : item, bound.boolean(0, false));
  };
  const Value* best = &items[0];
  for (const Value& item : items) {
    const bool better = want_max ? less(key(*best), key(item), m.budget())
                                 : less(key(item), key(*best), m.budget());
    if (better) best = &item;
  }
  return *best;
}

Value unique_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("unique", args, {"case_sensitive", "attribute"});
  std::vector<Value> seen;
  std::vector<Value> out;
  for (const Value& item : elements(m, v)) {
    const Value key =
        sort_key(bound.has(1) ? by_path(m, item, bound[1]) : item, bound.boolean(0, false));
    require_hashable(key);
    const auto same = [&](const Value& other) { return equal(key, other, m.budget()); };
    if (std::any_of(seen.begin(), seen.end(), same)) continue;
    seen.push_back(key);
    out.push_back(item);
  }
  return m.list(std::move(out), Sequence::kGenerator);
}

Value map_filter(Machine& m, const Value& v, Arguments& args) {
  std::vector<Value> out;
  if (!truth(v)) return m.list({}, Sequence::kGenerator);  // Anything falsy is empty to jinja2.
  if (args.positional.empty()) {
    const Bound bound("map", args, {"attribute", "default"});
    for (const Value& item : elements(m, v)) {
      Value value = by_path(m, item, bound.required(0));
      if (value.is_undefined() && bound.has(1)) value = bound[1];
      out.push_back(std::move(value));
    }
    return m.list(std::move(out), Sequence::kGenerator);
  }
  const std::string* name = args.positional[0].if_string();
  if (name == nullptr) throw Error("map() needs the name of a filter");
  for (const Value& item : elements(m, v)) {
    Arguments forwarded = {{args.positional.begin() + 1, args.positional.end()}, args.named};
    out.push_back(m.filter(*name, item, forwarded));
  }
  return m.list(std::move(out), Sequence::kGenerator);
}

// select, reject and, on an attribute, selectattr, rejectattr.
Value choose(Machine& m, const Value& v, Arguments& args, bool wanted, bool by_attribute) {
  if (!truth(v)) return m.list({}, Sequence::kGenerator);
  size_t used = 0;
  Value path;
  if (by_attribute) {
    if (args.positional.empty()) throw Error("Missing parameter for attribute name");
    path = args.positional[used++];
  }
  std::optional<std::string> name;
  if (args.positional.size() > used) {
    const std::string* text = args.positional[used++].if_string();
    if (text == nullptr) throw Error("select needs the name of a test");
    name = *text;
  }
  std::vector<Value> out;
  for (const Value& item : elements(m, v)) {
    const Value subject = by_attribute ? by_path(m, item, path) : item;
    Arguments forwarded = {
        {args.positional.begin() + static_cast<ptrdiff_t>(used), args.positional.end()},
        args.named};
    if ((name ? m.test(*name, subject, forwarded) : truth(subject)) == wanted) out.push_back(item);
  }
  return m.list(std::move(out), Sequence::kGenerator);
}

Value reverse_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("reverse", args, {});
  if (v.if_string() == nullptr && v.if_sequence() == nullptr && v.if_dict() == nullptr &&
      !v.is_undefined()) {
    throw Error("argument must be iterable");
  }
  std::vector<Value> items = elements(m, v);
  std::reverse(items.begin(), items.end());
  if (v.if_string() == nullptr) return m.list(std::move(items), Sequence::kGenerator);
  std::string out;
  for (const Value& item : items) out += *item.if_string();
  return out;
}

Value sum_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("sum", args, {"attribute", "start"});
  Value sum = bound.has(1) ? bound[1] : Value(int64_t{0});
  for (const Value& item : elements(m, v)) {
    sum =
        m.binary("+", sum, bound.has(0) && !bound[0].is_none() ? by_path(m, item, bound[0]) : item);
  }
  return sum;
}

Value batch_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("batch", args, {"linecount", "fill_with"});
  const int64_t size = bound.integer(0, 0);
  if (size < 1 || size > 1'000'000) throw Error("batch() needs a size of 1 to 1000000");
  std::vector<Value> out;
  std::vector<Value> row;
  for (Value& item : elements(m, v)) {
    row.push_back(std::move(item));
    if (static_cast<int64_t>(row.size()) == size) out.push_back(m.list(std::exchange(row, {})));
  }
  if (!row.empty()) {
    while (bound.has(1) && static_cast<int64_t>(row.size()) < size) row.push_back(bound[1]);
    out.push_back(m.list(std::move(row)));
  }
  return m.list(std::move(out), Sequence::kGenerator);
}

Value groupby_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("groupby", args, {"attribute", "default", "case_sensitive"});
  std::vector<std::pair<Value, Value>> keyed;
  for (const Value& item : elements(m, v)) {
    Value key = by_path(m, item, bound.required(0));
    if (key.is_undefined() && bound.has(1)) key = bound[1];
    keyed.emplace_back(sort_key(key, bound.boolean(2, false)), item);
  }
  sort_by(m, keyed, false);
  std::vector<Value> out;
  for (size_t i = 0; i < keyed.size();) {
    std::vector<Value> group;
    const Value key = keyed[i].first;
    for (; i < keyed.size() && equal(keyed[i].first, key, m.budget()); ++i)
      group.push_back(keyed[i].second);
    // Without case_sensitive the key shown is the first member's own.
    Value shown = by_path(m, group[0], bound[0]);
    if (shown.is_undefined() && bound.has(1)) shown = bound[1];
    out.push_back(m.list({shown, m.list(std::move(group))}, Sequence::kTuple));
  }
  return m.list(std::move(out));
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

Value list_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("list", args, {});
  return m.list(elements(m, v));
}

Value items_filter(Machine& m, const Value& v, Arguments& args) {
  const Bound bound("items", args, {});
  if (v.is_undefined()) return m.list({}, Sequence::kGenerator);
  if (v.if_dict() == nullptr) throw Error("Can only get item pairs from a mapping.");
  Arguments none;
  return m.list(elements(m, m.call(*find_method(v, "items"), none)), Sequence::kGenerator);
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

const std::unordered_map<std::string_view, Filter>& filters() {
  static const std::unordered_map<std::string_view, Filter> table = {
      {"abs", abs_filter},
      {"attr",
       [](Machine& m, const Value& v, Arguments& a) {
         const Bound bound("attr", a, {"name"});
         // Attributes only, never keys.
         if (v.if_dict() == nullptr) return m.attribute(v, bound.string(0, ""));
         std::optional<Value> method = find_method(v, bound.string(0, ""));
         return method ? *method : no_attribute(v, bound.string(0, ""));
       }},
      {"batch", batch_filter},
      {"capitalize",
       [](Machine& m, const Value& v, Arguments&) { return m.text(capitalize(m.str(v))); }},
      {"center", center_filter},
      {"count", [](Machine&, const Value& v, Arguments&) -> Value { return length_of(v); }},
      {"d", default_filter},
      {"default", default_filter},
      {"dictsort", dictsort_filter},
      {"e", escape_filter},
      {"escape", escape_filter},
      {"first", first_filter},
      {"float", float_filter},
      {"forceescape", escape_filter},
      {"format", [](Machine& m, const Value& v,
                    Arguments& a) { return format_percent(m, m.str(v), a.positional, true); }},
      {"groupby", groupby_filter},
      {"indent", indent_filter},
      {"int", int_filter},
      {"items", items_filter},
      {"join", join_filter},
      {"last", last_filter},
      {"length", [](Machine&, const Value& v, Arguments&) -> Value { return length_of(v); }},
      {"list", list_filter},
      {"lower", [](Machine& m, const Value& v, Arguments&) { return m.text(lower(m.str(v))); }},
      {"map", map_filter},
      {"max",
       [](Machine& m, const Value& v, Arguments& a) { return extreme_filter(m, v, a, true); }},
      {"min",
       [](Machine& m, const Value& v, Arguments& a) { return extreme_filter(m, v, a, false); }},
      {"reject",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, false, false); }},
      {"rejectattr",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, false, true); }},
      {"replace", replace_filter},
      {"reverse", reverse_filter},
      {"round", round_filter},
      {"safe", [](Machine& m, const Value& v, Arguments&) -> Value { return m.str(v); }},
      {"select",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, true, false); }},
      {"selectattr",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, true, true); }},
      {"sort", sort_filter},
      {"string", [](Machine& m, const Value& v, Arguments&) -> Value { return m.str(v); }},
      {"sum", sum_filter},
      {"title", title_filter},
      {"tojson", tojson_filter},
      {"trim", trim_filter},
      {"unique", unique_filter},
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

bool has_filter(std::string_view name) {
  return filters().contains(name);
}

Value Machine::filter(const std::string& name, const Value& input, Arguments& args) {
  const auto it = filters().find(name);
  if (it == filters().end()) throw Error("No filter named '" + name + "'.");
  // Those of the table that do not look at their arguments.
  constexpr std::string_view kPlain[] = {"capitalize", "count",  "length", "lower",
                                         "safe",       "string", "upper"};
  const bool is_plain = std::find(std::begin(kPlain), std::end(kPlain), name) != std::end(kPlain);
  if (is_plain && !(args.positional.empty() && args.named.empty())) {
    throw Error("filter '" + name + "' takes no argument");
  }
  return it->second(*this, input, args);
}

}  // namespace galley::text::jinja
