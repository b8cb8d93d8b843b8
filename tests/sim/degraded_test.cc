// A cluster that comes back without one of its shards, to be read (ShardRole::kReadOnly, with a stand-in): what is
// there is right, what may be missing is an error and never denied, nothing can be changed, whatever was under way has
// an end, and when all come back afterwards everything is as it was.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/log.h"
#include "sim/client.h"

#ifdef MAYFLY_SANITIZED
// What a killed server had is never given back: nothing of it runs again.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

namespace mayfly {
namespace {

constexpr uint32_t kMembers = 4;
using State = std::map<std::string, std::string>;

class World {
 public:
  explicit World(uint64_t seed) : cluster_(OptionsFor(seed)) {
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
    options_.write_behind_bytes = 0;
    client_ = std::make_unique<SimClient>(cluster_, options_);
  }
  ~World() { SetLogSink(nullptr, LogLevel::kWarn); }

  SimCluster& cluster() { return cluster_; }
  SimClient& client() { return *client_; }
  Lane& lane() { return client_->lane(); }

  Status Write(const std::string& path, const std::string& content) {
    const auto fd = client_->Wait(lane().Open(path, kOpenWrite | kOpenCreate, 0644));
    if (!fd.ok()) return fd.status();
    const FileRef file = client_->mount().files().Find(*fd);
    const auto wrote = client_->Wait(lane().WriteAt(file, AsBytes(content), 0));
    const Status closed = client_->Wait(lane().Close(*fd));
    return wrote.ok() ? closed : wrote.status();
  }
  Status Read(const std::string& path, std::string* content) {
    const auto fd = client_->Wait(lane().Open(path, kOpenRead, 0));
    if (!fd.ok()) return fd.status();
    const FileRef file = client_->mount().files().Find(*fd);
    std::string buffer(1 << 20, '\0');
    const auto n =
        client_->Wait(lane().ReadAt(file, MutableBytes(reinterpret_cast<uint8_t*>(buffer.data()), buffer.size()), 0));
    (void)client_->Wait(lane().Close(*fd));
    if (n.ok()) *content = buffer.substr(0, *n);
    return n.status();
  }
  void Die() {
    client_.reset();
    for (uint32_t s = 0; s < kMembers; ++s) {
      if (!cluster_.dead(ShardId(s))) cluster_.Kill(ShardId(s));
    }
  }
  // `without`: kMembers is all of them.
  void ComeBack(uint32_t without) {
    std::vector<RecoveryReport> reports(kMembers);
    std::vector<Task<Status>> tasks;
    for (uint32_t s = 0; s < kMembers; ++s) {
      const ShardRole role = without == kMembers ? ShardRole::kServe
                             : s == without      ? ShardRole::kStandIn
                                                 : ShardRole::kReadOnly;
      tasks.push_back(cluster_.Restart(ShardId(s), &reports[s], role));
    }
    for (auto& task : tasks) ASSERT_TRUE(cluster_.Wait(std::move(task)).ok());
    for (const RecoveryReport& report : reports) EXPECT_EQ(report.refusal, "");
    client_ = std::make_unique<SimClient>(cluster_, options_);
  }

