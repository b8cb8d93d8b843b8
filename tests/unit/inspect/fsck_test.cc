// What fsck finds: each kind of contradiction, planted as an image into tables that were good, and nothing else; and
// that what a normal crash leaves is none. (sim/salvage_test.cc checks sessions that were killed at any moment.)
#include "inspect/fsck.h"

#include "base/log.h"
#include "inspect/fsck_run.h"
#include "server/images.h"
#include "unit/inspect/two_shards.h"

namespace mayfly {
namespace {

struct FsckTest : TwoShards, FsckSink {
  void OnFinding(const Finding& finding) override { lines.push_back(LineOf(finding)); }
  void OnProgress(const FsckCounts&) override {}

  // A name that stands where the ring wants it.
  InodeId Make(InodeId parent, std::string name, FileType type = FileType::kFile) {
    TestShard& shard = shards[placement->DentryShard(parent, name).value];
    return Create(shard, parent, name, type);
  }
  // To be applied behind what a shard recorded.
  template <class T>
  void Plant(uint32_t shard, const T& image) {
    PutImage(&shards[shard].out, image);
  }
  FsckCounts Run(bool with_away = true) {
    FsckInput input;
    std::vector<SettleShard> settle;
    for (TestShard& shard : shards) {
      const bool there = with_away || &shard == &Home();
      EXPECT_TRUE(shard.tables.Apply(shard.out.bytes()).ok());
      EXPECT_EQ(shard.tables.refused(), 0u);
      settle.push_back(there ? SettleShard{&shard.tables, true} : SettleShard());
      input.shards.push_back(there ? SalvageShard{&shard.tables, &shard} : SalvageShard());
      input.chunk_file_blocks.push_back(blocks);
    }
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // contradictions are the tests'
    (void)Settle(settle);
    SetLogSink(nullptr, LogLevel::kWarn);
    input.layout = layout.get();
    input.placement = placement.get();
    input.with_data = with_data;
    return Fsck(input, this);
  }
  void ExpectOne(const FsckCounts& counts, FindingKind kind) {
    EXPECT_EQ(counts.findings[static_cast<size_t>(kind)], 1u);
    std::string all;
    for (const std::string& line : lines) all += line + "\n";
    EXPECT_EQ(counts.all_findings(), 1u) << all;
  }
  // An entry as its shard would say it.
  EntryImage EntryOf(InodeId parent, std::string_view name, InodeId inode, FileType type = FileType::kFile) {
    return {.parent = parent, .inode = inode, .sequence = 1000, .type = type, .touched = 9, .name = name};
  }
  std::string NameOn(uint32_t shard, InodeId parent, std::string name) const {
    while (placement->DentryShard(parent, name) != ShardId(shard)) name += 'x';
    return name;
  }

