// The door to memory that outlives the process: named regions, private to the servers (no client maps them), that a
// server started again after a kill finds as they were at the last instruction of the one before. They end with the
// node, or when Remove is called. Adapters: adapt/posix (files of 0600 on tmpfs), tests/fake/sim_kept_memory.h.
// Invariants  R1  a store to a region that was made in program order is there, whatever killed the process afterwards.
//             R2  regions are backed by pages when Open returns: a store never faults for want of memory.
#pragma once

#include <string_view>

#include "base/bytes.h"
#include "base/status.h"

namespace mayfly {

class KeptMemory {
 public:
  virtual ~KeptMemory() = default;
  // A new region, zeroed, page aligned. `name` is plain (plain_name.h). kExists, kNoSpace.
  virtual Result<MutableBytes> Create(std::string_view name, size_t bytes) = 0;
  // One that is there, whole. kNoEntry; kBusy: a process that is alive has it.
  virtual Result<MutableBytes> Find(std::string_view name) = 0;
  // Unmapped, and gone from the node. kNoEntry is an error.
  virtual Status Remove(std::string_view name) = 0;
};

}  // namespace mayfly
