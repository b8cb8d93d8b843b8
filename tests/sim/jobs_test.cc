// What the root's shard leads, a flush or the end of the session, goes on when servers are killed at any moment of it
// and come back: it ends once, with everything verified and counted, and no word of it is lost.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>
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

constexpr uint32_t kMembers = 3;
constexpr uint64_t kNever64 = ~uint64_t{0};
using Tree = std::map<std::string, std::string>;  // files by path

struct Ended {
  Status status;  // of asking for it
  Code result = Code::kOk;
  nlohmann::json report;
};

// Asks again and again, as a command does, until it is told how the job ended.
Task<Status> Follow(Lane* lane, uint64_t job, Ended* ended) {
  for (;;) {
    FlushStatusReply reply;
    std::string report;
    ended->status = co_await lane->FlushProgress(job, false, &reply, &report);
    if (ended->status.ok() && reply.done) {
      ended->result = reply.result;
      ended->report = nlohmann::json::parse(report, nullptr, false);
      co_return Code::kOk;
    }
    if (ended->status.code() == Code::kNoEntry) co_return Code::kNoEntry;
    co_await lane->executor().Sleep(5 * kMillisecond);
  }
}

class World {
 public:
  explicit World(uint64_t seed, bool takes_up_stops = true)
      : target_(::testing::TempDir() + "mayfly-jobs-" + std::to_string(::getpid())),
        cluster_(OptionsFor(seed, takes_up_stops, target_)) {
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
    std::filesystem::remove_all(target_);
    options_.write_behind_bytes = 0;
    options_.unreachable_after = options_.op_timeout;  // servers come back
    client_ = std::make_unique<SimClient>(cluster_, options_);
  }
  ~World() {
    client_.reset();
    std::filesystem::remove_all(target_);
    SetLogSink(nullptr, LogLevel::kWarn);
  }

  SimCluster& cluster() { return cluster_; }
  Lane& lane() { return client_->lane(); }
  ShardId root() const { return cluster_.placement().RootShard(); }
  ShardId another() const { return ShardId((root().value + 1) % kMembers); }
  template <class T>
  T Wait(Task<T> task) {
    return client_->Wait(std::move(task));
  }

  // Files of one chunk to four, entries and chunks on all shards.
  Tree Fill() {
    Tree tree;
    for (const char* dir : {"/d", "/d/e"}) EXPECT_TRUE(Wait(lane().Mkdir(dir, 0755)).ok());
    for (int i = 0; i < 18; ++i) {
      const std::string dir = i % 3 == 0 ? "/" : i % 3 == 1 ? "/d/" : "/d/e/";
      const std::string path = dir + "file" + std::to_string(i);
      std::string content(100 + (i % 4) * 70'000, '\0');
      for (size_t at = 0; at < content.size(); ++at) content[at] = static_cast<char>(at * 7 + at / 251 + i);
      const auto fd = Wait(lane().Open(path, kOpenWrite | kOpenCreate, 0644));
      EXPECT_TRUE(fd.ok());
      const FileRef file = client_->mount().files().Find(*fd);
      EXPECT_TRUE(Wait(lane().WriteAt(file, AsBytes(content), 0)).ok());
      EXPECT_TRUE(Wait(lane().Close(*fd)).ok());
      tree[path.substr(1)] = content;
    }
    return tree;
  }
  // What is in the target, temporaries too.
  Tree Target() const {
    Tree tree;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(target_)) {
      if (!entry.is_regular_file()) continue;
      std::stringstream content;
      content << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      tree[std::filesystem::relative(entry.path(), target_).string()] = content.str();
    }
    return tree;
  }
  uint64_t Start(bool stop) {
    FlushRequest request;
    request.stop = stop;
    const auto job = Wait(lane().StartFlush(request, FlushSpec()));
    EXPECT_TRUE(job.ok()) << TextOf(job.code());
    return job.ok() ? *job : 0;
  }
  // Turns until a server that was killed and started again is back.
  void KillAndRestart(ShardId shard) {
    cluster_.Kill(shard);
    cluster_.RunFor(300 * kMillisecond);
    Restart({shard});
  }
  void Restart(const std::vector<ShardId>& shards) {
    for (const Status& back : cluster_.BringBack(shards)) EXPECT_TRUE(back.ok());
  }
  // Follows the job to its end; `victim` is killed at that turn.
  Ended FollowWith(uint64_t job, ShardId victim, uint64_t at, uint64_t* turns) {
    Ended ended;
    Task<Status> follow = mayfly::Follow(&lane(), job, &ended);
    for (*turns = 0; !follow.done(); ++*turns) {
      if (*turns == at) KillAndRestart(victim);
      if (!follow.done() && !cluster_.Turn()) ADD_FAILURE() << "nothing will ever happen";
    }
    (void)follow.Take();
    return ended;
  }

