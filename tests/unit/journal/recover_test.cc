// Reading: torn tails, damage, leftovers of earlier laps and incarnations, superblocks.
#include "journal/recover.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/checksum.h"
#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

Task<Status> Commit(JournalWorld* world) { co_return co_await world->journal->Durable(world->journal->head(), kNever); }

struct JournalRecovery : testing::Test {
  void SetUp() override { world.Create(); }
  LsnRange Append(uint32_t key, size_t fill = 0) {
    const Lsn from = world.journal->head();
    auto end = world.AppendCell(key, key, fill);
    EXPECT_TRUE(end.ok());
    return {from, end.ok() ? *end : from};
  }
  void MakeDurable() { ASSERT_TRUE(world.Run(Commit(&world)).ok()); }
  // The keys that a recovery finds; they are values too.
  std::vector<uint32_t> Keys(const TableVisitor& visitor) {
    std::vector<uint32_t> keys;
    for (const auto& [key, value] : visitor.table) keys.push_back(key);
    return keys;
  }
  MutableBytes Region() {
    world.Reboot();
    return *world.kept->Find(TailWindow::kRegionName);
  }
  // After a kill: with its header changed so, a region is another one's, and what was durable is there.
  void ExpectRegionNotRead(void (*change)(RegionHeader*)) {
    const MutableBytes region = Region();
    RegionHeader header;
    ASSERT_TRUE(DecodeRegionHeader(region, world.options.identity, world.options.ring_bytes, &header));
    change(&header);
    EncodeRegionHeader(header, region.first(kJournalBlockBytes));
    world.Reboot();
    TableVisitor visitor;
    Recovered found;
    world.Reopen(&visitor, &found);
    EXPECT_TRUE(found.foreign_region);
    EXPECT_EQ(Keys(visitor), std::vector<uint32_t>{1});
  }
  JournalWorld world;
};

TEST_F(JournalRecovery, AKillWithinAppendLeavesWhatCameBefore) {
  Append(1), Append(2, 100);
  const LsnRange third = Append(3, 61);
  world.Crash(false);
  const MutableBytes after_region = Region();
  const std::vector<uint8_t> after(after_region.begin(), after_region.end());
  const uint64_t place = kJournalBlockBytes + third.from.value % world.options.window_bytes;
  const uint64_t span = third.to.value - third.from.value;
  const uint64_t used = RecordHeader::kBytes + 2 * kTlvHeaderBytes + 12 + 61;  // the rest is alignment
  // Bytes in the order of the stores, and in the order of their places.
  for (uint64_t header_first = 0; header_first < 2; ++header_first) {
    for (uint64_t stored = 0; stored <= span; ++stored) {
      MutableBytes region = Region();
      std::copy(after.begin(), after.end(), region.begin());
      for (uint64_t i = stored; i < span; ++i) {
        const uint64_t at = header_first != 0 ? i : (i + RecordHeader::kBytes) % span;
        region[place + at] = 0x5a;
      }
      world.Reboot();
      TableVisitor visitor;
      auto found = world.Recover(&visitor);
      ASSERT_TRUE(found.ok());
      const bool whole = stored == span || (header_first != 0 && stored >= used);
      EXPECT_EQ(Keys(visitor), whole ? (std::vector<uint32_t>{1, 2, 3}) : (std::vector<uint32_t>{1, 2}));
      EXPECT_EQ(found->end, whole ? third.to : third.from);
      EXPECT_TRUE(visitor.damage.empty());
    }
  }
}

TEST_F(JournalRecovery, ATailTornAtAnyByteIsTheEnd) {
  Append(1), Append(2, 20);
  const LsnRange last = Append(3, 40);
  MakeDurable();
  world.LoseRegion();
  const std::vector<uint8_t> whole = world.platter.Contents(kJournalFileName);
  const uint64_t from = world.OffsetOf(last.from), to = BlockCeil(from);
  // As a disk that lost what came behind: nothing that is left says that it had been whole.
  for (uint64_t cut = from; cut < to; cut += cut < world.OffsetOf(last.to) + 60 ? 1 : 97) {
    std::vector<uint8_t> torn(whole.begin() + static_cast<ptrdiff_t>(from), whole.begin() + static_cast<ptrdiff_t>(to));
    std::fill(torn.begin() + static_cast<ptrdiff_t>(cut - from), torn.end(), 0);
    ASSERT_NO_FATAL_FAILURE(world.Overwrite(from, torn));
    TableVisitor visitor;
    auto found = world.Recover(&visitor);
    ASSERT_TRUE(found.ok());
    EXPECT_TRUE(visitor.damage.empty());
    const bool whole_one = found->end >= last.to;
    EXPECT_EQ(Keys(visitor).size(), whole_one ? 3u : 2u);
    EXPECT_EQ(whole_one, cut >= world.OffsetOf(last.to)) << cut;
  }
}

