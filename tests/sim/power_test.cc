// A node at level `node` (--fsync commit) that loses its power in the middle of everything: what is there afterwards is
// one of the states that the session had been in, whole, and none before the last that was synced or closed. One shard:
// its journal is one history. MAYFLY_SEED is the first seed, MAYFLY_SEEDS how many (tests/sim/run).
#include <gtest/gtest.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/client.h"
#include "sim/seeds.h"

namespace mayfly {
namespace {

constexpr int kNames = 8;
constexpr uint64_t kFileBytesMax = 300'000;

using State = std::map<std::string, std::string>;  // path -> content

class World {
 public:
  explicit World(uint64_t seed)
      : operations_most_(seed % 16 == 0 ? 150 : 40), random_(seed * 2862933555777941757u + 11) {
    SimClusterOptions options;
    options.members = 1;
    options.seed = seed;
    options.chunk_bits = OneIn(2) ? kChunkBitsMin : kChunkBitsDefault;
    options.durability = Durability::kNode;
    options.checksums = !OneIn(4);
    options.journal_bytes = 512 << 10;
    options.window_bytes = 256 << 10;
    if (OneIn(2)) options.memory_bytes = 5u << 20;  // less than there is data
    if (OneIn(2)) options.evict = ChunkStore::Evict::kLfu;
    // With little room blocks are used again soon.
    options.disk_bytes = OneIn(3) ? 3u << 19 : OneIn(2) ? 8u << 20 : 128u << 20;
    cluster_ = std::make_unique<SimCluster>(options);
    if (!OneIn(3)) cluster_->platter(0).faults.latency_max = OneIn(2) ? kMillisecond : 20 * kMillisecond;
    Connect();
    Note(true);
  }
  ~World() { client_.reset(); }

  void Run() {
    for (int life = 0; life < 3 && !testing::Test::HasFailure(); ++life) {
      const int operations = static_cast<int>(Below(operations_most_));
      for (int i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
        Step();
        for (uint64_t turns = Below(4); turns != 0; --turns) cluster_->Turn();
      }
      evicted_ += cluster_->shard(0).store_stats().evicted;
      client_.reset();
      LosePower();
      Connect();
      Compare();
    }
  }
  uint64_t lost() const { return lost_; }  // operations, of all losses of power
  uint64_t evicted() const { return evicted_; }
  uint64_t promised() const { return promised_; }  // writes of what was reserved

 private:
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  Lane& lane() { return client_->lane(); }
  std::string AnyPath() { return "/" + std::to_string(Below(kNames)); }
  std::string Content(size_t bytes) {
    std::string text(bytes, '\0');
    for (size_t i = 0; i < bytes; i += 8) {
      const uint64_t word = random_.U64();
      std::memcpy(text.data() + i, &word, std::min<size_t>(8, bytes - i));
    }
    return text;
  }

  void Connect() {
    ClientOptions options;
    options.syncs = true;
    options.write_behind_bytes = 0;
    options.checksum = true;
    client_ = std::make_unique<SimClient>(*cluster_, options);
  }
  // The state after an operation; all before it is to stay, if `synced`.
  void Note(bool synced) {
    states_.push_back(now_);
    if (synced) synced_ = states_.size() - 1;
  }
  void Good(Status status, const char* what) {
    ASSERT_TRUE(status.ok()) << what << ": " << TextOf(status.code()) << "\n"
                             << *client_->Wait(lane().ShardStatus(ShardId(0)));
  }

  void Step() {
    const std::string path = AnyPath();
    const bool there = now_.contains(path);
    const uint64_t choice = Below(12);
    if (!there) {
      auto fd = client_->Wait(lane().Open(path, kOpenCreate | kOpenWrite, 0644));
      Good(fd.status(), "create");
      now_[path] = "";
      Note(false);
      return CloseOrNot(*fd, true);
    }
    if (choice == 0) {
      Good(client_->Wait(lane().Unlink(path)), "unlink");
      now_.erase(path);
      return Note(false);
    }
    if (choice == 1 && OneIn(3)) {
      const std::string to = AnyPath();
      Good(client_->Wait(lane().Rename(path, to, 0)), "rename");
      if (to != path) {
        now_[to] = now_[path];
        now_.erase(path);
      }
      return Note(true);  // makes files reachable: flushed before it is answered
    }
    Change(path, choice);
  }

  // A close of what nothing was changed through has nothing to wait for.
  void CloseOrNot(int fd, bool changed) {
    if (!OneIn(12)) return;  // it stays open until the client goes
    Good(client_->Wait(lane().Close(fd)), "close");
    Note(changed);
  }

