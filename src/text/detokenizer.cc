#include "text/detokenizer.h"

#include <string_view>

namespace galley::text {

Detokenizer::Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(tokenizer),
      skip_special_tokens_(skip_special_tokens),
      strip_left_(tokenizer.decoder().strip_count()) {}

void Detokenizer::push(int32_t id, std::string& out) {
  if (skip_special_tokens_ && tokenizer_.is_special(id)) return;
  std::string_view bytes = tokenizer_.token_bytes(id);
  const std::string& strip = tokenizer_.decoder().strip_text();
  while (strip_left_ > 0 && bytes.starts_with(strip)) {
    bytes.remove_prefix(strip.size());
    --strip_left_;
  }
  if (!bytes.empty()) strip_left_ = 0;
  utf8_.push(bytes, out);
}

void Detokenizer::flush(std::string& out) {
  utf8_.flush(out);
  strip_left_ = tokenizer_.decoder().strip_count();
}

}  // namespace galley::text
