// Clock: monotonic time as an argument, so that tests and the simulator own it.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

namespace galley {

class Clock {
 public:
  virtual ~Clock() = default;
  // Microseconds since some fixed moment; never goes back. Any thread.
  virtual int64_t now_us() const = 0;
  int64_t now_ms() const { return now_us() / 1000; }
};

class RealClock : public Clock {
 public:
  int64_t now_us() const override {
    return std::chrono::duration_cast<std::chrono::microseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }
};

// Moves only when told to. Any thread.
class ManualClock : public Clock {
 public:
  int64_t now_us() const override { return now_us_.load(std::memory_order_relaxed); }
  void advance_us(int64_t us) { now_us_.fetch_add(us, std::memory_order_relaxed); }
  void advance_ms(int64_t ms) { advance_us(ms * 1000); }

 private:
  std::atomic<int64_t> now_us_{0};
};

}  // namespace galley
