// Memory of dentries. Each is one block of {header, name} in a slab of its size, and is named by 32 bits, so that the
// hash table and the listing order pay 8 and 4 bytes for an entry instead of 16 and 8.
// Owned by one namespace, used by one thread. References stay good until Free; blocks never move.
// Invariants  D1  a reference is slab index * kSlabUnits + first unit, and 0 is none (unit 0 of slab 0 is its header).
//             D2  a slab holds blocks of one size; it is in that size's list of partial slabs unless it is full.
//             D3  an empty slab goes back to the allocator; one is kept, so that a create and an unlink in turn do not
//                 allocate each time.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>
#include <vector>

#include "wire/types.h"

namespace mayfly {

enum class DentryRef : uint32_t { kNone = 0 };

// The name follows the header in the same block.
struct Dentry {
  InodeId parent;
  InodeId inode;
  uint64_t sequence : 40;   // of insertion into the part; a cookie of a listing has 39 bits
  uint64_t name_bytes : 8;  // 1 to 255
  uint64_t type : 2;        // FileType
  uint64_t exposed : 1;     // a client may have it in its path cache
  uint64_t busy : 1;        // a prepared transaction holds it

  std::string_view name() const { return {reinterpret_cast<const char*>(this + 1), static_cast<size_t>(name_bytes)}; }
  FileType file_type() const { return static_cast<FileType>(type); }
  bool is_directory() const { return file_type() == FileType::kDirectory; }
};
static_assert(sizeof(Dentry) == 24);

class DentryStore {
 public:
  static constexpr size_t kUnitBytes = 8;
  static constexpr size_t kSlabBytes = 16 * 1024;
  static constexpr size_t kSlabUnits = kSlabBytes / kUnitBytes;
  static constexpr size_t kSlabsMax = (uint64_t{1} << 32) / kSlabUnits;

  DentryStore() = default;
  ~DentryStore();
  DentryStore(const DentryStore&) = delete;
  DentryStore& operator=(const DentryStore&) = delete;

  // A block with `name` (1 to 255 bytes) copied in and every other field zero; kNone when 32 GiB are in use.
  DentryRef Allocate(std::string_view name);
  void Free(DentryRef ref);
  Dentry& Get(DentryRef ref) { return *reinterpret_cast<Dentry*>(Unit(ref)); }
  const Dentry& Get(DentryRef ref) const { return *reinterpret_cast<const Dentry*>(Unit(ref)); }

  // The line of its slab that Free writes, so that it is on its way while the caller looks at other things.
  void PrefetchFree(DentryRef ref) const { __builtin_prefetch(slabs_[static_cast<uint32_t>(ref) / kSlabUnits], 1); }

  uint64_t live() const { return live_; }
  uint64_t memory_bytes() const;

 private:
  struct Slab {
    uint32_t next = 0, previous = 0;  // in the list of partial slabs, by index + 1
    uint16_t live = 0;
    uint16_t free = 0;   // first free block, by unit; each names the next in its first two bytes
    uint16_t fresh = 0;  // first unit never used
    uint16_t units = 0;  // of a block
  };
  static constexpr size_t kHeaderUnits = sizeof(Slab) / kUnitBytes;
  static constexpr size_t kUnitsMax = (sizeof(Dentry) + kNameBytesMax + kUnitBytes - 1) / kUnitBytes;
  static_assert(sizeof(Slab) % kUnitBytes == 0 && kSlabUnits <= 65536);

  static bool Full(const Slab& slab) { return slab.free == 0 && slab.fresh + slab.units > kSlabUnits; }
  uint8_t* Unit(DentryRef ref) const {
    const auto raw = static_cast<uint32_t>(ref);
    return reinterpret_cast<uint8_t*>(slabs_[raw / kSlabUnits]) + raw % kSlabUnits * kUnitBytes;
  }
  bool AddSlab(size_t units);
  void Link(uint32_t index);
  void Unlink(uint32_t index);

  std::vector<Slab*> slabs_;  // null: that index is free
  std::vector<uint32_t> free_indices_;
  std::array<uint32_t, kUnitsMax + 1> partial_{};  // head of the list by size, index + 1
  Slab* spare_ = nullptr;
  uint64_t live_ = 0;
};

}  // namespace mayfly
