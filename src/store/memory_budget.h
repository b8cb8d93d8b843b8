// What a shard may take of the node's memory: one limit, charged by the arena (file data) and by the tables (extents,
// inodes, names). One thread. The budget moves no memory; it says yes or no.
// Invariants  B1  arena_used + table_used <= bytes_max, except for what was charged Always: an operation that was
//                 accepted is never failed for its bookkeeping, nor a recovery for what was there before.
//             B2  the arena never grows into tables_min, so that a store full of data can still name its files.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "base/status.h"

namespace mayfly {

class MemoryBudget {
 public:
  // A 3901-byte file costs about 6% of its size in tables, a 4 MiB chunk 0.02%: 1/32 is kept for them, and they may
  // take whatever the arena has not taken.
  explicit MemoryBudget(uint64_t bytes_max) : bytes_max_(bytes_max), tables_min_(bytes_max / 32) {}
  MemoryBudget(const MemoryBudget&) = delete;
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // False (nothing charged) when the limit would be passed: the caller answers kNoSpace.
  [[nodiscard]] bool ChargeArena(uint64_t bytes) {
    if (bytes > ArenaRoom()) return false;  // B1, B2
    arena_used_ += bytes;
    return true;
  }
  [[nodiscard]] bool ChargeTables(uint64_t bytes) {
    if (used() > bytes_max_ || bytes > bytes_max_ - used()) return false;  // B1
    table_used_ += bytes;
    return true;
  }
  // For what must not fail; whatever passes the limit makes the next Charge fail.
  void ChargeTablesAlways(uint64_t bytes) { table_used_ += bytes; }
  void ChargeArenaAlways(uint64_t bytes) { arena_used_ += bytes; }
  void ReleaseArena(uint64_t bytes) {
    MAYFLY_CHECK(bytes <= arena_used_);
    arena_used_ -= bytes;
  }
  void ReleaseTables(uint64_t bytes) {
    MAYFLY_CHECK(bytes <= table_used_);
    table_used_ -= bytes;
  }

  uint64_t bytes_max() const { return bytes_max_; }
  uint64_t used() const { return arena_used_ + table_used_; }
  uint64_t arena_used() const { return arena_used_; }
  uint64_t table_used() const { return table_used_; }
  // How much more the arena may take.
  uint64_t ArenaRoom() const {
    uint64_t others = arena_used_ + std::max(table_used_, tables_min_);
    return others < bytes_max_ ? bytes_max_ - others : 0;
  }

 private:
  const uint64_t bytes_max_;
  const uint64_t tables_min_;
  uint64_t arena_used_ = 0;
  uint64_t table_used_ = 0;
};

}  // namespace mayfly
