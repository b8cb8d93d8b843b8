// What fsck finds: each kind of contradiction, planted as an image into tables that were good, and nothing else; and
// that what a normal crash leaves is none. (sim/salvage_test.cc checks sessions that were killed at any moment.)
#include "inspect/fsck.h"

#include <fmt/format.h>

#include "base/log.h"
#include "inspect/fsck_run.h"
#include "inspect/repair.h"
#include "meta/namespace_look.h"
#include "server/images.h"
#include "unit/inspect/two_shards.h"

namespace mayfly {
namespace {

struct FsckTest : TwoShards, FsckSink {
  FsckTest() {
    for (int i = 0; i < 2; ++i) shards[i].tables.KeepAccepted(&fields[i]);
  }
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
  // Whatever Run found: images behind the fields of which a recovery makes tables without a finding, and there is
  // nothing to be repaired then.
  void Repair() {
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
    std::vector<RepairShard> all(2);
    for (RepairShard& shard : all) {
      shard.chunk_file_blocks = blocks;
      shard.whole = whole;
    }
    for (const bool again : {false, true}) {
      for (int i = 0; i < 2; ++i) {
        all[i].fields.Clear();
        Copy(fields[i].bytes(), &all[i].fields);
      }
      const auto plan = PlanRepair(*layout, *placement, all, 100);
      ASSERT_TRUE(plan.ok()) << plan.failure().sentence;
      for (int i = 0; i < 2; ++i) {
        EXPECT_TRUE(!again || plan->images[i].empty());
        Copy(plan->images[i].bytes(), &fields[i]);
      }
    }
    SetLogSink(nullptr, LogLevel::kWarn);
    FsckInput input;
    std::vector<SettleShard> settle;
    for (uint32_t i = 0; i < 2; ++i) {
      repaired.push_back(std::make_unique<ShardTables>(ShardId(i)));
      EXPECT_TRUE(repaired[i]->Apply(fields[i].bytes()).ok());
      EXPECT_EQ(repaired[i]->refused(), 0u);
      settle.push_back({repaired[i].get(), true});
      input.shards.push_back({repaired[i].get(), nullptr});
      input.chunk_file_blocks.push_back(blocks);
    }
    (void)Settle(settle);
    for (const auto& tables : repaired) EXPECT_TRUE(tables->finished()) << "no recovery would take it";
    EXPECT_GT(repaired[home]->generation(), Generation(1)) << "clients would go by what they had cached";
    input.layout = layout.get();
    input.placement = placement.get();
    lines.clear();
    EXPECT_EQ(Fsck(input, this).all_findings(), 0u) << lines.at(0);
  }
  static void Copy(Bytes fields, TlvWriter* out) {
    TlvReader reader(fields);
    Tag tag = 0;
    for (Bytes value; reader.Next(&tag, &value);) {
      out->PutWith(tag, value.size(), [&](Encoder& e) { e.Raw(value.data(), value.size()); });
    }
  }
  // "path links" of all that can be reached, by name.
  std::vector<std::string> Tree() { return TreeOf(root, "/"); }
  std::vector<std::string> TreeOf(InodeId dir, const std::string& path) {
    std::vector<std::string> all;
    for (const auto& tables : repaired) {
      NamespaceLook(tables->names()).ForEachEntry(dir, [&](std::string_view name, InodeId id, FileType type) {
        const Inode* inode = repaired[id.home().value]->names().FindInode(id);
        all.push_back(fmt::format("{}{} {}", path, name, inode->nlink));
        if (type != FileType::kDirectory) return;
        const std::vector<std::string> below = TreeOf(id, fmt::format("{}{}/", path, name));
        all.insert(all.end(), below.begin(), below.end());
      });
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  static std::string NumberName(InodeId id) { return fmt::format("{}-{}", id.home().value, id.sequence()); }
  using Paths = std::vector<std::string>;

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
  TlvWriter fields[2];
  std::vector<std::unique_ptr<ShardTables>> repaired;
  uint64_t blocks = 0;
  bool with_data = false, whole = true;
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
  Repair();
  EXPECT_TRUE(Tree().empty());
}

TEST_F(FsckTest, ANameOnAShardThatIsMissingIsNotJudged) {
  Plant(home, EntryOf(root, NameOn(home, root, "name"), InodeId::Make(ShardId(away), 77)));
  EXPECT_EQ(Run(false).all_findings(), 0u);
}

TEST_F(FsckTest, ANameWhereNobodyLooksForIt) {
  const InodeId file = Create(Home(), root, NameOn(away, root, "name"));
  Write(file, "content");
  ExpectOne(Run(), FindingKind::kName);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/lost+found 2", "/lost+found/" + NumberName(file) + " 1"}));
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
  FsckCounts counts = Run();
  EXPECT_EQ(counts.findings[static_cast<size_t>(FindingKind::kName)], counts.all_findings());
  EXPECT_EQ(counts.all_findings(), 1u);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/" + name + " 1"}));
}

TEST_F(FsckTest, ALinkCountThatIsNotTheNumberOfNames) {
  const InodeId file = Make(root, "file");
  InodeImage image = InodeImage::Of(*shards[file.home().value].names.FindInode(file));
  image.flags |= InodeImage::kLinks;
  image.nlink = 2;
  Plant(file.home().value, image);
  ExpectOne(Run(), FindingKind::kLinks);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/file 1"}));
}

TEST_F(FsckTest, AFileThatWasRemovedAndHasANameIsThere) {
  const InodeId file = Make(root, "file");
  Write(file, "content");
  InodeImage image = InodeImage::Of(*shards[file.home().value].names.FindInode(file));
  image.flags |= InodeImage::kLinks;
  image.nlink = 0;
  Plant(file.home().value, image);
  ExpectOne(Run(), FindingKind::kLinks);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/file 1"}));
}

// What is lost of it is its inode: all that was in it has its names again, in the place where it was.
TEST_F(FsckTest, ADirectoryWithoutAnInodeIsMadeAgain) {
  const InodeId dir = Make(root, "dir", FileType::kDirectory);
  for (const char* name : {"one", "two", "three", "four"}) Write(Make(dir, name), name);
  Plant(dir.home().value, InodeGoneImage{dir});
  EXPECT_NE(Run().all_findings(), 0u);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/dir 2", "/dir/four 1", "/dir/one 1", "/dir/three 1", "/dir/two 1"}));
  EXPECT_EQ(repaired[dir.home().value]->names().FindInode(dir)->permissions, 0755);
}

TEST_F(FsckTest, ARootOfWhichNothingIsLeftIsMadeForWhatHasNoNameThen) {
  const InodeId file = Make(root, "file");
  Write(file, "content");
  Plant(home, InodeGoneImage{root});
  for (uint32_t i = 0; i < 2; ++i) Plant(i, PartGoneImage{root});
  EXPECT_EQ(Run().all_findings(), 2u);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/lost+found 2", "/lost+found/" + NumberName(file) + " 1"}));
}

TEST_F(FsckTest, TheRootIsMadeAgain) {
  Write(Make(root, "one"), "one");
  Plant(home, InodeGoneImage{root});
  EXPECT_NE(Run().all_findings(), 0u);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/one 1"}));
}

TEST_F(FsckTest, ANameOfAnotherKindIsSetRight) {
  const InodeId file = Make(root, "file");
  Write(file, "content");
  Plant(file.home().value, EntryOf(root, "file", file, FileType::kSymlink));
  ExpectOne(Run(), FindingKind::kName);
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/file 1"}));
}

TEST_F(FsckTest, ADirectoryWithTwoNamesHasOne) {
  const InodeId dir = Make(root, "dir", FileType::kDirectory);
  Write(Make(dir, "file"), "content");
  const std::string second = NameOn(away, root, "second");
  PartImage part;
  part.dir = root;
  part.permissions = 0755;
  part.uid = getuid();
  part.gid = getgid();
  part.version = part.next_sequence = 1;
  if (!Away().names.Joined(root)) Plant(away, part);
  Plant(home, InodeShardImage{root, ShardId(away)});
  Plant(away, EntryOf(root, second, dir, FileType::kDirectory));
  ExpectOne(Run(), FindingKind::kName);
  Repair();
  EXPECT_EQ(Tree().size(), 2u);
}

TEST_F(FsckTest, DirectoriesThatLieInEachOtherAreFound) {
  const InodeId outer = Make(root, "outer", FileType::kDirectory), middle = Make(outer, "middle", FileType::kDirectory),
                inner = Make(middle, "inner", FileType::kDirectory);
  Write(Make(inner, "file"), "content");
  Make(Make(root, "other", FileType::kDirectory), "below", FileType::kDirectory);
  Plant(placement->DentryShard(root, "outer").value, EntryGoneImage{root, 9, "outer"});
  const ShardId shard = inner.home();
  Plant(shard.value, EntryOf(inner, NameOn(shard.value, inner, "back"), outer, FileType::kDirectory));
  InodeImage moved = InodeImage::Of(*shards[outer.home().value].names.FindInode(outer));
  moved.parent = inner;
  Plant(outer.home().value, moved);
  ExpectOne(Run(), FindingKind::kName);
  EXPECT_NE(lines.at(0).find("puts a directory into itself"), std::string::npos) << lines.at(0);
  Repair();
  const Paths tree = Tree();
  EXPECT_EQ(tree.size(), 2u + 1 + 3 + 1);  // other/below, lost+found, the three, and the file
  EXPECT_EQ(std::count_if(tree.begin(), tree.end(), [](const std::string& path) { return path.ends_with("/file 1"); }),
            1);
}

// All that a shard knew is gone. What others still have of its inodes goes too, and no inode gets such a number.
TEST_F(FsckTest, NumbersOfInodesThatAreLostDoNotComeAgain) {
  InodeId lost, kept;
  for (int i = 0; i < 40; ++i) {
    const InodeId file = Make(root, "file" + std::to_string(i));
    Write(file, "content");
    (file.home() == ShardId(away) ? lost : kept) = file;
  }
  ASSERT_TRUE(Home().store.Write({.file = lost, .chunk = ChunkIndex(1), .chunk_bits = 22, .bytes = 10}, 'x').ok());
  Away().out.Clear();
  whole = false;
  EXPECT_NE(Run().all_findings(), 0u);
  Repair();
  EXPECT_EQ(repaired[home]->store().Figures(lost).slices, 0u);
  EXPECT_NE(repaired[home]->names().FindInode(kept), nullptr);
  EXPECT_GT(repaired[away]->names().next_sequence(), lost.sequence());
}

TEST_F(FsckTest, WhatIsOpenAndNotThereIsForgotten) {
  const InodeId file = Make(root, "file");
  Namespace& names = shards[file.home().value].names;
  names.RegisterOpen(*names.FindInode(file), ClientId(5));
  Plant(file.home().value, EntryGoneImage{root, 9, "file"});
  Plant(file.home().value, InodeGoneImage{file});
  ExpectOne(Run(), FindingKind::kInode);
  Repair();
  EXPECT_TRUE(Tree().empty());
}

// Decided as a recovery would, and then looked at: a link of which one side alone is there counts as its names do.
TEST_F(FsckTest, WhatIsUnderWayIsDecidedByARepair) {
  const InodeId file = Make(root, "file");
  TestShard& shard = shards[file.home().value];
  TxnOp link;
  link.kind = TxnKind::kLink;
  link.inode = file;
  link.delta = 1;
  const TxnId txn((uint64_t{away} << 40) | 9);
  ASSERT_TRUE(shard.names.Prepare(txn, std::vector<TxnOp>{link}, User(), nullptr).ok());
  OutcomeImage outcome;
  outcome.txn = txn;
  outcome.time = 10;
  outcome.steps.push_back({file.home(), txn, true});
  shards[away].out.Put(kTagOutcome, outcome, outcome.encoded_bytes());
  ExpectOne(Run(), FindingKind::kLinks);  // committed: two links, one name
  Repair();
  EXPECT_EQ(Tree(), (Paths{"/file 1"}));
  EXPECT_TRUE(NamespaceLook(repaired[file.home().value]->names()).Prepared().empty());
}

TEST_F(FsckTest, AFileAndADirectoryWithoutANameAreFound) {
  const InodeId file = Make(root, "file"), dir = Make(root, "dir", FileType::kDirectory);
  Plant(placement->DentryShard(root, "file").value, EntryGoneImage{root, 9, "file"});
  Plant(placement->DentryShard(root, "dir").value, EntryGoneImage{root, 9, "dir"});
  const FsckCounts counts = Run();
  EXPECT_EQ(counts.findings[static_cast<size_t>(FindingKind::kInode)], 2u);
  EXPECT_EQ(counts.all_findings(), 2u);
  Repair();
  EXPECT_TRUE(Tree().empty());  // nothing is in them
  EXPECT_EQ(repaired[file.home().value]->names().FindInode(file), nullptr);
  EXPECT_EQ(repaired[dir.home().value]->names().FindInode(dir), nullptr);
}

TEST_F(FsckTest, WhatHasSomethingInItAndNoNameGoesToLostAndFound) {
  const InodeId file = Make(root, "file"), dir = Make(root, "dir", FileType::kDirectory);
  const InodeId own = Make(root, "lost+found", FileType::kDirectory);
  Write(file, "content");
  Write(Make(dir, "inside"), "content");
  Plant(placement->DentryShard(root, "file").value, EntryGoneImage{root, 9, "file"});
  Plant(placement->DentryShard(root, "dir").value, EntryGoneImage{root, 9, "dir"});
  EXPECT_EQ(Run().all_findings(), 2u);
  Repair();
  Paths expected{"/lost+found 2", "/lost+found/" + NumberName(file) + " 1", "/lost+found/" + NumberName(dir) + " 2",
                 "/lost+found/" + NumberName(dir) + "/inside 1"};
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Tree(), expected);
  EXPECT_EQ(repaired[dir.home().value]->names().FindInode(dir)->extra->parent, own);
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
    ASSERT_TRUE(homes.Apply(Home().out.bytes()).ok());
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
    if (begun) continue;
    Copy(out.bytes(), &fields[away]);
    ASSERT_TRUE(Home().tables.Apply(Home().out.bytes()).ok());
    Repair();
    EXPECT_EQ(repaired[away]->store().Figures(file).slices, 0u);
  }
}

TEST_F(FsckTest, BytesOnAShardThatTheHomeDoesNotKnowOf) {
  const InodeId file = Make(root, "file");
  TestShard& other = shards[1 - file.home().value];
  ASSERT_TRUE(other.store.Write({.file = file, .chunk = ChunkIndex(1), .chunk_bits = 22, .bytes = 10}, 'x').ok());
  ExpectOne(Run(), FindingKind::kData);
  Repair();
  EXPECT_EQ(repaired[1 - file.home().value]->store().Figures(file).slices, 1u);  // its home knows now
}

TEST_F(FsckTest, BytesOfAChunkOfAnotherShard) {
  const InodeId file = Make(root, "file");
  TestShard& shard = shards[file.home().value];
  ASSERT_NE(placement->ChunkShard(file.home(), ChunkIndex(1)), file.home());
  ASSERT_TRUE(shard.store.Write({.file = file, .chunk = ChunkIndex(1), .chunk_bits = 22, .bytes = 10}, 'x').ok());
  Write(file, "content");
  ExpectOne(Run(), FindingKind::kData);
  Repair();
  EXPECT_EQ(repaired[file.home().value]->store().Figures(file).slices, 1u);
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
  Repair();
  EXPECT_EQ(repaired[file.home().value]->store().Figures(file).slices, 1u);
}

TEST_F(FsckTest, AnExtentBeyondTheChunkFile) {
  const InodeId file = Make(root, "file");
  WithDisk one(0);
  one.Write(file, 0);
  ASSERT_TRUE(shards[file.home().value].tables.Apply(one.out.bytes()).ok());
  blocks = 2;
  ExpectOne(Run(), FindingKind::kBlocks);
  Repair();
  EXPECT_EQ(repaired[file.home().value]->store().Figures(file).slices, 0u);
  EXPECT_EQ(Tree(), (Paths{"/file 1"}));
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
