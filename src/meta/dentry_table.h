// Where an entry is: a hash set of dentries by (parent, name). Extendible hashing: the top bits of a 32-bit hash choose
// a segment of at most 4 KiB, in which the low bits start a Robin Hood probe. It grows and shrinks by one segment at a
// time: no pause to rehash a million names, and no table reserved for twice as many as there are.
// Owned by one namespace, used by one thread. The dentries belong to the store.
// Invariants  T1  a segment of depth d is shared by exactly 2^(depth_ - d) neighbouring places of the directory.
//             T2  a name is in the segment that the top bits of its hash choose, and once in the whole table.
//             T3  within a segment no slot is nearer to its home than its follower minus one (Robin Hood), so a search
//                 ends at the first slot that is nearer to its home than the name looked for would be.
//             T4  equal hashes cannot blow up the directory: where splitting stops to help, the segment grows instead.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "meta/dentry_store.h"

namespace mayfly {

class DentryTable {
 public:
  explicit DentryTable(DentryStore* store);  // not owned; outlives the table
  ~DentryTable();
  DentryTable(const DentryTable&) = delete;
  DentryTable& operator=(const DentryTable&) = delete;

  static uint32_t HashOf(InodeId parent, std::string_view name);

  DentryRef Find(InodeId parent, std::string_view name, uint32_t hash) const;
  // `hash` is that of the dentry's parent and name, which are not in the table.
  void Insert(DentryRef ref, uint32_t hash);
  // The dentry is in the table; its block is left to the caller.
  void Erase(DentryRef ref, uint32_t hash);

  // What a search or an insertion reads first, on its way; and, once that is here, what it reads then.
  void PrefetchPlace(uint32_t hash) const { __builtin_prefetch(&directory_[IndexOf(hash)]); }
  void PrefetchSlot(uint32_t hash) const {
    const Place place = directory_[IndexOf(hash)];
    __builtin_prefetch(place.segment(), 1);
    __builtin_prefetch(place->slots() + (hash & place.mask()), 1);
  }

  uint64_t size() const { return size_; }
  uint64_t memory_bytes() const;
  // Every entry, in an order of no meaning.
  void ForEach(const std::function<void(DentryRef)>& visit) const;
  // T1 to T3 by a walk; the first difference as text, empty if none.
  std::string Check() const;

 private:
  struct Slot {
    uint32_t hash;
    DentryRef ref;  // kNone: empty
  };
  struct Segment {
    uint32_t mask;   // slots - 1
    uint32_t count;  // used slots
    uint32_t depth;
    uint32_t unused;
    Slot* slots() { return reinterpret_cast<Slot*>(this + 1); }
    const Slot* slots() const { return reinterpret_cast<const Slot*>(this + 1); }
  };
  static constexpr uint32_t kSlotsMin = 16, kSlotsMax = 512;
  // A place of the directory: a segment and, in the low bits of its address, how large it is. A search needs the mask
  // at once, and the segment's first line is one miss more than the slot's.
  class Place {
   public:
    Place() = default;
    explicit Place(Segment* segment)
        : bits_(reinterpret_cast<uintptr_t>(segment) | std::min<uintptr_t>(std::bit_width(segment->mask) - 4, kLarge)) {
    }
    Segment* segment() const { return reinterpret_cast<Segment*>(bits_ & ~kLarge); }
    Segment* operator->() const { return segment(); }
    uint32_t mask() const {
      const uintptr_t size = bits_ & kLarge;
      return size == kLarge ? segment()->mask : (kSlotsMin << size) - 1;
    }

   private:
    static constexpr uintptr_t kLarge = 15;  // 2^19 slots or more, by T4: ask the segment
    static_assert(__STDCPP_DEFAULT_NEW_ALIGNMENT__ > kLarge);
    uintptr_t bits_ = 0;
  };
  static constexpr uint32_t kDepthMax = 23;  // the 9 bits left start the probe

  static Segment* NewSegment(uint32_t slots, uint32_t depth);
  static uint32_t Full(uint32_t slots) { return slots - slots / 8; }
  static void Put(Segment& segment, Slot slot);
  static void Move(const Segment& from, Segment* to);
  static uint64_t BytesOf(const Segment& segment) {
    return sizeof(Segment) + (uint64_t{segment.mask} + 1) * sizeof(Slot);
  }
  size_t IndexOf(uint32_t hash) const { return static_cast<size_t>((uint64_t{hash} << depth_) >> 32); }
  void SetSegment(size_t index, Segment* segment);
  void Grow(size_t index);
  void Split(size_t index);
  void Resize(size_t index, uint32_t slots);
  void Shrink(size_t index);
  void HalveDirectory();

  DentryStore* store_;
  std::vector<Place> directory_;  // 2^depth_ places
  uint32_t depth_ = 0;
  uint64_t size_ = 0;
  uint64_t segments_ = 0;
  uint64_t segment_bytes_ = 0;
  uint64_t deepest_ = 0;  // segments of depth depth_
};

}  // namespace mayfly