  void Change(const std::string& path, uint64_t choice) {
    auto fd = client_->Wait(lane().Open(path, kOpenRead | kOpenWrite, 0644));
    Good(fd.status(), "open");
    if (!fd.ok()) return;
    const FileRef file = client_->mount().files().Find(*fd);
    std::string& content = now_[path];
    bool changed = false;
    for (uint64_t writes = 1 + Below(6); writes != 0 && !testing::Test::HasFailure(); --writes) {
      if (choice == 2) {
        const uint64_t size = Below(kFileBytesMax);
        Good(client_->Wait(lane().Truncate(file, size)), "truncate");
        changed = true;
        content.resize(size);
      } else if (choice == 3 && content.size() < kFileBytesMax) {
        const uint64_t more = 1 + Below(kFileBytesMax - content.size());
        const Status had = client_->Wait(lane().Fallocate(file, Lane::Allocate::kExtend, content.size(), more));
        if (had.code() == Code::kNoSpace) continue;
        Good(had, "fallocate");
        changed = true;
        const uint64_t reserved = content.size();
        content.resize(reserved + more);
        choice = 4;
        if (OneIn(2)) WriteReserved(file, &content, reserved);
      } else {
        const uint64_t offset = OneIn(2) ? Below(content.size() + 1) : Below(kFileBytesMax / 2);
        const size_t bytes = 1 + Below(OneIn(4) ? 100'000 : OneIn(2) ? 9'000 : 300);
        if (offset + bytes > kFileBytesMax) continue;
        const std::string data = Content(bytes);
        // A write across chunks is several requests, and each of them a state.
        const uint64_t chunk = uint64_t{1} << file->chunk_bits;
        for (uint64_t at = 0; at < bytes;) {
          const uint64_t part = std::min<uint64_t>(bytes - at, chunk - (offset + at) % chunk);
          const auto written = client_->Wait(lane().WriteAt(file, AsBytes(data).subspan(at, part), offset + at));
          if (written.code() == Code::kNoSpace) break;  // what clients that are gone had open may fill a small disk
          Good(written.status(), "write");
          changed = true;
          if (content.size() < offset + at + part) content.resize(offset + at + part);
          content.replace(offset + at, part, data, at, part);
          at += part;
          if (at < bytes) Note(false);
        }
      }
      Note(false);
      if (OneIn(25)) {
        Good(client_->Wait(lane().Sync(file)), "fsync");
        Note(true);
      }
    }
    CloseOrNot(*fd, changed);
  }

  // However full the disk is: it was promised. Some of it, in pieces that begin and end anywhere.
  void WriteReserved(const FileRef& file, std::string* content, uint64_t at) {
    const uint64_t longest = OneIn(2) ? 60'000 : 3'000;
    for (int pieces = 0; at < content->size() && pieces < 12 && !testing::Test::HasFailure(); ++pieces) {
      Note(false);
      const uint64_t chunk = uint64_t{1} << file->chunk_bits;
      const uint64_t bytes = std::min({content->size() - at, 1 + Below(longest), chunk - at % chunk});
      const std::string data = Content(bytes);
      Good(client_->Wait(lane().WriteAt(file, AsBytes(data), at)).status(), "write of what is reserved");
      content->replace(at, bytes, data);
      at += bytes;
      ++promised_;
    }
  }

  void LosePower() {
    for (uint64_t turns = Below(30); turns != 0; --turns) cluster_->Step();
    cluster_->Kill(ShardId(0), true);
    RecoveryReport report;
    auto open = cluster_->Restart(ShardId(0), &report);
    for (int i = 0; i < 1'000'000 && !open.done(); ++i) {
      if (!cluster_->Step()) cluster_->clock().Advance(kMillisecond);
    }
    ASSERT_TRUE(open.done());
    ASSERT_TRUE(open.Take().ok()) << report.refusal;
    EXPECT_TRUE(report.damage.empty()) << report.damage[0];
    EXPECT_EQ(cluster_->shard(0).Check(), "");
  }

  void Compare() {
    State found;
    for (int i = 0; i < kNames; ++i) {
      const std::string path = "/" + std::to_string(i);
      auto fd = client_->Wait(lane().Open(path, kOpenRead, 0));
      if (fd.code() == Code::kNoEntry) continue;
      ASSERT_TRUE(fd.ok()) << path;
      std::string content(kFileBytesMax + 1, '\0');
      MutableBytes to(reinterpret_cast<uint8_t*>(content.data()), content.size());
      const auto read = client_->Wait(lane().ReadAt(client_->mount().files().Find(*fd), to, 0));
      ASSERT_TRUE(read.ok()) << path << ": " << TextOf(read.code());
      content.resize(*read);
      found[path] = content;
      (void)client_->Wait(lane().Close(*fd));
    }
    size_t state = states_.size();
    while (state-- > synced_) {
      if (states_[state] == found) break;
    }
    ASSERT_TRUE(state + 1 > synced_) << "not a state since the last sync, " << states_.size() - synced_ << " of them";
    lost_ += states_.size() - 1 - state;
    now_ = found;
    states_ = {found};
    synced_ = 0;
  }

  const uint64_t operations_most_;  // of a life; most are short
  SimRandom random_;
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<SimClient> client_;
  State now_;
  std::vector<State> states_;
  size_t synced_ = 0;
  uint64_t lost_ = 0, evicted_ = 0, promised_ = 0;
};

TEST(Power, WhatIsAcknowledgedAsSyncedIsThereAndTheRestIsOneMoment) {
  const SeedRange range(300);
  std::array<uint64_t, 3> sums{};
  RunSeeds(range, sums, [](uint64_t seed, std::span<uint64_t> counts) {
    World world(seed);
    world.Run();
    counts[0] += world.lost();
    counts[1] += world.evicted();
    counts[2] += world.promised();
  });
  EXPECT_GT(sums[0] + 20, range.count);  // else nothing was tried
  EXPECT_GT(sums[1] * 2 + 20, range.count);
  EXPECT_GT(sums[2] + 20, range.count);
  std::printf(
      "%lu seeds from %lu on: %lu operations that nobody had synced were lost, %lu extents evicted, %lu writes of what "
      "was reserved\n",
      range.count, range.first, sums[0], sums[1], sums[2]);
}

}  // namespace
}  // namespace mayfly
