#include "gateway/length_estimator.h"

#include <algorithm>
#include <cmath>

namespace galley::gateway {
namespace {

// Bucket i holds lengths of (2^((i-1)/4), 2^(i/4)].
size_t bucket_of(double tokens) {
  if (tokens <= 1) return 0;
  return std::min(static_cast<size_t>(std::ceil(std::log2(tokens) * 4 - 1e-9)),
                  LengthEstimator::kBuckets - 1);
}

double upper_bound(size_t bucket) {
  return std::exp2(static_cast<double>(bucket) / 4);
}

}  // namespace

void LengthEstimator::Lengths::add(int32_t tokens, bool is_max) {
  counts[bucket_of(tokens)] += 1;
  total += 1;
  at_max += is_max;
  if (++since_halved < kHalveEvery) return;
  since_halved = 0;
  for (double& count : counts) count /= 2;
  total /= 2;
  at_max /= 2;
}

double LengthEstimator::Lengths::quantile(double q, int32_t so_far) const {
  const size_t first = so_far > 0 ? bucket_of(so_far + 1.0) : 0;
  double longer = 0;
  for (size_t i = first; i < kBuckets; ++i) longer += counts[i];
  if (longer <= 0) return -1;
  double passed = 0;
  for (size_t i = first; i < kBuckets; ++i) {
    passed += counts[i];
    if (passed >= q * longer && counts[i] > 0) return upper_bound(i);
  }
  return upper_bound(kBuckets - 1);
}

void LengthEstimator::observe(uint64_t tenant, int32_t output_tokens, int32_t max) {
  if (tenants_.size() >= tenants_max_ && !tenants_.contains(tenant)) {
    tenants_.erase(std::min_element(
        tenants_.begin(), tenants_.end(),
        [](const auto& a, const auto& b) { return a.second.seen < b.second.seen; }));
  }
  Lengths& own = tenants_[tenant];
  own.seen = ++observations_;
  own.add(std::max(output_tokens, 1), output_tokens >= max);
  all_.add(std::max(output_tokens, 1), output_tokens >= max);
}

double LengthEstimator::quantile(uint64_t tenant, double q, int32_t so_far, int32_t max) const {
  const auto found = tenants_.find(tenant);
  const bool trusted = found != tenants_.end() && found->second.total >= kTrustedAfter;
  if (trusted && found->second.at_max >= kExact * found->second.total) return max;
  double tokens = trusted ? found->second.quantile(q, so_far) : -1;
  if (tokens < 0) tokens = all_.quantile(q, so_far);
  // Beyond all that was ever seen: what is there again.
  if (tokens < 0) tokens = so_far == 0 ? prior_ : 2.0 * so_far;
  return std::clamp(tokens, std::min(so_far + 1.0, static_cast<double>(max)),
                    static_cast<double>(max));
}

}  // namespace galley::gateway
