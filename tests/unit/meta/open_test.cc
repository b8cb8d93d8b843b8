#include "meta/open_table.h"
#include "unit/meta/support.h"

namespace mayfly {
namespace {

constexpr ClientId kOne{1}, kTwo{2};

TEST(OpenFiles, AreCountedByProcess) {
  Shard shard;
  Inode* inode = *shard.Make(shard.root, "f");
  const InodeId id = inode->id;
  std::vector<InodeId> died;
  EXPECT_FALSE(shard.ns.OpenBy(id, kOne));
  shard.ns.RegisterOpen(*inode, kOne);
  shard.ns.RegisterOpen(*inode, kOne);
  shard.ns.RegisterOpen(*inode, kTwo);
  EXPECT_EQ(inode->opens, 3u);
  EXPECT_TRUE(shard.ns.OpenBy(id, kOne));
  EXPECT_EQ(shard.ns.OpensByOthers(*inode, kOne), 1u);
  EXPECT_EQ(shard.ns.OpensByOthers(*inode, kTwo), 2u);
  EXPECT_EQ(shard.ns.OpensByOthers(*inode, ClientId(3)), 3u);
  EXPECT_EQ(shard.ns.Check(), "");
  shard.ns.ReleaseOpen(id, kOne, &died);
  EXPECT_TRUE(shard.ns.OpenBy(id, kOne));
  shard.ns.ReleaseOpen(id, kOne, &died);
  EXPECT_FALSE(shard.ns.OpenBy(id, kOne));
  shard.ns.ReleaseOpen(id, kOne, &died);  // once too often: a repeated close notice
  EXPECT_EQ(inode->opens, 1u);
  EXPECT_TRUE(died.empty());
  EXPECT_EQ(shard.ns.Check(), "");
}

TEST(OpenFiles, AnUnlinkedOneLivesUntilItsLastClose) {
  Shard shard;
  Inode* inode = *shard.Make(shard.root, "f");
  const InodeId id = inode->id;
  std::vector<InodeId> died;
  shard.ns.RegisterOpen(*inode, kOne);
  shard.ns.RegisterOpen(*inode, kTwo);
  ASSERT_EQ(shard.Remove(shard.root, "f"), Code::kOk);
  ASSERT_EQ(shard.ns.FindInode(id), inode);
  shard.ns.ReleaseOpen(id, kOne, &died);
  EXPECT_TRUE(died.empty());
  shard.ns.ReleaseOpen(id, kTwo, &died);
  EXPECT_EQ(died, std::vector<InodeId>{id});
  shard.ns.Forget(*inode);
  EXPECT_EQ(shard.ns.FindInode(id), nullptr);
  EXPECT_EQ(shard.ns.inodes(), 1u);
}

TEST(OpenFiles, ADeadProcessClosesAllInOrderOfNumber) {
  Shard shard;
  std::vector<InodeId> orphans, died;
  for (int i = 0; i < 300; ++i) {
    const std::string name = "f" + std::to_string(i);
    Inode* inode = *shard.Make(shard.root, name);
    shard.ns.RegisterOpen(*inode, kOne);
    if (i % 3 == 0) shard.ns.RegisterOpen(*inode, kOne);
    if (i % 5 == 0) shard.ns.RegisterOpen(*inode, kTwo);
    if (i % 2 == 0) continue;
    ASSERT_EQ(shard.Remove(shard.root, name), Code::kOk);
    if (i % 5 != 0) orphans.push_back(inode->id);
  }
  shard.ns.ReleaseAll(kOne, &died);
  EXPECT_EQ(died, orphans);
  for (InodeId id : died) shard.ns.Forget(*shard.ns.FindInode(id));
  EXPECT_EQ(shard.ns.Check(), "");
  died.clear();
  shard.ns.ReleaseAll(kOne, &died);
  EXPECT_TRUE(died.empty());
  shard.ns.ReleaseAll(kTwo, &died);
  EXPECT_EQ(died.size(), 30u);
}

TEST(OpenFiles, WhoOpenedToWriteCountsAsWritingUntilItHasClosedAll) {
  OpenTable table;
  const InodeId inode(7), other(8);
  table.Add(inode, kOne, false);
  EXPECT_FALSE(table.WrittenBy(inode, kOne));
  table.Add(inode, kOne, true);
  table.Add(other, kTwo, true);
  EXPECT_TRUE(table.WrittenBy(inode, kOne));
  EXPECT_FALSE(table.WrittenByOthers(inode, kOne));
  EXPECT_TRUE(table.WrittenByOthers(inode, kTwo));
  table.Remove(inode, kOne);  // which of the two it was nobody says
  EXPECT_TRUE(table.WrittenByOthers(inode, kTwo));
  table.Remove(inode, kOne);
  EXPECT_FALSE(table.WrittenByOthers(inode, kTwo));
  table.Add(inode, kOne, true);
  table.TakeAll(kOne);
  EXPECT_FALSE(table.WrittenByOthers(inode, kTwo));
}

TEST(OpenFiles, ATableThatWasLargeIsNotKept) {
  OpenTable table;
  for (uint64_t i = 1; i <= 10000; ++i) table.Add(InodeId(i), kOne, false);
  EXPECT_GT(table.memory_bytes(), 100000u);
  for (uint64_t i = 1; i <= 10000; ++i) EXPECT_TRUE(table.Remove(InodeId(i), kOne));
  EXPECT_LT(table.memory_bytes(), 1000u);
  EXPECT_FALSE(table.Remove(InodeId(1), kOne));
}

}  // namespace
}  // namespace mayfly
