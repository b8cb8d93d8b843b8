#include "store/page_runs.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr uint32_t kProbesMax = 32;  // of runs in a bin whose lengths may or may not do

}  // namespace

PageRuns::PageRuns() { heads_.fill(kNone); }

uint32_t PageRuns::BinOf(uint32_t pages) {
  if (pages <= kExactPages) return pages - 1;
  uint32_t log2 = static_cast<uint32_t>(std::bit_width(pages)) - 1;
  uint32_t step = (pages >> (log2 - kStepsLog2)) & ((1u << kStepsLog2) - 1);
  return kExactPages + ((log2 - 6) << kStepsLog2) + step;
}

uint32_t PageRuns::BinFitting(uint32_t pages) {
  if (pages <= kExactPages) return pages - 1;
  uint32_t log2 = static_cast<uint32_t>(std::bit_width(pages)) - 1;
  return BinOf(pages + (1u << (log2 - kStepsLog2)) - 1);
}

uint32_t PageRuns::longest_bin_pages() const {
  for (uint32_t word = static_cast<uint32_t>(used_bins_.size()); word-- > 0;) {
    if (used_bins_[word] == 0) continue;
    uint32_t bin = word * 64 + 63 - static_cast<uint32_t>(std::countl_zero(used_bins_[word]));
    if (bin < kExactPages) return bin + 1;
    uint32_t log2 = 6 + ((bin - kExactPages) >> kStepsLog2);
    uint32_t step = (bin - kExactPages) & ((1u << kStepsLog2) - 1);
    uint32_t longest = (((1u << kStepsLog2) + step + 1) << (log2 - kStepsLog2)) - 1;
    return std::min(longest, kSegmentPagesMax);
  }
  return 0;
}

void PageRuns::AddSegment(MutableBytes memory) {
  MAYFLY_CHECK(!memory.empty() && memory.size() <= Place::kBytesMax && memory.size() % kPageBytes == 0);
  MAYFLY_CHECK(segments_.size() < kSegmentsMax);  // P4
  Segment& segment = segments_.emplace_back();
  segment.memory = memory;
  segment.table.resize(segment.pages());
  ++segments_live_;
  pages_mapped_ += segment.pages();
  pages_cold_ += segment.pages();
}

void PageRuns::AdoptSegment(MutableBytes memory) {
  if (memory.empty()) {
    segments_.emplace_back();
    return;
  }
  AddSegment(memory);
  Segment& segment = segments_.back();
  segment.cold = segment.prefaulted = segment.pages();
  pages_cold_ -= segment.pages();
}

void PageRuns::Adopt(uint32_t page, uint32_t pages) {
  MarkTaken(page, pages);
  SegmentOf(page).taken += pages;
  pages_taken_ += pages;
}

void PageRuns::StartDrain(uint32_t number) {
  Segment& segment = segments_[number];
  MAYFLY_CHECK(!segment.memory.empty() && !segment.draining);
  const uint32_t first = number << kSegmentPageBits;
  for (uint32_t at = 0; at < segment.cold; at += segment.table[at].pages) {  // P1
    if (segment.table[at].state == State::kFree) Unlink(first + at);
  }
  segment.draining = true;
  pages_withheld_ += segment.pages() - segment.taken;
}

void PageRuns::EndDrain(uint32_t number) {
  Segment& segment = segments_[number];
  MAYFLY_CHECK(segment.draining);
  segment.draining = false;
  pages_withheld_ -= segment.pages() - segment.taken;
  for (uint32_t at = 0; at < segment.cold;) {
    uint32_t end = at;
    while (end < segment.cold && segment.table[end].state == State::kFree) end += segment.table[end].pages;
    if (end != at) {
      Push((number << kSegmentPageBits) + at, end - at);  // P2
      at = end;
    } else {
      at += segment.table[at].pages;
    }
  }
}

