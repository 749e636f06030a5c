// The parser of the Jinja engine: tokens to a tree, by the grammar of jinja2's parser.
#include <algorithm>
#include <charconv>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace galley::text::jinja {
namespace {

class Parser {
 public:
  Parser(std::vector<Token> tokens, const ParseLimits& limits)
      : tokens_(std::move(tokens)), limits_(limits) {}

  Block parse() {
    Block block = parse_block({});
    if (current().kind != Token::kEnd) fail("unexpected tag");
    return block;
  }

 private:
  // --- tokens ---
  const Token& current() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  Token take() { return at_ + 1 < tokens_.size() ? tokens_[at_++] : tokens_[at_]; }
  bool is_op(std::string_view op) const {
    return current().kind == Token::kOperator && current().text == op;
  }
  bool is_name(std::string_view name) const {
    return current().kind == Token::kName && current().text == name;
  }
  bool accept_op(std::string_view op) {
    const bool found = is_op(op);
    if (found) take();
    return found;
  }
  bool accept_name(std::string_view name) {
    const bool found = is_name(name);
    if (found) take();
    return found;
  }
  void expect_op(std::string_view op) {
    if (!accept_op(op)) fail("expected '" + std::string(op) + "', found " + shown(current()));
  }
  void expect_name(std::string_view name) {
    if (!accept_name(name)) fail("expected '" + std::string(name) + "', found " + shown(current()));
  }
  std::string take_name() {
    if (current().kind != Token::kName) fail("expected a name, found " + shown(current()));
    return take().text;
  }
  static std::string shown(const Token& token) {
    switch (token.kind) {
      case Token::kEnd:
        return "the end of the template";
      case Token::kBlockEnd:
        return "'%}'";
      case Token::kVariableEnd:
        return "'}}'";
      case Token::kData:
        return "text";
      default:
        return "'" + token.text + "'";
    }
  }
  [[noreturn]] void fail(const std::string& what) const { throw Error(what, current().line); }
  void end_block_tag() {
    if (current().kind != Token::kBlockEnd) fail("expected '%}', found " + shown(current()));
    take();
  }

  // Counts a node and a level of nesting, for the time of one parse function.
  struct Nested {
    explicit Nested(Parser& parser) : parser_(parser) {
      if (++parser_.nodes_ > parser_.limits_.nodes_max)
        throw Error("the template has too many parts", parser_.current().line, Code::kTooLarge);
      if (++parser_.nesting_ > parser_.limits_.nesting_max)
        throw Error("nested too deep", parser_.current().line, Code::kTooLarge);
    }
    ~Nested() { --parser_.nesting_; }
    Nested(const Nested&) = delete;
    Nested& operator=(const Nested&) = delete;
    Parser& parser_;
  };

  ExprPtr node(Expr::Kind kind, int line) {
    if (++nodes_ > limits_.nodes_max)
      throw Error("the template has too many parts", line, Code::kTooLarge);
    auto e = std::make_unique<Expr>();
    e->kind = kind;
    e->line = line;
    return e;
  }
  // Chains such as a + b + ... are deep trees, although nothing in the text is nested.
  void note_depth(Expr& e, const ExprPtr& kid) const {
    if (kid) e.depth = std::max(e.depth, kid->depth + 1);
    if (e.depth > limits_.expression_depth_max)
      throw Error("the expression is too long", e.line, Code::kTooLarge);
  }
  void attach(Expr& e, ExprPtr kid) {
    note_depth(e, kid);
    e.kids.push_back(std::move(kid));
  }
  void attach_arguments(Expr& e) {
    e.arguments = parse_arguments();
    for (const Argument& a : e.arguments) note_depth(e, a.value);
  }
  ExprPtr node(Expr::Kind kind, int line, ExprPtr kid) {
    ExprPtr e = node(kind, line);
    attach(*e, std::move(kid));
    return e;
  }
  ExprPtr binary(Expr::Kind kind, int line, ExprPtr left, ExprPtr right) {
    ExprPtr e = node(kind, line, std::move(left));
    attach(*e, std::move(right));
    return e;
  }
  ExprPtr constant(Value value, int line) {
    ExprPtr e = node(Expr::kConst, line);
    e->constant = std::move(value);
    return e;
  }

