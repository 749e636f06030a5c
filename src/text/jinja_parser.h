// The parser of the Jinja engine: tokens to a tree, by the grammar of jinja2's parser.
//
// Internal to jinja_*.cc. Statements are in jinja_parser.cc, expressions in
// jinja_parser_expressions.cc.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja_ast.h"
#include "text/jinja_lexer.h"

namespace galley::text::jinja {

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

}  // namespace galley::text::jinja
