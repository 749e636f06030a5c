#include "gateway/work_pool.h"

#include <boost/asio/post.hpp>
#include <boost/asio/thread_pool.hpp>
#include <utility>

namespace galley::gateway {
namespace asio = boost::asio;

struct WorkPool::State {
  State(asio::any_io_executor loop, size_t threads, size_t max)
      : executor(std::move(loop)), pool(threads), jobs_max(max) {}

  asio::any_io_executor executor;
  asio::thread_pool pool;
  const size_t jobs_max;
  size_t jobs = 0;  // event loop only
};

WorkPool::WorkPool(asio::any_io_executor executor, size_t threads, size_t jobs_max)
    : state_(std::make_shared<State>(std::move(executor), threads, jobs_max)) {}

WorkPool::~WorkPool() {
  state_->pool.stop();
  state_->pool.join();
}

bool WorkPool::run(std::function<void()> work, std::function<void()> done) {
  if (state_->jobs >= state_->jobs_max) return false;
  ++state_->jobs;
  // The job must not own the pool: its last owner would join the thread it runs on.
  asio::post(state_->pool, [weak = std::weak_ptr<State>(state_), executor = state_->executor,
                            work = std::move(work), done = std::move(done)]() mutable {
    work();
    asio::post(executor,
               [weak = std::move(weak), work = std::move(work), done = std::move(done)]() mutable {
                 work = nullptr;  // What the job holds is freed on the event loop.
                 if (const auto state = weak.lock()) --state->jobs;
                 done();
               });
  });
  return true;
}

size_t WorkPool::jobs() const {
  return state_->jobs;
}

}  // namespace galley::gateway