  // --- statements ---
  Block parse_block(const std::vector<std::string_view>& ends);
  Statement parse_statement(int line);
  Statement parse_if();
  Statement parse_for();
  Statement parse_set();
  Statement parse_macro();
  Statement parse_call_block();
  Statement parse_filter_block();
  Statement parse_with();
  // The body up to {% `end` %}, which is taken.
  Block parse_body(std::string_view end);
  std::vector<Parameter> parse_parameters();
  Target parse_target(bool in_for);
  Target parse_one_target();

  // --- expressions ---
  ExprPtr parse_expression(bool with_condition = true);
  ExprPtr parse_condition();
  ExprPtr parse_or();
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_unary(bool with_filter);
  ExprPtr parse_primary();
  ExprPtr parse_postfix(ExprPtr e);
  ExprPtr parse_subscript(ExprPtr e);
  ExprPtr parse_filters(ExprPtr e);
  ExprPtr parse_filter(ExprPtr e);
  ExprPtr parse_test(ExprPtr e);
  ExprPtr parse_tuple(bool with_condition, bool in_parentheses);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  std::vector<Argument> parse_arguments();
  bool at_tuple_end() const;

  const std::vector<Token> tokens_;
  const ParseLimits limits_;
  size_t at_ = 0;
  size_t nodes_ = 0;
  int nesting_ = 0;
  // Within a branch jinja2 tolerates unknown filters and tests until they are reached.
  int branches_ = 0;
  // Macros around the current place: which special names they use.
  std::vector<Statement*> macros_;
};

Block Parser::parse_block(const std::vector<std::string_view>& ends) {
  const Nested nested(*this);
  Block block;
  while (current().kind != Token::kEnd) {
    const int line = current().line;
    if (current().kind == Token::kBlockBegin) {
      const Token& name = ahead();
      if (name.kind == Token::kName && std::find(ends.begin(), ends.end(), name.text) != ends.end())
        break;
      take();
      block.statements.push_back(parse_statement(line));
      continue;
    }
    if (++nodes_ > limits_.nodes_max)
      throw Error("the template has too many parts", line, Code::kTooLarge);
    Statement s;
    s.line = line;
    if (current().kind == Token::kData) {
      s.kind = Statement::kText;
      s.text = take().text;
    } else {
      take();  // {{
      s.kind = Statement::kOutput;
      s.expr = parse_tuple(true, false);
      if (current().kind != Token::kVariableEnd) fail("expected '}}', found " + shown(current()));
      take();
    }
    block.statements.push_back(std::move(s));
  }
  return block;
}

Statement Parser::parse_statement(int line) {
  const std::string name = take_name();
  Statement s;
  if (name == "if") {
    s = parse_if();
  } else if (name == "for") {
    s = parse_for();
  } else if (name == "set") {
    s = parse_set();
  } else if (name == "macro") {
    s = parse_macro();
  } else if (name == "call") {
    s = parse_call_block();
  } else if (name == "filter") {
    s = parse_filter_block();
  } else if (name == "with") {
    s = parse_with();
  } else if (name == "generation") {  // Marks what the model said, for training; renders its body.
    s.kind = Statement::kScope;
    end_block_tag();
    s.body = parse_body("endgeneration");
  } else if (name == "break" || name == "continue") {
    s.kind = name == "break" ? Statement::kBreak : Statement::kContinue;
    end_block_tag();
  } else {
    throw Error("tag '" + name + "' is not known or not supported here", line);
  }
  s.line = line;
  return s;
}

Block Parser::parse_body(std::string_view end) {
  Block body = parse_block({end});
  if (current().kind == Token::kEnd) fail("'{% " + std::string(end) + " %}' is missing");
  take();
  take();
  end_block_tag();
  return body;
}

Statement Parser::parse_if() {
  Statement s;
  s.kind = Statement::kIf;
  ++branches_;
  while (true) {
    ExprPtr condition = parse_tuple(false, false);
    end_block_tag();
    Block body = parse_block({"elif", "else", "endif"});
    s.branches.push_back({std::move(condition), std::move(body)});
    if (current().kind == Token::kEnd) fail("'{% endif %}' is missing");
    take();
    const std::string name = take_name();
    if (name == "elif") continue;
    end_block_tag();
    if (name == "else") s.branches.push_back({nullptr, parse_body("endif")});
    break;
  }
  --branches_;
  return s;
}

Statement Parser::parse_for() {
  Statement s;
  s.kind = Statement::kFor;
  s.target = parse_target(true);
  expect_name("in");
  s.expr = parse_tuple(false, false);
  if (accept_name("if")) s.condition = parse_expression();
  if (is_name("recursive")) fail("recursive loops are not supported");
  end_block_tag();
  s.body = parse_block({"endfor", "else"});
  if (current().kind == Token::kEnd) fail("'{% endfor %}' is missing");
  take();
  const std::string name = take_name();
  end_block_tag();
  if (name == "else") s.or_else = parse_body("endfor");
  return s;
}

Statement Parser::parse_set() {
  Statement s;
  s.kind = Statement::kSet;
  s.target = parse_target(false);
  if (accept_op("=")) {
    s.expr = parse_tuple(true, false);
    end_block_tag();
    return s;
  }
  s.kind = Statement::kSetBlock;
  if (is_op("|")) s.expr = parse_filters(nullptr);
  end_block_tag();
  s.body = parse_body("endset");
  return s;
}

std::vector<Parameter> Parser::parse_parameters() {
  std::vector<Parameter> parameters;
  expect_op("(");
  while (!accept_op(")")) {
    if (!parameters.empty()) expect_op(",");
    Parameter p;
    p.name = take_name();
    if (accept_op("=")) {
      p.fallback = parse_expression();
    } else if (!parameters.empty() && parameters.back().fallback) {
      fail("a parameter without a default follows one with a default");
    }
    parameters.push_back(std::move(p));
  }
  return parameters;
}

Statement Parser::parse_macro() {
  Statement s;
  s.kind = Statement::kMacro;
  s.text = take_name();
  s.parameters = parse_parameters();
  end_block_tag();
  macros_.push_back(&s);
  s.body = parse_body("endmacro");
  macros_.pop_back();
  return s;
}

Statement Parser::parse_call_block() {
  Statement s;
  s.kind = Statement::kCall;
  if (is_op("(")) s.parameters = parse_parameters();
  s.expr = parse_expression();
  if (s.expr->kind != Expr::kCall) fail("expected a call");
  end_block_tag();
  macros_.push_back(&s);
  s.body = parse_body("endcall");
  macros_.pop_back();
  return s;
}

Statement Parser::parse_filter_block() {
  Statement s;
  s.kind = Statement::kFilter;
  s.expr = parse_filter(nullptr);
  s.expr = parse_filters(std::move(s.expr));
  end_block_tag();
  s.body = parse_body("endfilter");
  return s;
}

Statement Parser::parse_with() {
  Statement s;
  s.kind = Statement::kWith;
  while (current().kind != Token::kBlockEnd) {
    if (!s.bindings.empty()) expect_op(",");
    Target target = parse_one_target();
    expect_op("=");
    s.bindings.emplace_back(std::move(target), parse_expression());
  }
  end_block_tag();
  s.body = parse_body("endwith");
  return s;
}

Target Parser::parse_one_target() {
  const Nested nested(*this);
  if (accept_op("(")) {
    Target tuple;
    while (!accept_op(")")) {
      if (!tuple.parts.empty()) {
        expect_op(",");
        if (accept_op(")")) break;
      }
      tuple.parts.push_back(parse_one_target());
    }
    return tuple;
  }
  Target target;
  target.name = take_name();
  for (const std::string_view reserved : {"true", "false", "none", "True", "False", "None"}) {
    if (target.name == reserved) fail("cannot assign to '" + target.name + "'");
  }
  return target;
}

Target Parser::parse_target(bool in_for) {
  Target first = parse_one_target();
  if (!in_for && accept_op(".")) {
    first.attribute = take_name();
    return first;
  }
  if (!is_op(",")) return first;
  Target tuple;
  tuple.parts.push_back(std::move(first));
  while (accept_op(",")) {
    if (is_op("=") || is_name("in")) break;
    tuple.parts.push_back(parse_one_target());
  }
  return tuple;
}

ExprPtr Parser::parse_expression(bool with_condition) {
  const Nested nested(*this);
  return with_condition ? parse_condition() : parse_or();
}

ExprPtr Parser::parse_condition() {
  ExprPtr value = parse_or();
  while (is_name("if")) {
    const int line = take().line;
    ExprPtr e = node(Expr::kIf, line);
    ++branches_;
    attach(*e, parse_or());
    attach(*e, std::move(value));
    attach(*e, accept_name("else") ? parse_expression() : nullptr);
    --branches_;
    value = std::move(e);
  }
  return value;
}

ExprPtr Parser::parse_or() {
  ExprPtr left = parse_and();
  while (is_name("or")) {
    const int line = take().line;
    left = binary(Expr::kOr, line, std::move(left), parse_and());
  }
  return left;
}

ExprPtr Parser::parse_and() {
  ExprPtr left = parse_not();
  while (is_name("and")) {
    const int line = take().line;
    left = binary(Expr::kAnd, line, std::move(left), parse_not());
  }
  return left;
}

ExprPtr Parser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const Nested nested(*this);
  const int line = take().line;
  return node(Expr::kNot, line, parse_not());
}

