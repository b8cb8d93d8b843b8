// How a session was made, told without a charter: from directories, from tables, and not at all where they contradict.
#include "inspect/guess.h"

#include "unit/inspect/two_shards.h"

namespace mayfly {
namespace {

MemberPlace Place(const std::string& directory, const std::vector<uint32_t>& shards) {
  MemberPlace place;
  place.directory = directory;
  for (const uint32_t shard : shards) place.shards.push_back({ShardId(shard), directory + "/x", true});
  return place;
}

// Shards of each member; a member of which a directory is there is negative.
std::vector<int> Guessed(std::vector<MemberPlace> places, uint32_t shards) {
  const auto layout = GuessLayout(&places, shards);
  if (!layout.ok()) return {};
  std::vector<int> all;
  for (const Member& member : layout->members()) all.push_back(static_cast<int>(member.shards));
  for (const MemberPlace& place : places) {
    EXPECT_EQ(layout->MemberOf(place.shards.front().shard), place.member);
    all[place.member.value] *= -1;
  }
  return all;
}

TEST(GuessLayout, DealsOutWhatNoDirectoryIsThereOf) {
  using Shards = std::vector<int>;
  EXPECT_EQ(Guessed({Place("/b/member-1", {2, 3}), Place("/a/member-0", {0, 1})}, 0), (Shards{-2, -2}));
  EXPECT_EQ(Guessed({Place("/b/member-2", {4, 5}), Place("/a/member-0", {0, 1})}, 0), (Shards{-2, 2, -2}));
  EXPECT_EQ(Guessed({Place("/b/member-3", {5})}, 0), (Shards{2, 2, 1, -1}));
  EXPECT_EQ(Guessed({Place("/b/member-0", {0, 1})}, 6), (Shards{-2, 2, 2}));  // as many as it has
  EXPECT_EQ(Guessed({Place("/b/member-0", {0, 1})}, 5), (Shards{-2, 3}));
  EXPECT_EQ(Guessed({Place("/b/member-0", {0}), Place("/b/member-1", {2})}, 0),
            (Shards{-2, -1}));  // its shard 1 is gone
  EXPECT_EQ(Guessed({Place("/b/copy", {1}), Place("/b/of it", {3})}, 0), (Shards{1, -1, 1, -1}));
  EXPECT_EQ(Guessed({Place("/b/member-9", {1})}, 0), (Shards{1, -1}));  // there is no room for so many
  EXPECT_TRUE(Guessed({Place("/b/member-0", {0, 1}), Place("/c/member-0", {1})}, 0).empty());
  EXPECT_TRUE(Guessed({}, 3).empty());
}

struct Guess : TwoShards {
  void Fill(int from, int to) {
    for (int i = from; i < to; ++i) {
      const std::string name = "name" + std::to_string(i);
      Create(shards[placement->DentryShard(root, name).value], root, name);
    }
  }
  std::vector<SettleShard> Tables(bool with_home = true) {
    std::vector<SettleShard> all;
    for (TestShard& shard : shards) {
      EXPECT_TRUE(shard.tables.Apply(shard.out.bytes()).ok());
      shard.out.Clear();
      all.push_back(with_home || &shard != &Home() ? SettleShard{&shard.tables, true} : SettleShard());
    }
    return all;
  }
};

TEST_F(Guess, TheRootIsFoundWithoutItsHome) {
  EXPECT_EQ(FindRoot(Tables(false)), std::nullopt);
  Fill(0, 20);
  EXPECT_EQ(FindRoot(Tables()), root);
  EXPECT_EQ(FindRoot(Tables(false)), root);  // the other shard has names in it
}

TEST_F(Guess, WhatTablesSpeakOfIsThere) {
  Fill(0, 20);
  (void)Tables();
  EXPECT_EQ(ShardsSpokenOf(&Home().tables), 2u);
  Inode* inode = Home().names.FindInode(root);
  Home().names.AddShard(*inode, ShardId(6));
  (void)Tables();
  EXPECT_EQ(ShardsSpokenOf(&Home().tables), 7u);
}

// U1
TEST_F(Guess, ThePlacementIsTriedOnAllNames) {
  uint64_t agreed = 0;
  Fill(0, 20);
  EXPECT_FALSE(GuessPlacement(*layout, Tables(), &agreed));  // too few
  Fill(20, 200);
  ASSERT_TRUE(GuessPlacement(*layout, Tables(), &agreed));
  EXPECT_EQ(agreed, 200u);
  EXPECT_EQ(GuessPlacement(*layout, Tables(), &agreed)->Fingerprint(), placement->Fingerprint());
  const Layout more = *Layout::Build({{MemberId(0), "a", 1, 1}, {MemberId(1), "b", 1, 1}, {MemberId(2), "c", 1, 1}});
  EXPECT_FALSE(GuessPlacement(more, Tables(), &agreed));
  std::string wrong = "wrong";
  while (placement->DentryShard(root, wrong) == Home().tables.self()) wrong += 'x';
  Create(Home(), root, wrong);
  EXPECT_FALSE(GuessPlacement(*layout, Tables(), &agreed));
}

}  // namespace
}  // namespace mayfly
