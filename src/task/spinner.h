// Spinner: what a thread does on a turn that found nothing. It polls a few times more; then it gives the core away at
// each empty turn; after its spin budget it sleeps until an event or a time. Polling without giving the core away is
// the fastest way to the next message while the other side has a core of its own, and the slowest where it waits for
// this one (source: MEASURED.md, spinning). A yield tells which it is: one that returns late had somebody else run.
// Invariants  N1  never longer than about 5 us between two yields.
//             N2  after a yield that returned late, each empty turn yields, until kQuietYields in a row returned at
//             once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "os/idle.h"
#include "task/executor.h"

namespace mayfly {

class Spinner {
 public:
  // `executor` is the thread's own: it is told to look at the clock after a sleep.
  Spinner(Executor& executor, Idle& idle, Nanos budget) : executor_(executor), idle_(idle), budget_(budget) {}

  void Worked() {
    polls_ = 0;
    since_ = 0;
  }
  // A turn found nothing. Sleeps until the executor's next timer or `until` at the latest.
  void Empty(Nanos until = kNever) {
    if (crowd_ == 0 && ++polls_ < kPolls) return;
    polls_ = 0;
    executor_.Look();
    const Nanos now = executor_.now();
    if (since_ == 0) since_ = now;
    if (now - since_ >= budget_) {
      idle_.Sleep(std::min(executor_.next_timer(), until));
      executor_.Look();
      since_ = 0;
      return;
    }
    idle_.Yield();
    executor_.Look();
    if (executor_.now() - now > kLate) {
      crowd_ = kQuietYields;  // N2
    } else if (crowd_ != 0) {
      --crowd_;
    }
  }

 private:
  static constexpr uint32_t kPolls = 64;  // of 30 to 60 ns each: N1
  static constexpr Nanos kLate = 2 * kMicrosecond;
  static constexpr uint32_t kQuietYields = 16;

  Executor& executor_;
  Idle& idle_;
  const Nanos budget_;
  uint32_t polls_ = 0;
  uint32_t crowd_ = 0;  // yields until polling is tried again
  Nanos since_ = 0;     // of the first yield; 0: there was none
};

}  // namespace mayfly