 private:
  static SimClusterOptions OptionsFor(uint64_t seed) {
    SimClusterOptions options;
    options.members = kMembers;
    options.seed = seed;
    options.durability = seed % 2 == 0 ? Durability::kProcess : Durability::kNode;
    if (options.durability == Durability::kNode) options.disk_bytes = 64u << 20;
    return options;
  }
  SimCluster cluster_;
  ClientOptions options_;
  std::unique_ptr<SimClient> client_;
};

State Fill(World* world) {
  State state;
  EXPECT_TRUE(world->client().Wait(world->lane().Mkdir("/d", 0755)).ok());
  for (int i = 0; i < 24; ++i) {
    const std::string path = (i % 2 == 0 ? "/" : "/d/") + std::string("file") + std::to_string(i);
    std::string content(100 + (i % 4) * 70'000, '\0');  // of one chunk to four
    for (size_t at = 0; at < content.size(); ++at) content[at] = static_cast<char>(at * 7 + at / 251 + i);
    EXPECT_TRUE(world->Write(path, content).ok());
    state[path] = content;
  }
  return state;
}

TEST(Degraded, WhatIsThereIsRightAndNothingIsDenied) {
  for (uint32_t without = 0; without < kMembers; ++without) {
    for (uint64_t seed : {1, 2}) {
      SCOPED_TRACE("without " + std::to_string(without) + ", seed " + std::to_string(seed));
      World world(seed);
      const State state = Fill(&world);
      world.Die();
      world.ComeBack(without);
      int right = 0, wanting = 0;
      for (const auto& [path, content] : state) {
        std::string found;
        const Status status = world.Read(path, &found);
        if (status.ok()) {
          EXPECT_TRUE(found == content || (found.size() < content.size() && content.starts_with(found))) << path;
          found == content ? ++right : ++wanting;
        } else {
          EXPECT_EQ(status.code(), Code::kIo) << path;
          ++wanting;
        }
      }
      EXPECT_GT(right, 0);
      EXPECT_GT(wanting, 0);
      Lane& lane = world.lane();
      for (int i = 0; i < 8; ++i) {  // at each shard
        const std::string name = "/new" + std::to_string(i);
        EXPECT_EQ(world.client().Wait(lane.Mkdir(name, 0755)).code(), Code::kReadOnly);
        EXPECT_EQ(world.Write(name, "x").code(), Code::kReadOnly);
        std::string found;
        const Code code = world.Read(name, &found).code();  // the missing one may have had it
        EXPECT_TRUE(code == Code::kNoEntry || code == Code::kIo);
      }
      EXPECT_EQ(world.client().Wait(lane.Rename("/file0", "/file00", 0)).code(), Code::kReadOnly);
      world.Die();
      world.ComeBack(kMembers);
      for (const auto& [path, content] : state) {
        std::string found;
        EXPECT_TRUE(world.Read(path, &found).ok() && found == content) << path;
      }
    }
  }
}

// How many changes a shard took as not done, as its status says.
uint64_t GivenUp(const std::string& status) {
  const std::string_view key = "\"given_up\":";
  const size_t at = status.find(key);
  return at == std::string::npos ? 0 : std::strtoull(status.c_str() + at + key.size(), nullptr, 10);
}

// A rename between two shards, killed at each moment: without either of them each name is there or an error, soon, and
// when all are back exactly one name is.
TEST(Degraded, WhatWasUnderWayHasAnEnd) {
  const char* const from = "/file1";
  uint64_t given_up = 0;
  for (int64_t n = 0; n < 160 && !testing::Test::HasFailure(); ++n) {
    const int64_t moment = n / 4;
    SCOPED_TRACE("case " + std::to_string(n));
    World world(static_cast<uint64_t>(2 + n % 7));
    SimCluster& cluster = world.cluster();
    const Placement& placement = cluster.placement();
    const auto shard_of = [&](const std::string& path) {
      return placement.DentryShard(placement.RootInode(), path.substr(1));
    };
    const ShardId coordinator = shard_of(from);
    std::string to = "/to";
    while (shard_of(to) == coordinator) to += "o";
    const ShardId other = shard_of(to);
    ASSERT_TRUE(world.Write(from, "content").ok());
    ASSERT_TRUE(world.client().Wait(world.lane().Mkdir(to, 0755)).ok());  // its shard has joined the directory
    ASSERT_TRUE(world.client().Wait(world.lane().Rmdir(to)).ok());
    const ShardId killed = n % 2 == 0 ? coordinator : other;
    cluster.KillInside(killed, moment);
    auto rename = world.lane().Rename(from, to, 0);
    for (int turn = 0; turn < 20'000 && !rename.done() && !cluster.dead(killed); ++turn) (void)cluster.Step();
    if (!cluster.dead(killed)) cluster.KillInside(killed, -1);
    for (int turn = 0; turn < 100; ++turn) (void)cluster.Step();  // what is on its way arrives
    for (uint32_t s = 0; s < kMembers; ++s) {
      if (!cluster.dead(ShardId(s))) cluster.Kill(ShardId(s));
    }
    (void)world.client().Wait(std::move(rename));
    world.Die();
    const ShardId without = n % 4 < 2 ? coordinator : other;
    world.ComeBack(without.value);
    const Nanos begun = cluster.clock().Now();
    std::string content;
    for (const std::string& path : {std::string(from), to}) {
      const Status status = world.Read(path, &content);
      const bool here = shard_of(path) != without;
      EXPECT_TRUE(status.ok() || status.code() == Code::kIo || (here && status.code() == Code::kNoEntry))
          << path << ": " << TextOf(status.code());
      if (status.ok()) {
        EXPECT_EQ(content, "content");
      }
    }
    EXPECT_LT(cluster.clock().Now(), begun + 3 * kSecond);  // a stand-in is not asked again and again
    for (uint32_t s = 0; s < kMembers; ++s) given_up += GivenUp(cluster.shard(s).StatusJson());
    world.Die();
    world.ComeBack(kMembers);
    const bool old_name = world.Read(from, &content).ok(), new_name = world.Read(to, &content).ok();
    EXPECT_NE(old_name, new_name);
    EXPECT_EQ(content, "content");
  }
  EXPECT_GT(given_up, 0u);
}

}  // namespace
}  // namespace mayfly
