// From logits to a token on the device; kernels/sampling.h states the rules.
//
// One block is one row. Probabilities are summed as integers (units of 2^-40 of the largest), so
// every sum is exact and no order matters. top_k and top_p end in one Cut, the last token that
// stays in the order (larger probability, then lower id), found by a radix search over the bits of
// the probabilities; the draw then goes through the ids in their order.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "kernels/cuda/convert.cuh"
#include "kernels/cuda/cuda_ops.h"

namespace galley::kernels::cuda {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kBuckets = 256;
constexpr float kUnit = 1099511627776.0f;  // 2^40

// One change of a logit. Lists of a row lie one after the other: bias, penalties, bans.
struct Edit {
  int32_t token;
  float bias;
  int32_t in_output;
  bool seen;
};

struct Row {
  float inverse_temperature;  // 0: greedy
  float top_p, min_p;
  int32_t top_k;
  float presence, frequency, repetition;
  uint32_t draw;  // 24 bits
  int32_t num_logprobs, target;
  int32_t bias_begin, penalty_begin, ban_begin, edit_end;
  int32_t mask_begin;  // first word, or -1
};

// What a thread block knows of its row.
struct Logits {
  float* values;
  int size;
  const uint32_t* mask;  // null: all allowed

  __device__ bool allowed(int i) const {
    return mask == nullptr || (mask[i / 32] >> (i % 32) & 1u) != 0;
  }
  __device__ float at(int i) const { return allowed(i) ? values[i] : -INFINITY; }
};

// Orders as floats do; NaN is -infinity.
__device__ uint32_t ordered_bits(float v) {
  if (isnan(v)) v = -INFINITY;
  const uint32_t bits = __float_as_uint(v);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}
__device__ float from_ordered_bits(uint32_t bits) {
  return __uint_as_float(bits & 0x80000000u ? bits & 0x7fffffffu : ~bits);
}

// Block-wide reductions of 64-bit integers; every thread gets the result.
template <typename Combine>
__device__ uint64_t block_reduce(uint64_t v, uint64_t* shared, Combine combine) {
  for (int offset = 16; offset > 0; offset /= 2)
    v = combine(v, __shfl_xor_sync(0xffffffffu, v, offset));
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  if (threadIdx.x < 32) {
    uint64_t all = shared[threadIdx.x];
    for (int offset = 16; offset > 0; offset /= 2)
      all = combine(all, __shfl_xor_sync(0xffffffffu, all, offset));
    if (threadIdx.x == 0) shared[kWarps] = all;
  }
  __syncthreads();
  return shared[kWarps];
}
__device__ uint64_t block_add(uint64_t v, uint64_t* shared) {
  return block_reduce(v, shared, [](uint64_t a, uint64_t b) { return a + b; });
}
__device__ uint64_t block_max64(uint64_t v, uint64_t* shared) {
  return block_reduce(v, shared, [](uint64_t a, uint64_t b) { return a > b ? a : b; });
}
__device__ double block_add_double(double v, uint64_t* shared) {
  return __longlong_as_double(static_cast<int64_t>(block_reduce(
      static_cast<uint64_t>(__double_as_longlong(v)), shared, [](uint64_t a, uint64_t b) {
        return static_cast<uint64_t>(
            __double_as_longlong(__longlong_as_double(static_cast<int64_t>(a)) +
                                 __longlong_as_double(static_cast<int64_t>(b))));
      })));
}

// The best (value, lowest id) as one number: compare as integers.
__device__ uint64_t candidate(float value, int id) {
  return static_cast<uint64_t>(ordered_bits(value)) << 32 |
         (0xffffffffu - static_cast<uint32_t>(id));
}
__device__ float value_of(uint64_t c) {
  return from_ordered_bits(static_cast<uint32_t>(c >> 32));
}
__device__ int id_of(uint64_t c) {
  return static_cast<int>(0xffffffffu - static_cast<uint32_t>(c));
}

// Probability relative to the largest, of tokens that may be drawn at all; else 0.
struct Weights {
  Logits logits;
  float max, inverse_temperature, lowest;

