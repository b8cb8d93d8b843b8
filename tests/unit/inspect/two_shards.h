// Two shards of one session as their servers had them, and the tables that come of what they recorded.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "inspect/salvage.h"
#include "meta/images.h"
#include "unit/store/recording.h"

namespace mayfly {

struct TestShard final : PieceSource {
  explicit TestShard(uint32_t number) : names({.self = ShardId(number)}), tables(ShardId(number)) {
    names.SetRecorder(&out);
    store.store.SetRecorder(&out);
  }
  void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
    const Bytes data = store.arena.Data(piece.place).subspan(begin - piece.extent_begin, to.size());
    std::copy(data.begin(), data.end(), to.begin());
    if (rotten) gaps->push_back({begin, begin + to.size(), GapKind::kCorrupt});
  }
  Namespace names;
  StoreUnderTest store{64 * kMiB};
  TlvWriter out;
  ShardTables tables;
  bool rotten = false;
};

// Two members with a shard each; the root's home is `home`, the other one is `away`.
struct TwoShards : testing::Test {
  TwoShards() {
    layout = std::make_unique<Layout>(*Layout::Build({{MemberId(0), "a", 1, 1}, {MemberId(1), "b", 1, 1}}));
    placement = std::make_unique<Placement>(*Placement::Build(*layout));
    home = placement->RootShard().value;
    away = 1 - home;
    root = placement->RootInode();
    Home().names.CreateRoot(getuid(), getgid(), 0755, 1);
  }

  TestShard& Home() { return shards[home]; }
  TestShard& Away() { return shards[away]; }
  Cred User() const {
    Cred cred;
    cred.uid = getuid();
    cred.gid = getgid();
    return cred;
  }
  // In a directory whose home may be the other shard.
  InodeId Create(TestShard& shard, InodeId parent, const std::string& name, FileType type = FileType::kFile) {
    if (!shard.names.Joined(parent)) {
      Inode* dir = shards[parent.home().value].names.FindInode(parent);
      shard.names.Join(shards[parent.home().value].names.RightsOf(*dir));
      shards[parent.home().value].names.AddShard(*dir, shard.tables.self());
    }
    const auto made =
        shard.names.Create({.parent = parent, .name = name, .type = type, .permissions = 0755}, User(), 5);
    EXPECT_TRUE(made.ok());
    if (type == FileType::kDirectory) {
      shard.names.AddShard(**made, shard.tables.self());
      shard.names.Join(shard.names.RightsOf(**made));
    }
    return (*made)->id;
  }
  void Write(InodeId file, const std::string& data) {
    TestShard& shard = shards[file.home().value];
    const ChunkRange range{.file = file, .chunk_bits = 22, .bytes = static_cast<uint32_t>(data.size())};
    ASSERT_TRUE(shard.store.Write(range, AsBytes(data)).ok());
    Inode* inode = shard.names.FindInode(file);
    inode->size = data.size();
    shard.names.Changed(*inode);
  }

  std::unique_ptr<Layout> layout;
  std::unique_ptr<Placement> placement;
  uint32_t home = 0, away = 0;
  InodeId root;
  TestShard shards[2]{TestShard(0), TestShard(1)};
};

}  // namespace mayfly
