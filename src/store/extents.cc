#include "store/extents.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace mayfly::store_internal {
namespace {

// What one Commit can add to the tables beside its extent: a file's record (96), a page of the file table (528), and
// two entries in a B-tree of 256-byte nodes, whose splits seldom reach beyond the second level.
constexpr uint64_t kCommitBytes = 96 + 528 + 4 * 400;

// Of one that was staged only, the place says how many.
uint32_t BlocksOfDisk(const Extent* extent) {
  return DiskSpace::BlocksFor(std::max(extent->place_bytes, extent->bytes));
}

uint64_t SumBytes(uint32_t bytes) { return BlocksOf(bytes) <= 1 ? 0 : BlocksOf(bytes) * sizeof(uint64_t); }
// Charged from Stage to Commit or Unstage (S4).
uint64_t Credit(const Extent* extent) {
  uint64_t sums = SumBytes(extent->place_bytes);
  return kCommitBytes + (sums == 0 ? 0 : HeapBytes(sums));
}

}  // namespace

Extents::~Extents() {
  while (Extent* extent = NextUnwritten()) Unref(extent);
  Settle(0);
  staged_.RemoveAll([this](Extent* extent) {
    memory_->budget()->ReleaseTables(Credit(extent));
    Release(extent, false);
  });
}

bool Extents::ChargeTables(uint64_t bytes) {
  MemoryBudget* budget = memory_->budget();
  // The arena may have taken all there is while files were large: what it does not use can come back.
  return budget->ChargeTables(bytes) || (arena_->ReleaseFreeSegment() && budget->ChargeTables(bytes));
}

// A record with its place and its blocks, of which 0 is none, charged for `ahead` more bytes of tables, which the
// caller releases.
Result<Extent*> Extents::Make(uint32_t place_bytes, uint32_t blocks, uint64_t ahead) {
  MemoryBudget* budget = memory_->budget();
  uint64_t record = HeapBytes(sizeof(Extent));
  if (!ChargeTables(record + ahead)) return Code::kNoSpace;
  budget->ReleaseTables(record);  // New charges it
  Result<Place> place = Place();
  if (place_bytes != 0) place = arena_->Allocate(place_bytes);
  Result<uint32_t> block = uint32_t{0};
  if (place.ok() && blocks != 0) {
    block = disk_->Allocate(blocks);
    if (!block.ok() && place->valid()) arena_->Free(*place);
  }
  if (!place.ok() || !block.ok()) {
    budget->ReleaseTables(ahead);
    return place.ok() ? block.code() : place.code();
  }
  Extent* extent = memory_->New<Extent>();
  extent->serial = next_serial_++;
  extent->place_offset = place->offset;
  extent->place_bytes = place->bytes;
  extent->block = *block;
  return extent;
}

Result<Extent*> Extents::Stage(uint32_t bytes) {
  if (bytes == 0 || bytes > Place::kBytesMax) return Code::kInvalid;
  Extent size_only{.place_bytes = bytes};
  Result<Extent*> extent = Make(bytes, disk_ != nullptr ? DiskSpace::BlocksFor(bytes) : 0, Credit(&size_only));
  if (!extent.ok()) return extent;
  (*extent)->staged = true;
  staged_.Insert(*extent);
  staged_bytes_ += (*extent)->place_bytes;
  return extent;
}

Result<Extent*> Extents::StageInside(Extent* reservation, uint64_t file_offset, uint32_t bytes) {
  MAYFLY_CHECK(reservation->reserved && file_offset >= reservation->file_offset &&
               file_offset + bytes <= reservation->file_end());
  Place place{reservation->place_offset + (file_offset - reservation->file_offset), bytes};
  if (reservation->absent) {
    const Result<Place> own = arena_->Allocate(bytes);
    if (!own.ok()) return own.status();
    place = *own;
  }
  Extent* extent = memory_->New<Extent>();
  extent->serial = next_serial_++;
  extent->place_offset = place.offset;
  extent->place_bytes = place.bytes;
  extent->reservation = reservation;
  extent->inside = true;
  Ref(reservation);
  extent->staged = true;
  memory_->budget()->ChargeTablesAlways(Credit(extent));
  staged_.Insert(extent);
  staged_bytes_ += extent->place_bytes;
  return extent;
}

Extent* Extents::FindStaged(Place place) const {
  Extent* extent = staged_.Find(place.offset);
  return extent != nullptr && extent->place_bytes == place.bytes ? extent : nullptr;
}

void Extents::EndStaged(Extent* extent) {
  staged_.Remove(extent);
  staged_bytes_ -= extent->place_bytes;
  memory_->budget()->ReleaseTables(Credit(extent));
  extent->staged = false;
}

