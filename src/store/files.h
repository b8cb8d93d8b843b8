// The files that have something on this shard, and the map of each: slices ordered by file offset. See chunk_store.h
// for the invariants S2, S6 and S8, which this file keeps.
//
// Memory: a file 96 bytes of heap and about 8 in the table; a slice 24 bytes in a B-tree node (48 of heap for the only
// one of a file, 26 to 52 with more, as nodes are full or half full).
#pragma once

#include <cstdint>

#include "absl/container/btree_map.h"
#include "absl/container/inlined_vector.h"
#include "base/ids.h"
#include "store/extents.h"
#include "store/id_table.h"
#include "store/table_memory.h"

namespace mayfly::store_internal {

constexpr uint64_t kPageBytes = 4096;
constexpr uint64_t PageDown(uint64_t offset) { return offset & ~(kPageBytes - 1); }
constexpr uint64_t PageUp(uint64_t offset) { return PageDown(offset + kPageBytes - 1); }

struct Slice {
  Extent* extent = nullptr;  // null: a mark, of one byte
  uint32_t bytes = 0;
  bool zeroed = false;  // reserved, and data to SEEK_DATA all the same

  bool has_content() const { return extent != nullptr && !extent->reserved; }
  bool is_reserved() const { return extent != nullptr && extent->reserved; }
  bool is_data() const { return extent == nullptr || zeroed || !extent->reserved; }  // S8
};
// By file offset.
using SliceMap =
    absl::btree_map<uint64_t, Slice, std::less<uint64_t>, TableAllocator<std::pair<const uint64_t, Slice>>>;

struct File {
  File(InodeId inode, TableMemory* memory) : id(inode), slices(TableAllocator<char>(memory)) {}
  uint64_t key() const { return id.value; }

  InodeId id;
  File* next = nullptr;
  SliceMap slices;
  uint64_t high_water = 0;
  uint64_t pages = 0;  // with a slice in them
  Nanos mtime = 0;
  uint64_t epoch = 0;
  uint64_t changes = 0;
};

// Extents that lost bytes to a cut and still show some: compaction looks at them. Keeps them alive meanwhile. A cut
// across many extents may leave some out.
class CutExtents {
 public:
  explicit CutExtents(Extents* extents) : extents_(extents) {}
  CutExtents(const CutExtents&) = delete;
  CutExtents& operator=(const CutExtents&) = delete;
  ~CutExtents();
  void Add(Extent* extent);
  auto begin() const { return list_.begin(); }
  auto end() const { return list_.end(); }

 private:
  static constexpr size_t kMax = 8;
  Extents* const extents_;
  absl::InlinedVector<Extent*, kMax> list_;
};

// Where a walk through the slices of all files goes on, which others change meanwhile.
struct FileHand {
  uint64_t bucket = 0;     // of the file table
  uint32_t in_bucket = 0;  // file in its chain
  uint64_t offset = 0;     // in that file

  // The file that it is at. Null: there are no more in the bucket, and it is at the next one.
  File* At(const IdTable<File>& table) {
    File* file = table.InBucket(bucket);
    for (uint32_t skip = in_bucket; file != nullptr && skip != 0; --skip) file = file->next;
    if (file != nullptr) return file;
    bucket = bucket + 1 < table.bucket_count() ? bucket + 1 : 0;
    in_bucket = 0;
    return nullptr;
  }
  void NextFile() {
    ++in_bucket;
    offset = 0;
  }
};

class Files {
 public:
  Files(Extents* extents, TableMemory* memory) : extents_(extents), memory_(memory), files_(memory) {}
  ~Files();

  File* Find(InodeId id) const { return files_.Find(id.value); }
  File* FindOrMake(InodeId id);
  void Remove(File* file);           // no slices left
  void RemoveIfNothing(File* file);  // S6

  // The first slice that ends behind `offset`.
  static SliceMap::iterator At(File* file, uint64_t offset);
  static SliceMap::const_iterator At(const File* file, uint64_t offset);
  // Takes [begin, end) out of the map: slices inside go, slices across are shortened or split. Keeps file->pages.
  void Cut(File* file, uint64_t begin, uint64_t end, CutExtents* cut);
  // Puts a slice of `extent` where there is none. Keeps file->pages; takes a reference.
  void Insert(File* file, uint64_t begin, uint32_t bytes, Extent* extent, bool zeroed = false);
  // Whether the page that `offset` lies in is data (S8).
  static bool IsDataPage(const File* file, uint64_t offset);
  // Puts a mark where there is no slice. Keeps file->pages.
  void Mark(File* file, uint64_t offset);
  // What is reserved of [begin, end), both on pages, is data from now on.
  void Zero(File* file, uint64_t begin, uint64_t end);

  // Drops slices from the end on, without keeping file->pages: for a file that goes. True when none are left.
  bool DropTail(File* file, uint64_t slices_max);

  uint64_t count() const { return files_.size(); }
  const IdTable<File>& table() const { return files_; }

 private:
  static uint64_t PagesIn(const File* file, uint64_t begin, uint64_t end);
  void SplitAt(File* file, uint64_t offset);

  Extents* const extents_;
  TableMemory* const memory_;
  IdTable<File> files_;
};

}  // namespace mayfly::store_internal
