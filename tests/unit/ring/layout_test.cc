#include "ring/layout.h"

#include <gtest/gtest.h>

#include "layouts.h"

namespace mayfly {
namespace {

std::vector<Member> ThreeMembers() {
  return {{MemberId(0), "a", 3, 2}, {MemberId(1), "b", 1, 1}, {MemberId(2), "c", 2, 4}};
}

TEST(Layout, ShardsOfAMemberAreConsecutive) {
  const Layout layout = Layout::Build(ThreeMembers()).value();
  EXPECT_EQ(layout.member_count(), 3u);
  EXPECT_EQ(layout.shard_count(), 7u);
  EXPECT_EQ(layout.total_weight(), 6u);
  uint32_t shard = 0;
  for (const Member& m : layout.members()) {
    EXPECT_EQ(layout.FirstShardOf(m.id), ShardId(shard));
    for (uint32_t local = 0; local < m.shards; ++local, ++shard) {
      EXPECT_EQ(layout.MemberOf(ShardId(shard)), m.id);
      EXPECT_EQ(layout.LocalOf(ShardId(shard)), local);
      EXPECT_EQ(layout.ShardOf(m.id, local), ShardId(shard));
    }
  }
  EXPECT_TRUE(layout.Has(ShardId(6)));
  EXPECT_FALSE(layout.Has(ShardId(7)));
  EXPECT_TRUE(layout.Has(MemberId(2)));
  EXPECT_FALSE(layout.Has(MemberId(3)));
}

TEST(Layout, OrderOfMembersDoesNotMatter) {
  std::vector<Member> turned = ThreeMembers();
  std::swap(turned[0], turned[2]);
  EXPECT_EQ(Layout::Build(turned).value(), Layout::Build(ThreeMembers()).value());
}

TEST(Layout, ImpossibleMembersAreRefused) {
  auto refused = [](auto change) {
    std::vector<Member> members = ThreeMembers();
    change(members);
    return Layout::Build(std::move(members)).code() == Code::kInvalid;
  };
  EXPECT_TRUE(refused([](auto& m) { m.clear(); }));
  EXPECT_TRUE(refused([](auto& m) { m[1].id = MemberId(0); }));
  EXPECT_TRUE(refused([](auto& m) { m[1].id = MemberId(3); }));
  EXPECT_TRUE(refused([](auto& m) { m[1].weight = 0; }));
  EXPECT_TRUE(refused([](auto& m) { m[1].weight = Layout::kWeightMax + 1; }));
  EXPECT_TRUE(refused([](auto& m) { m[1].shards = 0; }));
  EXPECT_TRUE(refused([](auto& m) { m[1].shards = Layout::kShardsMax; }));
  EXPECT_TRUE(refused([](auto& m) { m[1].shards = ~0u; }));
  EXPECT_TRUE(refused([](auto& m) { m[1].host.assign(Layout::kHostBytesMax + 1, 'h'); }));
  EXPECT_FALSE(refused([](auto& m) { m[1].weight = Layout::kWeightMax; }));
}

TEST(Layout, AsManyMembersAsThereAreIdsFit) {
  const Layout layout = EqualLayout(Layout::kMembersMax, 1);
  EXPECT_EQ(layout.shard_count(), Layout::kMembersMax);
  std::vector<Member> members(layout.members().begin(), layout.members().end());
  members.push_back({MemberId(Layout::kMembersMax), "one too many"});
  EXPECT_EQ(Layout::Build(std::move(members)).code(), Code::kInvalid);
}

}  // namespace
}  // namespace mayfly
