// AMX bf16 tiles (Intel from Sapphire Rapids): GEMM of bf16 and FP8 weights; all else is that of
// avx512_bf16.cc.
//
// Plan    TDPBF16PS multiplies 16 rows x 32 products of one side with 16 pairs of products x 16
//         rows of the other. Up to 16 tokens: the weight is read straight into tiles and the
//         tokens are put in pairs. More: tokens are read where they stand; a block of weight rows
//         is put in pairs into scratch, which stays in L2, one chunk of K at a time. Two by two
//         tiles: four loads for four multiplications.
// Bound   One token: the weight's bytes. Many tokens: 16 cycles for a multiplication of
//         16 x 16 x 32.
// Order   An output adds its products in pairs along K in the order of K, whatever tile it is in
//         and on whichever side. FP8: a tile starts from zero for each 128 products and is then
//         scaled and added in f32.
#include <immintrin.h>

#include <cstring>

#include "kernels/cpu/primitives.h"

namespace galley::kernels::cpu {
namespace {

#include "kernels/cpu/vector_512_bf16.inl"
// After V:
#include "kernels/cpu/vector_kernels.inl"

constexpr int64_t kTile = 16;       // rows of a tile
constexpr int64_t kTileK = 32;      // products of a multiplication
constexpr int64_t kBlockRows = 64;  // weight rows in scratch at a time
constexpr int64_t kBlockTokens = 32;
constexpr int64_t kPairTileBytes = kTile * 64;  // one tile of pairs

// Tile numbers are part of the instructions. 0-3: sums [token group, row group]; 4, 5: tokens;
// 6, 7: weights in pairs.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {};
};
static_assert(sizeof(TileConfig) == 64);

// For `tokens` of 1 .. 32: 16 in the first group when there are as many.
void configure(int64_t tokens) {
  TileConfig config;
  const auto first = static_cast<uint8_t>(least(tokens, kTile));
  const auto second = static_cast<uint8_t>(tokens > kTile ? tokens - kTile : 1);
  config.rows[0] = config.rows[1] = config.rows[4] = first;
  config.rows[2] = config.rows[3] = config.rows[5] = second;
  config.rows[6] = config.rows[7] = kTile;
  __asm__ volatile("" ::: "memory");
  _tile_loadconfig(&config);
}

// Transposes 16 x 16 dwords: out[i] holds dword i of each row.
inline void transpose(const __m512i (&in)[16], std::byte* out) {
  __m512i a[16], b[16];
  for (int i = 0; i < 16; i += 2) {
    a[i] = _mm512_unpacklo_epi32(in[i], in[i + 1]);
    a[i + 1] = _mm512_unpackhi_epi32(in[i], in[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    b[i] = _mm512_unpacklo_epi64(a[i], a[i + 2]);
    b[i + 1] = _mm512_unpackhi_epi64(a[i], a[i + 2]);
    b[i + 2] = _mm512_unpacklo_epi64(a[i + 1], a[i + 3]);
    b[i + 3] = _mm512_unpackhi_epi64(a[i + 1], a[i + 3]);
  }
  // b[4 g + j]: lane l of 128 bits holds dword 4 l + j of rows 4 g .. 4 g + 3.
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0x44);
    const __m512i high01 = _mm512_shuffle_i32x4(b[j], b[4 + j], 0xee);
    const __m512i low23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0x44);
    const __m512i high23 = _mm512_shuffle_i32x4(b[8 + j], b[12 + j], 0xee);
    const auto store = [&](int dword, __m512i x) { _mm512_store_si512(out + dword * 64, x); };
    store(j, _mm512_shuffle_i32x4(low01, low23, 0x88));
    store(4 + j, _mm512_shuffle_i32x4(low01, low23, 0xdd));
    store(8 + j, _mm512_shuffle_i32x4(high01, high23, 0x88));
    store(12 + j, _mm512_shuffle_i32x4(high01, high23, 0xdd));
  }
}

