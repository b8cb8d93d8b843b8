#include "stage_host.h"

#include <mayfly/mayfly.h>

#include <chrono>
#include <system_error>

#include "base/log.h"
#include "signals.h"
#include "stage/worker.h"
#include "wire/stage_targets.h"

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

Status StageHost::Begin(uint64_t job, uint32_t worker, StageSpec spec) {
  std::lock_guard lock(mutex_);
  Reap();
  bool busy = false;
  for (Running& one : running_) {
    if (one.job == job || !TargetsMeet(one.spec.target, spec.target)) continue;
    one.stop = busy = true;
  }
  if (busy) return Code::kBusy;
  if (stop_ || running_.size() >= kWorkersMax) return Code::kNotSupported;
  Running& one = running_.emplace_back();
  one.job = job;
  one.spec = std::move(spec);
  try {
    one.thread = std::thread([this, &one, worker] { Work(&one, worker); });
  } catch (const std::system_error&) {
    running_.pop_back();
    return Code::kNotSupported;
  }
  return {};
}

void StageHost::Work(Running* self, uint32_t worker) {
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
    work.job = self->job;
    work.number = worker;
    work.spec = self->spec;
    work.stop = &self->stop;
    stage::Worker one(fs, std::move(work));
    if (one.Run() != 0) why = one.failure();
    (void)mayfly_disconnect(fs);
  }
  // The command hears of it too: it counts on this worker no more.
  if (!why.empty() && !self->stop) MAYFLY_WARN("this server takes no more part in a stage-in: {}", why);
  std::lock_guard lock(mutex_);
  self->ended = true;
  changed_.notify_all();
}

void StageHost::Stop() {
  std::lock_guard lock(mutex_);
  stop_ = true;
  for (Running& one : running_) one.stop = true;
}

bool StageHost::Join(Nanos within) {
  std::unique_lock lock(mutex_);
  return changed_.wait_for(lock, std::chrono::nanoseconds(within), [this] {
    Reap();
    return running_.empty();
  });
}

}  // namespace mayfly
