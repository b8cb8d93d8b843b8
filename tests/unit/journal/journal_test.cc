// Append, write behind, group commit, room, checkpoints, failures.
#include <gtest/gtest.h>

#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

struct Waited {
  bool done = false;
  Status status;
  Lsn at;  // durable() when it was told
};

Task<Status> Commit(JournalWorld* world, Lsn lsn, Waited* waited, Nanos deadline = kNever) {
  waited->status = co_await world->journal->Durable(lsn, deadline);
  waited->at = world->journal->durable();
  waited->done = true;
  co_return Status();
}

Task<Status> Wait(JournalWorld* world, uint64_t bytes, Nanos deadline, std::vector<Status>* ended) {
  const Status status = co_await world->journal->WaitForRoom(bytes, deadline);
  ended->push_back(status);
  co_return Status();
}

struct Journaled : testing::Test {
  void SetUp() override { world.Create(); }
  void Turns(int n) {
    for (int i = 0; i < n; ++i) world.Turn();
  }
  void Fill() {
    while (world.journal->HasRoom(1000)) {
      const uint64_t value = ++next;
      ASSERT_TRUE(world.AppendCell(static_cast<uint32_t>(value % 100), value, 900).ok());
      table[static_cast<uint32_t>(value % 100)] = value;
    }
  }
  explicit Journaled(uint64_t seed = 1) : world(seed) {}
  JournalWorld world;  // on a disk that writes through by its seed, as SimPlatter says
  Table table;
  uint64_t next = 0;
};
struct JournalThrough : Journaled {
  JournalThrough() : Journaled(2) {}
};

using JournalAppend = Journaled;
using JournalCommit = Journaled;
using JournalRoom = Journaled;
using JournalFailures = Journaled;
using JournalCheckpoint = Journaled;

TEST_F(JournalAppend, NeedsNoDiskAndOutlivesAKill) {
  const uint64_t asked = world.disk->writes_asked;
  for (uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(world.AppendCell(i, i * i, i % 64).ok());
    table[i] = i * i;
  }
  EXPECT_EQ(world.disk->writes_asked, asked);
  world.Crash(false);
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_EQ(visitor.table, table);
  EXPECT_EQ(visitor.records.size(), 100u);
  EXPECT_TRUE(visitor.damage.empty());
  EXPECT_FALSE(found.clean);
}