TEST_F(JournalRecovery, DamageInTheMiddleIsReportedAsNarrowlyAsARecord) {
  Append(1);
  const LsnRange second = Append(2, 100), third = Append(3, 30);
  Append(4);
  MakeDurable();
  Append(5);
  MakeDurable();
  world.LoseRegion();
  const std::vector<uint8_t> whole = world.platter.Contents(kJournalFileName);
  for (uint64_t at = 0; at < third.to.value - second.from.value; at += 5) {
    const uint64_t offset = world.OffsetOf(second.from) + at;
    const auto wrong = static_cast<uint8_t>(~whole[offset]);
    ASSERT_NO_FATAL_FAILURE(world.Overwrite(offset, Bytes(&wrong, 1)));
    const LsnRange hit = second.from.value + at < third.from.value ? second : third;
    TableVisitor visitor;
    auto found = world.Recover(&visitor);
    ASSERT_TRUE(found.ok());
    ASSERT_NO_FATAL_FAILURE(world.Overwrite(offset, Bytes(&whole[offset], 1)));
    if (visitor.damage.empty()) {  // a byte behind the payload, that pads it
      EXPECT_EQ(Keys(visitor).size(), 5u);
      EXPECT_GE(second.from.value + at + RecordHeader::kAlign, hit.to.value);
      continue;
    }
    EXPECT_EQ(visitor.damage, std::vector<LsnRange>{hit}) << at;
    EXPECT_EQ(found->damage, visitor.damage);
    EXPECT_EQ(Keys(visitor).size(), 4u);
  }
}

TEST_F(JournalRecovery, WhatTheDeviceCannotReadIsDamageOfItsBlocks) {
  std::vector<LsnRange> at;
  for (uint32_t key = 0; key < 50; ++key) at.push_back(Append(key, 900));
  MakeDurable();
  Append(100);
  MakeDurable();
  world.LoseRegion();
  world.disk->bad_from = world.OffsetOf(Lsn(5 * kJournalBlockBytes));
  world.disk->bad_to = world.disk->bad_from + kJournalBlockBytes;
  TableVisitor visitor;
  auto found = world.Recover(&visitor);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->unreadable_blocks, 1u);
  ASSERT_EQ(visitor.damage.size(), 1u);
  std::vector<uint32_t> expected;
  uint64_t from = 0, to = 0;
  for (uint32_t key = 0; key < 50; ++key) {
    if (at[key].to.value <= 5 * kJournalBlockBytes || at[key].from.value >= 6 * kJournalBlockBytes) {
      expected.push_back(key);
    } else {
      if (from == 0) from = at[key].from.value;
      to = at[key].to.value;
    }
  }
  expected.push_back(100);
  EXPECT_EQ(Keys(visitor), expected);
  EXPECT_EQ(visitor.damage[0], (LsnRange{Lsn(from), Lsn(to)}));
}

TEST_F(JournalRecovery, DamageAtTheVeryEndIsToldWhenTheSuperblockKnewOfIt) {
  Append(1);
  const LsnRange last = Append(2);
  world.CloseInOrder();
  const uint8_t wrong = 0x77;
  ASSERT_NO_FATAL_FAILURE(world.Overwrite(world.OffsetOf(last.from) + 50, Bytes(&wrong, 1)));
  TableVisitor visitor;
  auto found = world.Recover(&visitor);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(Keys(visitor), std::vector<uint32_t>{1});
  ASSERT_EQ(visitor.damage.size(), 1u);
  EXPECT_EQ(visitor.damage[0], (LsnRange{last.from, last.to}));
}