ExprPtr Parser::parse_compare() {
  const int line = current().line;
  ExprPtr first = parse_sum();
  ExprPtr e;
  while (true) {
    std::string op;
    for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="}) {
      if (is_op(known)) op = known;
    }
    if (!op.empty()) {
      take();
    } else if (accept_name("in")) {
      op = "in";
    } else if (is_name("not") && ahead().kind == Token::kName && ahead().text == "in") {
      take();
      take();
      op = "not in";
    } else {
      break;
    }
    if (!e) e = node(Expr::kCompare, line, std::move(first));
    e->operators.push_back(op);
    attach(*e, parse_sum());
  }
  return e ? std::move(e) : std::move(first);
}

ExprPtr Parser::parse_sum() {
  ExprPtr left = parse_concat();
  while (is_op("+") || is_op("-")) {
    const Token op = take();
    left = binary(Expr::kBinary, op.line, std::move(left), parse_concat());
    left->name = op.text;
  }
  return left;
}

ExprPtr Parser::parse_concat() {
  const int line = current().line;
  ExprPtr first = parse_product();
  if (!is_op("~")) return first;
  ExprPtr e = node(Expr::kConcat, line, std::move(first));
  while (accept_op("~")) attach(*e, parse_product());
  return e;
}

ExprPtr Parser::parse_product() {
  ExprPtr left = parse_power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    const Token op = take();
    left = binary(Expr::kBinary, op.line, std::move(left), parse_power());
    left->name = op.text;
  }
  return left;
}

