// The chunk store's operations that change which parts of a file there are, or ask for them: truncate, punch, reserve,
// drop, seek.
#include <algorithm>

#include "base/check.h"
#include "store/chunk_store.h"
#include "store/images.h"

namespace mayfly {

using store_internal::Files;
using store_internal::kPageBytes;
using store_internal::PageDown;
using store_internal::PageUp;

bool ChunkStore::Truncate(InodeId id, uint64_t size, uint64_t slices_max) {
  File* file = files_.Find(id);
  if (file == nullptr) return true;
  // From the end, so that what is left in between is the file truncated at some other place; the page that is cut,
  // last.
  uint64_t from = size;
  if (slices_max < file->slices.size()) {
    auto it = file->slices.end();
    for (uint64_t n = std::max<uint64_t>(slices_max, 1); n != 0 && std::prev(it)->first >= PageUp(size); --n) --it;
    if (std::prev(it)->first >= PageUp(size)) from = it->first;
  }
  const bool all = from == size;
  const bool keeps_data = all && size % kPageBytes != 0 && Files::IsDataPage(file, size);
  if (all && !keeps_data) from = PageUp(size);  // S8
  CutExtents cut(&extents_);
  files_.Cut(file, from, kDone, &cut);
  if (keeps_data && !Files::IsDataPage(file, size)) files_.Mark(file, size);  // S8
  file->high_water = std::min(file->high_water, all ? size : from);
  ++file->changes;
  Record(file, from, kDone);
  RewriteSparse(file, cut, kEagerEighths);
  files_.RemoveIfNothing(file);
  return all;
}

Status ChunkStore::Punch(const ChunkRange& range) {
  if (!IsValid(range)) return Code::kInvalid;
  File* file = files_.Find(range.file);
  if (file == nullptr) return {};
  const uint64_t begin = range.file_offset(), end = begin + range.bytes;
  // Where in the range the pages at its ends begin that it does not cover.
  const uint64_t edges[] = {begin % kPageBytes != 0 ? begin : kDone,
                            end % kPageBytes != 0 ? std::max(begin, PageDown(end)) : kDone};
  bool keeps_data[2];
  for (int i = 0; i < 2; ++i) keeps_data[i] = edges[i] != kDone && Files::IsDataPage(file, edges[i]);
  const uint64_t from = keeps_data[0] ? begin : PageUp(begin), to = keeps_data[1] ? end : PageDown(end);  // S8
  if (from >= to) return {};  // nothing but reservations
  CutExtents cut(&extents_);
  files_.Cut(file, from, to, &cut);
  for (int i = 0; i < 2; ++i) {
    if (keeps_data[i] && !Files::IsDataPage(file, edges[i])) files_.Mark(file, edges[i]);  // S8
  }
  ++file->changes;
  Record(file, from, to);
  RewriteSparse(file, cut, kEagerEighths);
  files_.RemoveIfNothing(file);
  return {};
}

// Unwritten extents for [begin, end), where no slice is.
Status ChunkStore::ReserveGap(uint64_t begin, uint64_t end, Reserved* reserved) {
  uint64_t longest = kReserveBytesMax;
  while (begin < end) {
    // Cut at multiples of their length in the file: aligned writes then find one place.
    uint64_t to = std::min(end, (begin / longest + 1) * longest);
    Result<Extent*> extent = extents_.Reserve(begin, static_cast<uint32_t>(to - begin));
    if (!extent.ok()) {
      if (longest == Arena::kPageBytes) return extent.status();
      longest /= 2;  // free memory may be in pieces
      continue;
    }
    reserved->push_back(*extent);
    begin = to;
  }
  return {};
}

Status ChunkStore::ReserveRange(const ChunkRange& range) {
  if (!IsValid(range)) return Code::kInvalid;
  if (!memory_.HasRoom(kFileTableBytes)) return Code::kNoSpace;
  KeepRoom(range.bytes);
  const uint64_t begin = range.file_offset(), end = begin + range.bytes;
  File* file = files_.FindOrMake(range.file);
  Stretches again;
  FindReservedPages(file, PageDown(begin), PageUp(end), &again);
  Reserved reserved;
  Status status;
  uint64_t at = begin;
  for (auto it = Files::At(file, begin); status.ok() && at < end; ++it) {
    bool is_last = it == file->slices.end() || it->first >= end;
    if (!is_last && it->second.extent == nullptr) continue;  // a mark: its byte is to be had too
    uint64_t gap_end = is_last ? end : it->first;
    if (gap_end > at) status = ReserveGap(at, gap_end, &reserved);
    if (is_last) break;
    at = it->first + it->second.bytes;
  }
  for (Extent* extent : reserved) {
    if (status.ok()) {
      files_.Cut(file, extent->file_offset, extent->file_end(), nullptr);  // marks
      files_.Insert(file, extent->file_offset, extent->bytes, extent);
      Record(file, extent->file_offset, extent->file_end());
    } else {
      extents_.Unreserve(extent);  // free at once, not when a record is kept
    }
  }
  if (status.ok()) {
    for (auto [from, to] : again) {
      files_.Zero(file, from, to);  // S8
      Record(file, from, to);
    }
  }
  files_.RemoveIfNothing(file);
  return status;
}

// The pages of [begin, end), both on pages, that hold a reservation or a mark already.
void ChunkStore::FindReservedPages(const File* file, uint64_t begin, uint64_t end, Stretches* pages) {
  for (auto it = Files::At(file, begin); it != file->slices.end() && it->first < end; ++it) {
    if (it->second.has_content()) continue;
    const uint64_t from = std::max(begin, PageDown(it->first));
    const uint64_t to = std::min(end, PageUp(it->first + it->second.bytes));
    if (!pages->empty() && pages->back().second >= from) {
      pages->back().second = to;
    } else {
      pages->push_back({from, to});
    }
  }
}

void ChunkStore::Drop(InodeId id) {
  bool done = DropSlice(id, kDone);
  MAYFLY_CHECK(done);
}

bool ChunkStore::DropSlice(InodeId id, uint64_t slices_max) {
  File* file = files_.Find(id);
  if (file == nullptr) return true;
  if (!files_.DropTail(file, slices_max)) {
    const auto last = std::prev(file->slices.end());
    Record(file, last->first + last->second.bytes, kDone);
    return false;
  }
  if (recorder_ != nullptr) store_internal::PutGone(recorder_, id);
  files_.Remove(file);
  return true;
}

ChunkStore::Found ChunkStore::NextData(InodeId id, uint64_t from) const {
  const File* file = files_.Find(id);
  if (file == nullptr) return {};
  auto it = Files::At(file, PageDown(from));
  while (it != file->slices.end() && !it->second.is_data()) ++it;
  if (it == file->slices.end()) return {};
  return {true, std::max(from, PageDown(it->first))};
}

uint64_t ChunkStore::NextHole(InodeId id, uint64_t from, uint8_t chunk_bits) const {
  const File* file = files_.Find(id);
  if (file == nullptr) return from;
  uint64_t chunk_end = ((from >> chunk_bits) + 1) << chunk_bits;
  uint64_t at = from;
  for (auto it = Files::At(file, PageDown(from)); it != file->slices.end() && at < chunk_end; ++it) {
    if (!it->second.is_data()) continue;
    if (PageDown(it->first) > at) break;
    at = std::max(at, PageUp(it->first + it->second.bytes));
  }
  return std::min(at, chunk_end);
}

}  // namespace mayfly
