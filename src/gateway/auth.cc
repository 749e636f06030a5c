#include "gateway/auth.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace galley::gateway {
namespace {

std::array<unsigned char, 32> digest_of(std::string_view text) {
  std::array<unsigned char, 32> digest;
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  return digest;
}

bool is_bearer(std::string_view scheme) {
  constexpr std::string_view kBearer = "bearer ";
  if (scheme.size() != kBearer.size()) return false;
  for (size_t i = 0; i < scheme.size(); ++i) {
    const char c = scheme[i];
    const char lower = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
    if (lower != kBearer[i]) return false;
  }
  return true;
}

}  // namespace

ApiKeys::ApiKeys(const std::vector<std::string>& keys) {
  for (const std::string& key : keys) digests_.push_back(digest_of(key));
}

bool ApiKeys::accepts(std::string_view authorization) const {
  constexpr size_t kSchemeBytes = 7;
  if (!is_bearer(authorization.substr(0, kSchemeBytes))) return false;
  const Digest given = digest_of(authorization.substr(kSchemeBytes));
  int found = 0;
  for (const Digest& digest : digests_)
    found |= CRYPTO_memcmp(given.data(), digest.data(), digest.size()) == 0 ? 1 : 0;
  return found != 0;
}

}  // namespace galley::gateway
