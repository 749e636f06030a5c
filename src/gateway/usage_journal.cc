#include "gateway/usage_journal.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <optional>

#include "base/check.h"
#include "base/log.h"

namespace galley::gateway {
namespace {

constexpr int64_t kReplayBytesMax = 1 << 30;

Status disk(const std::string& path, const char* what) {
  return Status(Code::kUnavailable,
                "the usage journal '" + path + "': " + what + ": " + std::strerror(errno));
}

// Empty is "-", so that every field has a character.
std::string spell(std::string_view text) {
  if (text.empty()) return "-";
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

std::optional<std::string> unspell(std::string_view text) {
  if (text == "-") return std::string();
  if (text.size() % 2 != 0) return std::nullopt;
  std::string out;
  for (size_t i = 0; i < text.size(); i += 2) {
    unsigned value = 0;
    const char* end = text.data() + i + 2;
    const auto parsed = std::from_chars(text.data() + i, end, value, 16);
    if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
    out += static_cast<char>(value);
  }
  return out;
}

// The fields of one line, taken from the front; `good` stays false after the first that is wrong.
class Fields {
 public:
  explicit Fields(std::string_view line) : rest_(line) {}

  std::string_view word() {
    const size_t end = std::min(rest_.find(' '), rest_.size());
    const std::string_view out = rest_.substr(0, end);
    rest_.remove_prefix(std::min(end + 1, rest_.size()));
    good_ = good_ && !out.empty();
    return out;
  }
  int64_t number() {
    const std::string_view text = word();
    int64_t value = 0;
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
    good_ = good_ && parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
    return value;
  }
  std::string name() {
    const std::optional<std::string> out = unspell(word());
    good_ = good_ && out.has_value();
    return out.value_or("");
  }
  bool good() const { return good_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool good_ = true;
};

Result<std::string> read_all(int file, const std::string& path) {
  struct stat info;
  if (::fstat(file, &info) != 0) return disk(path, "stat");
  if (info.st_size > kReplayBytesMax)
    return Status(Code::kTooLarge, "the usage journal '" + path + "' is too large to be read");
  std::string text(static_cast<size_t>(info.st_size), '\0');
  size_t have = 0;
  while (have < text.size()) {
    const ssize_t got =
        ::pread(file, text.data() + have, text.size() - have, static_cast<off_t>(have));
    if (got <= 0) return disk(path, "read");
    have += static_cast<size_t>(got);
  }
  return text;
}

}  // namespace

std::vector<UsageRow> UsageJournal::replay(std::string_view text) {
  std::map<int64_t, Live> live;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    if (end == std::string_view::npos) break;  // Torn.
    Fields fields(text.substr(0, end));
    text.remove_prefix(end + 1);
    const std::string_view kind = fields.word();
    const int64_t sequence = fields.number();
    if (kind == "o") {
      Live one;
      one.row.request = fields.name();
      one.row.tenant = fields.number();
      one.row.key = fields.name();
      one.prices.price_input = fields.number();
      one.prices.price_cached = fields.number();
      one.prices.price_output = fields.number();
      one.row.at_s = fields.number();
      one.row.user = fields.name();
      one.row.model = fields.name();
      if (!fields.good()) break;
      live[sequence] = std::move(one);
    } else if (kind == "t") {
      const auto found = live.find(sequence);
      UsageRow counts;
      counts.prompt_tokens = fields.number();
      counts.cached_tokens = fields.number();
      counts.output_tokens = fields.number();
      if (!fields.good() || found == live.end()) break;
      found->second.row.prompt_tokens = counts.prompt_tokens;
      found->second.row.cached_tokens = counts.cached_tokens;
      found->second.row.output_tokens = counts.output_tokens;
    } else if (kind == "d" && fields.good()) {
      live.erase(sequence);
    } else {
      break;
    }
  }
  std::vector<UsageRow> out;
  for (auto& [sequence, one] : live) {
    UsageRow& row = one.row;
    if (row.prompt_tokens == 0 && row.output_tokens == 0) continue;
    row.cost_pico = cost_pico(one.prices, row.prompt_tokens, row.cached_tokens, row.output_tokens);
    out.push_back(std::move(row));
  }
  return out;
}

Result<std::unique_ptr<UsageJournal>> UsageJournal::open(const std::string& store_path,
                                                         TenantStore* store) {
  std::unique_ptr<UsageJournal> out;
  for (int i = 0; i < kFilesMax; ++i) {
    const std::string path = store_path + ".usage-" + std::to_string(i);
    const bool wanted = out == nullptr;  // Others are only looked at if they exist.
    const int file =
        ::open(path.c_str(), O_RDWR | O_APPEND | O_CLOEXEC | (wanted ? O_CREAT : 0), 0600);
    if (file < 0 && !wanted && errno == ENOENT) continue;
    if (file < 0) return disk(path, "open");
    if (::flock(file, LOCK_EX | LOCK_NB) != 0) {  // Its process lives.
      ::close(file);
      continue;
    }
    const Result<std::string> text = read_all(file, path);
    Status status = text.status();
    if (text.ok()) {
      const std::vector<UsageRow> rows = replay(*text);
      status = store->book(rows);
      if (status.ok() && !rows.empty())
        log_info("usage journal: booked ", rows.size(), " requests a dead process had served");
    }
    if (status.ok() && ::ftruncate(file, 0) != 0) status = disk(path, "truncate");
    if (!status.ok() || !wanted) {
      ::close(file);
      GALLEY_RETURN_IF_ERROR(status);
      continue;
    }
    out.reset(new UsageJournal(file, path));
  }
  if (out == nullptr)
    return Status(Code::kUnavailable, "'" + store_path + "' is in use by " +
                                          std::to_string(kFilesMax) + " servers already");
  return out;
}

UsageJournal::~UsageJournal() {
  ::close(file_);
}

std::string UsageJournal::begin_line(uint64_t sequence, const Live& live) {
  const UsageRow& row = live.row;
  return "o " + std::to_string(sequence) + ' ' + spell(row.request) + ' ' +
         std::to_string(row.tenant) + ' ' + spell(row.key) + ' ' +
         std::to_string(live.prices.price_input) + ' ' + std::to_string(live.prices.price_cached) +
         ' ' + std::to_string(live.prices.price_output) + ' ' + std::to_string(row.at_s) + ' ' +
         spell(row.user) + ' ' + spell(row.model) + '\n';
}

std::string UsageJournal::count_line(uint64_t sequence, const UsageRow& row) {
  return "t " + std::to_string(sequence) + ' ' + std::to_string(row.prompt_tokens) + ' ' +
         std::to_string(row.cached_tokens) + ' ' + std::to_string(row.output_tokens) + '\n';
}

Status UsageJournal::append(const std::string& lines) {
  size_t sent = 0;
  while (sent < lines.size()) {
    const ssize_t wrote = ::write(file_, lines.data() + sent, lines.size() - sent);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return disk(path_, "write");
    sent += static_cast<size_t>(wrote);
  }
  bytes_ += lines.size();
  return Status();
}

Result<uint64_t> UsageJournal::begin(const UsageRow& row, const Tier& tier) {
  if (bytes_ > kRewriteBytes) GALLEY_RETURN_IF_ERROR(rewrite());
  const uint64_t sequence = ++last_;
  const Live live{row, tier};
  GALLEY_RETURN_IF_ERROR(append(begin_line(sequence, live)));
  live_.emplace(sequence, live);
  return sequence;
}

Status UsageJournal::delivered(uint64_t sequence, int64_t prompt_tokens, int64_t cached_tokens,
                               int64_t output_tokens) {
  UsageRow& row = live_.at(sequence).row;
  const bool same = row.prompt_tokens == prompt_tokens && row.cached_tokens == cached_tokens &&
                    row.output_tokens == output_tokens;
  if (same) return Status();
  row.prompt_tokens = prompt_tokens;
  row.cached_tokens = cached_tokens;
  row.output_tokens = output_tokens;
  return append(count_line(sequence, row));
}

UsageRow UsageJournal::row(uint64_t sequence) const {
  const Live& live = live_.at(sequence);
  UsageRow row = live.row;
  row.cost_pico = cost_pico(live.prices, row.prompt_tokens, row.cached_tokens, row.output_tokens);
  return row;
}

Status UsageJournal::booked(uint64_t sequence) {
  GALLEY_CHECK(live_.erase(sequence) == 1, "the sequence is live");
  return append("d " + std::to_string(sequence) + '\n');
}

// Beside the old file, then in its place: at every moment one whole journal has the name. A process
// that opened the old file meanwhile finds it locked, or its rows booked twice without effect.
Status UsageJournal::rewrite() {
  std::string text;
  for (const auto& [sequence, live] : live_) {
    text += begin_line(sequence, live);
    text += count_line(sequence, live.row);
  }
  const std::string path = path_ + ".new";
  const int file = ::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return disk(path, "open");
  const int old = file_;
  file_ = file;
  bytes_ = 0;
  Status status = append(text);
  if (status.ok() && ::flock(file, LOCK_EX | LOCK_NB) != 0) status = disk(path, "lock");
  if (status.ok() && ::rename(path.c_str(), path_.c_str()) != 0) status = disk(path, "rename");
  if (!status.ok()) {
    file_ = old;
    bytes_ = kRewriteBytes + 1;
    ::close(file);
    return status;
  }
  ::close(old);
  return Status();
}

}  // namespace galley::gateway
