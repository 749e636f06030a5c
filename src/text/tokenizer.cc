#include "text/tokenizer.h"

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <utility>

#include "base/file.h"
#include "text/detokenizer.h"
#include "text/json.h"
#include "text/utf8.h"

namespace galley::text {

namespace json = boost::json;

namespace {

// Words up to this size are remembered within one encode(): longer ones rarely repeat.
constexpr size_t kCachedWordBytesMax = 48;
constexpr size_t kCachedWordsMax = size_t{1} << 16;

const json::value& value_or_null(const json::object& object, std::string_view key) {
  static const json::value null;
  const json::value* value = object.if_contains(key);
  return value == nullptr ? null : *value;
}

Result<AddedToken> parse_added_token(const json::object& object, const std::string& where) {
  AddedToken token;
  GALLEY_ASSIGN_OR_RETURN(token.content, string_field(object, "content", where));
  GALLEY_ASSIGN_OR_RETURN(token.special, bool_field(object, "special", where, false));
  GALLEY_ASSIGN_OR_RETURN(token.single_word, bool_field(object, "single_word", where, false));
  GALLEY_ASSIGN_OR_RETURN(token.lstrip, bool_field(object, "lstrip", where, false));
  GALLEY_ASSIGN_OR_RETURN(token.rstrip, bool_field(object, "rstrip", where, false));
  GALLEY_ASSIGN_OR_RETURN(token.normalized,
                          bool_field(object, "normalized", where, !token.special));
  return token;
}

}  // namespace

struct Tokenizer::Encoding {
  struct Remembered {
    size_t begin;
    size_t count;
  };
  EncodeOptions options;
  MatchBudget budget;
  Bpe::Scratch scratch;
  Arena arena;  // owns every text that views in `words` refer to
  std::unordered_map<std::string_view, Remembered> words;
  std::vector<int32_t> ids;
};

Result<std::shared_ptr<const Tokenizer>> Tokenizer::load(const std::string& folder,
                                                         const TokenizerLimits& limits) {
  GALLEY_ASSIGN_OR_RETURN(const std::string file,
                          read_file(folder + "/tokenizer.json", limits.file_bytes_max));
  Result<std::string> config = read_file(folder + "/tokenizer_config.json", limits.file_bytes_max);
  if (!config.ok() && config.code() != Code::kNotFound) return config.status();
  Result<std::shared_ptr<const Tokenizer>> tokenizer =
      parse(file, config.ok() ? std::string_view(config.value()) : std::string_view(), limits);
  if (tokenizer.ok()) return tokenizer;
  return Status(tokenizer.code(), folder + "/" + tokenizer.message());
}

Result<std::shared_ptr<const Tokenizer>> Tokenizer::parse(std::string_view tokenizer_json,
                                                          std::string_view config_json,
                                                          const TokenizerLimits& limits) {
  if (tokenizer_json.size() > limits.file_bytes_max || config_json.size() > limits.file_bytes_max) {
    return Status(Code::kTooLarge,
                  "tokenizer.json: more than " + std::to_string(limits.file_bytes_max) + " bytes");
  }
  GALLEY_ASSIGN_OR_RETURN(const json::value file,
                          parse_json(tokenizer_json, "tokenizer.json", limits.json_depth_max));
  json::value config;
  if (!config_json.empty()) {
    GALLEY_ASSIGN_OR_RETURN(
        config, parse_json(config_json, "tokenizer_config.json", limits.json_depth_max));
    GALLEY_RETURN_IF_ERROR(object_of(config, "tokenizer_config.json").status());
  }
  const json::object* config_object = config.if_object();

  std::shared_ptr<Tokenizer> tokenizer(new Tokenizer());
  tokenizer->limits_ = limits;
  GALLEY_RETURN_IF_ERROR(tokenizer->read_tokenizer(file));
  GALLEY_RETURN_IF_ERROR(tokenizer->read_added(file.get_object(), config_object));
  GALLEY_RETURN_IF_ERROR(tokenizer->fill_tokens(*tokenizer->bpe_));
  GALLEY_RETURN_IF_ERROR(tokenizer->read_post_processor(
      value_or_null(file.get_object(), "post_processor"), "tokenizer.json: post_processor"));
  if (config_object != nullptr) GALLEY_RETURN_IF_ERROR(tokenizer->read_config(*config_object));
  return std::shared_ptr<const Tokenizer>(std::move(tokenizer));
}

Status Tokenizer::read_tokenizer(const json::value& file) {
  GALLEY_ASSIGN_OR_RETURN(const json::object* object, object_of(file, "tokenizer.json"));
  GALLEY_ASSIGN_OR_RETURN(normalizer_, Normalizer::parse(value_or_null(*object, "normalizer"),
                                                         limits_, "tokenizer.json: normalizer"));
  GALLEY_ASSIGN_OR_RETURN(pre_tokenizer_,
                          PreTokenizer::parse(value_or_null(*object, "pre_tokenizer"), limits_,
                                              "tokenizer.json: pre_tokenizer"));
  GALLEY_ASSIGN_OR_RETURN(decoder_, Decoder::parse(value_or_null(*object, "decoder"), limits_,
                                                   "tokenizer.json: decoder"));
  GALLEY_ASSIGN_OR_RETURN(const json::value* model, field(*object, "model", "tokenizer.json"));
  GALLEY_ASSIGN_OR_RETURN(
      bpe_, Bpe::parse(*model, pre_tokenizer_.raw_bytes(), limits_, "tokenizer.json: model"));
  return {};
}

// Added tokens of tokenizer.json, then those that only tokenizer_config.json knows.
Status Tokenizer::read_added(const json::object& file, const json::object* config) {
  const json::value& list = value_or_null(file, "added_tokens");
  if (!list.is_null()) {
    const std::string where = "tokenizer.json: added_tokens";
    GALLEY_ASSIGN_OR_RETURN(const json::array* array, array_of(list, where));
    for (const json::value& entry : *array) {
      GALLEY_ASSIGN_OR_RETURN(const json::object* object, object_of(entry, where));
      GALLEY_ASSIGN_OR_RETURN(AddedToken token, parse_added_token(*object, where));
      GALLEY_ASSIGN_OR_RETURN(const int64_t id, int_field(*object, "id", where));
      if (id < 0 || id >= static_cast<int64_t>(limits_.vocab_max)) {
        return {Code::kCorrupt,
                where + ": the id of '" + token.content + "' is " + std::to_string(id)};
      }
      token.id = static_cast<int32_t>(id);
      GALLEY_RETURN_IF_ERROR(add_token(std::move(token), where));
    }
  }
  if (config == nullptr) return {};
  const json::value& decoder = value_or_null(*config, "added_tokens_decoder");
  if (decoder.is_null()) return {};
  const std::string where = "tokenizer_config.json: added_tokens_decoder";
  GALLEY_ASSIGN_OR_RETURN(const json::object* entries, object_of(decoder, where));
  for (const auto& entry : *entries) {
    GALLEY_ASSIGN_OR_RETURN(const json::object* object, object_of(entry.value(), where));
    GALLEY_ASSIGN_OR_RETURN(AddedToken token, parse_added_token(*object, where));
    const std::string_view key = entry.key();
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token.id);
    if (error != std::errc() || end != key.data() + key.size() || token.id < 0 ||
        token.id >= static_cast<int64_t>(limits_.vocab_max)) {
      return {Code::kCorrupt, where + ": '" + std::string(key) + "' is not a token id"};
    }
    if (added_ids_.contains(token.content)) continue;
    GALLEY_RETURN_IF_ERROR(add_token(std::move(token), where));
  }
  return {};
}

