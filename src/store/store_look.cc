#include "store/store_look.h"

#include <algorithm>

#include "store/images.h"

namespace mayfly {

bool StoreLook::Next(InodeId file, uint64_t from, StoredPiece* piece) const {
  const store_internal::File* found = store_.files_.Find(file);
  if (found == nullptr) return false;
  auto it = store_internal::Files::At(found, from);
  while (it != found->slices.end() && !it->second.has_content()) ++it;
  if (it == found->slices.end()) return false;
  piece->begin = it->first;
  piece->bytes = it->second.bytes;
  Locate(*it->second.extent, piece);
  return true;
}

void StoreLook::Locate(const store_internal::Extent& extent, StoredPiece* piece) {
  const store_internal::Extent& base = *extent.base();
  piece->extent_begin = extent.file_offset;
  piece->extent_bytes = extent.bytes;
  piece->place = extent.cached ? Place() : Place{extent.place_offset, extent.bytes};
  piece->disk_offset = 0;
  // By file offsets, as images say: places are void after a loss of power.
  if (const uint64_t block = base.disk_block(); block != 0) {
    piece->disk_offset = block * DiskSpace::kBlockBytes + (extent.file_offset - base.file_offset);
  }
  piece->sums = {};
  if (extent.has_sums) piece->sums = {extent.sum_array(), extent.blocks()};
}

std::vector<StoredPiece> StoreLook::Unwritten() const {
  std::vector<const store_internal::Extent*> extents;
  if (const store_internal::RecoveredExtents* known = store_.extents_.recovered()) {
    for (const auto& [serial, one] : *known) {  // in no order: sorted below
      if (one.unwritten && !one.extent->reserved) extents.push_back(one.extent);
    }
  }
  std::sort(extents.begin(), extents.end(), [](const auto* a, const auto* b) { return a->serial < b->serial; });
  std::vector<StoredPiece> pieces;
  for (const store_internal::Extent* extent : extents) {
    StoredPiece piece;
    Locate(*extent, &piece);
    piece.begin = piece.extent_begin;
    piece.bytes = piece.extent_bytes;
    if (piece.place.valid() && piece.disk_offset != 0) pieces.push_back(piece);
  }
  return pieces;
}

void StoreLook::RunsOf(InodeId file, std::vector<StoredRun>* runs) const {
  const store_internal::File* found = store_.files_.Find(file);
  if (found == nullptr) return;
  for (const auto& [begin, slice] : found->slices) {
    if (slice.extent == nullptr) continue;
    const store_internal::Extent& base = *slice.extent->base();
    if (!runs->empty() && runs->back().serial == base.serial) continue;
    runs->push_back({file, base.serial, base.disk_block(), DiskSpace::BlocksFor(base.bytes)});
  }
}

std::vector<std::pair<uint64_t, uint64_t>> StoreLook::RangesIn(InodeId file, uint64_t serial) const {
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
  const store_internal::File* found = store_.files_.Find(file);
  if (found == nullptr) return ranges;
  for (const auto& [begin, slice] : found->slices) {
    if (slice.extent != nullptr && slice.extent->base()->serial == serial)
      ranges.emplace_back(begin, begin + slice.bytes);
  }
  return ranges;
}

void StoreLook::PutHole(InodeId file, uint64_t begin, uint64_t end, TlvWriter* out) const {
  if (const store_internal::File* found = store_.files_.Find(file)) store_internal::PutHole(out, *found, begin, end);
}

void StoreLook::PutGone(InodeId file, TlvWriter* out) { store_internal::PutGone(out, file); }

}  // namespace mayfly
