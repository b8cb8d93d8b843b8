// The chunk store holds the bytes of files on one shard: by file and chunk, as extents in the arena. One thread, all
// synchronous; the memory tier only. It knows nothing of names, sizes, messages or journals: it says what it changed
// (SetRecorder); the caller journals that, keeps the file's size, and refuses operations of an old epoch before it
// calls.
//
// A write is Stage (a fresh place), the transfer into it, Commit (the range is swapped in) or Unstage. A read is
// pieces, each with a pin: the bytes stay in place while the pin lives, whatever happens to the file.
//
// Invariants  S1  live bytes are never written over: only bytes of a staged place are.
//             S2  a slice of the map lies within one chunk and one extent, at its offset in the extent; slices of a
//                 file do not overlap.
//             S3  an extent keeps place, range and checksums as written while a slice, a pin or an in-place write
//                 refers to it, and is freed with the last of them.
//             S4  Commit of a staged place cannot fail for want of memory: Stage charged its bookkeeping ahead.
//             S5  checksum b of an extent covers its bytes [64K*b, 64K*(b+1)) as written, never those of the file's
//                 grid.
//             S6  a file with nothing here (no slice, no epoch, no high-water mark) takes no memory.
//             S7  all pins are gone before the store is; what is staged then is unstaged.
//             S8  a page counts as data, as on tmpfs, from its first byte on until it is dropped as a whole: where a
//                 cut leaves nothing of it but zeros, a mark stands for it; where what is reserved is reserved again,
//                 its pages are zeroed. Nor does a reservation lose a part of a page.
//             S9  with a recorder, the place of an extent that ended is not given out again before Settle: until the
//                 record that cut it is kept, the state that would come back still reads it.
//             S10 with a chunk file, what is reserved has blocks and no place; what is written into it has a place of
//                 its own, and its blocks are the reservation's.
//             S11 once frozen, no place and no block is given out again that an image names, nor what was staged then:
//                 only places that hold copies of what is on the disk come free. Whoever recovers takes the images for
//                 right, and checksums may be off.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/container/inlined_vector.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/tlv.h"
#include "store/arena.h"
#include "store/extents.h"
#include "store/files.h"
#include "store/memory_budget.h"
#include "store/place.h"
#include "store/table_memory.h"

namespace mayfly {

class ChunkStore;
namespace store_internal {
struct RangeImage;
}

// A range of one chunk of a file. chunk_bits (16 to 26) is the file's and the same in every call for it; a range beyond
// the chunk, or of no bytes, is kInvalid.
struct ChunkRange {
  InodeId file;
  ChunkIndex chunk;
  uint8_t chunk_bits = 22;
  uint32_t offset = 0;  // within the chunk
  uint32_t bytes = 0;

  uint64_t file_offset() const { return (uint64_t{chunk.value} << chunk_bits) + offset; }
};

// Holds an extent's bytes in place. Move only; dropped on the store's thread, before the store (S7).
class ExtentPin {
 public:
  ExtentPin() = default;
  ExtentPin(ExtentPin&& o) noexcept
      : store_(std::exchange(o.store_, nullptr)), extent_(std::exchange(o.extent_, nullptr)) {}
  ExtentPin& operator=(ExtentPin&& o) noexcept {
    if (this != &o) {
      Reset();
      store_ = std::exchange(o.store_, nullptr);
      extent_ = std::exchange(o.extent_, nullptr);
    }
    return *this;
  }
  ~ExtentPin() { Reset(); }
  void Reset();
  explicit operator bool() const { return extent_ != nullptr; }

 private:
  friend class ChunkStore;
  friend class DiskReader;
  ExtentPin(ChunkStore* store, store_internal::Extent* extent) : store_(store), extent_(extent) {}
  ChunkStore* store_ = nullptr;
  store_internal::Extent* extent_ = nullptr;
};

// A place in the arena that no extent knows of. Move only; dropped before the arena.
class OwnPlace {
 public:
  OwnPlace() = default;
  OwnPlace(Arena* arena, Place place) : arena_(arena), place_(place) {}
  OwnPlace(OwnPlace&& o) noexcept : arena_(std::exchange(o.arena_, nullptr)), place_(o.place_) {}
  OwnPlace& operator=(OwnPlace&& o) noexcept {
    if (this != &o) {
      Reset();
      arena_ = std::exchange(o.arena_, nullptr);
      place_ = o.place_;
    }
    return *this;
  }
  ~OwnPlace() { Reset(); }
  void Reset() {
    if (arena_ != nullptr) std::exchange(arena_, nullptr)->Free(place_);
  }
  explicit operator bool() const { return arena_ != nullptr; }

