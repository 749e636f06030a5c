#include "base/hash.h"

#include <bit>
#include <cstring>
#include <random>

namespace galley {
namespace {

static_assert(std::endian::native == std::endian::little, "words are read as they lie in memory");

struct SipState {
  uint64_t v0, v1, v2, v3;

  void rounds(int count) {
    for (int i = 0; i < count; ++i) {
      v0 += v1;
      v1 = std::rotl(v1, 13) ^ v0;
      v0 = std::rotl(v0, 32);
      v2 += v3;
      v3 = std::rotl(v3, 16) ^ v2;
      v0 += v3;
      v3 = std::rotl(v3, 21) ^ v0;
      v2 += v1;
      v1 = std::rotl(v1, 17) ^ v2;
      v2 = std::rotl(v2, 32);
    }
  }

  void absorb(uint64_t word) {
    v3 ^= word;
    rounds(2);
    v0 ^= word;
  }
};

}  // namespace

Hash128 siphash128(const HashKey& key, std::span<const std::byte> data) {
  SipState state{.v0 = key.k0 ^ 0x736f6d6570736575u,
                 .v1 = key.k1 ^ 0x646f72616e646f6du ^ 0xee,
                 .v2 = key.k0 ^ 0x6c7967656e657261u,
                 .v3 = key.k1 ^ 0x7465646279746573u};
  const size_t num_words = data.size() / 8;
  for (size_t i = 0; i < num_words; ++i) {
    uint64_t word;
    std::memcpy(&word, data.data() + 8 * i, 8);
    state.absorb(word);
  }
  uint64_t tail = 0;
  if (data.size() % 8 != 0) std::memcpy(&tail, data.data() + 8 * num_words, data.size() % 8);
  state.absorb(tail | (uint64_t{data.size()} << 56));

  Hash128 hash;
  state.v2 ^= 0xee;
  state.rounds(4);
  hash.low = state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
  state.v1 ^= 0xdd;
  state.rounds(4);
  hash.high = state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
  return hash;
}

HashKey random_hash_key() {
  std::random_device device;
  const auto word = [&] { return (uint64_t{device()} << 32) | device(); };
  return {.k0 = word(), .k1 = word()};
}

}  // namespace galley
