// The primitives, written once over vectors: included by one file for each instruction set, which
// first defines struct V (its registers and instructions) in an anonymous namespace.
//
// Plan    GEMM in "dot" form: weights stay as the checkpoint has them, row-major along K. A tile is
//         kTileRows output rows by up to V::kTileTokens tokens; each output has one accumulator
//         register that runs along K, then one fixed tree of additions. So an output's sum has the
//         same order whether it is computed alone or in a tile.
// Chunks  K is cut into chunks of kChunk, each reduced and added to the output in order: the tokens
//         of a tile then stay in L1 and a block of weight rows in L2. FP8 has one partial sum for
//         each 128 products, multiplied by its scales before it is added.
// Bound   One token: the bytes of the weight. Many: one multiply instruction a cycle; a tile of
//         4 x 6 loads 10 registers for 24 of them.
// Rules   Nothing here may come from a header as an inline function that is not inlined: the linker
//         could keep this file's copy, with this file's instructions, for the whole program.

// V must have: F (kLanes floats), H (2 * kLanes bf16), Bits; see avx2.cc for the list.

constexpr int64_t kChunk = 2048;
constexpr int kTileRows = 4;
constexpr int64_t kLanes = V::kLanes;
// Bytes ahead of what is read that are asked for where weights stream in once: see OneToken.
constexpr int64_t kStreamAhead = 2048;
// Widened rows are worked with between two reads: eight rows of a latent.
constexpr int64_t kWidenAhead = 8192;

using F = V::F;
using H = V::H;

inline int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

// --- conversions --------------------------------------------------------------------------------

// Elements [0, n) of a row as floats, n <= kLanes; the rest of the register is 0.
template <DType kType>
inline F load_as_f32(const std::byte* p) {
  if constexpr (kType == DType::kF32) return V::load(reinterpret_cast<const float*>(p));
  if constexpr (kType == DType::kBF16) return V::load_bf16(p);
  if constexpr (kType == DType::kF16) return V::load_f16(p);
  if constexpr (kType == DType::kF8E4M3) return V::load_e4m3(p);
}

template <DType kType>
inline F load_as_f32(const std::byte* p, int64_t n) {
  alignas(64) std::byte copy[kLanes * 4] = {};
  std::memcpy(copy, p, static_cast<size_t>(n * V::size_in_file(kType)));
  return load_as_f32<kType>(copy);
}

template <DType kType>
void widen_as(const std::byte* src, int64_t n, float* out) {
  constexpr int64_t kSize = V::size_in_file(kType);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) {
    V::prefetch_l2(src + i * kSize + kWidenAhead);
    V::store(out + i, load_as_f32<kType>(src + i * kSize));
  }
  if (i < n) V::store(out + i, load_as_f32<kType>(src + i * kSize, n - i), n - i);
}

void widen(const void* src, DType dtype, int64_t n, float* out) {
  const auto* p = static_cast<const std::byte*>(src);
  if (dtype == DType::kF32) widen_as<DType::kF32>(p, n, out);
  if (dtype == DType::kBF16) widen_as<DType::kBF16>(p, n, out);
  if (dtype == DType::kF16) widen_as<DType::kF16>(p, n, out);
  if (dtype == DType::kF8E4M3) widen_as<DType::kF8E4M3>(p, n, out);
}

inline F load_some(const float* x, int64_t n) {
  return n >= kLanes ? V::load(x) : V::load(x, n);
}

void to_bf16(const float* x, int64_t n, uint16_t* out) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) V::store_bf16(out + i, V::rounded_bf16(V::load(x + i)));
  if (i == n) return;
  uint16_t rest[kLanes];
  V::store_bf16(rest, V::rounded_bf16(V::load(x + i, n - i)));
  std::memcpy(out + i, rest, static_cast<size_t>(n - i) * 2);
}

void round_bf16(const float* x, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += kLanes)
    V::store(out + i, V::rounded_bf16(load_some(x + i, n - i)), least(n - i, kLanes));
}

void quantise(const float* x, int64_t n, uint16_t* out, float* scales) {
  for (int64_t begin = 0; begin < n; begin += kScaleBlock) {
    const int64_t end = least(n, begin + kScaleBlock);
    F largest = V::zero();
    for (int64_t i = begin; i < end; i += kLanes)
      largest = V::max(V::abs(load_some(x + i, end - i)), largest);
    const float scale = V::max_of(largest) / 448.0f;
    scales[begin / kScaleBlock] = scale;
    if (!(scale > 0.0f)) {
      std::memset(out + begin, 0, static_cast<size_t>(end - begin) * 2);
      continue;
    }
    const F divisor = V::all(scale);
    int64_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      V::store_bf16(out + i, V::rounded_e4m3(V::div(V::load(x + i), divisor)));
    if (i == end) continue;
    uint16_t rest[kLanes];
    V::store_bf16(rest, V::rounded_e4m3(V::div(V::load(x + i, end - i), divisor)));
    std::memcpy(out + i, rest, static_cast<size_t>(end - i) * 2);
  }
}

