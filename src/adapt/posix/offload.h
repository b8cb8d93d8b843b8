// A few threads for calls that may block for minutes. They start when there is work, block every signal (the owner's
// handlers stay on the owner's thread), and hand back what is finished through a queue that Poll empties.
// One thread owns the object. Destroying it drops the work that was not started, waits a bounded time for what is
// running, and then leaves those threads to themselves: a hung file system must not hang the exit. No `done` runs
// during or after destruction; so `work` owns (or shares) everything it touches.
#pragma once

#include <memory>

#include "base/ids.h"
#include "os/idle.h"
#include "os/offload.h"

namespace mayfly {

class PosixOffload final : public Offload {
 public:
  struct Options {
    uint32_t threads_max = 4;
    Idle* wake = nullptr;  // woken when something finished; outlives this object
    Nanos close_wait = 2 * kSecond;
  };
  explicit PosixOffload(Options options);
  PosixOffload(const PosixOffload&) = delete;
  PosixOffload& operator=(const PosixOffload&) = delete;
  ~PosixOffload() override;

  void Run(std::function<void()> work, std::function<void()> done) override;
  bool Poll() override;

 private:
  struct Shared;
  static void Serve(std::shared_ptr<Shared> shared);

  Options options_;
  std::shared_ptr<Shared> shared_;  // with the threads
};

}  // namespace mayfly
