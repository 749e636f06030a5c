#include "text/bpe.h"

#include <algorithm>
#include <bit>

#include "text/byte_level.h"
#include "text/utf8.h"

namespace galley::text {
namespace {

// Orders the queue: the lowest rank first, of equal ones the leftmost.
struct Later {
  bool operator()(const Bpe::Scratch::Candidate& a, const Bpe::Scratch::Candidate& b) const {
    return a.rank != b.rank ? a.rank > b.rank : a.at > b.at;
  }
};

uint64_t mix(uint64_t x) {  // splitmix64's finaliser (Steele, Lea, Flood 2014)
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9u;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBu;
  return x ^ (x >> 31);
}

std::string byte_token(unsigned byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return std::string("<0x") + kDigits[byte >> 4] + kDigits[byte & 15] + ">";
}

}  // namespace

Result<Bpe> Bpe::parse(const boost::json::value& value, bool raw_bytes,
                       const TokenizerLimits& limits, const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::object* model, object_of(value, where));
  GALLEY_ASSIGN_OR_RETURN(const std::string type, string_field(*model, "type", where, "BPE"));
  if (type != "BPE")
    return Status(Code::kInvalid, where + ": model type '" + type + "' is not supported");
  Bpe bpe;
  bpe.raw_ = raw_bytes;
  GALLEY_RETURN_IF_ERROR(bpe.read_options(*model, where));
  GALLEY_ASSIGN_OR_RETURN(const boost::json::value* vocab, field(*model, "vocab", where));
  GALLEY_RETURN_IF_ERROR(bpe.read_vocab(*vocab, limits, where + ".vocab"));
  GALLEY_ASSIGN_OR_RETURN(const boost::json::value* merges, field(*model, "merges", where));
  GALLEY_RETURN_IF_ERROR(bpe.read_merges(*merges, limits, where + ".merges"));
  GALLEY_ASSIGN_OR_RETURN(const std::string unk, string_field(*model, "unk_token", where, ""));
  if (!unk.empty()) {
    bpe.unk_id_ = bpe.id_of(unk);
    if (!bpe.unk_id_) {
      return Status(Code::kCorrupt, where + ": unk_token '" + unk + "' is not in the vocabulary");
    }
  }
  for (unsigned b = 0; b < 256; ++b) bpe.byte_ids_[b] = bpe.id_of(byte_token(b)).value_or(-1);
  if (raw_bytes) bpe.build_raw();
  return bpe;
}

Status Bpe::read_options(const boost::json::object& model, const std::string& where) {
  const boost::json::value* dropout = model.if_contains("dropout");
  if (dropout != nullptr && !dropout->is_null() &&
      !(dropout->is_number() && dropout->to_number<double>() == 0.0)) {
    return {Code::kInvalid, where + ": dropout is set; tokens would be random, remove it"};
  }
  GALLEY_ASSIGN_OR_RETURN(continuing_prefix_,
                          string_field(model, "continuing_subword_prefix", where, ""));
  GALLEY_ASSIGN_OR_RETURN(word_suffix_, string_field(model, "end_of_word_suffix", where, ""));
  GALLEY_ASSIGN_OR_RETURN(fuse_unk_, bool_field(model, "fuse_unk", where, false));
  GALLEY_ASSIGN_OR_RETURN(byte_fallback_, bool_field(model, "byte_fallback", where, false));
  GALLEY_ASSIGN_OR_RETURN(ignore_merges_, bool_field(model, "ignore_merges", where, false));
  if (raw_ && (byte_fallback_ || !continuing_prefix_.empty() || !word_suffix_.empty())) {
    return {Code::kInvalid,
            where +
                ": byte_fallback, continuing_subword_prefix and end_of_word_suffix are not "
                "supported behind a ByteLevel pre-tokenizer"};
  }
  return {};
}

Status Bpe::read_vocab(const boost::json::value& value, const TokenizerLimits& limits,
                       const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::object* vocab, object_of(value, where));
  int64_t id_max = -1;
  for (const auto& entry : *vocab) {
    const std::string token(entry.key());
    const boost::json::value& id = entry.value();
    if (token.size() > limits.token_bytes_max) {
      return {Code::kTooLarge, where + ": a token of " + std::to_string(token.size()) +
                                   " bytes, the limit is " +
                                   std::to_string(limits.token_bytes_max)};
    }
    if (!id.is_int64() || id.get_int64() < 0 ||
        id.get_int64() >= static_cast<int64_t>(limits.vocab_max)) {
      return {Code::kCorrupt, (where + ": the id of '").append(token) +
                                  "' is not an integer from 0 to " +
                                  std::to_string(limits.vocab_max - 1)};
    }
    id_max = std::max(id_max, id.get_int64());
  }
  tokens_.resize(static_cast<size_t>(id_max + 1));
  ids_.reserve(vocab->size());
  for (const auto& entry : *vocab) {
    const int64_t id = entry.value().get_int64();
    std::string& token = tokens_[static_cast<size_t>(id)];
    if (!token.empty()) {
      return {Code::kCorrupt, (where + ": '").append(token) + "' and '" + std::string(entry.key()) +
                                  "' have the same id " + std::to_string(id)};
    }
    token = std::string(entry.key());
    ids_.emplace(token, static_cast<int32_t>(id));
  }
  return {};
}

