// Looking at journals: whole, torn, damaged, unreadable, and never the one for the other; what a dump gives of them.
#include "inspect/look.h"

#include <gtest/gtest.h>

#include <functional>

#include "inspect/dump.h"
#include "inspect/fields.h"
#include "inspect/report.h"
#include "meta/images.h"
#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

Task<Status> Commit(JournalWorld* world) { co_return co_await world->journal->Durable(world->journal->head(), kNever); }

// All that a dump gives.
struct Pages final : DumpSink {
  Json superblocks, checkpoint = Json::array(), items = Json::array();
  void OnSuperblocks(const Json& both) override { superblocks = both; }
  void OnCheckpointItem(const Json& item) override { checkpoint.push_back(item); }
  void OnItem(const Json& item) override { items.push_back(item); }

  std::vector<std::string> Types() const {
    std::vector<std::string> types;
    for (const Json& item : items) types.push_back(item["type"]);
    return types;
  }
};

struct LookTest : testing::Test {
  void SetUp() override { world.Create(); }
  LsnRange Append(uint32_t key, size_t fill = 0) {
    const Lsn from = world.journal->head();
    auto end = world.AppendCell(key, key, fill);
    EXPECT_TRUE(end.ok());
    return {from, end.ok() ? *end : from};
  }
  LsnRange AppendField(Tag tag, Bytes value) {
    TlvWriter w;
    w.PutWith(tag, value.size(), [&](Encoder& e) { e.Raw(value.data(), value.size()); });
    const Lsn from = world.journal->head();
    auto end = world.journal->Append(w.bytes());
    EXPECT_TRUE(end.ok());
    return {from, end.ok() ? *end : from};
  }
  void MakeDurable() { ASSERT_TRUE(world.Run(Commit(&world)).ok()); }
  JournalLook Look(LookVisitor* visitor = nullptr, bool with_memory = true) {
    world.Reboot();
    RecoverFrom from;
    from.disk = world.disk.get();
    from.kept = with_memory ? world.kept.get() : nullptr;
    from.identity = identity;
    return world.Run(LookAtJournal(&world.executor, from, visitor));
  }
  void Patch(const std::function<void(Superblock*)>& change) {
    const std::vector<uint8_t> all = world.platter.Contents(kJournalFileName);
    for (uint32_t which = 0; which < kSuperblocks; ++which) {
      Superblock s;
      const Bytes block = Bytes(all).subspan(which * kJournalBlockBytes, kJournalBlockBytes);
      ASSERT_EQ(DecodeSuperblock(block, world.options.identity, &s), SuperblockState::kGood);
      change(&s);
      std::vector<uint8_t> changed(kJournalBlockBytes);
      EncodeSuperblock(s, changed);
      ASSERT_NO_FATAL_FAILURE(world.Overwrite(which * kJournalBlockBytes, changed));
    }
  }
  void Invert(Lsn lsn) {
    const std::vector<uint8_t> all = world.platter.Contents(kJournalFileName);
    const auto wrong = static_cast<uint8_t>(~all[world.OffsetOf(lsn)]);
    ASSERT_NO_FATAL_FAILURE(world.Overwrite(world.OffsetOf(lsn), Bytes(&wrong, 1)));
  }
  // It cannot be read, for that reason, which is said.
  void ExpectUnreadable(SuperblockState state) {
    Pages pages;
    Dump dump({}, &pages);
    const JournalLook look = Look(&dump);
    EXPECT_FALSE(look.read);
    EXPECT_EQ(look.verdict(), Verdict::kUnreadable) << Text(look.verdict());
    EXPECT_EQ(look.failure.state, state) << Text(look.failure.state);
    EXPECT_EQ(Explain(look), SentenceOf(state));
    EXPECT_EQ(DescribeVerdict(look)["problem"], std::string(SentenceOf(state)));
    EXPECT_EQ(DescribeStat(look)["state"], std::string(Text(state)));
    EXPECT_EQ(pages.superblocks.size(), kSuperblocks);  // a dump shows them all the same
    EXPECT_TRUE(pages.items.empty());
  }

  JournalWorld world;
  JournalIdentity identity = ExampleIdentity();
};

