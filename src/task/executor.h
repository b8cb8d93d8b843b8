// Executor: the run queue and the timers of one thread (one shard, one client lane). It asks its clock for the time and
// never sleeps; whoever drives the thread calls RunOnce, and sleeps until next_timer() when there is nothing to do.
// Invariants  E1  coroutines are resumed by RunOnce only, each pass bounded by the queue's length at entry.
//             E2  timers fire in the order (deadline, sequence of creation), so a run is a function of its inputs.
//             E3  one thread owns it; nothing here is locked.
//             E4  now() is the time that Look saw last, because the clock costs as much as a table look-up and a turn
//                 is short. RunOnce looks each `turns_a_look` turns, and who drives it after anything that may have
//                 taken long (a sleep, the caller's own work between two calls). With 1 each now() is a look.
#pragma once

#include <coroutine>
#include <cstdint>
#include <map>
#include <vector>

#include "base/ids.h"
#include "os/clock.h"

namespace mayfly {

class Executor {
 public:
  explicit Executor(Clock& clock, uint32_t turns_a_look = 1)
      : clock_(clock), turns_a_look_(turns_a_look), now_(clock.Now()), ring_(1024) {}
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  void Post(std::coroutine_handle<> handle) {
    if (size_ == ring_.size()) Grow();
    ring_[(head_ + size_++) & (ring_.size() - 1)] = handle;
  }

  // Fires the timers that are due and resumes what is queued; true if there was anything.
  bool RunOnce();
  bool idle() const { return size_ == 0; }

  // A timer is a plain function with its context; it runs inside RunOnce and may cancel or create timers.
  using TimerFn = void (*)(void* context);
  struct TimerId {
    Nanos deadline = 0;
    uint64_t sequence = 0;  // 0 is no timer
  };
  TimerId At(Nanos deadline, TimerFn fn, void* context);
  void Cancel(TimerId id) { timers_.erase({id.deadline, id.sequence}); }
  // kNever if there is none.
  Nanos next_timer() const { return timers_.empty() ? kNever : timers_.begin()->first.first; }

  Clock& clock() { return clock_; }
  Nanos now() const { return turns_a_look_ == 1 ? clock_.Now() : now_; }
  void Look() { now_ = clock_.Now(); }

  // co_await executor.Sleep(nanos);
  struct SleepAwaiter {
    Executor& executor;
    Nanos nanos;
    std::coroutine_handle<> waiter;
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      waiter = h;
      executor.At(
          executor.now() + nanos,
          [](void* self) {
            auto* me = static_cast<SleepAwaiter*>(self);
            me->executor.Post(me->waiter);
          },
          this);
    }
    void await_resume() const {}
  };
  SleepAwaiter Sleep(Nanos nanos) { return SleepAwaiter{*this, nanos, nullptr}; }
  // Lets what is queued run first.
  SleepAwaiter Yield() { return SleepAwaiter{*this, 0, nullptr}; }

 private:
  struct Timer {
    TimerFn fn;
    void* context;
  };
  void Grow();

  Clock& clock_;
  const uint32_t turns_a_look_;
  uint32_t turns_ = 0;
  Nanos now_;
  std::vector<std::coroutine_handle<>> ring_;  // a power of two
  size_t head_ = 0;
  size_t size_ = 0;
  uint64_t sequence_ = 0;
  std::map<std::pair<Nanos, uint64_t>, Timer> timers_;  // E2
};

}  // namespace mayfly
