// Extents: places with content and checksums as written, counted by those who refer to them. See chunk_store.h for the
// invariants S1, S3, S5 and S9, which this file keeps.
//
// With a chunk file every extent has blocks there from its birth on, which its image names; what lies in an extent is
// written behind (write_back.h), in the order in which extents were.
//
// A reservation is an extent without content. With a chunk file it has blocks and no place, else a place. What is
// written into it once nothing else is free is an extent `inside` of it: the reservation's bytes at the same distance
// from its begin, in its blocks or in its place, are that extent's from then on, and of nobody else ever after. With a
// chunk file it has a place of its own, which it may give up as others do.
//
// Memory of one: 64 bytes of heap. Checksums of an extent of one block (64 KiB) lie in the record; of a longer one in
// an array of 8 bytes a block, 512 for 4 MiB.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/ids.h"
#include "store/arena.h"
#include "store/disk_space.h"
#include "store/id_table.h"
#include "store/place.h"
#include "store/table_memory.h"

namespace mayfly::store_internal {

constexpr int kSerialBits = 54;
constexpr uint64_t kSerialMax = uint64_t{1} << (kSerialBits - 1);  // in images: there is always a next one

struct Extent {
  uint64_t place_offset = 0;
  uint32_t place_bytes = 0;
  uint32_t bytes = 0;        // as written, <= place_bytes
  uint64_t file_offset = 0;  // of its first byte; slices of it lie at the same distance (S2)
  uint32_t references = 0;   // slices, pins, and extents inside this one's place
  uint32_t live_bytes = 0;   // in slices
  union {
    Extent* reservation = nullptr;  // inside
    uint64_t block;                 // else: the first in the chunk file; 0: none
  };
  union {
    Extent* next = nullptr;  // staged: link of the table; unsettled: of that list
    uint64_t sum;            // one block
    uint64_t* sums;          // more blocks
  };
  uint64_t serial : kSerialBits = 0;  // its identity in images: never used again, as places are
  bool staged : 1 = false;
  bool reserved : 1 = false;  // no content
  bool has_sums : 1 = false;
  bool known_corrupt : 1 = false;  // compaction leaves it alone
  bool inside : 1 = false;
  // Its place is a copy of what is on the disk: images do not tell of it, and whoever recovers reads it from there.
  bool cached : 1 = false;
  bool absent : 1 = false;   // it has no place at all
  bool on_disk : 1 = false;  // the chunk file has its bytes
  uint8_t heat : 2 = 0;      // how much it was used of late (eviction.cc)

  uint64_t key() const { return place_offset; }
  Place place() const { return {place_offset, place_bytes}; }
  uint64_t file_end() const { return file_offset + bytes; }
  size_t blocks() const { return BlocksOf(bytes); }
  const uint64_t* sum_array() const { return blocks() <= 1 ? &sum : sums; }
  Extent* parent() const { return inside ? reservation : nullptr; }
  uint32_t disk_block() const { return inside ? 0 : static_cast<uint32_t>(block); }
  // Whose blocks these are.
  const Extent* base() const { return inside ? reservation : this; }
  // Else its place is a part of its reservation's.
  bool owns_place() const { return !inside || reservation->absent; }
};
static_assert(HeapBytes(sizeof(Extent)) == 64);

// What an image says of an extent (images.h).
struct ExtentImage {
  static constexpr uint8_t kNoParent = 0xff;
  uint64_t serial = 0;
  Place place;  // none: it lies on the disk alone
  uint32_t bytes = 0;
  uint64_t file_offset = 0;
  uint32_t disk_block = 0;  // 0: none, or the parent's
  bool reserved = false;
  bool has_sums = false;
  uint8_t parent = kNoParent;  // index in the image's list, before this one's
  uint8_t slab_pages = 0;      // Arena::SlabPagesOf
  Bytes sums;                  // as encoded: 8 bytes a block

  uint64_t file_end() const { return file_offset + bytes; }
};

// While images are applied: the extents that there are, by serial, and what only Finish will need of them.
struct RecoveredExtent {
  Extent* extent = nullptr;
  InodeId file;  // whose slices show it; none yet
  uint8_t slab_pages = 0;
  bool unwritten = false;  // perhaps: an image that names it never reached the disk
};
using RecoveredExtents = absl::flat_hash_map<uint64_t, RecoveredExtent>;

class Extents {
 public:
  Extents(Arena* arena, TableMemory* memory) : arena_(arena), memory_(memory), staged_(memory) {}

  ~Extents();  // unstages what is staged

  // Each starts with no references. Stage charges ahead what Commit will need (S4).
  Result<Extent*> Stage(uint32_t bytes);
  // In a reservation, at its end of the file: a part of what is reserved still, which the caller cuts out of it. Only
  // memory can be refused, and only with a chunk file: kNoSpace.
  Result<Extent*> StageInside(Extent* reservation, uint64_t file_offset, uint32_t bytes);
  Extent* FindStaged(Place place) const;
  void Unstage(Extent* extent);
  // From staged to written: gives the place's unused end back and keeps the sums.
  void Write(Extent* extent, uint64_t file_offset, uint32_t bytes, std::span<const uint64_t> sums);
  Result<Extent*> Reserve(uint64_t file_offset, uint32_t bytes);
  void Unreserve(Extent* extent);  // of which nothing was recorded, nor has it references