ExprPtr Parser::parse_power() {
  ExprPtr left = parse_unary(true);
  while (is_op("**")) {
    const int line = take().line;
    left = binary(Expr::kBinary, line, std::move(left), parse_unary(true));
    left->name = "**";
  }
  return left;
}

ExprPtr Parser::parse_unary(bool with_filter) {
  const Nested nested(*this);
  const int line = current().line;
  ExprPtr e;
  if (accept_op("-")) {
    e = node(Expr::kNegative, line, parse_unary(false));
  } else if (accept_op("+")) {
    e = node(Expr::kPositive, line, parse_unary(false));
  } else {
    e = parse_primary();
  }
  e = parse_postfix(std::move(e));
  return with_filter ? parse_filters(std::move(e)) : std::move(e);
}

ExprPtr Parser::parse_primary() {
  const int line = current().line;
  switch (current().kind) {
    case Token::kName: {
      const std::string name = take().text;
      if (name == "true" || name == "True") return constant(true, line);
      if (name == "false" || name == "False") return constant(false, line);
      if (name == "none" || name == "None") return constant({}, line);
      for (Statement* macro : macros_) {
        macro->uses_varargs |= name == "varargs";
        macro->uses_kwargs |= name == "kwargs";
        macro->uses_caller |= name == "caller";
      }
      ExprPtr e = node(Expr::kName, line);
      e->name = name;
      return e;
    }
    case Token::kString: {
      std::string text = take().text;
      while (current().kind == Token::kString) text += take().text;
      return constant(std::move(text), line);
    }
    case Token::kInteger: {
      std::string text = take().text;
      int base = 10;
      if (text.size() > 2 && text[0] == '0' && text[1] > '9') {
        base = text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : 2;
        text.erase(0, 2);
      }
      int64_t value = 0;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value, base);
      if (result.ec != std::errc())
        throw Error("the integer " + text + " has more than 64 bits", line);
      return constant(value, line);
    }
    case Token::kFloat: {
      const std::string text = take().text;
      double value = 0;
      const auto result = std::from_chars(text.data(), text.data() + text.size(), value);
      if (result.ec != std::errc()) throw Error("the number " + text + " is out of range", line);
      return constant(value, line);
    }
    default:
      break;
  }
  if (accept_op("(")) return parse_tuple(true, true);
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  fail("unexpected " + shown(current()));
}

