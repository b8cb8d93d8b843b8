// What fsync has returned for at level `node`, on several nodes that lose their power: the file and the directories
// that lead to it, each on a shard of its own. And what becomes of it where the disk does not keep it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "base/log.h"
#include "sim/mapped_world.h"
#include "store/chunk_file.h"

namespace mayfly {
namespace {

constexpr uint32_t kMembers = 4;

struct Synced : testing::Test {
  Synced() {
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  }
  ~Synced() override {
    client.reset();
    cluster.reset();
    std::filesystem::remove_all(target);
    SetLogSink(nullptr, LogLevel::kWarn);
  }
  void Begin(uint64_t seed) {
    client.reset();
    SimClusterOptions options;
    options.members = kMembers;
    options.seed = seed;
    options.durability = Durability::kNode;
    options.disk_bytes = 32u << 20;
    options.flush_target = target;
    cluster = std::make_unique<SimCluster>(options);
    Connect();
  }
  void Connect() {
    ClientOptions options;
    options.map_arena = false;
    options.syncs = true;
    options.op_timeout = options.unreachable_after = 600 * kSecond;
    client = std::make_unique<SimClient>(*cluster, options);
  }
  Lane& lane() { return client->lane(); }
  template <class T>
  T Wait(Task<T> task) {
    return client->Wait(std::move(task));
  }
  // Writes it, and returns when it is synced.
  void WriteSynced(const std::string& path, const std::string& content) {
    const auto fd = Wait(lane().Open(path, kOpenWrite | kOpenCreate, 0640));
    ASSERT_TRUE(fd.ok()) << path;
    const FileRef file = client->Find(*fd);
    ASSERT_TRUE(Wait(lane().WriteAt(file, AsBytes(content), 0)).ok());
    ASSERT_EQ(Wait(lane().Sync(file)), Status());
  }
  std::string Read(const std::string& path) {
    const FileRef file = client->Open(path, kOpenRead);
    if (file == nullptr) return "(not there)";
    std::string text(2'000'000, '?');
    const auto read = Wait(lane().ReadAt(file, MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size()), 0));
    if (!read.ok()) return std::string(TextOf(read.code()));
    text.resize(*read);
    return text;
  }
  // These nodes lose their power at one moment, and come back.
  void CutPower(const std::vector<ShardId>& nodes) {
    client.reset();
    for (ShardId node : nodes) cluster->Kill(node, true);
    for (const Status& back : cluster->BringBack(nodes)) ASSERT_TRUE(back.ok());
    Connect();
  }