  void Ref(Extent* extent) { ++extent->references; }
  void Unref(Extent* extent);  // frees it with the last reference (S3, S9)
  MutableBytes Data(const Extent* extent) const { return arena_->Data({extent->place_offset, extent->bytes}); }
  // True if the content of blocks [first, last] is what was written.
  bool Check(const Extent* extent, size_t first, size_t last) {
    return !extent->has_sums || CheckCopy(extent, first, last, Data(extent).subspan(first * kChecksumBlockBytes));
  }
  // Likewise of a copy, whose first byte is that of block `first`.
  bool CheckCopy(const Extent* extent, size_t first, size_t last, Bytes data);

  void AddLive(Extent* extent, uint32_t bytes) {
    extent->live_bytes += bytes;
    if (!extent->reserved) live_bytes_ += bytes;
  }
  void SubtractLive(Extent* extent, uint32_t bytes) {
    MAYFLY_CHECK(bytes <= extent->live_bytes);
    extent->live_bytes -= bytes;
    if (!extent->reserved) live_bytes_ -= bytes;
  }

  // S9. Off settles.
  void KeepUnsettled(bool on);
  // S11.
  void Freeze();
  bool frozen() const { return frozen_; }
  // Places are free from now on. Blocks of the chunk file are so after Kept(mark or more): until then a loss of power
  // may bring back a state that reads them.
  void Settle(uint64_t mark);
  void Kept(uint64_t mark);
  uint64_t unsettled_bytes() const { return unsettled_bytes_; }
  uint64_t unsettled_blocks() const { return unsettled_blocks_; }
  uint64_t unkept_blocks() const { return unkept_blocks_; }

  // From now on every extent has blocks in the chunk file. Before the first.
  void SetDisk(DiskSpace* disk) { disk_ = disk; }
  DiskSpace* disk() const { return disk_; }
  // Written extents that are to be written to the chunk file, in order, each with a reference that is the taker's.
  // Null: none at present.
  Extent* NextUnwritten();
  void AddUnwritten(Extent* extent);
  // How many there ever were.
  uint64_t unwritten_ever() const { return unwritten_ever_; }
  // The first byte of the extent in the chunk file.
  uint64_t DiskOffset(const Extent* extent) const {
    const Extent* base = extent->base();
    return base->block * DiskSpace::kBlockBytes + (extent->file_offset - base->file_offset);
  }

  // Gives the place up, after Settle; an image of the extent is then to be recorded.
  void Evict(Extent* extent);
  // A place of the arena for what was absent, of at least its bytes: filled from the chunk file, and nobody has seen it
  // before; not filled, it is given back.
  void Return(Extent* extent, Place place, bool filled);

  // Until EndRecovery extents come from images alone, and the arena does not know them.
  void BeginRecovery() { recovered_ = std::make_unique<RecoveredExtents>(); }
  void EndRecovery() { recovered_.reset(); }
  RecoveredExtents* recovered() const { return recovered_.get(); }
  Extent* Recover(const ExtentImage& image, Extent* parent);  // without references
  // A place that was staged and is so again.
  Status RecoverStaged(Place place);  // kNoSpace: of the chunk file
  bool IsAs(const Extent* extent, const ExtentImage& image, const Extent* parent) const;
  // Serials below this one have been used, or may have been.
  uint64_t next_serial() const { return next_serial_; }
  void UseSerialsFrom(uint64_t serial) { next_serial_ = std::max(next_serial_, serial); }

  uint64_t count() const { return count_; }
  uint64_t staged() const { return staged_.size(); }
  uint64_t staged_bytes() const { return staged_bytes_; }
  template <class Visit>
  void ForEachStaged(Visit visit) const {
    staged_.ForEach([&](const Extent* extent) { visit(extent->place()); });
  }
  uint64_t corrupt_blocks() const { return corrupt_blocks_; }
  // Of written extents: bytes that no slice shows any more.
  uint64_t dead_bytes() const { return written_bytes_ - live_bytes_; }

 private:
  bool ChargeTables(uint64_t bytes);
  Result<Extent*> Make(uint32_t place_bytes, uint32_t blocks, uint64_t ahead);
  void EndStaged(Extent* extent);
  void Count(const Extent* extent, int64_t sign);
  void Release(Extent* extent, bool may_be_recorded);

  Arena* const arena_;
  TableMemory* const memory_;
  IdTable<Extent> staged_;  // by place_offset: places that are staged do not overlap
  uint64_t count_ = 0, staged_bytes_ = 0;
  uint64_t written_bytes_ = 0, live_bytes_ = 0;
  uint64_t corrupt_blocks_ = 0;
  uint64_t next_serial_ = 1;
  bool keeps_unsettled_ = false, frozen_ = false;
  Extent* unsettled_ = nullptr;  // S9
  uint64_t unsettled_bytes_ = 0, unsettled_blocks_ = 0;
  DiskSpace* disk_ = nullptr;
  std::vector<Place> evicted_;  // places that Settle frees
  std::deque<Extent*> unwritten_;
  uint64_t unwritten_ever_ = 0;
  struct Unkept {
    uint64_t mark = 0;
    DiskSpace::Run run;
  };
  std::deque<Unkept> unkept_;  // by mark
  uint64_t unkept_blocks_ = 0;
  std::unique_ptr<RecoveredExtents> recovered_;
};

}  // namespace mayfly::store_internal