TEST_F(JournalAppend, EverySizeAtEveryAlignmentComesBack) {
  std::vector<std::vector<uint8_t>> payloads;
  uint8_t fill = 0;
  for (uint64_t size : {0u, 1u, 7u, 8u, 9u, 40u, 200u, 4000u, 4048u, 4096u, 5000u, 16'000u}) {
    for (int n = 0; n < 9; ++n) {
      std::vector<uint8_t> payload(size + static_cast<uint64_t>(n));
      for (uint8_t& b : payload) b = ++fill;
      if (payload.size() > world.journal->payload_max()) continue;
      auto end = world.journal->Append(payload, TxnId(payloads.size()));
      while (!end.ok()) {
        ASSERT_EQ(end.code(), Code::kNoSpace);
        world.Turn();
        if (world.journal->WantsCheckpoint()) {
          ASSERT_TRUE(world.Checkpoint({}).ok());
          payloads.clear();
        }
        end = world.journal->Append(payload, TxnId(payloads.size()));
      }
      payloads.push_back(std::move(payload));
    }
  }
  world.Crash(false);
  TableVisitor visitor;
  visitor.keep_payloads = true;
  ASSERT_TRUE(world.Recover(&visitor).ok());
  EXPECT_EQ(visitor.payloads, payloads);
}

TEST_F(JournalAppend, RefusesWhatIsTooBigAndWhatComesAfterTheEnd) {
  const std::vector<uint8_t> big(world.journal->payload_max() + 1);
  EXPECT_EQ(world.journal->Append(big).code(), Code::kTooBig);
  EXPECT_TRUE(world.journal->Append(Bytes(big).first(big.size() - 1)).ok());
  EXPECT_EQ(world.disk->registered, 1);
  world.Run(world.journal->Stop());
  EXPECT_EQ(world.disk->registered, 0);
  EXPECT_EQ(world.AppendCell(1, 1).code(), Code::kShutdown);
  EXPECT_EQ(world.journal->BeginCheckpoint().code(), Code::kShutdown);
}

TEST_F(JournalAppend, GoesOnOverAThousandWrapsWithoutGrowing) {
  const uint64_t used = world.platter.bytes_used(), kept = world.node.used();
  uint64_t most_used = used;
  while (world.journal->head().value / world.options.ring_bytes < 1100) {
    const auto key = static_cast<uint32_t>(table.size() % 50);
    const uint64_t value = world.journal->head().value;
    auto appended = world.AppendCell(key, value, 12'000);
    if (appended.ok()) {
      table[key] = value;
    } else {
      ASSERT_EQ(appended.code(), Code::kNoSpace);
    }
    world.Turn();
    if (world.journal->WantsCheckpoint()) {
      ASSERT_TRUE(world.Checkpoint(table).ok());
    }
    most_used = std::max(most_used, world.platter.bytes_used());
  }
  EXPECT_LE(most_used, used + 2 * Disk::kBlockBytes);  // the two checkpoints
  EXPECT_EQ(world.node.used(), kept);
  world.Crash(false);
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_EQ(visitor.table, table);
  EXPECT_LE(found.bytes_read, world.options.ring_bytes);
}

TEST_F(JournalCommit, NobodyIsToldBeforeAFlushThatCoversHim) {
  world.disk->hold_flushes = true;
  Waited a, b, c;
  auto first = world.AppendCell(1, 1);
  world.gate.Spawn(Commit(&world, *first, &a), "a");
  const uint64_t flushes = world.disk->flushes_asked;
  Turns(20);
  EXPECT_EQ(world.disk->flushes_asked, flushes + 1);
  EXPECT_FALSE(a.done);
  // They come while a flush is under way that cannot cover them; one of them is written meanwhile.
  auto second = world.AppendCell(2, 2);
  world.gate.Spawn(Commit(&world, *second, &b), "b");
  ASSERT_TRUE(world.AppendCell(9, 9, 16'000).ok() && world.AppendCell(9, 9, 8000).ok());
  Turns(20);
  EXPECT_LT(world.journal->stats().unwritten_bytes, kJournalBlockBytes);
  auto third = world.AppendCell(3, 3);
  world.gate.Spawn(Commit(&world, *third, &c), "c");
  Turns(20);
  EXPECT_FALSE(a.done || b.done || c.done);
  EXPECT_EQ(world.disk->flushes_asked, flushes + 1);
  world.disk->hold_flushes = false;
  world.disk->Poll();
  world.disk->hold_flushes = true;
  Turns(20);
  EXPECT_TRUE(a.done && a.status.ok());
  EXPECT_FALSE(b.done || c.done);
  EXPECT_EQ(world.disk->flushes_asked, flushes + 2);  // one for both
  world.disk->hold_flushes = false;
  Turns(20);
  EXPECT_TRUE(b.done && c.done);
  EXPECT_GE(b.at, *second);
  EXPECT_GE(c.at, *third);
  EXPECT_EQ(world.journal->stats().groups, 2u);
  world.Crash(true);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, (Table{{1, 1}, {2, 2}, {3, 3}, {9, 9}}));
}

// A disk that can write through does so with what is all of a group, and nobody is told before it has.
TEST_F(JournalThrough, AGroupThatIsOnePieceIsWrittenThrough) {
  const uint64_t flushes = world.disk->flushes_asked, writes = world.disk->writes_asked;
  world.disk->hold_flushes = true;
  Waited a, b;
  auto first = world.AppendCell(1, 1);
  world.gate.Spawn(Commit(&world, *first, &a), "a");
  Turns(20);
  EXPECT_EQ(world.disk->throughs_asked, 1u);
  auto second = world.AppendCell(2, 2);
  world.gate.Spawn(Commit(&world, *second, &b), "b");
  Turns(20);
  EXPECT_FALSE(a.done || b.done);
  EXPECT_EQ(world.disk->throughs_asked, 1u);
  world.disk->hold_flushes = false;
  Turns(20);
  EXPECT_TRUE(a.done && a.status.ok() && b.done && b.status.ok());
  EXPECT_EQ(world.disk->throughs_asked, 2u);
  EXPECT_EQ(world.disk->flushes_asked, flushes);
  EXPECT_EQ(world.disk->writes_asked, writes);
  const JournalStats stats = world.journal->stats();
  EXPECT_EQ(stats.groups, 2u);
  EXPECT_EQ(stats.group_waiters, 2u);
  EXPECT_EQ(stats.unflushed_bytes, 0u);
  world.Crash(true);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, (Table{{1, 1}, {2, 2}}));
}

TEST_F(JournalThrough, WhatWasWrittenBeforeTakesAFlush) {
  const uint64_t flushes = world.disk->flushes_asked, writes = world.disk->writes_asked;
  while (world.disk->writes_asked == writes) {  // behind, for nobody
    const auto key = static_cast<uint32_t>(++next);
    ASSERT_TRUE(world.AppendCell(key, key, 900).ok());
    table[key] = key;
    Turns(1);
  }
  Turns(20);
  ASSERT_EQ(world.disk->flushes_asked, flushes);
  Waited w;
  table[0] = 9;
  auto end = world.AppendCell(0, 9);
  world.gate.Spawn(Commit(&world, *end, &w), "commit");
  Turns(20);
  EXPECT_TRUE(w.done && w.status.ok());
  EXPECT_EQ(world.disk->throughs_asked, 0u);
  EXPECT_EQ(world.disk->flushes_asked, flushes + 1);
  world.Crash(true);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, table);
}

TEST_F(JournalThrough, OneThatFailsIsFinal) {
  world.platter.faults.flush_errors = 1000;
  Waited w, later;
  auto end = world.AppendCell(1, 1);
  world.gate.Spawn(Commit(&world, *end, &w), "commit");
  Turns(20);
  EXPECT_EQ(world.disk->throughs_asked, 1u);
  EXPECT_EQ(w.status.code(), Code::kIo);
  EXPECT_TRUE(world.journal->failed());
  world.platter.faults.flush_errors = 0;
  world.gate.Spawn(Commit(&world, *end, &later), "commit");
  Turns(20);
  EXPECT_EQ(later.status.code(), Code::kIo);
  EXPECT_EQ(world.disk->throughs_asked, 1u);
}

TEST_F(JournalCommit, WhatOneTurnBringsIsOneGroup) {
  constexpr size_t kWaiters = 32;
  std::array<Waited, kWaiters> waited;
  const uint64_t flushes = world.disk->flushes_asked;
  for (uint32_t i = 0; i < kWaiters; ++i) {
    auto end = world.AppendCell(i, i);
    world.gate.Spawn(Commit(&world, *end, &waited[i]), "commit");
  }
  Turns(20);
  for (const Waited& w : waited) EXPECT_TRUE(w.done && w.status.ok());
  EXPECT_EQ(world.disk->flushes_asked, flushes + 1);
  const JournalStats stats = world.journal->stats();
  EXPECT_EQ(stats.groups, 1u);
  EXPECT_EQ(stats.group_waiters, kWaiters);
  EXPECT_EQ(stats.group_waiters_max, kWaiters);
  EXPECT_EQ(stats.unflushed_bytes, 0u);
  EXPECT_EQ(stats.pads, 1u);
  Waited again;  // it is durable already
  world.gate.Spawn(Commit(&world, world.journal->durable(), &again), "commit");
  EXPECT_TRUE(again.done);
}

TEST_F(JournalCommit, TheIntervalCommitsWhatNobodyWaitsFor) {
  world.CloseInOrder();
  world.options.commit_interval = 5 * kMillisecond;
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(world.journal->next_turn(), kNever);
  world.journal->Turn();
  const Nanos now = world.clock.Now();
  auto end = world.AppendCell(1, 1);
  EXPECT_EQ(world.journal->next_turn(), now + 5 * kMillisecond);
  while (world.journal->durable() < *end) world.Turn();
  EXPECT_GE(world.clock.Now(), now + 5 * kMillisecond);
  EXPECT_EQ(world.journal->next_turn(), kNever);
  world.Crash(true);
  TableVisitor after;
  world.Reopen(&after);
  EXPECT_EQ(after.table, (Table{{1, 1}}));
}

TEST_F(JournalCommit, TheIntervalGathersThoseWhoWait) {
  world.CloseInOrder();
  world.options.commit_interval = 5 * kMillisecond;
  TableVisitor visitor;
  world.Reopen(&visitor);
  world.journal->Turn();
  const Nanos begun = world.clock.Now();
  const uint64_t flushes = world.disk->flushes_asked;
  Waited first, second;
  auto end = world.AppendCell(1, 1);
  world.gate.Spawn(Commit(&world, *end, &first), "first");
  world.journal->Turn();
  world.clock.Advance(3 * kMillisecond);
  world.executor.RunOnce();
  end = world.AppendCell(2, 2);
  world.gate.Spawn(Commit(&world, *end, &second), "second");
  while (!first.done || !second.done) world.Turn();
  EXPECT_TRUE(first.status.ok() && second.status.ok());
  EXPECT_GE(world.clock.Now(), begun + 5 * kMillisecond);
  EXPECT_EQ(world.disk->flushes_asked, flushes + 1);  // one for both
  EXPECT_EQ(world.journal->stats().group_waiters_max, 2u);
}

TEST_F(JournalCommit, ClosingDoesNotWaitForTheInterval) {
  world.CloseInOrder();
  world.options.commit_interval = 60 * kSecond;
  TableVisitor visitor;
  world.Reopen(&visitor);
  const Nanos begun = world.clock.Now();
  (void)world.AppendCell(1, 1);
  world.CloseInOrder();
  EXPECT_LT(world.clock.Now(), begun + kSecond);
  TableVisitor after;
  world.Reopen(&after);
  EXPECT_EQ(after.table.at(1), 1u);
}

TEST_F(JournalCommit, ADeadlineEndsTheWait) {
  world.disk->hold_flushes = true;
  Waited w;
  auto end = world.AppendCell(1, 1);
  world.gate.Spawn(Commit(&world, *end, &w, world.clock.Now() + kMillisecond), "commit");
  Turns(10);
  EXPECT_TRUE(w.done);
  EXPECT_EQ(w.status.code(), Code::kTimedOut);
  world.disk->hold_flushes = false;
  Turns(10);
  EXPECT_GE(world.journal->durable(), *end);
}

TEST_F(JournalRoom, AFullRegionWaitsForTheDisk) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  std::vector<Status> ended;
  world.gate.Spawn(Wait(&world, 1000, kNever, &ended), "room");
  EXPECT_TRUE(ended.empty());
  // The reserve takes work that had begun.
  EXPECT_TRUE(world.AppendCell(1, ++next, 900).ok());
  table[1] = next;
  Turns(10);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_TRUE(ended[0].ok());
  EXPECT_EQ(world.journal->stats().stalls, 1u);
  for (int i = 0; i < 1000 && world.AppendCell(0, ++next, 900).ok(); ++i) table[0] = next;
  EXPECT_EQ(world.journal->stats().refused, 1u);
  EXPECT_GT(world.journal->stats().unwritten_bytes, world.options.window_bytes / 2);
  world.Crash(false);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, table);
}

