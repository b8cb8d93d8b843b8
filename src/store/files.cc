#include "store/files.h"

#include <algorithm>

#include "base/check.h"

namespace mayfly::store_internal {

void CutExtents::Add(Extent* extent) {
  if (extent->live_bytes == 0 || list_.size() == kMax) return;
  if (std::find(list_.begin(), list_.end(), extent) != list_.end()) return;
  extents_->Ref(extent);
  list_.push_back(extent);
}

CutExtents::~CutExtents() {
  for (Extent* extent : list_) extents_->Unref(extent);
}

Files::~Files() {
  files_.RemoveAll([this](File* file) {
    for (const auto& [begin, slice] : file->slices) {
      if (slice.extent == nullptr) continue;
      extents_->SubtractLive(slice.extent, slice.bytes);
      extents_->Unref(slice.extent);
    }
    memory_->Delete(file);
  });
}

File* Files::FindOrMake(InodeId id) {
  if (File* file = Find(id)) return file;
  File* file = memory_->New<File>(id, memory_);
  files_.Insert(file);
  return file;
}

void Files::Remove(File* file) {
  MAYFLY_CHECK(file->slices.empty());
  files_.Remove(file);
  memory_->Delete(file);
}

void Files::RemoveIfNothing(File* file) {
  if (file->slices.empty() && file->epoch == 0 && file->high_water == 0) Remove(file);  // S6
}

SliceMap::iterator Files::At(File* file, uint64_t offset) {
  auto it = file->slices.upper_bound(offset);
  if (it == file->slices.begin()) return it;
  auto before = std::prev(it);
  return before->first + before->second.bytes > offset ? before : it;
}

SliceMap::const_iterator Files::At(const File* file, uint64_t offset) { return At(const_cast<File*>(file), offset); }

// Pages of [begin, end), both on pages, that a slice touches.
uint64_t Files::PagesIn(const File* file, uint64_t begin, uint64_t end) {
  uint64_t pages = 0;
  for (auto it = At(file, begin); it != file->slices.end() && it->first < end; ++it) {
    uint64_t from = std::max(begin, PageDown(it->first));
    uint64_t to = std::min(end, PageUp(it->first + it->second.bytes));
    if (to <= from) continue;
    pages += (to - from) / kPageBytes;
    begin = to;
  }
  return pages;
}

void Files::Cut(File* file, uint64_t begin, uint64_t end, CutExtents* cut) {
  SliceMap& slices = file->slices;
  auto it = At(file, begin);
  if (it == slices.end() || it->first >= end) return;
  auto last = std::prev(slices.end());
  uint64_t window = PageDown(begin), window_end = PageUp(std::min(end, last->first + last->second.bytes));
  uint64_t before = PagesIn(file, window, window_end);
  while (it != slices.end() && it->first < end) {
    Extent* extent = it->second.extent;
    uint64_t from = it->first, to = from + it->second.bytes;
    if (extent == nullptr) {
      it = slices.erase(it);
      continue;
    }
    uint64_t lost_from = std::max(from, begin), lost_to = std::min(to, end);
    extents_->SubtractLive(extent, static_cast<uint32_t>(lost_to - lost_from));
    Slice rest{extent, static_cast<uint32_t>(to - lost_to), it->second.zeroed};
    if (from < begin) {
      it->second.bytes = static_cast<uint32_t>(begin - from);
      ++it;
      if (rest.bytes != 0) extents_->Ref(extent);  // the slice becomes two
    } else {
      it = slices.erase(it);
      if (rest.bytes == 0) {
        if (cut != nullptr && extent->references > 1) cut->Add(extent);
        extents_->Unref(extent);
        continue;
      }
    }
    if (rest.bytes != 0) it = std::next(slices.emplace_hint(it, end, rest));
    if (cut != nullptr) cut->Add(extent);
  }
  file->pages -= before - PagesIn(file, window, window_end);
}

void Files::Insert(File* file, uint64_t begin, uint32_t bytes, Extent* extent, bool zeroed) {
  uint64_t window = PageDown(begin), window_end = PageUp(begin + bytes);
  file->pages += (window_end - window) / kPageBytes - PagesIn(file, window, window_end);
  bool fresh = file->slices.emplace(begin, Slice{extent, bytes, zeroed}).second;
  MAYFLY_CHECK(fresh);  // S2
  extents_->Ref(extent);
  extents_->AddLive(extent, bytes);
}

bool Files::IsDataPage(const File* file, uint64_t offset) {
  const uint64_t begin = PageDown(offset), end = begin + kPageBytes;
  for (auto it = At(file, begin); it != file->slices.end() && it->first < end; ++it) {
    if (it->second.is_data()) return true;
  }
  return false;
}

void Files::Mark(File* file, uint64_t offset) {
  const uint64_t page = PageDown(offset);
  file->pages += 1 - PagesIn(file, page, page + kPageBytes);
  bool fresh = file->slices.emplace(offset, Slice{nullptr, 1}).second;
  MAYFLY_CHECK(fresh);  // S2
}

void Files::SplitAt(File* file, uint64_t offset) {
  auto it = At(file, offset);
  if (it == file->slices.end() || it->first >= offset) return;
  Slice rest = it->second;
  rest.bytes -= static_cast<uint32_t>(offset - it->first);
  it->second.bytes -= rest.bytes;
  extents_->Ref(rest.extent);  // a mark is too short to be split
  file->slices.emplace(offset, rest);
}

void Files::Zero(File* file, uint64_t begin, uint64_t end) {
  SplitAt(file, begin);
  SplitAt(file, end);
  for (auto it = At(file, begin); it != file->slices.end() && it->first < end; ++it) {
    if (it->second.is_reserved()) it->second.zeroed = true;
  }
}

bool Files::DropTail(File* file, uint64_t slices_max) {
  SliceMap& slices = file->slices;
  for (; slices_max != 0 && !slices.empty(); --slices_max) {
    auto last = std::prev(slices.end());
    Slice slice = last->second;
    slices.erase(last);
    if (slice.extent == nullptr) continue;
    extents_->SubtractLive(slice.extent, slice.bytes);
    extents_->Unref(slice.extent);
  }
  return slices.empty();
}

}  // namespace mayfly::store_internal
