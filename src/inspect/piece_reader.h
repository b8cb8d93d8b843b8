// Reads the bytes of a dead server's files from where they lie: the arena's segments, as long as the node that served
// them runs, and the chunk file. Checks every block that has a checksum; of two places the one that holds what was
// written is believed. Over the doors alone, nothing is written. One thread.
// Invariants  R1  bytes that do not match their checksum are never given out.
//             R2  bytes without a checksum come from the arena only if its journal was read to the very end, so that
//                 places mean what they say; else from the chunk file.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "inspect/gaps.h"
#include "os/block_buffer.h"
#include "os/disk.h"
#include "store/chunk_file.h"
#include "store/store_look.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

class PieceReader {
 public:
  // The most that one Read gives.
  static constexpr uint32_t kReadBytesMax = 1u << 20;

  struct From {
    Executor* executor = nullptr;
    Disk* disk = nullptr;      // of the shard's directory
    Disk* memory = nullptr;    // of the session's directory in memory; null: not there
    std::string arena_prefix;  // of the segments' files there
    std::array<uint8_t, 16> uuid{};
    ShardId shard;
    bool places_hold = false;  // R2
  };
  // `from`'s doors outlive the reader.
  explicit PieceReader(From from) : from_(std::move(from)) {}
  PieceReader(const PieceReader&) = delete;
  PieceReader& operator=(const PieceReader&) = delete;
  ~PieceReader();

  // Once, first. What the chunk file is like; kMissing if there is none, which is no error by itself.
  Task<ChunkFileState> Open();

  // As its header says; 0 if that is not there or not good.
  uint64_t chunk_file_bytes() const { return chunk_file_bytes_; }

  // How much to read at most from file offset `begin` of a piece, so that no block of the extent is read twice.
  static uint32_t Stretch(const StoredPiece& piece, uint64_t begin);
  // The bytes of the piece from file offset `begin` on, to.size() of them, at most kReadBytesMax, none behind its end.
  // What cannot be had is added to *gaps and left as it is in `to`.
  Task<void> Read(StoredPiece piece, uint64_t begin, MutableBytes to, Gaps* gaps);
  // The arena's segment that the piece's extent lies in is there, all of that part.
  bool IsInMemory(const StoredPiece& piece);

 private:
  static constexpr size_t kSegmentsOpen = 8;
  struct Segment {
    uint32_t number = 0;
    DiskFileId file;
  };

  DiskFileId SegmentFile(uint32_t number);
  // Bytes of a file into the buffer; where they begin in there, or an error.
  Task<Result<uint64_t>> ReadFrom(Disk* disk, DiskFileId file, uint64_t offset, uint64_t bytes);
  // From a file in which the extent begins at `extent_offset`: what holds and is not had yet is copied out.
  struct Reading;
  Task<void> Try(Reading* reading, Disk* disk, DiskFileId file, uint64_t extent_offset);
  Task<bool> TryBlocks(Reading* reading, Disk* disk, DiskFileId file, uint64_t extent_offset, size_t first,
                       size_t last);

  const From from_;
  DiskFileId chunks_;
  uint64_t chunk_file_bytes_ = 0;
  bool chunks_hold_ = false;       // its header is good
  std::vector<Segment> segments_;  // open, the one used last at the end
  std::unique_ptr<BlockBuffer> buffer_;
};

}  // namespace mayfly
