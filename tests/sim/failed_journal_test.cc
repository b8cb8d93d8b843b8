// The journal of one of several servers fails: what the others do then, and what was under way.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/client.h"
#include "sim/cluster.h"
#include "sim/seeds.h"

namespace mayfly {
namespace {

// A directory in the root for each shard, whose home that is.
struct Homes {
  SimCluster& cluster;
  std::vector<std::pair<std::string, InodeId>> dirs;
  explicit Homes(SimCluster& c, SimClient* client) : cluster(c) {
    for (uint32_t s = 0; s < cluster.shard_count(); ++s) {
      const std::string path = cluster.PathAt(ShardId(s), "dir");
      EXPECT_TRUE(client->Wait(client->lane().Mkdir(path, 0755)).ok());
      const auto attr = client->Wait(client->lane().Stat(path, false));
      EXPECT_TRUE(attr.ok());
      dirs.emplace_back(path, attr.ok() ? attr->inode : InodeId());
    }
  }
  // A path in the one of `home` whose entry `entry` holds.
  std::string At(uint32_t home, uint32_t entry, const std::string& name) const {
    return dirs[home].first + "/" + cluster.NameAt(ShardId(entry), name, dirs[home].second);
  }
};
SimClusterOptions ThreeServers(Durability level) {
  SimClusterOptions options;
  options.members = 3;
  options.memory_bytes = 16u << 20;
  options.durability = level;
  if (level == Durability::kNode) options.disk_bytes = 32u << 20;
  return options;
}

// What takes that server is refused, all else is done, and nobody waits; one that was not a part of a directory yet
// takes the directory's home to become one.
TEST(FailedJournal, TheOtherServersGoOn) {
  for (const Durability level : {Durability::kProcess, Durability::kNode}) {
    for (uint32_t failed = 0; failed < 3; ++failed) {
      SCOPED_TRACE(fmt::format("level {}, shard {}", TextOf(level), failed));
      SimCluster cluster(ThreeServers(level));
      auto client = std::make_unique<SimClient>(cluster);
      Lane& lane = client->lane();
      const Homes homes(cluster, client.get());
      for (uint32_t home = 0; home < 3; ++home) {
        for (uint32_t entry = 0; entry < 3; ++entry) {
          if (home != entry) ASSERT_TRUE(client->Wait(lane.Mkdir(homes.At(home, entry, "before"), 0755)).ok());
        }
      }
      const std::string young = cluster.PathAt(ShardId(failed), "young");
      ASSERT_TRUE(client->Wait(lane.Mkdir(young, 0755)).ok());
      const auto youngest = client->Wait(lane.Stat(young, false));
      ASSERT_TRUE(youngest.ok());
      cluster.RunFor(kSecond);  // the locks are gone
      cluster.platter(failed).faults.write_errors = cluster.platter(failed).faults.flush_errors = 1000;
      Status status;
      for (int i = 0; i < 10'000 && status.code() != Code::kReadOnly; ++i) {
        status = client->Wait(lane.Mkdir(homes.At(failed, failed, "n" + std::to_string(i)), 0755));
      }
      ASSERT_EQ(status.code(), Code::kReadOnly);
      const Nanos begun = cluster.clock().Now();
      for (uint32_t home = 0; home < 3; ++home) {
        for (uint32_t entry = 0; entry < 3; ++entry) {
          SCOPED_TRACE(fmt::format("home {}, entry {}", home, entry));
          const Code expected = entry == failed ? Code::kReadOnly : Code::kOk;
          const std::string dir = homes.At(home, entry, "dir"), file = homes.At(home, entry, "file");
          const std::string to = homes.At(home, entry, "to");
          EXPECT_EQ(client->Wait(lane.Mkdir(dir, 0755)).code(), expected);
          EXPECT_EQ(client->Wait(lane.Create(file, true, 0644)).code(), expected);
          if (entry == failed) continue;
          EXPECT_EQ(client->Wait(lane.Rename(file, to, 0)).code(), Code::kOk);
          EXPECT_EQ(client->Wait(lane.Unlink(to)).code(), Code::kOk);
        }
      }
      for (uint32_t entry = 0; entry < 3; ++entry) {
        const std::string path = young + "/" + cluster.NameAt(ShardId(entry), "x", youngest->inode);
        EXPECT_EQ(client->Wait(lane.Mkdir(path, 0755)).code(), Code::kReadOnly) << entry;
      }
      EXPECT_LT(cluster.clock().Now() - begun, kSecond);
      client.reset();
    }
  }
}

// Links, unlinks and renames across shards, of names that nobody else has.
Task<void> ChangeNames(SimCluster* cluster, SimClient* client, const Homes* homes, uint64_t seed, Nanos* longest) {
  SimRandom random(seed);
  for (int i = 0; i < 30; ++i) {
    std::array<std::string, 2> names;
    for (std::string& name : names) {
      const uint64_t where = random.U64() % 9;
      const auto home = static_cast<uint32_t>(where / 3), entry = static_cast<uint32_t>(where % 3);
      name = homes->At(home, entry, fmt::format("{}-{}-{}", seed, i, &name - names.data()));
    }
    Lane& lane = client->lane();
    for (int step = 0; step < 6; ++step) {
      const Nanos begun = cluster->clock().Now();
      if (step == 0) (void)co_await lane.Create(names[0], true, 0644);
      if (step == 1) (void)co_await lane.Link(names[0], names[1]);
      if (step == 2) (void)co_await lane.Unlink(names[0]);
      if (step == 3) (void)co_await lane.Rename(names[1], names[0], 0);
      if (step == 4) (void)co_await lane.Mkdir(names[1], 0755);
      if (step == 5) (void)co_await lane.Rmdir(names[1]);
      *longest = std::max(*longest, cluster->clock().Now() - begun);
    }
  }
}

// Answers that were held until the journal had what they tell of, and names that a change holds whose end only the next
// start will know.
TEST(FailedJournal, WhatIsUnderWayEndsSoon) {
  const uint64_t first = FromEnvironment("MAYFLY_SEED", 1), seeds = FromEnvironment("MAYFLY_SEEDS", 100);
  for (uint64_t seed = first; seed < first + seeds; ++seed) {
    SCOPED_TRACE(seed);
    SimClusterOptions options = ThreeServers(seed % 4 == 3 ? Durability::kProcess : Durability::kNode);
    options.seed = seed;
    SimCluster cluster(options);
    for (uint32_t s = 0; s < 3; ++s) cluster.platter(s).faults.latency_max = kMillisecond;
    constexpr uint64_t kClients = 4;
    std::vector<std::unique_ptr<SimClient>> clients;
    for (uint64_t c = 0; c < kClients; ++c) clients.push_back(std::make_unique<SimClient>(cluster));
    const Homes homes(cluster, clients[0].get());
    SimRandom random(seed);
    cluster.network().SetPolicy([&random](const SimNetwork::Passing&) {
      SimNetwork::Fate fate;
      fate.delay = static_cast<Nanos>(random.U64() % kMillisecond);
      return fate;
    });
    Nanos longest = 0;
    std::vector<Task<void>> tasks;
    for (uint64_t c = 0; c < kClients; ++c) {
      tasks.push_back(ChangeNames(&cluster, clients[c].get(), &homes, seed * kClients + c, &longest));
    }
    cluster.RunFor(100 * kMillisecond);
    SimDiskFaults& faults = cluster.platter(seed % 3).faults;
    faults.write_errors = faults.flush_errors = 1000;
    for (const Task<void>& task : tasks) EXPECT_FALSE(task.done());  // or the disk failed too late
    for (Task<void>& task : tasks) cluster.Run(task);
    // The participants ask the coordinator once a change is five seconds old, every two.
    EXPECT_LT(longest, 8 * kSecond);
    clients.clear();
  }
}

}  // namespace
}  // namespace mayfly