  const std::string target = ::testing::TempDir() + "mayfly-synced-" + std::to_string(::getpid());
  std::unique_ptr<SimCluster> cluster;
  std::unique_ptr<SimClient> client;
};

TEST_F(Synced, AFileIsReachableAfterItsNodesLostTheirPower) {
  for (uint64_t seed = 1; seed <= 24 && !HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Begin(seed);
    std::vector<std::pair<std::string, std::string>> files;
    std::string dir;
    for (int depth = 0; depth < 6; ++depth) {
      dir += "/d" + std::to_string(seed * 7 + depth);
      ASSERT_TRUE(Wait(lane().Mkdir(dir, 0750)).ok());
      files.emplace_back(dir + "/file", Pattern(1 + seed * 20'000 % 400'000, depth));
      WriteSynced(files.back().first, files.back().second);
    }
    // All at once, or one of them.
    std::vector<ShardId> nodes;
    for (uint32_t s = 0; s < kMembers; ++s) {
      if (seed % 3 != 0 || s == seed % kMembers) nodes.push_back(ShardId(s));
    }
    CutPower(nodes);
    for (const auto& [path, content] : files) EXPECT_TRUE(Read(path) == content) << path;
    for (uint32_t s = 0; s < kMembers; ++s) EXPECT_EQ(cluster->shard(s).Check(), "");
  }
}

// Who syncs while the disk flushes for somebody else is in the next group, with all who do.
TEST_F(Synced, TheMeanAndTheLargestGroupAreTold) {
  constexpr size_t kFiles = 12;
  Begin(1);
  const ShardId shard(0);
  const auto figure = [&](const char* name) {
    return nlohmann::json::parse(cluster->shard(shard.value).StatusJson())["journal"][name].get<double>();
  };
  std::vector<FileRef> files;
  for (size_t i = 0; i < kFiles; ++i) {
    files.push_back(client->Open(cluster->PathAt(shard, "f" + std::to_string(i)), kOpenWrite | kOpenCreate));
    ASSERT_NE(files.back(), nullptr);
  }
  for (const FileRef& file : files) ASSERT_EQ(Wait(lane().Sync(file)), Status());
  EXPECT_EQ(figure("group_mean"), 1) << "one at a time";
  EXPECT_EQ(figure("group_largest"), 1);
  const double groups = figure("groups"), waiters = figure("group_waiters");
  const std::string content = Pattern(1000, 1);
  for (const FileRef& file : files) ASSERT_TRUE(Wait(lane().WriteAt(file, AsBytes(content), 0)).ok());
  cluster->platter(0).faults.latency_min = cluster->platter(0).faults.latency_max = 50 * kMillisecond;
  std::vector<Task<Status>> syncs;
  for (const FileRef& file : files) syncs.push_back(lane().Sync(file));
  for (auto& sync : syncs) ASSERT_EQ(Wait(std::move(sync)), Status());
  EXPECT_GE(figure("group_largest"), kFiles / 2);
  EXPECT_LE(figure("group_largest"), kFiles);
  EXPECT_GE(figure("group_waiters"), waiters + kFiles);
  EXPECT_LE(figure("groups"), groups + 3);
  EXPECT_NEAR(figure("group_mean"), figure("group_waiters") / figure("groups"), 0.06);
}

// Bits that rot in the chunk files are found when the session is flushed: the file is named and not written.
TEST_F(Synced, WhatHasRottenIsNotFlushed) {
  Begin(1);
  const std::string good = Pattern(150'000, 1), bad = Pattern(150'000, 2);
  WriteSynced("/good", good);
  WriteSynced("/bad", bad);
  const InodeId inode = Wait(lane().Stat("/bad", true))->inode;
  std::vector<ShardId> all;
  for (uint32_t s = 0; s < kMembers; ++s) all.push_back(ShardId(s));
  CutPower(all);  // so that its bytes are on the disks alone
  // Wherever the file's bytes lie: they are looked for in the disk's image.
  bool rotten = false;
  for (uint32_t s = 0; s < kMembers && !rotten; ++s) {
    const std::vector<uint8_t> image = cluster->platter(s).Contents(kChunkFileName);
    const size_t at = AsText(Bytes(image)).find(bad.substr(70'000, 64));
    if (at == std::string::npos) continue;
    cluster->platter(s).Rot(kChunkFileName, at, 64, 1);
    rotten = true;
  }
  ASSERT_TRUE(rotten) << inode.value;
  FlushRequest request;
  const auto job = Wait(lane().StartFlush(request, FlushSpec()));
  ASSERT_TRUE(job.ok());
  FlushStatusReply reply;
  std::string report;
  for (int i = 0; i < 10'000 && !reply.done; ++i) {
    ASSERT_TRUE(Wait(lane().FlushProgress(*job, false, &reply, &report)).ok());
    cluster->RunFor(5 * kMillisecond);
  }
  ASSERT_TRUE(reply.done);
  EXPECT_EQ(reply.result, Code::kIo);
  EXPECT_NE(report.find("bad"), std::string::npos) << report;
  EXPECT_FALSE(std::filesystem::exists(target + "/bad"));
  std::stringstream flushed;
  flushed << std::ifstream(target + "/good", std::ios::binary).rdbuf();
  EXPECT_TRUE(flushed.str() == good);
}

}  // namespace
}  // namespace mayfly
