#include "hub/pull.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

#include "base/clock.h"
#include "base/file.h"
#include "hub/cache.h"
#include "hub/digest.h"
#include "hub/progress.h"

namespace galley::hub {
namespace {

constexpr auto kReportEvery = std::chrono::milliseconds(250);
constexpr int64_t kSpareBytes = 64 << 20;  // left on the disk
constexpr int kTriesWithCache = 2;
constexpr int kCorruptMax = 2;  // times a file may arrive wrong

bool may_pass(int status) {
  return status == 408 || status == 429 || status >= 500;
}

// What an answer that is no 2xx means.
Status refused(const PullOptions& options, const FetchHead& head, const std::string& what) {
  const std::string said = head.header("x-error-message");
  const std::string text =
      what + ": HTTP " + std::to_string(head.status) + (said.empty() ? "" : ", " + said);
  const bool face = options.source == Source::kHuggingFace;
  const std::string variable = face ? "HF_TOKEN" : "MODELSCOPE_API_TOKEN";
  if (head.status == 401 || head.status == 403) {
    return Status(Code::kInvalid,
                  text +
                      (options.token.empty() ? "; there is no such model, or it needs a token: set "
                                             : "; this token may not read it: accept the model's "
                                               "terms on its page, or set another ") +
                      variable);
  }
  if (head.status == 404) return Status(Code::kNotFound, text + "; check the name and --revision");
  return Status(Code::kUnavailable, text);
}

class Puller {
 public:
  explicit Puller(const PullOptions& options)
      : options_(options), cache_(options.cache, options.repository) {}

  Result<Pulled> run() {
    GALLEY_ASSIGN_OR_RETURN(endpoint_, parse_fetch_url(options_.endpoint));
    while (endpoint_.target.ends_with('/')) endpoint_.target.pop_back();
    if (options_.offline) return without_hub("HF_HUB_OFFLINE is set");
    auto listing = list();
    if (!listing.ok()) {
      const Code code = listing.code();
      if (code != Code::kUnavailable && code != Code::kDeadline) return listing.status();
      auto kept = without_hub(listing.message());
      if (kept.ok()) say(listing.message() + "; what was fetched before is used");
      return kept.ok() ? std::move(kept) : listing.status();
    }
    return fetch(*listing);
  }

 private:
  void say(const std::string& line) const {
    if (options_.report) options_.report(line, true);
  }

  // What an earlier pull has completed.
  Result<Pulled> without_hub(const std::string& why) const {
    const auto commit = cache_.read_ref(options_.revision);
    if (!commit || !cache_.is_complete(*commit)) {
      return Status(Code::kNotFound, options_.repository + " at " + options_.revision +
                                         " is not complete in " + options_.cache +
                                         ", and the hub cannot be asked (" + why + ")");
    }
    return Pulled{cache_.snapshot(*commit), *commit, 0, 0, 0};
  }

  FetchUrl at_endpoint(const std::string& target) const {
    FetchUrl url = endpoint_;
    url.target += target;
    return url;
  }

  // GET with redirects followed. `range_from`: where to go on.
  Result<FetchHead> get(Fetcher* fetcher, FetchUrl url, int64_t range_from, const FetchSink& sink,
                        bool* elsewhere = nullptr) const {
    for (int hops = 0; hops <= options_.limits.redirects_max; ++hops) {
      std::vector<std::pair<std::string, std::string>> headers;
      const bool home = url.same_server(endpoint_);
      if (elsewhere != nullptr) *elsewhere = !home;
      if (home && !options_.token.empty()) {
        headers.emplace_back("Authorization", "Bearer " + options_.token);
        if (options_.source == Source::kModelScope)
          headers.emplace_back("Cookie", "m_session_id=" + options_.token);
      }
      if (range_from > 0)
        headers.emplace_back("Range", "bytes=" + std::to_string(range_from) + "-");
      GALLEY_ASSIGN_OR_RETURN(FetchHead head, fetcher->get(url, headers, sink));
      const std::string& location = head.header("location");
      if (head.status / 100 != 3 || location.empty()) return head;
      GALLEY_ASSIGN_OR_RETURN(FetchUrl next, resolve_location(url, location));
      if (url.tls && !next.tls)
        return Status(Code::kCorrupt, "the hub sends from https to http, to " + next.host);
      url = std::move(next);
    }
    return Status(Code::kCorrupt, "the hub redirects without end");
  }

  // Waits before try number `tries`. False: stopped meanwhile.
  bool wait(int tries, int64_t at_least_s) {
    const int64_t doubled = options_.first_wait_ms << std::min(tries, 20);
    const int64_t ms =
        std::min(std::max(doubled, at_least_s * 1000), options_.limits.retry_wait_ms_max);
    std::unique_lock lock(mutex_);
    return !woken_.wait_for(lock, std::chrono::milliseconds(ms), [this] { return stop_.load(); });
  }