  __device__ float at(int i) const {
    const float p = expf((logits.at(i) - max) * inverse_temperature);
    return p >= lowest ? p : 0.0f;  // false for NaN
  }
};

__device__ uint64_t units(float p) {
  return static_cast<uint64_t>(p * kUnit);
}

struct Cut {
  uint32_t bits;  // of the probability
  int32_t token;
  __device__ bool keeps(float p, int id) const {
    const uint32_t b = __float_as_uint(p);
    return b > bits || (b == bits && b != 0 && id <= token);
  }
};

// The id of the `count`-th token, by id, whose probability is exactly `bits` and that `cut` keeps.
__device__ int nth_equal(const Weights& weights, const Cut& cut, uint32_t bits, uint64_t count,
                         uint64_t* shared) {
  const int size = weights.logits.size, each = (size + kThreads - 1) / kThreads;
  const int begin = min(size, static_cast<int>(threadIdx.x) * each), end = min(size, begin + each);
  const auto matches = [&](int i) {
    const float p = weights.at(i);
    return __float_as_uint(p) == bits && cut.keeps(p, i);
  };
  uint64_t own = 0;
  for (int i = begin; i < end; ++i) own += matches(i) ? 1 : 0;
  // Exclusive prefix over the threads: within the warp, then over the warps.
  uint64_t before = own;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, before, offset);
    if (threadIdx.x % 32 >= static_cast<unsigned>(offset)) before += other;
  }
  __syncthreads();
  if (threadIdx.x % 32 == 31) shared[threadIdx.x / 32] = before;
  if (threadIdx.x == 0) shared[kWarps] = static_cast<uint64_t>(size);
  __syncthreads();
  before -= own;
  for (int w = 0; w < static_cast<int>(threadIdx.x / 32); ++w) before += shared[w];
  if (before < count && count <= before + own) {
    for (int i = begin; i < end; ++i) {
      if (matches(i) && ++before == count) shared[kWarps] = static_cast<uint64_t>(i);
    }
  }
  __syncthreads();
  return static_cast<int>(shared[kWarps]);
}

// The last candidate of the smallest set of best ones whose measure (a token's count of 1, or its
// probability) reaches `target`. The measures of all that `cut` keeps reach it.
template <bool kCounts>
__device__ Cut reach(const Weights& weights, const Cut& cut, uint64_t target,
                     unsigned long long* histogram, uint64_t* shared) {
  uint32_t prefix = 0, known = 0;  // the bits found so far, and which they are
  uint64_t above = 0;              // the measure of everything above the prefix
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int b = threadIdx.x; b < kBuckets; b += kThreads) histogram[b] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < weights.logits.size; i += kThreads) {
      const float p = weights.at(i);
      const uint32_t bits = __float_as_uint(p);
      if (bits == 0 || (bits & known) != prefix || !cut.keeps(p, i)) continue;
      atomicAdd(&histogram[bits >> shift & 0xffu],
                static_cast<unsigned long long>(kCounts ? uint64_t{1} : units(p)));
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int bucket = kBuckets - 1;
      uint64_t sum = above;
      int last = -1;  // the lowest bucket that holds anything
      for (;; --bucket) {
        if (histogram[bucket] > 0) last = bucket;
        if (sum + histogram[bucket] >= target && histogram[bucket] > 0) break;
        if (bucket == 0) {  // rounding: everything stays
          bucket = last;
          sum -= histogram[bucket];
          break;
        }
        sum += histogram[bucket];
      }
      shared[0] = static_cast<uint64_t>(bucket);
      shared[1] = sum;
    }
    __syncthreads();
    prefix |= static_cast<uint32_t>(shared[0]) << shift;
    known |= 0xffu << shift;
    above = shared[1];
    __syncthreads();
  }
  // Of those with exactly this probability the lowest ids stay.
  const uint64_t each = kCounts ? 1 : units(__uint_as_float(prefix));
  const uint64_t missing = target > above ? target - above : 1;
  const uint64_t count = each == 0 ? uint64_t{1} << 40 : (missing + each - 1) / each;
  return {prefix, nth_equal(weights, cut, prefix, count, shared)};
}

