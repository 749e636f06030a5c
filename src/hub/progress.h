// Progress: how far a download is, how fast it goes and how long it will take, as a line of text.
// The rate is of the last seconds, so that it follows the line. Pure; time is an argument.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace galley::hub {

class Progress {
 public:
  // `done` of `total` bytes were there before.
  Progress(int64_t total, int64_t done) : total_(total), done_(done) {}

  void add(int64_t bytes, int64_t now_ms);
  // They were there, or, fewer than none, were bad: says nothing about the rate.
  void skip(int64_t bytes) { done_ += bytes; }
  double rate(int64_t now_ms) const;     // bytes per second
  int64_t left_s(int64_t now_ms) const;  // -1: cannot be said
  // "3 of 12 files, 4.2 of 15.1 GB (27 %), 85.0 MB/s, 2 min 8 s left"
  std::string line(int64_t files_done, int64_t files, int64_t now_ms) const;
  int64_t done() const { return done_; }

 private:
  const int64_t total_;
  int64_t done_;
  std::deque<std::pair<int64_t, int64_t>> recent_;  // time, bytes
};

std::string size_text(int64_t bytes);

}  // namespace galley::hub
