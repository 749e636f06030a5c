// LengthEstimator: how long an answer will be, from those the tenant got before.
//
// A histogram of output lengths for each tenant, in buckets that grow by 2^(1/4), so a quantile is
// right to 19 %; halved every kHalveEvery answers, so that it follows a change. While a tenant has
// fewer than kTrustedAfter answers everybody's are asked instead; while nobody has any, `prior`.
// The length of an answer that runs is asked again, given that it is longer than what is there.
// A tenant whose answers mostly run to the most they may have, because it asks for exactly what it
// wants, is expected to go on so.
//
// Pure. Bounded: beyond tenants_max the tenant unseen for longest is forgotten.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <unordered_map>

namespace galley::gateway {

class LengthEstimator {
 public:
  static constexpr size_t kBuckets = 80;  // up to 2^20 tokens
  static constexpr double kTrustedAfter = 16;
  static constexpr int32_t kHalveEvery = 512;
  static constexpr int32_t kUnbounded = std::numeric_limits<int32_t>::max();
  static constexpr double kExact = 0.9;  // share of answers at their maximum that says so

  explicit LengthEstimator(size_t tenants_max = 4096, double prior = 128)
      : tenants_max_(tenants_max), prior_(prior) {}

  // `max`: the most it may have had.
  void observe(uint64_t tenant, int32_t output_tokens, int32_t max = kUnbounded);
  // The `q` quantile (0 to 1) of the length of an answer that has `so_far` tokens already and may
  // have `max`. Above `so_far`, unless `max` is reached.
  double quantile(uint64_t tenant, double q, int32_t so_far, int32_t max) const;

  size_t tenants() const { return tenants_.size(); }

 private:
  struct Lengths {
    std::array<double, kBuckets> counts{};
    double total = 0, at_max = 0;
    int32_t since_halved = 0;
    uint64_t seen = 0;

    void add(int32_t tokens, bool is_max);
    // Negative: no answer was longer than `so_far`.
    double quantile(double q, int32_t so_far) const;
  };

  const size_t tenants_max_;
  const double prior_;
  std::unordered_map<uint64_t, Lengths> tenants_;
  Lengths all_;
  uint64_t observations_ = 0;
};

}  // namespace galley::gateway