 private:
  Arena* arena_ = nullptr;
  Place place_;
};

// A stretch of a file as it was at the call that gave it: data, or a hole (reserved ranges are holes).
struct ReadPiece {
  uint64_t file_offset = 0;
  uint32_t bytes = 0;
  Place place;    // where the bytes lie, for those who map the arena; none for a hole
  Bytes data;     // the same bytes here, valid while `pin` is held; empty for a hole
  ExtentPin pin;  // none for a hole
  OwnPlace copy;  // where the bytes lie if their extent stays on the disk: read for this piece alone, and checked
  bool is_hole() const { return !pin; }
  // On the disk alone: DiskReader gives it a place and data before anything else is done with it.
  bool is_absent() const { return pin && data.empty(); }
};
using ReadPieces = absl::InlinedVector<ReadPiece, 4>;

// The XXH3 of the next `bytes` bytes of a piece.
struct SumPart {
  uint32_t bytes = 0;
  uint64_t sum = 0;
};
using SumParts = absl::InlinedVector<SumPart, 4>;

struct FileFigures {
  uint64_t high_water = 0;       // file offset behind the last byte written here, and not truncated since
  uint64_t allocated_bytes = 0;  // of the 4 KiB pages with data or reservations, as st_blocks counts (* 512)
  Nanos mtime = 0;               // the latest given to Commit since ClearMtime
  uint64_t epoch = 0;            // of truncation, as set
  uint64_t changes = 0;          // count of Commits, Punches and Truncates: part of the file's version
  uint64_t slices = 0;           // of data and of reservations
};

struct ChunkStoreStats {
  uint64_t files = 0;
  uint64_t extents = 0;  // committed or reserved, alive (also if only by a pin)
  uint64_t staged = 0;
  uint64_t pins = 0;
  uint64_t unsettled_bytes = 0;  // S9: neither used by a file nor free
  uint64_t unkept_bytes = 0;     // likewise, of the chunk file
  uint64_t disk_bytes = 0, disk_bytes_free = 0;
  uint64_t dead_bytes = 0;      // of extents: written, and cut away since
  uint64_t corrupt_blocks = 0;  // found since the start: each is a read that got kCorrupt, or a compaction that did not
  uint64_t compacted_bytes = 0;  // copied since the start
  // With a chunk file, since the start: places given up, extents read back, pieces of reads that were in memory.
  uint64_t evicted = 0, evicted_bytes = 0, fetched = 0, fetched_bytes = 0, hits = 0;
};

class ChunkStore {
 public:
  static constexpr uint32_t kReadPiecesMax = 64;
  static constexpr uint32_t kCompactBytesMax = 1u << 20;  // longest extent that compaction makes
  static constexpr uint32_t kReserveBytesMax = 1u << 20;  // longest extent of a reservation

  // All outlive the store. With `disk` every extent has blocks of a chunk file too, and what is written is to be taken
  // there (WriteBack); a fresh place is kNoSpace when either is full.
  ChunkStore(Arena* arena, MemoryBudget* budget);
  // Before anything else. `ordered`: images reach the journal's ring only after the data that they tell of.
  void SetDisk(DiskSpace* disk, bool ordered) {
    extents_.SetDisk(disk);
    ordered_ = ordered;
  }
  ChunkStore(const ChunkStore&) = delete;
  ChunkStore& operator=(const ChunkStore&) = delete;
  ~ChunkStore();  // S7