// --- rows ---------------------------------------------------------------------------------------

void rms_norm(const float* x, const float* weight, float eps, int64_t n, float* out) {
  F sums[4] = {V::zero(), V::zero(), V::zero(), V::zero()};
  int64_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) {
      const F v = V::load(x + i + j * kLanes);
      sums[j] = V::fma(v, v, sums[j]);
    }
  }
  for (; i < n; i += kLanes) {
    const F v = load_some(x + i, n - i);
    sums[0] = V::fma(v, v, sums[0]);
  }
  const float squares = V::sum_of(V::add(V::add(sums[0], sums[1]), V::add(sums[2], sums[3])));
  const F factor = V::all(1.0f / V::sqrt_of(squares / static_cast<float>(n) + eps));
  for (i = 0; i < n; i += kLanes) {
    const F v = V::mul(V::mul(load_some(x + i, n - i), factor), load_some(weight + i, n - i));
    V::store(out + i, v, least(n - i, kLanes));
  }
}

void add(float* a, const float* b, int64_t n) {
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) V::store(a + i, V::add(V::load(a + i), V::load(b + i)));
  if (i < n) V::store(a + i, V::add(V::load(a + i, n - i), V::load(b + i, n - i)), n - i);
}

void add_scaled(float* a, const float* b, float scale, int64_t n) {
  const F s = V::all(scale);
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) V::store(a + i, V::fma(s, V::load(b + i), V::load(a + i)));
  if (i < n) V::store(a + i, V::fma(s, V::load(b + i, n - i), V::load(a + i, n - i)), n - i);
}

// e^x to about 2 units in the last place: x = k ln 2 + r with |r| <= ln 2 / 2, then the Taylor
// polynomial of degree 7. 0 below the smallest normal number and for NaN; finite above 88.
inline F exp_of(F x) {
  const F clamped = V::min(V::max(x, V::all(-87.3f)), V::all(88.3f));
  const F k = V::round(V::mul(clamped, V::all(1.44269504f)));
  // ln 2 in two parts, the first with few bits, so that k times it is exact.
  F r = V::fma(k, V::all(-0.693359375f), clamped);
  r = V::fma(k, V::all(2.12194440e-4f), r);
  F p = V::all(1.0f / 5040.0f);
  p = V::fma(p, r, V::all(1.0f / 720.0f));
  p = V::fma(p, r, V::all(1.0f / 120.0f));
  p = V::fma(p, r, V::all(1.0f / 24.0f));
  p = V::fma(p, r, V::all(1.0f / 6.0f));
  p = V::fma(p, r, V::all(0.5f));
  p = V::fma(p, r, V::all(1.0f));
  p = V::fma(p, r, V::all(1.0f));
  return V::zero_unless_above(x, V::all(-87.3f), V::times_power_of_2(p, k));
}

void silu_mul(const float* gate, const float* up, int64_t n, float* out) {
  for (int64_t i = 0; i < n; i += kLanes) {
    const F g = load_some(gate + i, n - i);
    const F divisor = V::add(V::all(1.0f), exp_of(V::sub(V::zero(), g)));
    V::store(out + i, V::mul(V::div(g, divisor), load_some(up + i, n - i)), least(n - i, kLanes));
  }
}

float max_value(const float* x, int64_t n) {
  F best = V::all(-__builtin_inff());
  int64_t i = 0;
  for (; i + kLanes <= n; i += kLanes) best = V::max(V::load(x + i), best);
  float result = V::max_of(best);
  for (; i < n; ++i) {
    if (x[i] > result) result = x[i];
  }
  return result;
}

double exp_sum(const float* x, float max, float inv_temperature, int64_t n, float* out) {
  const F top = V::all(max), factor = V::all(inv_temperature);
  double total = 0.0;
  // Short sums in f32, so that a large vocabulary loses nothing.
  for (int64_t begin = 0; begin < n; begin += 32 * kLanes) {
    const int64_t end = least(n, begin + 32 * kLanes);
    F sum = V::zero();
    for (int64_t i = begin; i < end; i += kLanes) {
      const int64_t count = least(end - i, kLanes);
      F e = exp_of(V::mul(V::sub(load_some(x + i, count), top), factor));
      if (count < kLanes) e = V::first(e, count);
      sum = V::add(sum, e);
      if (out != nullptr) V::store(out + i, e, count);
    }
    total += static_cast<double>(V::sum_of(sum));
  }
  return total;
}