Status Bpe::read_merges(const boost::json::value& value, const TokenizerLimits& limits,
                        const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::array* list, array_of(value, where));
  if (list->size() > limits.merges_max) {
    return {Code::kTooLarge, where + ": " + std::to_string(list->size()) +
                                 " merges, the limit is " + std::to_string(limits.merges_max)};
  }
  merges_.resize(std::bit_ceil(list->size() * 2 + 1));
  uint32_t rank = 0;
  for (const boost::json::value& entry : *list) {
    const std::string at = where + "[" + std::to_string(rank) + "]";
    std::string left;
    std::string right;
    if (entry.is_string()) {
      const std::string_view text = entry.get_string();
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        return {Code::kCorrupt, at + ": '" + std::string(text) + "' is not two tokens and a space"};
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (entry.is_array() && entry.get_array().size() == 2 &&
               entry.get_array()[0].is_string() && entry.get_array()[1].is_string()) {
      left = entry.get_array()[0].get_string();
      right = entry.get_array()[1].get_string();
    } else {
      return {Code::kCorrupt, at + ": expected \"left right\" or [\"left\", \"right\"]"};
    }
    GALLEY_RETURN_IF_ERROR(add_merge(left, right, rank, at));
    ++rank;
  }
  return {};
}

Status Bpe::add_merge(const std::string& left, const std::string& right, uint32_t rank,
                      const std::string& where) {
  const std::optional<int32_t> left_id = id_of(left);
  const std::optional<int32_t> right_id = id_of(right);
  if (!left_id || !right_id) {
    return {Code::kCorrupt,
            where + ": '" + (left_id ? right : left) + "' is not in the vocabulary"};
  }
  if (right.size() < continuing_prefix_.size()) {
    return {Code::kCorrupt, where + ": '" + right + "' lacks the continuing_subword_prefix"};
  }
  const std::optional<int32_t> merged = id_of(left + right.substr(continuing_prefix_.size()));
  if (!merged) {
    return {Code::kCorrupt,
            where + ": the merge of '" + left + "' and '" + right + "' is not in the vocabulary"};
  }
  const uint64_t pair = pair_of(*left_id, *right_id);
  const size_t mask = merges_.size() - 1;
  size_t slot = mix(pair) & mask;
  while (merges_[slot].pair != kNoPair && merges_[slot].pair != pair) slot = (slot + 1) & mask;
  merges_[slot] = {pair, rank, *merged};  // of a pair listed twice the later rank counts
  return {};
}

void Bpe::build_raw() {
  raw_ids_.fill(-1);
  for (unsigned b = 0; b < 256; ++b) {
    std::string symbol;
    append_utf8(symbol, byte_to_symbol(static_cast<uint8_t>(b)));
    raw_ids_[b] = id_of(symbol).value_or(-1);
  }
  if (!ignore_merges_) return;
  for (const auto& [token, id] : ids_) {
    if (std::optional<std::string> bytes = from_byte_symbols(token)) raw_words_.emplace(*bytes, id);
  }
}

std::optional<int32_t> Bpe::id_of(std::string_view token) const {
  const auto it = ids_.find(token);
  if (it == ids_.end()) return std::nullopt;
  return it->second;
}

const Bpe::Merge* Bpe::find_merge(int32_t left, int32_t right) const {
  const uint64_t pair = pair_of(left, right);
  const size_t mask = merges_.size() - 1;
  for (size_t slot = mix(pair) & mask;; slot = (slot + 1) & mask) {
    if (merges_[slot].pair == pair) return &merges_[slot];
    if (merges_[slot].pair == kNoPair) return nullptr;
  }
}

std::optional<int32_t> Bpe::whole_word(std::string_view word) const {
  if (!ignore_merges_) return std::nullopt;
  if (!raw_) return id_of(word);
  const auto it = raw_words_.find(std::string(word));
  if (it == raw_words_.end()) return std::nullopt;
  return it->second;
}

