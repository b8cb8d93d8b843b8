// Which extents give their place in memory up when it is short: those that the chunk file has, that nobody is reading,
// and that were not used for longest, or least often. A clock: a hand walks through the file table and its slices,
// cools what it meets, and takes what is cold. LRU: a use makes an extent warm; LFU: each use makes it warmer, three
// times at most. No list is kept, so a read costs no more than a bit, and memory none.
#include "base/check.h"
#include "store/chunk_store.h"

namespace mayfly {

using store_internal::Files;

namespace {

constexpr uint8_t kWarmest = 3;
constexpr uint64_t kSlicesMax = 64 * 1024;  // looked at in one call

}  // namespace

void ChunkStore::Use(Extent* extent) {
  ++used_[extent];
  if (!extent->absent) ++hits_;
  if (policy_ == Evict::kLru) {
    extent->heat = 1;
  } else if (extent->heat < kWarmest) {
    ++extent->heat;
  }
}

void ChunkStore::EndUse(Extent* extent) {
  const auto it = used_.find(extent);
  MAYFLY_CHECK(it != used_.end());
  if (--it->second == 0) used_.erase(it);
}

bool ChunkStore::MayEvict(const Extent* extent) const {
  return extent != nullptr && extent->on_disk && !extent->absent && !extent->reserved && extent->owns_place() &&
         !extent->staged && !used_.contains(extent);
}

uint64_t ChunkStore::EvictSome(uint64_t bytes, uint32_t extents_max) {
  if (extents_.disk() == nullptr) return 0;
  const auto& table = files_.table();
  // Once around for each degree of heat, and once more.
  const uint64_t buckets_max = table.bucket_count() * (kWarmest + 2);
  const uint64_t evicted_max = evicted_ + extents_max;
  uint64_t slices = 0, buckets = 0, gained = 0;
  while (gained < bytes && evicted_ < evicted_max && slices < kSlicesMax && buckets <= buckets_max) {
    File* const file = evict_hand_.At(table);
    if (file == nullptr) {
      ++buckets;
      continue;
    }
    auto it = Files::At(file, evict_hand_.offset);
    for (; it != file->slices.end() && gained < bytes && evicted_ < evicted_max && slices < kSlicesMax;
         ++it, ++slices) {
      Extent* const extent = it->second.extent;
      if (!MayEvict(extent)) continue;
      if (extent->heat != 0) {
        --extent->heat;
        continue;
      }
      gained += extent->place_bytes;
      ++evicted_;
      evicted_bytes_ += extent->place_bytes;
      extents_.Evict(extent);
      Record(file, it->first, it->first + it->second.bytes);
    }
    if (it == file->slices.end()) {
      evict_hand_.NextFile();
    } else {
      evict_hand_.offset = it->first;
    }
  }
  return gained;
}

}  // namespace mayfly