// Each asks for more than it takes in the end, and nothing else happens that would make room.
TEST_F(JournalRoom, WhoTakesLessThanHeMightLetsTheNextIn) {
  ASSERT_NO_FATAL_FAILURE(Fill());
  std::vector<Status> ended;
  for (int i = 0; i < 3; ++i) world.gate.Spawn(Wait(&world, world.options.window_bytes / 2, kNever, &ended), "room");
  Turns(20);
  ASSERT_EQ(ended.size(), 3u);
  for (Status status : ended) EXPECT_TRUE(status.ok());
}

TEST_F(JournalRoom, AFullRingWaitsForACheckpointInOrder) {
  while (world.journal->stats().live_bytes < world.options.ring_bytes * 3 / 4) {
    ASSERT_NO_FATAL_FAILURE(Fill());
    Turns(5);
  }
  ASSERT_NO_FATAL_FAILURE(Fill());
  Turns(10);
  ASSERT_NO_FATAL_FAILURE(Fill());
  Turns(10);
  ASSERT_FALSE(world.journal->HasRoom(1000));
  EXPECT_TRUE(world.journal->WantsCheckpoint());
  std::vector<Status> late, ended;
  world.gate.Spawn(Wait(&world, 1000, world.clock.Now() + kMillisecond, &late), "room");
  world.gate.Spawn(Wait(&world, 20'000, kNever, &ended), "room");
  world.gate.Spawn(Wait(&world, 1, kNever, &ended), "room");
  Turns(10);
  ASSERT_EQ(late.size(), 1u);
  EXPECT_EQ(late[0].code(), Code::kTimedOut);
  EXPECT_TRUE(ended.empty());
  ASSERT_TRUE(world.Checkpoint(table).ok());
  Turns(10);
  ASSERT_EQ(ended.size(), 2u);
  EXPECT_TRUE(ended[0].ok() && ended[1].ok());
  EXPECT_EQ(world.journal->stats().stalls, 3u);
  EXPECT_GE(world.journal->stats().stalled, kMillisecond);
  EXPECT_LT(world.journal->stats().live_bytes, 2 * kJournalBlockBytes);
  EXPECT_FALSE(world.journal->WantsCheckpoint());
}

TEST_F(JournalRoom, TheTailMovesWithADurableSuperblockAndNotBefore) {
  while (world.AppendCell(1, ++next, 4000).ok()) Turns(10);  // to the last byte
  table[1] = next - 1;
  world.disk->hold_flushes = true;
  auto begun = world.journal->BeginCheckpoint();
  ASSERT_TRUE(begun.ok());
  TlvWriter w;
  PutCell(w, 1, table[1]);
  Task<Status> put = (*begun)->Put(w.bytes());
  ASSERT_TRUE(put.done() && put.Take().ok());
  Task<Status> finish = (*begun)->Finish();
  const Lsn tail = world.journal->superblock().tail;
  while (!finish.done()) {
    // Each flush in turn: the file's, the group's, the two of the superblock.
    Turns(20);
    EXPECT_EQ(world.journal->superblock().tail, tail);
    EXPECT_EQ(world.AppendCell(1, 0, 4000).code(), Code::kNoSpace);
    world.disk->hold_flushes = false;
    world.disk->Poll();
    world.disk->hold_flushes = true;
    world.Turn();
  }
  EXPECT_TRUE(finish.Take().ok());
  EXPECT_EQ(world.journal->superblock().tail, (*begun)->start());
  EXPECT_TRUE(world.AppendCell(1, ++next, 4000).ok());
  begun->reset();
  world.disk->hold_flushes = false;
}

TEST_F(JournalRoom, WhatWillNeverFitIsRefusedAtOnce) {
  std::vector<Status> ended;
  world.gate.Spawn(Wait(&world, world.options.window_bytes, kNever, &ended), "room");
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].code(), Code::kTooBig);
}

