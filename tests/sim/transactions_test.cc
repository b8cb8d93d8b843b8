// Operations across shards, with one of their servers killed at each of its moments (a send, something that arrived, a
// transfer of its disk) and brought back: the client, which goes on by itself, hears that all went well, and it has
// happened once and as a whole, links and names alike.
#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <string>

#include "sim/client.h"

#ifdef MAYFLY_SANITIZED
// What a killed server had is never given back: nothing of it runs again.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

namespace mayfly {
namespace {

struct World {
  explicit World(Durability durability)
      : cluster(With(durability)), client(cluster, Patient()), other(cluster, Patient()) {}
  static SimClusterOptions With(Durability durability) {
    SimClusterOptions options;
    options.members = 3;
    options.durability = durability;
    if (durability == Durability::kNode) options.disk_bytes = 32u << 20;
    return options;
  }
  static ClientOptions Patient() {
    ClientOptions options;
    options.map_arena = false;
    options.op_timeout = options.unreachable_after = 600 * kSecond;
    return options;
  }
  Lane& lane() { return client.lane(); }
  // The path of an entry of that shard, with something below it perhaps. It stays: operations go on to view it.
  const std::string& At(uint32_t shard, const std::string& name, const std::string& below = "") {
    return paths.emplace_back(cluster.PathAt(ShardId(shard), name) + below);
  }
  void Make(const std::string& path) { EXPECT_TRUE(client.Wait(lane().Create(path, true, 0644)).ok()) << path; }
  void Mkdir(const std::string& path) { EXPECT_TRUE(client.Wait(lane().Mkdir(path, 0755)).ok()) << path; }
  // What others see: 0 if there is nothing of that name.
  uint32_t Links(const std::string& path) {
    const auto attr = other.Wait(other.lane().Stat(path, false));
    EXPECT_TRUE(attr.ok() || attr.code() == Code::kNoEntry) << path << ": " << TextOf(attr.code());
    return attr.ok() ? attr->nlink : 0;
  }
  uint64_t Number(const std::string& path) {
    const auto attr = other.Wait(other.lane().Stat(path, false));
    return attr.ok() ? attr->inode.value : 0;
  }

