#include "text/decoder.h"

#include <optional>

#include "text/byte_level.h"

namespace galley::text {
namespace {

// The byte that <0x00>..<0xFF> stands for; nothing for any other token.
std::optional<char> fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return std::nullopt;
  unsigned byte = 0;
  for (const char c : token.substr(3, 2)) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') {
      digit = static_cast<unsigned>(c - '0');
    } else if (c >= 'A' && c <= 'F') {
      digit = static_cast<unsigned>(c - 'A') + 10;
    } else if (c >= 'a' && c <= 'f') {
      digit = static_cast<unsigned>(c - 'a') + 10;
    } else {
      return std::nullopt;
    }
    byte = byte * 16 + digit;
  }
  return static_cast<char>(byte);
}

}  // namespace

Result<Decoder> Decoder::parse(const boost::json::value& value, const TokenizerLimits& limits,
                               const std::string& where) {
  if (value.is_null())
    return Status(Code::kInvalid,
                  where + " is missing; tokens without a decoder are not supported");
  Decoder decoder;
  GALLEY_RETURN_IF_ERROR(decoder.add(value, limits, where));
  return decoder;
}

Status Decoder::add(const boost::json::value& value, const TokenizerLimits& limits,
                    const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(const boost::json::object* object, object_of(value, where));
  GALLEY_ASSIGN_OR_RETURN(const std::string type, string_field(*object, "type", where));
  if (type == "Sequence") {
    return add_sequence(*object, "decoders", where,
                        [&](const boost::json::value& step, const std::string& inside) {
                          return add(step, limits, inside);
                        });
  }
  if (type == "ByteLevel") {
    byte_level_ = true;
  } else if (type == "ByteFallback") {
    byte_fallback_ = true;
  } else if (type == "Fuse") {
    fused_ = true;
  } else if (type == "Strip") {
    return add_strip(*object, where);
  } else if (type == "Replace") {
    GALLEY_ASSIGN_OR_RETURN(const boost::json::value* pattern, field(*object, "pattern", where));
    GALLEY_ASSIGN_OR_RETURN(Pattern parsed,
                            Pattern::parse(*pattern, limits.pattern_bytes_max, where));
    GALLEY_ASSIGN_OR_RETURN(std::string content, string_field(*object, "content", where));
    if (content.size() > 64 || replacements_.size() >= limits.steps_max) {
      return {Code::kTooLarge,
              where + ": a replacement of more than 64 bytes, or too many of them"};
    }
    replacements_.emplace_back(std::move(parsed), std::move(content));
  } else if (type == "Metaspace") {
    GALLEY_ASSIGN_OR_RETURN(const std::string replacement,
                            string_field(*object, "replacement", where));
    GALLEY_ASSIGN_OR_RETURN(const std::string scheme,
                            string_field(*object, "prepend_scheme", where, "always"));
    replacements_.emplace_back(Pattern::literal(replacement), " ");
    strip_text_ = std::string(1, ' ');
    strip_count_ = scheme == "never" ? 0 : 1;
  } else {
    return {Code::kInvalid, where + ": decoder type '" + type + "' is not supported"};
  }
  return {};
}

Status Decoder::add_strip(const boost::json::object& object, const std::string& where) {
  GALLEY_ASSIGN_OR_RETURN(strip_text_, string_field(object, "content", where));
  GALLEY_ASSIGN_OR_RETURN(const int64_t start, int_field(object, "start", where));
  GALLEY_ASSIGN_OR_RETURN(const int64_t stop, int_field(object, "stop", where));
  if (!fused_ || stop != 0 || start < 0 || start > 16 || strip_text_.empty()) {
    return {Code::kInvalid,
            where + ": Strip is supported after Fuse, with start 0 to 16 and stop 0"};
  }
  strip_count_ = static_cast<size_t>(start);
  return {};
}

Result<std::string> Decoder::bytes_of(std::string_view token) const {
  std::string text(token);
  for (const auto& [pattern, content] : replacements_) {
    std::vector<Span> spans;
    MatchBudget budget = {100'000};
    GALLEY_RETURN_IF_ERROR(pattern.find_all(text, budget, spans));
    std::string out;
    size_t at = 0;
    for (const Span& span : spans) {
      out.append(text, at, span.begin - at);
      out.append(content);
      at = span.end;
    }
    out.append(text, at);
    text = std::move(out);
  }
  if (byte_fallback_) {
    if (const std::optional<char> byte = fallback_byte(text)) return std::string(1, *byte);
  }
  if (byte_level_) {
    if (std::optional<std::string> bytes = from_byte_symbols(text)) return *std::move(bytes);
  }
  return text;
}

}  // namespace galley::text
