// A journal on a simulated disk and kept memory, its loop, and its crashes. What it is told to write down is a table of
// numbers: a record sets some, a checkpoint holds all.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/tlv.h"
#include "fake/sim_clock.h"
#include "fake/sim_disk.h"
#include "fake/sim_kept_memory.h"
#include "journal/checkpoint_writer.h"
#include "journal/journal.h"

namespace mayfly {

// Ends what is under way with kIo once the disk behind it has crashed, so that those who wait can go.
class EndingDisk final : public Disk {
 public:
  EndingDisk(SimPlatter& platter, Clock& clock) : sim_(platter, clock) {}
  ~EndingDisk() override {
    for (Op* op : ops_) delete op;
  }
  void Crash(bool power) {
    sim_.Crash(power);
    dead_ = true;
  }
  SimDisk& sim() { return sim_; }
  // Flushes of that file stay unanswered until it is false again.
  bool hold_flushes = false;
  uint64_t flushes_asked = 0, writes_asked = 0, throughs_asked = 0;
  int registered = 0;
  // Reads that touch [bad_from, bad_to) of any file fail.
  uint64_t bad_from = 0, bad_to = 0;

  Facts facts() const override { return sim_.facts(); }
  Result<DiskFileId> Open(std::string_view name, OpenHow how) override { return sim_.Open(name, how); }
  void Close(DiskFileId file) override {
    if (!dead_) sim_.Close(file);
  }
  Result<uint64_t> BytesOf(DiskFileId file) override { return sim_.BytesOf(file); }
  Status Remove(std::string_view name) override { return sim_.Remove(name); }
  Status Rename(std::string_view from, std::string_view to) override { return sim_.Rename(from, to); }
  Status SyncNames() override { return sim_.SyncNames(); }
  Result<std::vector<std::string>> List() override { return sim_.List(); }
  void Read(DiskFileId file, uint64_t offset, MutableBytes to, Completion* done) override {
    Op* op = Begin(done);
    if (op == nullptr) return;
    op->spoil = offset < bad_to && offset + to.size() > bad_from;
    sim_.Read(file, offset, to, op);
  }
  void Write(DiskFileId file, uint64_t offset, Bytes from, Completion* done) override {
    ++writes_asked;
    if (Op* op = Begin(done)) sim_.Write(file, offset, from, op);
  }
  void WriteThrough(DiskFileId file, uint64_t offset, Bytes from, Completion* done) override {
    ++throughs_asked;
    Op* op = Begin(done);
    if (op == nullptr) return;
    held_.push_back({file, op, offset, from});
    if (!hold_flushes) Unhold();
  }
  void Flush(DiskFileId file, Completion* done) override {
    ++flushes_asked;
    Op* op = Begin(done);
    if (op == nullptr) return;
    if (hold_flushes) {
      held_.push_back({file, op, 0, {}});
    } else {
      sim_.Flush(file, op);
    }
  }
  void Discard(DiskFileId file, uint64_t offset, uint64_t bytes, Completion* done) override {
    if (Op* op = Begin(done)) sim_.Discard(file, offset, bytes, op);
  }
  MutableBytes Map(DiskFileId file) override { return sim_.Map(file); }
  bool Poll() override {
    if (!hold_flushes && !dead_) Unhold();
    bool worked = sim_.Poll();
    while (dead_ && !ops_.empty()) {
      End(ops_.front(), Code::kIo);
      worked = true;
    }
    return worked;
  }
  uint32_t pending() const override { return static_cast<uint32_t>(ops_.size()); }
  void Register(MutableBytes) override { ++registered; }
  void Unregister(MutableBytes) override { --registered; }