  SimCluster cluster;
  SimClient client, other;
  std::deque<std::string> paths;
};

using Begin = std::function<Task<Status>(World&)>;
using Check = std::function<void(World&)>;

// `begin` prepares and begins; `check` looks at what came of it. How often a server died.
void KillAtEachMoment(Durability durability, const Begin& begin, const Check& check) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // dead servers are the test's
  uint64_t killed = 0;
  uint32_t victim = 0;
  for (int64_t moment = 0; victim < 3 && !testing::Test::HasFailure(); ++moment) {
    SCOPED_TRACE("moment " + std::to_string(moment) + " of shard " + std::to_string(victim));
    World world(durability);
    SimCluster& cluster = world.cluster;
    Task<Status> operation = begin(world);
    cluster.KillInside(ShardId(victim), moment);
    while (!operation.done() && !cluster.dead(ShardId(victim))) ASSERT_TRUE(cluster.Turn());
    const bool dead = cluster.dead(ShardId(victim));
    cluster.KillInside(ShardId(victim), -1);
    if (dead) {
      ASSERT_TRUE(cluster.BringBack({ShardId(victim)}).front().ok());
    }
    EXPECT_EQ(cluster.Wait(std::move(operation)), Status());
    cluster.RunFor(5 * kSecond);  // what was decided is told
    check(world);
    for (uint32_t s = 0; s < 3; ++s) EXPECT_EQ(cluster.shard(s).Check(), "") << s;
    killed += dead;
    if (dead) continue;
    ++victim;
    moment = -1;
  }
  EXPECT_GT(killed, 20u);
  SetLogSink(nullptr, LogLevel::kWarn);
}

struct Transactions : testing::TestWithParam<Durability> {};

TEST_P(Transactions, ALinkIsMadeOnce) {
  KillAtEachMoment(
      GetParam(),
      [](World& world) {
        world.Make(world.At(1, "file"));
        return world.lane().Link(world.At(1, "file"), world.At(2, "link"));
      },
      [](World& world) {
        EXPECT_EQ(world.Links(world.At(1, "file")), 2u);
        EXPECT_EQ(world.Links(world.At(2, "link")), 2u);
        EXPECT_EQ(world.Number(world.At(1, "file")), world.Number(world.At(2, "link")));
      });
}

TEST_P(Transactions, ANameOfAnotherShardsFileGoesOnce) {
  KillAtEachMoment(
      GetParam(),
      [](World& world) {
        world.Make(world.At(1, "file"));
        EXPECT_TRUE(world.client.Wait(world.lane().Link(world.At(1, "file"), world.At(2, "link"))).ok());
        EXPECT_TRUE(world.client.Wait(world.lane().Link(world.At(1, "file"), world.At(0, "third"))).ok());
        return world.lane().Unlink(world.At(2, "link"));
      },
      [](World& world) {
        EXPECT_EQ(world.Links(world.At(1, "file")), 2u);
        EXPECT_EQ(world.Links(world.At(2, "link")), 0u);
        EXPECT_EQ(world.Links(world.At(0, "third")), 2u);
      });
}

TEST_P(Transactions, ADirectoryIsRemovedOnce) {
  KillAtEachMoment(
      GetParam(),
      [](World& world) {
        world.Mkdir(world.At(1, "dir"));
        // So that other shards are parts of it.
        for (int i = 0; i < 6; ++i) world.Make(world.At(1, "dir", "/" + std::to_string(i)));
        for (int i = 0; i < 6; ++i) {
          EXPECT_TRUE(world.client.Wait(world.lane().Unlink(world.At(1, "dir", "/" + std::to_string(i)))).ok());
        }
        return world.lane().Rmdir(world.At(1, "dir"));
      },
      [](World& world) {
        EXPECT_EQ(world.Links(world.At(1, "dir")), 0u);
        EXPECT_EQ(world.Links("/"), 2u);
        world.Mkdir(world.At(1, "dir"));
        EXPECT_EQ(world.Links("/"), 3u);
      });
}

TEST_P(Transactions, TwoFilesAreExchangedOnce) {
  uint64_t one = 0, two = 0;
  KillAtEachMoment(
      GetParam(),
      [&](World& world) {
        constexpr uint32_t kExchange = 2;
        world.Make(world.At(1, "one"));
        world.Make(world.At(2, "two"));
        one = world.Number(world.At(1, "one"));
        two = world.Number(world.At(2, "two"));
        return world.lane().Rename(world.At(1, "one"), world.At(2, "two"), kExchange);
      },
      [&](World& world) {
        EXPECT_EQ(world.Number(world.At(1, "one")), two);
        EXPECT_EQ(world.Number(world.At(2, "two")), one);
        EXPECT_EQ(world.Links(world.At(1, "one")), 1u);
        EXPECT_EQ(world.Links(world.At(2, "two")), 1u);
      });
}

TEST_P(Transactions, AFileTakesAnothersPlaceOnce) {
  uint64_t moved = 0;
  KillAtEachMoment(
      GetParam(),
      [&](World& world) {
        world.Make(world.At(1, "from"));
        world.Make(world.At(2, "to"));
        EXPECT_TRUE(world.client.Wait(world.lane().Link(world.At(2, "to"), world.At(0, "kept"))).ok());
        moved = world.Number(world.At(1, "from"));
        return world.lane().Rename(world.At(1, "from"), world.At(2, "to"), 0);
      },
      [&](World& world) {
        EXPECT_EQ(world.Links(world.At(1, "from")), 0u);
        EXPECT_EQ(world.Number(world.At(2, "to")), moved);
        EXPECT_EQ(world.Links(world.At(2, "to")), 1u);
        EXPECT_EQ(world.Links(world.At(0, "kept")), 1u);
      });
}

TEST_P(Transactions, ADirectoryMovesOnce) {
  KillAtEachMoment(
      GetParam(),
      [](World& world) {
        world.Mkdir(world.At(1, "from"));
        world.Mkdir(world.At(2, "above"));
        world.Make(world.At(1, "from", "/file"));
        return world.lane().Rename(world.At(1, "from"), world.At(2, "above", "/to"), 0);
      },
      [](World& world) {
        EXPECT_EQ(world.Links(world.At(1, "from")), 0u);
        EXPECT_EQ(world.Links(world.At(2, "above")), 3u);
        EXPECT_EQ(world.Links(world.At(2, "above", "/to/file")), 1u);
        EXPECT_EQ(world.Links(world.At(2, "above", "/to/..")), 3u);
        EXPECT_EQ(world.Links("/"), 3u);
      });
}

INSTANTIATE_TEST_SUITE_P(Levels, Transactions, testing::Values(Durability::kProcess, Durability::kNode),
                         [](const auto& info) { return info.param == Durability::kNode ? "node" : "process"; });

}  // namespace
}  // namespace mayfly