  std::vector<std::string> lines;
  uint64_t blocks = 0;
  bool with_data = false;
};

TEST_F(FsckTest, WhatFitsTogetherIsCountedAndNotFound) {
  const InodeId dir = Make(root, "dir", FileType::kDirectory);
  Write(Make(dir, "one"), "content");
  Make(dir, "two");
  Make(root, "three");
  with_data = true;
  const FsckCounts counts = Run();
  EXPECT_EQ(counts.all_findings(), 0u) << (lines.empty() ? "" : lines[0]);
  EXPECT_EQ(counts.directories, 2u);
  EXPECT_EQ(counts.files, 3u);
  EXPECT_EQ(counts.names, 4u);
  EXPECT_EQ(counts.bytes_checked, 7u);
}

TEST_F(FsckTest, ANameWithoutAnInode) {
  const std::string name = NameOn(home, root, "name");
  Plant(home, EntryOf(root, name, InodeId::Make(ShardId(away), 77)));
  ExpectOne(Run(), FindingKind::kName);
  EXPECT_NE(lines.at(0).find("\"" + name + "\""), std::string::npos);
}

TEST_F(FsckTest, ANameOnAShardThatIsMissingIsNotJudged) {
  Plant(home, EntryOf(root, NameOn(home, root, "name"), InodeId::Make(ShardId(away), 77)));
  EXPECT_EQ(Run(false).all_findings(), 0u);
}

TEST_F(FsckTest, ANameWhereNobodyLooksForIt) {
  Create(Home(), root, NameOn(away, root, "name"));
  ExpectOne(Run(), FindingKind::kName);
}

TEST_F(FsckTest, NamesThatTheirDirectorysHomeDoesNotKnowOf) {
  const std::string name = NameOn(away, root, "name");
  PartImage part;
  part.dir = root;
  part.version = part.next_sequence = 1;
  InodeImage inode;
  inode.id = InodeId::Make(ShardId(away), 9);
  inode.type = FileType::kFile;
  inode.chunk_bits = 22;
  Plant(away, part);
  Plant(away, inode);
  Plant(away, EntryOf(root, name, inode.id));
  ExpectOne(Run(), FindingKind::kName);
}

TEST_F(FsckTest, ALinkCountThatIsNotTheNumberOfNames) {
  const InodeId file = Make(root, "file");
  InodeImage image = InodeImage::Of(*shards[file.home().value].names.FindInode(file));
  image.flags |= InodeImage::kLinks;
  image.nlink = 2;
  Plant(file.home().value, image);
  ExpectOne(Run(), FindingKind::kLinks);
}

TEST_F(FsckTest, AFileAndADirectoryWithoutANameAreFound) {
  const InodeId file = Make(root, "file"), dir = Make(root, "dir", FileType::kDirectory);
  Plant(placement->DentryShard(root, "file").value, EntryGoneImage{root, 9, "file"});
  Plant(placement->DentryShard(root, "dir").value, EntryGoneImage{root, 9, "dir"});
  const FsckCounts counts = Run();
  EXPECT_EQ(counts.findings[static_cast<size_t>(FindingKind::kInode)], 2u);
  EXPECT_EQ(counts.all_findings(), 2u);
  EXPECT_NE(file, dir);
}

TEST_F(FsckTest, BytesOfAFileThatIsGoneAreLeakedUnlessItsHomeIsAboutToDropThem) {
  for (const bool begun : {false, true}) {
    SCOPED_TRACE(begun);
    ShardTables tables{ShardId(away)}, homes{ShardId(home)};
    StoreUnderTest store{64 * kMiB};
    TlvWriter out, intents;
    store.store.SetRecorder(&out);
    const InodeId file = InodeId::Make(ShardId(home), 55);
    ASSERT_TRUE(store.Write({.file = file, .chunk_bits = 22, .bytes = 5000}, 'x').ok());
    IntentImage intent;
    intent.number = 1;
    intent.kind = IntentKind::kDrop;
    intent.inode = file;
    if (begun) intents.Put(kTagIntent, intent, intent.encoded_bytes());
    ASSERT_TRUE(tables.Apply(out.bytes()).ok() && homes.Apply(intents.bytes()).ok());
    FsckInput input;
    input.layout = layout.get();
    input.placement = placement.get();
    input.shards.resize(2);
    input.shards[home] = {&homes, nullptr};
    input.shards[away] = {&tables, nullptr};
    input.chunk_file_blocks.resize(2);
    const FsckCounts counts = Fsck(input, this);
    EXPECT_EQ(counts.leaked_bytes, begun ? 0u : 8192u);
    EXPECT_EQ(counts.all_findings(), begun ? 0u : 1u);
  }
}

TEST_F(FsckTest, BytesOnAShardThatTheHomeDoesNotKnowOf) {
  const InodeId file = Make(root, "file");
  TestShard& other = shards[1 - file.home().value];
  ASSERT_TRUE(other.store.Write({.file = file, .chunk = ChunkIndex(1), .chunk_bits = 22, .bytes = 10}, 'x').ok());
  ExpectOne(Run(), FindingKind::kData);
}

TEST_F(FsckTest, BytesOfAChunkOfAnotherShard) {
  const InodeId file = Make(root, "file");
  TestShard& shard = shards[file.home().value];
  ASSERT_NE(placement->ChunkShard(file.home(), ChunkIndex(1)), file.home());
  ASSERT_TRUE(shard.store.Write({.file = file, .chunk = ChunkIndex(1), .chunk_bits = 22, .bytes = 10}, 'x').ok());
  ExpectOne(Run(), FindingKind::kData);
}

// A store with a chunk file, of which `before` extents of a block are not told; then it writes one of two blocks.
struct WithDisk {
  explicit WithDisk(uint32_t before) {
    test.store.SetDisk(&space, true);
    for (uint32_t i = 0; i < before; ++i) {
      EXPECT_TRUE(test.Write({.file = InodeId(1), .chunk_bits = 22, .offset = i * 4096, .bytes = 100}, 'x').ok());
    }
    test.store.SetRecorder(&out);
  }
  void Write(InodeId file, uint32_t offset) {
    EXPECT_TRUE(test.Write({.file = file, .chunk_bits = 22, .offset = offset, .bytes = 5000}, 'x').ok());
  }
  DiskSpace space{1 << 20};
  StoreUnderTest test{64 * kMiB};
  TlvWriter out;
};

TEST_F(FsckTest, TwoExtentsWithOneBlock) {
  const InodeId file = Make(root, "file");
  WithDisk one(0), two(1);  // blocks 1 and 2, and 2 and 3
  one.Write(file, 0);
  two.Write(file, 10'000);
  ShardTables& tables = shards[file.home().value].tables;
  ASSERT_TRUE(tables.Apply(one.out.bytes()).ok() && tables.Apply(two.out.bytes()).ok());
  blocks = 256;
  ExpectOne(Run(), FindingKind::kBlocks);
}

TEST_F(FsckTest, AnExtentBeyondTheChunkFile) {
  const InodeId file = Make(root, "file");
  WithDisk one(0);
  one.Write(file, 0);
  ASSERT_TRUE(shards[file.home().value].tables.Apply(one.out.bytes()).ok());
  blocks = 2;
  ExpectOne(Run(), FindingKind::kBlocks);
}

TEST_F(FsckTest, BytesThatDoNotHold) {
  const InodeId file = Make(root, "file");
  Write(file, "content");
  shards[file.home().value].rotten = with_data = true;
  ExpectOne(Run(), FindingKind::kBytes);
  EXPECT_NE(lines.at(0).find("bytes 0 to 6 do not match their checksum"), std::string::npos);
}

TEST_F(FsckTest, AnOpenFileWithoutANameAndOneThatIsToBeDroppedAreNone) {
  for (const char* name : {"open", "dead"}) {
    const InodeId file = Make(root, name);
    Namespace& names = shards[file.home().value].names;
    if (name == std::string("open")) names.RegisterOpen(*names.FindInode(file), ClientId(5));
    ASSERT_TRUE(names.Unlink(root, name, User(), 9).ok());
  }
  const FsckCounts counts = Run();
  EXPECT_EQ(counts.all_findings(), 0u);
  EXPECT_EQ(counts.nameless_open, 1u);
  EXPECT_EQ(counts.to_bury, 1u);
}

}  // namespace
}  // namespace mayfly
