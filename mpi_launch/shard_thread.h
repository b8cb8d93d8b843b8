// One shard with the real doors, and the thread that drives it: spin a little (task/spinner.h), then sleep.
// The owner's thread makes and ends it and may post work; everything else happens on the shard's own thread, which
// blocks all signals.
#pragma once

#include <atomic>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "adapt/local_disk.h"
#include "adapt/posix/idle.h"
#include "adapt/ucx/ucx_transport.h"
#include "node_book.h"
#include "server/shard.h"

namespace mayfly {

class ShardThread {
 public:
  struct Options {
    ShardOptions shard;
    std::string arena_directory;
    std::string arena_prefix;
    Nanos spin = 20 * kMicrosecond, spin_most = kMillisecond;
    // Null: nothing outlives the process.
    std::unique_ptr<LocalDisk> disk;
    std::string kept_prefix;
    bool adopt = false;      // segments that a server before left; they stay unless TakeOver is called
    bool look_only = false;  // and they, and the kept memory, are not changed
  };
  // How it ended.
  struct End {
    bool stuck = false;  // something of it still runs: the process must leave by _exit
    bool root = false;   // it held the root, and so knows how the session's end went:
    Shard::StopVerdict verdict;
    std::string report;
    bool kept = false;  // what outlives it stays
  };

  // `transport` was made, and never progressed, by the thread that calls. `book` outlives this object. `on_leave` is
  // called when the session's end reached the shard, `on_end` when the thread is over; both on the shard's thread.
  ShardThread(std::unique_ptr<UcxTransport> transport, const NodeBook& book, Options options,
              std::function<void()> on_leave, std::function<void()> on_end);
  ShardThread(const ShardThread&) = delete;
  // After on_end.
  ~ShardThread();

  // On the shard's thread, soon. Dropped once it is leaving.
  void Post(std::function<void(Shard&)> work);
  // Runs a coroutine there; kShutdown if the shard leaves before it is done.
  std::future<Status> Run(std::function<Task<Status>(Shard&)> start);
  // What was adopted is this server's from now on, and goes with it.
  void TakeOver() { keep_arena_ = false; }
  // Drains the shard and ends the thread, as the session's end does.
  void Leave();
  // After on_end.
  const End& end() const { return end_; }

 private:
  struct Core;
  struct Running {
    Task<Status> task;
    std::promise<Status> done;
  };
  void Main();
  void Turn(Core& core);
  void RunMail(Core& core);
  bool Drain(Core& core);

  std::unique_ptr<UcxTransport> transport_;
  const NodeBook& book_;
  Options options_;
  std::function<void()> on_leave_, on_end_;

  PosixIdle idle_;
  std::atomic<bool> leave_{false};
  std::atomic<bool> keep_arena_;
  std::atomic<bool> mail_waits_{false};
  std::mutex mutex_;
  std::vector<std::function<void(Shard&)>> mail_;
  std::vector<Running> running_;  // of the shard's thread
  End end_;
  std::thread thread_;
};

}  // namespace mayfly
