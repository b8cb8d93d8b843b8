#include "store/images.h"

#include <algorithm>

namespace mayfly::store_internal {
namespace {

constexpr size_t kRangeBytes = 7 * 8 + 2, kExtentBytes = 33, kDiskBytes = 4, kParentBytes = 1, kSliceBytes = 14;
constexpr size_t kPartBytesAbout = 16 * 1024;  // an image ends behind the slice that passes this
constexpr uint8_t kReservedBit = 1, kSumsBit = 2, kParentBit = 4, kDiskBit = 8;
constexpr int kSlabPagesShift = 4;
constexpr uint64_t kOffsetMax = uint64_t{1} << 63;  // of a file

using ExtentList = absl::InlinedVector<const Extent*, 2>;
struct Part {
  uint64_t begin = 0;
  uint32_t bytes = 0;
  uint8_t extent = SliceImage::kNoExtent;
  SliceKind kind = SliceKind::kMark;
};

SliceKind KindOf(const Slice& slice) {
  if (slice.extent == nullptr) return SliceKind::kMark;
  if (slice.zeroed) return SliceKind::kZeroed;
  return slice.extent->reserved ? SliceKind::kReserved : SliceKind::kData;
}

size_t SumBytes(const Extent& extent) { return extent.has_sums ? extent.blocks() * sizeof(uint64_t) : 0; }

// Index of the extent in the list, which gets it (its parent first) if it is not there. Adds its bytes.
uint8_t IndexOf(const Extent* extent, ExtentList* list, size_t* bytes) {
  const auto found = std::find(list->rbegin(), list->rend(), extent);
  if (found != list->rend()) return static_cast<uint8_t>(list->rend() - found - 1);
  if (extent->inside) {
    IndexOf(extent->parent(), list, bytes);
    *bytes += kParentBytes;
  }
  if (extent->disk_block() != 0) *bytes += kDiskBytes;
  *bytes += kExtentBytes + SumBytes(*extent);
  list->push_back(extent);
  return static_cast<uint8_t>(list->size() - 1);
}

void PutExtent(Encoder& e, const Arena& arena, const Extent& extent, const ExtentList& list) {
  uint8_t flags = 0;
  if (extent.reserved) flags |= kReservedBit;
  if (extent.has_sums) flags |= kSumsBit;
  if (extent.disk_block() != 0) flags |= kDiskBit;
  const Place place = extent.cached ? Place() : extent.place();
  if (extent.inside) flags |= kParentBit;
  if (place.valid() && extent.owns_place()) {
    flags |= static_cast<uint8_t>(arena.SlabPagesOf(place) << kSlabPagesShift);
  }
  e(uint64_t{extent.serial}, place.offset, place.bytes, extent.bytes, extent.file_offset, flags);
  if (extent.disk_block() != 0) e.Put(extent.disk_block());
  if (extent.inside) {
    e.Put(static_cast<uint8_t>(std::find(list.begin(), list.end(), extent.parent()) - list.begin()));
  }
  if (extent.has_sums) e.Raw(extent.sum_array(), SumBytes(extent));
}

void PutFigures(Encoder& e, const File& file, uint64_t begin, uint64_t end) {
  e(file.id, begin, end, file.high_water, file.mtime, file.epoch, file.changes);
}

bool DecodeExtent(Decoder& d, const RangeImage& image, ExtentImage* extent) {
  uint8_t flags = 0;
  d(extent->serial, extent->place.offset, extent->place.bytes, extent->bytes, extent->file_offset, flags);
  if (!d.ok()) return false;
  if (extent->serial == 0 || extent->serial > kSerialMax) return false;
  const Place place = extent->place;
  if (place.bytes > Place::kBytesMax - place.within()) return false;
  if (place.offset >> Place::kSegmentBits >= PageRuns::kSegmentsMax) return false;
  if (extent->bytes == 0 || extent->bytes > (place.valid() ? place.bytes : Place::kBytesMax)) return false;
  if ((flags & kDiskBit) != 0) {
    d.Get(extent->disk_block);
    if (!d.ok() || extent->disk_block == 0 || (flags & kParentBit) != 0) return false;
  }
  // What lies nowhere is nothing.
  if (!place.valid() && (place.offset != 0 || (flags & (kDiskBit | kParentBit)) == 0)) return false;
  if (extent->file_offset > kOffsetMax - extent->bytes) return false;
  extent->reserved = (flags & kReservedBit) != 0;
  extent->has_sums = (flags & kSumsBit) != 0;
  extent->slab_pages = flags >> kSlabPagesShift;
  if (extent->reserved && (flags & (kSumsBit | kParentBit)) != 0) return false;
  if ((flags & kParentBit) != 0) {
    d.Get(extent->parent);
    if (!d.ok() || extent->parent >= image.extents.size()) return false;
    const ExtentImage& parent = image.extents[extent->parent];
    if (!parent.reserved) return false;
    if (extent->file_offset < parent.file_offset || extent->file_end() > parent.file_end()) return false;
    if (parent.place.valid()) {
      if (!place.valid() || extent->slab_pages != 0 || place.offset < parent.place.offset) return false;
      if (place.offset + place.bytes > parent.place.offset + parent.place.bytes) return false;
    }
  }
  if (extent->has_sums) {
    const size_t bytes = BlocksOf(extent->bytes) * sizeof(uint64_t);
    if (bytes > d.left()) return false;
    extent->sums = d.rest().first(bytes);
    d.Skip(bytes);
  }
  return true;
}

// `at`: behind the slice before.
bool DecodeSlice(Decoder& d, const RangeImage& image, uint64_t at, SliceImage* slice) {
  d(slice->begin, slice->bytes, slice->extent, slice->kind);
  if (!d.ok() || slice->begin < at || slice->begin > kOffsetMax) return false;
  const uint64_t end = slice->begin + slice->bytes;
  if (slice->bytes == 0 || end > image.end || end > kOffsetMax) return false;
  if (slice->kind == SliceKind::kMark) return slice->bytes == 1 && slice->extent == SliceImage::kNoExtent;
  if (slice->extent >= image.extents.size()) return false;
  const ExtentImage& extent = image.extents[slice->extent];
  if (extent.reserved != (slice->kind != SliceKind::kData)) return false;
  return slice->begin >= extent.file_offset && end <= extent.file_end();  // S2
}

}  // namespace

uint64_t PutRangePart(TlvWriter* out, const Arena& arena, const File& file, uint64_t begin, uint64_t end) {
  ExtentList extents;
  absl::InlinedVector<Part, 2> parts;
  size_t bytes = kRangeBytes;
  auto it = Files::At(&file, begin);
  for (; it != file.slices.end() && it->first < end; ++it) {
    if (parts.size() == RangeImage::kSlicesMax || bytes >= kPartBytesAbout) {
      end = parts.back().begin + parts.back().bytes;
      break;
    }
    const Slice& slice = it->second;
    const uint64_t from = std::max(begin, it->first), to = std::min(end, it->first + slice.bytes);
    Part& part = parts.emplace_back();
    part = {.begin = from, .bytes = static_cast<uint32_t>(to - from), .kind = KindOf(slice)};
    if (slice.extent != nullptr) part.extent = IndexOf(slice.extent, &extents, &bytes);
    bytes += kSliceBytes;
  }
  out->PutWith(kTagFileRange, bytes, [&](Encoder& e) {
    PutFigures(e, file, begin, end);
    e(static_cast<uint8_t>(extents.size()), static_cast<uint8_t>(parts.size()));
    for (const Extent* extent : extents) PutExtent(e, arena, *extent, extents);
    for (const Part& part : parts) e(part.begin, part.bytes, part.extent, part.kind);
  });
  return end;
}

void PutHole(TlvWriter* out, const File& file, uint64_t begin, uint64_t end) {
  out->PutWith(kTagFileRange, kRangeBytes, [&](Encoder& e) {
    PutFigures(e, file, begin, end);
    e(uint8_t{0}, uint8_t{0});
  });
}

void PutGone(TlvWriter* out, InodeId file) { out->Put(kTagFileGone, file, sizeof(uint64_t)); }

void PutNext(TlvWriter* out, uint64_t next_serial) { out->Put(kTagStoreNext, next_serial, sizeof(uint64_t)); }

Status DecodeRange(Bytes value, RangeImage* image) {
  Decoder d(value);
  uint8_t extents = 0, slices = 0;
  d(image->file, image->begin, image->end, image->high_water, image->mtime, image->epoch, image->changes);
  d(extents, slices);
  if (!d.ok() || !image->file.valid() || image->begin > image->end) return Code::kCorrupt;
  if (extents > RangeImage::kExtentsMax || slices > RangeImage::kSlicesMax) return Code::kCorrupt;
  for (uint8_t i = 0; i < extents; ++i) {
    ExtentImage extent;
    if (!DecodeExtent(d, *image, &extent)) return Code::kCorrupt;
    image->extents.push_back(extent);
  }
  uint64_t at = image->begin;
  for (uint8_t i = 0; i < slices; ++i) {
    SliceImage slice;
    if (!DecodeSlice(d, *image, at, &slice)) return Code::kCorrupt;
    image->slices.push_back(slice);
    at = slice.begin + slice.bytes;
  }
  return d.Finish();
}

void PutPlacesVoid(TlvWriter* out) {
  out->PutWith(kTagPlacesVoid, 0, [](Encoder&) {});
}

Status DecodeGone(Bytes value, InodeId* file) {
  Decoder d(value);
  d.Get(*file);
  MAYFLY_TRY(d.Finish());
  return file->valid() ? Status() : Status(Code::kCorrupt);
}

Status DecodeNext(Bytes value, uint64_t* next_serial) {
  Decoder d(value);
  d.Get(*next_serial);
  MAYFLY_TRY(d.Finish());
  return *next_serial <= kSerialMax ? Status() : Status(Code::kCorrupt);
}

}  // namespace mayfly::store_internal