bool Parser::at_tuple_end() const {
  return current().kind == Token::kVariableEnd || current().kind == Token::kBlockEnd || is_op(")");
}

// A tuple without or, behind an open one, with parentheses; a single expression is no tuple.
ExprPtr Parser::parse_tuple(bool with_condition, bool in_parentheses) {
  const int line = current().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty()) {
      if (!accept_op(",")) break;
      is_tuple = true;
    }
    if (at_tuple_end()) break;
    items.push_back(parse_expression(with_condition));
    is_tuple |= is_op(",");
    if (!is_op(",")) break;
  }
  if (in_parentheses) expect_op(")");
  if (!is_tuple) {
    if (!items.empty()) return std::move(items[0]);
    if (!in_parentheses) fail("expected an expression, found " + shown(current()));
  }
  ExprPtr e = node(Expr::kTuple, line);
  for (ExprPtr& item : items) attach(*e, std::move(item));
  return e;
}

ExprPtr Parser::parse_list() {
  ExprPtr e = node(Expr::kList, current().line);
  expect_op("[");
  while (!accept_op("]")) {
    if (!e->kids.empty()) {
      expect_op(",");
      if (accept_op("]")) break;
    }
    attach(*e, parse_expression());
  }
  return e;
}

ExprPtr Parser::parse_dict() {
  ExprPtr e = node(Expr::kDict, current().line);
  expect_op("{");
  while (!accept_op("}")) {
    if (!e->kids.empty()) {
      expect_op(",");
      if (accept_op("}")) break;
    }
    attach(*e, parse_expression());
    expect_op(":");
    attach(*e, parse_expression());
  }
  return e;
}

ExprPtr Parser::parse_postfix(ExprPtr e) {
  while (true) {
    const int line = current().line;
    if (accept_op(".")) {
      if (current().kind == Token::kInteger) {  // foo.0 is foo[0]
        ExprPtr index = parse_primary();
        e = binary(Expr::kItem, line, std::move(e), std::move(index));
        continue;
      }
      ExprPtr attribute = node(Expr::kAttribute, line, std::move(e));
      attribute->name = take_name();
      e = std::move(attribute);
    } else if (is_op("[")) {
      e = parse_subscript(std::move(e));
    } else if (is_op("(")) {
      ExprPtr call = node(Expr::kCall, line, std::move(e));
      attach_arguments(*call);
      e = std::move(call);
    } else {
      return e;
    }
  }
}

