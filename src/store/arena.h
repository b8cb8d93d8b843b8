// The arena gives out places for file data in segments of shared memory. One thread; nothing of its bookkeeping lies in
// the segments, because clients map them. It knows nothing of files.
//
// Up to 3,840 bytes a place is a cell of a 64 KiB slab of its class (classes at most 12.5% apart); above, a run of 4
// KiB pages: good fit from bins of free runs, the run freed last first (its pages are the warmest: memcpy into touched
// pages is six times faster than into untouched ones, MEASURED.md), neighbours merged at once. Pages never given out
// ("cold") lie behind a mark in each segment and are taken only when no warm run fits. Constant time, but for the
// search through segments when cold pages are taken (one step a segment), and no heap allocation but for growing.
//
// Invariants  A1  places given out do not overlap; Free takes exactly what Allocate (or Shrink) gave.
//             A2  free runs do not touch each other, nor hold a page at or behind their segment's cold mark.
//             A3  the class of a place follows from its bytes alone, so a place names its memory completely.
//             A4  segments and page tables are charged to the budget before they exist.
//             A5  a segment is given back only when nothing in it is given out and no range from NextCold is out.
//             A6  the stamps of a place grow before it is given out, and when its segment is given back: bytes that
//             were
//                 copied from it under equal stamps are those that lay there when the stamps were looked at first.
//             A7  of segments that were adopted nothing is given out that was not given back first, until
//                 ReleaseQuarantine: who had mapped them before may still write where no place is known to be.
//             A8  of a segment that is being drained nothing is given out.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "os/arena_memory.h"
#include "store/memory_budget.h"
#include "store/page_runs.h"
#include "store/place.h"
#include "store/slabs.h"

namespace mayfly {

struct ArenaOptions {
  // A multiple of 2 MiB up to 64 MiB; 0: a sixteenth of the budget, rounded down to a power of two within those limits.
  // A place longer than this gets a segment of its own size.
  uint32_t segment_bytes = 0;
};

struct ArenaStats {
  uint64_t segments = 0;
  uint64_t bytes_mapped = 0;       // of all segments: used + warm + cold
  uint64_t bytes_used = 0;         // given out, rounded up to cells and pages
  uint64_t bytes_free_warm = 0;    // free, given out before (with the free cells of slabs)
  uint64_t bytes_free_cold = 0;    // never given out
  uint64_t bytes_prefaulted = 0;   // of the cold ones: given to NextCold already
  uint64_t bytes_quarantined = 0;  // A7: neither used nor free
  uint64_t bytes_tables = 0;       // the arena's own tables, charged to the budget
  uint64_t run_bytes_max = 0;      // upper bound of the longest free warm run
};

// A place in a segment that outlived its server, as given out then; slab_pages is what SlabPagesOf said of it.
struct AdoptedPlace {
  Place place;
  uint8_t slab_pages = 0;
};

class Arena {
 public:
  static constexpr uint32_t kPageBytes = PageRuns::kPageBytes;

  // Both outlive the arena. Maps nothing yet.
  Arena(ArenaMemory* memory, MemoryBudget* budget, ArenaOptions options = {});
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;
  ~Arena();  // unmaps all

  // 1 to Place::kBytesMax bytes (else kInvalid), aligned to 64 bytes. kNoSpace when neither the segments nor the budget
  // nor the node hold them in one piece: a shorter place may still be had. What would be a cell may be a longer place,
  // of a page, where no slab can be had. May map a segment; Grow ahead of need spares that.
  Result<Place> Allocate(uint32_t bytes);
  void Free(Place place);  // A1
  // Gives the end of a place back; the rest keeps its bytes. Returns the place as Free wants it from now on: cells keep
  // their class, so it may be longer than asked.
  Place Shrink(Place place, uint32_t bytes);
  // The bytes of a place, or of a part of one, that is given out.
  MutableBytes Data(Place place) const { return runs_.Data(place.offset, place.bytes); }
  // The sum of the stamps of a place, or of a part of one (A6). It differs once any of it was given out anew (until
  // 2^32 times).
  uint32_t StampOf(Place place) const;