TEST_F(LookTest, WhatWasClosedInOrderIsWhole) {
  Append(1), Append(2, 100);
  const LsnRange last = Append(3);
  world.CloseInOrder();
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kWhole);
  EXPECT_TRUE(look.recovered.clean);
  EXPECT_EQ(look.tail, TailMemory::kNotNeeded);
  EXPECT_EQ(look.recovered.records, 3u);
  EXPECT_EQ(look.recovered.end, look.next());
  EXPECT_EQ(look.in_records.at(kCellTag).fields, 3u);
  EXPECT_EQ(look.in_records.at(kCellTag).bytes, 3 * (kTlvHeaderBytes + 12));
  EXPECT_EQ(look.in_records.at(kFillTag).bytes, kTlvHeaderBytes + 100);
  EXPECT_EQ(look.live_bytes(), look.recovered.record_bytes + look.pad_bytes);
  EXPECT_GE(look.recovered.end, last.to);
  EXPECT_EQ(DescribeVerdict(look)["verdict"], "whole");
}

TEST_F(LookTest, AKilledServersIsWholeWhereNothingHadBeenBegun) {
  Append(1);
  const LsnRange last = Append(2);
  world.Crash(false);
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kWhole);
  EXPECT_FALSE(look.recovered.clean);
  EXPECT_EQ(look.tail, TailMemory::kRead);
  EXPECT_EQ(look.recovered.end, last.to);
  EXPECT_EQ(look.next().value, BlockCeil(last.to.value));
  EXPECT_FALSE(look.empty());
}

TEST_F(LookTest, ARecordThatWasBeingWrittenIsATornTailAndItsRangeIsTold) {
  Append(1);
  const LsnRange last = Append(2, 200);
  world.Crash(false);
  world.Reboot();
  const MutableBytes region = *world.kept->Find(TailWindow::kRegionName);
  region[kJournalBlockBytes + last.from.value % world.options.window_bytes + 100] ^= 1;  // of the payload
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kTornTail);
  EXPECT_EQ(look.recovered.end, last.from);
  EXPECT_EQ(look.recovered.torn, last.to);
  EXPECT_EQ(DescribeVerdict(look)["torn"]["from"], last.from.value);
  EXPECT_EQ(DescribeVerdict(look)["torn"]["to"], last.to.value);
  EXPECT_TRUE(DescribeVerdict(look)["damage"].empty());
}

TEST_F(LookTest, ALossOfPowerIsATornTail) {
  Append(1);
  MakeDurable();
  Append(2);
  world.LoseRegion();
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kTornTail);
  EXPECT_EQ(look.tail, TailMemory::kGone);
  EXPECT_EQ(look.recovered.records, 1u);
}

TEST_F(LookTest, TheMemoryOfAnotherHostIsSaidToBeMissing) {
  Append(1);
  world.Crash(false);
  const JournalLook look = Look(nullptr, /*with_memory=*/false);
  EXPECT_EQ(look.tail, TailMemory::kElsewhere);
  EXPECT_EQ(look.verdict(), Verdict::kTornTail);
  EXPECT_NE(Explain(look).find("look there"), std::string::npos) << Explain(look);
}

TEST_F(LookTest, DamageInTheMiddleHasItsRange) {
  Append(1);
  const LsnRange second = Append(2, 100);
  Append(3);
  MakeDurable();
  Append(4);
  MakeDurable();
  world.LoseRegion();
  EXPECT_EQ(Look().verdict(), Verdict::kTornTail);
  ASSERT_NO_FATAL_FAILURE(Invert(Lsn(second.from.value + 60)));
  Pages pages;
  Dump dump({}, &pages);
  const JournalLook look = Look(&dump);
  EXPECT_EQ(look.verdict(), Verdict::kDamaged);
  EXPECT_EQ(look.recovered.damage, std::vector<LsnRange>{second});
  const DumpSink::Json verdict = DescribeVerdict(look);
  ASSERT_EQ(verdict["damage"].size(), 1u);
  EXPECT_EQ(verdict["damage"][0]["from"], second.from.value);
  EXPECT_EQ(verdict["damage"][0]["to"], second.to.value);
  const std::string range = fmt::format("LSN {} to {}", second.from.value, second.to.value);
  EXPECT_NE(Explain(look).find(range), std::string::npos) << Explain(look);
  // In its place among the records.
  EXPECT_EQ(pages.Types(), (std::vector<std::string>{"changes", "damage", "changes", "padding", "changes", "padding"}));
  EXPECT_EQ(pages.items[1]["lsn"], second.from.value);
  EXPECT_EQ(pages.items[1]["bytes"], second.to.value - second.from.value);
}