  Result<Listing> list() {
    Fetcher fetcher(&stop_, options_.fetch);
    const FetchUrl url =
        at_endpoint(listing_target(options_.source, options_.repository, options_.revision));
    const std::string what = "the list of files of " + options_.repository;
    // Nobody waits long for a list who can do without.
    const auto commit = cache_.read_ref(options_.revision);
    const int tries_max =
        commit && cache_.is_complete(*commit) ? kTriesWithCache : options_.limits.tries_max;
    for (int tries = 0;; ++tries) {
      std::string body;
      FetchSink sink;
      sink.on_head = [&](const FetchHead&) {
        body.clear();
        return Status();
      };
      sink.on_body = [&](std::string_view piece) {
        body.append(piece);
        if (body.size() <= options_.limits.listing_bytes_max) return Status();
        return Status(Code::kCorrupt, what + " is too long");
      };
      const auto head = get(&fetcher, url, 0, sink);
      const bool last = tries + 1 >= tries_max;
      if (head.ok() && head->status / 100 == 2)
        return parse_listing(options_.source, body, options_.limits);
      if (!head.ok() && (last || !is_passing(head.code()))) return head.status();
      if (head.ok() && (last || !may_pass(head->status))) return refused(options_, *head, what);
      wait(tries, head.ok() ? head->retry_after_s() : 0);
    }
  }

  static bool is_passing(Code code) {
    return code == Code::kUnavailable || code == Code::kDeadline;
  }

  Result<Pulled> fetch(const Listing& listing) {
    Pulled out{cache_.snapshot(listing.commit), listing.commit, 0, 0, 0};
    std::vector<RemoteFile> files;
    for (const RemoteFile& file : listing.files)
      if (wanted(file.path, options_.patterns)) files.push_back(file);
    GALLEY_RETURN_IF_ERROR(check_use(files));
    std::vector<const RemoteFile*> missing;
    int64_t present = 0;
    for (const RemoteFile& file : files) {
      out.bytes += file.size;
      cache_.has_blob(file) ? void(present += file.size) : missing.push_back(&file);
    }
    out.files = static_cast<int64_t>(files.size());
    GALLEY_RETURN_IF_ERROR(check_space(missing));
    // The longest first, so that none is left for the end.
    std::stable_sort(missing.begin(), missing.end(),
                     [](const auto* a, const auto* b) { return a->size > b->size; });
    progress_ = std::make_unique<Progress>(out.bytes, present);
    files_done_ = out.files - static_cast<int64_t>(missing.size());
    files_ = out.files;
    GALLEY_RETURN_IF_ERROR(fetch_all(listing.commit, missing));
    out.fetched_bytes = fetched_;
    for (const RemoteFile& file : files) GALLEY_RETURN_IF_ERROR(cache_.link(listing.commit, file));
    if (options_.patterns.empty())  // A part is not to be taken for the whole.
      GALLEY_RETURN_IF_ERROR(cache_.mark_complete(listing.commit, files));
    GALLEY_RETURN_IF_ERROR(cache_.write_ref(options_.revision, listing.commit));
    return out;
  }

  Status check_use(const std::vector<RemoteFile>& files) const {
    if (!options_.patterns.empty()) {
      if (!files.empty()) return Status();
      return Status(Code::kNotFound, options_.repository + " has no file that --include names");
    }
    const auto has = [&](std::string_view pattern) {
      return std::any_of(files.begin(), files.end(),
                         [&](const RemoteFile& file) { return matches(file.path, pattern); });
    };
    if (has("config.json") && has("*.safetensors")) return Status();
    return Status(Code::kNotFound,
                  options_.repository + " has no " +
                      (has("config.json") ? "weights as safetensors" : "config.json") +
                      "; Galley cannot serve it");
  }

  Status check_space(const std::vector<const RemoteFile*>& missing) const {
    int64_t need = 0;
    for (const RemoteFile* file : missing) need += file->size;
    const int64_t free = cache_.free_bytes();
    if (missing.empty() || free < 0 || need + kSpareBytes <= free) return Status();
    return Status(Code::kTooLarge, options_.repository + " needs " + size_text(need) +
                                       " more, and " + options_.cache + " has " + size_text(free) +
                                       " free; make room, or name another folder (--download-dir)");
  }