  // ---- writing ----
  // A fresh place of `bytes`, or of a page if they are less (Arena), for incoming data; kNoSpace at once when full (a
  // shorter one may still be had, and with a recorder perhaps this one after Settle, if there are unsettled bytes).
  // Yours until Commit or Unstage: call neither while a transfer can still write into it (S1).
  Result<Place> Stage(uint32_t bytes);
  // For a write to `range` after Stage failed. If the range begins in a reservation, its own reserved bytes are taken,
  // and room cannot be refused: this is what ReserveRange promised. The place may be shorter than the range (never
  // empty): commit that much at range.offset, then ask again. The stretch is no longer reserved, also when it is
  // unstaged. With a chunk file the promise is about blocks, and kNoSpace there says that memory must be made first
  // (EvictSome, or others' write-back): nothing has changed.
  Result<Place> StageFor(const ChunkRange& range);
  // Of the range, bytes that are reserved.
  uint64_t ReservedBytes(const ChunkRange& range) const;
  void Unstage(Place place);  // a place that is not staged is a bug of ours: see IsStaged
  // True for exactly the places that Stage and StageFor gave and neither Commit nor Unstage took: what a peer names
  // must be asked for here.
  bool IsStaged(Place place) const { return extents_.FindStaged(place) != nullptr; }
  // Makes the first range.bytes bytes of `place` the content of `range`. `sums`: one for each 64 KiB block started
  // (S5), or none when checksums are off. On kInvalid (range, number of sums, more bytes than the place has, not
  // staged) nothing changed, and a staged place stays staged. Nothing else fails (S4). May then compact around the
  // range.
  Status Commit(const ChunkRange& range, Place place, std::span<const uint64_t> sums, Nanos mtime);

  // ---- reading ----
  struct Covered {
    uint32_t bytes = 0;
    bool cut = false;  // kReadPiecesMax was reached: ask again from there
  };
  // Appends what `range` holds, in order, up to the file's high-water mark here. Less than asked and not cut: this
  // shard has nothing behind. kInvalid is a bad range.
  Result<Covered> Read(const ChunkRange& range, ReadPieces* pieces);
  // Checks the blocks that the piece touches. kCorrupt (counted) when one does not match; holes, and extents without
  // checksums, are fine.
  Status Verify(const ReadPiece& piece);
  // Likewise, of an extent in which damage was found before: for readers that want no sums.
  Status Trust(const ReadPiece& piece) {
    return piece.is_hole() || piece.copy || !piece.pin.extent_->known_corrupt ? Status() : Verify(piece);
  }
  // Appends the sums by which a receiver can check the piece end to end: the stored sum of a block that the piece
  // covers whole; a block covered in part is verified, then its part summed anew. None for holes and extents without
  // checksums.
  Status PieceSums(const ReadPiece& piece, SumParts* parts);
  // For the flush: appends the live data (no holes) of the file from file offset `from` on, in order, at most
  // `pieces_max` pieces, all pinned. Returns the file offset to go on from; kDone when there is nothing behind.
  static constexpr uint64_t kDone = ~uint64_t{0};
  uint64_t LiveData(InodeId file, uint64_t from, uint32_t pieces_max, ReadPieces* pieces);

  // ---- shape ----
  // Drops data and reservations at and behind `size` (they read as a hole if the file grows again), at most
  // `slices_max` slices, from the end on. True when done; else call again with the same size before anything else is
  // done to the file.
  [[nodiscard]] bool Truncate(InodeId file, uint64_t size, uint64_t slices_max = ~uint64_t{0});
  // Drops data and reservations of the range; the high-water mark stays.
  Status Punch(const ChunkRange& range);
  // Reserves the parts of the range that hold neither data nor reservation, all or nothing: kNoSpace at once.
  // Reserved parts read as holes and count as allocated, and are holes to SEEK_DATA unless reserved again (S8). A write
  // to what is still reserved will not fail: StageFor. With a chunk file they take blocks of it, and no memory (S10).
  Status ReserveRange(const ChunkRange& range);
  // Everything of the file, its epoch too. DropSlice: at most `slices_max` slices; true when the file is gone. In
  // between the caller lets nobody use the file.
  void Drop(InodeId file);
  [[nodiscard]] bool DropSlice(InodeId file, uint64_t slices_max);

  // SEEK_DATA, SEEK_HOLE for what is on this shard, with data rounded outward to 4 KiB pages, as tmpfs does (the caller
  // cuts at the file's size). S8.
  struct Found {
    bool found = false;
    uint64_t offset = 0;
  };
  Found NextData(InodeId file, uint64_t from) const;
  // At most the end of the chunk that `from` lies in: at that very offset it may be data, on the next chunk's shard.
  uint64_t NextHole(InodeId file, uint64_t from, uint8_t chunk_bits) const;

  // ---- figures ----
  FileFigures Figures(InodeId file) const;  // zeros for a file that has nothing here
  // An epoch other than 0 keeps a record for the file until Drop. kNoSpace when there is no room for one.
  Status SetEpoch(InodeId file, uint64_t epoch);
  void ClearMtime(InodeId file);

