#include <gtest/gtest.h>

#include "store/memory_budget.h"

namespace mayfly {
namespace {

TEST(MemoryBudget, ArenaLeavesTheTablesTheirPart) {
  MemoryBudget budget(3200);
  EXPECT_EQ(budget.ArenaRoom(), 3100u);
  EXPECT_FALSE(budget.ChargeArena(3101));
  EXPECT_TRUE(budget.ChargeArena(3100));
  EXPECT_TRUE(budget.ChargeTables(100));
  EXPECT_FALSE(budget.ChargeTables(1));
  budget.ReleaseArena(3100);
  EXPECT_TRUE(budget.ChargeTables(3000));
  EXPECT_EQ(budget.ArenaRoom(), 100u);
}

TEST(MemoryBudget, WhatMustNotFailPassesTheLimitAndTheNextChargeFails) {
  MemoryBudget budget(1000);
  budget.ChargeTablesAlways(1100);
  EXPECT_EQ(budget.ArenaRoom(), 0u);
  EXPECT_FALSE(budget.ChargeTables(1));
  EXPECT_FALSE(budget.ChargeArena(1));
  budget.ReleaseTables(1100);
  EXPECT_EQ(budget.used(), 0u);
}

// B3 to B5
TEST(MemoryBudget, WithAChunkFileTablesLeaveRoomForTransfersAndTheArenaForReadsAndTables) {
  MemoryBudget budget(3200);
  budget.KeepForData(400, 200);
  EXPECT_EQ(budget.tables_max(), 2600u);
  EXPECT_EQ(budget.ArenaRoom(), 2900u);
  EXPECT_TRUE(budget.ChargeTables(1000));
  EXPECT_EQ(budget.ArenaRoom(), 1900u);
  EXPECT_FALSE(budget.ChargeTables(1601));
  EXPECT_TRUE(budget.ChargeTables(1600));
  EXPECT_EQ(budget.TableRoom(), 0u);
  budget.ChargeTablesAlways(300);
  EXPECT_EQ(budget.ArenaRoom(), 400u) << "whatever tables took";
  EXPECT_TRUE(budget.ChargeArena(400));
  EXPECT_EQ(budget.ArenaRoom(), 0u);
  budget.ReleaseTables(400);
  EXPECT_EQ(budget.TableRoom(), 100u);
  EXPECT_EQ(budget.ArenaRoom(), 0u);
  budget.ReleaseTables(2500);
  EXPECT_EQ(budget.ArenaRoom(), 2500u);
  budget.ReleaseReads();
  EXPECT_EQ(budget.ArenaRoom(), 2700u);
}

}  // namespace
}  // namespace mayfly