void Extents::Unstage(Extent* extent) {
  EndStaged(extent);
  Release(extent, false);
}

void Extents::Write(Extent* extent, uint64_t file_offset, uint32_t bytes, std::span<const uint64_t> sums) {
  MAYFLY_CHECK(bytes <= extent->place_bytes && (sums.empty() || sums.size() == BlocksOf(bytes)));  // S5
  EndStaged(extent);
  const uint32_t had = DiskSpace::BlocksFor(extent->place_bytes);
  if (extent->owns_place()) extent->place_bytes = arena_->Shrink(extent->place(), bytes).bytes;
  const uint32_t has = DiskSpace::BlocksFor(extent->place_bytes);
  if (disk_ != nullptr && !extent->inside && has < had) {
    disk_->Free(extent->disk_block() + has, had - has);  // no image named them
  }
  extent->bytes = bytes;
  extent->file_offset = file_offset;
  extent->has_sums = !sums.empty();
  if (sums.size() == 1) extent->sum = sums[0];
  if (sums.size() > 1) {
    extent->sums = static_cast<uint64_t*>(memory_->Allocate(SumBytes(bytes)));
    std::copy(sums.begin(), sums.end(), extent->sums);
  }
  Count(extent, 1);
  if (disk_ != nullptr) AddUnwritten(extent);
}

void Extents::AddUnwritten(Extent* extent) {
  Ref(extent);
  unwritten_.push_back(extent);
  ++unwritten_ever_;
}

Extent* Extents::NextUnwritten() {
  if (unwritten_.empty()) return nullptr;
  Extent* extent = unwritten_.front();
  unwritten_.pop_front();
  return extent;
}

Result<Extent*> Extents::Reserve(uint64_t file_offset, uint32_t bytes) {
  Result<Extent*> made =
      disk_ != nullptr ? Make(0, DiskSpace::BlocksFor(bytes), kCommitBytes) : Make(bytes, 0, kCommitBytes);
  if (!made.ok()) return made;
  memory_->budget()->ReleaseTables(kCommitBytes);  // asked for only so that a full budget refuses before it is passed
  Extent* extent = *made;
  extent->bytes = bytes;
  extent->file_offset = file_offset;
  extent->reserved = true;
  extent->cached = extent->absent = disk_ != nullptr;
  Count(extent, 1);
  return extent;
}

void Extents::Unreserve(Extent* extent) {
  MAYFLY_CHECK(extent->reserved && extent->references == 0);
  Count(extent, -1);
  Release(extent, false);
}

void Extents::Count(const Extent* extent, int64_t sign) {
  count_ += static_cast<uint64_t>(sign);
  if (!extent->reserved) written_bytes_ += static_cast<uint64_t>(sign) * extent->bytes;
}

void Extents::Unref(Extent* extent) {
  MAYFLY_CHECK(extent->references != 0);  // S3
  if (--extent->references != 0) return;
  Count(extent, -1);
  Release(extent, true);
}

void Extents::Release(Extent* extent, bool may_be_recorded) {
  if (extent->has_sums && extent->blocks() > 1) memory_->Free(extent->sums, SumBytes(extent->bytes));
  Extent* const parent = extent->parent();
  if (recovered_ != nullptr) {
    recovered_->erase(extent->serial);
    memory_->Delete(extent);
  } else if (extent->owns_place() && may_be_recorded && keeps_unsettled_) {
    extent->next = unsettled_;  // S9
    unsettled_ = extent;
    if (!extent->absent) unsettled_bytes_ += extent->place_bytes;
    if (disk_ != nullptr && parent == nullptr) unsettled_blocks_ += BlocksOfDisk(extent);
  } else {
    const bool named = frozen_ && !extent->cached;  // S11
    if (extent->owns_place() && !extent->absent && !named) arena_->Free(extent->place());
    if (disk_ != nullptr && parent == nullptr && !frozen_) disk_->Free(extent->disk_block(), BlocksOfDisk(extent));
    memory_->Delete(extent);
  }
  if (parent != nullptr) Unref(parent);  // a reservation has no parent
}

void Extents::KeepUnsettled(bool on) {
  keeps_unsettled_ = on;
  if (!on) Settle(~uint64_t{0});
}

void Extents::Freeze() {
  while (unsettled_ != nullptr) {
    Extent* extent = std::exchange(unsettled_, unsettled_->next);
    if (extent->cached && !extent->absent) arena_->Free(extent->place());
    memory_->Delete(extent);
  }
  evicted_ = {};
  unsettled_bytes_ = unsettled_blocks_ = 0;
  keeps_unsettled_ = false;
  frozen_ = true;
}

