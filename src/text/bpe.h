// Byte-pair encoding: the model of tokenizer.json. Turns one word into token ids.
//
// A word starts as its bytes ("raw" mode, behind a ByteLevel pre-tokenizer) or its characters, and
// the adjacent pair with the best rank is merged until none is left: O(n log n) with a queue, so a
// word of a megabyte is no trouble. Immutable after parse(); encode() keeps its state in the
// caller's Scratch.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/status.h"
#include "text/json.h"
#include "text/limits.h"

namespace galley::text {

class Bpe {
 public:
  // Working memory of encode(), reused from word to word.
  struct Scratch {
    struct Symbol {
      int32_t id;
      int32_t previous;
      int32_t next;
      bool merged_away;
    };
    struct Candidate {
      uint32_t rank;
      int32_t at;
      int32_t merged_id;
    };
    std::vector<Symbol> symbols;
    std::vector<Candidate> queue;
  };

  // Reads the "model" of tokenizer.json. `raw_bytes`: words will be raw bytes, see PreTokenizer.
  static Result<Bpe> parse(const boost::json::value& value, bool raw_bytes,
                           const TokenizerLimits& limits, const std::string& where);

  // Appends the tokens of `word` to `out`. A character that has neither a token, nor byte tokens
  // (byte_fallback), nor an unk_token yields nothing, as in Hugging Face tokenizers.
  void encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const;

  // The vocabulary: strings as the file spells them, by id; empty for an unused id.
  const std::vector<std::string>& tokens() const { return tokens_; }
  std::optional<int32_t> id_of(std::string_view token) const;
  // Number of entries of the vocabulary, gaps not counted.
  size_t size() const { return ids_.size(); }
  bool byte_fallback() const { return byte_fallback_; }

 private:
  struct Merge {
    uint64_t pair = kNoPair;
    uint32_t rank = 0;
    int32_t merged_id = 0;
  };
  static constexpr uint64_t kNoPair = ~uint64_t{0};
  static uint64_t pair_of(int32_t left, int32_t right) {
    return (static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32) |
           static_cast<uint32_t>(right);
  }

  Status read_options(const boost::json::object& model, const std::string& where);
  Status read_vocab(const boost::json::value& value, const TokenizerLimits& limits,
                    const std::string& where);
  Status read_merges(const boost::json::value& value, const TokenizerLimits& limits,
                     const std::string& where);
  Status add_merge(const std::string& left, const std::string& right, uint32_t rank,
                   const std::string& where);
  void build_raw();

  const Merge* find_merge(int32_t left, int32_t right) const;
  std::optional<int32_t> whole_word(std::string_view word) const;
  void start_raw(std::string_view word, Scratch& scratch) const;
  void start_characters(std::string_view word, Scratch& scratch) const;
  bool push_byte_tokens(std::string_view character, std::vector<int32_t>& ids) const;
  void merge_all(Scratch& scratch) const;
  void offer(const Scratch::Symbol& left, int32_t at, Scratch& scratch) const;

  std::vector<std::string> tokens_;
  std::unordered_map<std::string_view, int32_t> ids_;  // views into tokens_
  std::vector<Merge> merges_;                          // open addressing, a power of two of slots
  std::optional<int32_t> unk_id_;
  std::string continuing_prefix_;
  std::string word_suffix_;
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;

  bool raw_ = false;
  std::array<int32_t, 256> raw_ids_ = {};               // of single bytes; -1 for none
  std::unordered_map<std::string, int32_t> raw_words_;  // only with ignore_merges
  std::array<int32_t, 256> byte_ids_ = {};              // of <0x00>..<0xFF>; -1 for none
};

}  // namespace galley::text
