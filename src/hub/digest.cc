#include "hub/digest.h"

#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace galley::hub {

struct Digest::Impl {
  EVP_MD_CTX* context = EVP_MD_CTX_new();
  ~Impl() { EVP_MD_CTX_free(context); }
};

Digest::Digest(Kind kind) : impl_(std::make_unique<Impl>()) {
  const EVP_MD* type = kind == Kind::kSha256 ? EVP_sha256() : EVP_sha1();
  GALLEY_CHECK(impl_->context != nullptr && EVP_DigestInit_ex(impl_->context, type, nullptr) == 1,
               "OpenSSL has SHA-1 and SHA-256");
}
Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::add(std::string_view bytes) {
  GALLEY_CHECK(EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()) == 1, "hashing");
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> bytes;
  unsigned int size = 0;
  GALLEY_CHECK(EVP_DigestFinal_ex(impl_->context, bytes.data(), &size) == 1, "hashing");
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (unsigned int i = 0; i < size; ++i) {
    out += kHex[bytes[i] >> 4];
    out += kHex[bytes[i] & 15];
  }
  return out;
}

}  // namespace galley::hub