TEST_F(LookTest, ATailRegionOfAnotherKindIsDamage) {
  Append(1);
  world.Crash(false);
  world.Reboot();
  (*world.kept->Find(TailWindow::kRegionName))[20] ^= 1;
  const JournalLook look = Look();
  EXPECT_EQ(look.tail, TailMemory::kForeign);
  EXPECT_EQ(look.verdict(), Verdict::kDamaged);
  EXPECT_FALSE(look.empty());
}

TEST_F(LookTest, ADamagedCheckpointHasItsBytes) {
  Append(1);
  Table table;
  for (uint32_t key = 0; key < 20'000; ++key) table[key] = key;  // two frames
  ASSERT_TRUE(world.Checkpoint(table).ok());
  world.CloseInOrder();
  Pages pages;
  Dump dump({}, &pages);
  JournalLook look = Look(&dump);
  EXPECT_EQ(look.verdict(), Verdict::kWhole);
  EXPECT_EQ(look.in_checkpoint.at(kCellTag).fields, table.size());
  EXPECT_EQ(pages.checkpoint.size(), table.size());
  const CheckpointRef ref = look.recovered.superblock.checkpoint;
  ASSERT_GT(ref.bytes, FrameHeader::kFrameBytes);
  world.platter.Rot(kCheckpointFileNames[ref.slot], FrameHeader::kFrameBytes + 4096, 1, 1);
  look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kDamaged);
  const std::pair<uint64_t, uint64_t> frame(FrameHeader::kFrameBytes, ref.bytes);
  EXPECT_EQ(look.checkpoint_damage, std::vector{frame});
  EXPECT_LT(look.in_checkpoint.at(kCellTag).fields, table.size());
}

TEST_F(LookTest, AFieldThatDoesNotDecodeIsDamage) {
  Append(1);
  const uint8_t too_short[5] = {};
  const LsnRange bad = AppendField(InodeImage::kTag, too_short);
  Append(2);
  world.Crash(false);
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kDamaged);
  ASSERT_EQ(look.faults.size(), 1u);
  EXPECT_EQ(look.faults[0].at, bad.from);
  EXPECT_EQ(look.faults[0].tag, InodeImage::kTag);
  EXPECT_NE(Explain(look.faults[0]).find("inode"), std::string::npos);
}

TEST_F(LookTest, ARequiredFieldOfANewerMayflyCannotBeRead) {
  AppendField(0x0333, AsBytes("may be passed over"));
  world.Crash(false);
  EXPECT_EQ(Look().verdict(), Verdict::kWhole);
  TableVisitor visitor;
  world.Reboot();
  world.Reopen(&visitor);
  AppendField(kTagMust | 0x0333, AsBytes("may not"));
  world.Crash(false);
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kUnreadable);
  EXPECT_NE(Explain(look).find("newer"), std::string::npos) << Explain(look);
}

TEST_F(LookTest, FaultsAreCountedAndSomeOfThemKept) {
  for (size_t i = 0; i < JournalLook::kFaultsMax + 5; ++i) AppendField(InodeImage::kTag, AsBytes("x"));
  world.Crash(false);
  const JournalLook look = Look();
  EXPECT_EQ(look.fault_count, JournalLook::kFaultsMax + 5);
  EXPECT_EQ(look.faults.size(), JournalLook::kFaultsMax);
}