TEST_F(JournalFailures, AFailedWriteIsFinal) {
  world.platter.faults.write_errors = 1000;
  Waited w;
  std::vector<Status> ended;
  ASSERT_NO_FATAL_FAILURE(Fill());
  world.gate.Spawn(Wait(&world, 1000, kNever, &ended), "room");
  world.gate.Spawn(Commit(&world, world.journal->head(), &w), "commit");
  Turns(20);
  ASSERT_EQ(ended.size(), 1u);
  EXPECT_EQ(ended[0].code(), Code::kIo);
  EXPECT_TRUE(w.done);
  EXPECT_EQ(w.status.code(), Code::kIo);
  world.platter.faults.write_errors = 0;
  EXPECT_EQ(world.AppendCell(1, 1).code(), Code::kIo);
  EXPECT_EQ(world.journal->BeginCheckpoint().code(), Code::kIo);
  EXPECT_EQ(world.Run(world.journal->Close()).code(), Code::kIo);
  EXPECT_TRUE(world.journal->stats().failed);
  world.Crash(false);  // the region still has all of it
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, table);
}

TEST_F(JournalFailures, AFailedFlushIsNotAskedAgain) {
  auto end = world.AppendCell(1, 1);
  Waited w, later;
  world.platter.faults.flush_errors = 1000;
  world.gate.Spawn(Commit(&world, *end, &w), "commit");
  Turns(20);
  EXPECT_EQ(w.status.code(), Code::kIo);
  world.platter.faults.flush_errors = 0;
  const uint64_t flushes = world.disk->flushes_asked;
  world.gate.Spawn(Commit(&world, *end, &later), "commit");
  Turns(20);
  EXPECT_EQ(later.status.code(), Code::kIo);
  EXPECT_EQ(world.disk->flushes_asked, flushes);
}

