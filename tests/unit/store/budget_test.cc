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

}  // namespace
}  // namespace mayfly