  // ---- what outlives the process ----
  // From now on every call that changes what is here appends images of that (store/images.h) to `out`, before it
  // returns; what is here already is for a StoreWalk. Null: no more, and settles. Not recorded: places that are only
  // staged (StageFor records that the stretch is no longer reserved).
  void SetRecorder(TlvWriter* out);
  // Nothing can be recorded any more, though what was recorded outlives the process: S11. For good.
  void Freeze();
  // All images until now outlive the process: places that they cut loose may be given out again (S9). Costs nothing
  // when there are none; to be called also when nothing was recorded, for what was pinned. Blocks of the chunk file
  // that they cut loose come free by Kept(`mark` or more): when the images outlive a loss of power too.
  void Settle(uint64_t mark = 0) { extents_.Settle(mark); }
  void Kept(uint64_t mark) { extents_.Kept(mark); }

  // On a new store over a new arena, without a recorder: applies images in the order of their making, from a walk's and
  // from what was recorded since the walk began. An image may be applied again, followed by those behind it. kCorrupt:
  // the bytes are none of ours, or contradict an image before; then, or without FinishRecovery, the store is only fit
  // to be deleted.
  // `unwritten`: the image never reached the disk, so what it names may not have either.
  Status Apply(Tag tag, Bytes value, bool unwritten = false);
  // As Commit, among images: the range's content lies in a place that was staged when the store died.
  Status ApplyCommit(const ChunkRange& range, Place place, std::span<const uint64_t> sums, Nanos mtime);
  // When all are applied, and before any other call: the arena takes over what ArenaMemory::Adopt found. kCorrupt: the
  // places contradict each other or the segments, and nothing was taken. Checksums are not looked at: Verify.
  // `staged`: what the caller knows to have been staged, and goes on with. kNoSpace: the chunk file has no room for
  // them.
  Status FinishRecovery(std::span<const ArenaMemory::Found> segments, std::span<const AdoptedPlace> staged = {});
  // All processes that had the arena mapped before have come back or are gone. Until then nothing is given out that may
  // have been staged when the server before ended (A7), nor do recovered reservations give their places back, of
  // which parts may have been.
  void ReleaseQuarantine();
  // For after a loss of power: the arena of all images before is gone.
  static void PutPlacesVoid(TlvWriter* out);

  // In no order; `visit` changes nothing here.
  template <class Visit>
  void ForEachFile(Visit visit) const {
    files_.table().ForEach([&](const File* file) { visit(file->id); });
  }

  // ---- eviction, with a chunk file ----
  enum class Evict : uint8_t { kLru, kLfu };
  void SetEviction(Evict policy) { policy_ = policy; }
  // Gives up places of what is on the disk and was not used for longest, or least often, until `bytes` of them are free
  // (with a recorder: after Settle), all was looked at, or so many extents are. How many bytes are.
  uint64_t EvictSome(uint64_t bytes, uint32_t extents_max = ~0u);
  // Likewise, whatever lies in segments that the arena drains, at most so many extents. True: all has been looked at
  // since this was last so, or since StartDrain.
  bool EvictDraining(uint32_t extents_max);
  // Lets the arena drain segments of so many bytes, of those not in `except`, if it may: what is staged, and so cannot
  // leave, and the part that is kept for transfers stay beside (Arena::StartDrain). False: there are none.
  bool StartDrain(uint64_t bytes, const absl::flat_hash_set<uint32_t>& except);

  // ---- compaction, with a chunk file ----
  // Bytes of the file that are left to it, which copies before it gains, as long as it MayCompact.
  uint64_t CompactionSpare() const;
  // Whether there is enough that no file shows any more for a search to be worth it.
  bool MayCompact();
  // A piece of a file, of an extent that shows little of its bytes, to be read back whole (DiskReader). False: there is
  // none in this part of the tables; to be asked again while MayCompact.
  bool FindSparse(InodeId* file, ReadPieces* pieces);
  // Copies what that extent shows, so that its blocks come free with the piece (S9). False: not all of it could be.
  bool GiveUp(InodeId file, const ReadPiece& piece);

  ChunkStoreStats stats() const;
  // Bytes of this store's tables (the arena has its own), as charged to the budget.
  uint64_t MemoryUsage() const { return memory_.used(); }
  Arena& arena() { return *arena_; }

