#include "task/task.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <string>
#include <thread>

#include "fake/sim_clock.h"
#include "task/sync.h"

namespace mayfly {
namespace {

Task<int> Ready(int v) { co_return v; }
Task<int> SumOfReady(int n) {
  int sum = 0;
  for (int i = 0; i < n; ++i) sum += co_await Ready(1);
  co_return sum;
}
Task<int> AwaitShot(OneShot<int>* shot) { co_return co_await *shot; }
Task<Status> WaitOn(WaitQueue* queue, Nanos deadline) { co_return co_await queue->Wait(deadline); }
Task<Status> SleepThenAppend(Executor* executor, Nanos nanos, char c, std::string* out) {
  co_await executor->Sleep(nanos);
  out->push_back(c);
  co_return Code::kOk;
}
Task<Status> Hold(Semaphore* semaphore, Executor* executor, int* now, int* most) {
  co_await semaphore->Acquire();
  *most = std::max(*most, ++*now);
  co_await executor->Sleep(10);
  --*now;
  semaphore->Release();
  co_return Code::kOk;
}

struct TaskTest : testing::Test {
  SimClock clock;
  Executor executor{clock};
  void RunAll() {
    for (;;) {
      if (executor.RunOnce()) continue;
      if (executor.next_timer() == kNever) return;
      clock.AdvanceTo(executor.next_timer());
    }
  }
};

TEST_F(TaskTest, TwoMillionReadyAwaitsDoNotGrowTheStack) { EXPECT_EQ(SumOfReady(2'000'000).Take(), 2'000'000); }

TEST_F(TaskTest, AWaiterResumesFromTheQueueNotInsideSet) {
  OneShot<int> shot(executor);
  Task<int> task = AwaitShot(&shot);
  shot.Set(7);
  EXPECT_FALSE(task.done());
  executor.RunOnce();
  EXPECT_EQ(task.Take(), 7);
}

TEST_F(TaskTest, TimersFireByDeadlineThenByCreation) {
  std::string out;
  Gate gate(executor);
  gate.Spawn(SleepThenAppend(&executor, 20, 'c', &out), "c");
  gate.Spawn(SleepThenAppend(&executor, 10, 'a', &out), "a");
  gate.Spawn(SleepThenAppend(&executor, 10, 'b', &out), "b");
  RunAll();
  EXPECT_EQ(out, "abc");
  EXPECT_EQ(gate.running(), 0u);
}

TEST_F(TaskTest, AWaitEndsByWakeOrByDeadline) {
  WaitQueue queue(executor);
  Task<Status> early = WaitOn(&queue, clock.Now() + 10);
  Task<Status> late = WaitOn(&queue, clock.Now() + 100);
  clock.Advance(10);
  while (executor.RunOnce()) {
  }
  ASSERT_TRUE(early.done());
  EXPECT_EQ(early.Take().code(), Code::kTimedOut);
  EXPECT_FALSE(late.done());
  queue.WakeAll();
  executor.RunOnce();
  EXPECT_TRUE(late.Take().ok());
  EXPECT_EQ(executor.next_timer(), kNever);
}

TEST_F(TaskTest, ASemaphoreBoundsHowManyRun) {
  Semaphore semaphore(executor, 3);
  int now = 0, most = 0;
  Gate gate(executor);
  for (int i = 0; i < 20; ++i) gate.Spawn(Hold(&semaphore, &executor, &now, &most), "hold");
  RunAll();
  EXPECT_EQ(most, 3);
  EXPECT_EQ(now, 0);
}

TEST_F(TaskTest, TheRunQueueGrowsInOrder) {
  std::string out, want;
  Gate gate(executor);
  for (int i = 0; i < 5000; ++i) {
    gate.Spawn(SleepThenAppend(&executor, 1, static_cast<char>('a' + i % 26), &out), "x");
    want.push_back(static_cast<char>('a' + i % 26));
  }
  RunAll();
  EXPECT_EQ(out, want);
}

// Made before the thread's first frame, so it goes after the thread's free frames went.
struct FreesAtTheEnd {
  ~FreesAtTheEnd() { FreeFrame(AllocateFrame(4000), 4000); }
};

TEST(Frames, WhatAThreadFreesAtItsVeryEndIsNotKept) {
  const auto threads = [](int count) {
    for (int i = 0; i < count; ++i) {
      std::thread([] {
        static thread_local FreesAtTheEnd last;
        (void)&last;
        FreeFrame(AllocateFrame(100), 100);
      }).join();
    }
  };
  threads(10);
  const size_t before = mallinfo2().uordblks;
  threads(500);
  EXPECT_LT(mallinfo2().uordblks, before + 500 * 1000);  // 4096 bytes each, were they kept
}

}  // namespace
}  // namespace mayfly
