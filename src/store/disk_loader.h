// Fills the places of what was recovered and lies in the chunk file alone (ChunkStore::PlaceAbsent), after a loss of
// power. Every block that has a checksum is checked; one that does not match stays as it is, and its readers get
// kCorrupt.
#pragma once

#include "os/disk.h"
#include "store/chunk_store.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

struct DiskLoaderReport {
  uint64_t extents = 0, bytes = 0;
  uint64_t corrupt_blocks = 0;
};

class DiskLoader {
 public:
  // kIo: the file cannot be read; what could not is then as corrupt blocks are, and the rest is there.
  static Task<Status> Load(Executor* executor, Disk* disk, DiskFileId file, ChunkStore* store,
                           DiskLoaderReport* report);
};

}  // namespace mayfly