TEST_F(LookTest, SuperblocksThatDoNotHoldAreToldApart) {
  Append(1);
  world.Crash(false);
  const std::vector<uint8_t> all = world.platter.Contents(kJournalFileName);
  const auto restore = [&] { world.Overwrite(0, Bytes(all).first(kRingOffset)); };
  const std::vector<uint8_t> zeros(kRingOffset), text(kRingOffset, 'x');
  for (uint32_t which = 0; which < kSuperblocks; ++which) {
    world.Overwrite(which * kJournalBlockBytes + 2000, Bytes(text).first(8));
  }
  ExpectUnreadable(SuperblockState::kTorn);
  world.Overwrite(0, zeros);
  ExpectUnreadable(SuperblockState::kZeros);
  world.Overwrite(0, text);
  ExpectUnreadable(SuperblockState::kForeign);
  restore();
  Patch([](Superblock* s) { s->version = kJournalVersion + 1; });
  ExpectUnreadable(SuperblockState::kFutureVersion);
  restore();
  Patch([](Superblock* s) { s->uuid[3] ^= 1; });
  ExpectUnreadable(SuperblockState::kOtherSession);
  restore();
  EXPECT_EQ(Look().verdict(), Verdict::kWhole);
  world.platter.Truncate(kJournalFileName, all.size() / 2);
  ExpectUnreadable(SuperblockState::kCut);
  world.platter.Remove(kJournalFileName);
  ExpectUnreadable(SuperblockState::kMissing);
}

TEST_F(LookTest, OneTornSuperblockIsShownAndDoesNoHarm) {
  Append(1);
  world.Crash(false);
  const uint8_t wrong = 0x5a;
  ASSERT_NO_FATAL_FAILURE(world.Overwrite(100, Bytes(&wrong, 1)));
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kWhole);
  EXPECT_EQ(DescribeSuperblocks(look)[0]["state"], "torn");
  EXPECT_EQ(DescribeSuperblocks(look)[1]["state"], "good");
  EXPECT_EQ(DescribeSuperblocks(look)[1]["ring_bytes"], world.options.ring_bytes);
}

TEST_F(LookTest, TheSessionIsTheSuperblocksWhereNobodyKnowsIt) {
  Append(1);
  world.Crash(false);
  identity.uuid = {};
  const JournalLook look = Look();
  EXPECT_EQ(look.verdict(), Verdict::kWhole);
  EXPECT_EQ(look.identity, ExampleIdentity());
}

// L1: not the ring's size, but what is live of it.
TEST(LookCost, IsWhatIsLive) {
  JournalWorld world;
  world.options.ring_bytes = 256 * kRingBytesMin;  // 64 MiB
  world.options.window_bytes = 1024 * 1024;
  world.Create();
  for (uint32_t key = 0; key < 100; ++key) ASSERT_TRUE(world.AppendCell(key, key, 1000).ok());
  world.CloseInOrder();
  RecoverFrom from;
  from.disk = world.disk.get();
  from.kept = world.kept.get();
  from.identity = world.options.identity;
  JournalLook look = world.Run(LookAtJournal(&world.executor, from, nullptr));
  EXPECT_EQ(look.recovered.records, 100u);
  EXPECT_LE(look.recovered.bytes_read, look.live_bytes());
  // After a kill it looks a bounded way behind the end.
  TableVisitor visitor;
  world.Reopen(&visitor);
  ASSERT_TRUE(world.AppendCell(1, 1).ok());
  world.LoseRegion();
  from.disk = world.disk.get();
  from.kept = world.kept.get();
  look = world.Run(LookAtJournal(&world.executor, from, nullptr));
  EXPECT_LE(look.recovered.bytes_read, look.live_bytes() + kLookBehindEnd + 2 * 1024 * 1024);
}

TEST_F(LookTest, ADumpGivesWhatIsInItsRange) {
  std::vector<LsnRange> at;
  for (uint32_t key = 0; key < 10; ++key) at.push_back(Append(key));
  world.Crash(false);
  Pages pages;
  Dump dump({at[3].from, at[6].from}, &pages);
  (void)Look(&dump);
  ASSERT_EQ(pages.items.size(), 3u);
  for (size_t i = 0; i < 3; ++i) {
    const DumpSink::Json& item = pages.items[i];
    EXPECT_EQ(item["lsn"], at[3 + i].from.value);
    EXPECT_EQ(item["bytes"], at[3 + i].to.value - at[3 + i].from.value);
    ASSERT_EQ(item["fields"].size(), 1u);
    // A tag that is not known: by number and length.
    EXPECT_EQ(item["fields"][0], (DumpSink::Json{{"tag", "0x0007"}, {"bytes", 12}}));
  }
}

}  // namespace
}  // namespace mayfly
