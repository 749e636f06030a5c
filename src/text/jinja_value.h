// Values of the Jinja engine, with Python's rules for truth, equality, order, str() and repr().
//
// Internal to jinja_*.cc. Values are immutable but for namespaces, loops and generators, as in the
// immutable sandbox; copies are cheap.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/status.h"

namespace galley::text::jinja {

// How parse and render fail. `line` 0: not known yet; the evaluator adds it.
struct Error : std::runtime_error {
  explicit Error(const std::string& message, int line_ = 0, Code code_ = Code::kInvalid)
      : std::runtime_error(message), line(line_), code(code_) {}
  int line;
  Code code;
};

class Machine;
class Value;

// What one render may still spend. Values can share parts, so walking one may take far more steps
// than making it did: everything that walks a value is charged.
struct Budget {
  uint64_t steps = 0;
  size_t bytes = 0;

  void spend_steps(uint64_t n);
  void spend_bytes(size_t n);
};

// Why a value is undefined: the message of the error that using it raises.
struct Undefined {
  std::shared_ptr<const std::string> reason;
};
struct None {};

// Python's list and what iterates like one.
struct Sequence {
  enum Kind { kList, kTuple, kGenerator, kView, kRange };
  Kind kind = kList;
  std::vector<Value> items;
  int depth = 1;      // levels of nesting, itself included
  int64_t start = 0;  // of a range
  int64_t stop = 0;
  int64_t step = 1;
  mutable bool consumed = false;  // of a generator: it can be iterated once
};

// Insertion order, as Python's dict.
class Dict {
 public:
  const Value* find(const Value& key) const;
  void set(Value key, Value value);
  const std::vector<std::pair<Value, Value>>& items() const { return items_; }
  int depth() const { return depth_; }

 private:
  int depth_ = 1;
  std::vector<std::pair<Value, Value>> items_;
  std::unordered_map<std::string, size_t> by_string_;
};

struct Namespace {
  Dict attributes;
};

struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable {
  std::string name;
  std::function<Value(Machine&, Arguments&)> call;
};

// The variable `loop` of a for block.
struct Loop;

class Value {
 public:
  using String = std::shared_ptr<const std::string>;

  Value() : data_(None{}) {}
  Value(bool b) : data_(b) {}     // NOLINT: implicit by design, as are these
  Value(int64_t i) : data_(i) {}  // NOLINT
  Value(double d) : data_(d) {}   // NOLINT
  Value(std::string s) : data_(std::make_shared<const std::string>(std::move(s))) {}  // NOLINT
  Value(std::string_view s) : Value(std::string(s)) {}                                // NOLINT
  Value(const char* s) : Value(std::string(s)) {}                                     // NOLINT
  Value(std::shared_ptr<const Sequence> s) : data_(std::move(s)) {}                   // NOLINT
  Value(std::shared_ptr<const Dict> d) : data_(std::move(d)) {}                       // NOLINT
  Value(std::shared_ptr<Namespace> n) : data_(std::move(n)) {}                        // NOLINT
  Value(std::shared_ptr<const Callable> c) : data_(std::move(c)) {}                   // NOLINT
  Value(std::shared_ptr<Loop> l) : data_(std::move(l)) {}                             // NOLINT

  static Value undefined(std::string reason);
  static Value sequence(std::vector<Value> items, Sequence::Kind kind = Sequence::kList);
  // range(start, stop, step); an error above 100000 elements, MAX_RANGE of jinja2's sandbox.
  static Value range(int64_t start, int64_t stop, int64_t step);
  static Value function(std::string name, std::function<Value(Machine&, Arguments&)> call);

  bool is_undefined() const { return std::holds_alternative<Undefined>(data_); }
  bool is_none() const { return std::holds_alternative<None>(data_); }
  const bool* if_bool() const { return std::get_if<bool>(&data_); }
  const int64_t* if_int() const { return std::get_if<int64_t>(&data_); }
  const double* if_double() const { return std::get_if<double>(&data_); }
  const std::string* if_string() const {
    const String* s = std::get_if<String>(&data_);
    return s == nullptr ? nullptr : s->get();
  }
  const Sequence* if_sequence() const { return pointee<const Sequence>(); }
  const Dict* if_dict() const { return pointee<const Dict>(); }
  Namespace* if_namespace() const { return pointee<Namespace>(); }
  const Callable* if_callable() const { return pointee<const Callable>(); }
  Loop* if_loop() const { return pointee<Loop>(); }
  std::shared_ptr<Loop> loop() const {
    const std::shared_ptr<Loop>* p = std::get_if<std::shared_ptr<Loop>>(&data_);
    return p == nullptr ? nullptr : *p;
  }
  bool is_sequence(Sequence::Kind kind) const {
    const Sequence* s = if_sequence();
    return s != nullptr && s->kind == kind;
  }

  // The number when this is an int or a bool; Python counts True as 1.
  std::optional<int64_t> as_int() const;
  // The number when this is an int, bool or float.
  std::optional<double> as_double() const;

  // Levels of nesting: 0 for what has no elements of its own. Bounded when values are made.
  int depth() const;

  // "'x' is undefined" and the like; only of an undefined value.
  const std::string& undefined_reason() const { return *std::get<Undefined>(data_).reason; }

 private:
  template <typename T>
  T* pointee() const {
    const std::shared_ptr<T>* p = std::get_if<std::shared_ptr<T>>(&data_);
    return p == nullptr ? nullptr : p->get();
  }

  std::variant<Undefined, None, bool, int64_t, double, String, std::shared_ptr<const Sequence>,
               std::shared_ptr<const Dict>, std::shared_ptr<Namespace>,
               std::shared_ptr<const Callable>, std::shared_ptr<Loop>>
      data_;
};

struct Loop {
  std::vector<Value> items;
  size_t index = 0;
  int64_t depth = 1;
  std::optional<Value> changed;  // what loop.changed() saw last
};

// Python's name of the type: "str", "NoneType", ...
std::string type_name(const Value& value);

// Raises the error of an undefined value; nothing for any other.
void require_defined(const Value& value);

// Raises the error for lists and dicts, which cannot be keys.
void require_hashable(const Value& value);

bool truth(const Value& value);
bool equal(const Value& a, const Value& b, Budget& budget);
// Whether a < b; an error for types that Python does not order.
bool less(const Value& a, const Value& b, Budget& budget);

std::string float_repr(double value);
// str() and repr().
std::string to_str(const Value& value, Budget& budget);
std::string to_repr(const Value& value, Budget& budget);

// The elements that iterating gives: characters of a string, keys of a dict, nothing for an
// undefined value. An error for what is not iterable.
std::vector<Value> iterate(const Value& value, Budget& budget);
int64_t length_of(const Value& value);

Value from_json(const boost::json::value& json);

struct DumpOptions {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};
// Python's json.dumps.
std::string dump_json(const Value& value, const DumpOptions& options, Budget& budget);

}  // namespace galley::text::jinja
