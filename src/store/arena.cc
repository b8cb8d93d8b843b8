#include "store/arena.h"

#include <algorithm>
#include <bit>

#include "base/check.h"

namespace mayfly {
namespace {

constexpr uint64_t kUnit = uint64_t{2} << 20;  // of ArenaMemory

uint32_t SegmentBytes(const MemoryBudget& budget, ArenaOptions options) {
  if (options.segment_bytes != 0) {
    MAYFLY_CHECK(options.segment_bytes % kUnit == 0 && options.segment_bytes <= Place::kBytesMax);
    return options.segment_bytes;
  }
  uint64_t share = std::bit_floor(budget.bytes_max() / 16);
  return static_cast<uint32_t>(std::clamp<uint64_t>(share, kUnit, Place::kBytesMax));
}

uint32_t PagesOf(uint32_t bytes) { return (bytes + PageRuns::kPageBytes - 1) >> PageRuns::kPageBits; }
uint32_t PageOf(Place place) { return static_cast<uint32_t>(place.offset >> PageRuns::kPageBits); }
bool IsCell(uint32_t bytes) { return bytes <= Slabs::kCellBytesMax; }  // A3

// The stamps of a segment take a page.
constexpr uint64_t kStampPageBytes = PageRuns::kPageBytes;
static_assert(Place::kBytesMax / kStampBytes * sizeof(ArenaStamp) <= kStampPageBytes);
uint64_t TableBytesOf(uint64_t bytes) { return PageRuns::TableBytes(bytes) + kStampPageBytes; }

}  // namespace

Arena::Arena(ArenaMemory* memory, MemoryBudget* budget, ArenaOptions options)
    : memory_(memory), budget_(budget), segment_bytes_(SegmentBytes(*budget, options)), slabs_(&runs_, budget) {}

Arena::~Arena() {
  for (uint32_t i = 0; i < runs_.segments_made(); ++i) {
    MutableBytes segment = runs_.segment(i);
    if (segment.empty()) continue;
    budget_->ReleaseArena(segment.size());
    budget_->ReleaseTables(TableBytesOf(segment.size()));
    memory_->Unmap(segment);
  }
}

Status Arena::AddSegment(uint64_t bytes_min) {
  uint64_t least = (bytes_min + kUnit - 1) & ~(kUnit - 1);
  // The last segment may be a short one, so that all of the budget is used.
  uint64_t room = budget_->ArenaRoom() & ~(kUnit - 1);
  if (least > room) return Code::kNoSpace;
  uint64_t bytes = std::min(std::max<uint64_t>(segment_bytes_, least), room);
  Status status = MapSegment(bytes);
  // A node without room for a whole segment may have room for this request.
  if (status.code() == Code::kNoSpace && bytes > least) status = MapSegment(least);
  return status;
}

Status Arena::MapSegment(uint64_t bytes) {
  if (runs_.segments_made() == PageRuns::kSegmentsMax) return Code::kNoSpace;  // P4
  if (!budget_->ChargeArena(bytes)) return Code::kNoSpace;                     // A4
  if (budget_->transfers_min() != 0) {
    budget_->ChargeTablesAlways(TableBytesOf(bytes));  // what is kept for segments is kept for these too
  } else if (!budget_->ChargeTables(TableBytesOf(bytes))) {
    budget_->ReleaseArena(bytes);
    return Code::kNoSpace;
  }
  Result<MutableBytes> segment = memory_->Map(bytes);
  if (!segment.ok()) {
    budget_->ReleaseArena(bytes);
    budget_->ReleaseTables(TableBytesOf(bytes));
    return segment.status();
  }
  runs_.AddSegment(*segment);
  stamps_.push_back(memory_->Stamps(*segment));
  return {};
}

Status Arena::Grow() { return AddSegment(kUnit); }

Result<Place> Arena::Allocate(uint32_t bytes) {
  if (bytes == 0 || bytes > Place::kBytesMax) return Code::kInvalid;
  Place place = TryAllocate(bytes);
  if (place.valid()) return place;
  Status grown = AddSegment(std::max(bytes, Slabs::kSlabBytes));
  // Longer than the usual segment: free ones can make room for one of its own.
  while (!grown.ok() && bytes > segment_bytes_ && bytes <= bytes_free() && ReleaseFreeSegment()) {
    grown = AddSegment(bytes);
  }
  // No slab for a cell does not mean no page.
  place = TryAllocate(grown.ok() || !IsCell(bytes) ? bytes : Slabs::kCellBytesMax + 1);
  if (place.valid()) return place;
  MAYFLY_CHECK(!grown.ok());
  return grown;
}

Place Arena::TryAllocate(uint32_t bytes) {
  Place place;
  if (IsCell(bytes)) {
    place = slabs_.Allocate(bytes);
  } else if (const uint32_t page = runs_.Allocate(PagesOf(bytes)); page != PageRuns::kNone) {
    place = {uint64_t{page} << PageRuns::kPageBits, bytes};
  }
  if (place.valid()) CountUp(place);
  return place;
}

void Arena::CountUp(Place place) {
  const std::span<ArenaStamp> stamps = stamps_[place.segment()];
  const size_t last = (place.within() + place.bytes - 1) / kStampBytes;
  for (size_t i = place.within() / kStampBytes; i <= last; ++i) {
    stamps[i].store(stamps[i].load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);  // nobody else writes
  }
  std::atomic_thread_fence(std::memory_order_release);  // before anything is written into the place
}

uint32_t Arena::StampOf(Place place) const {
  const std::span<ArenaStamp> stamps = stamps_[place.segment()];
  const size_t last = (place.within() + place.bytes - 1) / kStampBytes;
  uint32_t sum = 0;
  for (size_t i = place.within() / kStampBytes; i <= last; ++i) sum += stamps[i].load(std::memory_order_relaxed);
  return sum;
}

void Arena::Free(Place place) {
  MAYFLY_CHECK(place.valid());
  if (IsCell(place.bytes)) return slabs_.Free(place);
  MAYFLY_CHECK(place.offset % kPageBytes == 0);  // A1
  runs_.Free(PageOf(place), PagesOf(place.bytes));
}

Place Arena::Shrink(Place place, uint32_t bytes) {
  MAYFLY_CHECK(bytes != 0 && bytes <= place.bytes);
  if (IsCell(place.bytes)) return place;
  uint32_t kept = std::max(bytes, Slabs::kCellBytesMax + 1);  // A3: it stays a run
  runs_.FreeTail(PageOf(place), PagesOf(place.bytes), PagesOf(kept));
  return {place.offset, kept};
}

// ---- adoption ----

uint8_t Arena::SlabPagesOf(Place place) const { return IsCell(place.bytes) ? slabs_.PagesBefore(place) : 0; }

bool Arena::FindSegments(std::span<const ArenaMemory::Found> adopted, Segments* segments) {
  for (const ArenaMemory::Found& s : adopted) {
    if (s.number >= PageRuns::kSegmentsMax || s.segment.empty()) return false;
    if (s.segment.size() % kUnit != 0 || s.segment.size() > Place::kBytesMax) return false;
    if (s.number >= segments->size()) segments->resize(s.number + 1);
    if (!(*segments)[s.number].empty()) return false;
    (*segments)[s.number] = s.segment;
  }
  return true;
}

// The runs and slabs that the places lie in.
bool Arena::FindRuns(const Segments& segments, std::span<const AdoptedPlace> sorted, std::vector<Run>* runs) {
  uint64_t end = 0;       // behind the last place
  uint32_t end_page = 0;  // behind the last run
  uint32_t cell_bytes = 0;
  for (const AdoptedPlace& adopted : sorted) {
    const Place place = adopted.place;
    if (!place.valid() || place.offset < end || place.segment() >= segments.size()) return false;
    const uint32_t segment_pages = static_cast<uint32_t>(segments[place.segment()].size() >> PageRuns::kPageBits);
    const bool is_cell = IsCell(place.bytes);
    uint32_t page = PageOf(place), within = place.within() >> PageRuns::kPageBits;
    if (is_cell) {
      if (adopted.slab_pages > within || adopted.slab_pages >= Slabs::kSlabPages) return false;
      page -= adopted.slab_pages;
      within -= adopted.slab_pages;
      if (!Slabs::IsCell(place.offset - (uint64_t{page} << PageRuns::kPageBits), place.bytes)) return false;
    } else if (place.offset % kPageBytes != 0 || adopted.slab_pages != 0) {
      return false;
    }
    const uint32_t pages = is_cell ? Slabs::kSlabPages : PagesOf(place.bytes);
    if (within + pages > segment_pages) return false;
    end = place.offset + (is_cell ? Slabs::CellBytes(place.bytes) : place.bytes);
    if (is_cell && !runs->empty() && runs->back().is_slab && runs->back().page == page) {
      if (cell_bytes != Slabs::CellBytes(place.bytes)) return false;
      continue;
    }
    if (page < end_page) return false;
    runs->push_back({page, pages, is_cell});
    end_page = page + pages;
    if (is_cell) cell_bytes = Slabs::CellBytes(place.bytes);
  }
  return true;
}

void Arena::Quarantine(uint32_t page, uint32_t pages) {
  if (pages == 0) return;
  runs_.Adopt(page, pages);
  quarantine_.push_back({page, pages});
  quarantine_pages_ += pages;
}

void Arena::AdoptSegments(const Segments& segments, std::span<const Run> runs) {
  auto run = runs.begin();
  for (MutableBytes memory : segments) {
    uint32_t at = runs_.segments_made() << PageRuns::kSegmentPageBits;
    const uint32_t end = at + static_cast<uint32_t>(memory.size() >> PageRuns::kPageBits);
    runs_.AdoptSegment(memory);
    stamps_.push_back(memory.empty() ? std::span<ArenaStamp>() : memory_->Stamps(memory));
    if (memory.empty()) continue;
    budget_->ChargeArenaAlways(memory.size());
    budget_->ChargeTablesAlways(TableBytesOf(memory.size()));
    for (; run != runs.end() && run->page < end; ++run) {
      Quarantine(at, run->page - at);
      runs_.Adopt(run->page, run->pages);
      at = run->page + run->pages;
    }
    Quarantine(at, end - at);
  }
}

Status Arena::Adopt(std::span<const ArenaMemory::Found> adopted, std::vector<AdoptedPlace> places) {
  MAYFLY_CHECK(runs_.segments_made() == 0);
  std::sort(places.begin(), places.end(),
            [](const AdoptedPlace& a, const AdoptedPlace& b) { return a.place.offset < b.place.offset; });
  Segments segments;
  std::vector<Run> runs;
  if (!FindSegments(adopted, &segments) || !FindRuns(segments, places, &runs)) return Code::kCorrupt;
  AdoptSegments(segments, runs);
  auto place = places.begin();
  for (const Run& run : runs) {
    if (!run.is_slab) {
      ++place;
      continue;
    }
    const uint32_t slab = slabs_.Adopt(run.page, place->place.bytes);
    for (; place != places.end() && PageOf(place->place) < run.page + run.pages; ++place) {
      slabs_.AdoptCell(slab, place->place);
    }
  }
  return {};
}

void Arena::ReleaseQuarantine() {
  slabs_.ReleaseQuarantine();
  for (const Run& run : quarantine_) runs_.Free(run.page, run.pages);
  quarantine_ = {};
  quarantine_pages_ = 0;
}

bool Arena::ReleaseFreeSegment() { return Release(runs_.RemoveFreeSegment()); }

void Arena::Drain(uint32_t segment) {
  slabs_.StartDrain(segment);
  runs_.StartDrain(segment);
  draining_.push_back(segment);
}

bool Arena::ReleaseDrained() {
  bool any = false;
  while (Release(runs_.RemoveFreeSegment(true))) any = true;
  return any;
}

void Arena::EndDrain() {
  for (uint32_t segment : draining_) {
    runs_.EndDrain(segment);
    slabs_.EndDrain(segment);
  }
  draining_.clear();
}

bool Arena::Release(MutableBytes segment) {
  if (segment.empty()) return false;
  for (ArenaStamp& stamp : memory_->Stamps(segment)) stamp.fetch_add(1);  // A6
  budget_->ReleaseArena(segment.size());
  budget_->ReleaseTables(TableBytesOf(segment.size()));
  memory_->Unmap(segment);
  std::erase_if(draining_, [this](uint32_t number) { return runs_.segment(number).empty(); });
  return true;
}

uint64_t Arena::bytes_free() const {
  return ((runs_.pages_mapped() - runs_.pages_taken() - runs_.pages_withheld()) << PageRuns::kPageBits) +
         (budget_->ArenaRoom() & ~(kUnit - 1));
}

ArenaStats Arena::stats() const {
  ArenaStats s;
  s.segments = runs_.segments();
  s.bytes_mapped = runs_.pages_mapped() << PageRuns::kPageBits;
  uint64_t slab_bytes = slabs_.slabs() * Slabs::kSlabBytes;
  s.bytes_quarantined = quarantine_pages_ << PageRuns::kPageBits;
  s.bytes_used = (runs_.pages_taken() << PageRuns::kPageBits) - s.bytes_quarantined - slab_bytes + slabs_.bytes_used();
  s.bytes_free_cold = runs_.pages_cold() << PageRuns::kPageBits;
  s.bytes_free_warm = s.bytes_mapped - s.bytes_used - s.bytes_free_cold - s.bytes_quarantined;
  s.bytes_prefaulted = runs_.pages_prefaulted() << PageRuns::kPageBits;
  s.bytes_tables = runs_.table_bytes() + slabs_.table_bytes() + s.segments * kStampPageBytes;
  s.run_bytes_max = uint64_t{runs_.longest_bin_pages()} << PageRuns::kPageBits;
  return s;
}

}  // namespace mayfly
