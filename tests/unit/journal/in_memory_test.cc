// A journal whose ring lies in memory that may be written to directly (J9): one copy, no window, and the region says
// how far the stream goes. Kills at random moments: crash_test.cc.
#include <gtest/gtest.h>

#include "base/checksum.h"
#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

struct JournalInMemory : testing::Test {
  void SetUp() override { world.Create(); }
  void Append(uint32_t key, size_t fill = 100) {
    ASSERT_TRUE(world.AppendCell(key, key, fill).ok());
    table[key] = key;
  }
  // The journal is closed.
  MutableBytes Region() {
    world.Reboot();
    return *world.kept->Find(TailWindow::kRegionName);
  }
  JournalWorld world{1, true};
  Table table;
};

TEST_F(JournalInMemory, WritesNothingAndAKillLosesNothing) {
  const uint64_t before = world.disk->writes_asked;
  for (uint32_t key = 0; key < 500; ++key) {
    Append(key);
    world.Turn();
  }
  // The superblock's, one an eighth of the ring.
  EXPECT_LE(world.disk->writes_asked - before, 8u) << "it is copied once";
  EXPECT_GT(world.journal->stats().record_bytes, world.options.window_bytes) << "more than a window would have held";
  world.Crash(false);
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_EQ(visitor.table, table);
  EXPECT_FALSE(found.no_region);
  EXPECT_TRUE(found.all_in_ring());
  // And it goes on so.
  Append(1000);
  world.Crash(false);
  TableVisitor again;
  world.Reopen(&again);
  EXPECT_EQ(again.table, table);
}

TEST_F(JournalInMemory, CheckpointsMakeRoomAndItGoesOnOverManyWraps) {
  const uint64_t used = world.platter.bytes_used();
  for (uint32_t round = 0; round < 40; ++round) {
    while (world.journal->HasRoom(1000)) Append(round % 100, 900);
    EXPECT_GT(world.journal->stats().live_bytes, world.options.ring_bytes * 3 / 4) << "all of the ring is to be had";
    ASSERT_TRUE(world.Checkpoint(table).ok());
    EXPECT_LT(world.journal->stats().live_bytes, 2 * kJournalBlockBytes);
  }
  EXPECT_LT(world.platter.bytes_used() - used, uint64_t{1} << 20);
  Append(7);
  world.Crash(false);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, table);
  EXPECT_EQ(visitor.records.size(), 1u);
}

TEST_F(JournalInMemory, AFullRingRefusesAndWhoWaitsIsLetInByACheckpoint) {
  std::vector<Status> ended;
  while (world.AppendCell(1, 1, 900).ok()) {
  }
  EXPECT_EQ(world.AppendCell(1, 1, 900).code(), Code::kNoSpace);
  world.gate.Spawn(
      [](JournalWorld* w, std::vector<Status>* out) -> Task<Status> {
        out->push_back(co_await w->journal->WaitForRoom(1000, kNever));
        co_return Status();
      }(&world, &ended),
      "waiting");
  for (int i = 0; i < 10; ++i) world.Turn();
  EXPECT_TRUE(ended.empty());
  ASSERT_TRUE(world.Checkpoint({{1, 1}}).ok());
  for (int i = 0; i < 10; ++i) world.Turn();
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].ok());
}

TEST_F(JournalInMemory, DamageBeforeWhereItWasIsReportedWhateverLiesBehind) {
  for (uint32_t key = 0; key < 3; ++key) Append(key);
  const Lsn last = world.journal->head();
  Append(3);
  const Lsn end = world.journal->head();
  world.Crash(false);
  // The last record: a torn tail, if nothing said that it had been whole.
  world.platter.Rot(kJournalFileName, world.OffsetOf(last) + RecordHeader::kBytes, 8, 1);
  TableVisitor visitor;
  world.Reopen(&visitor);
  table.erase(3);
  EXPECT_EQ(visitor.table, table);
  EXPECT_EQ(visitor.damage, (std::vector<LsnRange>{{last, end}}));
}

TEST_F(JournalInMemory, AnOrderlyEndNeedsNoRegionAndANewOneFollows) {
  Append(1);
  ASSERT_NO_FATAL_FAILURE(world.CloseInOrder());
  EXPECT_EQ(world.kept->Find(TailWindow::kRegionName).code(), Code::kNoEntry);
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_TRUE(found.clean);
  EXPECT_EQ(visitor.table, table);
  Append(2);
  world.Crash(false);
  TableVisitor again;
  world.Reopen(&again, &found);
  EXPECT_EQ(again.table, table);
  EXPECT_TRUE(found.all_in_ring());
}

TEST_F(JournalInMemory, WithoutItsRegionItIsSaidToBeGone) {
  Append(1);
  world.Crash(false);
  ASSERT_TRUE(world.kept->Remove(TailWindow::kRegionName).ok());
  TableVisitor visitor;
  auto found = world.Recover(&visitor);
  ASSERT_TRUE(found.ok());
  EXPECT_TRUE(found->no_region);
}

TEST_F(JournalInMemory, ARegionThatEndsBeforeTheTailOrHasAnotherVersionIsNotItsOwn) {
  Append(1);
  ASSERT_TRUE(world.Checkpoint(table).ok());
  Append(2);
  world.Crash(false);
  const MutableBytes region = Region();
  RegionHeader header;
  ASSERT_TRUE(DecodeRegionHeader(region, world.options.identity, world.options.ring_bytes, &header));
  const RegionHeader good = header;
  const auto foreign = [&] {
    world.Reboot();
    TableVisitor visitor;
    auto found = world.Recover(&visitor);
    return found.ok() && found->foreign_region;
  };
  EXPECT_FALSE(foreign());
  header.low = kFirstLsn;
  EncodeRegionHeader(header, Region());
  EXPECT_TRUE(foreign());
  EncodeRegionHeader(good, Region());
  EXPECT_FALSE(foreign());
  Region()[offsetof(RegionHeader, version)] = 1;  // a window is owed then
  const MutableBytes block = Region();
  const uint64_t checksum = Checksum(Bytes(block).subspan(8, offsetof(RegionHeader, low) - 8));
  std::memcpy(block.data(), &checksum, sizeof checksum);
  EXPECT_TRUE(foreign());
}

// Files that were copied to where memory cannot be written to.
TEST_F(JournalInMemory, CarriedToADiskItGoesOnWithAWindow) {
  Append(1);
  world.Crash(false);
  TableVisitor visitor;
  auto found = world.Recover(&visitor);
  ASSERT_TRUE(found.ok());
  world.options.survives_power = true;  // asks for no memory
  world.Open(*found);
  Append(2);
  world.Crash(false);
  TableVisitor again;
  Recovered last;
  world.Reopen(&again, &last);
  EXPECT_EQ(again.table, table);
  EXPECT_FALSE(last.all_in_ring());
  EXPECT_GT(last.region.size(), kJournalBlockBytes);
}

}  // namespace
}  // namespace mayfly
