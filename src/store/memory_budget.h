// What a shard may take of the node's memory: one limit, charged by the arena (file data) and by the tables (extents,
// inodes, names). One thread. The budget moves no memory; it says yes or no.
// Invariants  B1  arena_used + table_used <= bytes_max, except for what was charged Always: an operation that was
//                 accepted is never failed for its bookkeeping, nor a recovery for what was there before.
//             B2  the arena never grows into tables_min, so that a store full of data can still name its files.
// With a chunk file, data need not stay in memory, but it passes through it (KeepForData):
//             B3  tables never grow into transfers_min, but Always; the arena may, whatever they took.
//             B4  the arena never grows into reads_min before ReleaseReads: when nothing that lies in it may be given
//                 up any more, what is on the disk can still be read.
//             B5  the arena leaves the tables tables_min more than they have, so that they can grow while room is made.
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
  // Before anything is charged: B3 to B5.
  void KeepForData(uint64_t transfers_min, uint64_t reads_min) {
    transfers_min_ = transfers_min;
    reads_min_ = reads_min;
    tables_ahead_ = tables_min_;
  }
  void ReleaseReads() { reads_min_ = 0; }
  MemoryBudget& operator=(const MemoryBudget&) = delete;

  // False (nothing charged) when the limit would be passed: the caller answers kNoSpace.
  [[nodiscard]] bool ChargeArena(uint64_t bytes) {
    if (bytes > ArenaRoom()) return false;  // B1, B2, B4
    arena_used_ += bytes;
    return true;
  }
  [[nodiscard]] bool ChargeTables(uint64_t bytes) {
    if (bytes > TableRoom()) return false;  // B1, B3
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
    const uint64_t others = arena_used_ + std::max(table_used_ + tables_ahead_, tables_min_) + reads_min_;
    const uint64_t kept = transfers_min_ - std::min(arena_used_, transfers_min_);  // B3
    return std::max(others < bytes_max_ ? bytes_max_ - others : 0, kept);
  }
  // How much more the tables may take.
  uint64_t TableRoom() const {
    const uint64_t others = table_used_ + std::max(arena_used_, transfers_min_) + reads_min_;
    return others < bytes_max_ ? bytes_max_ - others : 0;
  }
  uint64_t tables_max() const { return bytes_max_ - transfers_min_ - reads_min_; }
  uint64_t transfers_min() const { return transfers_min_; }

 private:
  const uint64_t bytes_max_;
  const uint64_t tables_min_;
  uint64_t transfers_min_ = 0, reads_min_ = 0, tables_ahead_ = 0;
  uint64_t arena_used_ = 0;
  uint64_t table_used_ = 0;
};

}  // namespace mayfly
