// What salvage makes of tables that are there, missing, or at odds with each other: names, lost+found, targets that
// fail.
#include "inspect/salvage.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

#include "adapt/posix/pfs_tree.h"
#include "inspect/salvage_report.h"
#include "meta/images.h"
#include "unit/flush/faulty_pfs.h"
#include "unit/inspect/two_shards.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

struct Sink final : SalvageSink {
  void OnLoss(const Loss& loss) override { lines.push_back(LineOf(loss)); }
  void OnWhole(const WholeName& name) override { whole.push_back(LineOf(name)); }
  void OnRefusal(const std::string& sentence) override { lines.push_back(sentence); }
  void OnProgress(const SalvageCounts&) override {}
  std::vector<std::string> lines, whole;
};

struct SalvageTest : TwoShards {
  SalvageTest() {
    std::string pattern = testing::TempDir() + "mayfly-salvage-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    directory = pattern;
  }
  ~SalvageTest() override { fs::remove_all(directory); }

  Outcome<SalvageCounts> Run(PfsTree& tree, bool with_home = true, bool with_away = true) {
    SalvageInput input;
    std::vector<SettleShard> settle;
    for (TestShard& shard : shards) {
      const bool there = &shard == &Home() ? with_home : with_away;
      EXPECT_TRUE(shard.tables.Apply(shard.out.bytes()).ok());
      settle.push_back(there ? SettleShard{&shard.tables, true} : SettleShard());
      input.shards.push_back(there ? SalvageShard{&shard.tables, &shard} : SalvageShard());
    }
    (void)Settle(settle);
    std::shared_ptr<PfsRoot> target;
    bool made = false;
    EXPECT_TRUE(tree.Open(directory, true, &target, &made).ok());
    input.layout = layout.get();
    input.placement = knows_placement ? placement.get() : nullptr;
    input.root = root;
    input.target = target.get();
    input.number = 1;
    return Salvage(input, &sink);
  }
  SalvageCounts Run(bool with_home = true, bool with_away = true) {
    PosixPfsTree tree;
    const auto counts = Run(tree, with_home, with_away);
    EXPECT_TRUE(counts.ok());
    return counts.ok() ? *counts : SalvageCounts();
  }
  std::string Content(const std::string& path) const {
    std::ostringstream text;
    text << std::ifstream(directory + "/" + path).rdbuf();
    return text.str();
  }
  std::vector<std::string> There() const {
    std::vector<std::string> all;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      all.push_back(fs::relative(entry.path(), directory).string());
    }
    std::sort(all.begin(), all.end());
    return all;
  }
  using Names = std::vector<std::string>;

  std::string directory;
  bool knows_placement = true;
  Sink sink;
};

TEST_F(SalvageTest, ATreeOverTwoShardsIsWhole) {
  const InodeId dir = Create(Away(), root, "dir", FileType::kDirectory);
  Write(Create(Home(), root, "one"), "first");
  Write(Create(Home(), dir, "two"), "second");
  Create(Away(), dir, "empty");
  const SalvageCounts counts = Run();
  EXPECT_TRUE(counts.whole());
  EXPECT_EQ(counts.files, 3u);
  EXPECT_EQ(counts.directories, 2u);
  EXPECT_EQ(There(), (Names{"dir", "dir/empty", "dir/two", "one"}));
  EXPECT_EQ(Content("one") + Content("dir/two"), "firstsecond");
  EXPECT_TRUE(sink.lines.empty());
  EXPECT_EQ(sink.whole,
            (std::vector<std::string>{"whole: one: 5 bytes", "whole: dir/empty: 0 bytes", "whole: dir/two: 6 bytes"}));
}

TEST_F(SalvageTest, WhatHasNoNameAnyMoreGoesToLostAndFound) {
  const InodeId dir = Create(Home(), root, "dir", FileType::kDirectory);
  const InodeId below = Create(Away(), dir, "below", FileType::kDirectory);
  Write(Create(Away(), below, "file"), "content");
  Write(Create(Home(), root, "gone"), "gone");
  const SalvageCounts counts = Run(false);
  const std::string lost = "lost+found/" + std::to_string(dir.home().value) + "-" + std::to_string(dir.sequence());
  EXPECT_EQ(There(), (Names{"lost+found", lost, lost + "/below", lost + "/below/file"}));
  EXPECT_EQ(Content(lost + "/below/file"), "content");
  EXPECT_EQ(counts.lost, 1u);
  EXPECT_EQ(counts.incomplete, 2u);  // the root and what was /dir; below is known to be all there
  EXPECT_FALSE(counts.whole());
  EXPECT_EQ(sink.whole, std::vector<std::string>{"whole: " + lost + "/below/file: 7 bytes"});
}

