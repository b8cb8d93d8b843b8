// A worker of a stage-in: one in each server that sees the source, one in the command that started it. It takes pieces
// of work from the root's shard until there will be none, with several threads, each of which has one piece in work:
// one to begin with, more when more is waiting.
// Invariants  K1  a thread reports at least every kReportEvery while it copies, so progress is never older.
//             K2  a worker ends when the job is over or was cancelled, when `stop` is set, or when the root's shard
//             does
//                 not answer; what it then has in work it gives back if it can.
#pragma once

#include <mayfly/stage_calls.h>

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "stage/copier.h"

namespace mayfly::stage {

class Worker {
 public:
  struct Options {
    uint64_t job = 0;
    uint32_t number = 0;  // 0: the command's; it then does what only it can do
    StageSpec spec;       // with the number of threads
    const std::atomic<bool>* stop = nullptr;
  };
  // `fs` outlives it.
  Worker(mayfly_fs* fs, Options options);

  // Works until the end. A worker that does not see the source, or another one, declines and ends at once. 0, or -1
  // with the reason in failure(): it could not go on.
  int Run();
  const std::string& failure() const { return failure_; }

 private:
  class ThreadOutbox;
  void Work();
  void AddThread();
  bool SeesTheSource();

  mayfly_fs* const fs_;
  const Options options_;
  Source source_;
  HardLinks links_;
  std::atomic<bool> over_{false};
  std::mutex mutex_;  // of what follows
  std::vector<std::thread> threads_;
  std::string failure_;
};

}  // namespace mayfly::stage
