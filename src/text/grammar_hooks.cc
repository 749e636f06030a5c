#include "text/grammar_hooks.h"

#include <time.h>

#include <stdexcept>

namespace galley::text {
namespace {

constexpr uint32_t kStepsPerLook = 512;
thread_local GrammarBudget* budget = nullptr;
thread_local std::string* first_warning = nullptr;

// Of this thread's work: what a busy machine takes away is not the grammar's fault.
int64_t now_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

ScopedGrammarBudget::ScopedGrammarBudget(int64_t time_ms_max, uint64_t states_max,
                                         std::string* warning, const std::atomic<bool>* cancelled) {
  budget_.states_left = states_max;
  budget_.cancelled = cancelled;
  budget_.end_ns = now_ns() + time_ms_max * 1'000'000;
  budget = &budget_;
  first_warning = warning;
}

ScopedGrammarBudget::~ScopedGrammarBudget() {
  budget = nullptr;
  first_warning = nullptr;
}

void spend_grammar_step() {
  GrammarBudget* const mine = budget;
  if (mine == nullptr || --mine->until_clock > 0) return;
  mine->until_clock = kStepsPerLook;
  const bool is_over =
      mine->cancelled != nullptr && mine->cancelled->load(std::memory_order_relaxed);
  if (is_over || now_ns() > mine->end_ns) throw GrammarBudgetSpent(true);
}

void spend_grammar_state() {
  GrammarBudget* const mine = budget;
  if (mine == nullptr) return;
  if (mine->states_left-- == 0) throw GrammarBudgetSpent(false);
  spend_grammar_step();
}

}  // namespace galley::text

// As the engine declares them when XGRAMMAR_LOG_CUSTOMIZE is set.
namespace xgrammar {

[[noreturn]] void LogFatalImpl(const std::string& file, int line, const std::string& message);
void LogMessageImpl(const std::string& file, int line, int level, const std::string& message);

void LogFatalImpl(const std::string&, int, const std::string& message) {
  throw std::runtime_error(message);
}

void LogMessageImpl(const std::string&, int, int, const std::string& message) {
  std::string* const out = galley::text::first_warning;
  if (out != nullptr && out->empty()) *out = message;
}

}  // namespace xgrammar