void Extents::Settle(uint64_t mark) {
  while (unsettled_ != nullptr) {
    Extent* extent = std::exchange(unsettled_, unsettled_->next);
    if (!extent->absent) arena_->Free(extent->place());
    if (disk_ != nullptr && !extent->inside) {  // of one inside its reservation is there, and may have gone already
      const uint32_t blocks = BlocksOfDisk(extent);
      unkept_.push_back({mark, {extent->disk_block(), blocks}});
      unkept_blocks_ += blocks;
    }
    memory_->Delete(extent);
  }
  for (Place place : std::exchange(evicted_, {})) arena_->Free(place);
  unsettled_bytes_ = unsettled_blocks_ = 0;
}

void Extents::Evict(Extent* extent) {
  MAYFLY_CHECK(extent->on_disk && !extent->absent && extent->owns_place() && !extent->reserved);
  MAYFLY_CHECK(!frozen_ || extent->cached);  // S11
  if (keeps_unsettled_) {
    evicted_.push_back(extent->place());
    unsettled_bytes_ += extent->place_bytes;
  } else {
    arena_->Free(extent->place());
  }
  extent->place_offset = extent->place_bytes = 0;
  extent->absent = extent->cached = true;
}

void Extents::Return(Extent* extent, Place place, bool filled) {
  MAYFLY_CHECK(extent->absent);
  if (!filled) return arena_->Free(place);
  extent->place_offset = place.offset;
  extent->place_bytes = place.bytes;
  extent->absent = false;
}

void Extents::Kept(uint64_t mark) {
  while (!unkept_.empty() && unkept_.front().mark <= mark) {
    const DiskSpace::Run run = unkept_.front().run;
    unkept_.pop_front();
    unkept_blocks_ -= run.blocks;
    disk_->Free(run.first, run.blocks);
  }
}

Extent* Extents::Recover(const ExtentImage& image, Extent* parent) {
  Extent* extent = memory_->New<Extent>();
  extent->serial = image.serial;
  extent->place_offset = image.place.offset;
  extent->place_bytes = image.place.bytes;
  extent->bytes = image.bytes;
  extent->file_offset = image.file_offset;
  extent->cached = extent->absent = !image.place.valid();
  extent->reserved = image.reserved;
  extent->has_sums = image.has_sums;
  if (parent != nullptr) {
    extent->reservation = parent;
    extent->inside = true;
    Ref(parent);
  } else {
    extent->block = image.disk_block;
  }
  if (image.has_sums && extent->blocks() > 1) {
    extent->sums = static_cast<uint64_t*>(memory_->Allocate(SumBytes(image.bytes)));
  }
  uint64_t* sums = extent->blocks() > 1 ? extent->sums : &extent->sum;
  if (image.has_sums) std::memcpy(sums, image.sums.data(), image.sums.size());
  Count(extent, 1);
  UseSerialsFrom(image.serial + 1);
  return extent;
}

Status Extents::RecoverStaged(Place place) {
  Result<uint32_t> block = uint32_t{0};
  if (disk_ != nullptr) block = disk_->Allocate(DiskSpace::BlocksFor(place.bytes));
  if (!block.ok()) return block.status();
  Extent* extent = memory_->New<Extent>();
  extent->block = *block;
  extent->serial = next_serial_++;
  extent->place_offset = place.offset;
  extent->place_bytes = place.bytes;
  extent->staged = true;
  memory_->budget()->ChargeTablesAlways(Credit(extent));
  staged_.Insert(extent);
  staged_bytes_ += extent->place_bytes;
  return {};
}

bool Extents::IsAs(const Extent* extent, const ExtentImage& image, const Extent* parent) const {
  const bool same_place = extent->cached || !image.place.valid() || extent->place() == image.place;
  return same_place && extent->bytes == image.bytes && extent->file_offset == image.file_offset &&
         extent->disk_block() == image.disk_block && extent->reserved == image.reserved &&
         extent->has_sums == image.has_sums && extent->parent() == parent &&
         (!image.has_sums || std::memcmp(extent->sum_array(), image.sums.data(), image.sums.size()) == 0);
}

bool Extents::CheckCopy(const Extent* extent, size_t first, size_t last, Bytes data) {
  if (!extent->has_sums) return true;
  MAYFLY_CHECK(first <= last && last < extent->blocks());
  bool good = true;
  for (size_t block = first; block <= last; ++block) {
    size_t bytes = std::min<size_t>(kChecksumBlockBytes, extent->bytes - block * kChecksumBlockBytes);
    if (Checksum(data.subspan((block - first) * kChecksumBlockBytes, bytes)) == extent->sum_array()[block]) continue;
    good = false;
    ++corrupt_blocks_;
  }
  return good;
}

}  // namespace mayfly::store_internal