// --- GEMM ---------------------------------------------------------------------------------------

// How one step along K multiplies: what it loads of a weight row and of a token, and how many.
template <DType kType>
struct FloatStep {  // both as f32
  static constexpr int64_t kCount = kLanes;
  static constexpr int64_t kWeightSize = V::size_in_file(kType);
  static constexpr int64_t kTokenSize = 4;
  static constexpr bool kScaled = kType == DType::kF8E4M3;
  static constexpr int kTokens = V::kFloatTokens;
  using Register = F;
  static F weight(const std::byte* p) { return load_as_f32<kType>(p); }
  static F weight(const std::byte* p, int64_t n) { return load_as_f32<kType>(p, n); }
  static F token(const std::byte* p) { return V::load(reinterpret_cast<const float*>(p)); }
  static F token(const std::byte* p, int64_t n) {
    return V::load(reinterpret_cast<const float*>(p), n);
  }
  static F multiply(F acc, F w, F x) { return V::fma(w, x, acc); }
};

struct Bf16Step {  // both bf16
  static constexpr int64_t kCount = 2 * kLanes;
  static constexpr int64_t kWeightSize = 2;
  static constexpr int64_t kTokenSize = 2;
  static constexpr bool kScaled = false;
  static constexpr int kTokens = V::kTileTokens;
  using Register = H;
  static H weight(const std::byte* p) { return V::load_pairs(p); }
  static H weight(const std::byte* p, int64_t n) {
    alignas(64) std::byte copy[4 * kLanes] = {};
    std::memcpy(copy, p, static_cast<size_t>(n) * 2);
    return V::load_pairs(copy);
  }
  static H token(const std::byte* p) { return V::load_pairs(p); }
  static H token(const std::byte* p, int64_t n) { return weight(p, n); }
  static F multiply(F acc, H w, H x) { return V::dot_pairs(acc, w, x); }
};

struct Q8Step : Bf16Step {  // the weight is e4m3
  static constexpr int64_t kWeightSize = 1;
  static constexpr bool kScaled = true;
  static constexpr int kTokens = V::kScaledTokens;
  static H weight(const std::byte* p) { return V::load_e4m3_pairs(p); }
  static H weight(const std::byte* p, int64_t n) {
    alignas(64) std::byte copy[2 * kLanes] = {};
    std::memcpy(copy, p, static_cast<size_t>(n));
    return V::load_e4m3_pairs(copy);
  }
};

struct DecodedQ8Step : Bf16Step {  // the weight was e4m3 and is bf16 in scratch
  static constexpr bool kScaled = true;
  static constexpr int kTokens = V::kScaledTokens;
};

// One chunk of K for a tile. Scales are those of the chunk's first block; null means 1.
struct TileArgs {
  const std::byte* weights[kTileRows];
  const float* weight_scales;  // [blocks of the chunk]: the rows of a tile share them
  const std::byte* tokens[V::kTileTokens];
  const float* token_scales[V::kTileTokens];
  int64_t prefetch = 0;  // bytes from a weight row to what the next tile will read
  int64_t count;         // products
  float* out[V::kTileTokens];
  bool first;  // the first chunk sets the output, the others add to it
};

template <typename Step, int kRows, int kTokens>
inline void multiply_run(const TileArgs& a, int64_t begin, int64_t end, F (&acc)[kRows][kTokens]) {
  int64_t k = begin;
  for (; k + Step::kCount <= end; k += Step::kCount) {
    typename Step::Register x[kTokens];
    for (int t = 0; t < kTokens; ++t) x[t] = Step::token(a.tokens[t] + k * Step::kTokenSize);
    for (int r = 0; r < kRows; ++r) {
      const std::byte* from = a.weights[r] + k * Step::kWeightSize;
      V::prefetch(from + a.prefetch);
      const auto w = Step::weight(from);
      for (int t = 0; t < kTokens; ++t) acc[r][t] = Step::multiply(acc[r][t], w, x[t]);
    }
  }
  if (k == end) return;
  typename Step::Register x[kTokens];
  for (int t = 0; t < kTokens; ++t) x[t] = Step::token(a.tokens[t] + k * Step::kTokenSize, end - k);
  for (int r = 0; r < kRows; ++r) {
    const auto w = Step::weight(a.weights[r] + k * Step::kWeightSize, end - k);
    for (int t = 0; t < kTokens; ++t) acc[r][t] = Step::multiply(acc[r][t], w, x[t]);
  }
}

