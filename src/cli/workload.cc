#include "cli/workload.h"

#include <algorithm>
#include <array>
#include <boost/json/parse.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "base/file.h"

namespace galley::cli {

namespace {

constexpr int64_t kMicrosPerSecond = 1'000'000;
constexpr uint64_t kSharedPrefix = 0x5eed0000ffff0000;  // names the block all requests share

constexpr std::array<std::string_view, 64> kWords = {
    "the",  "of",    "and",   "to",   "in",   "is",    "you",   "that",  "it",   "he",    "was",
    "for",  "on",    "are",   "as",   "with", "his",   "they",  "at",    "be",   "this",  "have",
    "from", "or",    "one",   "had",  "by",   "word",  "but",   "not",   "what", "all",   "were",
    "we",   "when",  "your",  "can",  "said", "there", "use",   "an",    "each", "which", "she",
    "do",   "how",   "their", "if",   "will", "up",    "other", "about", "out",  "many",  "then",
    "them", "these", "so",    "some", "her",  "would", "make",  "like",  "water"};

Status bad_line(size_t line, const std::string& why) {
  return Status(Code::kInvalid, "trace line " + std::to_string(line) + ": " + why);
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && (text.back() == '\r' || text.back() == ' ')) text.remove_suffix(1);
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  return text;
}

template <typename T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop != text.data() + text.size()) return std::nullopt;
  return value;
}

// Days since 1970-01-01 in the proleptic Gregorian calendar.
int64_t days_since_epoch(int64_t year, int64_t month, int64_t day) {
  const int64_t y = month <= 2 ? year - 1 : year;
  const int64_t era = (y >= 0 ? y : y - 399) / 400;
  const int64_t year_of_era = y - era * 400;
  const int64_t day_of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year -
         719468;
}

// "2023-11-16 18:15:46.6805900", with or without an offset of zero at the end.
std::optional<int64_t> parse_timestamp_us(std::string_view text) {
  for (const std::string_view zone : {"+00:00", "Z"}) {
    if (text.ends_with(zone)) text.remove_suffix(zone.size());
  }
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' ||
      (text[10] != ' ' && text[10] != 'T') || text[13] != ':' || text[16] != ':') {
    return std::nullopt;
  }
  const auto year = number<int64_t>(text.substr(0, 4));
  const auto month = number<int64_t>(text.substr(5, 2));
  const auto day = number<int64_t>(text.substr(8, 2));
  const auto hour = number<int64_t>(text.substr(11, 2));
  const auto minute = number<int64_t>(text.substr(14, 2));
  const auto second = number<double>(text.substr(17));
  if (!year || !month || !day || !hour || !minute || !second || *month < 1 || *month > 12 ||
      *day < 1 || *day > 31 || *hour < 0 || *hour > 23 || *minute < 0 || *minute > 59 ||
      !(*second >= 0 && *second < 61)) {
    return std::nullopt;
  }
  const int64_t minutes = (days_since_epoch(*year, *month, *day) * 24 + *hour) * 60 + *minute;
  return minutes * 60 * kMicrosPerSecond +
         static_cast<int64_t>(std::llround(*second * static_cast<double>(kMicrosPerSecond)));
}

Result<PlannedRequest> parse_json_line(std::string_view text, size_t line,
                                       const WorkloadLimits& limits) {
  boost::system::error_code error;
  const boost::json::value json =
      boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error || !json.is_object()) return bad_line(line, "is not a JSON object");
  const boost::json::object& object = json.as_object();
  const auto integer = [&](const char* key, int64_t max) -> Result<int64_t> {
    const boost::json::value* const field = object.if_contains(key);
    if (field == nullptr) return bad_line(line, std::string(key) + " is missing");
    boost::system::error_code wrong;
    const double value = field->to_number<double>(wrong);
    if (wrong || !(value >= 0 && value <= static_cast<double>(max)) || value != std::floor(value)) {
      return bad_line(line,
                      std::string(key) + " is not a whole number from 0 to " + std::to_string(max));
    }
    return static_cast<int64_t>(value);
  };
  PlannedRequest out;
  constexpr int64_t kTimeMax = int64_t{1} << 50;  // ms; keeps microseconds within 64 bits
  GALLEY_ASSIGN_OR_RETURN(const int64_t at_ms, integer("timestamp", kTimeMax / 1000));
  GALLEY_ASSIGN_OR_RETURN(const int64_t input, integer("input_length", limits.tokens_max));
  GALLEY_ASSIGN_OR_RETURN(const int64_t output, integer("output_length", limits.tokens_max));
  out.at_us = at_ms * 1000;
  out.input_tokens = static_cast<int32_t>(input);
  out.output_tokens = static_cast<int32_t>(output);
  const boost::json::value* const hashes = object.if_contains("hash_ids");
  if (hashes == nullptr) return out;
  if (!hashes->is_array() || hashes->as_array().size() > limits.prefix_blocks_max) {
    return bad_line(line, "hash_ids is not a list of at most " +
                              std::to_string(limits.prefix_blocks_max) + " numbers");
  }
  for (const boost::json::value& hash : hashes->as_array()) {
    boost::system::error_code wrong;
    out.prefix_blocks.push_back(hash.to_number<uint64_t>(wrong));
    if (wrong) return bad_line(line, "hash_ids holds something else than whole numbers");
  }
  return out;
}

