// Steps over a paged cache, and attention in double over what the cache really holds.
#pragma once

#include <algorithm>
#include <numeric>

#include "kernels/cpu/cache_rows.h"
#include "kernels/testing/ops_fixture.h"

namespace galley::kernels::testing {

// A paged cache with its blocks dealt out in a random order, all of it garbage at first: NaN, so
// that reading a row nobody wrote cannot pass.
struct PagedCache {
  PagedCache(Random& random, CacheFormat format, int32_t width, int32_t latent_dim,
             std::vector<int32_t> contexts_in)
      : contexts(std::move(contexts_in)) {
    for (const int32_t context : contexts)
      table_ld = std::max(table_ld, (context + kBlockTokens - 1) / kBlockTokens);
    const auto num_sequences = static_cast<int32_t>(contexts.size());
    layer.num_blocks = num_sequences * table_ld + 3;
    layer.format = format;
    layer.width = width;
    layer.row_bytes = cpu::cache_row_bytes(format, width, latent_dim);
    bytes.assign(static_cast<size_t>(layer.num_blocks * kBlockTokens * layer.row_bytes),
                 std::byte{0xff});
    layer.data = bytes.data();
    std::vector<int32_t> order(static_cast<size_t>(layer.num_blocks));
    std::iota(order.begin(), order.end(), 0);
    for (size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[static_cast<size_t>(random.below(static_cast<int64_t>(i)))]);
    table.assign(order.begin(), order.begin() + num_sequences * table_ld);
  }
  int32_t slot(int64_t sequence, int64_t position) const {
    return table[static_cast<size_t>(sequence * table_ld + position / kBlockTokens)] *
               kBlockTokens +
           static_cast<int32_t>(position % kBlockTokens);
  }

  std::vector<int32_t> contexts;
  int32_t table_ld = 1;
  std::vector<int32_t> table;
  std::vector<std::byte> bytes;
  CacheLayer layer;
};

// The step that computes positions [begin[s], end[s]) of each sequence.
struct Step {
  Step(const PagedCache& cache, std::vector<int32_t> sequences_in,
       const std::vector<int32_t>& begins, const std::vector<int32_t>& ends)
      : sequences(std::move(sequences_in)) {
    query_begin.push_back(0);
    for (size_t i = 0; i < sequences.size(); ++i) {
      const int32_t s = sequences[i];
      for (int32_t p = begins[i]; p < ends[i]; ++p) {
        positions.push_back(p);
        slots.push_back(cache.slot(s, p));
        owners.push_back(s);
      }
      query_begin.push_back(static_cast<int32_t>(positions.size()));
      context_len.push_back(ends[i]);
      const auto row = cache.table.begin() + s * cache.table_ld;
      table.insert(table.end(), row, row + cache.table_ld);
      batch.query_len_max = std::max(batch.query_len_max, ends[i] - begins[i]);
      batch.context_len_max = std::max(batch.context_len_max, ends[i]);
    }
    batch.num_tokens = static_cast<int32_t>(positions.size());
    batch.num_sequences = static_cast<int32_t>(sequences.size());
    batch.query_begin = query_begin.data();
    batch.context_len = context_len.data();
    batch.positions = positions.data();
    batch.slots = slots.data();
    batch.block_table = table.data();
    batch.block_table_ld = cache.table_ld;
  }
  Step(const Step&) = delete;
  Step& operator=(const Step&) = delete;

