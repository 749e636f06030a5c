// WorkPool: a few threads for what would hold up the event loop: parsing and tokenising.
//
// Jobs start in the order given. Bounded: at the bound a job is refused, never queued.
#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <cstddef>
#include <functional>
#include <memory>

namespace galley::gateway {

class WorkPool {
 public:
  // `done` callbacks run on `executor`, the event loop.
  WorkPool(boost::asio::any_io_executor executor, size_t threads, size_t jobs_max);
  ~WorkPool();  // waits for the job in progress; drops the others

  // Event loop only. Runs `work` on a thread, then `done` on the event loop. False: the pool is
  // full and neither will run.
  bool run(std::function<void()> work, std::function<void()> done);

  size_t jobs() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace galley::gateway