 private:
  friend class DiskReader;
  friend class ExtentPin;
  friend class StoreLook;
  friend class StoreWalk;
  friend class WriteBack;
  using Extent = store_internal::Extent;
  using File = store_internal::File;
  using CutExtents = store_internal::CutExtents;
  using Reserved = absl::InlinedVector<Extent*, 8>;
  using Stretches = absl::InlinedVector<std::pair<uint64_t, uint64_t>, 4>;
  static constexpr uint8_t kChunkBitsMin = 16, kChunkBitsMax = 26;
  static constexpr uint32_t kInsideBytesMin = 4096;  // shorter pieces of a write only where it is so short
  static constexpr uint64_t kFileTableBytes = 1024;  // a file's record, and a page of the file table
  static constexpr uint32_t kEagerEighths = 1, kReclaimEighths = 4;  // compaction.cc

  static bool IsValid(const ChunkRange& range);
  ReadPiece PieceOf(Extent* extent, uint64_t begin, uint64_t end);
  void Show(ReadPiece* piece);  // place and data of what is not absent

  // eviction.cc
  void Use(Extent* extent);
  void EndUse(Extent* extent);
  bool MayEvict(const Extent* extent) const;
  void GiveUpPlace(File* file, store_internal::SliceMap::iterator slice);
  void Unpin(Extent* extent);
  Status ReserveGap(uint64_t begin, uint64_t end, Reserved* reserved);
  static void FindReservedPages(const File* file, uint64_t begin, uint64_t end, Stretches* pages);

  void Record(const File* file, uint64_t begin, uint64_t end) {
    if (recorder_ != nullptr) RecordRange(*file, begin, end);
  }
  void RecordFigures(const File* file) { Record(file, 0, 0); }
  void RecordRange(const File& file, uint64_t begin, uint64_t end);

  // recovery.cc
  Status HoldExtents(const store_internal::RangeImage& image, bool unwritten, Reserved* held);
  void ApplyRange(const store_internal::RangeImage& image, const Reserved& extents);

  // compaction.cc
  bool Rewrite(File* file, uint64_t begin, uint64_t end);
  uint64_t RewriteInPieces(File* file, uint64_t begin, uint64_t end);
  void MergeTiny(File* file, const ChunkRange& range);
  void FindStretches(File* file, const Extent* extent, Stretches* stretches);
  uint64_t RewriteSparse(File* file, const CutExtents& cut, uint32_t eighths);
  uint64_t BytesFree() const;  // soon
  uint64_t BytesFreeNow() const;
  bool IsShort(uint32_t bytes) const;
  void KeepRoom(uint32_t bytes);  // reclaims if memory is short
  bool Reclaim();                 // true if memory came free
  // A search for sparse extents, a part of the tables at a time.
  struct Hunt {
    store_internal::FileHand hand;
    uint32_t eighths = kReclaimEighths;  // an extent with less live than this is sparse
    uint64_t barren = 0;                 // buckets walked since something was gained
    uint64_t futile_dead = 0;            // dead bytes when a whole walk gained nothing
  };
  bool MayFind(Hunt* hunt, uint64_t more) const;
  void EndWalk(Hunt* hunt, uint64_t buckets, bool gained);
  template <class IsWorthIt>
  File* Walk(Hunt* hunt, uint64_t* slices, uint64_t* buckets, IsWorthIt is_worth_it);

  Arena* const arena_;
  MemoryBudget* const budget_;
  store_internal::TableMemory memory_;
  store_internal::Extents extents_;
  store_internal::Files files_;
  TlvWriter* recorder_ = nullptr;
  std::vector<Extent*> quarantined_;  // recovered reservations, with a reference to each
  bool ordered_ = false;
  Evict policy_ = Evict::kLru;
  absl::flat_hash_map<const Extent*, uint32_t> used_;  // pins of each, with a chunk file
  store_internal::FileHand evict_hand_;                // where EvictSome goes on
  uint64_t drain_position_ = 0, drain_offset_ = 0;     // where EvictDraining does: in the file table, in the file
  uint64_t evicted_ = 0, evicted_bytes_ = 0;
  uint64_t fetched_ = 0, fetched_bytes_ = 0, hits_ = 0;
  uint64_t pins_ = 0;
  uint64_t compacted_bytes_ = 0;
  Hunt reclaim_;    // by Reclaim, in memory
  Hunt disk_hunt_;  // by FindSparse
};

}  // namespace mayfly
