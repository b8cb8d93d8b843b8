// How a dead server's journal gets a new checkpoint by somebody else: read to its end, gone on with as its server
// would, and ended as it was found. Over the doors alone (journal_door.h has the real ones), so that the simulated disk
// serves the tests. Recover, BringBytes, Open, Write, End, in this order; Write may be left out.
// One thread, which drives disk and executor, and calls Turn once a turn.
// Invariants  Q1  no record of what the servers had in memory is written before the bytes that the last ones speak of
//                 are in the chunk file, flushed: what is durable is at each moment a state that a loss of power may
//                 leave (store/write_back.h, journal.h J8).
//             Q2  the superblock that names the checkpoint is the last word of Write.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "inspect/chunk_writer.h"
#include "journal/journal.h"

namespace mayfly {

class JournalRewrite {
 public:
  // All outlive it. `options.survives_power`: of level `node`.
  JournalRewrite(Executor* executor, Disk* disk, KeptMemory* kept, JournalOptions options);
  JournalRewrite(const JournalRewrite&) = delete;
  JournalRewrite& operator=(const JournalRewrite&) = delete;
  ~JournalRewrite();  // after End, if Open was called

  // Locks what lies in memory. kBusy if the newest superblock is not that of `sequence`: a server had it open since.
  Task<Status> Recover(uint64_t sequence);
  // Locks the chunk file until the end, and writes what is in memory alone (chunk_writer.h). `unwritten`: of the
  // journal's tables, or of what a repair makes of them; their sums stay until it returns. Level `node` alone has any.
  // kCorrupt: the chunk file is not this shard's, or something is missing. kBusy: the memory is not there any more.
  Task<Status> BringBytes(UnwrittenSource* source, std::vector<StoredPiece> unwritten);
  // Locks the journal. All that was in memory alone is on the disk afterwards, and there as well.
  Task<Status> Open();
  // Once. A checkpoint of these fields, whole ones, in place of all that the journal holds.
  Task<Status> Write(Bytes fields, Bytes more_fields);
  // Closed in order if nothing of it was in memory; else as after a kill of its server: what lies in memory is of use.
  Task<Status> End();

  bool Turn() { return journal_ != nullptr && journal_->Turn(); }
  bool is_open() const { return journal_ != nullptr; }

 private:
  Executor& executor_;
  Disk& disk_;
  KeptMemory& kept_;
  const JournalOptions options_;
  std::optional<Recovered> recovered_;
  DiskFileId chunks_;
  bool brought_ = false, in_memory_ = false;
  std::unique_ptr<Journal> journal_;
};

}  // namespace mayfly