 private:
  static SimClusterOptions OptionsFor(uint64_t seed, bool takes_up_stops, const std::string& target) {
    SimClusterOptions options;
    options.members = kMembers;
    options.seed = seed;
    options.memory_bytes = 16u << 20;
    options.durability = Durability::kProcess;
    options.journal_bytes = 2u << 20;
    options.flush_target = target;
    options.takes_up_stops = takes_up_stops;
    return options;
  }
  const std::string target_;
  SimCluster cluster_;
  ClientOptions options_;
  std::unique_ptr<SimClient> client_;
};

void ExpectAll(const Ended& ended, const Tree& tree, const World& world) {
  EXPECT_TRUE(ended.status.ok()) << TextOf(ended.status.code());
  EXPECT_EQ(ended.result, Code::kOk) << ended.report.dump(2);
  const nlohmann::json flush = ended.report.value("flush", nlohmann::json());
  ASSERT_TRUE(flush.is_object()) << ended.report.dump(2);
  EXPECT_TRUE(flush.value("verified", false));
  EXPECT_EQ(flush.value("files", 0u) + flush.value("skipped", 0u), tree.size());
  const Tree found = world.Target();
  EXPECT_EQ(found.size(), tree.size());  // no temporary is left
  for (const auto& [path, content] : tree) {
    const auto at = found.find(path);
    EXPECT_TRUE(at != found.end() && at->second == content) << path;
  }
}

// At each of so many moments from the start to the end.
constexpr uint64_t kMoments = 24;

class JobsUnderKills : public ::testing::TestWithParam<bool> {  // whether the victim is the root's server
 protected:
  // Runs a job to its end, the victim killed at another moment each time (at none the first time), and has `then` look.
  static void AtEachMoment(bool stop, const std::function<void(World&, uint64_t job, const Ended&)>& then) {
    uint64_t length = 0;
    for (uint64_t moment = 0; moment <= kMoments; ++moment) {
      SCOPED_TRACE("moment " + std::to_string(moment));
      World world(moment + 1);
      const Tree tree = world.Fill();
      const ShardId victim = GetParam() ? world.root() : world.another();
      const uint64_t job = world.Start(stop);
      uint64_t turns = 0;
      const uint64_t at = moment == 0 ? kNever64 : length * moment / (kMoments + 1);
      const Ended ended = world.FollowWith(job, victim, at, &turns);
      if (moment == 0) length = turns;
      ExpectAll(ended, tree, world);
      then(world, job, ended);
    }
  }
};
INSTANTIATE_TEST_SUITE_P(OfRoot, JobsUnderKills, ::testing::Bool());

TEST_P(JobsUnderKills, AStopGoesOnAndEndsVerified) {
  AtEachMoment(true, [](World& world, uint64_t, const Ended&) {
    world.cluster().RunFor(10 * kSecond);
    for (uint32_t s = 0; s < kMembers; ++s) EXPECT_TRUE(world.cluster().shard(s).leaving()) << s;
  });
}

TEST_P(JobsUnderKills, AFlushGoesOnAndItsOutcomeIsKept) {
  AtEachMoment(false, [](World& world, uint64_t job, const Ended& ended) {
    // Who asks after a further restart is told the same.
    world.KillAndRestart(world.root());
    uint64_t turns = 0;
    const Ended again = world.FollowWith(job, world.root(), kNever64, &turns);
    EXPECT_EQ(again.report, ended.report);
    EXPECT_TRUE(world.Wait(world.lane().Mkdir("/goes-on", 0755)).ok());
  });
}