// The same for a whole block of 128: a loop of known length.
template <typename Step, int kRows, int kTokens>
inline void multiply_whole_block(const TileArgs& a, int64_t begin, F (&acc)[kRows][kTokens]) {
  for (int64_t i = 0; i < kScaleBlock; i += Step::kCount) {
    typename Step::Register x[kTokens];
    for (int t = 0; t < kTokens; ++t)
      x[t] = Step::token(a.tokens[t] + (begin + i) * Step::kTokenSize);
    for (int r = 0; r < kRows; ++r) {
      const std::byte* from = a.weights[r] + (begin + i) * Step::kWeightSize;
      V::prefetch(from + a.prefetch);
      const auto w = Step::weight(from);
      for (int t = 0; t < kTokens; ++t) acc[r][t] = Step::multiply(acc[r][t], w, x[t]);
    }
  }
}

template <typename Step, int kRows, int kTokens>
void multiply_tile(const TileArgs& a) {
  F acc[kRows][kTokens];
  for (int r = 0; r < kRows; ++r) {
    for (int t = 0; t < kTokens; ++t) acc[r][t] = V::zero();
  }
  if constexpr (Step::kScaled) {
    for (int64_t begin = 0, b = 0; begin < a.count; begin += kScaleBlock, ++b) {
      F part[kRows][kTokens];
      for (int r = 0; r < kRows; ++r) {
        for (int t = 0; t < kTokens; ++t) part[r][t] = V::zero();
      }
      if (a.count - begin >= kScaleBlock) {
        multiply_whole_block<Step, kRows, kTokens>(a, begin, part);
      } else {
        multiply_run<Step, kRows, kTokens>(a, begin, a.count, part);
      }
      for (int t = 0; t < kTokens; ++t) {
        const float x_scale = a.token_scales[t] != nullptr ? a.token_scales[t][b] : 1.0f;
        const F scale = V::all(a.weight_scales[b] * x_scale);
        for (int r = 0; r < kRows; ++r) acc[r][t] = V::fma(part[r][t], scale, acc[r][t]);
      }
    }
  } else {
    multiply_run<Step, kRows, kTokens>(a, 0, a.count, acc);
  }
  for (int t = 0; t < kTokens; ++t) {
    float sums[kRows];
    if constexpr (kRows == 4) {
      V::store_sums(sums, acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
    } else {
      for (int r = 0; r < kRows; ++r) sums[r] = V::sum_of(acc[r][t]);
    }
    for (int r = 0; r < kRows; ++r) a.out[t][r] = a.first ? sums[r] : a.out[t][r] + sums[r];
  }
}

template <typename Step, int kRows, int kTokens = Step::kTokens>
inline void multiply_tokens(const TileArgs& a, int64_t tokens) {
  if (tokens == kTokens) {
    multiply_tile<Step, kRows, kTokens>(a);
    return;
  }
  if constexpr (kTokens > 1) multiply_tokens<Step, kRows, kTokens - 1>(a, tokens);
}

// A block of weight rows, one chunk of K at a time, for all tokens.
struct BlockArgs {
  const GemmArgs* gemm;
  const std::byte* weights;  // row_begin's first element of the chunk
  int64_t weight_stride;     // bytes between rows
  int64_t k_begin;
  int64_t k_count;
};

template <typename Step>
void multiply_block(const BlockArgs& b) {
  const GemmArgs& g = *b.gemm;
  const Weight& w = *g.weight;
  const int64_t scale_ld = (w.cols + kScaleBlock - 1) / kScaleBlock;
  const int64_t block = b.k_begin / kScaleBlock;
  const auto* x = static_cast<const std::byte*>(g.x.data);
  for (int64_t t = 0; t < g.num_tokens; t += Step::kTokens) {
    const int64_t tokens = least(g.num_tokens - t, Step::kTokens);
    TileArgs a;
    a.count = b.k_count;
    a.first = b.k_begin == 0;
    // The first tokens bring the rows into L2; from there the hardware fetches well enough.
    a.prefetch = t == 0 ? kTileRows * b.weight_stride : 0;
    for (int64_t i = 0; i < tokens; ++i) {
      const int64_t row = g.x_rows != nullptr ? g.x_rows[t + i] : t + i;
      a.tokens[i] = x + (row * g.x.ld + b.k_begin) * Step::kTokenSize;
      a.token_scales[i] = g.x.form == Form::kQ8 ? g.x.scales + row * g.x.scale_ld + block : nullptr;
    }
    for (int64_t m = g.row_begin; m < g.row_end;) {
      // The rows of a tile share their scales: a tile ends where a block of 128 rows does.
      int64_t rows = g.row_end - m;
      if (Step::kScaled) rows = least(rows, kScaleBlock - m % kScaleBlock);
      const bool whole = rows >= kTileRows;
      for (int64_t i = 0; i < (whole ? kTileRows : 1); ++i)
        a.weights[i] = b.weights + (m - g.row_begin + i) * b.weight_stride;
      if (Step::kScaled) a.weight_scales = w.scales + m / kScaleBlock * scale_ld + block;
      for (int64_t i = 0; i < tokens; ++i) a.out[i] = g.out + (t + i) * g.ld_out + m - g.row_begin;
      if (whole) {
        multiply_tokens<Step, kTileRows>(a, tokens);
        m += kTileRows;
      } else {
        multiply_tokens<Step, 1>(a, tokens);
        m += 1;
      }
    }
  }
}

// --- one token ---

// Bound by memory, so all that counts is that many reads are under way at every moment. Rows of up
// to kShortRow bytes are read one after the other, as a single stream that the hardware's prefetch
// follows. Of longer rows a group is read together: its streams, each with a prefetch into L2 that
// goes on with the next group, keep more reads under way, and the token is fetched into L1 once for
// all of them, from where so long a row would drive it out. Measured with two cores of Zen 4, GB/s
// of one row, 8 and 16 rows at a time: 2 KiB 28, 26, 27; 3 KiB 28, 31, 32; 4 KiB 27, 33, 31;
// 17.5 KiB 29, 32, 31.
constexpr int64_t kShortRow = 2048;
constexpr int64_t kLongRow = 4096;     // from here on 8 rows at a time, below 16
constexpr int64_t kGroupAhead = 1536;  // bytes of each row

struct StreamArgs {
  const std::byte* w;     // of the first row
  int64_t stride;         // bytes from a row to the next
  const std::byte* x;     // of the token
  int64_t count;          // products
  int64_t ahead;          // bytes from what is read to what is asked for, before product `turn`
  int64_t turn;           // a multiple of kScaleBlock
  int64_t ahead_after;    // from there on
  const float* w_scales;  // of the first row; those of the chunk's first block
  int64_t w_scale_ld;     // for the next block of 128 rows
  int64_t rows_to_next;   // rows, from the first one on, that share w_scales
  const float* x_scales;  // null: 1
};

// acc += products [begin, end) of the rows and the token, in the order of a tile.
template <typename Step, int kRows>
inline void stream_products(const StreamArgs& a, int64_t begin, int64_t end, int64_t ahead,
                            F (&acc)[kRows]) {
  int64_t k = begin;
  for (; k + Step::kCount <= end; k += Step::kCount) {
    const auto x = Step::token(a.x + k * Step::kTokenSize);
    for (int r = 0; r < kRows; ++r) {
      const std::byte* from = a.w + r * a.stride + k * Step::kWeightSize;
      V::prefetch_l2(from + ahead);
      acc[r] = Step::multiply(acc[r], Step::weight(from), x);
    }
  }
  if (k == end) return;
  const auto x = Step::token(a.x + k * Step::kTokenSize, end - k);
  for (int r = 0; r < kRows; ++r) {
    const std::byte* from = a.w + r * a.stride + k * Step::kWeightSize;
    acc[r] = Step::multiply(acc[r], Step::weight(from, end - k), x);
  }
}

// One chunk of K, before the lanes of `acc` are added up.
template <typename Step, int kRows>
inline void stream_chunk(const StreamArgs& a, F (&acc)[kRows]) {
  for (int r = 0; r < kRows; ++r) acc[r] = V::zero();
  if constexpr (!Step::kScaled) {
    if (a.turn > 0) stream_products<Step, kRows>(a, 0, a.turn, a.ahead, acc);
    if (a.turn < a.count) stream_products<Step, kRows>(a, a.turn, a.count, a.ahead_after, acc);
    return;
  }
  for (int64_t begin = 0, b = 0; begin < a.count; begin += kScaleBlock, ++b) {
    F part[kRows];
    for (int r = 0; r < kRows; ++r) part[r] = V::zero();
    stream_products<Step, kRows>(a, begin, least(begin + kScaleBlock, a.count),
                                 begin < a.turn ? a.ahead : a.ahead_after, part);
    const float x_scale = a.x_scales != nullptr ? a.x_scales[b] : 1.0f;
    for (int r = 0; r < kRows; ++r) {
      const float w_scale = a.w_scales[b + (r < a.rows_to_next ? 0 : a.w_scale_ld)];
      acc[r] = V::fma(part[r], V::all(w_scale * x_scale), acc[r]);
    }
  }
}

template <typename Step>
class OneToken {
 public:
  explicit OneToken(const GemmArgs& g)
      : g_(g),
        stride_(g.weight->cols * Step::kWeightSize),
        scale_ld_((g.weight->cols + kScaleBlock - 1) / kScaleBlock) {
    const int64_t row = g.x_rows != nullptr ? g.x_rows[0] : 0;
    x_ = static_cast<const std::byte*>(g.x.data) + row * g.x.ld * Step::kTokenSize;
    if (g.x.form == Form::kQ8) x_scales_ = g.x.scales + row * g.x.scale_ld;
  }

  void run() {
    constexpr int kMany = Step::kScaled ? 8 : V::kStreamRows;
    int64_t m = g_.row_begin;
    if (stride_ <= kShortRow && g_.weight->cols <= kChunk) {
      for (; m + 4 <= g_.row_end; m += 4) four_in_turn(m);
    } else if (stride_ > kShortRow) {
      if (stride_ < kLongRow) {
        for (; m + kMany <= g_.row_end; m += kMany) together<kMany>(m);
      }
      for (; m + 8 <= g_.row_end; m += 8) together<8>(m);
    }
    for (; m < g_.row_end; ++m) together<1>(m);
  }

 private:
  void four_in_turn(int64_t m) {
    F acc[4];
    for (int r = 0; r < 4; ++r) {
      F one[1];
      stream_chunk<Step, 1>(part<1>(m + r, 0), one);
      acc[r] = one[0];
    }
    V::store_sums(out_of(m), acc[0], acc[1], acc[2], acc[3]);
  }

  template <int kRows>
  void together(int64_t m) {
    float* out = out_of(m);
    for (int64_t k = 0; k < g_.weight->cols; k += kChunk) {
      F acc[kRows];
      stream_chunk<Step, kRows>(part<kRows>(m, k), acc);
      for (int r = 0; r < kRows; ++r) {
        const float sum = V::sum_of(acc[r]);
        out[r] = k == 0 ? sum : out[r] + sum;
      }
    }
  }

  float* out_of(int64_t m) const { return g_.out + (m - g_.row_begin); }

  template <int kRows>
  StreamArgs part(int64_t m, int64_t k) const {
    const Weight& w = *g_.weight;
    StreamArgs a{};
    a.w = static_cast<const std::byte*>(w.data) + m * stride_ + k * Step::kWeightSize;
    a.stride = stride_;
    a.x = x_ + k * Step::kTokenSize;
    a.count = least(kChunk, w.cols - k);
    a.ahead = a.ahead_after = kStreamAhead;
    if constexpr (kRows > 1) {
      // The last kGroupAhead bytes of each row ask for the first of a row of the next group. What
      // follows the block is left to whoever reads it.
      constexpr int64_t kAhead = kGroupAhead / Step::kWeightSize;
      const int64_t turn = (w.cols - kAhead) / kScaleBlock * kScaleBlock - k;
      a.turn = turn < 0 ? 0 : least(turn, a.count);
      a.ahead = kGroupAhead;
      const bool is_last = m + 2 * kRows > g_.row_end;
      a.ahead_after = is_last ? 0 : (kRows - 1) * stride_ + kGroupAhead;
    }
    if constexpr (Step::kScaled) {
      a.w_scales = w.scales + m / kScaleBlock * scale_ld_ + k / kScaleBlock;
      a.w_scale_ld = scale_ld_;
      a.rows_to_next = kScaleBlock - m % kScaleBlock;
      if (x_scales_ != nullptr) a.x_scales = x_scales_ + k / kScaleBlock;
    }
    return a;
  }

  const GemmArgs& g_;
  const int64_t stride_;
  const int64_t scale_ld_;
  const std::byte* x_;
  const float* x_scales_ = nullptr;
};

template <typename Step>
void multiply_chunks(const GemmArgs& g) {
  if (g.num_tokens == 1) {
    OneToken<Step>(g).run();
    return;
  }
  const Weight& w = *g.weight;
  const int64_t stride = w.cols * Step::kWeightSize;
  const std::byte* from = static_cast<const std::byte*>(w.data) + g.row_begin * stride;
  for (int64_t k = 0; k < w.cols; k += kChunk) {
    multiply_block<Step>({&g, from + k * Step::kWeightSize, stride, k, least(kChunk, w.cols - k)});
  }
}

// FP8 for many tokens: a block of rows is decoded into scratch (it stays in L2) once for all tiles.
// Exact, so the sums are those of Q8Step.
constexpr int64_t kDecodeTokens = 8;
constexpr int64_t kDecodeRows = 64;
static_assert(kDecodeRows * kChunk * 2 <= static_cast<int64_t>(kGemmScratchBytes));

void multiply_decoded(const GemmArgs& args) {
  const Weight& w = *args.weight;
  const auto* data = static_cast<const std::byte*>(w.data);
  for (int64_t m = args.row_begin; m < args.row_end; m += kDecodeRows) {
    GemmArgs g = args;
    g.row_begin = m;
    g.row_end = least(args.row_end, m + kDecodeRows);
    g.out = args.out + (m - args.row_begin);
    for (int64_t k = 0; k < w.cols; k += kChunk) {
      const int64_t count = least(kChunk, w.cols - k);
      for (int64_t r = g.row_begin; r < g.row_end; ++r)
        V::decode_e4m3(data + r * w.cols + k, count, args.scratch + (r - m) * kChunk * 2);
      multiply_block<DecodedQ8Step>({&g, args.scratch, kChunk * 2, k, count});
    }
  }
}

void gemm(const GemmArgs& g) {
  if (g.x.form == Form::kBF16) {
    multiply_chunks<Bf16Step>(g);
  } else if (g.x.form == Form::kQ8) {
    if (g.num_tokens >= kDecodeTokens) {
      multiply_decoded(g);
    } else {
      multiply_chunks<Q8Step>(g);
    }
  } else if (g.weight->dtype == DType::kF32) {
    multiply_chunks<FloatStep<DType::kF32>>(g);
  } else if (g.weight->dtype == DType::kBF16) {
    multiply_chunks<FloatStep<DType::kBF16>>(g);
  } else if (g.weight->dtype == DType::kF16) {
    multiply_chunks<FloatStep<DType::kF16>>(g);
  } else {
    multiply_chunks<FloatStep<DType::kF8E4M3>>(g);
  }
}

// --- sums of rows -------------------------------------------------------------------------------

// out[h] = out[h] * keep[h] + sum over k, in order, of c[h, k] * rows[k], for kHeads rows of out.
// keep null: out starts from 0 when `fresh`, else from what it holds.
struct RowSumArgs {
  const float* c;
  int64_t c_ld;
  const float* rows;
  int64_t rows_ld;
  int64_t num_rows;
  int64_t n;
  const float* keep;
  bool fresh;
  float* out;
  int64_t out_ld;
};

template <int kHeads, int kVectors>
inline void sum_rows_tile(const RowSumArgs& a, int64_t at, int64_t count) {
  F acc[kHeads][kVectors];
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v) {
      const float* from = a.out + h * a.out_ld + at + v * kLanes;
      acc[h][v] = a.fresh ? V::zero() : count < kLanes ? V::load(from, count) : V::load(from);
      if (a.keep != nullptr) acc[h][v] = V::mul(acc[h][v], V::all(a.keep[h]));
    }
  }
  for (int64_t k = 0; k < a.num_rows; ++k) {
    F row[kVectors];
    for (int v = 0; v < kVectors; ++v) {
      const float* from = a.rows + k * a.rows_ld + at + v * kLanes;
      row[v] = count < kLanes ? V::load(from, count) : V::load(from);
    }
    for (int h = 0; h < kHeads; ++h) {
      const F c = V::all(a.c[h * a.c_ld + k]);
      for (int v = 0; v < kVectors; ++v) acc[h][v] = V::fma(c, row[v], acc[h][v]);
    }
  }
  for (int h = 0; h < kHeads; ++h) {
    for (int v = 0; v < kVectors; ++v)
      V::store(a.out + h * a.out_ld + at + v * kLanes, acc[h][v], count);
  }
}

