// What the grammar engine calls of ours: the budget of a call, and where its complaints go.
//
// The engine spends from the calling thread's budget (text/grammar_spend.h); when it is used up it
// leaves by an exception, which text/grammar.cc turns into a Status. C++17, like the engine.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <string>

#include "text/grammar_spend.h"

namespace galley::text {

struct GrammarBudget {
  uint64_t states_left = 0;  // grammar expressions and automaton states that may be made
  int64_t end_ns = 0;        // of the thread's processor time
  uint32_t until_clock = 1;  // steps until it is looked at
  const std::atomic<bool>* cancelled = nullptr;  // set: it is over
};

struct GrammarBudgetSpent : std::exception {
  explicit GrammarBudgetSpent(bool time) : is_time(time) {}
  const char* what() const noexcept override { return is_time ? "time" : "states"; }
  const bool is_time;
};

// The calling thread's budget for the life of this object. Budgets do not nest. The first warning
// of the engine meanwhile, that it passes over something it was asked for, goes to `warning`.
class ScopedGrammarBudget {
 public:
  ScopedGrammarBudget(int64_t time_ms_max, uint64_t states_max, std::string* warning = nullptr,
                      const std::atomic<bool>* cancelled = nullptr);
  ~ScopedGrammarBudget();
  ScopedGrammarBudget(const ScopedGrammarBudget&) = delete;
  ScopedGrammarBudget& operator=(const ScopedGrammarBudget&) = delete;

 private:
  GrammarBudget budget_;
};

}  // namespace galley::text
