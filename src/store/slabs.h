// Cells for places of up to 3,840 bytes: slabs of 64 KiB (16 pages of the arena), each cut into cells of one class.
// Part of the arena (arena.h). One thread. What is free is in a bitmap beside the data, never in it: clients map the
// data.
//
// Invariants  C1  a slab with a free cell is in its class's list, one without is not; the one freed into last is first.
//             C2  a slab of free cells only does not exist: its pages go back at once.
//             C3  `owner` of each page of a slab is the slab's number.
//             C4  a slab that was adopted gives no cell and goes nowhere until ReleaseQuarantine; C1 and C2 hold from
//                 then on.
//             C5  a slab in a segment that is being drained is in no list.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "store/memory_budget.h"
#include "store/page_runs.h"
#include "store/place.h"

namespace mayfly {

class Slabs {
 public:
  static constexpr uint32_t kSlabBytes = 64 * 1024;
  static constexpr uint32_t kSlabPages = kSlabBytes / PageRuns::kPageBytes;
  static constexpr uint32_t kCellBytesMax = 3840;

  Slabs(PageRuns* runs, MemoryBudget* budget);
  ~Slabs();

  // Bytes of the cell that a place of `bytes` (1 to kCellBytesMax) gets.
  static uint32_t CellBytes(uint32_t bytes);
  // A cell, in an existing slab or a new one. An invalid place when the runs have no pages for one.
  Place Allocate(uint32_t bytes);
  void Free(Place place);
  // Pages by which the page that the cell begins in lies behind the first page of its slab.
  uint8_t PagesBefore(Place place) const;

  // Whether a place of `bytes` can be a cell of a slab that begins `within` bytes before it.
  static bool IsCell(uint64_t within, uint32_t bytes);
  // A slab on these pages, which are taken, with cells for places of `bytes`, and cells of it (C4).
  uint32_t Adopt(uint32_t page, uint32_t bytes);
  void AdoptCell(uint32_t slab, Place place);
  void ReleaseQuarantine();
  // No slab in this segment gives a cell until EndDrain.
  void StartDrain(uint32_t segment);
  void EndDrain(uint32_t segment);

  uint64_t bytes_used() const { return bytes_used_; }  // in cells given out
  uint64_t slabs() const { return slabs_.size() - free_slabs_.size(); }
  uint64_t table_bytes() const { return table_bytes_; }

 private:
  static constexpr uint32_t kCellsMax = kSlabBytes / 64;
  static constexpr uint32_t kNone = PageRuns::kNone;
  struct Slab {
    uint32_t page = 0;
    uint8_t class_index = 0;
    bool quarantined = false;  // C4
    bool draining = false;     // C5
    uint16_t free = 0;
    uint32_t next = kNone, previous = kNone;          // C1
    std::array<uint64_t, kCellsMax / 64> free_cells;  // bit set: free
  };

  uint32_t NewSlab(uint32_t class_index);
  uint32_t AddSlab(uint32_t page, uint32_t class_index);
  void RemoveSlab(uint32_t slab);
  void Link(uint32_t slab);
  void Unlink(uint32_t slab);

  PageRuns* const runs_;
  MemoryBudget* const budget_;
  std::vector<Slab> slabs_;
  std::vector<uint32_t> free_slabs_;  // numbers of slabs_ without pages
  std::vector<uint32_t> partial_;     // by class: first slab with a free cell
  uint64_t bytes_used_ = 0;
  uint64_t table_bytes_ = 0;
};

}  // namespace mayfly