// The token at `draw` / 2^24 of the cumulated probabilities of those that stay, by id.
__device__ int draw_token(const Weights& weights, const Cut& cut, uint32_t draw, uint64_t* shared) {
  __shared__ uint64_t sums[kWarps];
  const int size = weights.logits.size, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int segment = (size + kWarps - 1) / kWarps;
  const auto weight = [&](int i) {
    const float p = weights.at(i);
    return cut.keeps(p, i) ? units(p) : uint64_t{0};
  };
  uint64_t own = 0;
  const int end = min(size, (warp + 1) * segment);
  for (int i = warp * segment + lane; i < end; i += 32) own += weight(i);
  for (int offset = 16; offset > 0; offset /= 2) own += __shfl_xor_sync(0xffffffffu, own, offset);
  if (lane == 0) sums[warp] = own;
  __syncthreads();
  uint64_t total = 0;
  for (int w = 0; w < kWarps; ++w) total += sums[w];
  uint64_t target = (total >> 24) * draw + ((total & 0xffffffu) * draw >> 24);
  if (target >= total) target = total - 1;
  int at = 0;
  uint64_t before = 0;
  while (at + 1 < kWarps && before + sums[at] <= target) before += sums[at++];
  // Within the segment each thread sums a run of ids.
  const int first = at * segment, last = min(size, first + segment);
  const int each = (segment + kThreads - 1) / kThreads;
  const int begin = min(last, first + static_cast<int>(threadIdx.x) * each);
  const int stop = min(last, begin + each);
  own = 0;
  for (int i = begin; i < stop; ++i) own += weight(i);
  uint64_t upto = own;
  for (int offset = 1; offset < 32; offset *= 2) {
    const uint64_t other = __shfl_up_sync(0xffffffffu, upto, offset);
    if (lane >= offset) upto += other;
  }
  __syncthreads();
  if (lane == 31) sums[warp] = upto;
  if (threadIdx.x == 0) shared[kWarps] = 0;
  __syncthreads();
  upto += before - own;
  for (int w = 0; w < warp; ++w) upto += sums[w];
  if (upto <= target && target < upto + own) {
    for (int i = begin; i < stop; ++i) {
      upto += weight(i);
      if (target < upto) {
        shared[kWarps] = static_cast<uint64_t>(i);
        break;
      }
    }
  }
  __syncthreads();
  return static_cast<int>(shared[kWarps]);
}

__device__ float as_number(float logit) {
  return isnan(logit) ? -INFINITY : fminf(logit, 3.402823466e+38f);
}

__device__ float logprob_of(float logit, float max, double log_sum) {
  const double value = static_cast<double>(as_number(logit)) - static_cast<double>(max) - log_sum;
  return value > static_cast<double>(kLogprobLowest) ? static_cast<float>(value) : kLogprobLowest;
}

// Rank, log-probability and the best tokens, from the raw logits.
__device__ void score(const float* values, int size, int wanted, SampleResult* result,
                      uint64_t* shared) {
  uint64_t best = 0;
  for (int i = threadIdx.x; i < size; i += kThreads)
    best = max(best, candidate(as_number(values[i]), i));
  best = block_max64(best, shared);
  const float top = value_of(best);
  double sum = 0.0;
  if (top != -INFINITY) {
    for (int i = threadIdx.x; i < size; i += kThreads) {
      const float e = expf(values[i] - top);
      if (e >= 0.0f) sum += static_cast<double>(fminf(e, 3.402823466e+38f));
    }
  }
  const double log_sum = log(block_add_double(sum, shared));
  const int count = min(min(wanted, kLogprobsMax), size);
  for (int n = 0; n < count; ++n) {
    if (n > 0) {
      const uint64_t previous = best;
      best = 0;
      for (int i = threadIdx.x; i < size; i += kThreads) {
        const uint64_t c = candidate(as_number(values[i]), i);
        if (c < previous) best = max(best, c);
      }
      best = block_max64(best, shared);
    }
    if (threadIdx.x == 0) result->top[n] = {id_of(best), logprob_of(value_of(best), top, log_sum)};
  }
  const int token = result->token;
  const bool inside = token >= 0 && token < size;
  const float own = inside ? as_number(values[token]) : 0.0f;
  uint64_t above = 0;
  if (inside) {
    for (int i = threadIdx.x; i < size; i += kThreads) above += values[i] > own ? 1 : 0;
  }
  above = block_add(above, shared);
  if (threadIdx.x != 0) return;
  result->num_top = count;
  result->logprob = inside ? logprob_of(own, top, log_sum) : kLogprobLowest;
  result->rank = inside ? static_cast<int>(above) + 1 : 0;
}