Status Tokenizer::add_token(AddedToken token, const std::string& where) {
  if (token.content.empty()) return {};
  if (token.content.size() > limits_.token_bytes_max ||
      added_list_.size() >= limits_.added_tokens_max) {
    return {Code::kTooLarge, where + ": a token of more than " +
                                 std::to_string(limits_.token_bytes_max) + " bytes, or more than " +
                                 std::to_string(limits_.added_tokens_max) + " tokens"};
  }
  const std::optional<int32_t> in_vocab = bpe_->id_of(token.content);
  if (in_vocab && *in_vocab != token.id) {
    return {Code::kCorrupt, where + ": '" + token.content + "' has id " + std::to_string(token.id) +
                                ", but the vocabulary gives it " + std::to_string(*in_vocab)};
  }
  const auto [it, is_new] = added_ids_.emplace(token.content, token.id);
  if (!is_new) {
    if (it->second == token.id) return {};
    return {Code::kCorrupt, where + ": '" + token.content + "' is listed with ids " +
                                std::to_string(it->second) + " and " + std::to_string(token.id)};
  }
  added_list_.push_back(std::move(token));
  return {};
}

Status Tokenizer::fill_tokens(const Bpe& bpe) {
  size_t size = bpe.tokens().size();
  size_t added_bytes = 0;
  for (const AddedToken& token : added_list_) {
    size = std::max(size, static_cast<size_t>(token.id) + 1);
    added_bytes += token.content.size();
  }
  if (added_bytes > limits_.added_bytes_max) {
    return {Code::kTooLarge, "tokenizer.json: added_tokens: " + std::to_string(added_bytes) +
                                 " bytes, the limit is " + std::to_string(limits_.added_bytes_max)};
  }
  tokens_.resize(size);
  const auto fill = [&](size_t id, const std::string& text, bool special) -> Status {
    GALLEY_ASSIGN_OR_RETURN(std::string bytes, decoder_.bytes_of(text));
    tokens_[id] = {text, std::move(bytes), special, false, true};
    return {};
  };
  for (size_t id = 0; id < bpe.tokens().size(); ++id) {
    if (!bpe.tokens()[id].empty()) GALLEY_RETURN_IF_ERROR(fill(id, bpe.tokens()[id], false));
  }
  for (const AddedToken& token : added_list_) {
    const auto id = static_cast<size_t>(token.id);
    if (tokens_[id].used && tokens_[id].text != token.content) {
      return {Code::kCorrupt, "added token '" + token.content + "' and '" + tokens_[id].text +
                                  "' have the same id " + std::to_string(id)};
    }
    GALLEY_RETURN_IF_ERROR(fill(id, token.content, token.special));
    tokens_[id].added = true;
  }
  GALLEY_ASSIGN_OR_RETURN(added_, AddedTokens::build(std::move(added_list_), normalizer_, limits_));
  added_list_.clear();
  return {};
}

