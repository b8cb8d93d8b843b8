// A shard of a simulated cluster of which the server is dead, opened as inspect/shard_door.h opens a real one: its
// tables out of its journal, and its bytes out of the chunk file and the arena's segments. Nothing of it is changed.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "inspect/chunk_writer.h"
#include "inspect/look.h"
#include "inspect/piece_reader.h"
#include "inspect/shard_tables.h"
#include "sim/cluster.h"
#include "task/disk_request.h"

namespace mayfly {

// Images on their way to a shard's tables, of which some get lost or are changed.
class Mangler final : public LookVisitor {
 public:
  Mangler(ShardTables* tables, uint64_t seed) : tables_(*tables), random_(seed), one_in_(20 << seed % 8) {}
  void OnSuperblocks(const JournalLook&) override {}
  Status OnCheckpoint(Bytes fields) override { return Pass(fields); }
  Status OnRecord(const JournalRecord& record) override { return Pass(record.payload); }
  void OnDamage(Lsn, Lsn) override {}
  void OnCheckpointDamage(uint64_t, uint64_t) override {}

 private:
  Status Pass(Bytes fields) {
    TlvWriter out;
    TlvReader reader(fields);
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) {
      const uint64_t fate = random_.U64() % (2 * one_in_);
      if (fate == 0) continue;
      std::vector<uint8_t> bytes(value.begin(), value.end());
      if (fate == 1 && !bytes.empty()) bytes[random_.U64() % bytes.size()] ^= 1u << random_.U64() % 8;
      out.PutWith(tag, bytes.size(), [&](Encoder& e) { e.Raw(bytes.data(), bytes.size()); });
    }
    return tables_.Apply(out.bytes());
  }
  ShardTables& tables_;
  SimRandom random_;
  const uint64_t one_in_;
};

class DeadShard final : public UnwrittenSource {
 public:
  // `mangle`: 0, or a seed.
  DeadShard(SimCluster& cluster, uint32_t number, uint64_t mangle = 0)
      : clock_(cluster.clock()),
        executor_(clock_),
        disk_(cluster.platter(number), clock_),
        kept_(cluster.kept(number)),
        segments_(SimPlatter::Options{}),
        memory_(segments_, clock_),
        tables_(ShardId(number)) {
    RecoverFrom from;
    from.disk = &disk_;
    from.kept = &kept_;
    from.identity.uuid = cluster.uuid();
    from.identity.shard = ShardId(number);
    tables_.KeepAccepted(&fields_);
    Mangler mangler(&tables_, mangle);
    look_ = Run(LookAtJournal(&executor_, from, mangle != 0 ? static_cast<LookVisitor*>(&mangler) : &tables_));
    EXPECT_TRUE(look_.read) << SentenceOf(look_.failure);
    CopySegments(cluster.arena(number));
    PieceReader::From bytes;
    bytes.executor = &executor_;
    bytes.disk = &disk_;
    bytes.memory = &memory_;
    bytes.arena_prefix = "arena";
    bytes.uuid = cluster.uuid();
    bytes.shard = ShardId(number);
    bytes.places_hold = look_.tail == TailMemory::kRead;
    reader_ = std::make_unique<PieceReader>(bytes);
    (void)Run(reader_->Open());
  }
  void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
    Task<void> task = reader_->Read(piece, begin, to, gaps);
    Drive(task);
  }
  bool IsInMemory(const StoredPiece& extent) override { return reader_->IsInMemory(extent); }
  ShardTables& tables() { return tables_; }
  const JournalLook& look() const { return look_; }
  TlvWriter& fields() { return fields_; }

 private:
  template <class T>
  void Drive(Task<T>& task) {
    while (!task.done()) {
      const bool worked = disk_.Poll() | memory_.Poll() | executor_.RunOnce();
      const Nanos next = std::min(disk_.NextAt(), memory_.NextAt());
      if (!worked && next != kNever) clock_.AdvanceTo(next);
    }
  }
  template <class T>
  T Run(Task<T> task) {
    Drive(task);
    return task.Take();
  }
  static Task<Status> WriteAll(Executor* executor, Disk* disk, DiskFileId file, Bytes data) {
    DiskRequest request(*executor, *disk);
    request.Write(file, 0, data);
    co_return co_await request;
  }
  void CopySegments(const SimArenaMemory& arena) {
    for (uint32_t i = 0; i < 64; ++i) {
      const MutableBytes segment = arena.segment(i);
      if (segment.empty()) continue;
      BlockBuffer copy(segment.size());
      std::copy(segment.begin(), segment.end(), copy.data());
      Disk::OpenHow how;
      how.create = true;
      how.bytes = copy.size();
      const auto file = memory_.Open("arena." + std::to_string(i), how);
      ASSERT_TRUE(file.ok() && Run(WriteAll(&executor_, &memory_, *file, copy.span())).ok());
      memory_.Close(*file);
    }
  }

  SimClock& clock_;
  Executor executor_;
  SimDisk disk_;
  SimKeptMemory kept_;
  SimPlatter segments_;
  SimDisk memory_;
  ShardTables tables_;
  TlvWriter fields_;
  JournalLook look_;
  std::unique_ptr<PieceReader> reader_;
};

}  // namespace mayfly
