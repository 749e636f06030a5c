// Expressions of the Jinja engine's parser, from the loosest operator to the tightest.
#include <charconv>

#include "text/jinja_parser.h"

namespace galley::text::jinja {

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

}  // namespace galley::text::jinja