Status Tokenizer::read_post_processor(const json::value& value, const std::string& where) {
  if (value.is_null()) return {};
  GALLEY_ASSIGN_OR_RETURN(const json::object* object, object_of(value, where));
  GALLEY_ASSIGN_OR_RETURN(const std::string type, string_field(*object, "type", where));
  if (type == "ByteLevel") return {};  // It only moves offsets.
  if (type == "TemplateProcessing") return read_template(*object, where);
  if (type == "Sequence") {
    return add_sequence(*object, "processors", where,
                        [&](const json::value& step, const std::string& inside) {
                          return read_post_processor(step, inside);
                        });
  }
  return {Code::kInvalid, where + ": post-processor type '" + type + "' is not supported"};
}

// "single" is a list of special tokens around one {"Sequence": {"id": "A"}}.
Status Tokenizer::read_template(const json::object& object, const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const json::value* single, field(object, "single", where));
  GALLEY_ASSIGN_OR_RETURN(const json::array* items, array_of(*single, where + ".single"));
  GALLEY_ASSIGN_OR_RETURN(const json::value* specials_value,
                          field(object, "special_tokens", where));
  GALLEY_ASSIGN_OR_RETURN(const json::object* specials,
                          object_of(*specials_value, where + ".special_tokens"));
  if (items->size() > limits_.steps_max)
    return {Code::kTooLarge, where + ".single: too many items"};
  std::vector<int32_t> before;
  std::vector<int32_t> after;
  bool text_seen = false;
  for (const json::value& item : *items) {
    GALLEY_ASSIGN_OR_RETURN(const json::object* entry, object_of(item, where + ".single"));
    if (entry->contains("Sequence")) {
      if (std::exchange(text_seen, true))
        return {Code::kInvalid, where + ".single: the text stands twice"};
      continue;
    }
    GALLEY_ASSIGN_OR_RETURN(const json::value* special,
                            field(*entry, "SpecialToken", where + ".single"));
    GALLEY_ASSIGN_OR_RETURN(const json::object* named, object_of(*special, where + ".single"));
    GALLEY_ASSIGN_OR_RETURN(const std::string name, string_field(*named, "id", where + ".single"));
    GALLEY_ASSIGN_OR_RETURN(const json::value* definition,
                            field(*specials, name, where + ".special_tokens"));
    GALLEY_ASSIGN_OR_RETURN(const json::object* defined,
                            object_of(*definition, where + ".special_tokens"));
    GALLEY_ASSIGN_OR_RETURN(const json::value* ids_value,
                            field(*defined, "ids", where + ".special_tokens"));
    GALLEY_ASSIGN_OR_RETURN(const json::array* ids,
                            array_of(*ids_value, where + ".special_tokens"));
    if (ids->size() > limits_.steps_max)
      return {Code::kTooLarge, where + ".special_tokens: too many ids"};
    for (const json::value& id : *ids) {
      if (!id.is_int64() || id.get_int64() < 0 || id.get_int64() >= vocab_size()) {
        return {Code::kCorrupt,
                (where + ".special_tokens: '").append(name) + "' has an id outside the vocabulary"};
      }
      (text_seen ? after : before).push_back(static_cast<int32_t>(id.get_int64()));
    }
  }
  if (!text_seen) return {Code::kInvalid, where + ".single: the text is missing"};
  prefix_ids_.insert(prefix_ids_.begin(), before.begin(), before.end());
  suffix_ids_.insert(suffix_ids_.end(), after.begin(), after.end());
  return {};
}