void Bpe::encode(std::string_view word, Scratch& scratch, std::vector<int32_t>& out) const {
  if (word.empty()) return;
  if (const std::optional<int32_t> id = whole_word(word)) {
    out.push_back(*id);
    return;
  }
  scratch.symbols.clear();
  if (raw_) {
    start_raw(word, scratch);
  } else {
    start_characters(word, scratch);
  }
  if (scratch.symbols.empty()) return;
  const auto count = static_cast<int32_t>(scratch.symbols.size());
  for (int32_t i = 0; i < count; ++i) {
    scratch.symbols[static_cast<size_t>(i)].previous = i - 1;
    scratch.symbols[static_cast<size_t>(i)].next = i + 1 < count ? i + 1 : -1;
  }
  merge_all(scratch);
  for (int32_t i = 0; i >= 0; i = scratch.symbols[static_cast<size_t>(i)].next) {
    out.push_back(scratch.symbols[static_cast<size_t>(i)].id);
  }
}

void Bpe::start_raw(std::string_view word, Scratch& scratch) const {
  // An unknown byte ends in unk_token; neighbours fuse into one when fuse_unk is set.
  bool after_unk = false;
  for (const char c : word) {
    int32_t id = raw_ids_[static_cast<uint8_t>(c)];
    const bool unknown = id < 0;
    if (unknown) {
      if (!unk_id_ || (after_unk && fuse_unk_)) continue;
      id = *unk_id_;
    }
    after_unk = unknown;
    scratch.symbols.push_back({id, 0, 0, false});
  }
}

void Bpe::start_characters(std::string_view word, Scratch& scratch) const {
  bool unk_waits =
      false;  // An unknown token is added when the next known one comes, or at the end.
  std::vector<int32_t> bytes;
  for (size_t pos = 0; pos < word.size();) {
    const size_t begin = pos;
    (void)next_code_point(word, pos);
    const std::string_view character = word.substr(begin, pos - begin);
    std::string key(character);
    if (begin != 0) key.insert(0, continuing_prefix_);
    if (pos == word.size()) key.append(word_suffix_);
    if (const std::optional<int32_t> id = id_of(key)) {
      if (unk_waits) scratch.symbols.push_back({*unk_id_, 0, 0, false});
      unk_waits = false;
      scratch.symbols.push_back({*id, 0, 0, false});
      continue;
    }
    if (byte_fallback_ && push_byte_tokens(key, bytes)) {
      for (const int32_t id : bytes) scratch.symbols.push_back({id, 0, 0, false});
      continue;
    }
    if (!unk_id_) continue;
    if (unk_waits && !fuse_unk_) scratch.symbols.push_back({*unk_id_, 0, 0, false});
    unk_waits = true;
  }
  if (unk_waits) scratch.symbols.push_back({*unk_id_, 0, 0, false});
}

bool Bpe::push_byte_tokens(std::string_view character, std::vector<int32_t>& ids) const {
  ids.clear();
  for (const char c : character) {
    const int32_t id = byte_ids_[static_cast<uint8_t>(c)];
    if (id < 0) return false;
    ids.push_back(id);
  }
  return true;
}

// Puts the merge of `left`, the symbol at `at`, with its right neighbour into the queue, if any.
void Bpe::offer(const Scratch::Symbol& left, int32_t at, Scratch& scratch) const {
  if (left.next < 0) return;
  const Merge* merge = find_merge(left.id, scratch.symbols[static_cast<size_t>(left.next)].id);
  if (merge == nullptr) return;
  scratch.queue.push_back({merge->rank, at, merge->merged_id});
}

void Bpe::merge_all(Scratch& scratch) const {
  std::vector<Scratch::Symbol>& symbols = scratch.symbols;
  std::vector<Scratch::Candidate>& queue = scratch.queue;
  queue.clear();
  for (size_t i = 0; i < symbols.size(); ++i) offer(symbols[i], static_cast<int32_t>(i), scratch);
  std::make_heap(queue.begin(), queue.end(), Later());
  while (!queue.empty()) {
    const Scratch::Candidate best = queue.front();
    std::pop_heap(queue.begin(), queue.end(), Later());
    queue.pop_back();
    Scratch::Symbol& left = symbols[static_cast<size_t>(best.at)];
    if (left.merged_away || left.next < 0) continue;
    Scratch::Symbol& right = symbols[static_cast<size_t>(left.next)];
    // A neighbour may have changed since the candidate was queued.
    const Merge* merge = find_merge(left.id, right.id);
    if (merge == nullptr || merge->merged_id != best.merged_id) continue;

    right.merged_away = true;
    left.id = best.merged_id;
    left.next = right.next;
    if (left.next >= 0) symbols[static_cast<size_t>(left.next)].previous = best.at;
    const auto offer_and_push = [&](int32_t at) {
      const size_t before = queue.size();
      offer(symbols[static_cast<size_t>(at)], at, scratch);
      if (queue.size() != before) std::push_heap(queue.begin(), queue.end(), Later());
    };
    if (left.previous >= 0) offer_and_push(left.previous);
    offer_and_push(best.at);
  }
}

}  // namespace galley::text