  std::vector<int32_t> sequences, query_begin, context_len, positions, slots, table;
  std::vector<int32_t> owners;  // sequence of each token
  StepBatch batch;
};

// Every position of every sequence.
inline std::unique_ptr<Step> whole_step(const PagedCache& cache) {
  std::vector<int32_t> sequences(cache.contexts.size()), zeros(cache.contexts.size(), 0);
  std::iota(sequences.begin(), sequences.end(), 0);
  return std::make_unique<Step>(cache, sequences, zeros, cache.contexts);
}

// Rows of `whole`, as matrix rows, that belong to the tokens of `step`.
inline Dense rows_of(const Dense& whole, const Step& whole_of, const Step& step) {
  Dense out(step.batch.num_tokens, whole.cols);
  for (int64_t t = 0; t < out.rows; ++t) {
    const auto at = static_cast<size_t>(t);
    const int64_t from =
        whole_of.query_begin[static_cast<size_t>(step.owners[at])] + step.positions[at];
    std::copy_n(whole.row(from).begin(), whole.cols, out.values.begin() + t * out.ld);
  }
  return out;
}

// What a row of the cache means.
inline std::vector<float> cache_values(const PagedCache& cache, int64_t slot, int64_t latent_dim) {
  const std::byte* row = cache.bytes.data() + slot * cache.layer.row_bytes;
  std::vector<float> out(static_cast<size_t>(cache.layer.width));
  const auto bf16_at = [](const std::byte* p) {
    uint16_t bits;
    std::memcpy(&bits, p, 2);
    return bf16_to_f32(bits);
  };
  for (int64_t i = 0; i < cache.layer.width; ++i) {
    float& value = out[static_cast<size_t>(i)];
    if (cache.layer.format == CacheFormat::kF32) {
      std::memcpy(&value, row + i * 4, 4);
    } else if (cache.layer.format == CacheFormat::kBF16) {
      value = bf16_at(row + i * 2);
    } else if (i < latent_dim) {
      float scale;
      std::memcpy(&scale, row + latent_dim + i / 128 * 4, 4);
      value = e4m3_to_f32(static_cast<uint8_t>(row[i])) * scale;
    } else {
      value = bf16_at(row + latent_dim + (latent_dim + 127) / 128 * 4 + (i - latent_dim) * 2);
    }
  }
  return out;
}

struct Rope {
  Rope(int32_t positions, int32_t half_dim, bool interleaved)
      : cos(static_cast<size_t>(positions * half_dim)), sin(cos.size()) {
    for (int32_t p = 0; p < positions; ++p) {
      for (int32_t i = 0; i < half_dim; ++i) {
        const double angle = p * std::pow(10000.0, -double(i) / double(half_dim));
        const auto at =
            static_cast<size_t>(p) * static_cast<size_t>(half_dim) + static_cast<size_t>(i);
        cos[at] = static_cast<float>(std::cos(angle));
        sin[at] = static_cast<float>(std::sin(angle));
      }
    }
    table = {
        .cos = cos.data(), .sin = sin.data(), .half_dim = half_dim, .interleaved = interleaved};
  }
  // Of x [2 * half_dim] at `position`, by complex multiplication.
  std::vector<float> rotated(std::span<const float> x, int32_t position) const {
    std::vector<float> out(x.size());
    const auto half = static_cast<size_t>(table.half_dim);
    for (size_t i = 0; i < half; ++i) {
      const size_t a = table.interleaved ? 2 * i : i, b = table.interleaved ? 2 * i + 1 : i + half;
      const size_t at = static_cast<size_t>(position) * half + i;
      const double c = double{cos[at]}, s = double{sin[at]};
      out[a] = static_cast<float>(double{x[a]} * c - double{x[b]} * s);
      out[b] = static_cast<float>(double{x[a]} * s + double{x[b]} * c);
    }
    return out;
  }

  std::vector<float> cos, sin;
  RopeTable table;
};

// softmax(scale * q k) v of one head, in double. keys and values: one span for each position.
inline std::vector<float> naive_attention(std::span<const double> q,
                                          const std::vector<std::vector<double>>& keys,
                                          const std::vector<std::vector<double>>& values,
                                          double scale) {
  std::vector<double> scores;
  for (const auto& key : keys) {
    double dot = 0.0;
    for (size_t i = 0; i < q.size(); ++i) dot += q[i] * key[i];
    scores.push_back(dot * scale);
  }
  const double max = *std::max_element(scores.begin(), scores.end());
  double sum = 0.0;
  for (double& s : scores) sum += s = std::exp(s - max);
  std::vector<float> out;
  for (size_t d = 0; d < values[0].size(); ++d) {
    double value = 0.0;
    for (size_t j = 0; j < values.size(); ++j) value += scores[j] / sum * values[j][d];
    out.push_back(static_cast<float>(value));
  }
  return out;
}

}  // namespace galley::kernels::testing
