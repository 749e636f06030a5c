// Statements of the Jinja engine's parser.
#include "text/jinja_parser.h"

namespace galley::text::jinja {

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

Block parse_template(std::string_view source, const ParseLimits& limits) {
  Block root = Parser(tokenize(source), limits).parse();
  find_undefined(root);
  return root;
}

}  // namespace galley::text::jinja