Status Tokenizer::read_config(const json::object& config) {
  const std::string where = "tokenizer_config.json";
  GALLEY_RETURN_IF_ERROR(read_config_token(config, "bos_token", bos_token_, bos_id_));
  GALLEY_RETURN_IF_ERROR(read_config_token(config, "eos_token", eos_token_, eos_id_));
  GALLEY_ASSIGN_OR_RETURN(const std::string type,
                          string_field(config, "tokenizer_class", where, ""));
  // transformers' LlamaTokenizerFast, which DeepSeek's folders name, replaces the post-processor
  // with one made of these two flags. Other classes keep the one in tokenizer.json.
  if (type != "LlamaTokenizerFast" && type != "LlamaTokenizer") return {};
  GALLEY_ASSIGN_OR_RETURN(const bool add_bos, bool_field(config, "add_bos_token", where, true));
  GALLEY_ASSIGN_OR_RETURN(const bool add_eos, bool_field(config, "add_eos_token", where, false));
  if ((add_bos && !bos_id_) || (add_eos && !eos_id_)) {
    return {Code::kInvalid,
            where + ": add_bos_token or add_eos_token is set, but the token is not named"};
  }
  prefix_ids_.clear();
  suffix_ids_.clear();
  if (add_bos) prefix_ids_.push_back(*bos_id_);
  if (add_eos) suffix_ids_.push_back(*eos_id_);
  return {};
}

// A token is named by its string or by {"content": "..."}.
Status Tokenizer::read_config_token(const json::object& config, std::string_view key,
                                    std::string& token, std::optional<int32_t>& id) const {
  const json::value& value = value_or_null(config, key);
  if (value.is_null()) return {};
  if (const json::object* object = value.if_object()) {
    GALLEY_ASSIGN_OR_RETURN(
        token, string_field(*object, "content", "tokenizer_config.json: " + std::string(key)));
  } else {
    GALLEY_ASSIGN_OR_RETURN(token, string_field(config, key, "tokenizer_config.json"));
  }
  id = id_of(token);
  if (id) return {};
  return {Code::kInvalid, "tokenizer_config.json: " + std::string(key) + " '" + token +
                              "' is not a token of tokenizer.json"};
}

