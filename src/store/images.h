// After-images of the chunk store: what journal records and checkpoints say of it (share/doc/format/images.md).
// Encoding reads the tables, decoding gives plain values that nobody has to trust: kCorrupt, never a failed check.
//
// The one image of content says what a range of a file consists of now, whatever was there, with the file's figures.
// Extents are defined in it whole, each by a serial: so an image stands alone, and applying one twice, or to a state
// that is newer than it, does no harm when the images that follow are applied too.
#pragma once

#include <cstdint>

#include "absl/container/inlined_vector.h"
#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/tlv.h"
#include "store/arena.h"
#include "store/extents.h"
#include "store/files.h"

namespace mayfly {

constexpr Tag kStoreTagFirst = 0x0200, kStoreTagLast = 0x02ff;
constexpr bool IsStoreTag(Tag tag) {
  const Tag plain = tag & static_cast<Tag>(~kTagMust);
  return plain >= kStoreTagFirst && plain <= kStoreTagLast;
}
constexpr Tag kTagFileRange = kTagMust | 0x0201;
constexpr Tag kTagFileGone = kTagMust | 0x0202;
constexpr Tag kTagStoreNext = kTagMust | 0x0203;
constexpr Tag kTagPlacesVoid = kTagMust | 0x0204;

namespace store_internal {

enum class SliceKind : uint8_t { kData = 0, kReserved = 1, kZeroed = 2, kMark = 3 };
inline bool IsKnown(SliceKind kind) { return kind <= SliceKind::kMark; }

struct SliceImage {
  static constexpr uint8_t kNoExtent = 0xff;
  uint64_t begin = 0;
  uint32_t bytes = 0;
  uint8_t extent = kNoExtent;  // index in the image's list; none for a mark
  SliceKind kind = SliceKind::kData;
};

struct RangeImage {
  static constexpr size_t kSlicesMax = 64;
  static constexpr size_t kExtentsMax = 2 * kSlicesMax;  // with parents
  InodeId file;
  uint64_t begin = 0, end = 0;  // equal: figures alone
  uint64_t high_water = 0;
  Nanos mtime = 0;
  uint64_t epoch = 0;
  uint64_t changes = 0;
  absl::InlinedVector<ExtentImage, 2> extents;
  absl::InlinedVector<SliceImage, 2> slices;  // in order, within the range
};

// Appends an image of [begin, end), or of as much of it as one image may hold. Returns where it ends.
uint64_t PutRangePart(TlvWriter* out, const Arena& arena, const File& file, uint64_t begin, uint64_t end);
// Of all of it.
inline void PutRange(TlvWriter* out, const Arena& arena, const File& file, uint64_t begin, uint64_t end) {
  do begin = PutRangePart(out, arena, file, begin, end);
  while (begin < end);
}
// As if nothing lay there.
void PutHole(TlvWriter* out, const File& file, uint64_t begin, uint64_t end);
void PutGone(TlvWriter* out, InodeId file);
void PutNext(TlvWriter* out, uint64_t next_serial);
// The arena of all images before this one is gone: what has blocks in the chunk file is to be read from there.
void PutPlacesVoid(TlvWriter* out);

// What they leave to the caller: whether extents agree with those known already, and lie in the arena.
Status DecodeRange(Bytes value, RangeImage* image);
Status DecodeGone(Bytes value, InodeId* file);
Status DecodeNext(Bytes value, uint64_t* next_serial);

}  // namespace store_internal
}  // namespace mayfly