  // All of `missing`, several at once; the first failure ends the others.
  Status fetch_all(const std::string& commit, const std::vector<const RemoteFile*>& missing) {
    std::atomic<size_t> next{0};
    Status failure;
    size_t working = std::min<size_t>(missing.size(), static_cast<size_t>(options_.connections));
    std::vector<std::thread> threads;
    for (size_t i = 0, n = working; i < n; ++i) {
      threads.emplace_back([&] {
        Fetcher fetcher(&stop_, options_.fetch);
        Status status;
        for (size_t at = next++; status.ok() && !stop_ && at < missing.size(); at = next++)
          status = fetch_file(&fetcher, commit, *missing[at]);
        const std::lock_guard lock(mutex_);
        if (!status.ok() && failure.ok()) {
          failure = status;
          stop_ = true;
        }
        --working;
        woken_.notify_all();
      });
    }
    {
      std::unique_lock lock(mutex_);
      while (working > 0) {
        woken_.wait_for(lock, kReportEvery);
        if (options_.report && !missing.empty())
          options_.report(progress_->line(files_done_, files_, clock_.now_ms()), false);
      }
    }
    for (std::thread& thread : threads) thread.join();
    return failure;
  }

  void count(int64_t bytes, bool came_now) {
    const std::lock_guard lock(mutex_);
    came_now ? progress_->add(bytes, clock_.now_ms()) : progress_->skip(bytes);
    if (came_now) fetched_ += bytes;
  }

  Digest new_digest(const RemoteFile& file) const {
    if (!file.sha256.empty()) return Digest(Digest::Kind::kSha256);
    Digest digest(Digest::Kind::kSha1);
    digest.add("blob " + std::to_string(file.size) + std::string(1, '\0'));
    return digest;
  }

  Status fetch_file(Fetcher* fetcher, const std::string& commit, const RemoteFile& file) {
    GALLEY_ASSIGN_OR_RETURN(BlobWriter writer,
                            cache_.open_blob(file, [this] { return stop_.load(); }));
    if (writer.published()) {
      count(file.size, false);
    } else {
      count(writer.size(), false);
      GALLEY_RETURN_IF_ERROR(fill(fetcher, commit, file, &writer));
    }
    const std::lock_guard lock(mutex_);
    ++files_done_;
    return Status();
  }

  // Until the file is whole and right.
  Status fill(Fetcher* fetcher, const std::string& commit, const RemoteFile& file,
              BlobWriter* writer) {
    int wrong = 0;
    for (int tries = 0;;) {
      Digest digest = new_digest(file);
      GALLEY_RETURN_IF_ERROR(writer->read_back([&](std::string_view piece) { digest.add(piece); }));
      const int64_t before = writer->size();
      Try outcome;
      if (before < file.size) outcome = continue_file(fetcher, commit, file, writer, &digest);
      if (outcome.final || (outcome.wrong && ++wrong >= kCorruptMax)) return outcome.status;
      if (outcome.status.ok() && writer->size() == file.size) {
        if (digest.hex() == file.etag()) return writer->publish();
        GALLEY_RETURN_IF_ERROR(restart(writer));
        if (++wrong < kCorruptMax) continue;
        return Status(Code::kCorrupt, file.path +
                                          ": the bytes do not have the hash that the hub "
                                          "tells, " +
                                          file.etag());
      }
      tries = writer->size() > before ? 0 : tries + 1;
      if (tries >= options_.limits.tries_max) return outcome.status;
      if (!wait(tries, outcome.wait_s)) return Status(Code::kCancelled, "stopped");
    }
  }

  struct Try {
    Status status;       // ok: what came may be all of the file
    bool final = false;  // another try would end the same way
    bool wrong = false;  // what came is not the file: one more try
    int64_t wait_s = 0;  // before it, says the hub
  };

  // Whether a part of a file is the part that was asked for: "bytes 100-199/200".
  static bool starts_at(const FetchHead& head, int64_t offset, int64_t size) {
    const std::string wanted =
        "bytes " + std::to_string(offset) + "-" + std::to_string(size - 1) + "/";
    const std::string& range = head.header("content-range");
    return range == wanted + std::to_string(size) || range == wanted + "*";
  }

  Status restart(BlobWriter* writer) {
    count(-writer->size(), false);
    return writer->restart();
  }

