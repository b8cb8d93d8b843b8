// Reading a journal: the checkpoint's fields, then every record behind it in order, out of the ring and, where the
// tail region is still there, out of that. Nothing is written: recovering twice gives the same.
// Invariants  V1  the visitor gets whole records in the order of their LSNs, each at most once, none of which an
//                 earlier lap, session or incarnation left behind (format.h, F2).
//             V2  where a record does not hold, either nothing behind it was ever acknowledged, and the stream ends
//                 there (a torn tail: normal); or something behind it shows that it was once whole, and then the
//                 range up to the next record that holds is reported as damage. Never the one for the other.
//             V3  what is read is what is live: from the superblock's tail to the stream's end, and
//                 kLookBehindEnd at most behind it.
#pragma once

#include <vector>

#include "journal/format.h"
#include "journal/tail_window.h"
#include "os/disk.h"
#include "os/kept_memory.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

constexpr std::string_view kJournalFileName = "journal";
constexpr std::string_view kCheckpointFileNames[2] = {"checkpoint.0", "checkpoint.1"};
// How far behind a record that does not hold others are looked for.
constexpr uint64_t kLookBehindEnd = 4 * 1024 * 1024;

struct JournalRecord {
  Lsn lsn, end;
  TxnId transaction;
  uint32_t incarnation = 0;
  bool in_region = false;  // the ring need not have it
  RecordType type = RecordType::kChanges;
  uint8_t flags = 0;
  Bytes payload;  // until the visitor returns
};

class JournalVisitor {
 public:
  virtual ~JournalVisitor() = default;
  // Whole tagged fields, as they were given to CheckpointWriter::Put, some at a time. An error ends the recovery.
  virtual Status OnCheckpoint(Bytes fields) = 0;
  // A record of changes.
  virtual Status OnRecord(const JournalRecord& record) = 0;
  // Bytes [from, to) of the stream held records that are lost.
  virtual void OnDamage(Lsn from, Lsn to) = 0;
  // Bytes [from, to) of the checkpoint's file do not hold, and the fields in them are lost.
  virtual void OnCheckpointDamage(uint64_t from, uint64_t to) = 0;
  // A record of padding; for tools.
  virtual void OnPad(const JournalRecord&) {}
};

struct LsnRange {
  Lsn from, to;
  friend bool operator==(const LsnRange&, const LsnRange&) = default;
};

// What a recovery found; Journal::Open goes on from it.
struct Recovered {
  Superblock superblock;
  Lsn end;              // behind the last record
  Lsn torn;             // behind what had been begun at `end` and does not hold; `end` if that cannot be seen
  bool clean = false;   // closed in order; nothing was searched for
  MutableBytes region;  // the tail region, if it is there and belongs
  Lsn region_low;       // of it
  // The region is a header alone: the ring is memory too, and has all.
  bool all_in_ring() const { return region.size() == kJournalBlockBytes; }
  bool no_region = false;  // there is none, though the journal was not closed: it went with the node's memory
  // One is there that is not this journal's, or is damaged: what had not reached the ring, if anything, is not read.
  bool foreign_region = false;
  std::vector<LsnRange> damage;
  uint64_t checkpoint_damage_bytes = 0;
  uint64_t records = 0, record_bytes = 0, pads = 0;
  uint64_t checkpoint_bytes = 0;
  uint64_t bytes_read = 0;         // of the ring
  uint64_t unreadable_blocks = 0;  // of the ring; they are within `damage` if they were live
};

// Why there is no journal to read: SentenceOf(state) for the user.
struct JournalFailure {
  SuperblockState state = SuperblockState::kGood;
  Status status;  // the disk's word, or the visitor's
};

struct RecoverFrom {
  Disk* disk = nullptr;
  KeptMemory* kept = nullptr;  // may be null: the tail region is not looked for
  JournalIdentity identity;
};

// Reads the whole journal into `visitor`. On failure kCorrupt (superblocks; see *failure), kNoEntry (there is none),
// kIo, kBusy (a living process has file or tail region), or what the visitor said. The disk's Poll and the executor
// must be driven meanwhile.
Task<Result<Recovered>> Recover(Executor* executor, RecoverFrom from, JournalVisitor* visitor, JournalFailure* failure);

// The superblock alone, for tools and for Recover.
Task<Result<Superblock>> ReadSuperblock(Executor* executor, Disk* disk, DiskFileId file, JournalIdentity identity,
                                        JournalFailure* failure);

}  // namespace mayfly
