// Random histories with crashes: everything acknowledged is read again, in order and whole; what is read is the state
// of one moment, which no crash of a recovery changes.
#include <gtest/gtest.h>

#include <array>

#include "fake/sim_random.h"
#include "task/sync.h"
#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

struct Appended {
  LsnRange at;
  std::vector<std::pair<uint32_t, uint64_t>> cells;
};

class History {
 public:
  History(uint64_t seed, bool in_memory) : in_memory_(in_memory), random_(seed), world_(seed, in_memory) {
    JournalOptions& o = world_.options;
    o.ring_bytes = kRingBytesMin + random_.Below(3) * kRingBytesStep;
    o.window_bytes = kWindowBytesMin + random_.Below(8) * kJournalBlockBytes;
    if (random_.PerMille(500)) o.commit_interval = 1 + random_.Below(kMillisecond);
    if (random_.PerMille(700)) {
      world_.platter.faults.latency_min = random_.Below(50) * kMicrosecond;
      world_.platter.faults.latency_max = world_.platter.faults.latency_min + random_.Below(2) * kMillisecond;
    }
    checkpoints_ = random_.Below(60);
  }

  void Run(int crashes) {
    ASSERT_NO_FATAL_FAILURE(world_.Create());
    for (; crashes > 0; --crashes) {
      const uint64_t steps = random_.Below(random_.PerMille(100) ? 2000 : 300);
      for (uint64_t i = 0; i < steps; ++i) Step();
      ASSERT_NO_FATAL_FAILURE(EndAndLook());
    }
  }

 private:
  void Step() {
    const uint64_t what = random_.Below(1000);
    if (what < 5) {  // more than a flush's time brings in otherwise
      for (uint64_t n = 1 + random_.Below(60); n > 0; --n) Append();
      world_.journal->Turn();
      world_.disk->Poll();
    } else if (what < 400) {
      Append();
    } else if (what < 500 && !appended_.empty()) {
      world_.gate.Spawn(
          Commit(this, appended_[appended_.size() - 1 - random_.Below(std::min<size_t>(appended_.size(), 5))].at.to),
          "commit");
    } else if (what < 500 + checkpoints_ && !checkpointing_) {
      checkpointing_ = true;
      world_.gate.Spawn(Checkpoint(this), "checkpoint");
    } else {
      world_.Turn();
    }
  }

  void Append() {
    Appended a;
    TlvWriter w;
    for (uint64_t n = 1 + random_.Below(5); n > 0; --n) {
      a.cells.emplace_back(random_.Below(40), ++value_);
      PutCell(w, a.cells.back().first, value_);
    }
    const uint64_t most = random_.PerMille(100) ? world_.journal->payload_max() - w.size() - kTlvHeaderBytes : 600;
    const size_t fill = random_.Below(most);
    w.PutWith(kFillTag, fill, [&](Encoder& e) {
      const std::vector<uint8_t> bytes(fill, static_cast<uint8_t>(value_));
      e.Raw(bytes.data(), fill);
    });
    const Lsn head = world_.journal->head();
    auto end = world_.journal->Append(w.bytes());
    if (!end.ok()) {
      EXPECT_EQ(end.code(), Code::kNoSpace);
      return;
    }
    a.at = {head, *end};
    for (const auto& [key, value] : a.cells) table_[key] = value;
    appended_.push_back(std::move(a));
  }

  static Task<Status> Commit(History* self, Lsn lsn) {
    const Nanos deadline =
        self->random_.PerMille(200) ? self->world_.executor.now() + self->random_.Below(kMillisecond) : kNever;
    const Status status = co_await self->world_.journal->Durable(lsn, deadline);
    if (status.ok()) self->acknowledged_ = std::max(self->acknowledged_, lsn);
    co_return Status();
  }

