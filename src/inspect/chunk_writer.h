// Brings bytes that lie in the memory of a dead server of level `node`, and perhaps nowhere else, to its chunk file:
// what recovery's write-back does (store/write_back.h), without an arena. Over the doors alone. One thread. Invariants
// B1  what is written was read whole by PieceReader's rules: no byte that does not match its checksum.
//             B2  other extents' bytes in the same blocks (what was written in place shares them) are written as they
//             are. B3  kOk: a loss of power takes nothing of it.
#pragma once

#include <vector>

#include "inspect/salvage.h"
#include "os/disk.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

// With the arena that the pieces were written into.
class UnwrittenSource : public PieceSource {
 public:
  // All of the extent has its place there still. Else a Read may give what the chunk file had at that place before.
  virtual bool IsInMemory(const StoredPiece& extent) = 0;
};

struct UnwrittenCount {
  uint64_t bytes = 0;          // that can be had
  uint64_t missing_bytes = 0;  // the memory that they lay in is gone, or cannot be read
  uint64_t corrupt_bytes = 0;  // they are not as they were written: whoever reads them gets EIO anyway
};

// What there is of these extents (StoreLook::Unwritten). Nothing is written.
UnwrittenCount CountUnwritten(UnwrittenSource* source, const std::vector<StoredPiece>& extents);

// Copies the extents to their places in the chunk file, which is open to write, and flushes it. kIo, kNoSpace: as the
// disk; kCorrupt: something is missing, and from there on nothing was written. What is corrupt is left out.
Task<Status> WriteUnwritten(Executor* executor, Disk* disk, DiskFileId file, UnwrittenSource* source,
                            std::vector<StoredPiece> extents);

}  // namespace mayfly
