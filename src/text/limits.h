// Bounds of the text layer: what a model folder may contain and what one call may cost.
#pragma once

#include <cstddef>
#include <cstdint>

namespace galley::text {

struct TokenizerLimits {
  size_t file_bytes_max = size_t{48} << 20;  // tokenizer.json of Llama 3 has 17 MB, DeepSeek-V3's 8
  size_t json_depth_max = 64;
  size_t vocab_max = size_t{1} << 21;  // highest token id + 1
  size_t merges_max = size_t{1} << 21;
  size_t added_tokens_max = size_t{1} << 16;
  size_t added_bytes_max = size_t{4} << 20;  // of all added tokens together
  size_t token_bytes_max = 4096;             // of one token's string
  size_t pattern_bytes_max = size_t{1} << 16;
  size_t steps_max = 64;                     // normalizers, pre-tokenizers, ... after flattening
  size_t text_bytes_max = size_t{16} << 20;  // of one encode()
  size_t normalized_bytes_max = size_t{64} << 20;  // what normalisation may blow a text up to
  // Steps of the regular expressions in one encode(): a fixed allowance and one per byte of text.
  uint64_t match_steps_base = 10'000'000;
  uint64_t match_steps_per_byte = 128;
};

}  // namespace galley::text
