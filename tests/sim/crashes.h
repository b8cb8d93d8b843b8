// Who kills servers of a SimCluster and starts them again, by a seed: between two turns and in the middle of one, alone
// and all at once, also while they come back.
#pragma once

#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "sim/cluster.h"
#include "sim/graves.h"

namespace mayfly {

class Crashes {
 public:
  struct Options {
    uint64_t seed = 1;
    uint64_t one_in = 3;            // a call of Plan plans a kill
    bool inside = true;             // some kills in the middle of a turn
    bool power = false;             // half of them are losses of the node's power
    uint64_t turns = 60;            // until a kill, at most
    Nanos away = 3 * kSecond;       // until a server is started again, at most
    Nanos long_away = 3 * kSecond;  // once in twenty times
    // Null: every server comes back. Else whether one may be refused now, which is started again later.
    std::function<bool()> may_fail;
    std::function<void(uint32_t shard)> before_restart;  // null: nothing
  };
  struct Counts {
    uint64_t kills = 0, inside = 0, in_recovery = 0, damage = 0, refused = 0;
    uint64_t power = 0;  // of the kills outside of turns
  };

  Crashes(SimCluster& cluster, Options options)
      : cluster_(cluster), options_(options), random_(options.seed * 104729 + 5), shards_(cluster.shard_count()) {}

  // Before an operation.
  void Plan() {
    if (!planned_) PlanOne(options_.one_in, options_.turns);
  }
  // All servers at once, now.
  void KillAll() {
    for (uint32_t s = 0; s < shards_.size(); ++s) {
      if (!cluster_.dead(ShardId(s))) Kill(s);
    }
  }

  // One turn of everything.
  void Turn() {
    if (planned_ && turns_ >= 0 && turns_-- == 0) {
      planned_ = false;
      if (OneIn(4)) {
        KillAll();
      } else if (const uint32_t victim = SomeShard(); !cluster_.dead(ShardId(victim))) {
        Kill(victim);
      }
      PlanOne(3, 200);
    }
    bool waiting = false;
    for (uint32_t s = 0; s < shards_.size(); ++s) waiting |= Look(s);
    if (!cluster_.Step()) {
      // Time passes in steps, so that a restart comes between two timers too.
      if (waiting) {
        cluster_.clock().Advance(kMillisecond);
      } else {
        MAYFLY_CHECK(cluster_.Turn());
      }
    }
  }
  // No kill any more, and everybody is back. False: they do not come back.
  bool Mend() {
    planned_ = false;
    for (uint32_t s = 0; s < shards_.size(); ++s) cluster_.KillInside(ShardId(s), -1);
    mending_ = true;
    bool whole = IsWhole();
    for (int i = 0; i < 1'000'000 && !whole; ++i, whole = IsWhole()) Turn();
    mending_ = false;
    return whole;
  }
  const Counts& counts() const { return counts_; }

 private:
  struct Opening {
    std::optional<Task<Status>> task;
    RecoveryReport report;
    bool may_fail = false;
  };
  struct One {
    std::unique_ptr<Opening> opening;
    bool known_dead = false;
    Nanos restart_at = 0;
  };
  bool IsWhole() const {
    bool whole = true;
    for (uint32_t s = 0; s < shards_.size(); ++s) {
      whole &= !cluster_.dead(ShardId(s)) && shards_[s].opening == nullptr;
    }
    return whole;
  }
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  uint32_t SomeShard() { return static_cast<uint32_t>(Below(shards_.size())); }

  void PlanOne(uint64_t one_in, uint64_t turns) {
    if (mending_ || !OneIn(one_in)) return;
    planned_ = true;
    turns_ = -1;
    if (options_.inside && OneIn(2)) {
      victim_ = SomeShard();
      const auto moments = static_cast<int64_t>(Below(OneIn(4) ? 300 : 40));
      cluster_.KillInside(ShardId(victim_), moments, options_.power && OneIn(2));
    } else {
      turns_ = static_cast<int64_t>(Below(turns));
    }
  }
  void Kill(uint32_t s) {
    const bool power = options_.power && OneIn(2);
    counts_.power += power ? 1 : 0;
    cluster_.Kill(ShardId(s), power);
    Died(s);
  }
  void Died(uint32_t s) {
    One& one = shards_[s];
    ++counts_.kills;
    if (one.opening != nullptr) {
      ++counts_.in_recovery;
      mayfly::Bury(std::move(one.opening));
    }
    one.known_dead = true;
    const uint64_t most = static_cast<uint64_t>(OneIn(20) ? options_.long_away : options_.away);
    one.restart_at = cluster_.clock().Now() + static_cast<Nanos>(Below(most));
    Say("killed", s);
  }
  // True while it is not back.
  bool Look(uint32_t s) {
    One& one = shards_[s];
    if (cluster_.dead(ShardId(s)) && !one.known_dead) {  // inside its turn
      ++counts_.inside;
      Died(s);
      planned_ = false;
      PlanOne(3, 200);
    }
    if (one.known_dead && cluster_.clock().Now() >= one.restart_at) {
      one.known_dead = false;
      auto opening = std::make_unique<Opening>();
      if (options_.before_restart) options_.before_restart(s);
      opening->may_fail = options_.may_fail && options_.may_fail();
      opening->task.emplace(cluster_.Restart(ShardId(s), &opening->report));
      one.opening = std::move(opening);
      Say("starts again", s);
    }
    if (one.opening != nullptr && one.opening->task->done()) {
      const Status status = one.opening->task->Take();
      if (!status.ok() && (one.opening->may_fail || (options_.may_fail && options_.may_fail()))) {
        one.opening.reset();
        ++counts_.refused;
        Say("cannot start", s);
        Kill(s);
        return true;
      }
      EXPECT_TRUE(status.ok()) << TextOf(status.code()) << ": " << one.opening->report.refusal;
      EXPECT_TRUE(one.opening->report.found);
      counts_.damage += one.opening->report.damage.size();
      for (const std::string& what : one.opening->report.damage) Say(what.c_str(), s);
      one.opening.reset();
      Say("is back", s);
    }
    return one.known_dead || one.opening != nullptr;
  }
  void Say(const char* what, uint32_t s) {
    if (std::getenv("MAYFLY_TRACE") == nullptr) return;
    std::printf("%.6f server %u %s\n", static_cast<double>(cluster_.clock().Now()) / 1e9, s, what);
  }

  SimCluster& cluster_;
  const Options options_;
  SimRandom random_;
  std::vector<One> shards_;
  bool planned_ = false;
  bool mending_ = false;
  int64_t turns_ = -1;  // negative: a kill inside a turn is planned
  uint32_t victim_ = 0;
  Counts counts_;
};

}  // namespace mayfly