struct CsvColumns {
  size_t time = std::string::npos;
  size_t input = std::string::npos;
  size_t output = std::string::npos;
};

std::vector<std::string_view> split_csv(std::string_view text) {
  std::vector<std::string_view> cells;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    cells.push_back(trimmed(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  return cells;
}

Result<CsvColumns> parse_csv_header(std::string_view text) {
  CsvColumns out;
  const std::vector<std::string_view> names = split_csv(text);
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == "TIMESTAMP") out.time = i;
    if (names[i] == "ContextTokens") out.input = i;
    if (names[i] == "GeneratedTokens") out.output = i;
  }
  if (std::max({out.time, out.input, out.output}) == std::string::npos) {
    return Status(Code::kInvalid,
                  "this is no trace: the first line is neither a JSON object with timestamp,"
                  " input_length and output_length nor a CSV header with TIMESTAMP, ContextTokens"
                  " and GeneratedTokens");
  }
  return out;
}

Result<PlannedRequest> parse_csv_line(std::string_view text, size_t line, const CsvColumns& columns,
                                      const WorkloadLimits& limits) {
  const std::vector<std::string_view> cells = split_csv(text);
  if (std::max({columns.time, columns.input, columns.output}) >= cells.size()) {
    return bad_line(line, "has " + std::to_string(cells.size()) + " cells, fewer than the header");
  }
  const auto at_us = parse_timestamp_us(cells[columns.time]);
  const auto input = number<int32_t>(cells[columns.input]);
  const auto output = number<int32_t>(cells[columns.output]);
  if (!at_us) return bad_line(line, "TIMESTAMP is not like 2023-11-16 18:15:46.68");
  if (!input || *input < 0 || *input > limits.tokens_max) {
    return bad_line(line, "ContextTokens is not a number of tokens");
  }
  if (!output || *output < 0 || *output > limits.tokens_max) {
    return bad_line(line, "GeneratedTokens is not a number of tokens");
  }
  PlannedRequest out;
  out.at_us = *at_us;
  out.input_tokens = *input;
  out.output_tokens = *output;
  return out;
}

}  // namespace

uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15;
  uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

double Random::uniform() {
  return static_cast<double>(next() >> 11) * 0x1p-53;
}

uint64_t Random::below(uint64_t bound) {
  // The bias of a plain modulo is below 2^-40 for the bounds used here.
  return bound == 0 ? 0 : next() % bound;
}

double Random::exponential(double mean) {
  return -mean * std::log(1.0 - uniform());
}

double Random::gamma(double shape, double mean) {
  // Marsaglia and Tsang, "A simple method for generating gamma variables" (2000); shapes below 1
  // by their boost with a power of a uniform.
  const double boosted = shape < 1 ? shape + 1 : shape;
  const double d = boosted - 1.0 / 3.0;
  const double c = 1.0 / std::sqrt(9.0 * d);
  while (true) {
    const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));
    const double x = radius * std::cos(2.0 * std::numbers::pi * uniform());
    const double v = std::pow(1.0 + c * x, 3.0);
    if (v <= 0) continue;
    const double u = 1.0 - uniform();
    if (std::log(u) >= 0.5 * x * x + d - d * v + d * std::log(v)) continue;
    double value = d * v;
    if (shape < 1) value *= std::pow(1.0 - uniform(), 1.0 / shape);
    return value * mean / shape;
  }
}

std::vector<PlannedRequest> plan_arrivals(const ArrivalOptions& options) {
  Random random(options.seed);
  std::vector<PlannedRequest> plan;
  double at_s = 0;
  for (int64_t i = 0; i < options.count; ++i) {
    PlannedRequest request;
    request.at_us = static_cast<int64_t>(at_s * static_cast<double>(kMicrosPerSecond));
    request.input_tokens = options.input_tokens;
    request.output_tokens = options.output_tokens;
    for (int32_t t = 0; t < options.prefix_tokens; t += kTraceBlockTokens) {
      request.prefix_blocks.push_back(kSharedPrefix + static_cast<uint64_t>(t));
    }
    plan.push_back(std::move(request));
    if (std::isinf(options.requests_per_s)) continue;
    const double mean = 1.0 / options.requests_per_s;
    at_s +=
        options.burstiness == 1 ? random.exponential(mean) : random.gamma(options.burstiness, mean);
  }
  return plan;
}