std::string_view Tokenizer::token_bytes(int32_t id) const {
  return has(id) ? std::string_view(tokens_[static_cast<size_t>(id)].bytes) : std::string_view();
}

std::string_view Tokenizer::token_string(int32_t id) const {
  return has(id) ? std::string_view(tokens_[static_cast<size_t>(id)].text) : std::string_view();
}

std::optional<int32_t> Tokenizer::id_of(std::string_view token) const {
  const auto it = added_ids_.find(std::string(token));
  if (it != added_ids_.end()) return it->second;
  return bpe_->id_of(token);
}

Result<std::vector<int32_t>> Tokenizer::encode(std::string_view text, EncodeOptions options) const {
  if (text.size() > limits_.text_bytes_max) {
    return Status(Code::kTooLarge, "text of " + std::to_string(text.size()) +
                                       " bytes, the limit is " +
                                       std::to_string(limits_.text_bytes_max));
  }
  const size_t valid = valid_utf8_prefix(text);
  if (valid != text.size()) {
    return Status(Code::kInvalid, "text is not UTF-8 at byte " + std::to_string(valid));
  }
  Encoding state;
  state.options = options;
  state.budget.steps = limits_.match_steps_base + limits_.match_steps_per_byte * text.size();
  if (options.add_special_tokens) state.ids = prefix_ids_;

  std::vector<TextOrToken> stretches;
  added_.split(text, true, /*normalized=*/false, options.parse_special, stretches);
  for (const TextOrToken& stretch : stretches) GALLEY_RETURN_IF_ERROR(encode_text(stretch, state));

  if (options.add_special_tokens) {
    state.ids.insert(state.ids.end(), suffix_ids_.begin(), suffix_ids_.end());
  }
  return std::move(state.ids);
}

Status Tokenizer::encode_text(const TextOrToken& stretch, Encoding& state) const {
  if (stretch.id >= 0) {
    state.ids.push_back(stretch.id);
    return {};
  }
  std::string_view text = stretch.text;
  if (!normalizer_.empty()) {
    std::string& owned = state.arena.emplace_back(text);
    GALLEY_RETURN_IF_ERROR(normalizer_.apply(owned, state.budget));
    text = owned;
  }
  std::vector<TextOrToken> inner;
  added_.split(text, stretch.at_start, /*normalized=*/true, state.options.parse_special, inner);
  for (const TextOrToken& piece : inner) {
    if (piece.id >= 0) {
      state.ids.push_back(piece.id);
    } else {
      GALLEY_RETURN_IF_ERROR(encode_normalized(piece.text, piece.at_start, state));
    }
  }
  return {};
}

Status Tokenizer::encode_normalized(std::string_view text, bool at_start, Encoding& state) const {
  std::vector<Piece> words = {{text, at_start}};
  GALLEY_RETURN_IF_ERROR(pre_tokenizer_.split(words, state.arena, state.budget));
  for (const Piece& word : words) encode_word(word.text, state);
  return {};
}

void Tokenizer::encode_word(std::string_view word, Encoding& state) const {
  if (word.size() > kCachedWordBytesMax) {
    bpe_->encode(word, state.scratch, state.ids);
    return;
  }
  const auto it = state.words.find(word);
  if (it != state.words.end()) {
    const size_t end = it->second.begin + it->second.count;
    for (size_t i = it->second.begin; i < end; ++i) state.ids.push_back(state.ids[i]);
    return;
  }
  const size_t begin = state.ids.size();
  bpe_->encode(word, state.scratch, state.ids);
  if (state.words.size() < kCachedWordsMax) {
    state.words.emplace(word, Encoding::Remembered{begin, state.ids.size() - begin});
  }
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special_tokens) const {
  Detokenizer detokenizer(*this, skip_special_tokens);
  std::string out;
  for (const int32_t id : ids) detokenizer.push(id, out);
  detokenizer.flush(out);
  return out;
}

}  // namespace galley::text
