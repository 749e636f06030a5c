// From the tree of a regular expression to its program.
#include <algorithm>

#include "text/regex_compiler.h"
#include "text/utf8.h"

namespace galley::text {

// Length in code points when every match has the same one.
std::optional<uint32_t> fixed_length(const RegexNode& node) {
  switch (node.kind) {
    case RegexKind::kChar:
    case RegexKind::kSet:
      return 1;
    case RegexKind::kAssert:
    case RegexKind::kLook:
      return 0;
    case RegexKind::kRepeat: {
      const std::optional<uint32_t> one = fixed_length(node.children[0]);
      if (!one || node.min != node.max) return std::nullopt;
      return *one * node.min;
    }
    case RegexKind::kSequence:
    case RegexKind::kAtomic: {
      uint32_t sum = 0;
      for (const RegexNode& child : node.children) {
        const std::optional<uint32_t> one = fixed_length(child);
        if (!one || *one > kRepeatMax) return std::nullopt;
        sum += *one;
      }
      return sum;
    }
    case RegexKind::kAlternation: {
      std::optional<uint32_t> length = fixed_length(node.children[0]);
      for (const RegexNode& child : node.children) {
        if (fixed_length(child) != length) return std::nullopt;
      }
      return length;
    }
  }
  return std::nullopt;
}

bool is_nullable(const RegexNode& node) {
  switch (node.kind) {
    case RegexKind::kChar:
    case RegexKind::kSet:
      return false;
    case RegexKind::kAssert:
    case RegexKind::kLook:
      return true;
    case RegexKind::kRepeat:
      return node.min == 0 || is_nullable(node.children[0]);
    case RegexKind::kSequence:
    case RegexKind::kAtomic:
      return std::all_of(node.children.begin(), node.children.end(), is_nullable);
    case RegexKind::kAlternation:
      return std::any_of(node.children.begin(), node.children.end(), is_nullable);
  }
  return true;
}

Status RegexCompiler::emit(const RegexNode& node) {
  switch (node.kind) {
    case RegexKind::kChar:
      return emit({.op = Op::kChar, .value = node.value});
    case RegexKind::kSet:
      return emit({.op = Op::kSet, .value = node.value});
    case RegexKind::kAssert:
      return emit(Instruction{.op = static_cast<Op>(node.value)});
    case RegexKind::kAlternation:
      return emit_alternation(node);
    case RegexKind::kRepeat:
      return emit_repeat(node);
    case RegexKind::kAtomic:
      return emit_enclosed(Op::kAtomic, node.children[0], 0);
    case RegexKind::kSequence:
      for (const RegexNode& child : node.children) GALLEY_RETURN_IF_ERROR(emit(child));
      return {};
    case RegexKind::kLook:
      break;
  }
  const Op op = node.negate ? Op::kLookNot : Op::kLook;
  const RegexNode& body = node.children[0];
  if (!node.behind) return emit_enclosed(op, body, 0);
  if (body.kind != RegexKind::kAlternation) return emit_enclosed(op, body, *fixed_length(body));
  // Look-behind at alternatives of different lengths: one step back for each.
  const uint32_t look = here();
  GALLEY_RETURN_IF_ERROR(emit({.op = op}));
  for (const RegexNode& part : body.children) {
    const uint32_t split = here();
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit, .target = split + 1}));
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kBack, .value = *fixed_length(part)}));
    GALLEY_RETURN_IF_ERROR(emit(part));
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAccept}));
    at(split).other = here();
  }
  // None matched: a set without members fails here.
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSet, .value = keep(CharSet(), false, false)}));
  at(look).target = here();
  return {};
}

Status RegexCompiler::emit_enclosed(Op op, const RegexNode& body, uint32_t back) {
  const uint32_t start = here();
  GALLEY_RETURN_IF_ERROR(emit({.op = op}));
  if (back > 0) GALLEY_RETURN_IF_ERROR(emit({.op = Op::kBack, .value = back}));
  GALLEY_RETURN_IF_ERROR(emit(body));
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAccept}));
  at(start).target = here();
  return {};
}

