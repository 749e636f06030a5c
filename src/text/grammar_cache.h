// GrammarCache: compiles grammars on threads of its own and keeps the results.
//
// A scope (a tenant) finds only what it compiled itself, and waits only behind its own: scopes take
// turns. A source gets `quick_ms` on the quick thread first; what needs longer goes to the slow
// one, so that hard sources delay each other and nobody else. Both run at low priority. Refusals
// are kept like grammars. At the bounds of the queue a source is refused at once.
#pragma once

#include <pthread.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/status.h"
#include "text/grammar.h"

namespace galley::text {

struct GrammarCacheLimits {
  GrammarLimits grammar;
  int64_t quick_ms = 200;
  size_t queue_max = 512;  // sources waiting, of all scopes
  size_t queue_of_scope_max = 64;
  size_t bytes_max = size_t{512} << 20;  // of all grammars kept
  size_t entries_of_scope_max = 256;
  size_t entry_bytes_extra = 1024;  // counted for an entry beside its source and grammar
};

class GrammarCache {
 public:
  using Outcome = Result<std::shared_ptr<const CompiledGrammar>>;
  // Called once: on the calling thread when the answer is known or refused, else on a thread of the
  // cache. Must not block. Not called when the cache is closed before.
  using Done = std::function<void(const Outcome&)>;

  GrammarCache(std::shared_ptr<const GrammarVocabulary> vocabulary,
               const GrammarCacheLimits& limits);
  ~GrammarCache();
  GrammarCache(const GrammarCache&) = delete;
  GrammarCache& operator=(const GrammarCache&) = delete;

  // Any thread. Errors besides CompiledGrammar::compile's: kOverloaded  the queue is full;
  // kUnavailable  closed
  void get(uint64_t scope, GrammarSpec spec, Done done);
  // Ends the threads; no Done is called after it, and get() refuses. More than once, too.
  void close();

  size_t num_entries() const;
  size_t size_bytes() const;

 private:
  struct Job {
    std::string key;
    GrammarSpec spec;
    Done done;
  };
  struct Entry {
    std::string key;
    uint64_t scope;
    Outcome outcome;
    size_t bytes;
  };
  struct Lane {                                   // one thread and who waits for it
    std::map<uint64_t, std::deque<Job>> waiting;  // by scope
    uint64_t last_scope = 0;
    size_t size = 0;
    int64_t compile_ms = 0;
    pthread_t thread{};
  };

  static void* run_quick(void* self);
  static void* run_slow(void* self);
  void run(Lane* lane);
  Job next(Lane* lane, uint64_t* scope);
  const Outcome* find(const std::string& key);
  void keep(uint64_t scope, const std::string& key, const Outcome& outcome);
  void drop(std::list<Entry>::iterator entry);

  const std::shared_ptr<const GrammarVocabulary> vocabulary_;
  const GrammarCacheLimits limits_;

  mutable std::mutex mutex_;  // guards what follows
  std::condition_variable arrived_;
  Lane quick_;
  Lane slow_;
  std::atomic<bool> stopping_ = false;
  bool joined_ = false;
  std::list<Entry> entries_;  // most recently used first
  std::unordered_map<std::string, std::list<Entry>::iterator> by_key_;
  std::unordered_map<uint64_t, size_t> num_of_scope_;
  size_t bytes_ = 0;
};

}  // namespace galley::text
