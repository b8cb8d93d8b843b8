#include "adapt/posix/offload.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "adapt/posix/signals_blocked.h"
#include "base/log.h"

namespace mayfly {

struct PosixOffload::Shared {
  struct Job {
    std::function<void()> work, done;
  };
  std::mutex mutex;
  std::condition_variable wanted;  // by the threads: jobs or closing
  std::condition_variable ended;   // by the destructor: a thread is gone
  std::deque<Job> jobs;
  std::vector<std::function<void()>> finished;
  std::atomic<bool> any_finished{false};
  Idle* wake = nullptr;  // null once the owner is gone
  uint32_t threads = 0;
  uint32_t idle = 0;
  bool closing = false;
};

PosixOffload::PosixOffload(Options options) : options_(options), shared_(std::make_shared<Shared>()) {
  shared_->wake = options.wake;
}

PosixOffload::~PosixOffload() {
  std::deque<Shared::Job> unstarted;  // destroyed without the lock
  std::unique_lock lock(shared_->mutex);
  shared_->closing = true;
  shared_->wake = nullptr;
  unstarted.swap(shared_->jobs);
  shared_->wanted.notify_all();
  const bool ended = shared_->ended.wait_for(lock, std::chrono::nanoseconds(options_.close_wait),
                                             [this] { return shared_->threads == 0; });
  if (!ended) MAYFLY_WARN("{} blocking calls did not return; leaving them behind", shared_->threads);
}

void PosixOffload::Run(std::function<void()> work, std::function<void()> done) {
  bool start = false;
  {
    std::lock_guard lock(shared_->mutex);
    shared_->jobs.push_back({std::move(work), std::move(done)});
    start = shared_->idle < shared_->jobs.size() && shared_->threads < options_.threads_max;
    if (start) ++shared_->threads;
  }
  shared_->wanted.notify_one();
  if (!start) return;
  const SignalsBlocked blocked;
  try {
    std::thread(Serve, shared_).detach();
  } catch (const std::system_error&) {
    std::lock_guard lock(shared_->mutex);
    if (--shared_->threads == 0) MAYFLY_ERROR("no thread for blocking calls: raise the process limit (ulimit -u)");
  }
}

bool PosixOffload::Poll() {
  if (!shared_->any_finished.load(std::memory_order_acquire)) return false;  // asked at every turn
  std::vector<std::function<void()>> finished;
  {
    std::lock_guard lock(shared_->mutex);
    finished.swap(shared_->finished);
    shared_->any_finished.store(false, std::memory_order_relaxed);
  }
  for (auto& done : finished) done();
  return !finished.empty();
}

void PosixOffload::Serve(std::shared_ptr<Shared> shared) {
  std::unique_lock lock(shared->mutex);
  while (true) {
    ++shared->idle;
    shared->wanted.wait(lock, [&] { return shared->closing || !shared->jobs.empty(); });
    --shared->idle;
    if (shared->closing) break;
    Shared::Job job = std::move(shared->jobs.front());
    shared->jobs.pop_front();
    lock.unlock();
    job.work();
    job.work = nullptr;
    lock.lock();
    if (shared->closing) continue;
    shared->finished.push_back(std::move(job.done));
    shared->any_finished.store(true, std::memory_order_release);
    if (shared->wake != nullptr) shared->wake->Wake();  // under the lock: the owner cannot go away meanwhile
  }
  --shared->threads;
  shared->ended.notify_all();
}

}  // namespace mayfly