 private:
  struct Op : Completion {
    EndingDisk* disk = nullptr;
    Completion* done = nullptr;
    bool spoil = false;
  };
  struct Held {
    DiskFileId file;
    Op* op;
    uint64_t offset;
    Bytes through;  // empty: a flush
  };
  void Unhold() {
    for (const Held& held : std::exchange(held_, {})) {
      if (held.through.empty()) {
        sim_.Flush(held.file, held.op);
      } else {
        sim_.WriteThrough(held.file, held.offset, held.through, held.op);
      }
    }
  }
  Op* Begin(Completion* done) {
    auto* op = new Op;
    op->fn = [](Completion* self, Status status) {
      auto* me = static_cast<Op*>(self);
      me->disk->End(me, status);
    };
    op->disk = this;
    op->done = done;
    ops_.push_back(op);
    return dead_ ? nullptr : op;
  }
  void End(Op* op, Status status) {
    std::erase(ops_, op);
    Completion* done = op->done;
    if (op->spoil) status = Code::kIo;
    delete op;
    done->fn(done, status);
  }
  SimDisk sim_;
  bool dead_ = false;
  std::vector<Op*> ops_;
  std::vector<Held> held_;
};

using Table = std::map<uint32_t, uint64_t>;
constexpr Tag kCellTag = 7, kFillTag = 8;

inline void PutCell(TlvWriter& w, uint32_t key, uint64_t value) {
  w.PutWith(kCellTag, 12, [&](Encoder& e) { e(key, value); });
}

// What a recovery gave.
struct TableVisitor final : JournalVisitor {
  Table table;
  std::vector<LsnRange> records, damage;
  std::vector<std::vector<uint8_t>> payloads;
  uint64_t checkpoint_cells = 0, checkpoint_damage = 0, pads = 0;
  bool keep_payloads = false;

  void Apply(Bytes fields, uint64_t* cells) {
    TlvReader reader(fields);
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) {
      if (tag != kCellTag) continue;
      Decoder d(value);
      uint32_t key = 0;
      uint64_t v = 0;
      d(key, v);
      ASSERT_TRUE(d.Finish().ok());
      table[key] = v;
      if (cells != nullptr) ++*cells;
    }
    ASSERT_TRUE(reader.Finish().ok());
  }
  Status OnCheckpoint(Bytes fields) override {
    EXPECT_TRUE(records.empty());
    Apply(fields, &checkpoint_cells);
    return {};
  }
  Status OnRecord(const JournalRecord& record) override {
    if (!records.empty() && record.lsn < records.back().to) ADD_FAILURE() << "out of order: " << record.lsn.value;
    records.push_back({record.lsn, record.end});
    if (keep_payloads) {
      payloads.emplace_back(record.payload.begin(), record.payload.end());
    } else {
      Apply(record.payload, nullptr);
    }
    return {};
  }
  void OnDamage(Lsn from, Lsn to) override { damage.push_back({from, to}); }
  void OnCheckpointDamage(uint64_t from, uint64_t to) override { checkpoint_damage += to - from; }
  void OnPad(const JournalRecord&) override { ++pads; }
};

inline JournalIdentity ExampleIdentity() {
  JournalIdentity identity;
  for (uint8_t i = 0; i < identity.uuid.size(); ++i) identity.uuid[i] = static_cast<uint8_t>(0xa0 + i);
  identity.shard = ShardId(3);
  return identity;
}

class JournalWorld {
 public:
  // `in_memory`: a ring that is written to directly, of a journal that is to survive kills alone.
  explicit JournalWorld(uint64_t seed = 1, bool in_memory = false) : platter({.seed = seed, .maps = in_memory}) {
    options.survives_power = !in_memory;
    options.identity = ExampleIdentity();
    options.ring_bytes = kRingBytesMin;
    options.window_bytes = kWindowBytesMin;
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // the failures are the tests'
    Boot();
  }
  ~JournalWorld() {
    if (journal != nullptr) Run(journal->Stop());
    Run(gate.Drain());
    journal.reset();
    SetLogSink(nullptr, LogLevel::kWarn);
  }

  void Turn() {
    if (journal != nullptr) journal->Turn();
    if (!disk->Poll() && executor.idle()) {
      const Nanos next =
          std::min({disk->sim().NextAt(), executor.next_timer(), journal != nullptr ? journal->next_turn() : kNever});
      if (next != kNever) clock.AdvanceTo(next);
    }
    executor.RunOnce();
  }
  template <class T>
  T Run(Task<T> task) {
    for (int i = 0; !task.done(); ++i) {
      Turn();
      if (i > 1'000'000) CheckFailed("it does not end", __FILE__, __LINE__);
    }
    if constexpr (!std::is_void_v<T>) return task.Take();
  }

