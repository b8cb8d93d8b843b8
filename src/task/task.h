// Task<T>: an eager coroutine that one other coroutine awaits, once. It runs on the thread that called it until its
// first suspension; whoever completes what it waits for puts it on the executor's queue (never resumes it in place).
// Invariants  T1  a Task is awaited or handed to a Gate; destroying one that has not finished is a bug (a frame whose
//                 request is in flight must not go away).
//             T2  a coroutine owns its arguments: values, or references to objects that a gate guards.
//             T3  nothing is thrown: a coroutine that lets an exception out ends the process.
// The traps of g++ 12 (see share/doc/ARCHITECTURE.md, "Coroutines"): no capturing coroutine lambdas; no braced
// temporaries with non-trivial members inside a co_await expression; no co_await in a branch of `?:`.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "base/check.h"
#include "task/frame.h"

namespace mayfly {

template <class T>
class Task;

namespace task_internal {

struct PromiseBase {
  std::coroutine_handle<> continuation;

  static void* operator new(size_t bytes) { return AllocateFrame(bytes); }
  static void operator delete(void* frame, size_t bytes) { FreeFrame(frame, bytes); }

  struct Final {
    bool await_ready() noexcept { return false; }
    template <class P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) noexcept {
      if (self.promise().continuation) return self.promise().continuation;
      return std::noop_coroutine();
    }
    void await_resume() noexcept {}
  };
  std::suspend_never initial_suspend() noexcept { return {}; }
  Final final_suspend() noexcept { return {}; }
  void unhandled_exception() noexcept { std::terminate(); }  // T3
};

template <class T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object();
  template <class U>
  void return_value(U&& v) {
    value.emplace(std::forward<U>(v));
  }
};

template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object();
  void return_void() {}
};

}  // namespace task_internal

template <class T>
class [[nodiscard]] Task {
 public:
  using promise_type = task_internal::Promise<T>;

  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Task() {
    if (handle_) {
      MAYFLY_CHECK(handle_.done());  // T1
      handle_.destroy();
    }
  }

  bool done() const { return handle_.done(); }
  // The value of a task that is done, for callers that are no coroutine.
  T Take() requires(!std::is_void_v<T>) {
    MAYFLY_CHECK(handle_.done());
    return std::move(*handle_.promise().value);
  }

  bool await_ready() const { return handle_.done(); }
  void await_suspend(std::coroutine_handle<> waiter) {
    MAYFLY_CHECK(!handle_.promise().continuation);
    handle_.promise().continuation = waiter;
  }
  T await_resume() {
    if constexpr (!std::is_void_v<T>) return std::move(*handle_.promise().value);
  }

 private:
  std::coroutine_handle<promise_type> handle_;
};

namespace task_internal {
template <class T>
Task<T> Promise<T>::get_return_object() {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}
}  // namespace task_internal

}  // namespace mayfly