TEST_F(SalvageTest, ADirectoryOfTheSessionMayBeCalledLostAndFound) {
  const InodeId mine = Create(Home(), root, "lost+found", FileType::kDirectory);
  Write(Create(Home(), mine, "mine"), "mine");
  TlvWriter gone;  // a name that was lost
  const InodeId nameless = Create(Home(), root, "nameless");
  PutImage(&gone, EntryGoneImage{root, 6, "nameless"});
  EXPECT_TRUE(Home().tables.Apply(Home().out.bytes()).ok());
  EXPECT_TRUE(Home().tables.Apply(gone.bytes()).ok());
  Home().out.Clear();
  Run();
  const std::string number = std::to_string(nameless.home().value) + "-" + std::to_string(nameless.sequence());
  EXPECT_EQ(There(), (Names{"lost+found", "lost+found-1", "lost+found-1/" + number, "lost+found/mine"}));
}

TEST_F(SalvageTest, APartialFileTakesNobodysName) {
  const std::string data(100'000, 'x');
  Write(Create(Home(), root, "file"), data);
  Create(Home(), root, "file.partial");
  // The second chunk was at the other shard, which is gone.
  Inode* inode = Home().names.FindInode(Home().names.Find(root, "file")->inode);
  Home().names.AddShard(*inode, Away().tables.self());
  const SalvageCounts counts = Run(true, false);
  EXPECT_EQ(counts.partial, 1u);
  EXPECT_EQ(sink.whole, std::vector<std::string>{"whole: file.partial: 0 bytes"});
  EXPECT_EQ(There(), (Names{"file.partial", "file.partial.1"}));
  EXPECT_EQ(Content("file.partial.1"), data);
  ASSERT_EQ(sink.lines.size(), 1u);
  EXPECT_EQ(sink.lines[0], "partial: file: a part of it was on member " + std::to_string(away) + " (" +
                               (away == 0 ? "a" : "b") + "); it may have been longer; saved as file.partial.1");
}

// Which chunks the shard that is gone had cannot be told: all that is not found is missing, and not more.
TEST_F(SalvageTest, WithoutThePlacementAllThatIsNotFoundIsMissing) {
  for (const std::string name : {"one", "two"}) {
    Write(Create(Home(), root, name), "content");
    Inode* inode = Home().names.FindInode(Home().names.Find(root, name)->inode);
    Home().names.AddShard(*inode, Away().tables.self());
    inode->size = 3u << 22;
    Home().names.Changed(*inode);
  }
  Write(Create(Home(), root, "whole"), "content");
  knows_placement = false;
  const SalvageCounts counts = Run(true, false);
  EXPECT_EQ(counts.partial, 2u);
  EXPECT_EQ(counts.files, 1u);
  ASSERT_EQ(sink.lines.size(), 2u);
  for (const std::string& line : sink.lines) {
    EXPECT_NE(line.find("; bytes 7 to 12582911 missing;"), std::string::npos) << line;
  }
}

TEST_F(SalvageTest, LinksToAPartialFileArePartial) {
  Write(Create(Home(), root, "one"), "content");
  Inode* inode = Home().names.FindInode(Home().names.Find(root, "one")->inode);
  TxnOp name, link;
  name.kind = TxnKind::kDentry;
  name.inode = root;
  name.name = "two";
  name.set = inode->id;
  name.set_type = FileType::kFile;
  link.kind = TxnKind::kLink;
  link.inode = inode->id;
  link.delta = 1;
  std::vector<InodeId> died;
  ASSERT_TRUE(Home().names.Prepare(TxnId(7), std::vector<TxnOp>{name, link}, User(), nullptr).ok());
  ASSERT_TRUE(Home().names.Decide(TxnId(7), true, 9, &died).ok());
  Home().names.AddShard(*inode, Away().tables.self());
  const SalvageCounts counts = Run(true, false);
  EXPECT_EQ(counts.partial, 2u);
  EXPECT_EQ(counts.linked, 1u);
  EXPECT_EQ(There(), (Names{"one.partial", "two.partial"}));
  EXPECT_EQ(fs::hard_link_count(directory + "/one.partial"), 2u);
}

TEST_F(SalvageTest, AFileOfWhichNoByteHoldsIsAbsent) {
  Write(Create(Home(), root, "file"), "content");
  Home().rotten = true;
  const SalvageCounts counts = Run();
  EXPECT_EQ(counts.absent, 1u);
  EXPECT_TRUE(There().empty());
}

TEST_F(SalvageTest, AFullTargetEndsIt) {
  Write(Create(Home(), root, "file"), "content");
  Faults faults;
  faults.fail = [](std::string_view operation, const std::string&) {
    return operation == "write" ? Code::kNoSpace : Code::kOk;
  };
  PosixPfsTree real;
  FaultyPfs tree(faults, real);
  const auto counts = Run(tree);
  ASSERT_FALSE(counts.ok());
  EXPECT_EQ(counts.failure().status.code(), Code::kNoSpace);
  EXPECT_NE(counts.failure().sentence.find("cannot take more"), std::string::npos);
  EXPECT_TRUE(There().empty());
}

TEST_F(SalvageTest, BytesThatTheTargetChangedAreNoFile) {
  Write(Create(Home(), root, "file"), "content");
  Faults faults;
  faults.flip_writes = true;
  PosixPfsTree real;
  FaultyPfs tree(faults, real);
  EXPECT_FALSE(Run(tree).ok());
  EXPECT_TRUE(There().empty());
}

TEST_F(SalvageTest, ANameThatTheTargetRefusesIsSaidAndTheRestIsSaved) {
  Write(Create(Home(), root, "bad"), "content");
  Write(Create(Home(), root, "good"), "content");
  Faults faults;
  faults.fail = [](std::string_view operation, const std::string& path) {
    return operation == "rename" && path.find("bad") != std::string::npos ? Code::kInvalid : Code::kOk;
  };
  PosixPfsTree real;
  FaultyPfs tree(faults, real);
  const auto counts = Run(tree);
  ASSERT_TRUE(counts.ok());
  EXPECT_EQ(counts->absent, 1u);
  EXPECT_EQ(There(), (Names{"good"}));
}

TEST_F(SalvageTest, ATransactionIsDoneIfItsCoordinatorDecidedIt) {
  for (const bool decided : {false, true}) {
    ShardTables tables(Away().tables.self()), coordinator(Home().tables.self());
    Namespace names({.self = Away().tables.self()});
    TlvWriter out, outcome;
    names.SetRecorder(&out);
    names.CreateRoot(0, 0, 0755, 1);
    const InodeId parent = InodeId::Make(Away().tables.self(), 1);
    const TxnId txn(uint64_t{home} << 40 | 9);
    const auto made = names.Create({.parent = parent, .name = "old", .type = FileType::kFile}, Cred(), 2);
    ASSERT_TRUE(made.ok());
    TxnOp op;
    op.kind = TxnKind::kDentry;
    op.inode = parent;
    op.name = "old";
    op.expect = (*made)->id;
    ASSERT_TRUE(names.Prepare(txn, std::vector<TxnOp>{op}, Cred(), nullptr).ok());
    OutcomeImage image;
    image.txn = TxnId(uint64_t{home} << 40 | 8);
    image.time = 3;
    image.steps.push_back({Home().tables.self(), image.txn, false});
    if (decided) image.steps.push_back({Away().tables.self(), txn, false});
    outcome.Put(kTagOutcome, image, image.encoded_bytes());
    ASSERT_TRUE(tables.Apply(out.bytes()).ok());
    ASSERT_TRUE(coordinator.Apply(outcome.bytes()).ok());
    std::vector<SettleShard> all(2);
    all[home] = {&coordinator, true};
    all[away] = {&tables, true};
    const Settled settled = Settle(all);
    EXPECT_EQ(settled.committed, decided ? 1u : 0u);
    EXPECT_EQ(settled.aborted, decided ? 0u : 1u);
    EXPECT_EQ(settled.unknown, 0u);
    EXPECT_EQ(tables.names().Find(parent, "old").ok(), !decided);
  }
}

TEST_F(SalvageTest, WithoutItsCoordinatorATransactionIsInDoubtAndUndone) {
  Namespace names({.self = Away().tables.self()});
  TlvWriter out;
  names.SetRecorder(&out);
  names.CreateRoot(0, 0, 0755, 1);
  TxnOp op;
  op.kind = TxnKind::kDentry;
  op.inode = InodeId::Make(Away().tables.self(), 1);
  op.name = "new";
  op.set = InodeId::Make(Home().tables.self(), 5);
  op.set_type = FileType::kFile;
  ASSERT_TRUE(names.Prepare(TxnId(uint64_t{home} << 40 | 9), std::vector<TxnOp>{op}, Cred(), nullptr).ok());
  ASSERT_TRUE(Away().tables.Apply(out.bytes()).ok());
  std::vector<SettleShard> all(2);
  all[away] = {&Away().tables, true};
  EXPECT_EQ(Settle(all).unknown, 1u);
  EXPECT_EQ(Away().tables.names().Find(op.inode, "new").code(), Code::kNoEntry);
}

TEST_F(SalvageTest, FieldsThatDoNotDecodeAreLeftOutAndCounted) {
  Write(Create(Home(), root, "file"), "content");
  TlvWriter bad;
  bad.PutWith(InodeImage::kTag, 3, [](Encoder& e) { e.Raw("abc", 3); });
  ASSERT_TRUE(Home().tables.Apply(bad.bytes()).ok());
  EXPECT_EQ(Home().tables.refused(), 1u);
  EXPECT_TRUE(Run().whole());
  EXPECT_EQ(Content("file"), "content");
}

}  // namespace
}  // namespace mayfly