TEST_F(JournalFailures, AJournalIsNotMadeOverAnother) {
  auto again = world.Run(Journal::Create(&world.executor, world.disk.get(), world.kept.get(), world.options));
  EXPECT_EQ(again.code(), Code::kExists);
  JournalWorld other;
  other.options.ring_bytes = kRingBytesMin + 1;
  again = other.Run(Journal::Create(&other.executor, other.disk.get(), other.kept.get(), other.options));
  EXPECT_EQ(again.code(), Code::kInvalid);
  JournalWorld small;
  SimKeptNode tiny(4096);
  SimKeptMemory no_room(tiny);
  again = small.Run(Journal::Create(&small.executor, small.disk.get(), &no_room, small.options));
  EXPECT_EQ(again.code(), Code::kNoSpace);
}

TEST_F(JournalCheckpoint, OfManyFramesComesBackAndMovesTheTail) {
  for (uint32_t key = 0; key < 60'000; ++key) table[key] = key * 3;
  ASSERT_TRUE(world.AppendCell(1, 1).ok());
  const Lsn head = world.journal->head();
  ASSERT_TRUE(world.Checkpoint(table).ok());
  EXPECT_EQ(world.journal->superblock().tail, head);
  EXPECT_GT(world.journal->superblock().checkpoint.bytes, 4 * FrameHeader::kFrameBytes);
  ASSERT_TRUE(world.AppendCell(2, 777).ok());
  table[2] = 777;
  world.Crash(false);
  TableVisitor visitor;
  Recovered found;
  world.Reopen(&visitor, &found);
  EXPECT_EQ(visitor.table, table);
  EXPECT_EQ(visitor.checkpoint_cells, 60'000u);
  EXPECT_EQ(visitor.records.size(), 1u);
  // The next one goes to the other file.
  const uint32_t slot = world.journal->superblock().checkpoint.slot;
  ASSERT_TRUE(world.Checkpoint(table).ok());
  EXPECT_EQ(world.journal->superblock().checkpoint.slot, 1 - slot);
  EXPECT_EQ(world.journal->superblock().checkpoint.sequence, 2u);
}

TEST_F(JournalCheckpoint, OneThatIsGivenUpOrFailsLeavesTheLast) {
  ASSERT_TRUE(world.AppendCell(1, 1).ok());
  ASSERT_TRUE(world.Checkpoint({{1, 1}}).ok());
  const CheckpointRef good = world.journal->superblock().checkpoint;
  ASSERT_TRUE(world.AppendCell(2, 2).ok());
  {
    auto begun = world.journal->BeginCheckpoint();
    ASSERT_TRUE(begun.ok());
    EXPECT_EQ(world.journal->BeginCheckpoint().code(), Code::kBusy);
    TlvWriter w;
    PutCell(w, 1, 99);
    ASSERT_TRUE(world.Run((*begun)->Put(w.bytes())).ok());
  }
  EXPECT_EQ(world.journal->superblock().checkpoint, good);
  world.platter.faults.no_space = 1000;  // the file would have to grow
  Table large;
  for (uint32_t key = 0; key < 40'000; ++key) large[key] = 1;
  EXPECT_EQ(world.Checkpoint(large).code(), Code::kNoSpace);
  world.platter.faults.no_space = 0;
  EXPECT_EQ(world.journal->superblock().checkpoint, good);
  EXPECT_EQ(world.journal->stats().checkpoints_failed, 1u);
  ASSERT_TRUE(world.AppendCell(3, 3).ok());  // the journal lives
  world.Crash(false);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.table, (Table{{1, 1}, {2, 2}, {3, 3}}));
}

TEST_F(JournalCheckpoint, IsNotNamedBeforeWhatWasAppendedMeanwhileIsFlushed) {
  auto begun = world.journal->BeginCheckpoint();
  ASSERT_TRUE(begun.ok());
  auto end = world.AppendCell(1, 1);  // and its image gets into the checkpoint
  TlvWriter w;
  PutCell(w, 1, 1);
  ASSERT_TRUE(world.Run((*begun)->Put(w.bytes())).ok());
  ASSERT_TRUE(world.Run((*begun)->Finish()).ok());
  EXPECT_EQ(world.journal->superblock().checkpoint.end, *end);
  EXPECT_GE(world.journal->superblock().durable, *end);
  begun->reset();
  world.Crash(true);
  TableVisitor visitor;
  world.Reopen(&visitor);
  EXPECT_EQ(visitor.records.size(), 1u);
}

}  // namespace
}  // namespace mayfly