__global__ void __launch_bounds__(kThreads)
    sample_kernel(float* all_logits, int64_t ld, int size, const Row* rows, const Edit* edits,
                  float* originals, const uint32_t* masks, SampleResult* results, int32_t* tokens) {
  __shared__ uint64_t shared[kWarps + 1];
  __shared__ unsigned long long histogram[kBuckets];
  const Row row = rows[blockIdx.x];
  SampleResult* result = results + blockIdx.x;
  const Logits logits{all_logits + blockIdx.x * ld, size,
                      row.mask_begin < 0 ? nullptr : masks + row.mask_begin};
  if (threadIdx.x == 0) {
    result->token = row.target;
    tokens[blockIdx.x] = row.target;
    result->logprob = 0.0f;
    result->rank = 0;
    result->num_top = 0;
  }
  if (row.target < 0) {
    for (int e = row.bias_begin + threadIdx.x; e < row.edit_end; e += kThreads)
      originals[e] = logits.values[edits[e].token];
    __syncthreads();
    for (int e = row.bias_begin + threadIdx.x; e < row.penalty_begin; e += kThreads)
      atomicAdd(&logits.values[edits[e].token], edits[e].bias);
    __syncthreads();
    for (int e = row.penalty_begin + threadIdx.x; e < row.ban_begin; e += kThreads) {
      float& logit = logits.values[edits[e].token];
      if (edits[e].seen && row.repetition != 1.0f)
        logit = logit > 0.0f ? logit / row.repetition : logit * row.repetition;
      if (edits[e].in_output > 0) {
        logit -= row.frequency * static_cast<float>(edits[e].in_output);
        logit -= row.presence;
      }
    }
    __syncthreads();
    for (int e = row.ban_begin + threadIdx.x; e < row.edit_end; e += kThreads)
      logits.values[edits[e].token] = -INFINITY;
    __syncthreads();

    uint64_t best = 0;
    for (int i = threadIdx.x; i < size; i += kThreads) best = max(best, candidate(logits.at(i), i));
    best = block_max64(best, shared);
    const float top = value_of(best);
    int token = id_of(best);
    if (top == -INFINITY) {  // the lowest id that is neither masked nor banned
      uint64_t lowest = 0;
      for (int i = threadIdx.x; i < size; i += kThreads) {
        bool free = logits.allowed(i);
        for (int e = row.ban_begin; free && e < row.edit_end; ++e) free = edits[e].token != i;
        if (free) lowest = max(lowest, candidate(0.0f, i));
      }
      lowest = block_max64(lowest, shared);
      token = lowest == 0 ? -1 : id_of(lowest);
    } else if (row.inverse_temperature > 0.0f && !isinf(top)) {
      Weights weights{logits, top, row.inverse_temperature, fmaxf(row.min_p, 1e-45f)};
      const bool best_k = row.top_k > 0 && row.top_k < size;
      const auto total_of = [&](const Cut& cut) {
        uint64_t sum = 0;
        for (int i = threadIdx.x; i < size; i += kThreads) {
          const float p = weights.at(i);
          if (cut.keeps(p, i)) sum += units(p);
        }
        return block_add(sum, shared);
      };
      Cut cut{0, 0x7fffffff};
      if (best_k)
        cut = reach<true>(weights, cut, static_cast<uint64_t>(row.top_k), histogram, shared);
      if (row.top_p < 1.0f) {
        const uint64_t total = total_of(cut);
        if (!best_k && row.min_p == 0.0f) {
          // All tokens below this weigh less than 1 - top_p together: none is in the nucleus.
          const double share = (1.0 - static_cast<double>(row.top_p)) * static_cast<double>(total) /
                               static_cast<double>(kUnit) / static_cast<double>(size);
          weights.lowest = fmaxf(weights.lowest, static_cast<float>(share * 0.999));
        }
        const auto target =
            static_cast<uint64_t>(static_cast<double>(row.top_p) * static_cast<double>(total));
        cut = reach<false>(weights, cut, target > 0 ? target : 1, histogram, shared);
      }
      token = draw_token(weights, cut, row.draw, shared);
    }
    if (threadIdx.x == 0) {
      result->token = token;
      tokens[blockIdx.x] = token;
    }
    for (int e = row.bias_begin + threadIdx.x; e < row.edit_end; e += kThreads)
      logits.values[edits[e].token] = originals[e];
    __syncthreads();
  }
  __syncthreads();
  if (row.num_logprobs >= 0) score(logits.values, size, row.num_logprobs, result, shared);
}

