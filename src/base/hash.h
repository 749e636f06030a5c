// SipHash-2-4 with a 128-bit result: a keyed hash. Whoever does not know the key can neither find
// colliding inputs nor guess a name, so names made of a client's tokens cannot be forged.
//
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF" (2012), and the 128-bit form of
// the authors' reference implementation, whose test vectors hash_test.cc has.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace galley {

struct HashKey {
  uint64_t k0 = 0, k1 = 0;
};

struct Hash128 {
  uint64_t low = 0, high = 0;
  bool operator==(const Hash128&) const = default;
};

// `low` holds the first eight bytes of the result, little-endian.
Hash128 siphash128(const HashKey& key, std::span<const std::byte> data);

// Unpredictable; from the operating system. Start-up only.
HashKey random_hash_key();

}  // namespace galley
