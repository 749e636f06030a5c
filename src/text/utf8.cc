#include "text/utf8.h"

#include <cstdint>

namespace galley::text {
namespace {

struct Lead {
  size_t length = 0;          // of the whole sequence; 0 when no sequence begins with this byte
  uint8_t second_min = 0x80;  // the range of the second byte; later ones are 80..BF
  uint8_t second_max = 0xBF;
};

// Table 3-7 of the Unicode standard.
Lead lead_of(uint8_t byte) {
  if (byte < 0x80) return {1};
  if (byte >= 0xC2 && byte <= 0xDF) return {2};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0};
}

enum class Outcome { kValid, kInvalid, kCut };

// Reads one sequence at `at`. kValid and kInvalid: `length` bytes are the character or the maximal
// invalid piece. kCut: the bytes end inside a sequence that is valid so far.
Outcome read_sequence(std::string_view bytes, size_t at, size_t& length) {
  const Lead lead = lead_of(static_cast<uint8_t>(bytes[at]));
  length = 1;
  if (lead.length == 0) return Outcome::kInvalid;
  for (; length < lead.length; ++length) {
    if (at + length == bytes.size()) return Outcome::kCut;
    const auto byte = static_cast<uint8_t>(bytes[at + length]);
    const uint8_t min = length == 1 ? lead.second_min : 0x80;
    const uint8_t max = length == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return Outcome::kInvalid;
  }
  return Outcome::kValid;
}

}  // namespace

void append_utf8(std::string& out, char32_t code_point) {
  const auto c = static_cast<uint32_t>(code_point);
  const auto tail = [&](int shift) {
    out.push_back(static_cast<char>(0x80 | ((c >> shift) & 0x3F)));
  };
  if (c < 0x80) {
    out.push_back(static_cast<char>(c));
  } else if (c < 0x800) {
    out.push_back(static_cast<char>(0xC0 | (c >> 6)));
    tail(0);
  } else if (c < 0x10000) {
    out.push_back(static_cast<char>(0xE0 | (c >> 12)));
    tail(6);
    tail(0);
  } else {
    out.push_back(static_cast<char>(0xF0 | (c >> 18)));
    tail(12);
    tail(6);
    tail(0);
  }
}

char32_t next_code_point(std::string_view valid, size_t& pos) {
  const auto byte = [&](size_t i) {
    return static_cast<uint32_t>(static_cast<uint8_t>(valid[pos + i]));
  };
  const uint32_t lead = byte(0);
  uint32_t c = lead;
  size_t length = 1;
  if (lead >= 0xF0) {
    c = ((lead & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) |
        (byte(3) & 0x3F);
    length = 4;
  } else if (lead >= 0xE0) {
    c = ((lead & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F);
    length = 3;
  } else if (lead >= 0x80) {
    c = ((lead & 0x1F) << 6) | (byte(1) & 0x3F);
    length = 2;
  }
  pos += length;
  return c;
}

size_t last_code_point_at(std::string_view valid) {
  size_t at = valid.size() - 1;
  while (at > 0 && (static_cast<uint8_t>(valid[at]) & 0xC0) == 0x80) --at;
  return at;
}

size_t valid_utf8_prefix(std::string_view bytes) {
  size_t at = 0;
  while (at < bytes.size()) {
    if (static_cast<uint8_t>(bytes[at]) < 0x80) {
      ++at;
      continue;
    }
    size_t length = 0;
    if (read_sequence(bytes, at, length) != Outcome::kValid) return at;
    at += length;
  }
  return at;
}

void Utf8Stream::push(std::string_view bytes, std::string& out) {
  if (!pending_.empty()) {
    pending_.append(bytes);
    bytes = pending_;
  }
  size_t at = 0;
  while (at < bytes.size()) {
    size_t length = 0;
    const Outcome outcome = read_sequence(bytes, at, length);
    if (outcome == Outcome::kCut) break;
    if (outcome == Outcome::kValid) {
      out.append(bytes.substr(at, length));
    } else {
      out.append(kReplacementUtf8);
    }
    at += length;
  }
  std::string rest(bytes.substr(at));
  pending_ = std::move(rest);
}

void Utf8Stream::flush(std::string& out) {
  if (!pending_.empty()) out.append(kReplacementUtf8);
  pending_.clear();
}

std::string to_valid_utf8(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size());
  Utf8Stream stream;
  stream.push(bytes, out);
  stream.flush(out);
  return out;
}

}  // namespace galley::text