MutableBytes PageRuns::RemoveFreeSegment(bool draining_only) {
  for (uint32_t i = segments_made(); i-- > 0;) {
    Segment& segment = segments_[i];
    if (segment.memory.empty() || segment.taken != 0 || segment.prefaulting != 0) continue;
    if (draining_only && !segment.draining) continue;
    if (segment.draining) pages_withheld_ -= segment.pages();
    if (segment.cold != 0 && !segment.draining) Unlink(i << kSegmentPageBits);  // P2: one run up to the mark
    --segments_live_;
    pages_mapped_ -= segment.pages();
    pages_cold_ -= segment.pages() - segment.cold;
    MutableBytes memory = segment.memory;
    segment = Segment();
    return memory;
  }
  return {};
}

void PageRuns::Push(uint32_t page, uint32_t pages) {
  uint32_t bin = BinOf(pages);
  Page& first = At(page);
  At(page + pages - 1) = Page{.pages = pages, .state = State::kFree};  // P1
  first.pages = pages;
  first.state = State::kFree;
  first.previous = kNone;
  first.next = heads_[bin];
  if (first.next != kNone) At(first.next).previous = page;
  heads_[bin] = page;  // the warmest first
  used_bins_[bin / 64] |= uint64_t{1} << (bin % 64);
}

void PageRuns::Unlink(uint32_t page) {
  Page& first = At(page);
  MAYFLY_CHECK(first.state == State::kFree);  // P1
  uint32_t bin = BinOf(first.pages);
  if (first.next != kNone) At(first.next).previous = first.previous;
  if (first.previous != kNone) {
    At(first.previous).next = first.next;
    return;
  }
  MAYFLY_CHECK(heads_[bin] == page);  // P2
  heads_[bin] = first.next;
  if (first.next == kNone) used_bins_[bin / 64] &= ~(uint64_t{1} << (bin % 64));
}

void PageRuns::MarkTaken(uint32_t page, uint32_t pages) {
  At(page) = Page{.pages = pages, .state = State::kTaken};
  if (pages > 1) At(page + pages - 1) = Page{.pages = pages, .state = State::kTaken};  // P1
}

// The first page of a free run of at least `pages`, still in its bin.
uint32_t PageRuns::FindWarm(uint32_t pages) {
  uint32_t bin = BinFitting(pages);
  uint32_t word = bin / 64;
  uint64_t bits = used_bins_[word] & (~uint64_t{0} << (bin % 64));
  while (bits == 0 && ++word < used_bins_.size()) bits = used_bins_[word];
  if (bits != 0) return heads_[word * 64 + static_cast<uint32_t>(std::countr_zero(bits))];
  uint32_t own = BinOf(pages);
  if (own == bin) return kNone;
  uint32_t page = heads_[own];
  for (uint32_t probes = 0; page != kNone && probes < kProbesMax; ++probes, page = At(page).next) {
    if (At(page).pages >= pages) return page;
  }
  return kNone;
}

// Takes from behind a cold mark, with the free run that ends at the mark.
uint32_t PageRuns::TakeCold(uint32_t pages) {
  for (uint32_t i = first_cold_; i < segments_made(); ++i) {
    Segment& segment = segments_[i];
    uint32_t cold_pages = segment.pages() - segment.cold;
    if (segment.draining) continue;
    if (cold_pages == 0) {
      if (i == first_cold_) ++first_cold_;
      continue;
    }
    const Page* last = segment.cold == 0 ? nullptr : &segment.table[segment.cold - 1];
    uint32_t tail = last != nullptr && last->state == State::kFree ? last->pages : 0;
    if (tail + cold_pages < pages) continue;
    uint32_t page = (i << kSegmentPageBits) + segment.cold - tail;
    if (tail != 0) Unlink(page);
    if (tail > pages) {  // FindWarm gave up before it came to this one
      Push(page + pages, tail - pages);
    } else {
      segment.cold += pages - tail;
      pages_cold_ -= pages - tail;
    }
    return page;
  }
  return kNone;
}

uint32_t PageRuns::Allocate(uint32_t pages) {
  MAYFLY_CHECK(pages != 0 && pages <= kSegmentPagesMax);
  uint32_t page = FindWarm(pages);
  if (page != kNone) {
    uint32_t found = At(page).pages;
    Unlink(page);
    if (found > pages) Push(page + pages, found - pages);
  } else {
    page = TakeCold(pages);
    if (page == kNone) return kNone;
  }
  MarkTaken(page, pages);
  SegmentOf(page).taken += pages;
  pages_taken_ += pages;
  return page;
}

