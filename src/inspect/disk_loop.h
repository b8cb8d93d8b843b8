// The loop of a tool that works on a dead shard's disks: one thread, turned while a task waits for them.
#pragma once

#include <functional>
#include <type_traits>
#include <vector>

#include "adapt/local_disk.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "task/executor.h"
#include "task/spinner.h"
#include "task/task.h"

namespace mayfly {

class DiskLoop {
 public:
  DiskLoop() : spinner_(executor_, idle_, kSpin) {}
  DiskLoop(const DiskLoop&) = delete;
  DiskLoop& operator=(const DiskLoop&) = delete;

  Executor& executor() { return executor_; }
  // A disk, or null: there is none. It is removed before it goes.
  void Add(LocalDisk* disk);
  void Remove(LocalDisk* disk);
  // Besides, in each turn; true if there was anything to do.
  void SetAlso(std::function<bool()> also) { also_ = std::move(also); }

  // Turns until the task is done. It ends: nothing here waits but for the disk.
  template <class T>
  T Run(Task<T> task) {
    while (!task.done()) Turn();
    if constexpr (!std::is_void_v<T>) return task.Take();
  }

 private:
  static constexpr Nanos kSpin = 20 * kMicrosecond;
  void Turn();

  PosixClock clock_;
  Executor executor_{clock_};
  PosixIdle idle_;
  Spinner spinner_;
  std::vector<LocalDisk*> disks_;
  std::function<bool()> also_;
};

}  // namespace mayfly
