// Blocks of the chunk file: against a plain map of who has which.
#include "store/disk_space.h"

#include <gtest/gtest.h>

#include "fake/sim_random.h"

namespace mayfly {
namespace {

TEST(DiskSpace, TheHeaderIsNeverGivenOutAndAFullFileRefuses) {
  DiskSpace space(8 * DiskSpace::kBlockBytes + 17);
  EXPECT_EQ(space.blocks(), 8u);
  EXPECT_EQ(space.blocks_free(), 7u);
  EXPECT_EQ(space.Allocate(8).code(), Code::kNoSpace);
  EXPECT_EQ(*space.Allocate(7), 1u);
  EXPECT_EQ(space.Allocate(1).code(), Code::kNoSpace);
  space.Free(3, 2);  // a part
  EXPECT_EQ(*space.Allocate(2), 3u);
}

TEST(DiskSpace, TakesTheShortestRunThatIsLongEnough) {
  DiskSpace space(100 * DiskSpace::kBlockBytes);
  const uint32_t a = *space.Allocate(10), b = *space.Allocate(3), c = *space.Allocate(5), d = *space.Allocate(1);
  space.Free(a, 10);
  space.Free(c, 5);
  EXPECT_EQ(*space.Allocate(5), c);
  space.Free(c, 5);
  EXPECT_EQ(*space.Allocate(6), a);
  EXPECT_EQ(*space.Allocate(4), a + 6);
  space.Free(b, 3);  // joins c's
  EXPECT_EQ(*space.Allocate(8), b);
  EXPECT_EQ(d, c + 5);
}

TEST(DiskSpace, NoBlockIsGivenOutTwice) {
  for (uint64_t seed = 1; seed <= 50; ++seed) {
    SimRandom random(seed);
    const uint32_t blocks = 50 + static_cast<uint32_t>(random.U64() % 200);
    DiskSpace space(uint64_t{blocks} * DiskSpace::kBlockBytes);
    std::vector<bool> taken(blocks, false);
    taken[0] = true;
    std::vector<DiskSpace::Run> runs;
    const auto check = [&] {
      ASSERT_EQ(space.blocks_free(), static_cast<uint64_t>(std::count(taken.begin(), taken.end(), false)));
    };
    for (int step = 0; step < 500; ++step) {
      const auto length = 1 + static_cast<uint32_t>(random.U64() % 12);
      if (random.U64() % 2 == 0 || runs.empty()) {
        const auto first = space.Allocate(length);
        if (!first.ok()) {  // there is no such run
          for (uint32_t at = 0, free = 0; at < blocks; ++at) {
            free = taken[at] ? 0 : free + 1;
            ASSERT_LT(free, length);
          }
          continue;
        }
        for (uint32_t i = 0; i < length; ++i) {
          ASSERT_FALSE(taken[*first + i]);
          taken[*first + i] = true;
        }
        runs.push_back({*first, length});
      } else {
        std::swap(runs[random.U64() % runs.size()], runs.back());
        DiskSpace::Run& run = runs.back();
        const auto gone = 1 + static_cast<uint32_t>(random.U64() % run.blocks);  // its end, or all
        space.Free(run.first + run.blocks - gone, gone);
        for (uint32_t i = 0; i < gone; ++i) taken[run.first + run.blocks - 1 - i] = false;
        run.blocks -= gone;
        if (run.blocks == 0) runs.pop_back();
      }
      check();
    }
    // And another, which adopts them, agrees.
    DiskSpace again(uint64_t{blocks} * DiskSpace::kBlockBytes);
    ASSERT_TRUE(again.Adopt(runs).ok());
    EXPECT_EQ(again.blocks_free(), space.blocks_free());
    while (again.Allocate(1).ok()) {
    }
    EXPECT_EQ(again.blocks_free(), 0u);
  }
}

TEST(DiskSpace, WhatContradictsItselfIsNotAdopted) {
  DiskSpace space(10 * DiskSpace::kBlockBytes);
  EXPECT_EQ(space.Adopt({{0, 1}}).code(), Code::kCorrupt);
  EXPECT_EQ(space.Adopt({{1, 0}}).code(), Code::kCorrupt);
  EXPECT_EQ(space.Adopt({{9, 2}}).code(), Code::kCorrupt);
  EXPECT_EQ(space.Adopt({{5, 3}, {2, 4}}).code(), Code::kCorrupt);
  EXPECT_EQ(space.blocks_free(), 9u);
  EXPECT_TRUE(space.Adopt({{5, 3}, {2, 3}}).ok());
  EXPECT_EQ(space.blocks_free(), 3u);
}

}  // namespace
}  // namespace mayfly
