#include "store/chunk_file.h"

#include <cstring>

#include "base/checksum.h"
#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {

std::string_view SentenceOf(ChunkFileState state) {
  switch (state) {
    case ChunkFileState::kGood:
      return "is good";
    case ChunkFileState::kMissing:
      return "is not there";
    case ChunkFileState::kUnreadable:
      return "cannot be read";
    case ChunkFileState::kForeign:
      return "is damaged at its beginning, or something else";
    case ChunkFileState::kOtherVersion:
      return "was written by another version: use that one";
    case ChunkFileState::kOther:
      return "belongs to another session or another server";
    case ChunkFileState::kCut:
      return "is shorter than it was made";
  }
  return "";
}

void EncodeChunkFileHeader(ChunkFileHeader header, MutableBytes block) {
  MAYFLY_CHECK(block.size() == Disk::kBlockBytes);
  std::memset(block.data(), 0, block.size());
  Encoder e(block);
  e.Put(header);
  const uint64_t checksum = Checksum(block.subspan(8, ChunkFileHeader::kBytes - 8));
  std::memcpy(block.data(), &checksum, sizeof checksum);
}

ChunkFileState DecodeChunkFileHeader(Bytes block, const std::array<uint8_t, 16>& uuid, ShardId shard,
                                     ChunkFileHeader* header) {
  if (block.size() < ChunkFileHeader::kBytes) return ChunkFileState::kForeign;
  Decoder d(block.first(ChunkFileHeader::kBytes));
  d.Get(*header);
  if (!d.Finish().ok() || header->magic != ChunkFileHeader::kMagic) return ChunkFileState::kForeign;
  if (header->version != ChunkFileHeader::kVersion) return ChunkFileState::kOtherVersion;
  if (header->checksum != Checksum(block.subspan(8, ChunkFileHeader::kBytes - 8)) ||
      header->bytes % Disk::kBlockBytes != 0 || header->bytes < kChunkFileBytesMin) {
    return ChunkFileState::kForeign;
  }
  return header->uuid == uuid && header->shard == shard ? ChunkFileState::kGood : ChunkFileState::kOther;
}

Task<Result<ChunkFile>> CreateChunkFile(Executor* executor, Disk* disk, ChunkFileHeader header) {
  auto file = disk->Open(kChunkFileName, Disk::OpenHow{.create = true, .bytes = header.bytes});
  if (!file.ok()) co_return file.status();
  BlockBuffer block(Disk::kBlockBytes);
  EncodeChunkFileHeader(header, block.span());
  DiskRequest request(*executor, *disk);
  request.Write(*file, 0, block.span());
  Status status = co_await request;
  if (status.ok()) {
    request.Flush(*file);
    status = co_await request;
  }
  if (status.ok()) status = disk->SyncNames();
  if (!status.ok()) {
    disk->Close(*file);
    co_return status;
  }
  co_return ChunkFile{*file, header.bytes};
}

Task<Result<ChunkFile>> OpenChunkFile(Executor* executor, Disk* disk, std::array<uint8_t, 16> uuid, ShardId shard,
                                      ChunkFileState* state, Disk::OpenHow how) {
  auto file = disk->Open(kChunkFileName, how);
  if (!file.ok()) {
    *state = file.code() == Code::kNoEntry ? ChunkFileState::kMissing : ChunkFileState::kUnreadable;
    co_return file.status();
  }
  BlockBuffer block(Disk::kBlockBytes);
  DiskRequest request(*executor, *disk);
  request.Read(*file, 0, block.span());
  const Status status = co_await request;
  ChunkFileHeader header;
  if (!status.ok()) {
    *state = status.code() == Code::kCorrupt ? ChunkFileState::kCut : ChunkFileState::kUnreadable;
  } else {
    *state = DecodeChunkFileHeader(block.span(), uuid, shard, &header);
  }
  if (*state == ChunkFileState::kGood) {
    const auto bytes = disk->BytesOf(*file);
    if (!bytes.ok() || *bytes < header.bytes) *state = ChunkFileState::kCut;
  }
  if (*state == ChunkFileState::kGood) co_return ChunkFile{*file, header.bytes};
  disk->Close(*file);
  co_return status.ok() ? Status(Code::kCorrupt) : status;
}

}  // namespace mayfly