ExprPtr Parser::parse_subscript(ExprPtr e) {
  const int line = current().line;
  expect_op("[");
  ExprPtr parts[3];
  int part = 0;
  bool is_slice = false;
  while (!is_op("]")) {
    if (accept_op(":")) {
      is_slice = true;
      if (++part > 2) fail("too many ':' in a slice");
      continue;
    }
    if (parts[part]) fail("expected ']', found " + shown(current()));
    parts[part] = parse_expression();
  }
  expect_op("]");
  if (!is_slice && !parts[0]) fail("expected a subscript");
  ExprPtr out = node(is_slice ? Expr::kSlice : Expr::kItem, line, std::move(e));
  attach(*out, std::move(parts[0]));
  if (is_slice) {
    attach(*out, std::move(parts[1]));
    attach(*out, std::move(parts[2]));
  }
  return out;
}

ExprPtr Parser::parse_filters(ExprPtr e) {
  while (true) {
    if (is_op("|")) {
      take();
      e = parse_filter(std::move(e));
    } else if (is_name("is")) {
      e = parse_test(std::move(e));
    } else if (is_op("(") && e) {
      ExprPtr call = node(Expr::kCall, current().line, std::move(e));
      attach_arguments(*call);
      e = std::move(call);
    } else {
      return e;
    }
  }
}

ExprPtr Parser::parse_filter(ExprPtr e) {
  ExprPtr filter = node(Expr::kFilter, current().line, std::move(e));
  filter->name = take_name();
  while (accept_op(".")) filter->name += "." + take_name();
  if (branches_ == 0 && !has_filter(filter->name)) {
    throw Error("No filter named '" + filter->name + "'.", filter->line);
  }
  if (is_op("(")) attach_arguments(*filter);
  return filter;
}

ExprPtr Parser::parse_test(ExprPtr e) {
  const int line = current().line;
  expect_name("is");
  const bool negated = accept_name("not");
  ExprPtr test = node(Expr::kTest, line, std::move(e));
  test->name = take_name();
  if (branches_ == 0 && !has_test(test->name))
    throw Error("No test named '" + test->name + "'.", line);
  const Token::Kind kind = current().kind;
  const bool begins_value = kind == Token::kName || kind == Token::kString ||
                            kind == Token::kInteger || kind == Token::kFloat || is_op("[") ||
                            is_op("{");
  if (is_op("(")) {
    attach_arguments(*test);
  } else if (is_name("is")) {
    fail("tests cannot be chained with 'is'");
  } else if (begins_value && !is_name("else") && !is_name("or") && !is_name("and")) {
    Argument argument;
    argument.value = parse_postfix(parse_primary());
    note_depth(*test, argument.value);
    test->arguments.push_back(std::move(argument));
  }
  return negated ? node(Expr::kNot, line, std::move(test)) : std::move(test);
}

std::vector<Argument> Parser::parse_arguments() {
  const Nested nested(*this);
  std::vector<Argument> arguments;
  expect_op("(");
  while (!accept_op(")")) {
    if (!arguments.empty()) {
      expect_op(",");
      if (accept_op(")")) break;
    }
    Argument a;
    if (accept_op("*")) {
      a.kind = Argument::kSpread;
    } else if (accept_op("**")) {
      a.kind = Argument::kSpreadNamed;
    } else if (current().kind == Token::kName && ahead().kind == Token::kOperator &&
               ahead().text == "=") {
      a.kind = Argument::kNamed;
      a.name = take().text;
      take();
    } else if (!arguments.empty() && arguments.back().kind != Argument::kPositional) {
      fail("a positional argument follows a named one");
    }
    a.value = parse_expression();
    arguments.push_back(std::move(a));
  }
  return arguments;
}

}  // namespace

Block parse_template(std::string_view source, const ParseLimits& limits) {
  Block root = Parser(tokenize(source), limits).parse();
  find_undefined(root);
  return root;
}

}  // namespace galley::text::jinja