__global__ void take_kernel(const int32_t* tokens, const int32_t* rows, int count, int32_t* ids) {
  const int i = static_cast<int>(threadIdx.x + blockIdx.x * blockDim.x);
  if (i < count) ids[i] = tokens[rows[i]];
}

// The changes of one row, in the order of the rules.
class EditList {
 public:
  void clear(int64_t vocab_size) {
    vocab_size_ = vocab_size;
    edits_.clear();
  }
  void add(const SampleRow& row, Row* to) {
    to->bias_begin = size();
    for (const auto& [token, bias] : row.logit_bias) push({.token = token, .bias = bias});
    to->penalty_begin = size();
    const bool penalties = row.presence_penalty != 0.0f || row.frequency_penalty != 0.0f ||
                           row.repetition_penalty != 1.0f;
    if (penalties) add_penalties(row);
    to->ban_begin = size();
    for (const int32_t token : row.banned) push({.token = token});
    to->edit_end = size();
  }
  const std::vector<Edit>& edits() const { return edits_; }

 private:
  int32_t size() const { return static_cast<int32_t>(edits_.size()); }
  void push(const Edit& edit) {
    if (edit.token >= 0 && edit.token < vocab_size_) edits_.push_back(edit);
  }
  void add_penalties(const SampleRow& row) {
    const auto times_pending = [&](int32_t token) {
      return static_cast<int32_t>(std::count(row.pending.begin(), row.pending.end(), token));
    };
    for (const TokenCount& count : row.counts) {
      const int32_t in_output = count.in_output + times_pending(count.token);
      push(
          {.token = count.token, .in_output = in_output, .seen = in_output > 0 || count.in_prompt});
    }
    for (size_t i = 0; i < row.pending.size(); ++i) {
      const int32_t token = row.pending[i];
      const auto earlier = row.pending.first(i);
      if (std::find(earlier.begin(), earlier.end(), token) != earlier.end()) continue;
      const bool counted = std::any_of(row.counts.begin(), row.counts.end(),
                                       [&](const TokenCount& c) { return c.token == token; });
      if (!counted) push({.token = token, .in_output = times_pending(token), .seen = true});
    }
  }

  int64_t vocab_size_ = 0;
  std::vector<Edit> edits_;
};

}  // namespace

// What one call sends and gets; grows at first, then stays.
struct CudaOps::SampleArrays {
  ~SampleArrays() {
    for (const Begun& one : begun) free_pinned(one.results);
  }

  std::vector<Row> rows;
  EditList edits;
  std::vector<uint32_t> masks;
  struct Begun {
    SampleResult* results = nullptr;  // pinned, so that the copy runs by itself
    size_t results_max = 0;
    size_t count = 0;
  };
  Begun begun[kSamplesBegun];
  int32_t* tokens = nullptr;  // of the newest sample(), on the device
  size_t tokens_max = 0;
};

void CudaOps::sample(const Matrix& logits, std::span<const SampleRow> rows,
                     std::span<SampleResult> results) {
  GALLEY_CHECK(rows.size() == results.size(), "a result for each row of logits");
  if (rows.empty()) return;
  GALLEY_CHECK(num_begun_ == num_finished_, "no sample is under way");
  begin_sample(logits, rows);
  finish_sample(results);
}

void CudaOps::finish_sample(std::span<SampleResult> results) {
  GALLEY_CHECK(num_finished_ < num_begun_, "a sample is under way");
  const SampleArrays::Begun& begun = sample_->begun[num_finished_ % kSamplesBegun];
  GALLEY_CHECK(results.size() == begun.count, "a result for each row of logits");
  check(cudaEventSynchronize(clock_at(num_finished_).end), "sample");
  count_work();
  ++num_finished_;
  if (num_finished_ == num_begun_ && !in_work_) staging_.stream_is_idle();
  std::memcpy(results.data(), begun.results, results.size_bytes());
}

void CudaOps::take_sampled(std::span<const int32_t> rows, int32_t* ids) {
  if (rows.empty()) return;
  GALLEY_CHECK(sample_ != nullptr, "something was sampled");
  take_kernel<<<static_cast<unsigned>((rows.size() + 255) / 256), 256, 0, stream_>>>(
      sample_->tokens, rows.data(), static_cast<int>(rows.size()), ids);
  launched("take_sampled");
}

