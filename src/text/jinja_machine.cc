// Statements and scopes of the Jinja engine, and Template's public functions.
#include "text/jinja_machine.h"

#include <algorithm>
#include <ctime>

#include "text/utf8.h"

namespace galley::text::jinja {

const Value* Scope::find(const std::string& name) const {
  for (const Scope* s = this; s != nullptr; s = s->outer.get()) {
    const auto it = s->variables.find(name);
    if (it != s->variables.end()) return &it->second;
  }
  return nullptr;
}

Bound::Bound(std::string_view function, Arguments& arguments,
             std::initializer_list<std::string_view> parameters)
    : function_(function),
      parameters_(parameters),
      values_(parameters_.size()),
      given_(parameters_.size()) {
  if (arguments.positional.size() > parameters_.size()) {
    throw Error(std::string(function) + "() takes at most " + std::to_string(parameters_.size()) +
                " arguments");
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    values_[i] = std::move(arguments.positional[i]);
    given_[i] = true;
  }
  for (auto& [name, value] : arguments.named) {
    const auto it = std::find(parameters_.begin(), parameters_.end(), name);
    const auto i = static_cast<size_t>(it - parameters_.begin());
    if (it == parameters_.end() || given_[i]) {
      throw Error(std::string(function) + "() got an unexpected argument '" + name + "'");
    }
    values_[i] = std::move(value);
    given_[i] = true;
  }
}

const Value& Bound::required(size_t i) const {
  if (!given_[i])
    throw Error(std::string(function_) + "() misses the argument '" + std::string(parameters_[i]) +
                "'");
  return values_[i];
}

int64_t Bound::integer(size_t i, int64_t fallback) const {
  if (!has(i)) return fallback;
  require_defined(values_[i]);
  const std::optional<int64_t> value = values_[i].as_int();
  if (!value) {
    throw Error(std::string(function_) + "(): argument '" + std::string(parameters_[i]) +
                "' must be int, not " + type_name(values_[i]));
  }
  return *value;
}

std::string Bound::string(size_t i, std::string_view fallback) const {
  if (!has(i)) return std::string(fallback);
  require_defined(values_[i]);
  if (const std::string* s = values_[i].if_string()) return *s;
  throw Error(std::string(function_) + "(): argument '" + std::string(parameters_[i]) +
              "' must be str, not " + type_name(values_[i]));
}

Machine::Machine(const JinjaLimits& limits, int64_t now_unix_s)
    : limits_(limits),
      now_unix_s_(now_unix_s),
      budget_{limits.steps_max, limits.value_bytes_max},
      globals_(std::make_shared<Scope>()) {
  define_globals();
}

Machine::~Machine() {
  for (const auto& scope : captured_) scope->variables.clear();
  for (const auto& ns : namespaces_) ns->attributes = Dict();
}

void Machine::define_globals() {
  const auto define = [&](const char* name, std::function<Value(Machine&, Arguments&)> call) {
    globals_->variables[name] = Value::function(name, std::move(call));
  };
  define("range", [](Machine& m, Arguments& args) -> Value {
    const size_t given = args.positional.size();
    const Bound bound("range", args, {"a", "b", "c"});
    (void)bound.required(0);
    const int64_t start = given > 1 ? bound.integer(0, 0) : 0;
    const int64_t stop = given > 1 ? bound.integer(1, 0) : bound.integer(0, 0);
    const int64_t step = bound.integer(2, 1);
    if (step == 0) throw Error("range() arg 3 must not be zero");
    Value range = Value::range(start, stop, step);
    m.budget().spend_bytes(range.if_sequence()->items.size() * sizeof(Value));
    return range;
  });
  const auto fill = [](Machine& m, Arguments& args, Dict& dict) {
    for (const Value& from : args.positional) {
      const Dict* source = from.if_dict();
      if (source == nullptr) throw Error("expected a dict, found " + type_name(from));
      m.budget().spend_bytes(source->items().size() * 2 * sizeof(Value));
      for (const auto& [key, value] : source->items()) dict.set(key, value);
    }
    for (auto& [key, value] : args.named) dict.set(key, std::move(value));
  };
  define("dict", [fill](Machine& m, Arguments& args) -> Value {
    auto dict = std::make_shared<Dict>();
    fill(m, args, *dict);
    return std::shared_ptr<const Dict>(std::move(dict));
  });
  define("namespace", [fill](Machine& m, Arguments& args) -> Value {
    auto ns = std::make_shared<Namespace>();
    fill(m, args, ns->attributes);
    m.budget().spend_bytes(sizeof(Namespace));
    m.namespaces_.push_back(ns);
    return ns;
  });
  define("raise_exception", [](Machine& m, Arguments& args) -> Value {
    const Bound bound("raise_exception", args, {"message"});
    throw Error(m.str(bound.required(0)));
  });
  define("strftime_now", [](Machine& m, Arguments& args) -> Value {
    const Bound bound("strftime_now", args, {"format"});
    const std::string format = bound.string(0, "");
    if (format.empty() || format.size() > 200)
      throw Error("strftime_now() takes a format of 1 to 200 bytes");
    const auto now = static_cast<std::time_t>(m.now_unix_s_);
    std::tm local = {};
    localtime_r(&now, &local);
    char buffer[4096];
    return m.text(
        std::string(buffer, std::strftime(buffer, sizeof buffer, format.c_str(), &local)));
  });
}

std::string Machine::render(const Block& root, const boost::json::object& context) {
  auto variables = std::make_shared<Scope>();
  variables->outer = globals_;
  for (const auto& entry : context) {
    variables->variables.insert_or_assign(std::string(entry.key()), from_json(entry.value()));
  }
  scope_ = scope_for(root, variables);
  std::string out;
  out_ = &out;
  run(root);
  out_ = nullptr;
  return out;
}

std::shared_ptr<Scope> Machine::scope_for(const Block& block, const std::shared_ptr<Scope>& outer) {
  auto scope = std::make_shared<Scope>();
  scope->outer = outer;
  for (const std::string& name : block.undefined) {
    scope->variables.emplace(name, Value::undefined("'" + name + "' is undefined"));
  }
  return scope;
}

void Machine::write(std::string_view text) {
  if (text.size() > limits_.output_bytes_max - std::min(limits_.output_bytes_max, out_->size())) {
    throw Error("the output is longer than its limit", 0, Code::kTooLarge);
  }
  out_->append(text);
}

Machine::Flow Machine::run(const Block& block) {
  for (const Statement& s : block.statements) {
    try {
      const Deeper deeper(*this);
      budget_.spend_steps(1);
      const Flow flow = run(s);
      if (flow != Flow::kNormal) return flow;
    } catch (const Error& error) {
      if (error.line != 0) throw;
      throw Error(error.what(), s.line, error.code);
    }
  }
  return Flow::kNormal;
}

Machine::Flow Machine::run(const Statement& s) {
  switch (s.kind) {
    case Statement::kText:
      write(s.text);
      break;
    case Statement::kOutput:
      write(str(eval(*s.expr)));
      break;
    case Statement::kIf:
      return run_if(s);
    case Statement::kFor:
      return run_for(s);
    case Statement::kSet:
      assign(s.target, eval(*s.expr));
      break;
    case Statement::kSetBlock: {
      const Value text = capture(s.body);
      assign(s.target, s.expr ? eval_filter(*s.expr, &text) : text);
      break;
    }
    case Statement::kMacro:
      scope_->variables.insert_or_assign(s.text, make_macro(s, s.text));
      break;
    case Statement::kCall:
      write(str(call_block(s)));
      break;
    case Statement::kFilter: {
      const Value text = capture(s.body);
      write(str(eval_filter(*s.expr, &text)));
      break;
    }
    case Statement::kWith:
      run_with(s);
      break;
    case Statement::kScope:
      return run_scoped(s.body);
    case Statement::kBreak:
      return Flow::kBreak;
    case Statement::kContinue:
      return Flow::kContinue;
  }
  return Flow::kNormal;
}

Machine::Flow Machine::run_scoped(const Block& block) {
  std::shared_ptr<Scope> inner = scope_for(block, scope_);
  std::swap(scope_, inner);
  const Flow flow = run(block);
  std::swap(scope_, inner);
  return flow;
}

std::string Machine::capture(const Block& block) {
  std::string text;
  std::string* outer = std::exchange(out_, &text);
  run_scoped(block);
  out_ = outer;
  budget_.spend_bytes(text.size());
  return text;
}

Machine::Flow Machine::run_if(const Statement& s) {
  for (const auto& [condition, body] : s.branches) {
    if (!condition || truth(eval(*condition))) return run(body);
  }
  return Flow::kNormal;
}

Machine::Flow Machine::run_for(const Statement& s) {
  std::vector<Value> items = iterate(eval(*s.expr), budget_);
  const std::shared_ptr<Scope> outer = scope_;
  const auto enter = [&] { scope_ = scope_for(s.body, outer); };
  if (s.condition) {
    std::vector<Value> kept;
    for (const Value& item : items) {
      budget_.spend_steps(1);
      enter();
      assign(s.target, item);
      if (truth(eval(*s.condition))) kept.push_back(item);
    }
    scope_ = outer;
    items = std::move(kept);
  }
  if (items.empty()) return run_scoped(s.or_else);
  const auto loop = std::make_shared<Loop>();
  loop->items = std::move(items);
  Flow flow = Flow::kNormal;
  for (; loop->index < loop->items.size() && flow != Flow::kBreak; ++loop->index) {
    budget_.spend_steps(1);
    enter();
    scope_->variables["loop"] = loop;
    assign(s.target, loop->items[loop->index]);
    flow = run(s.body);
  }
  scope_ = outer;
  return Flow::kNormal;
}

void Machine::run_with(const Statement& s) {
  std::vector<Value> values;
  for (const auto& binding : s.bindings) values.push_back(eval(*binding.second));
  std::shared_ptr<Scope> inner = scope_for(s.body, scope_);
  std::swap(scope_, inner);
  for (size_t i = 0; i < values.size(); ++i) assign(s.bindings[i].first, values[i]);
  run(s.body);
  std::swap(scope_, inner);
}

void Machine::assign(const Target& target, const Value& value) {
  if (!target.parts.empty()) {
    const std::vector<Value> items = iterate(value, budget_);
    if (items.size() != target.parts.size()) {
      throw Error("cannot unpack " + std::to_string(items.size()) + " values to " +
                  std::to_string(target.parts.size()) + " names");
    }
    for (size_t i = 0; i < items.size(); ++i) assign(target.parts[i], items[i]);
    return;
  }
  if (target.attribute.empty()) {
    scope_->variables.insert_or_assign(target.name, value);
    return;
  }
  const Value* found = scope_->find(target.name);
  Namespace* ns = found == nullptr ? nullptr : found->if_namespace();
  if (ns == nullptr) throw Error("cannot assign attribute on non-namespace object");
  ns->attributes.set(target.attribute, value);
}

Value Machine::make_macro(const Statement& s, const std::string& name) {
  budget_.spend_bytes(1024);  // the scope that is kept to the end
  captured_.push_back(scope_);
  return Value::function(name, [&s, name, defined_in = scope_](Machine& m, Arguments& args) {
    return m.call_macro(s, name, defined_in, args);
  });
}

Value Machine::call_macro(const Statement& s, const std::string& name,
                          const std::shared_ptr<Scope>& defined_in, Arguments& args) {
  const std::shared_ptr<Scope> inner = scope_for(s.body, defined_in);
  const auto take_named = [&](const std::string& key) -> std::optional<Value> {
    const auto it = std::find_if(args.named.begin(), args.named.end(),
                                 [&](const auto& n) { return n.first == key; });
    if (it == args.named.end()) return std::nullopt;
    Value value = std::move(it->second);
    args.named.erase(it);
    return value;
  };
  const std::shared_ptr<Scope> outer_scope = std::exchange(scope_, inner);
  std::string text;
  std::string* const outer_out = std::exchange(out_, &text);
  for (size_t i = 0; i < s.parameters.size(); ++i) {
    const Parameter& p = s.parameters[i];
    Value value;
    if (i < args.positional.size()) {
      value = args.positional[i];
    } else if (std::optional<Value> named = take_named(p.name)) {
      value = *std::move(named);
    } else if (p.fallback) {
      value = eval(*p.fallback);
    } else {
      value = Value::undefined("parameter '" + p.name + "' was not provided");
    }
    inner->variables.insert_or_assign(p.name, std::move(value));
  }
  if (s.uses_caller) {
    std::optional<Value> caller = take_named("caller");
    inner->variables.insert_or_assign("caller",
                                      caller ? *caller : Value::undefined("No caller defined"));
  }
  const size_t count = s.parameters.size();
  if (s.uses_varargs) {
    std::vector<Value> rest;
    if (args.positional.size() > count)
      rest.assign(args.positional.begin() + static_cast<ptrdiff_t>(count), args.positional.end());
    inner->variables.insert_or_assign("varargs",
                                      Value::sequence(std::move(rest), Sequence::kTuple));
  } else if (args.positional.size() > count) {
    throw Error("macro '" + name + "' takes not more than " + std::to_string(count) +
                " argument(s)");
  }
  if (s.uses_kwargs) {
    auto rest = std::make_shared<Dict>();
    for (auto& [key, value] : args.named) rest->set(key, std::move(value));
    inner->variables.insert_or_assign("kwargs", std::shared_ptr<const Dict>(std::move(rest)));
  } else if (!args.named.empty()) {
    throw Error("macro '" + name + "' takes no keyword argument '" + args.named[0].first + "'");
  }
  run(s.body);
  out_ = outer_out;
  scope_ = outer_scope;
  return this->text(std::move(text));
}

Value Machine::call_block(const Statement& s) {
  const Value callee = eval(*s.expr->kids[0]);
  Arguments args = arguments(*s.expr);
  args.named.emplace_back("caller", make_macro(s, "caller"));
  return call(callee, args);
}

}  // namespace galley::text::jinja

namespace galley::text {

Result<Template> Template::parse(std::string_view source, const JinjaLimits& limits) {
  if (source.size() > limits.template_bytes_max) {
    return Status(Code::kTooLarge, "template of " + std::to_string(source.size()) +
                                       " bytes, the limit is " +
                                       std::to_string(limits.template_bytes_max));
  }
  if (!is_valid_utf8(source)) return Status(Code::kInvalid, "the template is not UTF-8");
  try {
    Template t;
    t.limits_ = limits;
    t.root_ = std::make_shared<const jinja::Block>(jinja::parse_template(
        source, {limits.nodes_max, limits.nesting_max, limits.expression_depth_max}));
    return t;
  } catch (const jinja::Error& error) {
    return Status(error.code, "line " + std::to_string(error.line) + ": " + error.what());
  }
}

Result<std::string> Template::render(const boost::json::object& context, int64_t now_unix_s) const {
  try {
    return jinja::Machine(limits_, now_unix_s).render(*root_, context);
  } catch (const jinja::Error& error) {
    const std::string where = error.line == 0 ? "" : "line " + std::to_string(error.line) + ": ";
    return Status(error.code, where + error.what());
  }
}

}  // namespace galley::text