  // For Adopt: pages between the slab's begin and the cell's, at most 15; 0 for a place that is no cell.
  uint8_t SlabPagesOf(Place place) const;
  // Before anything else: takes over what ArenaMemory::Adopt found, with what was given out in it (in any order).
  // kCorrupt, and nothing taken, when a place overlaps another or lies outside, or the segments cannot be an arena's.
  // The rest of the segments is in quarantine (A7). All is charged, also beyond the budget.
  Status Adopt(std::span<const ArenaMemory::Found> segments, std::vector<AdoptedPlace> places);
  // Nobody is left who had the adopted segments mapped before and could write into places that he was lent then.
  void ReleaseQuarantine();

  // One more segment, if budget and node allow it. Slow (the node's memory is reserved): call when idle.
  Status Grow();
  // Prefault ahead: the next pages that were neither given out nor returned here, at most `bytes_max`; empty when there
  // are none. ArenaMemory::Prefault may touch them from a helper thread, also after they were given out; ColdDone when
  // it has.
  MutableBytes NextCold(size_t bytes_max) { return runs_.NextCold(bytes_max); }
  void ColdDone(MutableBytes range) { runs_.ColdDone(range); }
  // Unmaps one segment in which nothing is given out and returns its memory to the budget (A5); false: there is none.
  // For tables that found the budget taken.
  bool ReleaseFreeSegment();
  // A8: of the segments that `may` says may go those with least in them, until they have `bytes`, but no more than
  // `bytes_max`. How many. Whoever has something there gives it up; ReleaseDrained unmaps what has become empty, and
  // says whether anything has.
  template <class May>
  uint32_t StartDrain(uint64_t bytes, uint64_t bytes_max, May may) {
    uint32_t count = 0;
    for (uint64_t chosen = 0; chosen < bytes; ++count) {
      uint32_t best = PageRuns::kNone;
      for (uint32_t i = 0; i < runs_.segments_made(); ++i) {
        if (runs_.segment(i).empty() || runs_.segment(i).size() > bytes_max - chosen) continue;
        if (runs_.is_draining(i) || !may(i)) continue;
        if (best == PageRuns::kNone || runs_.pages_taken_in(i) < runs_.pages_taken_in(best)) best = i;
      }
      if (best == PageRuns::kNone) break;
      chosen += runs_.segment(best).size();
      Drain(best);
    }
    return count;
  }
  bool ReleaseDrained();
  void EndDrain();
  std::span<const uint32_t> draining() const { return draining_; }
  bool IsDraining(Place place) const { return runs_.is_draining(place.segment()); }

  // Free in the segments (whole pages), and what the budget would still add.
  uint64_t bytes_free() const;
  ArenaStats stats() const;
  uint32_t segment_bytes() const { return segment_bytes_; }

 private:
  Place TryAllocate(uint32_t bytes);
  void CountUp(Place place);
  Status AddSegment(uint64_t bytes_min);
  Status MapSegment(uint64_t bytes);
  void Drain(uint32_t segment);
  bool Release(MutableBytes segment);
  struct Run {
    uint32_t page = 0, pages = 0;
    bool is_slab = false;
  };
  using Segments = std::vector<MutableBytes>;  // by number; empty: gone
  static bool FindSegments(std::span<const ArenaMemory::Found> adopted, Segments* segments);
  static bool FindRuns(const Segments& segments, std::span<const AdoptedPlace> sorted, std::vector<Run>* runs);
  void AdoptSegments(const Segments& segments, std::span<const Run> runs);
  void Quarantine(uint32_t page, uint32_t pages);

  ArenaMemory* const memory_;
  MemoryBudget* const budget_;
  const uint32_t segment_bytes_;
  PageRuns runs_;
  Slabs slabs_;
  std::vector<std::span<ArenaStamp>> stamps_;  // by segment
  std::vector<Run> quarantine_;                // A7; taken from runs_
  uint64_t quarantine_pages_ = 0;
  std::vector<uint32_t> draining_;  // A8
};

}  // namespace mayfly
