// Constraint: which tokens one request's grammar allows, row by row.
//
// A grammar holds from the end of the thought: until </think> everything is allowed, and where the
// model opens its thought itself, <think> may come first. What ThinkingLimit appends is no part of
// the answer's form.
//
// Two sides. The engine thread tells what the sequence holds (push); masks are made by whoever
// calls fill(), one thread at a time and never during push(): MaskMaker's threads, while the model
// computes. All work of the grammar is done there; it is bounded, and an error ends the request.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "engine/request.h"
#include "text/grammar.h"

namespace galley::engine {

class Constraint {
 public:
  // `rows_max` masks at once, of 1 bit for each token.
  Constraint(std::shared_ptr<const text::CompiledGrammar> grammar, const ThinkingLimit& thinking,
             int32_t rows_max, int32_t output_max);

  // The sequence got a token more.
  void push(int32_t token, bool forced) { pending_.push_back({token, forced}); }

  // Makes the masks of rows `first_row` to tokens.size(): row i is about what may follow the
  // sequence and tokens[0, i). Rows behind a token that may not come are left open: they are void.
  // Errors  kTooLarge  the grammar takes too long, now or on average
  //         kInvalid   the sequence holds what its grammar forbids
  Status fill(std::span<const int32_t> tokens, int32_t first_row);

  // Of the newest fill(); null: all tokens are allowed.
  const uint32_t* mask(int32_t row) const {
    const Row& one = rows_[static_cast<size_t>(row)];
    return one.open ? nullptr : one.mask.data();
  }
  // Row `row` allows nothing but to end.
  bool ends(int32_t row) const { return rows_[static_cast<size_t>(row)].ends; }

 private:
  struct Pushed {
    int32_t token;
    bool forced;
  };
  struct Row {
    std::vector<uint32_t> mask;
    bool open = true;
    bool ends = false;
  };
  // Where a sequence is, beside the matcher.
  struct Place {
    bool in_thought = false;
    bool at_start = true;
  };
  enum class Step : uint8_t { kFree, kAccepted, kForbidden };

  Step step(Place* place, int32_t token, bool forced);
  Status catch_up();
  Status make_row(const Place& place, Row* row);

  text::GrammarMatcher matcher_;
  const std::shared_ptr<const text::CompiledGrammar> grammar_;
  const int32_t think_begin_;
  const int32_t think_end_;
  Place place_;
  std::vector<Pushed> pending_;  // not yet known to the matcher
  std::vector<Row> rows_;
  int64_t spent_us_ = 0;  // of processor time, in all masks
  int64_t num_masks_ = 0;
};

}  // namespace galley::engine