template <int kHeads>
void sum_rows_of(const RowSumArgs& a) {
  int64_t at = 0;
  for (; at + 4 * kLanes <= a.n; at += 4 * kLanes) sum_rows_tile<kHeads, 4>(a, at, kLanes);
  for (; at < a.n; at += kLanes) sum_rows_tile<kHeads, 1>(a, at, least(kLanes, a.n - at));
}

void sum_rows(RowSumArgs a, int64_t heads) {
  while (heads > 0) {
    int64_t done = 1;
    if (V::kSumRows >= 6 && heads >= 6) {
      sum_rows_of<V::kSumRows >= 6 ? 6 : 1>(a);
      done = 6;
    } else if (V::kSumRows >= 4 && heads >= 4) {
      sum_rows_of<V::kSumRows >= 4 ? 4 : 1>(a);
      done = 4;
    } else if (heads >= 2) {
      sum_rows_of<2>(a);
      done = 2;
    } else {
      sum_rows_of<1>(a);
    }
    a.c += done * a.c_ld;
    a.out += done * a.out_ld;
    if (a.keep != nullptr) a.keep += done;
    heads -= done;
  }
}

void gemm_rows(const float* x, int64_t x_ld, int64_t num_tokens, const float* w, int64_t w_ld,
               int64_t num_rows, int64_t n, bool accumulate, float* out, int64_t out_ld) {
  sum_rows({x, x_ld, w, w_ld, num_rows, n, nullptr, !accumulate, out, out_ld}, num_tokens);
}

