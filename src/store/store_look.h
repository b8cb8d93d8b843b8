// Where the bytes of a shard's files lie, out of images that were applied (ChunkStore::Apply) to a store that need not
// be finished, nor have an arena: for tools that read them from what a dead server left. Nothing is placed or loaded.
#pragma once

#include <span>
#include <utility>
#include <vector>

#include "store/chunk_store.h"

namespace mayfly {

// Some bytes of a file that one extent holds.
struct StoredPiece {
  uint64_t begin = 0;  // of the file
  uint32_t bytes = 0;
  // All of the extent, which lies somewhere as it was written: the piece is at the same distance from its first byte.
  uint64_t extent_begin = 0;  // file offset
  uint32_t extent_bytes = 0;
  Place place;                     // in the arena of the server that died; none: not there, or not any more
  uint64_t disk_offset = 0;        // in the chunk file; 0: not there
  std::span<const uint64_t> sums;  // of each 64 KiB of the extent; none: not known. Valid while the store is as it is
  uint64_t end() const { return begin + bytes; }
};

// A stretch of the chunk file that belongs to an extent, with what lies inside it.
struct StoredRun {
  InodeId file;
  uint64_t serial = 0;  // of the extent
  uint64_t first = 0;   // block; 0: none
  uint32_t blocks = 0;
};

class StoreLook {
 public:
  explicit StoreLook(const ChunkStore* store) : store_(*store) {}

  // The first piece with data that ends behind `from`; false if there is none. Holes and reservations are none.
  bool Next(InodeId file, uint64_t from, StoredPiece* piece) const;

  // What a recovery brings to the chunk file before anything else: all of each extent with content that an image
  // applied as perhaps unwritten (ChunkStore::Apply) names and some slice shows, from its first byte to its last, as
  // checksums go over whole blocks of it. By serial; those without a place in the arena were on the disk.
  std::vector<StoredPiece> Unwritten() const;

  // Appends what the file's slices lie in, reservations as well; an extent perhaps several times.
  void RunsOf(InodeId file, std::vector<StoredRun>* runs) const;

  // The ranges of the file that lie in this extent, or inside of it.
  std::vector<std::pair<uint64_t, uint64_t>> RangesIn(InodeId file, uint64_t serial) const;

  // Appends images (store/images.h) by which the shard has nothing in a range of the file any more, or nothing of it.
  void PutHole(InodeId file, uint64_t begin, uint64_t end, TlvWriter* out) const;
  static void PutGone(InodeId file, TlvWriter* out);

 private:
  // Where an extent lies, and its sums; the piece's own range is left alone.
  static void Locate(const store_internal::Extent& extent, StoredPiece* piece);

  const ChunkStore& store_;
};

}  // namespace mayfly
