// Filters of the Jinja engine that take or give several values: sort, map, select, ...
#include <algorithm>
#include <charconv>
#include <utility>

#include "text/jinja_filters.h"
#include "text/jinja_strings.h"
#include "text/unicode.h"

namespace galley::text::jinja {
namespace {

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
  out.reserve(keyed.size());
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
  out.reserve(keyed.size());
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
}  // namespace

const FilterTable& list_filters() {
  static const FilterTable table = {
      {"batch", batch_filter},
      {"dictsort", dictsort_filter},
      {"first", first_filter},
      {"groupby", groupby_filter},
      {"items", items_filter},
      {"join", join_filter},
      {"last", last_filter},
      {"list", list_filter},
      {"map", map_filter},
      {"max",
       [](Machine& m, const Value& v, Arguments& a) { return extreme_filter(m, v, a, true); }},
      {"min",
       [](Machine& m, const Value& v, Arguments& a) { return extreme_filter(m, v, a, false); }},
      {"reject",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, false, false); }},
      {"rejectattr",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, false, true); }},
      {"reverse", reverse_filter},
      {"select",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, true, false); }},
      {"selectattr",
       [](Machine& m, const Value& v, Arguments& a) { return choose(m, v, a, true, true); }},
      {"sort", sort_filter},
      {"sum", sum_filter},
      {"unique", unique_filter},
  };
  return table;
}

}  // namespace galley::text::jinja
