// The door to bulk memory: segments that other processes of the node can map (0600), backed by real pages before they
// are handed out (fallocate), so that a full /dev/shm is an error here and never a SIGBUS later.
#pragma once

#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace mayfly {

class ArenaMemory {
 public:
  virtual ~ArenaMemory() = default;
  // A new segment of exactly `bytes` (a multiple of 2 MiB), zeroed. kNoSpace when the node has no room for it.
  // Lives until Unmap or the end of this object. Segments are numbered 0, 1, 2 ... in the order of creation.
  virtual Result<MutableBytes> Map(size_t bytes) = 0;
  virtual void Unmap(MutableBytes segment) = 0;
  // Touches the pages of `range` so that the first write does not fault (may be slow: 1 GB/s). Safe to call from a
  // helper thread while others use the memory.
  virtual void Prefault(MutableBytes range) = 0;
};

}  // namespace mayfly
