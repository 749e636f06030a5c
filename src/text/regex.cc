#include "text/regex.h"

#include <algorithm>

#include "text/utf8.h"

namespace galley::text {
namespace {

// Places to go back to that one search may hold. A run of one class holds one, however long.
constexpr size_t kStackMax = size_t{1} << 22;

constexpr size_t kNoFloor = ~size_t{0};

size_t previous_code_point(std::string_view text, size_t pos) {
  do {
    --pos;
  } while (pos > 0 && (static_cast<uint8_t>(text[pos]) & 0xC0) == 0x80);
  return pos;
}

const CharSet& word_set() {
  static const CharSet set = [] {
    CharSet s;
    s.add_word(false);
    s.finish(false, false);
    return s;
  }();
  return set;
}

bool at_word_boundary(std::string_view text, size_t pos) {
  bool before = false;
  bool after = false;
  if (pos > 0) {
    size_t at = previous_code_point(text, pos);
    before = word_set().contains(next_code_point(text, at));
  }
  if (pos < text.size()) {
    size_t at = pos;
    after = word_set().contains(next_code_point(text, at));
  }
  return before != after;
}

}  // namespace

// One search: the text, the budget and the stack of places to go back to.
class RegexMatcher {
 public:
  RegexMatcher(const Regex& regex, std::string_view text, MatchBudget& budget)
      : regex_(regex), text_(text), budget_(budget), stack_(stack_of_thread()) {
    stack_.clear();
  }

  // Runs the program from `pc` at `pos` up to its kAccept. True: it matched and ends at `end`.
  bool run(uint32_t pc, size_t pos, size_t& end);

  bool exhausted() const { return exhausted_; }

 private:
  struct Retry {
    uint32_t pc;
    size_t pos;
    size_t floor;  // of a run: give back characters down to here; else kNoFloor
  };

  static std::vector<Retry>& stack_of_thread() {
    thread_local std::vector<Retry> stack;
    return stack;
  }

  bool zero_width(Regex::Op op, size_t pos) const;
  // Takes what a run can take; false when that is less than its minimum. `floor` is the position
  // after the minimum.
  bool take_run(const Regex::Instruction& in, size_t& pos, size_t& floor);
  bool step_back(uint32_t count, size_t& pos) const;
  void push(uint32_t pc, size_t pos, size_t floor) {
    if (stack_.size() >= kStackMax) {
      exhausted_ = true;
    } else {
      stack_.push_back({pc, pos, floor});
    }
  }
  void charge(size_t steps) {
    if (budget_.steps < steps) exhausted_ = true;
    budget_.steps -= std::min<uint64_t>(budget_.steps, steps);
  }

  const Regex& regex_;
  const std::string_view text_;
  MatchBudget& budget_;
  std::vector<Retry>& stack_;
  bool exhausted_ = false;
};

bool RegexMatcher::zero_width(Regex::Op op, size_t pos) const {
  switch (op) {
    case Regex::Op::kLineBegin:
      return pos == 0 || (text_[pos - 1] == '\n' && pos != text_.size());
    case Regex::Op::kLineEnd:
      return pos == text_.size() || text_[pos] == '\n';
    case Regex::Op::kTextBegin:
      return pos == 0;
    case Regex::Op::kTextEnd:
      return pos == text_.size();
    case Regex::Op::kTextEndOrNewline:
      return pos == text_.size() || (pos + 1 == text_.size() && text_[pos] == '\n');
    case Regex::Op::kWordBoundary:
      return at_word_boundary(text_, pos);
    default:
      return !at_word_boundary(text_, pos);
  }
}

bool RegexMatcher::take_run(const Regex::Instruction& in, size_t& pos, size_t& floor) {
  const CharSet& set = regex_.sets_[in.value];
  const size_t begin = pos;
  floor = pos;
  for (uint32_t count = 0; count < in.max && pos < text_.size(); ++count) {
    size_t next = pos;
    if (!set.contains(next_code_point(text_, next))) {
      charge(pos - begin);
      return count >= in.min;
    }
    pos = next;
    if (count + 1 == in.min) floor = pos;
  }
  charge(pos - begin);
  return in.min == 0 || floor != begin;
}

bool RegexMatcher::step_back(uint32_t count, size_t& pos) const {
  for (; count > 0; --count) {
    if (pos == 0) return false;
    pos = previous_code_point(text_, pos);
  }
  return true;
}

bool RegexMatcher::run(uint32_t pc, size_t pos, size_t& end) {
  const size_t base = stack_.size();
  while (true) {
    charge(1);
    if (exhausted_) {
      stack_.resize(base);
      return false;
    }
    const Regex::Instruction& in = regex_.program_[pc];
    bool ok = true;
    switch (in.op) {
      case Regex::Op::kChar:
        ok = pos < text_.size() && next_code_point(text_, pos) == in.value;
        ++pc;
        break;
      case Regex::Op::kSet:
        ok = pos < text_.size() && regex_.sets_[in.value].contains(next_code_point(text_, pos));
        ++pc;
        break;
      case Regex::Op::kRun:
      case Regex::Op::kRunPossessive: {
        size_t floor = 0;
        ok = take_run(in, pos, floor);
        ++pc;
        if (ok && in.op == Regex::Op::kRun && pos > floor) push(pc, pos, floor);
        break;
      }
      case Regex::Op::kSplit:
        push(in.other, pos, kNoFloor);
        pc = in.target;
        break;
      case Regex::Op::kJump:
        pc = in.target;
        break;
      case Regex::Op::kLook:
      case Regex::Op::kLookNot: {
        size_t ignored = 0;
        ok = run(pc + 1, pos, ignored) == (in.op == Regex::Op::kLook);
        pc = in.target;
        break;
      }
      case Regex::Op::kAtomic:
        ok = run(pc + 1, pos, pos);
        pc = in.target;
        break;
      case Regex::Op::kBack:
        ok = step_back(in.value, pos);
        ++pc;
        break;
      case Regex::Op::kAccept:
        end = pos;
        stack_.resize(base);
        return true;
      default:
        ok = zero_width(in.op, pos);
        ++pc;
    }
    if (ok) continue;
    if (stack_.size() == base) return false;
    Retry& retry = stack_.back();
    pc = retry.pc;
    if (retry.floor == kNoFloor) {
      pos = retry.pos;
      stack_.pop_back();
      continue;
    }
    pos = retry.pos = previous_code_point(text_, retry.pos);
    if (pos == retry.floor) stack_.pop_back();
  }
}

Result<bool> Regex::find(std::string_view text, size_t from, MatchBudget& budget, Span& out) const {
  RegexMatcher matcher(*this, text, budget);
  size_t at = from;
  while (at <= text.size()) {
    if (!nullable_) {
      while (at < text.size() && !first_bytes_[static_cast<uint8_t>(text[at])]) ++at;
      if (at == text.size()) return false;
    }
    size_t end = 0;
    if (matcher.run(0, at, end)) {
      out = {at, end};
      return true;
    }
    if (matcher.exhausted()) {
      return Status(Code::kInvalid,
                    "the text makes the tokenizer's regular expression search beyond its limit");
    }
    do {
      ++at;
    } while (at < text.size() && (static_cast<uint8_t>(text[at]) & 0xC0) == 0x80);
  }
  return false;
}

}  // namespace galley::text