void PageRuns::CheckTaken(uint32_t page, uint32_t pages) const {
  uint32_t index = page >> kSegmentPageBits, within = page & (kSegmentPagesMax - 1);
  MAYFLY_CHECK(pages != 0 && index < segments_.size() && within < segments_[index].cold);
  const Page& first = segments_[index].table[within];
  MAYFLY_CHECK(first.state == State::kTaken && first.pages == pages);  // A1, P1
}

void PageRuns::Free(uint32_t page, uint32_t pages) {
  CheckTaken(page, pages);
  Segment& segment = SegmentOf(page);
  segment.taken -= pages;
  pages_taken_ -= pages;
  // Marked at both ends also where a neighbour swallows it: a second Free must not find a taken run.
  At(page).state = State::kFree;
  if (segment.draining) {  // P5
    pages_withheld_ += pages;
    return;
  }
  uint32_t within = page & (kSegmentPagesMax - 1);
  if (within + pages < segment.cold && At(page + pages).state == State::kFree) {
    uint32_t next_pages = At(page + pages).pages;
    Unlink(page + pages);
    pages += next_pages;
  }
  if (within != 0 && At(page - 1).state == State::kFree) {
    uint32_t previous_pages = At(page - 1).pages;
    page -= previous_pages;
    Unlink(page);
    pages += previous_pages;
  }
  Push(page, pages);
}

void PageRuns::FreeTail(uint32_t page, uint32_t pages, uint32_t keep) {
  CheckTaken(page, pages);
  MAYFLY_CHECK(keep != 0 && keep <= pages);
  if (keep == pages) return;
  MarkTaken(page, keep);
  MarkTaken(page + keep, pages - keep);
  Free(page + keep, pages - keep);
}

void PageRuns::SetOwner(uint32_t page, uint32_t pages, uint32_t owner) {
  for (uint32_t i = 0; i < pages; ++i) At(page + i).owner = owner;
}

uint32_t PageRuns::OwnerOf(uint32_t page) const {
  uint32_t index = page >> kSegmentPageBits, within = page & (kSegmentPagesMax - 1);
  MAYFLY_CHECK(index < segments_.size() && within < segments_[index].cold);
  return segments_[index].table[within].owner;
}

MutableBytes PageRuns::Data(uint64_t offset, uint32_t bytes) const {
  uint64_t index = offset >> Place::kSegmentBits, within = offset & (Place::kBytesMax - 1);
  MAYFLY_CHECK(index < segments_.size() && within + bytes <= segments_[index].memory.size());
  return segments_[index].memory.subspan(within, bytes);
}

MutableBytes PageRuns::NextCold(size_t bytes_max) {
  for (uint32_t i = first_cold_; i < segments_made(); ++i) {
    Segment& segment = segments_[i];
    uint32_t from = std::max(segment.prefaulted, segment.cold);
    uint32_t pages = static_cast<uint32_t>(std::min<size_t>(bytes_max >> kPageBits, segment.pages() - from));
    if (pages == 0 || segment.draining) continue;
    segment.prefaulted = from + pages;
    ++segment.prefaulting;
    return segment.memory.subspan(size_t{from} << kPageBits, size_t{pages} << kPageBits);
  }
  return {};
}

void PageRuns::ColdDone(MutableBytes range) {
  for (Segment& segment : segments_) {
    if (segment.memory.empty() || range.data() < segment.memory.data() ||
        range.data() >= segment.memory.data() + segment.memory.size()) {
      continue;
    }
    MAYFLY_CHECK(segment.prefaulting != 0);
    --segment.prefaulting;
    return;
  }
  MAYFLY_CHECK(range.empty());
}

uint64_t PageRuns::pages_prefaulted() const {
  uint64_t pages = 0;
  for (const Segment& segment : segments_) pages += segment.prefaulted - std::min(segment.prefaulted, segment.cold);
  return pages;
}

}  // namespace mayfly