  // Walks the table beside the appends.
  static Task<Status> Checkpoint(History* self) {
    auto begun = self->world_.journal->BeginCheckpoint();
    if (begun.ok()) {
      Status status;
      for (uint32_t from = 0; from < 40 && status.ok(); from += 5) {
        TlvWriter w;
        for (uint32_t key = from; key < from + 5; ++key) {
          if (self->table_.contains(key)) PutCell(w, key, self->table_[key]);
        }
        const size_t fill = self->random_.Below(self->random_.PerMille(300) ? 150'000 : 100);
        w.PutWith(kFillTag, fill, [&](Encoder& e) {
          const std::vector<uint8_t> bytes(fill, 1);
          e.Raw(bytes.data(), fill);
        });
        status = co_await (*begun)->Put(w.bytes());
        if (self->random_.PerMille(500)) co_await self->world_.executor.Yield();
      }
      if (status.ok() && self->random_.PerMille(900)) status = co_await (*begun)->Finish();
      (void)co_await (*begun)->Idle();
    }
    self->checkpointing_ = false;
    co_return Status();
  }

  // A kill within Append, where that writes into the ring: before the region says how far the stream goes now, and
  // perhaps before the record's header is there.
  void DieInAppend() {
    const MutableBytes ring = world_.journal->memory();
    const uint64_t head = world_.journal->head().value;
    std::array<uint8_t, RecordHeader::kBytes> before;
    for (size_t i = 0; i < before.size(); ++i) before[i] = ring[(head + i) % ring.size()];
    Append();
    if (random_.PerMille(500)) {
      for (size_t i = 0; i < before.size(); ++i) ring[(head + i) % ring.size()] = before[i];
    }
    world_.Crash(false);
    const MutableBytes region = *world_.kept->Find(TailWindow::kRegionName);
    std::memcpy(region.data() + offsetof(RegionHeader, low), &head, sizeof head);
    world_.Reboot();
  }

  void EndAndLook() {
    const uint64_t how = random_.Below(10);
    const bool power = how < 4 && !in_memory_, close = how == 9;
    // What must be there: all that was appended, or after a loss of power what was committed.
    const Lsn must = power ? acknowledged_ : appended_.empty() ? Lsn() : appended_.back().at.to;
    if (close) {
      while (checkpointing_) world_.Turn();
      ASSERT_NO_FATAL_FAILURE(world_.CloseInOrder());
    } else {
      if (in_memory_ && random_.PerMille(500)) {
        DieInAppend();
      } else {
        world_.Crash(power);
      }
    }
    TableVisitor first;
    auto found = world_.Recover(&first);
    ASSERT_TRUE(found.ok()) << SentenceOf(world_.failure.state);
    ASSERT_NO_FATAL_FAILURE(Compare(*found, first, must));
    EXPECT_EQ(found->clean, close);
    // From here on the history is what was found.
    while (!appended_.empty() && appended_.back().at.to > found->end) appended_.pop_back();
    bool lost = false;            // what was not committed is, as the power went at last
    if (random_.PerMille(400)) {  // die on the way
      const bool power_now = power || (!in_memory_ && random_.PerMille(200));
      lost = power_now && !power;
      auto opening = Journal::Open(&world_.executor, world_.disk.get(), world_.kept.get(), world_.options, *found);
      for (uint64_t n = random_.Below(12); n > 0 && !opening.done(); --n) world_.Turn();
      world_.disk->Crash(power_now);
      auto opened = world_.Run(std::move(opening));
      if (opened.ok()) {
        world_.journal = std::move(*opened);
        world_.Crash(power_now);
      } else {
        if (power_now) world_.node.CutPower();
        world_.Reboot();
      }
    } else {
      world_.Reboot();
    }
    TableVisitor second;
    ASSERT_NO_FATAL_FAILURE(world_.Reopen(&second, &*found));
    ASSERT_NO_FATAL_FAILURE(Compare(*found, second, lost ? acknowledged_ : must));
    while (!appended_.empty() && appended_.back().at.to > found->end) appended_.pop_back();
    if (!lost) {
      EXPECT_EQ(second.table, first.table);
      EXPECT_EQ(second.records, first.records);
    }
    table_ = second.table;
    acknowledged_ = appended_.empty() ? Lsn() : appended_.back().at.to;  // opening has flushed it
  }

  void Compare(const Recovered& found, const TableVisitor& visitor, Lsn must) {
    EXPECT_TRUE(visitor.damage.empty()) << visitor.damage[0].from.value << " to " << visitor.damage[0].to.value;
    EXPECT_EQ(visitor.checkpoint_damage, 0u);
    ASSERT_GE(found.end, must);
    Table table;
    std::vector<LsnRange> records;
    for (const Appended& a : appended_) {
      if (a.at.to > found.end) break;
      for (const auto& [key, value] : a.cells) table[key] = value;
      if (a.at.from >= found.superblock.tail) records.push_back(a.at);
    }
    EXPECT_EQ(visitor.table, table);
    const auto [seen, known] =
        std::mismatch(visitor.records.begin(), visitor.records.end(), records.begin(), records.end());
    const auto name = [](auto at, auto end) { return at == end ? "nothing" : std::to_string(at->from.value); };
    ASSERT_TRUE(visitor.records == records)
        << "read: " << name(seen, visitor.records.end()) << ", appended: " << name(known, records.end()) << ", end "
        << found.end.value << ", tail " << found.superblock.tail.value;
  }

  const bool in_memory_;
  SimRandom random_;
  JournalWorld world_;
  uint64_t checkpoints_ = 0;
  std::vector<Appended> appended_;
  Table table_;
  uint64_t value_ = 0;
  Lsn acknowledged_;
  bool checkpointing_ = false;
};

void RunHistories(bool in_memory) {
  const char* only = std::getenv("MAYFLY_SEED");
  const char* more = std::getenv("MAYFLY_ROUNDS");
  const uint64_t first = only != nullptr ? std::strtoull(only, nullptr, 10) : 1;
  const uint64_t rounds = only != nullptr ? 1 : more != nullptr ? std::strtoull(more, nullptr, 10) : 120;
  for (uint64_t seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("MAYFLY_SEED=" + std::to_string(seed));
    History history(seed, in_memory);
    history.Run(6);
    if (testing::Test::HasFailure()) break;
  }
}

TEST(JournalCrash, NothingAcknowledgedIsLostAndNothingElseAppears) { RunHistories(false); }
TEST(JournalCrash, NorWhereTheRingLiesInMemory) { RunHistories(true); }

}  // namespace
}  // namespace mayfly
