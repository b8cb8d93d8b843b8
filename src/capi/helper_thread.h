// The thread that drives a session's helper (client/helper.h). It starts when something ages or must be listened to,
// makes an engine only when there is a message to send, blocks all signals, and sleeps nearly always.
// An engine takes some milliseconds of a core, which the program's own thread may want, or the server: so for a while
// it listens to the shards of this node by their bells (os/arena_memory.h), looking at them once a millisecond.
#pragma once

#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "capi/engine.h"

namespace mayfly {

class Instance;

class HelperThread {
 public:
  explicit HelperThread(Instance& instance) : instance_(instance) {}
  HelperThread(const HelperThread&) = delete;
  ~HelperThread() { Stop(); }

  // Mount::WakeHelper. Any thread.
  void Wake();
  // Ends it; it can be woken again. Not from itself.
  void Stop();
  // In a forked child there is no such thread; the memory of this object is left as it is.
  static void Abandon(std::unique_ptr<HelperThread> helper) { (void)helper.release(); }

 private:
  void Main();
  // Until there is something to send, or Stop. False: stop.
  bool WaitForWork();
  // To those who were asked for. False: to some it cannot listen so.
  bool ListenByBells();
  bool HasRung() const;
  void Drive(Engine& engine);

  Instance& instance_;
  std::mutex mutex_;
  std::condition_variable news_;
  std::thread thread_;
  bool started_ = false;
  bool stop_ = false;
  Idle* idle_ = nullptr;  // of the engine, while it runs
  std::atomic<bool> woken_{false};
  struct Listened {
    ShardId shard;
    const ArenaBoard::Bell* bell = nullptr;
    uint32_t then = 0;
  };
  std::vector<Listened> bells_;  // the thread's own
};

}  // namespace mayfly
