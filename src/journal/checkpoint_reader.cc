#include "journal/checkpoint_reader.h"

#include <algorithm>

#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {

struct CheckpointReader::Slot {
  Slot(Executor& executor, Disk& disk) : buffer(FrameHeader::kFrameBytes), request(executor, disk) {}
  BlockBuffer buffer;
  DiskRequest request;
  uint64_t offset = 0, bytes = 0;  // 0: nothing
};

void CheckpointReader::Damaged(uint64_t from, uint64_t to, JournalVisitor* visitor) {
  damage_bytes_ += to - from;
  visitor->OnCheckpointDamage(from, to);
}

uint64_t CheckpointReader::BytesOfFrame(uint64_t offset) const {
  return std::min<uint64_t>(FrameHeader::kFrameBytes, ref_.bytes - offset);
}

Task<Status> CheckpointReader::ReadAll(DiskFileId file, JournalVisitor* visitor) {
  constexpr size_t kAhead = 4;
  // Whatever number the superblock has, what is not in the file is not asked for frame by frame.
  const auto file_bytes = disk_.BytesOf(file);
  const uint64_t end = std::min(ref_.bytes, file_bytes.ok() ? *file_bytes : 0);
  std::unique_ptr<Slot> slots[kAhead];
  uint64_t asked = 0;
  const auto ask = [&](Slot* slot) {
    slot->offset = asked;
    slot->bytes = asked < end ? BytesOfFrame(asked) : 0;
    if (slot->bytes != 0) slot->request.Read(file, asked, slot->buffer.span().first(slot->bytes));
    asked += slot->bytes;
  };
  for (auto& slot : slots) {
    slot = std::make_unique<Slot>(executor_, disk_);
    ask(slot.get());
  }
  uint64_t mixed = 0;
  Status result;
  bool whole = true;
  for (size_t turn = 0;; ++turn) {
    Slot& slot = *slots[turn % kAhead];
    if (slot.bytes == 0) break;
    const Status read = co_await slot.request;
    FrameHeader header;
    const Bytes frame = slot.buffer.span().first(slot.bytes);
    if (read.ok() && DecodeFrame(frame, uuid_, ref_.sequence, slot.offset, &header)) {
      mixed = MixFrameChecksum(mixed, header.checksum);
      if (result.ok()) result = visitor->OnCheckpoint(frame.subspan(FrameHeader::kBytes, header.field_bytes));
    } else {
      whole = false;
      Damaged(slot.offset, slot.offset + slot.bytes, visitor);
    }
    ask(&slot);
  }
  if (asked < ref_.bytes) {
    whole = false;
    Damaged(asked, ref_.bytes, visitor);
  }
  // Frames that hold each for themselves, and are not these.
  if (whole && mixed != ref_.checksum) Damaged(0, ref_.bytes, visitor);
  co_return result;
}

Task<Status> CheckpointReader::Run(JournalVisitor* visitor) {
  auto file = disk_.Open(kCheckpointFileNames[ref_.slot], Disk::OpenHow{.read_only = true});
  if (!file.ok()) {
    Damaged(0, ref_.bytes, visitor);
    co_return Status();
  }
  const Status status = co_await ReadAll(*file, visitor);
  disk_.Close(*file);
  co_return status;
}

}  // namespace mayfly