  void Create() {
    auto made = Run(Journal::Create(&executor, disk.get(), kept.get(), options));
    ASSERT_TRUE(made.ok()) << TextOf(made.code());
    journal = std::move(*made);
  }
  // The process ends; or the node, too. Whoever waited has been told that it failed.
  void Crash(bool power) {
    disk->Crash(power);
    Run(journal->Stop());
    Run(gate.Drain());
    journal.reset();
    disk.reset();
    kept.reset();
    if (power) node.CutPower();
    Boot();
  }
  void CloseInOrder() {
    ASSERT_TRUE(Run(journal->Close()).ok());
    Run(gate.Drain());
    journal.reset();
    Reboot();
  }
  // A new process, the journal being closed.
  void Reboot() {
    disk.reset();
    kept.reset();
    Boot();
  }
  Result<Recovered> Recover(JournalVisitor* visitor) {
    RecoverFrom from;
    from.disk = disk.get();
    from.kept = kept.get();
    from.identity = options.identity;
    return Run(mayfly::Recover(&executor, from, visitor, &failure));
  }
  // Recovers and opens.
  void Reopen(TableVisitor* visitor, Recovered* found = nullptr) {
    auto recovered = Recover(visitor);
    ASSERT_TRUE(recovered.ok()) << TextOf(recovered.code()) << ": " << SentenceOf(failure.state);
    if (found != nullptr) *found = *recovered;
    Open(*recovered);
  }
  void Open(const Recovered& recovered) {
    auto opened = Run(Journal::Open(&executor, disk.get(), kept.get(), options, recovered));
    ASSERT_TRUE(opened.ok()) << TextOf(opened.code());
    journal = std::move(*opened);
  }

  Result<Lsn> AppendCell(uint32_t key, uint64_t value, size_t fill = 0) {
    TlvWriter w;
    PutCell(w, key, value);
    if (fill != 0) {
      const std::vector<uint8_t> zeros(fill, static_cast<uint8_t>(value));
      w.PutWith(kFillTag, fill, [&](Encoder& e) { e.Raw(zeros.data(), fill); });
    }
    return journal->Append(w.bytes());
  }
  // Writes `bytes` over what the journal's file holds at `offset`.
  void Overwrite(uint64_t offset, Bytes bytes) {
    const std::vector<uint8_t> all = platter.Contents(kJournalFileName);
    const uint64_t from = BlockFloor(offset), to = BlockCeil(offset + bytes.size());
    BlockBuffer blocks(to - from);
    std::memcpy(blocks.data(), all.data() + from, to - from);
    std::memcpy(blocks.data() + (offset - from), bytes.data(), bytes.size());
    SimDisk raw(platter, clock);
    auto file = raw.Open(kJournalFileName, {});
    ASSERT_TRUE(file.ok());
    struct Done : Completion {
      bool ended = false;
    } done;
    done.fn = [](Completion* self, Status status) {
      EXPECT_TRUE(status.ok());
      static_cast<Done*>(self)->ended = true;
    };
    raw.Write(*file, from, blocks.span(), &done);
    while (!done.ended) {
      raw.Poll();
      if (raw.NextAt() != kNever) clock.AdvanceTo(raw.NextAt());
    }
    done.ended = false;
    raw.Flush(*file, &done);
    while (!done.ended) {
      raw.Poll();
      if (raw.NextAt() != kNever) clock.AdvanceTo(raw.NextAt());
    }
    raw.Close(*file);
  }
  // Of the journal's file.
  uint64_t OffsetOf(Lsn lsn) const { return kRingOffset + lsn.value % options.ring_bytes; }
  // As if power had been lost with all that was written on the disk.
  void LoseRegion() {
    Crash(false);
    node.CutPower();
    Reboot();
  }

  Status Checkpoint(const Table& table) {
    auto begun = journal->BeginCheckpoint();
    if (!begun.ok()) return begun.status();
    TlvWriter w;
    for (const auto& [key, value] : table) PutCell(w, key, value);
    const Status put = Run((*begun)->Put(w.bytes()));
    if (!put.ok()) return put;
    return Run((*begun)->Finish());
  }

  SimClock clock;
  SimPlatter platter;
  SimKeptNode node;
  Executor executor{clock};
  Gate gate{executor};  // who uses the journal
  std::unique_ptr<EndingDisk> disk;
  std::unique_ptr<SimKeptMemory> kept;
  JournalOptions options;
  JournalFailure failure;
  std::unique_ptr<Journal> journal;

 private:
  void Boot() {
    disk = std::make_unique<EndingDisk>(platter, clock);
    kept = std::make_unique<SimKeptMemory>(node);
  }
};

}  // namespace mayfly
