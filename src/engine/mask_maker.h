// MaskMaker: has the masks of a step made on a few threads, while the model computes.
//
// start() hands out jobs and returns; finish() helps with what nobody has begun, and returns when
// all are done. Engine thread only; part of ModelRunner.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

#include "base/status.h"
#include "engine/constraint.h"

namespace galley::engine {

class MaskMaker {
 public:
  struct Job {
    Constraint* constraint = nullptr;
    std::span<const int32_t> tokens;  // valid until finish()
    int32_t first_row = 0;
    size_t item = 0;  // the caller's
    Status status = {};  // after finish()
  };

  // Threads are started with the first job.
  explicit MaskMaker(size_t jobs_max);
  ~MaskMaker();
  MaskMaker(const MaskMaker&) = delete;
  MaskMaker& operator=(const MaskMaker&) = delete;

  void begin() { jobs_.clear(); }
  void add(Job job);
  void start();
  std::span<const Job> finish();

 private:
  void work();
  bool take(std::unique_lock<std::mutex>& lock);

  std::vector<Job> jobs_;
  std::vector<std::thread> threads_;
  std::mutex mutex_;  // guards what follows, and jobs_ between start() and finish()
  std::condition_variable wake_;
  std::condition_variable done_;
  size_t next_ = 0;
  size_t num_done_ = 0;
  size_t num_jobs_ = 0;
  bool stopping_ = false;
};

}  // namespace galley::engine
