#include "text/grammar_cache.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace galley::text {
namespace {

constexpr size_t kStackBytes = size_t{64} << 20;  // deep sources recurse
constexpr int kNice = 10;

std::string key_of(uint64_t scope, const GrammarSpec& spec) {
  return std::to_string(scope) + '/' + std::to_string(static_cast<int>(spec.kind)) + '/' +
         spec.source;
}

pthread_t start_thread(void* (*run)(void*), void* self) {
  pthread_attr_t attributes;
  pthread_t thread{};
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, kStackBytes);
  const int failed = pthread_create(&thread, &attributes, run, self);
  pthread_attr_destroy(&attributes);
  GALLEY_CHECK(failed == 0, "the system gives a thread at start");
  return thread;
}

}  // namespace

GrammarCache::GrammarCache(std::shared_ptr<const GrammarVocabulary> vocabulary,
                           const GrammarCacheLimits& limits)
    : vocabulary_(std::move(vocabulary)), limits_(limits) {
  quick_.compile_ms = std::min(limits.quick_ms, limits.grammar.compile_ms_max);
  slow_.compile_ms = limits.grammar.compile_ms_max;
  quick_.thread = start_thread(run_quick, this);
  slow_.thread = start_thread(run_slow, this);
}

GrammarCache::~GrammarCache() {
  close();
}

void GrammarCache::close() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  arrived_.notify_all();
  if (std::exchange(joined_, true)) return;
  pthread_join(quick_.thread, nullptr);
  pthread_join(slow_.thread, nullptr);
}

void* GrammarCache::run_quick(void* self) {
  auto* cache = static_cast<GrammarCache*>(self);
  cache->run(&cache->quick_);
  return nullptr;
}

void* GrammarCache::run_slow(void* self) {
  auto* cache = static_cast<GrammarCache*>(self);
  cache->run(&cache->slow_);
  return nullptr;
}

void GrammarCache::get(uint64_t scope, GrammarSpec spec, Done done) {
  std::string key = key_of(scope, spec);
  std::unique_lock lock(mutex_);
  if (stopping_) {
    lock.unlock();
    return done(Status(Code::kUnavailable, "the server is shutting down"));
  }
  if (const Outcome* known = find(key)) {
    const Outcome outcome = *known;
    lock.unlock();
    return done(outcome);
  }
  std::deque<Job>& queue = quick_.waiting[scope];
  if (quick_.size + slow_.size >= limits_.queue_max || queue.size() >= limits_.queue_of_scope_max) {
    lock.unlock();
    return done(Status(Code::kOverloaded, "too many grammars wait to be compiled; retry"));
  }
  queue.push_back({std::move(key), std::move(spec), std::move(done)});
  quick_.size += 1;
  lock.unlock();
  arrived_.notify_all();
}

// The first job of the scope after the one that was served last.
GrammarCache::Job GrammarCache::next(Lane* lane, uint64_t* scope) {
  auto at = lane->waiting.upper_bound(lane->last_scope);
  while (true) {
    if (at == lane->waiting.end()) at = lane->waiting.begin();
    if (!at->second.empty()) break;
    at = lane->waiting.erase(at);
  }
  *scope = lane->last_scope = at->first;
  Job job = std::move(at->second.front());
  at->second.pop_front();
  if (at->second.empty()) lane->waiting.erase(at);
  lane->size -= 1;
  return job;
}

void GrammarCache::run(Lane* lane) {
  setpriority(PRIO_PROCESS, static_cast<id_t>(gettid()), kNice);
  std::unique_lock lock(mutex_);
  while (true) {
    arrived_.wait(lock, [&] { return stopping_ || lane->size > 0; });
    if (stopping_) return;
    uint64_t scope = 0;
    Job job = next(lane, &scope);
    if (const Outcome* known = find(job.key)) {
      const Outcome outcome = *known;
      lock.unlock();
      job.done(outcome);
      lock.lock();
      continue;
    }
    GrammarLimits limits = limits_.grammar;
    limits.compile_ms_max = lane->compile_ms;
    limits.cancelled = &stopping_;
    lock.unlock();
    bool out_of_time = false;
    const Outcome outcome = CompiledGrammar::compile(vocabulary_, job.spec, limits, &out_of_time);
    lock.lock();
    if (stopping_) return;
    std::deque<Job>& slow_queue = slow_.waiting[scope];
    if (out_of_time && lane == &quick_ && slow_queue.size() < limits_.queue_of_scope_max) {
      slow_queue.push_back(std::move(job));
      slow_.size += 1;
      arrived_.notify_all();
      continue;
    }
    keep(scope, job.key, outcome);
    lock.unlock();
    job.done(outcome);
    lock.lock();
  }
}

const GrammarCache::Outcome* GrammarCache::find(const std::string& key) {
  const auto found = by_key_.find(key);
  if (found == by_key_.end()) return nullptr;
  entries_.splice(entries_.begin(), entries_, found->second);
  return &found->second->outcome;
}

void GrammarCache::keep(uint64_t scope, const std::string& key, const Outcome& outcome) {
  if (by_key_.contains(key)) return;
  const size_t bytes = limits_.entry_bytes_extra + 2 * key.size() +
                       (outcome.ok() ? (*outcome)->size_bytes() : outcome.message().size());
  entries_.push_front({key, scope, outcome, bytes});
  by_key_.emplace(key, entries_.begin());
  bytes_ += bytes;
  if (++num_of_scope_[scope] > limits_.entries_of_scope_max) {
    const auto oldest = std::find_if(entries_.rbegin(), entries_.rend(),
                                     [&](const Entry& one) { return one.scope == scope; });
    drop(std::prev(oldest.base()));
  }
  while (bytes_ > limits_.bytes_max && !entries_.empty()) drop(std::prev(entries_.end()));
}

void GrammarCache::drop(std::list<Entry>::iterator entry) {
  bytes_ -= entry->bytes;
  if (--num_of_scope_[entry->scope] == 0) num_of_scope_.erase(entry->scope);
  by_key_.erase(entry->key);
  entries_.erase(entry);
}

size_t GrammarCache::num_entries() const {
  const std::lock_guard lock(mutex_);
  return entries_.size();
}

size_t GrammarCache::size_bytes() const {
  const std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace galley::text
