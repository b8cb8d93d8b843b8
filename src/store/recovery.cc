// The chunk store out of images. While they are applied only the tables are built: places may contradict each other, as
// an old checkpoint and a young journal do. FinishRecovery looks at what is left at the end, and makes it the arena's.
#include <algorithm>
#include <vector>

#include "store/chunk_store.h"
#include "store/images.h"

namespace mayfly {

using store_internal::ExtentImage;
using store_internal::RangeImage;
using store_internal::RecoveredExtent;
using store_internal::SliceImage;
using store_internal::SliceKind;

namespace {

// Bytes of reservations that are given away: as slices that are reserved still, and as extents inside. Where the
// reservation has a place, of the arena, else of the chunk file.
struct Inside {
  uint64_t offset = 0, end = 0;
};

Inside InsideOf(const store_internal::Extent* reservation, uint64_t begin, uint64_t end) {
  const uint64_t first =
      reservation->cached ? reservation->disk_block() * uint64_t{DiskSpace::kBlockBytes} : reservation->place_offset;
  return {first + (begin - reservation->file_offset), first + (end - reservation->file_offset)};
}

bool AreDisjoint(std::vector<Inside>* list) {
  std::sort(list->begin(), list->end(), [](const Inside& a, const Inside& b) { return a.offset < b.offset; });
  for (size_t i = 1; i < list->size(); ++i) {
    if ((*list)[i].offset < (*list)[i - 1].end) return false;
  }
  return true;
}

}  // namespace

Status ChunkStore::Apply(Tag tag, Bytes value, bool unwritten) {
  if (extents_.recovered() == nullptr) extents_.BeginRecovery();
  if (tag == kTagFileRange) {
    RangeImage image;
    MAYFLY_TRY(store_internal::DecodeRange(value, &image));
    Reserved held;
    const Status status = HoldExtents(image, unwritten, &held);
    if (status.ok()) ApplyRange(image, held);
    for (Extent* extent : held) extents_.Unref(extent);
    if (File* file = files_.Find(image.file); status.ok() && file != nullptr) files_.RemoveIfNothing(file);
    return status;
  }
  if (tag == kTagFileGone) {
    InodeId file;
    MAYFLY_TRY(store_internal::DecodeGone(value, &file));
    Drop(file);
    return {};
  }
  if (tag == kTagStoreNext) {
    uint64_t next_serial = 0;
    MAYFLY_TRY(store_internal::DecodeNext(value, &next_serial));
    extents_.UseSerialsFrom(next_serial);
    return {};
  }
  if (tag == kTagPlacesVoid) {
    if (!value.empty()) return Code::kCorrupt;
    for (auto& [serial, known] : *extents_.recovered()) {
      if (known.extent->base()->disk_block() == 0) return Code::kCorrupt;
      known.extent->cached = known.extent->absent = true;
      known.unwritten = false;  // it was read from there
    }
    return {};
  }
  return (tag & kTagMust) != 0 ? Status(Code::kCorrupt) : Status();
}

// Finds or makes the image's extents, with a reference to each. kCorrupt when one is known as something else.
Status ChunkStore::HoldExtents(const RangeImage& image, bool unwritten, Reserved* held) {
  auto& known = *extents_.recovered();
  for (const ExtentImage& one : image.extents) {
    Extent* parent = one.parent == ExtentImage::kNoParent ? nullptr : (*held)[one.parent];
    auto [it, is_new] = known.try_emplace(one.serial, RecoveredExtent{.slab_pages = one.slab_pages});
    if (is_new) {
      it->second.extent = extents_.Recover(one, parent);
    } else if (!extents_.IsAs(it->second.extent, one, parent)) {
      return Code::kCorrupt;
    } else if (!one.place.valid()) {
      it->second.extent->cached = it->second.extent->absent = true;  // whatever older images are applied again
    } else if (it->second.slab_pages != one.slab_pages && !it->second.extent->cached) {
      return Code::kCorrupt;
    }
    it->second.unwritten |= unwritten;
    extents_.Ref(it->second.extent);
    held->push_back(it->second.extent);
  }
  for (const SliceImage& slice : image.slices) {
    if (slice.kind == SliceKind::kMark) continue;
    RecoveredExtent& extent = known.at(image.extents[slice.extent].serial);
    if (extent.file.valid() && extent.file != image.file) return Code::kCorrupt;
    extent.file = image.file;
  }
  return {};
}

void ChunkStore::ApplyRange(const RangeImage& image, const Reserved& extents) {
  File* file = files_.FindOrMake(image.file);
  files_.Cut(file, image.begin, image.end, nullptr);
  for (const SliceImage& slice : image.slices) {
    if (slice.kind == SliceKind::kMark) {
      files_.Mark(file, slice.begin);
    } else {
      files_.Insert(file, slice.begin, slice.bytes, extents[slice.extent], slice.kind == SliceKind::kZeroed);
    }
  }
  file->high_water = image.high_water;
  file->mtime = image.mtime;
  file->epoch = image.epoch;
  file->changes = image.changes;
}

Status ChunkStore::ApplyCommit(const ChunkRange& range, Place place, std::span<const uint64_t> sums, Nanos mtime) {
  if (!IsValid(range) || range.bytes > place.bytes || place.bytes > Place::kBytesMax - place.within()) {
    return Code::kInvalid;
  }
  if (!sums.empty() && sums.size() != BlocksOf(range.bytes)) return Code::kInvalid;
  if (extents_.recovered() == nullptr) extents_.BeginRecovery();
  const uint64_t begin = range.file_offset(), end = begin + range.bytes;
  ExtentImage image;
  image.serial = extents_.next_serial();
  image.place = place;
  image.bytes = range.bytes;
  image.file_offset = begin;
  image.has_sums = !sums.empty();
  image.sums = {reinterpret_cast<const uint8_t*>(sums.data()), sums.size_bytes()};
  Extent* const extent = extents_.Recover(image, nullptr);
  extents_.recovered()->emplace(image.serial, RecoveredExtent{.extent = extent, .file = range.file});
  File* const file = files_.FindOrMake(range.file);
  files_.Cut(file, begin, end, nullptr);
  files_.Insert(file, begin, range.bytes, extent);
  file->high_water = std::max(file->high_water, end);
  file->mtime = std::max(file->mtime, mtime);
  ++file->changes;
  return {};
}

Status ChunkStore::FinishRecovery(std::span<const ArenaMemory::Found> segments, std::span<const AdoptedPlace> staged) {
  if (extents_.recovered() == nullptr) extents_.BeginRecovery();
  std::vector<AdoptedPlace> places(staged.begin(), staged.end());
  std::vector<Inside> in_memory, in_file;  // of reservations
  std::vector<DiskSpace::Run> blocks;
  std::vector<Extent*> reservations, unwritten;
  for (const auto& [serial, known] : *extents_.recovered()) {  // in no order: sorted below, or counted
    Extent* const extent = known.extent;
    const Place place = extent->place();
    if (extent->reserved && extents_.disk() != nullptr && !extent->cached) return Code::kCorrupt;  // S10
    extent->on_disk = extents_.disk() != nullptr && (extent->cached || (ordered_ && !known.unwritten));
    if (!extent->inside && extents_.disk() != nullptr) {
      if (extent->disk_block() == 0) return Code::kCorrupt;
      blocks.push_back({extent->disk_block(), DiskSpace::BlocksFor(extent->bytes)});
    }
    if (extent->cached) {
      if (extents_.disk() == nullptr) return Code::kCorrupt;
      extent->place_offset = extent->place_bytes = 0;  // until somebody reads it
    } else if (extent->owns_place()) {
      places.push_back({place, known.slab_pages});
    }
    if (extent->inside) {
      (extent->owns_place() ? in_file : in_memory)
          .push_back(InsideOf(extent->base(), extent->file_offset, extent->file_end()));
    }
    if (extent->reserved) {
      reservations.push_back(extent);
    } else if (!extent->on_disk && extents_.disk() != nullptr) {
      unwritten.push_back(extent);
    }
  }
  files_.table().ForEach([&](const File* file) {
    for (const auto& [begin, slice] : file->slices) {
      if (!slice.is_reserved()) continue;
      (slice.extent->cached ? in_file : in_memory).push_back(InsideOf(slice.extent, begin, begin + slice.bytes));
    }
  });
  if (!AreDisjoint(&in_memory) || !AreDisjoint(&in_file)) return Code::kCorrupt;
  if (extents_.disk() != nullptr) MAYFLY_TRY(extents_.disk()->Adopt(std::move(blocks)));
  MAYFLY_TRY(arena_->Adopt(segments, std::move(places)));
  extents_.EndRecovery();
  for (const AdoptedPlace& one : staged) MAYFLY_TRY(extents_.RecoverStaged(one.place));
  for (Extent* extent : reservations) extents_.Ref(extent);
  quarantined_ = std::move(reservations);
  // A run is a function of its inputs.
  std::sort(unwritten.begin(), unwritten.end(), [](const Extent* a, const Extent* b) { return a->serial < b->serial; });
  for (Extent* extent : unwritten) extents_.AddUnwritten(extent);
  return {};
}

void ChunkStore::ReleaseQuarantine() {
  for (Extent* extent : quarantined_) extents_.Unref(extent);
  quarantined_ = {};
  arena_->ReleaseQuarantine();
}

}  // namespace mayfly