Result<std::vector<PlannedRequest>> parse_trace(std::string_view text,
                                                const WorkloadLimits& limits) {
  std::vector<PlannedRequest> plan;
  std::optional<CsvColumns> columns;
  size_t line = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++line;
    if (row.empty()) continue;
    if (plan.empty() && !columns && row.front() != '{') {
      GALLEY_ASSIGN_OR_RETURN(columns, parse_csv_header(row));
      continue;
    }
    if (plan.size() == limits.requests_max) {
      return Status(Code::kTooLarge,
                    "the trace has more than " + std::to_string(limits.requests_max) + " requests");
    }
    GALLEY_ASSIGN_OR_RETURN(
        PlannedRequest request,
        columns ? parse_csv_line(row, line, *columns, limits) : parse_json_line(row, line, limits));
    plan.push_back(std::move(request));
  }
  if (plan.empty()) return Status(Code::kInvalid, "the trace holds no request");
  std::stable_sort(plan.begin(), plan.end(), [](const PlannedRequest& a, const PlannedRequest& b) {
    return a.at_us < b.at_us;
  });
  const int64_t start_us = plan.front().at_us;
  for (PlannedRequest& request : plan) request.at_us -= start_us;
  return plan;
}

Result<std::vector<PlannedRequest>> read_trace(const std::string& path,
                                               const WorkloadLimits& limits) {
  GALLEY_ASSIGN_OR_RETURN(const std::string text, read_file(path, limits.file_bytes_max));
  Result<std::vector<PlannedRequest>> plan = parse_trace(text, limits);
  if (!plan.ok()) return Status(plan.code(), path + ": " + plan.message());
  return plan;
}

void shape_replay(const ReplayOptions& options, std::vector<PlannedRequest>* plan) {
  if (options.count > 0 && static_cast<size_t>(options.count) < plan->size()) {
    plan->resize(static_cast<size_t>(options.count));
  }
  for (PlannedRequest& request : *plan) {
    request.at_us = static_cast<int64_t>(static_cast<double>(request.at_us) / options.speed);
    request.input_tokens = std::max(request.input_tokens, 1);
    request.output_tokens = std::max(request.output_tokens, 1);
    if (options.input_tokens_max > 0) {
      request.input_tokens = std::min(request.input_tokens, options.input_tokens_max);
    }
    if (options.output_tokens_max > 0) {
      request.output_tokens = std::min(request.output_tokens, options.output_tokens_max);
    }
  }
  if (options.duration_s <= 0) return;
  const auto end_us = static_cast<int64_t>(options.duration_s * 1e6);
  std::erase_if(*plan, [end_us](const PlannedRequest& request) { return request.at_us >= end_us; });
}

Result<PromptShape> fit_prompt_shape(int64_t words_a, int64_t tokens_a, int64_t words_b,
                                     int64_t tokens_b) {
  PromptShape out;
  out.tokens_per_word =
      static_cast<double>(tokens_b - tokens_a) / static_cast<double>(words_b - words_a);
  out.tokens_fixed =
      static_cast<double>(tokens_a) - out.tokens_per_word * static_cast<double>(words_a);
  if (!(out.tokens_per_word > 0.1 && out.tokens_per_word < 32)) {
    return Status(Code::kInvalid, "the server counts " + std::to_string(tokens_a) + " and " +
                                      std::to_string(tokens_b) + " prompt tokens for " +
                                      std::to_string(words_a) + " and " + std::to_string(words_b) +
                                      " words; prompts of a given length cannot"
                                      " be made from that");
  }
  return out;
}

std::string random_words(uint64_t seed, int64_t count) {
  Random random(seed);
  std::string out;
  for (int64_t i = 0; i < count; ++i) {
    if (i > 0) out.push_back(' ');
    out.append(kWords[random.below(kWords.size())]);
  }
  return out;
}

std::string make_prompt(const PlannedRequest& request, const PromptShape& shape, uint64_t seed,
                        uint64_t index) {
  const double wanted = std::max(1.0, request.input_tokens - shape.tokens_fixed);
  const int64_t words_total = std::max<int64_t>(1, std::llround(wanted / shape.tokens_per_word));
  const int64_t words_per_block =
      std::max<int64_t>(1, std::llround(kTraceBlockTokens / shape.tokens_per_word));
  std::string out;
  int64_t words = 0;
  for (const uint64_t block : request.prefix_blocks) {
    if (words + words_per_block > words_total) break;
    if (words > 0) out.push_back(' ');
    out += random_words(seed ^ (block * 0x9e3779b97f4a7c15), words_per_block);
    words += words_per_block;
  }
  if (words == words_total) return out;
  if (words > 0) out.push_back(' ');
  out += random_words(~seed ^ (index * 0xd1342543de82ef95), words_total - words);
  return out;
}

}  // namespace galley::cli
