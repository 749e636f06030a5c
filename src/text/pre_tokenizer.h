// Pre-tokenizers of tokenizer.json: they cut normalised text into the words BPE works on.
//
// A PreTokenizer is the flattened list of the file's steps. A ByteLevel step that stands last is
// not carried out on the text: words stay raw bytes and BPE starts from bytes (Bpe, "raw" mode),
// which is the same result without writing every byte as a two-byte symbol. Immutable after
// parse().
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/status.h"
#include "text/json.h"
#include "text/limits.h"
#include "text/pattern.h"

namespace galley::text {

// A piece of text between cuts. Views stay valid as long as the text split and the Arena.
struct Piece {
  std::string_view text;
  bool at_start = false;  // nothing of the original text stands before it
};

// Owns the text of pieces that a step had to rewrite.
using Arena = std::deque<std::string>;

class PreTokenizer {
 public:
  // Reads the "pre_tokenizer" of tokenizer.json; null means none. Refuses an unknown type by name.
  static Result<PreTokenizer> parse(const boost::json::value& value, const TokenizerLimits& limits,
                                    const std::string& where);

  // Cuts `pieces` into words, in place. Pieces are never empty afterwards.
  Status split(std::vector<Piece>& pieces, Arena& arena, MatchBudget& budget) const;

  // True when the words are to be read as raw bytes (the last step is ByteLevel).
  bool raw_bytes() const { return raw_bytes_; }

 private:
  enum class Behavior { kRemoved, kIsolated, kMergedWithPrevious, kMergedWithNext, kContiguous };
  // Which stretches of a piece a cut concerns.
  struct Digits {};
  struct Punctuation {};
  struct WhiteSpace {};
  struct Cut {
    std::variant<Pattern, Digits, Punctuation, WhiteSpace> matcher;
    Behavior behavior;
    bool invert;
  };
  struct PrependSpace {};
  struct ByteSymbols {};
  enum class Prepend { kAlways, kFirst, kNever };
  struct Metaspace {
    std::string replacement;
    Prepend prepend;
  };
  using Step = std::variant<Cut, PrependSpace, ByteSymbols, Metaspace>;
  struct Stretch {
    Span span;
    bool matched;
  };

  Status add(const boost::json::value& value, const TokenizerLimits& limits,
             const std::string& where);
  Status add_split(const boost::json::object& object, const TokenizerLimits& limits,
                   const std::string& where);
  Status add_byte_level(const boost::json::object& object, const std::string& where);
  Status add_metaspace(const boost::json::object& object, const std::string& where);
  static Result<Behavior> behavior_of(const boost::json::object& object, const std::string& where,
                                      std::optional<std::string> fallback);
  static Status stretches_of(const Cut& cut, std::string_view text, MatchBudget& budget,
                             std::vector<Span>& spans, std::vector<Stretch>& out);
  static void join(Behavior behavior, const std::vector<Stretch>& stretches,
                   std::vector<Span>& out);
  static Status run_cut(const Cut& cut, std::vector<Piece>& pieces, MatchBudget& budget);
  static void run_metaspace(const Metaspace& step, std::vector<Piece>& pieces, Arena& arena);

  std::vector<Step> steps_;
  bool raw_bytes_ = false;
};

}  // namespace galley::text