TEST_F(JournalRecovery, ADamagedFrameOfTheCheckpointIsLeftOut) {
  Table table;
  for (uint32_t key = 0; key < 60'000; ++key) table[key] = key;
  ASSERT_TRUE(world.Checkpoint(table).ok());
  world.Crash(false);
  world.platter.Rot("checkpoint.0", FrameHeader::kFrameBytes + 1000, 1, 1);
  TableVisitor visitor;
  auto found = world.Recover(&visitor);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(visitor.checkpoint_damage, FrameHeader::kFrameBytes);
  EXPECT_EQ(found->checkpoint_damage_bytes, FrameHeader::kFrameBytes);
  EXPECT_EQ(visitor.table.size(), 60'000u - FrameHeader::kFieldsMax / 18);
  world.platter.Remove("checkpoint.0");
  world.Reboot();
  TableVisitor none;
  found = world.Recover(&none);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(none.checkpoint_damage, found->superblock.checkpoint.bytes);
  EXPECT_TRUE(none.table.empty());
  world.Open(*found);  // it is made again
  ASSERT_TRUE(world.Checkpoint(table).ok());
}

TEST_F(JournalRecovery, ARecordOfAnEarlierIncarnationIsNeverReadAgain) {
  Append(1);
  MakeDurable();
  // Three records, each in a block of its own; the first does not reach the disk.
  const LsnRange lost = Append(2, 4000);
  const LsnRange left = Append(3, 4000);
  Append(4, 100);
  ASSERT_TRUE(world.Run(Commit(&world)).ok());
  world.LoseRegion();
  const std::vector<uint8_t> zeros(RecordHeader::kBytes);
  ASSERT_NO_FATAL_FAILURE(world.Overwrite(world.OffsetOf(lost.from), zeros));
  TableVisitor first;
  world.Reopen(&first);
  EXPECT_EQ(Keys(first), std::vector<uint32_t>{1});
  EXPECT_TRUE(first.damage.empty());  // nobody had been told
  // It dies before it has written anything; then another fills the gap, exactly.
  world.Crash(true);
  TableVisitor second;
  world.Reopen(&second);
  EXPECT_EQ(Keys(second), std::vector<uint32_t>{1});
  const uint64_t gap = left.from.value - world.journal->head().value;
  const LsnRange filler = Append(5, gap - RecordHeader::kBytes - 18 - kTlvHeaderBytes);
  EXPECT_EQ(filler.to, left.from);
  world.LoseRegion();
  TableVisitor third;
  auto found = world.Recover(&third);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(Keys(third), std::vector<uint32_t>{1});  // 5 was not committed, 3 lies behind it
  EXPECT_TRUE(third.damage.empty());
}

TEST_F(JournalRecovery, MoreStartsThanJointsLoseNothing) {
  constexpr uint32_t kStarts = kJointsMax + 10;
  JournalWorld world;
  world.options.ring_bytes = 1024 * 1024;
  world.Create();
  for (uint32_t key = 0; key < kStarts; ++key) {
    ASSERT_TRUE(world.AppendCell(key, key).ok());
    world.Crash(false);
    TableVisitor visitor;
    world.Reopen(&visitor);
    ASSERT_EQ(visitor.table.size(), key + 1);
  }
  EXPECT_TRUE(world.journal->WantsCheckpoint());
  EXPECT_EQ(world.journal->superblock().joint_count, kJointsMax);
  ASSERT_TRUE(world.Checkpoint({}).ok());
  EXPECT_EQ(world.journal->superblock().joint_count, 1u);
  world.Crash(false);
  for (int i = 0; i < 5; ++i) {  // nothing is appended in between
    TableVisitor visitor;
    world.Reopen(&visitor);
    EXPECT_LE(world.journal->superblock().joint_count, 2u);
    world.Crash(true);
  }
}

TEST_F(JournalRecovery, AfterACloseNothingIsSearchedFor) {
  for (uint32_t key = 0; key < 50; ++key) Append(key, 500);
  ASSERT_TRUE(world.Checkpoint({{1, 1}}).ok());
  world.CloseInOrder();
  EXPECT_EQ(world.kept->Find(TailWindow::kRegionName).code(), Code::kNoEntry);
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_TRUE(found.clean);
  EXPECT_LE(found.bytes_read, kJournalBlockBytes);  // of padding
  EXPECT_EQ(visitor.records.size(), 0u);
  EXPECT_EQ(visitor.table, (Table{{1, 1}}));
  EXPECT_FALSE(world.journal->superblock().clean());
  world.Crash(false);
  TableVisitor again;
  world.Reopen(&again, &found);
  EXPECT_FALSE(found.clean);
  EXPECT_EQ(again.table, visitor.table);
}

TEST_F(JournalRecovery, AnotherSessionsRegionIsNotRead) {
  Append(1);
  MakeDurable();
  Append(2);
  world.Crash(false);
  ExpectRegionNotRead([](RegionHeader* header) { header->uuid[0] ^= 1; });
}

// All below it was in the ring, so nothing there is a torn end; the stream goes on where the region begins.
TEST_F(JournalRecovery, AWrongLengthBelowTheRegionIsDamageAndNoEnd) {
  Append(1);
  const LsnRange last = Append(2);
  MakeDurable();
  world.Crash(false);
  RegionHeader header;
  ASSERT_TRUE(DecodeRegionHeader(Region(), world.options.identity, world.options.ring_bytes, &header));
  ASSERT_GE(header.low, last.to);
  const uint32_t wrong = 20'000;
  ASSERT_NO_FATAL_FAILURE(world.Overwrite(world.OffsetOf(last.from) + offsetof(RecordHeader, payload_bytes),
                                          Bytes(reinterpret_cast<const uint8_t*>(&wrong), sizeof wrong)));
  const std::vector<uint8_t> zeros(header.low.value - last.to.value);  // and the padding behind it
  ASSERT_NO_FATAL_FAILURE(world.Overwrite(world.OffsetOf(last.to), zeros));
  world.Reboot();
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_EQ(Keys(visitor), std::vector<uint32_t>{1});
  ASSERT_EQ(visitor.damage.size(), 1u);
  EXPECT_EQ(visitor.damage[0], (LsnRange{last.from, header.low}));
  EXPECT_EQ(found.end, header.low);
}

// Where the region begins is under no checksum.
TEST_F(JournalRecovery, ARegionThatBeginsWhereTheRingIsNotIsNotRead) {
  Append(1);
  MakeDurable();
  world.Crash(false);
  ExpectRegionNotRead([](RegionHeader* header) { header->low.value += uint64_t{1} << 40; });
}

TEST_F(JournalRecovery, ARegionThatCannotBeHadIsNoReasonToGoOnWithoutIt) {
  struct Busy final : KeptMemory {
    Result<MutableBytes> Create(std::string_view, size_t) override { return Code::kExists; }
    Result<MutableBytes> Find(std::string_view) override { return Code::kBusy; }
    Status Remove(std::string_view) override { return Code::kBusy; }
  } busy;
  Append(1);
  world.Crash(false);
  RecoverFrom from;
  from.disk = world.disk.get();
  from.kept = &busy;
  from.identity = world.options.identity;
  TableVisitor visitor;
  auto found = world.Run(Recover(&world.executor, from, &visitor, &world.failure));
  EXPECT_EQ(found.code(), Code::kBusy);
}

// A prefix of it would speak of data that whoever opens had no reason to bring to the disk.
TEST(JournalOpen, WhatTheRegionAloneHadIsDurableAtOneMoment) {
  constexpr uint32_t kRecords = 120;
  int nothing = 0, all = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    bool opened = false;
    for (int turns = 0; !opened && !testing::Test::HasFailure(); ++turns) {
      SCOPED_TRACE("seed " + std::to_string(seed) + ", " + std::to_string(turns) + " turns");
      JournalWorld world(seed);
      world.Create();
      ASSERT_TRUE(world.AppendCell(0, 1).ok());
      ASSERT_TRUE(world.Run(Commit(&world)).ok());
      world.journal->HoldBack();
      for (uint32_t i = 1; i <= kRecords; ++i) ASSERT_TRUE(world.AppendCell(i, 1, 300 + i).ok());
      world.Crash(false);
      TableVisitor before;
      auto found = world.Recover(&before);
      ASSERT_TRUE(found.ok());
      ASSERT_EQ(before.table.size(), 1 + kRecords);
      auto opening = Journal::Open(&world.executor, world.disk.get(), world.kept.get(), world.options, *found);
      for (int i = 0; i < turns && !opening.done(); ++i) world.Turn();
      opened = opening.done();
      world.disk->Crash(true);
      auto journal = world.Run(std::move(opening));
      if (journal.ok()) world.Run((*journal)->Stop());
      journal = Code::kIo;
      world.node.CutPower();
      world.Reboot();
      TableVisitor after;
      ASSERT_TRUE(world.Recover(&after).ok());
      EXPECT_TRUE(after.damage.empty());
      EXPECT_TRUE(after.table.size() == 1 || after.table == before.table) << after.table.size();
      EXPECT_TRUE(!opened || after.table == before.table);
      ++(after.table.size() == 1 ? nothing : all);
    }
  }
  EXPECT_GT(nothing, 0);
  EXPECT_GT(all, 40);
}

TEST_F(JournalRecovery, AVisitorsErrorEndsIt) {
  Append(1), Append(2);
  world.Crash(false);
  struct Refuser final : JournalVisitor {
    int records = 0;
    Status OnCheckpoint(Bytes) override { return {}; }
    Status OnRecord(const JournalRecord&) override { return ++records == 2 ? Status(Code::kNotSupported) : Status(); }
    void OnDamage(Lsn, Lsn) override {}
    void OnCheckpointDamage(uint64_t, uint64_t) override {}
  } refuser;
  EXPECT_EQ(world.Recover(&refuser).code(), Code::kNotSupported);
  EXPECT_EQ(world.failure.state, SuperblockState::kGood);
}

struct JournalSuperblocks : JournalRecovery {
  // Recovery must say so.
  void Expect(SuperblockState state) {
    TableVisitor visitor;
    auto found = world.Recover(&visitor);
    EXPECT_FALSE(found.ok());
    EXPECT_EQ(world.failure.state, state) << SentenceOf(world.failure.state);
    EXPECT_GT(SentenceOf(state).size(), 20u);
  }
  void Patch(uint32_t which, const std::function<void(Superblock*)>& change) {
    const std::vector<uint8_t> all = world.platter.Contents(kJournalFileName);
    Superblock s;
    ASSERT_EQ(DecodeSuperblock(Bytes(all).subspan(which * kJournalBlockBytes, kJournalBlockBytes),
                               world.options.identity, &s),
              SuperblockState::kGood);
    change(&s);
    std::vector<uint8_t> block(kJournalBlockBytes);
    EncodeSuperblock(s, block);
    ASSERT_NO_FATAL_FAILURE(world.Overwrite(which * kJournalBlockBytes, block));
  }
};

TEST_F(JournalSuperblocks, OneTornLeavesTheOther) {
  Append(1);
  MakeDurable();
  world.Crash(false);
  const std::vector<uint8_t> all = world.platter.Contents(kJournalFileName);
  for (uint32_t which = 0; which < kSuperblocks; ++which) {
    for (uint64_t at = 0; at < kJournalBlockBytes; at += 512) {
      const std::vector<uint8_t> garbage(512, 0x33);
      ASSERT_NO_FATAL_FAILURE(world.Overwrite(which * kJournalBlockBytes + at, garbage));
      TableVisitor visitor;
      world.Reboot();
      ASSERT_TRUE(world.Recover(&visitor).ok());
      EXPECT_EQ(Keys(visitor), std::vector<uint32_t>{1});
      ASSERT_NO_FATAL_FAILURE(world.Overwrite(which * kJournalBlockBytes,
                                              Bytes(all).subspan(which * kJournalBlockBytes, kJournalBlockBytes)));
    }
  }
}

TEST_F(JournalSuperblocks, EachBadStateIsNamed) {
  Append(1);
  world.Crash(false);
  const std::vector<uint8_t> all = world.platter.Contents(kJournalFileName);
  const auto both = [&](const std::function<void(Superblock*)>& change) {
    for (uint32_t which = 0; which < kSuperblocks; ++which) Patch(which, change);
  };
  const auto restore = [&] { world.Overwrite(0, Bytes(all).first(kRingOffset)); };
  both([](Superblock* s) { s->version = kJournalVersion + 1; });
  Expect(SuperblockState::kFutureVersion);
  restore();
  both([](Superblock* s) { s->uuid[3] ^= 1; });
  Expect(SuperblockState::kOtherSession);
  restore();
  both([](Superblock* s) { s->shard = ShardId(9); });
  Expect(SuperblockState::kOtherShard);
  restore();
  both([](Superblock* s) { s->joint_count = 0; });
  Expect(SuperblockState::kTorn);
  restore();
  const std::vector<uint8_t> zeros(kRingOffset), text(kRingOffset, 'x');
  world.Overwrite(0, zeros);
  Expect(SuperblockState::kZeros);
  world.Overwrite(0, text);
  Expect(SuperblockState::kForeign);
  restore();
  for (uint32_t which = 0; which < kSuperblocks; ++which)
    world.Overwrite(which * kJournalBlockBytes + 2000, Bytes(text).first(8));
  Expect(SuperblockState::kTorn);
  restore();
  world.disk->bad_to = kRingOffset;
  Expect(SuperblockState::kUnreadable);
  world.disk->bad_to = 0;
  world.platter.Truncate(kJournalFileName, all.size() / 2);
  Expect(SuperblockState::kCut);
  world.platter.Remove(kJournalFileName);
  world.Reboot();
  Expect(SuperblockState::kMissing);
}

// Found by fuzz/journal: numbers that nobody wrote, under a checksum that holds.
TEST_F(JournalSuperblocks, ACheckpointThatIsLongerThanItsFileEndsWithIt) {
  ASSERT_TRUE(world.Checkpoint({{1, 7}}).ok());
  world.Crash(false);
  constexpr uint64_t kMore = uint64_t{1} << 50;
  for (uint32_t which = 0; which < kSuperblocks; ++which) {
    Patch(which, [](Superblock* s) { s->checkpoint.bytes += s->checkpoint.present == 1 ? kMore : 0; });
  }
  TableVisitor visitor;
  const auto found = world.Recover(&visitor);
  ASSERT_TRUE(found.ok());
  EXPECT_GE(visitor.checkpoint_damage, kMore);
  EXPECT_EQ(found->checkpoint_damage_bytes, visitor.checkpoint_damage);
}

TEST_F(JournalSuperblocks, WhatWasDurableEndsWithTheRing) {
  Append(1);
  world.Crash(false);
  for (uint32_t which = 0; which < kSuperblocks; ++which) {
    Patch(which, [](Superblock* s) { s->durable.value = uint64_t{1} << 47; });
  }
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_EQ(Keys(visitor), std::vector<uint32_t>{1});
  EXPECT_LE(found.end.value, found.superblock.tail.value + world.options.ring_bytes);
}

TEST_F(JournalSuperblocks, ACheckpointOfHalfABlockIsNone) {
  ASSERT_TRUE(world.Checkpoint({{1, 7}}).ok());
  world.Crash(false);
  for (uint32_t which = 0; which < kSuperblocks; ++which) {
    Patch(which, [](Superblock* s) {
      s->checkpoint.present = 1;
      s->checkpoint.start = s->checkpoint.end = s->tail;
      s->checkpoint.bytes += kJournalBlockBytes / 2;
    });
  }
  Expect(SuperblockState::kTorn);
}

TEST(JournalSizes, AreCheckedWithASentence) {
  EXPECT_EQ(CheckJournalBytes(kRingBytesMin), "");
  EXPECT_EQ(CheckJournalBytes(kRingBytesMax), "");
  EXPECT_EQ(CheckJournalBytes(1000), "a journal has 256 KiB to 1024 GiB, not 1000 bytes");
  EXPECT_EQ(CheckJournalBytes(kRingBytesMax + kRingBytesStep),
            "a journal has 256 KiB to 1024 GiB, not 1099511693312 bytes");
  EXPECT_EQ(CheckJournalBytes(kRingBytesMin + 4096),
            "a journal's size is a multiple of 64 KiB, which 266240 bytes is not");
  EXPECT_EQ(CheckWindowBytes(kWindowBytesMin, kRingBytesMin), "");
  EXPECT_EQ(CheckWindowBytes(kRingBytesMin / 2, kRingBytesMin), "");
  EXPECT_EQ(CheckWindowBytes(kRingBytesMin, kRingBytesMin),
            "the tail of a journal of 262144 bytes has 64 KiB to 128 KiB, not 262144 bytes");
  EXPECT_EQ(CheckWindowBytes(65 * 1024, kRingBytesMin),
            "the size of a journal's tail is a multiple of 4 KiB, which 66560 bytes is not");
}

}  // namespace
}  // namespace mayfly
