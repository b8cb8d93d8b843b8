#include "ring/placement.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "layouts.h"
#include "ring/balance.h"
#include "ring/chunk_order.h"
#include "ring/slot_table.h"

namespace mayfly {
namespace {

std::vector<uint64_t> CountByShard(std::span<const uint32_t> shards, uint32_t shard_count) {
  std::vector<uint64_t> counts(shard_count, 0);
  for (uint32_t shard : shards) ++counts[shard];
  return counts;
}

// P2, in whole numbers: |slots x total x shards - all x weight| < total x shards.
void ExpectExactShares(const Layout& layout, const Placement& placement) {
  const auto counts = CountByShard(placement.tables().slots, layout.shard_count());
  for (uint32_t shard = 0; shard < layout.shard_count(); ++shard) {
    const Member& m = layout.member(layout.MemberOf(ShardId(shard)));
    const auto slot = static_cast<int64_t>(layout.total_weight() * m.shards);
    const auto fair = static_cast<int64_t>(uint64_t{placement.slot_count()} * m.weight);
    ASSERT_LT(std::abs(static_cast<int64_t>(counts[shard]) * slot - fair), slot)
        << "shard " << shard << " of " << layout.shard_count() << " has " << counts[shard] << " slots";
  }
}

TEST(Placement, EveryShardIsWithinOneSlotOfItsShare) {
  // The share does not depend on the points: few of them keep this fast.
#ifdef MAYFLY_SANITIZED
  constexpr uint32_t kStep = 3;
#else
  constexpr uint32_t kStep = 1;
#endif
  for (uint32_t members = 1; members <= 1024; members += members < 64 ? 1 : kStep) {
    for (uint32_t shards : {1u, 3u, 8u}) {
      if (shards > 1 && members > 40 && members % 16 != 0) continue;
      const Layout layout = EqualLayout(members, shards);
      ExpectExactShares(layout, Placement::Build(layout, {.points_per_member = 8}).value());
    }
  }
}

TEST(Placement, WeightedSharesAreExactToo) {
  for (const Layout& layout : {
           WeightedLayout({{1, 1}, {2, 1}}),
           WeightedLayout({{3, 2}, {5, 7}, {1, 1}, {1000, 3}}),
           WeightedLayout({{1, 1}, {Layout::kWeightMax, 4}, {77, 5}}),
           WeightedLayout({{480, 8}, {480, 6}, {960, 8}, {240, 2}, {240, 2}}),
       }) {
    ExpectExactShares(layout, Placement::Build(layout).value());
  }
}

TEST(Placement, QuotasAddUpAndRemaindersGoToTheLargest) {
  // 10 slots over weights 1, 2, 4: shares 1.43, 2.86, 5.71.
  EXPECT_EQ(SlotQuotas(WeightedLayout({{1, 1}, {2, 1}, {4, 1}}), 10), (std::vector<uint32_t>{1, 3, 6}));
  EXPECT_EQ(SlotQuotas(EqualLayout(3, 1), 8), (std::vector<uint32_t>{3, 3, 2}));  // equal remainders: lower ids
}

TEST(Placement, SlotsAreAPowerOfTwoWith64AShardOrMore) {
  EXPECT_EQ(Placement::SlotsFor(1), 65536u);
  EXPECT_EQ(Placement::SlotsFor(1024), 65536u);
  EXPECT_EQ(Placement::SlotsFor(1025), 131072u);
  EXPECT_EQ(Placement::SlotsFor(Layout::kShardsMax), Placement::kSlotsMax);
  for (uint32_t shards : {1u, 5u, 1000u, 2047u, 2048u, 2049u, 100000u}) {
    EXPECT_TRUE(std::has_single_bit(Placement::SlotsFor(shards)));
    EXPECT_GE(Placement::SlotsFor(shards), uint64_t{64} * shards);
  }
  EXPECT_EQ(Placement::Build(EqualLayout(300, 4), {.points_per_member = 4}).value().slot_count(), 131072u);
}

TEST(Placement, IsEqualOnAllRanks) {
  const Layout layout = WeightedLayout({{4, 2}, {2, 2}, {4, 1}, {1, 3}});
  std::vector<Member> turned(layout.members().rbegin(), layout.members().rend());
  const Placement a = Placement::Build(layout).value();
  const Placement b = Placement::Build(Layout::Build(turned).value()).value();
  EXPECT_TRUE(std::ranges::equal(a.tables().slots, b.tables().slots));
  EXPECT_TRUE(std::ranges::equal(a.tables().order, b.tables().order));
  EXPECT_TRUE(std::ranges::equal(a.tables().positions, b.tables().positions));
  EXPECT_EQ(a.Fingerprint(), b.Fingerprint());
  EXPECT_EQ(a.RootInode(), b.RootInode());
  EXPECT_NE(a.Fingerprint(), Placement::Build(layout, {.seed = 1}).value().Fingerprint());
}

TEST(Placement, TheFirstSlotsBelongToTheRing) {
  // Before any member is full the table is the ring itself, looked up at the first hash of each slot.
  const Layout layout = EqualLayout(16, 1);
  const Ring ring = Ring::Build(layout, {}).value();
  const Placement placement = Placement::Build(layout).value();
  for (uint64_t slot = 0; slot < placement.slot_count() / 16; ++slot) {
    ASSERT_EQ(placement.ShardOfHash(slot << 48).value, ring.Owner(slot << 48).value);
    ASSERT_EQ(placement.ShardOfHash(slot << 48), placement.ShardOfHash(((slot + 1) << 48) - 1));
  }
}

TEST(Placement, RootIsWhereItsDentryHashes) {
  const Placement placement = Placement::Build(EqualLayout(8, 2)).value();
  EXPECT_EQ(placement.RootShard(), placement.ShardOfHash(Placement::DentryHash(InodeId(), "/")));
  EXPECT_EQ(placement.RootInode(), InodeId::Make(placement.RootShard(), 1));
}

TEST(Placement, NamesPastTheLimitHashAsTheirFirstBytes) {
  const std::string name(300, 'x');
  EXPECT_EQ(Placement::DentryHash(InodeId(5), name), Placement::DentryHash(InodeId(5), name.substr(0, 255)));
  EXPECT_NE(Placement::DentryHash(InodeId(5), name), Placement::DentryHash(InodeId(5), name.substr(0, 254)));
  EXPECT_NE(Placement::DentryHash(InodeId(5), "x"), Placement::DentryHash(InodeId(6), "x"));
}

// The heaviest shard over the mean, in percent.
double PercentOverMean(const std::vector<uint64_t>& counts, uint64_t all) {
  const double mean = static_cast<double>(all) / static_cast<double>(counts.size());
  return 100.0 * (static_cast<double>(*std::max_element(counts.begin(), counts.end())) / mean - 1.0);
}

// The bound is 10%, of which the slot table uses less than one slot in 64 or more (1.6%) and the sample the rest: with
// n names a shard the heaviest of s shards is expected about sqrt(2 ln s / n) above the mean.
void ExpectEvenDentries(uint32_t members, uint32_t shards, uint64_t names_per_shard) {
  const Layout layout = EqualLayout(members, shards);
  const Placement placement = Placement::Build(layout).value();
  const uint64_t names = names_per_shard * layout.shard_count();
  const InodeId directory = InodeId::Make(placement.RootShard(), 77);
  std::vector<uint64_t> inodes(layout.shard_count(), 0), children(layout.shard_count(), 0);
  char name[32];
  for (uint64_t i = 0; i < names; ++i) {
    const int length = std::snprintf(name, sizeof name, "file.%08llu", static_cast<unsigned long long>(i));
    // A new inode is born where its dentry is, with the next number of that shard ...
    const ShardId home = placement.DentryShard(directory, {name, static_cast<size_t>(length)});
    const InodeId inode = InodeId::Make(home, ++inodes[home.value]);
    // ... and as a directory it gets an entry of a name that all others have, too.
    ++children[placement.DentryShard(inode, "data").value];
  }
  const double noise =
      100.0 * std::sqrt(2.0 * std::log(layout.shard_count() + 1.0) / static_cast<double>(names_per_shard));
  ASSERT_LT(noise, 8.0) << "too few names to say anything";
  const double over = PercentOverMean(inodes, names), over_children = PercentOverMean(children, names);
  std::printf("%5u members x %u: names of one directory +%.1f%%, one name in each +%.1f%% (sampling alone +%.1f%%)\n",
              members, shards, over, over_children, noise);
  EXPECT_LE(over, 10.0);
  EXPECT_LE(over_children, 10.0);
}

TEST(Placement, SequentialNamesAndInodesAreAtMost10PercentAboveTheMean) {
  ExpectEvenDentries(2, 1, 20000);
  ExpectEvenDentries(8, 1, 20000);
  ExpectEvenDentries(8, 3, 20000);
  ExpectEvenDentries(64, 2, 10000);
  ExpectEvenDentries(1000, 1, 2500);
}

TEST(Placement, ChunksOfALargeFileDifferByAtMostOneAShard) {
  for (uint32_t members : {1u, 2u, 7u, 64u, 129u}) {
    const Layout layout = EqualLayout(members, 3);
    const Placement placement = Placement::Build(layout, {.points_per_member = 16}).value();
    const uint32_t shards = layout.shard_count();
    ASSERT_EQ(placement.tables().order.size(), shards);
    const ShardId home(shards / 2);
    EXPECT_EQ(placement.ChunkShard(home, ChunkIndex(0)), home);
    std::vector<uint64_t> counts(shards, 0);
    for (uint32_t k = 0; k < 3 * shards; ++k) {
      ++counts[placement.ChunkShard(home, ChunkIndex(k)).value];
      const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
      ASSERT_LE(*most - *least, 1u) << "after " << k + 1 << " chunks";
    }
    EXPECT_EQ(placement.ChunkShard(home, ChunkIndex(~0u)),
              placement.ChunkShard(home, ChunkIndex(static_cast<uint32_t>(~0u % shards))));
  }
}

TEST(Placement, NeighbouringChunksAreOnDifferentMembers) {
  const Layout layout = EqualLayout(9, 4);
  const Placement placement = Placement::Build(layout).value();
  for (uint32_t k = 0; k < layout.shard_count(); ++k) {
    EXPECT_NE(layout.MemberOf(placement.ChunkShard(ShardId(0), ChunkIndex(k))),
              layout.MemberOf(placement.ChunkShard(ShardId(0), ChunkIndex(k + 1))));
  }
}

TEST(ChunkOrder, RepeatsAreTheRatioOfWeights) {
  EXPECT_EQ(OrderRepeats(EqualLayout(5, 4), 4096), (std::vector<uint32_t>(5, 1)));
  EXPECT_EQ(OrderRepeats(WeightedLayout({{1, 1}, {2, 1}, {4, 1}}), 4096), (std::vector<uint32_t>{1, 2, 4}));
  EXPECT_EQ(OrderRepeats(WeightedLayout({{960, 1}, {480, 1}}), 4096), (std::vector<uint32_t>{2, 1}));
  EXPECT_EQ(OrderRepeats(WeightedLayout({{1, 2}, {1, 1}}), 4096), (std::vector<uint32_t>{1, 2}));
  EXPECT_EQ(OrderRepeats(WeightedLayout({{3, 2}, {5, 3}}), 4096), (std::vector<uint32_t>{9, 10}));
}

TEST(ChunkOrder, RatiosThatWouldBeTooLongAreRounded) {
  // 1 : 2^20 has 2^20 + 1 entries exactly; in 4,096 the light one still gets one.
  EXPECT_EQ(OrderRepeats(WeightedLayout({{1, 1}, {Layout::kWeightMax, 1}}), 4096), (std::vector<uint32_t>{1, 4096}));
  std::vector<Share> shares;
  for (uint32_t i = 0; i < 50; ++i) shares.push_back({1000003 + 7919 * (i % 5), 1 + i % 7});
  const Layout layout = WeightedLayout(shares);
  const Placement placement = Placement::Build(layout).value();
  EXPECT_LE(placement.tables().order.size(), Placement::OrderMax(layout.shard_count()));
  const auto counts = CountByShard(placement.tables().order, layout.shard_count());
  for (uint32_t shard = 0; shard < layout.shard_count(); ++shard) {
    const Member& m = layout.member(layout.MemberOf(ShardId(shard)));
    const double fair = 4096.0 * m.weight / static_cast<double>(layout.total_weight()) / m.shards;
    EXPECT_NEAR(static_cast<double>(counts[shard]), fair, 0.51) << shard;
  }
}

TEST(ChunkOrder, HeavyShardsAreSpreadEvenly) {
  // A third of the members with twice the weight: any run of chunks gives every shard its weighted part, give or take
  // one for each of the two classes.
  std::vector<Share> shares;
  for (uint32_t i = 0; i < 30; ++i) shares.push_back({i % 3 == 0 ? 2u : 1u, 2});
  const Layout layout = WeightedLayout(shares);
  const Placement placement = Placement::Build(layout).value();
  const double whole = static_cast<double>(placement.tables().order.size());
  EXPECT_EQ(whole, 80);
  for (uint32_t home = 0; home < layout.shard_count(); home += 7) {
    std::vector<uint64_t> counts(layout.shard_count(), 0);
    for (uint32_t k = 0; k < 400; ++k) {
      ++counts[placement.ChunkShard(ShardId(home), ChunkIndex(k)).value];
      for (uint32_t s = 0; s < layout.shard_count(); ++s) {
        const double fair = (k + 1) * layout.member(layout.MemberOf(ShardId(s))).weight / whole;
        ASSERT_NEAR(static_cast<double>(counts[s]), fair, 2.0) << "shard " << s << " after chunk " << k;
      }
    }
  }
}

TEST(PlacementTables, AViewOfStoredTablesAnswersAlike) {
  const Layout layout = WeightedLayout({{2, 2}, {1, 1}, {1, 3}});
  const Placement built = Placement::Build(layout).value();
  struct Copy {
    std::vector<uint32_t> slots, order, positions;
  };
  auto copy = std::make_shared<Copy>();
  copy->slots.assign(built.tables().slots.begin(), built.tables().slots.end());
  copy->order.assign(built.tables().order.begin(), built.tables().order.end());
  copy->positions.assign(built.tables().positions.begin(), built.tables().positions.end());
  const PlacementTables tables{copy->slots, copy->order, copy->positions};
  const Placement view = Placement::FromTables(tables, layout.shard_count(), std::move(copy)).value();
  EXPECT_EQ(view.Fingerprint(), built.Fingerprint());
  EXPECT_EQ(view.shard_count(), 6u);
  EXPECT_EQ(view.RootInode(), built.RootInode());
  EXPECT_EQ(view.tables().slots.data(), tables.slots.data());  // nothing was copied
}

TEST(PlacementTables, DamageIsCorrupt) {
  const Layout layout = EqualLayout(3, 2);
  const Placement built = Placement::Build(layout).value();
  auto refused = [&](auto change, uint32_t shards = 6) {
    std::vector<uint32_t> slots(built.tables().slots.begin(), built.tables().slots.end());
    std::vector<uint32_t> order(built.tables().order.begin(), built.tables().order.end());
    std::vector<uint32_t> positions(built.tables().positions.begin(), built.tables().positions.end());
    change(slots, order, positions);
    auto view = Placement::FromTables({slots, order, positions}, shards, nullptr);
    return view.code() == Code::kCorrupt;
  };
  EXPECT_FALSE(refused([](auto&, auto&, auto&) {}));
  EXPECT_TRUE(refused([](auto& slots, auto&, auto&) { slots[65535] = 6; }));
  EXPECT_TRUE(refused([](auto& slots, auto&, auto&) { slots[1] = ~0u; }));
  EXPECT_TRUE(refused([](auto& slots, auto&, auto&) { slots.pop_back(); }));
  EXPECT_TRUE(refused([](auto& slots, auto&, auto&) { slots.clear(); }));
  EXPECT_TRUE(refused([](auto& slots, auto&, auto&) { slots.resize(2 * slots.size(), 0); }));
  EXPECT_TRUE(refused([](auto&, auto& order, auto&) { order[5] = 6; }));
  EXPECT_TRUE(refused([](auto&, auto& order, auto&) { order.clear(); }));
  EXPECT_TRUE(refused([](auto&, auto& order, auto&) { std::swap(order[0], order[1]); }));
  EXPECT_TRUE(refused([](auto&, auto& order, auto&) { order.resize(5000, 0); }));
  EXPECT_TRUE(refused([](auto&, auto&, auto& positions) { positions[0] = 6; }));
  EXPECT_TRUE(refused([](auto&, auto&, auto& positions) { positions.pop_back(); }));
  EXPECT_TRUE(refused([](auto&, auto&, auto&) {}, 0));
  EXPECT_TRUE(refused([](auto&, auto&, auto&) {}, 5));
  EXPECT_TRUE(refused([](auto&, auto&, auto&) {}, Layout::kShardsMax + 1));
}

TEST(Balance, SlotTableIsExactWhereTheRingIsNot) {
  std::printf("load of the members in %% of their share   ring: min  mean   max   slot table: min  mean   max\n");
  for (uint32_t members : {8u, 64u, 1024u}) {
    const Layout layout = EqualLayout(members, 1);
    const Balance balance = BalanceOf(layout, Ring::Build(layout, {}).value(), Placement::Build(layout).value());
    std::printf("%5u members %36.1f %5.1f %5.1f %17.1f %5.1f %5.1f\n", members, balance.ring.min, balance.ring.mean,
                balance.ring.max, balance.table.min, balance.table.mean, balance.table.max);
    EXPECT_NEAR(balance.ring.mean, 100.0, 0.01);
    EXPECT_NEAR(balance.table.mean, 100.0, 0.01);
    EXPECT_GT(balance.ring.max, 105.0);
    EXPECT_LE(balance.table.max, 102.0);
    EXPECT_GE(balance.table.min, 98.0);
    ASSERT_EQ(balance.members.size(), members);
    double fair = 0, ring = 0, table = 0;
    for (const MemberBalance& m : balance.members) fair += m.fair, ring += m.ring, table += m.table;
    EXPECT_NEAR(fair, 100.0, 1e-6);
    EXPECT_NEAR(ring, 100.0, 1e-6);
    EXPECT_NEAR(table, 100.0, 1e-6);
  }
}

}  // namespace
}  // namespace mayfly
