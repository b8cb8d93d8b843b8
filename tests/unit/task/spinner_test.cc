#include "task/spinner.h"

#include <gtest/gtest.h>

#include "fake/sim_clock.h"

namespace mayfly {
namespace {

constexpr Nanos kBudget = 20 * kMicrosecond, kMost = kMillisecond;

// Yields take as long as `late` says. What wakes a sleep comes `gap` after the last event.
struct Core final : Idle {
  explicit Core(SimClock& clock) : clock(clock) {}
  void Sleep(Nanos until) override {
    ++sleeps;
    clock.AdvanceTo(std::min(until, std::max(clock.Now() + 1, event)));
  }
  void Yield() override { clock.Advance(late); }
  void Wake() override {}

  SimClock& clock;
  Nanos late = kMicrosecond, event = 0;
  int sleeps = 0;
};

struct World {
  SimClock clock;
  Executor executor{clock};
  Core core{clock};

  // Events that come `gap` after each other: how many of them were slept for.
  int SleepsFor(Spinner& spinner, int events, Nanos gap) {
    const int before = core.sleeps;
    for (int i = 0; i < events; ++i) {
      spinner.Worked();
      core.event = clock.Now() + gap;
      executor.Look();
      while (clock.Now() < core.event) {
        clock.Advance(100);
        spinner.Empty();
      }
    }
    return core.sleeps - before;
  }
};

TEST(Spinner, SpinsOverGapsThatComeAgainAndAgain) {
  World w;
  Spinner spinner(w.executor, w.core, kBudget, kMost);
  EXPECT_LE(w.SleepsFor(spinner, 100, 150 * kMicrosecond), 3);
  EXPECT_LE(w.SleepsFor(spinner, 100, 600 * kMicrosecond), 3);
}

TEST(Spinner, SleepsSoonAgainOnceTheyHaveEnded) {
  World w;
  Spinner spinner(w.executor, w.core, kBudget, kMost);
  w.SleepsFor(spinner, 100, 600 * kMicrosecond);
  EXPECT_EQ(w.SleepsFor(spinner, 1, 100 * kMillisecond), 1);
  EXPECT_EQ(w.SleepsFor(spinner, 1, 150 * kMicrosecond), 1) << "it spins longer than its own budget";
}

TEST(Spinner, SleepsForEachWhereOthersWantTheCore) {
  World w;
  Spinner spinner(w.executor, w.core, kBudget, kMost);
  w.core.late = 10 * kMicrosecond;
  EXPECT_EQ(w.SleepsFor(spinner, 100, 150 * kMicrosecond), 100);
}

TEST(Spinner, OfAFixedBudgetSleepsForEach) {
  World w;
  Spinner spinner(w.executor, w.core, kBudget);
  EXPECT_EQ(w.SleepsFor(spinner, 100, 150 * kMicrosecond), 100);
  Spinner longer(w.executor, w.core, 100 * kMicrosecond);
  EXPECT_EQ(w.SleepsFor(longer, 1, 100 * kMillisecond), 1);
  EXPECT_EQ(w.SleepsFor(longer, 10, 80 * kMicrosecond), 0) << "a long sleep has changed it";
}

TEST(Spinner, KeepsItsBudgetWhereTimersEndItsSleeps) {
  World w;
  Spinner spinner(w.executor, w.core, kBudget, kMost);
  int fired = 0;
  for (int i = 0; i < 20; ++i) {
    w.executor.At(
        w.clock.Now() + 300 * kMicrosecond, [](void* count) { ++*static_cast<int*>(count); }, &fired);
    w.core.event = kNever;
    const Nanos begun = w.clock.Now();
    const int sleeps = w.core.sleeps;
    while (w.core.sleeps == sleeps) {
      w.clock.Advance(100);
      w.executor.Look();
      spinner.Empty();
    }
    EXPECT_LE(w.clock.Now() - begun, 310 * kMicrosecond);
    w.executor.RunOnce();
    spinner.Worked();
    EXPECT_EQ(fired, i + 1);
  }
  EXPECT_EQ(w.SleepsFor(spinner, 1, 150 * kMicrosecond), 1);
}

}  // namespace
}  // namespace mayfly