Status RegexCompiler::emit_alternation(const RegexNode& node) {
  std::vector<uint32_t> jumps;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const bool last = i + 1 == node.children.size();
    const uint32_t split = here();
    if (!last) GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit, .target = split + 1}));
    GALLEY_RETURN_IF_ERROR(emit(node.children[i]));
    if (last) break;
    jumps.push_back(here());
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kJump}));
    at(split).other = here();
  }
  for (const uint32_t jump : jumps) at(jump).target = here();
  return {};
}

// The set of a node that matches exactly one code point.
uint32_t RegexCompiler::single_set(const RegexNode& node) {
  if (node.kind == RegexKind::kSet) return node.value;
  CharSet set;
  set.add(node.value, node.value);
  return keep(std::move(set), false, false);
}

Status RegexCompiler::emit_repeat(const RegexNode& node) {
  const RegexNode& body = node.children[0];
  const bool single = body.kind == RegexKind::kSet || body.kind == RegexKind::kChar;
  if (single && node.greed != RegexGreed::kLazy) {
    const Op op = node.greed == RegexGreed::kGreedy ? Op::kRun : Op::kRunPossessive;
    return emit({.op = op, .value = single_set(body), .min = node.min, .max = node.max});
  }
  if (node.greed != RegexGreed::kPossessive) return emit_loop(node);
  const uint32_t start = here();
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAtomic}));
  GALLEY_RETURN_IF_ERROR(emit_loop(node));
  GALLEY_RETURN_IF_ERROR(emit({.op = Op::kAccept}));
  at(start).target = here();
  return {};
}

Status RegexCompiler::emit_loop(const RegexNode& node) {
  const RegexNode& body = node.children[0];
  const bool lazy = node.greed == RegexGreed::kLazy;
  for (uint32_t i = 0; i < node.min; ++i) GALLEY_RETURN_IF_ERROR(emit(body));
  const auto set_exit = [&](uint32_t split, uint32_t exit) {
    at(split).target = lazy ? exit : split + 1;
    at(split).other = lazy ? split + 1 : exit;
  };
  if (node.max == kUnbounded) {
    const uint32_t split = here();
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit}));
    GALLEY_RETURN_IF_ERROR(emit(body));
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kJump, .target = split}));
    set_exit(split, here());
    return {};
  }
  std::vector<uint32_t> splits;
  for (uint32_t i = node.min; i < node.max; ++i) {
    splits.push_back(here());
    GALLEY_RETURN_IF_ERROR(emit({.op = Op::kSplit}));
    GALLEY_RETURN_IF_ERROR(emit(body));
  }
  for (const uint32_t split : splits) set_exit(split, here());
  return {};
}

// Marks the bytes with which a match of `node`, which is not nullable, can begin.
void RegexCompiler::mark_first(const RegexNode& node) {
  switch (node.kind) {
    case RegexKind::kChar: {
      std::string bytes;
      append_utf8(bytes, node.value);
      regex_.first_bytes_[static_cast<uint8_t>(bytes[0])] = true;
      return;
    }
    case RegexKind::kSet: {
      const CharSet& set = regex_.sets_[node.value];
      for (char32_t c = 0; c < 128; ++c) regex_.first_bytes_[c] |= set.contains(c);
      for (size_t b = 0xC2; b <= 0xF4; ++b) regex_.first_bytes_[b] |= set.has_non_ascii();
      return;
    }
    case RegexKind::kAssert:
    case RegexKind::kLook:
      return;
    case RegexKind::kRepeat:
      mark_first(node.children[0]);
      return;
    case RegexKind::kAlternation:
      for (const RegexNode& child : node.children) mark_first(child);
      return;
    case RegexKind::kSequence:
    case RegexKind::kAtomic:
      for (const RegexNode& child : node.children) {
        mark_first(child);
        if (!is_nullable(child)) return;
      }
      return;
  }
}

Result<Regex> Regex::compile(std::string_view expression) {
  if (!is_valid_utf8(expression)) return Status(Code::kInvalid, "regular expression: not UTF-8");
  return RegexCompiler(expression).compile();
}

}  // namespace galley::text
