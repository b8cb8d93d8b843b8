// What coroutines of one executor wait on: OneShot (a value that arrives once), WaitQueue (woken in their order, with a
// deadline), Semaphore (bounded concurrency), Gate (spawned tasks that closing waits for), Mutex.
// Invariants  S1  a waiter is resumed through the executor's queue, never inside the call that wakes it.
//             S2  all belong to one thread.
#pragma once

#include <coroutine>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/status.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

// Set once, awaited once, in either order.
template <class T>
class OneShot {
 public:
  explicit OneShot(Executor& executor) : executor_(&executor) {}
  void Set(T value) {
    MAYFLY_CHECK(!value_);
    value_.emplace(std::move(value));
    if (waiter_) executor_->Post(std::exchange(waiter_, nullptr));  // S1
  }
  bool ready() const { return value_.has_value(); }
  bool await_ready() const { return ready(); }
  void await_suspend(std::coroutine_handle<> h) { waiter_ = h; }
  T await_resume() { return std::move(*value_); }

 private:
  Executor* executor_;
  std::optional<T> value_;
  std::coroutine_handle<> waiter_;
};

// Waiters sleep until Wake, WakeAll or their deadline. What they waited for must be looked at again afterwards.
class WaitQueue {
 public:
  explicit WaitQueue(Executor& executor) : executor_(executor) {}
  ~WaitQueue() { MAYFLY_CHECK(first_ == nullptr); }
  void WakeAll() {
    while (first_ != nullptr) first_->Finish(Code::kOk);
  }
  // The first `count` of them.
  void Wake(size_t count) {
    for (; count != 0 && first_ != nullptr; --count) first_->Finish(Code::kOk);
  }
  bool empty() const { return first_ == nullptr; }

  // co_await queue.Wait(deadline) gives kOk, or kTimedOut.
  class Waiter {
   public:
    Waiter(WaitQueue& queue, Nanos deadline) : queue_(queue), deadline_(deadline) {}
    bool await_ready() const { return false; }
    void await_suspend(std::coroutine_handle<> h) {
      handle_ = h;
      prev_ = queue_.last_;
      (prev_ != nullptr ? prev_->next_ : queue_.first_) = this;
      queue_.last_ = this;
      if (deadline_ != kNever) {
        timer_ = queue_.executor_.At(
            deadline_, [](void* self) { static_cast<Waiter*>(self)->Finish(Code::kTimedOut); }, this);
      }
    }
    Status await_resume() const { return result_; }

   private:
    friend class WaitQueue;
    void Finish(Code code) {
      result_ = code;
      queue_.executor_.Cancel(timer_);
      (prev_ != nullptr ? prev_->next_ : queue_.first_) = next_;
      (next_ != nullptr ? next_->prev_ : queue_.last_) = prev_;
      queue_.executor_.Post(handle_);  // S1
    }
    WaitQueue& queue_;
    Nanos deadline_;
    Waiter* prev_ = nullptr;
    Waiter* next_ = nullptr;
    std::coroutine_handle<> handle_;
    Executor::TimerId timer_;
    Code result_ = Code::kOk;
  };
  Waiter Wait(Nanos deadline) { return Waiter(*this, deadline); }

 private:
  Executor& executor_;
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

// `co_await semaphore.Acquire()` takes one of `count` places, first come first served; Release gives it back.
class Semaphore {
 public:
  Semaphore(Executor& executor, uint32_t count) : executor_(executor), free_(count) {}
  ~Semaphore() { MAYFLY_CHECK(waiters_.empty()); }
  struct Awaiter {
    Semaphore& semaphore;
    bool await_ready() {
      if (semaphore.free_ == 0 || !semaphore.waiters_.empty()) return false;
      --semaphore.free_;
      return true;
    }
    void await_suspend(std::coroutine_handle<> h) { semaphore.waiters_.push_back(h); }
    void await_resume() {}
  };
  Awaiter Acquire() { return Awaiter{*this}; }
  void Release() {
    if (waiters_.empty()) {
      ++free_;
      return;
    }
    executor_.Post(waiters_.front());  // the place goes straight to the waiter
    waiters_.pop_front();
  }

 private:
  Executor& executor_;
  uint32_t free_;
  std::deque<std::coroutine_handle<>> waiters_;
};

// A coroutine that nobody awaits; its frame frees itself. Only Gate makes one.
struct Detached {
  struct promise_type {
    static void* operator new(size_t bytes) { return AllocateFrame(bytes); }
    static void operator delete(void* frame, size_t bytes) { FreeFrame(frame, bytes); }
    Detached get_return_object() { return {}; }
    std::suspend_never initial_suspend() noexcept { return {}; }
    std::suspend_never final_suspend() noexcept { return {}; }
    void return_void() {}
    void unhandled_exception() noexcept { std::terminate(); }
  };
};

// Tasks that run by themselves. Drain() waits until all have ended; a closed gate is not opened again.
class Gate {
 public:
  explicit Gate(Executor& executor) : done_(executor) {}
  ~Gate() { MAYFLY_CHECK(running_ == 0); }
  // `what` names the task in the log should it fail; kShutdown and kUnavailable are expected and silent.
  void Spawn(Task<Status> task, const char* what) {
    ++running_;
    Run(this, std::move(task), what);
  }
  Task<void> Drain() {
    while (running_ != 0) (void)co_await done_.Wait(kNever);
  }
  size_t running() const { return running_; }

 private:
  static Detached Run(Gate* gate, Task<Status> task, const char* what) {
    Status status = co_await task;
    if (!status.ok() && status.code() != Code::kShutdown && status.code() != Code::kUnavailable) {
      MAYFLY_WARN("{} failed: {}", what, TextOf(status.code()));
    }
    if (--gate->running_ == 0) gate->done_.WakeAll();
  }
  size_t running_ = 0;
  WaitQueue done_;
};

}  // namespace mayfly
