#include "store/id_table.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace mayfly::store_internal {
namespace {

struct Record {
  uint64_t id = 0;
  Record* next = nullptr;
  uint64_t key() const { return id; }
};

TEST(IdTable, FindsExactlyWhatIsInWhileItGrowsAndShrinks) {
  MemoryBudget budget(uint64_t{1} << 30);
  TableMemory memory(&budget);
  IdTable<Record> table(&memory);
  constexpr uint32_t kCount = 20000;
  std::vector<Record> records(kCount);
  std::vector<bool> is_in(kCount, false);
  for (uint32_t i = 0; i < kCount; ++i) records[i].id = uint64_t{i} * 4096;
  std::mt19937 random(1);
  for (uint32_t round = 0; round < 6; ++round) {
    uint32_t share = round % 2 == 0 ? 90 : 5;  // of the records in the table after the round
    for (uint32_t i = 0; i < kCount; ++i) {
      bool wants = random() % 100 < share;
      if (wants && !is_in[i]) table.Insert(&records[i]);
      if (!wants && is_in[i]) table.Remove(&records[i]);
      is_in[i] = wants;
    }
    uint64_t size = 0, walked = 0;
    for (uint32_t i = 0; i < kCount; ++i) {
      ASSERT_EQ(table.Find(records[i].id), is_in[i] ? &records[i] : nullptr);
      size += is_in[i];
    }
    EXPECT_EQ(table.size(), size);
    for (uint64_t bucket = 0; bucket < table.bucket_count(); ++bucket) {
      for (Record* r = table.InBucket(bucket); r != nullptr; r = r->next) ++walked;
    }
    EXPECT_EQ(walked, size);
    EXPECT_LE(memory.used(), size * 8 * 4 + 20000);
  }
  uint64_t left = table.size();
  table.RemoveAll([&](Record*) { --left; });
  EXPECT_EQ(left, 0u);
  EXPECT_EQ(memory.used(), 0u);  // L3
  EXPECT_EQ(table.Find(4096), nullptr);
}

TEST(IdTable, AWalkSeesWhatIsThereAllTheTimeWhileTheTableGrowsAndShrinks) {
  MemoryBudget budget(uint64_t{1} << 30);
  TableMemory memory(&budget);
  IdTable<Record> table(&memory);
  EXPECT_EQ(table.FirstFrom(0), nullptr);
  constexpr uint32_t kStay = 300, kCount = 6000;
  std::vector<Record> records(kCount);
  std::vector<bool> is_in(kCount, false), was_seen(kCount, false);
  std::mt19937 random(2);
  for (uint32_t i = 0; i < kCount; ++i) records[i].id = 1 + uint64_t{i} * 4096;
  for (uint32_t i = 0; i < kStay; ++i) table.Insert(&records[i]);
  uint32_t steps = 0, share = 0;
  for (uint64_t position = 0;; ++steps) {
    const Record* at = table.FirstFrom(position);
    if (at == nullptr) break;
    ASSERT_GE(table.PositionOf(at->key()), position);
    const size_t index = static_cast<size_t>(at - records.data());
    ASSERT_FALSE(was_seen[index]) << "once";
    was_seen[index] = true;
    position = table.PositionOf(at->key()) + 1;
    if (steps % 50 == 0) share = random() % 100;
    for (int n = 0; n < 300; ++n) {
      const uint32_t i = kStay + random() % (kCount - kStay);
      const bool wants = random() % 100 < share;
      if (wants && !is_in[i]) table.Insert(&records[i]);
      if (!wants && is_in[i]) table.Remove(&records[i]);
      is_in[i] = wants;
    }
  }
  for (uint32_t i = 0; i < kStay; ++i) EXPECT_TRUE(was_seen[i]) << i;
  EXPECT_GT(steps, kStay);
  table.RemoveAll([](Record*) {});
}

}  // namespace
}  // namespace mayfly::store_internal
