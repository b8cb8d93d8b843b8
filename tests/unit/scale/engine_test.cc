#include "scale/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <utility>
#include <vector>

namespace mayfly::scale {
namespace {

// Jobs that come to one station at random, once each; how long they wait for their service on average.
class OpenQueue {
 public:
  OpenQueue(uint32_t jobs, double every, Nanos mean, bool exponential)
      : mean_(mean), exponential_(exponential), engine_(*this, 1, jobs) {
    double at = 0;
    for (uint32_t job = 0; job < jobs; ++job) {
      at += -every * std::log1p(-unit_(random_));
      came_.push_back(static_cast<Nanos>(at));
      engine_.Send(job, 0, came_.back());
    }
  }
  double MeanWait() {
    while (engine_.Step()) {
    }
    return static_cast<double>(waited_) / static_cast<double>(came_.size());
  }
  size_t served() const { return served_; }

  Nanos Work(uint32_t job, uint32_t) {
    waited_ += engine_.now() - came_[job];
    return exponential_ ? static_cast<Nanos>(-static_cast<double>(mean_) * std::log1p(-unit_(random_))) : mean_;
  }
  void Done(uint32_t, uint32_t) { ++served_; }

 private:
  std::mt19937_64 random_{7};
  std::uniform_real_distribution<double> unit_{0, 1};
  const Nanos mean_;
  const bool exponential_;
  std::vector<Nanos> came_;
  Nanos waited_ = 0;
  size_t served_ = 0;
  Engine<OpenQueue> engine_;
};

constexpr uint32_t kJobs = 1'000'000;
constexpr double kMean = 10'000;

TEST(ScaleEngine, WaitsOfAnMD1QueueAreThoseOfTheFormula) {
  for (const double load : {0.3, 0.6, 0.8}) {
    OpenQueue queue(kJobs, kMean / load, kMean, false);
    const double formula = load / (2 * (1 - load)) * kMean;
    EXPECT_NEAR(queue.MeanWait() / formula, 1, 0.02) << "at a load of " << load;
    EXPECT_EQ(queue.served(), kJobs);
  }
}

TEST(ScaleEngine, WaitsOfAnMM1QueueAreThoseOfTheFormula) {
  for (const double load : {0.3, 0.6, 0.8}) {
    OpenQueue queue(kJobs, kMean / load, kMean, true);
    const double formula = load / (1 - load) * kMean;
    EXPECT_NEAR(queue.MeanWait() / formula, 1, 0.04) << "at a load of " << load;
  }
}

// Jobs that stay where they are sent; what was begun and ended when.
class Log {
 public:
  Log(uint32_t stations, std::vector<Nanos> work, uint32_t cores)
      : work_(std::move(work)), engine_(*this, stations, static_cast<uint32_t>(work_.size()), cores) {}
  Nanos Work(uint32_t job, uint32_t) {
    begun.emplace_back(job, engine_.now());
    return work_[job];
  }
  void Done(uint32_t job, uint32_t) { ended.emplace_back(job, engine_.now()); }
  Engine<Log>& engine() { return engine_; }
  void Run() {
    while (engine_.Step()) {
    }
  }
  std::vector<std::pair<uint32_t, Nanos>> begun, ended;

 private:
  const std::vector<Nanos> work_;
  Engine<Log> engine_;
};

using Times = std::vector<std::pair<uint32_t, Nanos>>;

TEST(ScaleEngine, AStationServesOneAtATimeInTheOrderTheyCame) {
  Log log(1, {5, 5, 5}, 0);
  log.engine().Send(2, 0, 1);
  log.engine().Send(0, 0, 2);
  log.engine().Send(1, 0, 30);
  log.Run();
  EXPECT_EQ(log.begun, (Times{{2, 1}, {0, 6}, {1, 30}}));
  EXPECT_EQ(log.ended, (Times{{2, 6}, {0, 11}, {1, 35}}));
  EXPECT_EQ(log.engine().busy(0), 15u);
}

TEST(ScaleEngine, StationsWithCoresOfTheirOwnWorkSideBySide) {
  Log log(3, {10, 10, 10}, 0);
  for (uint32_t job = 0; job < 3; ++job) log.engine().Send(job, job, 0);
  log.Run();
  EXPECT_EQ(log.ended, (Times{{0, 10}, {1, 10}, {2, 10}}));
}

TEST(ScaleEngine, SharedCoresWorkForAsManyStationsAsThereAre) {
  Log log(3, {10, 10, 10}, 2);
  for (uint32_t job = 0; job < 3; ++job) log.engine().Send(job, job, 0);
  log.Run();
  EXPECT_EQ(log.ended, (Times{{0, 10}, {1, 10}, {2, 20}}));
}

TEST(ScaleEngine, AStationKeepsASharedCoreForASliceAtMost) {
  constexpr Nanos kHalf = Engine<Log>::kSlice / 2;
  Log log(2, {kHalf, kHalf, kHalf, 1}, 1);
  for (uint32_t job = 0; job < 3; ++job) log.engine().Send(job, 0, 0);
  log.engine().Send(3, 1, 1);
  log.Run();
  EXPECT_EQ(log.ended, (Times{{0, kHalf}, {1, 2 * kHalf}, {3, 2 * kHalf + 1}, {2, 3 * kHalf + 1}}));
}

}  // namespace
}  // namespace mayfly::scale
