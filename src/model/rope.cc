#include "model/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace galley::model {
namespace {

// The factor by which YaRN sharpens attention when the context grows by `factor`.
double yarn_m(double factor, double mscale) {
  return factor <= 1.0 ? 1.0 : 0.1 * mscale * std::log(factor) + 1.0;
}

double yarn_amplitude(const RopeConfig& config) {
  if (config.attention_factor.has_value()) return *config.attention_factor;
  return yarn_m(config.factor, config.mscale.value_or(1.0)) /
         yarn_m(config.factor, config.mscale_all_dim);
}

// Pairs that turn often over the original context keep their frequency, those that turn less than
// once are slowed by `factor`, and a ramp lies between.
void apply_yarn(const RopeConfig& config, int32_t width, RopeFrequencies* frequencies) {
  const auto pair_that_turns = [&](double turns) {
    return width * std::log(double(config.original_positions) / (turns * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(config.theta));
  };
  double low = pair_that_turns(config.beta_fast), high = pair_that_turns(config.beta_slow);
  if (config.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, width - 1.0);
  if (low == high) high += 0.001;  // no division by zero
  for (size_t i = 0; i < frequencies->per_pair.size(); ++i) {
    const double slowed = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    double* const f = &frequencies->per_pair[i];
    *f = *f / config.factor * slowed + *f * (1.0 - slowed);
  }
  frequencies->amplitude = yarn_amplitude(config);
}

// Wavelengths below original / high_freq_factor stay, above original / low_freq_factor they are
// stretched by `factor`, and between them the two are blended.
void apply_llama3(const RopeConfig& config, RopeFrequencies* frequencies) {
  const double original = static_cast<double>(config.original_positions);
  for (double& f : frequencies->per_pair) {
    const double wavelength = 2.0 * std::numbers::pi / f;
    const double smooth = std::clamp((original / wavelength - config.low_freq_factor) /
                                         (config.high_freq_factor - config.low_freq_factor),
                                     0.0, 1.0);
    f = f / config.factor * (1.0 - smooth) + f * smooth;
  }
}

}  // namespace

RopeFrequencies rope_frequencies(const RopeConfig& config, int32_t width) {
  RopeFrequencies frequencies;
  for (int32_t i = 0; i < width; i += 2)
    frequencies.per_pair.push_back(std::pow(config.theta, -static_cast<double>(i) / width));
  switch (config.type) {
    case RopeType::kDefault:
      break;
    case RopeType::kLinear:
      for (double& f : frequencies.per_pair) f /= config.factor;
      break;
    case RopeType::kYarn:
      apply_yarn(config, width, &frequencies);
      break;
    case RopeType::kLlama3:
      apply_llama3(config, &frequencies);
      break;
  }
  return frequencies;
}

double rope_score_scale(const RopeConfig& config) {
  if (config.type != RopeType::kYarn || config.mscale_all_dim == 0.0) return 1.0;
  const double m = yarn_m(config.factor, config.mscale_all_dim);
  return m * m;
}

int64_t rope_table_bytes(int32_t width, int32_t positions) {
  return int64_t{positions} * width * static_cast<int64_t>(sizeof(float));
}

Result<kernels::RopeTable> make_rope_table(const RopeConfig& config, int32_t width,
                                           int32_t positions, kernels::Ops* ops) {
  const RopeFrequencies frequencies = rope_frequencies(config, width);
  const size_t half = frequencies.per_pair.size();
  const size_t count = half * static_cast<size_t>(positions);
  auto* const cos = static_cast<float*>(ops->allocate(count * sizeof(float)));
  auto* const sin = static_cast<float*>(ops->allocate(count * sizeof(float)));
  if (cos == nullptr || sin == nullptr) {
    return Status(Code::kTooLarge, "rotary tables of " +
                                       std::to_string(rope_table_bytes(width, positions)) +
                                       " bytes do not fit: lower --max-model-len");
  }
  std::vector<float> cos_row(half), sin_row(half);
  for (size_t position = 0; position < static_cast<size_t>(positions); ++position) {
    for (size_t i = 0; i < half; ++i) {
      const double angle = static_cast<double>(position) * frequencies.per_pair[i];
      cos_row[i] = static_cast<float>(std::cos(angle) * frequencies.amplitude);
      sin_row[i] = static_cast<float>(std::sin(angle) * frequencies.amplitude);
    }
    ops->upload(cos + position * half, cos_row.data(), half * sizeof(float));
    ops->upload(sin + position * half, sin_row.data(), half * sizeof(float));
  }
  return kernels::RopeTable{.cos = cos,
                            .sin = sin,
                            .half_dim = static_cast<int32_t>(half),
                            .interleaved = config.interleaved};
}

}  // namespace galley::model
