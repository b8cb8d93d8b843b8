// The chunk file of one shard: what its first block says, and how the file begins. Behind that block lie the bytes of
// extents, in blocks that only the images of the journal tell of. Format: share/doc/format/chunks.md.
#pragma once

#include <array>
#include <string_view>

#include "base/bytes.h"
#include "base/coding.h"
#include "base/ids.h"
#include "os/disk.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

constexpr std::string_view kChunkFileName = "chunks";
constexpr uint64_t kChunkFileBytesMin = 1u << 20;

struct ChunkFileHeader {
  static constexpr uint64_t kMagic = 0x314b4e4843594d00;  // "\0MYCHNK1"
  static constexpr uint32_t kVersion = 2;
  static constexpr size_t kBytes = 48;
  uint64_t checksum = 0;  // of bytes 8 to 47
  uint64_t magic = kMagic;
  uint32_t version = kVersion;
  ShardId shard;
  std::array<uint8_t, 16> uuid{};
  uint64_t bytes = 0;  // of the file, a multiple of Disk::kBlockBytes
  template <class Io>
  void Fields(Io& io) {
    io(checksum, magic, version, shard);
    io.Raw(uuid.data(), uuid.size());
    io(bytes);
  }
};

enum class ChunkFileState : uint8_t { kGood, kMissing, kUnreadable, kForeign, kOtherVersion, kOther, kCut };
// For the user, after "the chunk file ".
std::string_view SentenceOf(ChunkFileState state);

// `block`: of Disk::kBlockBytes.
void EncodeChunkFileHeader(ChunkFileHeader header, MutableBytes block);
// Whether the block is the header of that shard's file of that session, of any size.
ChunkFileState DecodeChunkFileHeader(Bytes block, const std::array<uint8_t, 16>& uuid, ShardId shard,
                                     ChunkFileHeader* header);

struct ChunkFile {
  DiskFileId file;
  uint64_t bytes = 0;
};
// A new file of so many bytes, all of them the node's from now on. kExists, kNoSpace, kIo.
Task<Result<ChunkFile>> CreateChunkFile(Executor* executor, Disk* disk, ChunkFileHeader header);
// One that is there. kCorrupt, kNoEntry, kIo, kBusy: *state says more.
Task<Result<ChunkFile>> OpenChunkFile(Executor* executor, Disk* disk, std::array<uint8_t, 16> uuid, ShardId shard,
                                      ChunkFileState* state, Disk::OpenHow how = {});

}  // namespace mayfly
