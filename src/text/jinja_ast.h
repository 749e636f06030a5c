// The tree of a parsed template. Internal to jinja_*.cc.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "text/jinja_value.h"

namespace galley::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  enum Kind { kPositional, kNamed, kSpread, kSpreadNamed };
  Kind kind = kPositional;
  std::string name;
  ExprPtr value;
};

struct Expr {
  enum Kind {
    kConst,      // constant
    kName,       // name
    kList,       // kids
    kTuple,      // kids
    kDict,       // kids: key, value, key, value, ...
    kAttribute,  // kids[0].name
    kItem,       // kids[0][kids[1]]
    kSlice,      // kids[0][kids[1]:kids[2]:kids[3]], the last three may be null
    kCall,       // kids[0](arguments)
    kFilter,     // kids[0]|name(arguments); kids[0] is null for the text of a filter block
    kTest,       // kids[0] is name(arguments)
    kNot,
    kNegative,
    kPositive,
    kBinary,  // name is the operator
    kConcat,  // kids, joined as strings
    kAnd,
    kOr,
    kCompare,  // kids[0] operators[0] kids[1] operators[1] ...
    kIf,       // kids[1] if kids[0] else kids[2]; kids[2] may be null
  };
  Kind kind = kConst;
  int line = 0;
  int depth = 1;  // of the tree below, itself included; bounded
  std::string name;
  Value constant;
  std::vector<ExprPtr> kids;
  std::vector<Argument> arguments;
  std::vector<std::string> operators;
};

struct Statement;
struct Branch;

struct Block {
  std::vector<Statement> statements;
  std::vector<std::string> undefined;  // of a block with a scope: names hidden from its beginning
};

// What a set or for assigns to: a name, an attribute of a namespace, or a tuple of targets.
struct Target {
  std::string name;
  std::string attribute;      // of the namespace `name`; empty for a plain name
  std::vector<Target> parts;  // of a tuple; then `name` is empty
};

struct Parameter {
  std::string name;
  ExprPtr fallback;  // may be null
};

struct Statement {
  enum Kind {
    kText,      // text
    kOutput,    // expr
    kIf,        // branches: condition and body; a null condition is else
    kFor,       // target in expr if condition: body, or_else
    kSet,       // target = expr
    kSetBlock,  // target = body, through expr (a chain of filters on a null input) if there is one
    kMacro,     // text is the name; parameters, body
    kCall,      // expr is the call; parameters and body make its caller()
    kFilter,    // expr is a chain of filters on a null input; body
    kWith,      // bindings, body
    kScope,     // body in a scope of its own
    kBreak,
    kContinue,
  };
  Kind kind = kText;
  int line = 0;
  std::string text;
  ExprPtr expr;
  ExprPtr condition;
  Target target;
  Block body;
  Block or_else;
  std::vector<Branch> branches;
  std::vector<Parameter> parameters;
  std::vector<std::pair<Target, ExprPtr>> bindings;
  // Of a macro: whether its body uses these names.
  bool uses_varargs = false;
  bool uses_kwargs = false;
  bool uses_caller = false;
};

// Of an if block.
struct Branch {
  ExprPtr condition;  // null: else
  Block body;
};

struct ParseLimits {
  size_t nodes_max;
  int nesting_max;
  int expression_depth_max;
};

// Parses a template. Throws Error.
Block parse_template(std::string_view source, const ParseLimits& limits);

// Fills Block::undefined of `root` and all blocks within (jinja_scopes.cc).
void find_undefined(Block& root);

// Names the engine knows (jinja_filters.cc, jinja_tests.cc); the parser refuses others.
bool has_filter(std::string_view name);
bool has_test(std::string_view name);

}  // namespace galley::text::jinja
