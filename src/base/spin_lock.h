// A mutex for sections of some hundred nanoseconds that every call passes: letting go of it is a plain store, where a
// std::mutex has a second locked instruction, which waits until all that was stored before has left the core. Who finds
// it held spins, then yields, then sleeps, as the holder may not be running. BasicLockable, and Lockable.
#pragma once

#include <atomic>
#include <chrono>
#include <thread>

namespace mayfly {

class SpinLock {
 public:
  SpinLock() = default;
  SpinLock(const SpinLock&) = delete;

  bool try_lock() { return !held_.load(std::memory_order_relaxed) && !held_.exchange(true, std::memory_order_acquire); }
  void lock() {
    if (held_.exchange(true, std::memory_order_acquire)) LockSlow();
  }
  void unlock() { held_.store(false, std::memory_order_release); }

 private:
  void LockSlow() {
    constexpr int kSpins = 100, kYields = 1000;
    for (int i = 0; !try_lock(); ++i) {
      if (i < kSpins) {
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
      } else if (i < kYields) {
        std::this_thread::yield();
      } else {
        std::this_thread::sleep_for(
            std::chrono::microseconds(50));  // the holder may have to wait for this thread's core
      }
    }
  }
  std::atomic<bool> held_{false};
};

}  // namespace mayfly
