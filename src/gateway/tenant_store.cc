#include "gateway/tenant_store.h"

#include <openssl/sha.h>

#include <algorithm>
#include <cstdlib>

namespace galley::gateway {

KeyDigest digest_of_key(std::string_view key) {
  KeyDigest digest;
  SHA256(reinterpret_cast<const unsigned char*>(key.data()), key.size(), digest.data());
  return digest;
}

int64_t cost_pico(const Tier& tier, int64_t prompt_tokens, int64_t cached_tokens,
                  int64_t output_tokens) {
  return (prompt_tokens - cached_tokens) * tier.price_input + cached_tokens * tier.price_cached +
         output_tokens * tier.price_output;
}

Result<int64_t> parse_money(std::string_view text) {
  const auto wrong = [&text] {
    return Status(Code::kInvalid, "'" + std::string(text) +
                                      "' is not an amount: digits, and up to 12 after a point, "
                                      "within " +
                                      std::to_string(kBalanceUnitsMax));
  };
  std::string_view rest = text;
  const bool negative = rest.starts_with('-');
  if (negative) rest.remove_prefix(1);
  const size_t point = std::min(rest.find('.'), rest.size());
  const std::string_view whole = rest.substr(0, point);
  const std::string_view part = point < rest.size() ? rest.substr(point + 1) : "";
  const auto digits = [](std::string_view s) {
    return std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  };
  if (whole.empty() || whole.size() > 7 || part.size() > 12 || !digits(whole) || !digits(part))
    return wrong();
  std::string padded(part);
  padded.resize(12, '0');
  const int64_t pico = std::strtoll(std::string(whole).c_str(), nullptr, 10) * kPicoPerUnit +
                       std::strtoll(padded.c_str(), nullptr, 10);
  if (pico > kBalanceUnitsMax * kPicoPerUnit) return wrong();
  return negative ? -pico : pico;
}

std::string format_money(int64_t pico) {
  const int64_t magnitude = pico < 0 ? -pico : pico;
  std::string part = std::to_string(magnitude % kPicoPerUnit);
  part.insert(0, 12 - part.size(), '0');
  while (part.size() > 2 && part.back() == '0') part.pop_back();
  return (pico < 0 ? "-" : "") + std::to_string(magnitude / kPicoPerUnit) + "." + part;
}

}  // namespace galley::gateway