void CudaOps::begin_sample(const Matrix& logits, std::span<const SampleRow> rows) {
  GALLEY_CHECK(logits.dtype == DType::kF32, "logits are f32");
  GALLEY_CHECK(logits.rows == static_cast<int64_t>(rows.size()) && !rows.empty(),
               "a row for each row of logits");
  GALLEY_CHECK(num_begun_ - num_finished_ < kSamplesBegun, "few samples are under way");
  begin_work();
  if (sample_ == nullptr) sample_ = std::make_shared<SampleArrays>();
  SampleArrays& arrays = *sample_;
  SampleArrays::Begun& begun = arrays.begun[num_begun_ % kSamplesBegun];
  const size_t room = std::max(rows.size(), static_cast<size_t>(limits_.sample_rows_max));
  if (begun.results_max < rows.size()) {
    free_pinned(begun.results);
    begun.results = static_cast<SampleResult*>(allocate_pinned(room * sizeof(SampleResult)));
    begun.results_max = room;
    GALLEY_CHECK(begun.results != nullptr, "pinned memory for the results of a step");
  }
  if (arrays.tokens_max < rows.size()) {
    arrays.tokens = reinterpret_cast<int32_t*>(memory_.take(room * sizeof(int32_t)));
    arrays.tokens_max = room;
    GALLEY_CHECK(arrays.tokens != nullptr, "memory for the tokens of a step");
  }
  begun.count = rows.size();
  const int64_t words = (logits.cols + 31) / 32;
  arrays.rows.clear();
  arrays.edits.clear(logits.cols);
  arrays.masks.clear();
  for (const SampleRow& row : rows) {
    Row& to = arrays.rows.emplace_back();
    to = {.inverse_temperature = row.temperature < kGreedyBelow ? 0.0f : 1.0f / row.temperature,
          .top_p = row.top_p,
          .min_p = row.min_p,
          .top_k = row.top_k,
          .presence = row.presence_penalty,
          .frequency = row.frequency_penalty,
          .repetition = row.repetition_penalty,
          .draw = static_cast<uint32_t>(uniform(row.seed, row.position) * 0x1p24f),
          .num_logprobs = row.num_logprobs,
          .target = row.target,
          .mask_begin = row.mask == nullptr ? -1 : static_cast<int32_t>(arrays.masks.size())};
    arrays.edits.add(row, &to);
    if (row.mask != nullptr) arrays.masks.insert(arrays.masks.end(), row.mask, row.mask + words);
  }
  scratch_.clear();
  // Rows, edits and masks in one copy.
  const std::vector<Edit>& edits = arrays.edits.edits();
  const size_t edits_at = (arrays.rows.size() * sizeof(Row) + 15) / 16 * 16;
  const size_t masks_at = edits_at + edits.size() * sizeof(Edit);
  const HostStaging::Piece piece =
      staging_.take(masks_at + arrays.masks.size() * sizeof(uint32_t), stream_);
  const auto put = [&](const auto& list, size_t at) {
    if (!list.empty()) std::memcpy(piece.host + at, list.data(), list.size() * sizeof(list[0]));
  };
  put(arrays.rows, 0);
  put(edits, edits_at);
  put(arrays.masks, masks_at);
  check(staging_.send(piece, stream_), "sample");
  auto* originals = scratch_.take<float>(static_cast<int64_t>(edits.size()) + 1);
  auto* device_results = scratch_.take<SampleResult>(logits.rows);
  sample_kernel<<<static_cast<unsigned>(logits.rows), kThreads, 0, stream_>>>(
      static_cast<float*>(logits.data), logits.ld, static_cast<int>(logits.cols),
      reinterpret_cast<const Row*>(piece.device),
      reinterpret_cast<const Edit*>(piece.device + edits_at), originals,
      reinterpret_cast<const uint32_t*>(piece.device + masks_at), device_results, arrays.tokens);
  launched("sample");
  check(cudaMemcpyAsync(begun.results, device_results, rows.size() * sizeof(SampleResult),
                        cudaMemcpyDeviceToHost, stream_),
        "sample");
  check(cudaEventRecord(clock_at(num_begun_).end, stream_), "sample");
  ++num_begun_;
  in_work_ = false;
}

}  // namespace galley::kernels::cuda