// Weight rows [row, row + rows) from product k on, in pairs: one tile for each 32 products. Rows
// and products that are not there are 0.
template <typename Step>
void put_in_pairs(const Weight& w, int64_t row, int64_t rows, int64_t k, int64_t count,
                  std::byte* out) {
  const auto* data = static_cast<const std::byte*>(w.data);
  for (int64_t i = 0; i < count; i += kTileK, out += kPairTileBytes) {
    const int64_t n = least(count - i, kTileK);
    __m512i lines[16];
    for (int64_t r = 0; r < kTile; ++r) {
      if (r >= rows) {
        lines[r] = _mm512_setzero_si512();
        continue;
      }
      const std::byte* from = data + ((row + r) * w.cols + k + i) * Step::kWeightSize;
      lines[r] = (__m512i)(n == kTileK ? Step::weight(from) : Step::weight(from, n));
    }
    transpose(lines, out);
  }
}

struct TokenRows {
  const std::byte* first;  // of the first group, from the chunk's first product on
  int64_t stride;          // bytes
};

// Sums of [begin, end) products (tiles of 32) for both token groups and both row groups, into
// out [32, 32].
template <bool kTwo>
inline void multiply_tiles(const TokenRows& x, const std::byte* pairs, int64_t pairs_stride,
                           int64_t begin, int64_t end, float* out) {
  constexpr int kStride = kBlockTokens * 4;
  // The compiler does not know that tile instructions read and write memory.
  __asm__ volatile("" ::: "memory");
  _tile_zero(0);
  _tile_zero(1);
  if (kTwo) {
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t i = begin; i < end; ++i) {
    _tile_loadd(6, pairs + i * kPairTileBytes, 64);
    _tile_loadd(7, pairs + pairs_stride + i * kPairTileBytes, 64);
    _tile_loadd(4, x.first + i * 64, x.stride);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    if (!kTwo) continue;
    _tile_loadd(5, x.first + kTile * x.stride + i * 64, x.stride);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_stored(0, out, kStride);
  _tile_stored(1, out + kTile, kStride);
  if (kTwo) {
    _tile_stored(2, out + kTile * kBlockTokens, kStride);
    _tile_stored(3, out + kTile * kBlockTokens + kTile, kStride);
  }
  __asm__ volatile("" ::: "memory");
}

inline void multiply_tiles(const TokenRows& x, int64_t tokens, const std::byte* pairs,
                           int64_t pairs_stride, int64_t begin, int64_t end, float* out) {
  if (tokens > kTile) {
    multiply_tiles<true>(x, pairs, pairs_stride, begin, end, out);
  } else {
    multiply_tiles<false>(x, pairs, pairs_stride, begin, end, out);
  }
}

// Memory of this thread, in GemmArgs::scratch.
struct Scratch {
  alignas(64) std::byte pairs[kBlockRows * kChunk * 2];
  alignas(64) std::byte tokens[kBlockTokens * kChunk * 2];  // gathered, when x_rows is given
  alignas(64) float sums[kBlockTokens * kBlockTokens];
  alignas(64) float parts[kBlockTokens * kBlockTokens];
  alignas(64) float scales[kChunk / kScaleBlock][kBlockRows];
};
static_assert(sizeof(Scratch) <= kGemmScratchBytes);

// One chunk of K for up to 32 tokens and the rows in scratch.
struct AmxChunk {
  int64_t row;  // first weight row in scratch
  int64_t rows;
  int64_t k;
  int64_t count;  // products
  int64_t token;  // first token
  int64_t tokens;
};

TokenRows token_rows(const GemmArgs& g, const AmxChunk& c, Scratch& s) {
  const auto* x = static_cast<const std::byte*>(g.x.data);
  if (g.x_rows == nullptr) return {x + (c.token * g.x.ld + c.k) * 2, g.x.ld * 2};
  // What is past K in a row is zero up to kPadding, which tiles of 32 products never exceed.
  const int64_t bytes = (c.count + kTileK - 1) / kTileK * kTileK * 2;
  for (int64_t t = 0; t < c.tokens; ++t) {
    std::memcpy(s.tokens + t * kChunk * 2, x + (g.x_rows[c.token + t] * g.x.ld + c.k) * 2,
                static_cast<size_t>(bytes));
  }
  return {s.tokens, kChunk * 2};
}

template <bool kScaled>
void multiply_amx_tokens(const GemmArgs& g, const AmxChunk& c, Scratch& s) {
  const TokenRows x = token_rows(g, c, s);
  const int64_t tiles = (c.count + kTileK - 1) / kTileK;
  const int64_t pairs_stride = tiles * kPairTileBytes;
  for (int64_t r = 0; r < c.rows; r += 2 * kTile) {
    const std::byte* pairs = s.pairs + r / kTile * pairs_stride;
    if constexpr (kScaled) {
      std::memset(s.sums, 0, sizeof(s.sums));
      constexpr int64_t kTilesInBlock = kScaleBlock / kTileK;
      for (int64_t i = 0, b = 0; i < tiles; i += kTilesInBlock, ++b) {
        multiply_tiles(x, c.tokens, pairs, pairs_stride, i, least(tiles, i + kTilesInBlock),
                       s.parts);
        const F low = V::load(s.scales[b] + r), high = V::load(s.scales[b] + r + kTile);
        for (int64_t t = 0; t < c.tokens; ++t) {
          const int64_t row = g.x_rows != nullptr ? g.x_rows[c.token + t] : c.token + t;
          const F scale = V::all(g.x.scales[row * g.x.scale_ld + c.k / kScaleBlock + b]);
          float* sum = s.sums + t * kBlockTokens;
          const float* part = s.parts + t * kBlockTokens;
          V::store(sum, V::fma(V::load(part), V::mul(low, scale), V::load(sum)));
          V::store(sum + kTile,
                   V::fma(V::load(part + kTile), V::mul(high, scale), V::load(sum + kTile)));
        }
      }
    } else {
      multiply_tiles(x, c.tokens, pairs, pairs_stride, 0, tiles, s.sums);
    }
    const int64_t rows = least(c.rows - r, 2 * kTile);
    for (int64_t t = 0; t < c.tokens; ++t) {
      float* out = g.out + (c.token + t) * g.ld_out + c.row - g.row_begin + r;
      if (c.k == 0) {
        std::memcpy(out, s.sums + t * kBlockTokens, static_cast<size_t>(rows) * 4);
      } else {
        add(out, s.sums + t * kBlockTokens, rows);
      }
    }
  }
}

// --- few tokens: the weight is read straight into tiles, the tokens are put in pairs ---

constexpr int64_t kFewTokens = kTile;

// The tokens of a chunk in pairs, one tile for each 32 products; tokens that are not there are 0.
void put_tokens_in_pairs(const GemmArgs& g, int64_t k, int64_t tiles, std::byte* out) {
  const auto* x = static_cast<const std::byte*>(g.x.data);
  for (int64_t i = 0; i < tiles; ++i) {
    __m512i lines[16];
    for (int64_t t = 0; t < kTile; ++t) {
      if (t >= g.num_tokens) {
        lines[t] = _mm512_setzero_si512();
        continue;
      }
      const int64_t row = g.x_rows != nullptr ? g.x_rows[t] : t;
      lines[t] = _mm512_loadu_si512(x + (row * g.x.ld + k + i * kTileK) * 2);
    }
    transpose(lines, out + i * kPairTileBytes);
  }
}

// 16 rows x 32 products of the weight as bf16, 0 where there is nothing.
template <typename Step>
void copy_weights(const Weight& w, int64_t row, int64_t rows, int64_t k, int64_t n,
                  std::byte* out) {
  for (int64_t r = 0; r < kTile; ++r) {
    __m512i line = _mm512_setzero_si512();
    if (r < rows) {
      const std::byte* from =
          static_cast<const std::byte*>(w.data) + ((row + r) * w.cols + k) * Step::kWeightSize;
      line = (__m512i)(n >= kTileK ? Step::weight(from) : Step::weight(from, n));
    }
    _mm512_store_si512(out + r * 64, line);
  }
}

// Adds products [k, k + 32) of one group of 16 rows to tile kGroup. Tile 6 holds the tokens.
template <typename Step, int kGroup>
inline void multiply_group(const Weight& w, int64_t row, int64_t rows, int64_t k, int64_t n,
                           std::byte* copy) {
  if (rows <= 0) return;
  const std::byte* from = copy;
  int64_t stride = 64;
  if (Step::kWeightSize == 2 && rows >= kTile && n >= kTileK) {
    from = static_cast<const std::byte*>(w.data) + (row * w.cols + k) * 2;
    stride = w.cols * 2;
    // 64 rows are more streams than the hardware follows.
    for (int64_t r = 0; r < kTile; ++r) V::prefetch(from + r * stride + 512);
  } else {
    copy_weights<Step>(w, row, rows, k, n, copy);
    __asm__ volatile("" ::: "memory");
  }
  if constexpr (kGroup % 2 == 0) {
    _tile_loadd(4, from, stride);
  } else {
    _tile_loadd(5, from, stride);
  }
  if constexpr (kGroup == 0) _tile_dpbf16ps(0, 4, 6);
  if constexpr (kGroup == 1) _tile_dpbf16ps(1, 5, 6);
  if constexpr (kGroup == 2) _tile_dpbf16ps(2, 4, 6);
  if constexpr (kGroup == 3) _tile_dpbf16ps(3, 5, 6);
}

// Sums of products [begin, end) of a chunk for 64 rows: out [64 rows, 16 tokens].
template <typename Step>
void multiply_rows(const GemmArgs& g, const AmxChunk& c, int64_t begin, int64_t end, Scratch& s,
                   float* out) {
  __asm__ volatile("" ::: "memory");
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  for (int64_t i = begin; i < end; i += kTileK) {
    const int64_t n = c.count - i, k = c.k + i;
    _tile_loadd(6, s.tokens + i / kTileK * kPairTileBytes, 64);
    multiply_group<Step, 0>(*g.weight, c.row, c.rows, k, n, s.pairs);
    multiply_group<Step, 1>(*g.weight, c.row + 16, c.rows - 16, k, n, s.pairs + 1024);
    multiply_group<Step, 2>(*g.weight, c.row + 32, c.rows - 32, k, n, s.pairs + 2048);
    multiply_group<Step, 3>(*g.weight, c.row + 48, c.rows - 48, k, n, s.pairs + 3072);
  }
  _tile_stored(0, out, 64);
  _tile_stored(1, out + 256, 64);
  _tile_stored(2, out + 512, 64);
  _tile_stored(3, out + 768, 64);
  __asm__ volatile("" ::: "memory");
}

// Scales one block of 128 products and adds it to the sums: the same factors, in the same order,
// as multiply_amx_tokens.
void add_scaled_block(const GemmArgs& g, const AmxChunk& c, int64_t block, Scratch& s) {
  const Weight& w = *g.weight;
  const int64_t scale_ld = (w.cols + kScaleBlock - 1) / kScaleBlock;
  alignas(64) float x_scales[kTile] = {};
  for (int64_t t = 0; t < g.num_tokens; ++t) {
    const int64_t row = g.x_rows != nullptr ? g.x_rows[t] : t;
    x_scales[t] = g.x.scales[row * g.x.scale_ld + block];
  }
  const F x = V::load(x_scales);
  for (int64_t r = 0; r < c.rows; ++r) {
    const F scale = V::mul(V::all(w.scales[(c.row + r) / kScaleBlock * scale_ld + block]), x);
    V::store(s.sums + r * kTile,
             V::fma(V::load(s.parts + r * kTile), scale, V::load(s.sums + r * kTile)));
  }
}

template <typename Step>
void multiply_few(const GemmArgs& g) {
  auto& s = *reinterpret_cast<Scratch*>(g.scratch);
  configure(kBlockTokens);
  for (int64_t k = 0; k < g.weight->cols; k += kChunk) {
    const int64_t count = least(g.weight->cols - k, kChunk);
    put_tokens_in_pairs(g, k, (count + kTileK - 1) / kTileK, s.tokens);
    for (int64_t row = g.row_begin; row < g.row_end; row += kBlockRows) {
      const AmxChunk c{row, least(g.row_end - row, kBlockRows), k, count, 0, g.num_tokens};
      if constexpr (Step::kScaled) {
        std::memset(s.sums, 0, sizeof(s.sums));
        for (int64_t i = 0; i < count; i += kScaleBlock) {
          multiply_rows<Step>(g, c, i, least(count, i + kScaleBlock), s, s.parts);
          add_scaled_block(g, c, (k + i) / kScaleBlock, s);
        }
      } else {
        multiply_rows<Step>(g, c, 0, count, s, s.sums);
      }
      for (int64_t t = 0; t < g.num_tokens; ++t) {
        float* out = g.out + t * g.ld_out + row - g.row_begin;
        for (int64_t r = 0; r < c.rows; ++r) {
          const float sum = s.sums[r * kTile + t];
          out[r] = k == 0 ? sum : out[r] + sum;
        }
      }
    }
  }
  _tile_release();
}

template <typename Step>
void multiply_amx(const GemmArgs& g) {
  if (g.num_tokens <= kFewTokens) {
    multiply_few<Step>(g);
    return;
  }
  const Weight& w = *g.weight;
  auto& s = *reinterpret_cast<Scratch*>(g.scratch);
  const int64_t scale_ld = (w.cols + kScaleBlock - 1) / kScaleBlock;
  for (int64_t row = g.row_begin; row < g.row_end; row += kBlockRows) {
    const int64_t rows = least(g.row_end - row, kBlockRows);
    for (int64_t k = 0; k < w.cols; k += kChunk) {
      const int64_t count = least(w.cols - k, kChunk);
      const int64_t tiles = (count + kTileK - 1) / kTileK;
      const int64_t padded = (rows + 2 * kTile - 1) / (2 * kTile) * (2 * kTile);
      for (int64_t r = 0; r < padded; r += kTile)
        put_in_pairs<Step>(w, row + r, rows - r, k, count,
                           s.pairs + r / kTile * tiles * kPairTileBytes);
      for (int64_t b = 0; Step::kScaled && b * kScaleBlock < count; ++b) {
        for (int64_t r = 0; r < padded; ++r) {
          const int64_t at = least(row + r, w.rows - 1) / kScaleBlock * scale_ld;
          s.scales[b][r] = w.scales[at + k / kScaleBlock + b];
        }
      }
      for (int64_t t = 0; t < g.num_tokens; t += kBlockTokens) {
        const int64_t tokens = least(g.num_tokens - t, kBlockTokens);
        if (t == 0 || tokens < kBlockTokens) configure(tokens);
        multiply_amx_tokens<Step::kScaled>(g, {row, rows, k, count, t, tokens}, s);
      }
    }
  }
  _tile_release();
}

void gemm_amx(const GemmArgs& g) {
  if (g.num_tokens == 0) return;
  if (g.x.form == Form::kBF16) {
    multiply_amx<Bf16Step>(g);
  } else if (g.x.form == Form::kQ8) {
    multiply_amx<Q8Step>(g);
  } else {
    gemm(g);
  }
}

double multiply_tile_registers(bool f32, int64_t rounds) {
  if (f32) return multiply_registers(true, rounds);
  configure(kBlockTokens);
  for (int64_t i = 0; i < rounds; ++i) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  _tile_release();
  return static_cast<double>(rounds * 4 * kTile * kTile * kTileK) * 2.0;
}

constexpr Primitives make_amx_table() {
  Primitives table = make_table("amx");
  table.gemm = gemm_amx;
  table.multiply_registers = multiply_tile_registers;
  return table;
}
constexpr Primitives kTable = make_amx_table();

}  // namespace

const Primitives& amx_primitives() {
  return kTable;
}

}  // namespace galley::kernels::cpu