// --- attention ----------------------------------------------------------------------------------

constexpr int64_t kKeysMax = 64;

// scores[h, j] = q[h] . k[j]
void score_keys(const AttendArgs& a, float* scores) {
  using Step = FloatStep<DType::kF32>;
  for (int64_t h = 0; h < a.num_heads; h += Step::kTokens) {
    const int64_t heads = least(a.num_heads - h, Step::kTokens);
    TileArgs t;
    t.count = a.key_dim;
    t.first = true;
    for (int64_t i = 0; i < heads; ++i)
      t.tokens[i] = reinterpret_cast<const std::byte*>(a.q + (h + i) * a.q_ld);
    for (int64_t j = 0; j < a.num_keys;) {
      const bool whole = a.num_keys - j >= kTileRows;
      for (int64_t i = 0; i < (whole ? kTileRows : 1); ++i)
        t.weights[i] = reinterpret_cast<const std::byte*>(a.k + (j + i) * a.k_ld);
      for (int64_t i = 0; i < heads; ++i) t.out[i] = scores + (h + i) * kKeysMax + j;
      if (whole) {
        multiply_tokens<Step, kTileRows>(t, heads);
        j += kTileRows;
      } else {
        multiply_tokens<Step, 1>(t, heads);
        j += 1;
      }
    }
  }
}

