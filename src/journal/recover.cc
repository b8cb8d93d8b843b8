#include "journal/recover.h"

#include "journal/checkpoint_reader.h"
#include "journal/walk.h"
#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {
namespace {

// The tail region, if it is there and is this journal's. A clean journal has all of it in the ring.
Status FindRegion(KeptMemory* kept, const JournalIdentity& identity, Recovered* recovered) {
  if (kept == nullptr || recovered->clean) return {};
  auto region = kept->Find(TailWindow::kRegionName);
  if (region.code() == Code::kNoEntry) {
    recovered->no_region = true;
    return {};
  }
  if (!region.ok()) return region.status();
  RegionHeader header;
  const uint64_t tail = recovered->superblock.tail.value, ring_bytes = recovered->superblock.ring_bytes;
  // `low` is under no checksum: the window must at least follow on what the ring has.
  const auto follows = [&] {
    return header.window_bytes == 0 ? tail <= header.low.value
                                    : BlockCeil(tail) <= header.low.value + header.window_bytes;
  };
  if (!DecodeRegionHeader(*region, identity, ring_bytes, &header) || header.low.value > BlockFloor(tail) + ring_bytes ||
      !follows()) {
    recovered->foreign_region = true;
    return {};
  }
  // Made by a start that did not get so far as to say so in the superblock: nothing was appended to it.
  if (header.incarnation > recovered->superblock.incarnation) return {};
  recovered->region = *region;
  recovered->region_low = header.low;
  return {};
}

Task<Status> RecoverFile(Executor* executor, RecoverFrom from, DiskFileId file, JournalVisitor* visitor,
                         JournalFailure* failure, Recovered* recovered) {
  auto superblock = co_await ReadSuperblock(executor, from.disk, file, from.identity, failure);
  if (!superblock.ok()) co_return superblock.status();
  recovered->superblock = *superblock;
  recovered->clean = superblock->clean();
  MAYFLY_CO_TRY(FindRegion(from.kept, from.identity, recovered));
  if (superblock->checkpoint.present != 0) {
    CheckpointReader reader(*executor, *from.disk, from.identity.uuid, superblock->checkpoint);
    const Status read = co_await reader.Run(visitor);
    recovered->checkpoint_damage_bytes = reader.damage_bytes();
    recovered->checkpoint_bytes = superblock->checkpoint.bytes;
    MAYFLY_CO_TRY(read);
  }
  StreamSource::Where where;
  where.file = file;
  where.ring_bytes = superblock->ring_bytes;
  where.tail = superblock->tail.value;
  where.low = recovered->region_low.value;
  if (superblock->clean()) where.end = superblock->next.value;
  if (!recovered->region.empty()) where.window = TailWindow(recovered->region);
  StreamSource source(*executor, *from.disk, where);
  RecordWalk walk(&source, from.identity, visitor, recovered);
  const Status walked = co_await walk.Run();
  co_await source.Stop();
  recovered->bytes_read = source.bytes_read();
  recovered->unreadable_blocks = source.unreadable_blocks();
  co_return walked;
}

}  // namespace

Task<Result<Superblock>> ReadSuperblock(Executor* executor, Disk* disk, DiskFileId file, JournalIdentity identity,
                                        JournalFailure* failure) {
  BlockBuffer both(kRingOffset);
  DiskRequest request(*executor, *disk);
  uint32_t unreadable = 0;
  for (uint32_t i = 0; i < kSuperblocks; ++i) {
    const MutableBytes block = both.span().subspan(size_t{i} * kJournalBlockBytes, kJournalBlockBytes);
    request.Read(file, uint64_t{i} * kJournalBlockBytes, block);
    const Status status = co_await request;
    if (status.ok()) continue;
    if (status.code() != Code::kCorrupt) ++unreadable;
    std::memset(block.data(), 0, block.size());
  }
  Superblock superblock;
  failure->state = ChooseSuperblock(both.span(), identity, &superblock);
  if (failure->state != SuperblockState::kGood && unreadable != 0) failure->state = SuperblockState::kUnreadable;
  if (failure->state == SuperblockState::kGood) {
    auto bytes = disk->BytesOf(file);
    if (!bytes.ok() || *bytes < kRingOffset + superblock.ring_bytes) failure->state = SuperblockState::kCut;
  }
  if (failure->state == SuperblockState::kGood) co_return superblock;
  failure->status = failure->state == SuperblockState::kUnreadable ? Code::kIo : Code::kCorrupt;
  co_return failure->status;
}

Task<Result<Recovered>> Recover(Executor* executor, RecoverFrom from, JournalVisitor* visitor,
                                JournalFailure* failure) {
  auto file = from.disk->Open(kJournalFileName, Disk::OpenHow{.read_only = true});
  if (!file.ok()) {
    failure->state = file.code() == Code::kNoEntry ? SuperblockState::kMissing : SuperblockState::kUnreadable;
    failure->status = file.status();
    co_return file.status();
  }
  Recovered recovered;
  const Status status = co_await RecoverFile(executor, from, *file, visitor, failure, &recovered);
  from.disk->Close(*file);
  if (!status.ok()) {
    failure->status = status;
    co_return status;
  }
  co_return recovered;
}

}  // namespace mayfly
