// Which extents give their place in memory up when it is short: those that the chunk file has, that nobody is reading,
// and that were not used for longest, or least often. A clock: a hand walks through the file table and its slices,
// cools what it meets, and takes what is cold. LRU: a use makes an extent warm; LFU: each use makes it warmer, three
// times at most. No list is kept, so a read costs no more than a bit, and memory none.
#include <algorithm>

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
         !extent->staged && !used_.contains(extent) && (!extents_.frozen() || extent->cached);  // S11
}

void ChunkStore::GiveUpPlace(File* file, store_internal::SliceMap::iterator slice) {
  ++evicted_;
  evicted_bytes_ += slice->second.extent->place_bytes;
  extents_.Evict(slice->second.extent);
  Record(file, slice->first, slice->first + slice->second.bytes);
}

bool ChunkStore::StartDrain(uint64_t bytes, const absl::flat_hash_set<uint32_t>& except) {
  drain_position_ = drain_offset_ = 0;
  const uint64_t stays = budget_->transfers_min() + extents_.staged_bytes();
  const uint64_t most = budget_->arena_used() - std::min(budget_->arena_used(), stays);
  absl::flat_hash_set<uint32_t> staged;
  extents_.ForEachStaged([&](Place place) { staged.insert(place.segment()); });
  if (arena_->StartDrain(bytes, most, [&](uint32_t s) { return !except.contains(s) && !staged.contains(s); }) != 0) {
    return true;
  }
  return arena_->StartDrain(bytes, most, [&](uint32_t s) { return !except.contains(s); }) != 0;
}

bool ChunkStore::EvictDraining(uint32_t extents_max) {
  constexpr uint64_t kLooksMax = 16 * 1024;  // at files and slices
  const auto& table = files_.table();
  const uint64_t evicted_max = evicted_ + extents_max;
  for (uint64_t looks = 0; looks < kLooksMax; ++looks) {
    File* const file = table.FirstFrom(drain_position_);
    if (file == nullptr) break;
    const uint64_t position = table.PositionOf(file->key());
    if (position != drain_position_) drain_offset_ = 0;
    drain_position_ = position;
    auto it = Files::At(file, drain_offset_);
    for (; it != file->slices.end(); ++it, ++looks) {
      drain_offset_ = it->first;
      if (looks >= kLooksMax || evicted_ == evicted_max) return false;
      if (MayEvict(it->second.extent) && arena_->IsDraining(it->second.extent->place())) GiveUpPlace(file, it);
    }
    drain_offset_ = 0;
    if (++drain_position_ == 0) break;
  }
  if (table.FirstFrom(drain_position_) != nullptr && drain_position_ != 0) return false;
  drain_position_ = drain_offset_ = 0;
  return true;
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
      GiveUpPlace(file, it);
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