  // One request for what is missing of the file.
  Try continue_file(Fetcher* fetcher, const std::string& commit, const RemoteFile& file,
                    BlobWriter* writer, Digest* digest) {
    Try out;
    const auto final = [&out](Status status) {
      out.final = out.final || !status.ok();
      return status;
    };
    FetchSink sink;
    sink.on_head = [&](const FetchHead& head) -> Status {
      const bool goes_on = head.status == 206 && starts_at(head, writer->size(), file.size);
      if (!goes_on && writer->size() > 0) {  // It comes from the beginning, or from elsewhere.
        GALLEY_RETURN_IF_ERROR(final(restart(writer)));
        *digest = new_digest(file);
      }
      if (!goes_on && head.status != 200)
        return Status(Code::kUnavailable, file.path + ": the hub sent another part than asked for");
      const std::string& length = head.header("content-length");
      if (length.empty() || length == std::to_string(file.size - writer->size())) return Status();
      out.wrong = true;
      return Status(Code::kUnavailable, file.path + " is not as long as the hub's list says");
    };
    sink.on_body = [&](std::string_view piece) -> Status {
      if (writer->size() + static_cast<int64_t>(piece.size()) > file.size)
        return final(Status(Code::kCorrupt, file.path + " is longer than the hub tells"));
      GALLEY_RETURN_IF_ERROR(final(writer->append(piece)));
      digest->add(piece);
      count(static_cast<int64_t>(piece.size()), true);
      return Status();
    };
    const FetchUrl url = at_endpoint(
        file_target(options_.source, options_.repository, commit, options_.revision, file.path));
    bool elsewhere = false;
    const auto head = get(fetcher, url, writer->size(), sink, &elsewhere);
    if (!head.ok()) {
      out.status = head.status();
      out.final = out.final || !is_passing(head.code());
    } else if (head->status / 100 == 2) {
      if (writer->size() < file.size)
        out.status = Status(Code::kUnavailable, file.path + " ended before its end");
    } else {
      out.status = refused(options_, *head, file.path);
      out.wait_s = head->retry_after_s();
      // The signature of an address elsewhere runs out; the next try gets a new one.
      const bool expired = head->status == 403 && elsewhere;
      out.final = !may_pass(head->status) && !expired && head->status != 416;
      if (head->status == 416) (void) final(restart(writer));  // No beginning of that file.
    }
    return out;
  }

  const PullOptions options_;
  Cache cache_;
  const RealClock clock_;
  FetchUrl endpoint_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // guards what follows
  std::condition_variable woken_;
  std::unique_ptr<Progress> progress_;
  int64_t files_ = 0, files_done_ = 0, fetched_ = 0;
};

std::string text(const char* value) {
  return value == nullptr ? std::string() : std::string(value);
}

bool is_true(const std::string& value) {
  return value == "1" || value == "true" || value == "TRUE" || value == "True" || value == "yes" ||
         value == "YES" || value == "on" || value == "ON";
}

std::string first_of(std::initializer_list<std::string> choices) {
  for (const std::string& choice : choices)
    if (!choice.empty()) return choice;
  return {};
}

std::string trimmed(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r' || text.back() == ' '))
    text.pop_back();
  return text;
}

}  // namespace

PullOptions options_from(Source source, const Environment& environment) {
  const auto variable = [&](const char* name) { return text(environment(name)); };
  const std::string home = first_of({variable("HOME"), "."});
  const std::string caches = first_of({variable("XDG_CACHE_HOME"), home + "/.cache"});
  PullOptions out;
  out.source = source;
  out.offline = is_true(variable("HF_HUB_OFFLINE"));
  if (source == Source::kModelScope) {
    out.endpoint = first_of({variable("MODELSCOPE_ENDPOINT"), variable("MODELSCOPE_DOMAIN"),
                             "https://www.modelscope.cn"});
    if (out.endpoint.find("://") == std::string::npos) out.endpoint = "https://" + out.endpoint;
    out.token = variable("MODELSCOPE_API_TOKEN");
    out.cache = first_of({variable("MODELSCOPE_CACHE"), caches + "/modelscope"}) + "/galley";
    out.revision = "master";
    return out;
  }
  const std::string hf_home = first_of({variable("HF_HOME"), caches + "/huggingface"});
  out.endpoint = first_of({variable("HF_ENDPOINT"), "https://huggingface.co"});
  out.cache = first_of({variable("HF_HUB_CACHE"), hf_home + "/hub"});
  out.token = variable("HF_TOKEN");
  if (out.token.empty()) {
    const auto kept = read_file(first_of({variable("HF_TOKEN_PATH"), hf_home + "/token"}), 4096);
    if (kept.ok()) out.token = trimmed(*kept);
  }
  out.revision = "main";
  return out;
}

Result<Pulled> pull(const PullOptions& options) {
  GALLEY_RETURN_IF_ERROR(check_repository(options.repository));
  GALLEY_RETURN_IF_ERROR(check_revision(options.revision));
  for (const char c : options.token) {
    if (c <= 0x20 || c >= 0x7F)
      return Status(Code::kInvalid, "the hub's token has other than visible ASCII characters");
  }
  return Puller(options).run();
}

}  // namespace galley::hub
