// Which variables a block hides from its beginning.
//
// jinja2 decides at compile time where a name lives. A name that a block first assigns to,
// outside of any if, is that block's own from the start: blocks within that run before the
// assignment find it undefined, even if the context has such a variable. A name that is first read
// comes from outside until it is assigned, as one expects. This pass finds the former.
#include <set>

#include "text/jinja_ast.h"

namespace galley::text::jinja {
namespace {

using Names = std::set<std::string>;

class ScopePass {
 public:
  // `own`: names that the block starts with, such as a macro's parameters.
  void visit(Block& block, Names own) {
    Block* const outer_block = std::exchange(block_, &block);
    scopes_.push_back(std::move(own));
    walk(block, false);
    // What is known of this scope is complete now; the scopes within follow.
    enter_inner(block);
    scopes_.pop_back();
    block_ = outer_block;
  }

 private:
  bool outside_knows(const std::string& name) const {
    for (size_t i = 0; i + 1 < scopes_.size(); ++i) {
      if (scopes_[i].contains(name)) return true;
    }
    return false;
  }

  void load(const std::string& name) {
    if (!outside_knows(name)) scopes_.back().insert(name);
  }

  void store(const std::string& name, bool in_branch) {
    if (!scopes_.back().insert(name).second) return;
    if (!in_branch && !outside_knows(name)) block_->undefined.push_back(name);
  }

  void load_names(const ExprPtr& e) {
    if (!e) return;
    if (e->kind == Expr::kName) load(e->name);
    for (const ExprPtr& kid : e->kids) load_names(kid);
    for (const Argument& a : e->arguments) load_names(a.value);
  }

  void store_target(const Target& target, bool in_branch) {
    for (const Target& part : target.parts) store_target(part, in_branch);
    if (!target.parts.empty()) return;
    if (target.attribute.empty()) {
      store(target.name, in_branch);
    } else {
      load(target.name);
    }
  }

  // Reads and assignments of this scope alone.
  void walk(Block& block, bool in_branch) {
    for (Statement& s : block.statements) {
      if (s.kind == Statement::kIf) {
        for (Branch& branch : s.branches) load_names(branch.condition);
        for (Branch& branch : s.branches) walk(branch.body, true);
        continue;
      }
      if (s.kind == Statement::kMacro) store(s.text, in_branch);
      load_names(s.expr);
      for (const auto& binding : s.bindings) load_names(binding.second);
      if (s.kind == Statement::kSet || s.kind == Statement::kSetBlock)
        store_target(s.target, in_branch);
    }
  }

  static void add_names(const Target& target, Names& out) {
    for (const Target& part : target.parts) add_names(part, out);
    if (target.parts.empty()) out.insert(target.name);
  }

  void enter_inner(Block& block) {
    for (Statement& s : block.statements) {
      switch (s.kind) {
        case Statement::kIf:
          for (Branch& branch : s.branches) enter_inner(branch.body);
          break;
        case Statement::kFor: {
          Names own = {"loop"};
          add_names(s.target, own);
          visit(s.body, std::move(own));
          visit(s.or_else, {});
          break;
        }
        case Statement::kMacro:
        case Statement::kCall: {
          Names own;
          for (const Parameter& p : s.parameters) own.insert(p.name);
          visit(s.body, std::move(own));
          break;
        }
        case Statement::kWith: {
          Names own;
          for (const auto& binding : s.bindings) add_names(binding.first, own);
          visit(s.body, std::move(own));
          break;
        }
        case Statement::kSetBlock:
        case Statement::kFilter:
        case Statement::kScope:
          visit(s.body, {});
          break;
        default:
          break;
      }
    }
  }

  std::vector<Names> scopes_;
  Block* block_ = nullptr;
};

}  // namespace

void find_undefined(Block& root) {
  ScopePass().visit(root, {});
}

}  // namespace galley::text::jinja