void attend(const AttendArgs& args) {
  // A few heads at a time, so that their scores are a small table on the stack.
  constexpr int64_t kHeads = 24;
  alignas(64) float scores[kHeads * kKeysMax];
  float keep[kHeads];
  for (int64_t first = 0; first < args.num_heads; first += kHeads) {
    AttendArgs a = args;
    a.num_heads = least(args.num_heads - first, kHeads);
    a.q += first * a.q_ld;
    a.max += first;
    a.sum += first;
    a.acc += first * a.acc_ld;
    score_keys(a, scores);
    for (int64_t h = 0; h < a.num_heads; ++h) {
      float* s = scores + h * kKeysMax;
      for (int64_t j = 0; j < a.num_keys; ++j) s[j] *= a.scale;
      const float block_max = max_value(s, a.num_keys);
      const float max = block_max > a.max[h] ? block_max : a.max[h];
      const float shift[kLanes] = {a.max[h] - max};
      float kept[kLanes];
      V::store(kept, exp_of(V::load(shift)));
      keep[h] = kept[0];
      const auto sum = static_cast<float>(exp_sum(s, max, 1.0f, a.num_keys, s));
      a.sum[h] = a.sum[h] * keep[h] + sum;
      a.max[h] = max;
    }
    sum_rows({scores, kKeysMax, a.v, a.v_ld, a.num_keys, a.value_dim, keep, false, a.acc, a.acc_ld},
             a.num_heads);
  }
}

