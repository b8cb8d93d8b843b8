// The workers of stage-ins in this process: a thread each, from the invitation until its job is over, which connects to
// the session as any client does. Without a stage-in there is no thread and no connection.
#pragma once

#include <atomic>
#include <condition_variable>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "os/clock.h"
#include "wire/stage_messages.h"

namespace mayfly {

class StageHost {
 public:
  static constexpr size_t kWorkersMax = 8;

  // `session`: the path of the session file.
  explicit StageHost(std::string session) : session_(std::move(session)) {}
  StageHost(const StageHost&) = delete;
  ~StageHost();

  // Any thread; does not wait. kNotSupported: there are too many, or this process is about to leave. kBusy: a worker of
  // another job is here whose target lies in this one's, or the other way round. Two such jobs are never under way, so
  // that one is over (at a root's server that was killed, say): its worker is asked to end.
  Status Begin(uint64_t job, uint32_t worker, StageSpec spec);
  // Asks all workers to end, and lets none begin; any thread.
  void Stop();
  // Waits for them after Stop. False: one hangs (in a read of a file system that does not answer, say); the process
  // must then leave by _exit and this object stay.
  bool Join(Nanos within);

 private:
  struct Running {
    uint64_t job = 0;
    StageSpec spec;
    std::thread thread;
    std::atomic<bool> stop{false};
    bool ended = false;
  };
  void Work(Running* self, uint32_t worker);
  void Reap();  // under the lock

  const std::string session_;
  std::mutex mutex_;
  bool stop_ = false;
  std::condition_variable changed_;
  std::list<Running> running_;
};

}  // namespace mayfly
