// Spinner: what a thread does on a turn that found nothing. It polls a few times more; then it gives the core away at
// each empty turn; after its spin budget it sleeps until an event or a time. Polling without giving the core away is
// the fastest way to the next message while the other side has a core of its own, and the slowest where it waits for
// this one (source: MEASURED.md, spinning). A yield tells which it is: one that returns late had somebody else run.
// Where events come again and again within a fraction of a millisecond (a client that copies a megabyte between two
// messages), a sleep in between costs more than it saves, as waking up takes as long as half of that copy: who may spin
// longer does, until a sleep lasts, and only while nobody else wants the core.
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
  // `executor` is the thread's own: it is told to look at the clock after a sleep. `most`: of a budget that follows
  // what sleeps last; 0: it stays as it is.
  Spinner(Executor& executor, Idle& idle, Nanos budget, Nanos most = 0)
      : executor_(executor), idle_(idle), budget_(budget), most_(std::max(budget, most)), now_budget_(budget) {}

  void Worked() { since_ = 0; }
  // A turn found nothing. Sleeps until the executor's next timer or `until` at the latest.
  void Empty(Nanos until = kNever) {
    if (since_ == 0) {
      since_ = polled_since_ = executor_.now();
      polls_ = 0;
    }
    // By the time that the executor saw last: a look at the clock costs as much as a poll.
    if (crowd_ == 0 && ++polls_ < kPollsMax && executor_.now() - polled_since_ < kPollFor) return;
    polls_ = 0;
    executor_.Look();
    const Nanos now = executor_.now();
    if (now - since_ >= (crowd_ == 0 ? now_budget_ : budget_)) {
      const Nanos end = std::min(executor_.next_timer(), until);
      idle_.Sleep(end);
      executor_.Look();
      Slept(executor_.now() - now, executor_.now() >= end);
      since_ = 0;
      return;
    }
    idle_.Yield();
    executor_.Look();
    polled_since_ = executor_.now();
    if (polled_since_ - now > kLate) {
      crowd_ = kQuietYields;  // N2
    } else if (crowd_ != 0) {
      --crowd_;
    }
  }

 private:
  void Slept(Nanos nanos, bool to_its_end) {
    if (most_ == budget_) return;
    if (nanos > most_) {
      now_budget_ = std::min(budget_, kAlone);
      crowd_ = 0;
    } else if (!to_its_end) {
      now_budget_ = std::min(most_, std::max(now_budget_, 2 * (now_budget_ + nanos)));
    }
  }

  static constexpr Nanos kPollFor = 4 * kMicrosecond;  // N1
  static constexpr uint32_t kPollsMax = 1000;          // where the clock stands still (a test's)
  static constexpr Nanos kLate = 2 * kMicrosecond;
  static constexpr uint32_t kQuietYields = 16;
  static constexpr Nanos kAlone = 20 * kMicrosecond;  // after a long sleep: few events come so

  Executor& executor_;
  Idle& idle_;
  const Nanos budget_, most_;
  Nanos now_budget_;
  uint32_t polls_ = 0;
  uint32_t crowd_ = 0;      // yields until polling is tried again
  Nanos since_ = 0;         // of the first empty turn; 0: there was work
  Nanos polled_since_ = 0;  // of it, or of the last yield
};

}  // namespace mayfly