// --- the machine's limit ---

template <typename Step>
void multiply_rounds(int64_t rounds) {
  alignas(64) std::byte zeros[4 * kLanes] = {};
  F acc[12];
  for (int i = 0; i < 12; ++i) acc[i] = V::all(static_cast<float>(i));
  auto x = Step::token(zeros);
  for (int64_t round = 0; round < rounds; ++round) {
    for (int i = 0; i < 12; ++i) acc[i] = Step::multiply(acc[i], x, x);
    // Or the compiler would multiply once.
    __asm__ volatile("" ::: "memory");
  }
  F sum = V::zero();
  for (int i = 0; i < 12; ++i) sum = V::add(sum, acc[i]);
  volatile float result = V::sum_of(sum);
  (void)result;
}

double multiply_registers(bool f32, int64_t rounds) {
  if (f32) {
    multiply_rounds<FloatStep<DType::kF32>>(rounds);
  } else {
    multiply_rounds<Bf16Step>(rounds);
  }
  return static_cast<double>(rounds) * 12.0 * 2.0 *
         static_cast<double>(f32 ? kLanes : Bf16Step::kCount);
}

// --- the table ----------------------------------------------------------------------------------

constexpr Primitives make_table(const char* name) {
  return {
      .name = name,
      .widen = widen,
      .to_bf16 = to_bf16,
      .round_bf16 = round_bf16,
      .quantise = quantise,
      .rms_norm = rms_norm,
      .add = add,
      .add_scaled = add_scaled,
      .silu_mul = silu_mul,
      .max_value = max_value,
      .exp_sum = exp_sum,
      .gemm = gemm,
      .gemm_rows = gemm_rows,
      .attend = attend,
      .multiply_registers = multiply_registers,
  };
}
