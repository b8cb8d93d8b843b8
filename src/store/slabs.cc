#include "store/slabs.h"

#include <bit>

#include "base/check.h"

namespace mayfly {
namespace {

// At most 12.5% apart from 512 bytes on; a slab loses 1.6% at its end at worst.
constexpr uint16_t kCells[] = {64,   128,  192,  256,  320,  384,  448,  512,  576,  640,  704,
                               768,  832,  896,  960,  1024, 1152, 1280, 1408, 1536, 1664, 1792,
                               1920, 2048, 2304, 2560, 2816, 3072, 3264, 3584, 3840};
constexpr uint32_t kClasses = std::size(kCells);
static_assert(kCells[kClasses - 1] == Slabs::kCellBytesMax);

// By bytes in units of 64, rounded up.
constexpr auto kClassOfUnits = [] {
  std::array<uint8_t, Slabs::kCellBytesMax / 64 + 1> table{};
  uint8_t index = 0;
  for (uint32_t units = 1; units < table.size(); ++units) {
    if (units * 64 > kCells[index]) ++index;
    table[units] = index;
  }
  return table;
}();

uint32_t ClassOf(uint32_t bytes) { return kClassOfUnits[(bytes + 63) / 64]; }
uint32_t CellsOf(uint32_t class_index) { return Slabs::kSlabBytes / kCells[class_index]; }

}  // namespace

Slabs::Slabs(PageRuns* runs, MemoryBudget* budget) : runs_(runs), budget_(budget), partial_(kClasses, kNone) {}

Slabs::~Slabs() { budget_->ReleaseTables(table_bytes_); }

uint32_t Slabs::CellBytes(uint32_t bytes) { return kCells[ClassOf(bytes)]; }

void Slabs::Link(uint32_t slab) {
  uint32_t& head = partial_[slabs_[slab].class_index];
  slabs_[slab].previous = kNone;
  slabs_[slab].next = head;
  if (head != kNone) slabs_[head].previous = slab;
  head = slab;  // C1
}

void Slabs::Unlink(uint32_t slab) {
  Slab& s = slabs_[slab];
  if (s.next != kNone) slabs_[s.next].previous = s.previous;
  if (s.previous != kNone) {
    slabs_[s.previous].next = s.next;
  } else {
    partial_[s.class_index] = s.next;
  }
}

uint32_t Slabs::NewSlab(uint32_t class_index) {
  uint32_t page = runs_->Allocate(kSlabPages);
  if (page == kNone) return kNone;
  uint32_t slab = AddSlab(page, class_index);
  Link(slab);
  return slab;
}

uint32_t Slabs::AddSlab(uint32_t page, uint32_t class_index) {
  if (free_slabs_.empty()) {
    size_t before = slabs_.capacity();
    free_slabs_.push_back(static_cast<uint32_t>(slabs_.size()));
    slabs_.emplace_back();
    // Kept for later slabs, never given back: 0.3% of the most that slabs ever took.
    uint64_t grown = (slabs_.capacity() - before) * (sizeof(Slab) + sizeof(uint32_t));
    budget_->ChargeTablesAlways(grown);
    table_bytes_ += grown;
  }
  uint32_t slab = free_slabs_.back();
  free_slabs_.pop_back();
  Slab& s = slabs_[slab];
  s = Slab{.page = page, .class_index = static_cast<uint8_t>(class_index)};
  s.free = static_cast<uint16_t>(CellsOf(class_index));
  for (uint32_t cell = 0; cell < s.free; ++cell) s.free_cells[cell / 64] |= uint64_t{1} << (cell % 64);
  runs_->SetOwner(page, kSlabPages, slab);  // C3
  return slab;
}

void Slabs::RemoveSlab(uint32_t slab) {
  slabs_[slab].free = 0;
  runs_->Free(slabs_[slab].page, kSlabPages);
  free_slabs_.push_back(slab);
}

Place Slabs::Allocate(uint32_t bytes) {
  uint32_t class_index = ClassOf(bytes);
  uint32_t slab = partial_[class_index];
  if (slab == kNone) slab = NewSlab(class_index);
  if (slab == kNone) return {};
  Slab& s = slabs_[slab];
  uint32_t word = 0;
  while (s.free_cells[word] == 0) ++word;  // C1: there is one
  uint32_t cell = word * 64 + static_cast<uint32_t>(std::countr_zero(s.free_cells[word]));
  s.free_cells[word] &= s.free_cells[word] - 1;
  if (--s.free == 0) Unlink(slab);  // C1
  bytes_used_ += kCells[class_index];
  return {(uint64_t{s.page} << PageRuns::kPageBits) + uint64_t{cell} * kCells[class_index], bytes};
}

void Slabs::Free(Place place) {
  uint32_t class_index = ClassOf(place.bytes);
  uint32_t slab = runs_->OwnerOf(static_cast<uint32_t>(place.offset >> PageRuns::kPageBits));
  MAYFLY_CHECK(slab < slabs_.size() && slabs_[slab].class_index == class_index);  // A1, C3
  Slab& s = slabs_[slab];
  uint64_t within = place.offset - (uint64_t{s.page} << PageRuns::kPageBits);
  MAYFLY_CHECK(within < kSlabBytes && within % kCells[class_index] == 0);  // A1
  uint32_t cell = static_cast<uint32_t>(within / kCells[class_index]);
  uint64_t bit = uint64_t{1} << (cell % 64);
  MAYFLY_CHECK(cell < CellsOf(class_index) && (s.free_cells[cell / 64] & bit) == 0);  // A1
  s.free_cells[cell / 64] |= bit;
  bytes_used_ -= kCells[class_index];
  bool was_full = s.free++ == 0;
  if (s.quarantined) return;  // C4
  if (!was_full && !s.draining) Unlink(slab);
  if (s.free == CellsOf(class_index)) return RemoveSlab(slab);  // C2
  if (!s.draining) Link(slab);                                  // C1: first now
}

uint8_t Slabs::PagesBefore(Place place) const {
  const auto page = static_cast<uint32_t>(place.offset >> PageRuns::kPageBits);
  return static_cast<uint8_t>(page - slabs_[runs_->OwnerOf(page)].page);
}

bool Slabs::IsCell(uint64_t within, uint32_t bytes) {
  const uint32_t class_index = ClassOf(bytes);
  return within % kCells[class_index] == 0 && within / kCells[class_index] < CellsOf(class_index);
}

uint32_t Slabs::Adopt(uint32_t page, uint32_t bytes) {
  const uint32_t slab = AddSlab(page, ClassOf(bytes));
  slabs_[slab].quarantined = true;
  return slab;
}

void Slabs::AdoptCell(uint32_t slab, Place place) {
  Slab& s = slabs_[slab];
  const uint64_t within = place.offset - (uint64_t{s.page} << PageRuns::kPageBits);
  const uint64_t cell = within / kCells[s.class_index], bit = uint64_t{1} << (cell % 64);
  MAYFLY_CHECK((s.free_cells[cell / 64] & bit) != 0);
  s.free_cells[cell / 64] &= ~bit;
  --s.free;
  bytes_used_ += kCells[s.class_index];
}

void Slabs::ReleaseQuarantine() {
  for (uint32_t slab = 0; slab < slabs_.size(); ++slab) {
    Slab& s = slabs_[slab];
    if (!s.quarantined) continue;
    s.quarantined = false;
    if (s.free == CellsOf(s.class_index)) {
      RemoveSlab(slab);  // C2
    } else if (s.free != 0 && !s.draining) {
      Link(slab);  // C1
    }
  }
}

void Slabs::StartDrain(uint32_t segment) {
  for (uint32_t slab = 0; slab < slabs_.size(); ++slab) {
    Slab& s = slabs_[slab];
    if (s.page >> PageRuns::kSegmentPageBits != segment) continue;
    if (s.free != 0 && !s.quarantined) Unlink(slab);  // one without pages has no free cell
    s.draining = true;
  }
}

void Slabs::EndDrain(uint32_t segment) {
  for (uint32_t slab = 0; slab < slabs_.size(); ++slab) {
    Slab& s = slabs_[slab];
    if (s.page >> PageRuns::kSegmentPageBits != segment) continue;
    s.draining = false;
    if (s.free != 0 && !s.quarantined) Link(slab);  // C1
  }
}

}  // namespace mayfly