// A directory made in a part that the flush has passed would be lost.
TEST(Jobs, AMemberThatComesBackWhileTheSessionEndsTakesNothingIn) {
  World world(1);
  const Tree tree = world.Fill();
  const uint64_t job = world.Start(true);
  Shard& root = world.cluster().shard(world.root().value);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(world.cluster().Turn());
  world.KillAndRestart(world.another());
  ASSERT_FALSE(root.stop_verdict().ended);
  int refused = 0;
  for (int i = 0; i < 4 && !root.stop_verdict().ended; ++i) {
    const std::string path = world.cluster().PathAt(world.another(), "new" + std::to_string(i));
    EXPECT_EQ(world.Wait(world.lane().Mkdir(path, 0755)).code(), Code::kShutdown) << path;
    ++refused;
  }
  EXPECT_GT(refused, 0);
  uint64_t turns = 0;
  ExpectAll(world.FollowWith(job, world.root(), kNever64, &turns), tree, world);
}

// --recover: it is started to be used.
TEST(Jobs, ASessionThatIsStartedAgainAsAWholeForgetsAStop) {
  World world(1, false);
  const Tree tree = world.Fill();
  const uint64_t job = world.Start(true);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(world.cluster().Turn());
  ASSERT_FALSE(world.cluster().shard(world.root().value).stop_verdict().ended);
  std::vector<ShardId> all;
  for (uint32_t s = 0; s < kMembers; ++s) {
    all.push_back(ShardId(s));
    world.cluster().Kill(ShardId(s));
  }
  world.Restart(all);
  Ended ended;
  EXPECT_EQ(world.Wait(mayfly::Follow(&world.lane(), job, &ended)).code(), Code::kNoEntry);
  for (int i = 0; i < 8; ++i) {  // at each shard
    EXPECT_TRUE(world.Wait(world.lane().Mkdir("/used" + std::to_string(i), 0755)).ok());
  }
  uint64_t turns = 0;
  ExpectAll(world.FollowWith(world.Start(true), world.root(), kNever64, &turns), tree, world);
}

// Workers of a stage-in that a killed server led may still be copying: nobody begins before they have ended.
TEST(Jobs, AStageInAfterARestartWaitsForTheWorkersOfBefore) {
  World world(1);
  world.KillAndRestart(world.root());
  int invited = 0, busy = 40;
  for (uint32_t s = 0; s < kMembers; ++s) {
    world.cluster().shard(s).SetOnStage([&, s](uint64_t, uint32_t, StageSpec) -> Status {
      if (ShardId(s) == world.another() && busy-- > 0) return Code::kBusy;
      ++invited;
      return {};
    });
  }
  StageSpec spec;
  spec.source = "/pfs/in";
  spec.target = "/in";
  StageStartReply started;
  ASSERT_TRUE(world.Wait(world.lane().StageStart(spec, &started)).ok());
  StageWorkRequest take;
  take.job = started.job;
  take.worker = world.root().value + 1;
  take.take = true;
  StageWorkReply work;
  StageItem item;
  ASSERT_TRUE(world.Wait(world.lane().StageWork(take, {}, &work, &item)).ok());
  if (work.item == 0) {
    ASSERT_TRUE(world.Wait(world.lane().StageWork(take, {}, &work, &item)).ok());
  }
  EXPECT_NE(work.item, 0u);
  EXPECT_LE(busy, 0);
  EXPECT_EQ(invited, static_cast<int>(kMembers));
}

TEST(Jobs, AStageInAfterARestartIsRefusedWhereAWorkerOfBeforeDoesNotEnd) {
  World world(1);
  world.KillAndRestart(world.root());
  for (uint32_t s = 0; s < kMembers; ++s) {
    world.cluster().shard(s).SetOnStage([&, s](uint64_t, uint32_t, StageSpec) -> Status {
      return ShardId(s) == world.another() ? Code::kBusy : Code::kOk;
    });
  }
  StageSpec spec;
  spec.source = "/pfs/in";
  spec.target = "/in";
  StageStartReply started;
  ASSERT_TRUE(world.Wait(world.lane().StageStart(spec, &started)).ok());
  world.cluster().RunFor(60 * kSecond);
  StageStatusRequest ask;
  ask.job = started.job;
  StageStatusReply status;
  StageSummary summary;
  ASSERT_TRUE(world.Wait(world.lane().StageStatus(ask, &status, &summary)).ok());
  EXPECT_TRUE(status.done);
  EXPECT_EQ(status.counts.failed, 1u);
  ASSERT_EQ(summary.failures.size(), 1u);
  EXPECT_NE(summary.failures[0].find("node" + std::to_string(world.another().value)), std::string::npos);
}

}  // namespace
}  // namespace mayfly
