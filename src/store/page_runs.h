// Runs of 4 KiB pages in the arena's segments: the part of the arena (arena.h) that knows free from taken. One thread.
//
// Free runs that were given out before hang in bins by length: one bin a length up to 64 pages, above 16 bins a
// doubling. A bitmap finds the first bin whose every run is long enough; each bin is a stack.
//
// Invariants  P1  first and last page of every run below the cold mark say what it is and how long: neighbours find
//                 each other in one step.
//             P2  two free runs never touch; every free run is in the bin of its length.
//             P3  a free run lies below its segment's cold mark; pages at or behind the mark were never given out.
//             P4  a page number is segment << 14 | page within it, so page << 12 is a Place's offset.
//             P5  of a segment that is being drained nothing is given out, and its free runs are in no bin and may
//             touch.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/bytes.h"
#include "store/place.h"

namespace mayfly {

class PageRuns {
 public:
  static constexpr int kPageBits = 12;
  static constexpr uint32_t kPageBytes = 1u << kPageBits;
  static constexpr int kSegmentPageBits = Place::kSegmentBits - kPageBits;
  static constexpr uint32_t kSegmentPagesMax = 1u << kSegmentPageBits;
  static constexpr uint32_t kSegmentsMax = 1u << (32 - kSegmentPageBits);  // since the start: numbers are not reused
  static constexpr uint32_t kNone = ~0u;

  PageRuns();

  // Numbered in the order of adding (as ArenaMemory does). `memory` is a multiple of the page, at most 64 MiB.
  void AddSegment(MutableBytes memory);
  // Likewise, one that was in use before: nothing of it is free or cold until Free was called for each run that Adopt
  // took; Adopt is to be called until it is taken as a whole. Empty: the number of a segment that is gone.
  void AdoptSegment(MutableBytes memory);
  void Adopt(uint32_t page, uint32_t pages);
  // Table memory that a segment of `bytes` takes.
  static uint64_t TableBytes(uint64_t bytes) { return (bytes >> kPageBits) * sizeof(Page) + sizeof(Segment); }
  uint64_t table_bytes() const { return pages_mapped_ * sizeof(Page) + segments_live_ * sizeof(Segment); }
  // A segment in which nothing is given out and that is not being prefaulted: forgets it and returns its memory. Empty
  // when there is none.
  MutableBytes RemoveFreeSegment(bool draining_only = false);
  // P5. EndDrain: as before.
  void StartDrain(uint32_t segment);
  void EndDrain(uint32_t segment);
  bool is_draining(uint32_t segment) const { return segments_[segment].draining; }
  uint32_t pages_taken_in(uint32_t segment) const { return segments_[segment].taken; }
  uint64_t pages_withheld() const { return pages_withheld_; }  // free, in segments that are being drained

  // The first page of a run of `pages`, or kNone. Warm pages first, then cold ones.
  uint32_t Allocate(uint32_t pages);
  void Free(uint32_t page, uint32_t pages);
  // Frees all but the first `keep` pages.
  void FreeTail(uint32_t page, uint32_t pages, uint32_t keep);
  // A number that stays with each page of a run given out: its slab. kNone for none.
  void SetOwner(uint32_t page, uint32_t pages, uint32_t owner);
  uint32_t OwnerOf(uint32_t page) const;
  // Aborts unless [page, page + pages) is exactly one run given out.
  void CheckTaken(uint32_t page, uint32_t pages) const;

  MutableBytes Data(uint64_t offset, uint32_t bytes) const;

  MutableBytes NextCold(size_t bytes_max);
  void ColdDone(MutableBytes range);

  uint64_t segments() const { return segments_live_; }
  MutableBytes segment(uint32_t number) const { return segments_[number].memory; }  // empty: removed
  uint32_t segments_made() const { return static_cast<uint32_t>(segments_.size()); }
  uint64_t pages_mapped() const { return pages_mapped_; }
  uint64_t pages_taken() const { return pages_taken_; }
  uint64_t pages_cold() const { return pages_cold_; }
  uint64_t pages_prefaulted() const;   // cold, and returned by NextCold
  uint32_t longest_bin_pages() const;  // no free run is longer

 private:
  enum class State : uint8_t { kFree, kTaken };
  // 16 bytes a page, 0.4%. Valid where P1 says; `owner` on every page of a run with one.
  struct Page {
    uint32_t pages = 0;
    State state = State::kTaken;
    uint32_t next = kNone;  // kFree: in the bin, first page of the run only
    union {
      uint32_t previous = kNone;  // kFree
      uint32_t owner;             // kTaken
    };
  };
  struct Segment {
    MutableBytes memory;  // empty: removed
    std::vector<Page> table;
    uint32_t cold = 0;        // P3: the mark
    uint32_t prefaulted = 0;  // the next page for NextCold, if not below `cold`
    uint32_t taken = 0;
    uint32_t prefaulting = 0;  // ranges out
    bool draining = false;     // P5
    uint32_t pages() const { return static_cast<uint32_t>(memory.size() >> kPageBits); }
  };
  static constexpr uint32_t kExactPages = 64;
  static constexpr uint32_t kStepsLog2 = 4;
  static constexpr uint32_t kBins = kExactPages + 8 * (1u << kStepsLog2) + 1;

  static uint32_t BinOf(uint32_t pages);       // the bin that holds runs of this length
  static uint32_t BinFitting(uint32_t pages);  // the first bin whose every run is at least this long

  Segment& SegmentOf(uint32_t page) { return segments_[page >> kSegmentPageBits]; }
  Page& At(uint32_t page) { return SegmentOf(page).table[page & (kSegmentPagesMax - 1)]; }
  const Page& At(uint32_t page) const { return const_cast<PageRuns*>(this)->At(page); }
  void Push(uint32_t page, uint32_t pages);
  void Unlink(uint32_t page);
  void MarkTaken(uint32_t page, uint32_t pages);
  uint32_t FindWarm(uint32_t pages);
  uint32_t TakeCold(uint32_t pages);

  std::vector<Segment> segments_;
  std::array<uint32_t, kBins> heads_;
  std::array<uint64_t, (kBins + 63) / 64> used_bins_{};
  uint32_t first_cold_ = 0;  // no segment before this one has cold pages
  uint64_t segments_live_ = 0;
  uint64_t pages_mapped_ = 0;
  uint64_t pages_taken_ = 0;
  uint64_t pages_cold_ = 0;
  uint64_t pages_withheld_ = 0;
};

}  // namespace mayfly
