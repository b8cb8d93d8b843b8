// Reads what is on the disk alone into memory, for those who want to see it. An extent is read whole, checked, and
// once, however many wait for it. But of a large one that is read here and there, only the blocks that are wanted are,
// into a copy that the reader takes away with it, until as much was read so as it has. One thread, the store's.
// Invariants  X1  a piece that Fetch gave is in memory for as long as its pin is held.
//             X2  bytes that do not match their checksums are never shown: kCorrupt, counted.
//             X3  what is being read at a time fits into memory, so that no reader waits for one that waits for it. One
//                 that wants more by itself gets no more of its extents than it wants, and is alone.
#pragma once

#include <functional>
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "os/disk.h"
#include "store/chunk_store.h"
#include "task/executor.h"
#include "task/sync.h"
#include "task/task.h"

namespace mayfly {

class DiskReader {
 public:
  // Waits until memory for so many bytes may be had; kNoSpace: never. Asked again until it is.
  using MakeRoom = std::function<Task<Status>(uint32_t bytes, Nanos deadline)>;
  // All outlive it, and so does every Fetch.
  // `bytes_max`: X3, a good part less than the memory.
  DiskReader(Executor* executor, Disk* disk, DiskFileId file, ChunkStore* store, uint64_t bytes_max, MakeRoom make_room)
      : executor_(*executor),
        disk_(*disk),
        file_(file),
        store_(*store),
        bytes_max_(bytes_max),
        make_room_(std::move(make_room)),
        admitted_(*executor) {}

  uint64_t bytes_max() const { return bytes_max_; }
  void SetBytesMax(uint64_t bytes_max) { bytes_max_ = bytes_max; }

  // All absent pieces of a read, side by side. `in_order`: the rest of their extents will be wanted soon. kCorrupt,
  // kIo, kNoSpace, kTimedOut: nothing is to be done with any.
  Task<Status> Fetch(ReadPieces* pieces, bool in_order, Nanos deadline);

 private:
  using Extent = store_internal::Extent;
  // Blocks of checksums, and where they lie in the extent.
  struct Part {
    size_t first = 0, last = 0;
    uint32_t begin = 0, bytes = 0;
  };
  static Part PartOf(const ReadPiece& piece);
  bool WantsPart(const ReadPiece& piece, const Part& part);
  Task<Status> FetchOne(ReadPiece* piece, Nanos deadline);
  Task<Status> FetchPart(ReadPiece* piece, Part part, Nanos deadline);
  Task<Result<Place>> PlaceFor(uint32_t bytes, Nanos deadline);
  Task<Status> Read(Extent* extent, Nanos deadline);
  Task<Status> ReadInto(const Extent* extent, Place place);

  Executor& executor_;
  Disk& disk_;
  const DiskFileId file_;
  ChunkStore& store_;
  uint64_t bytes_max_;
  const MakeRoom make_room_;
  uint64_t reading_bytes_ = 0;
  WaitQueue admitted_;
  absl::flat_hash_map<const Extent*, std::unique_ptr<WaitQueue>> reading_;
  // Bytes that were read in parts. A guess: an extent may have ended, and another have its address.
  absl::flat_hash_map<const Extent*, uint64_t> read_in_parts_;
};

}  // namespace mayfly
