// Tokenizer: text to token ids and ids to bytes, from a published model folder's tokenizer.json.
//
// First stage of the path after the chat template, and (with text/detokenizer.h) the last before
// the wire. Byte-level BPE as DeepSeek V2/V3/R1, Qwen2 and Llama 3 publish it; equal to Hugging
// Face tokenizers, which tools/goldens/tokenizer checks. Immutable after load; any number of
// threads may use one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "text/added_tokens.h"
#include "text/bpe.h"
#include "text/decoder.h"
#include "text/limits.h"
#include "text/normalizer.h"
#include "text/pre_tokenizer.h"

namespace galley::text {

struct EncodeOptions {
  bool add_special_tokens = true;  // what the model's post-processor adds, usually a BOS token
  bool parse_special = true;       // "<|eos|>" in the text is the token; false: it is plain text
};

class Tokenizer {
 public:
  // Reads <folder>/tokenizer.json and, when it exists, <folder>/tokenizer_config.json. Anything the
  // files ask for that is not supported is an error that names it.
  static Result<std::shared_ptr<const Tokenizer>> load(const std::string& folder,
                                                       const TokenizerLimits& limits = {});

  // The same from the files' contents; `config_json` may be empty.
  static Result<std::shared_ptr<const Tokenizer>> parse(std::string_view tokenizer_json,
                                                        std::string_view config_json,
                                                        const TokenizerLimits& limits = {});

  // Token ids of `text`. kInvalid when it is not UTF-8 or defeats the splitting expression's bound,
  // kTooLarge above limits.text_bytes_max. O(n log n) in the length of the text.
  Result<std::vector<int32_t>> encode(std::string_view text, EncodeOptions options = {}) const;

  // The text of `ids`; invalid bytes become U+FFFD. Ids without a token give nothing.
  std::string decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const;

  // One more than the highest id; a model's logits may have more entries.
  int32_t vocab_size() const { return static_cast<int32_t>(tokens_.size()); }

  // False for ids out of range and for gaps.
  bool has(int32_t id) const { return in_range(id) && tokens_[static_cast<size_t>(id)].used; }

  // The raw bytes a token stands for, not always whole characters; empty when there is no token.
  std::string_view token_bytes(int32_t id) const;
  // The token as tokenizer.json spells it ("Ġthe"); empty when there is no token.
  std::string_view token_string(int32_t id) const;
  bool is_special(int32_t id) const { return has(id) && tokens_[static_cast<size_t>(id)].special; }

  // Whether tokenizer.json lists it among the added tokens: it means something, be it special or
  // not.
  bool is_added(int32_t id) const { return has(id) && tokens_[static_cast<size_t>(id)].added; }

  // The id of the token that tokenizer.json spells `token`.
  std::optional<int32_t> id_of(std::string_view token) const;

  // From tokenizer_config.json; absent when it names none.
  std::optional<int32_t> bos_id() const { return bos_id_; }
  std::optional<int32_t> eos_id() const { return eos_id_; }
  const std::string& bos_token() const { return bos_token_; }
  const std::string& eos_token() const { return eos_token_; }

  const TokenizerLimits& limits() const { return limits_; }
  const Decoder& decoder() const { return decoder_; }

 private:
  struct Token {
    std::string text;   // as the file spells it
    std::string bytes;  // decoded
    bool special = false;
    bool added = false;
    bool used = false;
  };
  struct Encoding;  // state of one encode()

  Tokenizer() = default;
  bool in_range(int32_t id) const { return id >= 0 && static_cast<size_t>(id) < tokens_.size(); }

  Status read_tokenizer(const boost::json::value& file);
  Status read_added(const boost::json::object& file, const boost::json::object* config);
  Status add_token(AddedToken token, const std::string& where);
  Status fill_tokens(const Bpe& bpe);
  Status read_post_processor(const boost::json::value& value, const std::string& where);
  Status read_template(const boost::json::object& object, const std::string& where);
  Status read_config(const boost::json::object& config);
  Status read_config_token(const boost::json::object& config, std::string_view key,
                           std::string& token, std::optional<int32_t>& id) const;

  Status encode_text(const TextOrToken& stretch, Encoding& state) const;
  Status encode_normalized(std::string_view text, bool at_start, Encoding& state) const;
  void encode_word(std::string_view word, Encoding& state) const;

  TokenizerLimits limits_;
  Normalizer normalizer_;
  PreTokenizer pre_tokenizer_;
  std::optional<Bpe> bpe_;
  Decoder decoder_;
  std::vector<AddedToken> added_list_;  // while loading
  AddedTokens added_;
  std::vector<Token> tokens_;  // by id
  std::unordered_map<std::string, int32_t> added_ids_;
  std::vector<int32_t> prefix_ids_;  // what add_special_tokens puts before the text
  std::vector<int32_t> suffix_ids_;  // and after it
  std::string bos_token_;
  std::string eos_token_;
  std::optional<int32_t> bos_id_;
  std::optional<int32_t> eos_id_;
};

}  // namespace galley::text
