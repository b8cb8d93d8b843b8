#include "stage_host.h"

#include <mayfly/mayfly.h>

#include <chrono>
#include <system_error>

#include "base/log.h"
#include "signals.h"
#include "stage/worker.h"

namespace mayfly {
namespace {

constexpr uint32_t kReadyWithinMs = 5000;

}  // namespace

StageHost::~StageHost() {
  Stop();
  for (Running& one : running_) one.thread.join();
}

void StageHost::Reap() {
  running_.remove_if([](Running& one) {
    if (one.ended) one.thread.join();
    return one.ended;
  });
}

bool StageHost::Begin(uint64_t job, uint32_t worker, StageSpec spec) {
  std::lock_guard lock(mutex_);
  Reap();
  if (stop_ || running_.size() >= kWorkersMax) return false;
  Running& one = running_.emplace_back();
  try {
    one.thread = std::thread([this, &one, job, worker, spec = std::move(spec)] { Work(&one, job, worker, spec); });
  } catch (const std::system_error&) {
    running_.pop_back();
    return false;
  }
  return true;
}

void StageHost::Work(Running* self, uint64_t job, uint32_t worker, StageSpec spec) {
  BlockSignals();
  mayfly_options options;
  mayfly_options_init(&options);
  options.ready_timeout_ms = kReadyWithinMs;
  options.readahead_bytes = 0;  // it only writes
  mayfly_fs* fs = nullptr;
  std::string why;
  if (mayfly_connect(session_.c_str(), &options, &fs) != 0) {
    why = mayfly_error();
  } else {
    stage::Worker::Options work;
    work.job = job;
    work.number = worker;
    work.spec = std::move(spec);
    work.stop = &stop_;
    stage::Worker one(fs, std::move(work));
    if (one.Run() != 0) why = one.failure();
    (void)mayfly_disconnect(fs);
  }
  // The command hears of it too: it counts on this worker no more.
  if (!why.empty() && !stop_) MAYFLY_WARN("this server takes no more part in a stage-in: {}", why);
  std::lock_guard lock(mutex_);
  self->ended = true;
  changed_.notify_all();
}

void StageHost::Stop() { stop_ = true; }

bool StageHost::Join(Nanos within) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(within), [this] {
    Reap();
    return running_.empty();
  });
}

}  // namespace mayfly
