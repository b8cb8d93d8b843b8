#include "base/spin_lock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <thread>
#include <vector>

namespace mayfly {
namespace {

TEST(SpinLock, LetsInOneAtATime) {
  SpinLock lock;
  int sum = 0;  // no atomic: what else would lose increments
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 20'000; ++i) {
        std::lock_guard hold(lock);
        ++sum;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(sum, 80'000);
}

TEST(SpinLock, WaitsForAHolderThatSleeps) {
  SpinLock lock;
  lock.lock();
  EXPECT_FALSE(lock.try_lock());
  bool left = false;
  std::thread other([&] {
    std::lock_guard hold(lock);
    EXPECT_TRUE(left);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  left = true;
  lock.unlock();
  other.join();
  EXPECT_TRUE(lock.try_lock());
  lock.unlock();
}

}  // namespace
}  // namespace mayfly
