// How a journal begins: made anew, or gone on with behind what recovery found.
#include <algorithm>
#include <utility>

#include "base/log.h"
#include "journal/checkpoint_writer.h"
#include "journal/journal.h"
#include "os/block_buffer.h"

namespace mayfly {

Status Journal::CreateFiles(Disk& disk, const JournalOptions& options) {
  const auto create = [&](std::string_view name, uint64_t bytes) -> Status {
    // `written` is for those who wait for flushes.
    auto file = disk.Open(name, Disk::OpenHow{.create = true, .bytes = bytes, .written = options.survives_power});
    if (!file.ok()) return file.status();
    disk.Close(*file);
    return {};
  };
  MAYFLY_TRY(create(kJournalFileName, kRingOffset + options.ring_bytes));
  for (std::string_view name : kCheckpointFileNames) MAYFLY_TRY(create(name, 0));
  return disk.SyncNames();
}

Status Journal::OpenFiles() {
  const auto open = [&](std::string_view name, DiskFileId* id) -> Status {
    auto file = disk_.Open(name, Disk::OpenHow{});
    if (!file.ok()) return file.status();
    *id = *file;
    return {};
  };
  MAYFLY_TRY(open(kJournalFileName, &file_));
  for (int i = 0; i < 2; ++i) {
    Status status = open(kCheckpointFileNames[i], &checkpoint_files_[i]);
    if (status.code() == Code::kNoEntry) {  // lost; recovery has said so if it was needed
      auto file = disk_.Open(kCheckpointFileNames[i], Disk::OpenHow{.create = true});
      if (file.ok()) checkpoint_files_[i] = *file;
      status = file.ok() ? disk_.SyncNames() : file.status();
    }
    MAYFLY_TRY(status);
  }
  return {};
}

MutableBytes Journal::RingInMemory() {
  if (options_.survives_power) return {};
  const MutableBytes file = disk_.Map(file_);
  return file.size() < kRingOffset + ring_bytes_ ? MutableBytes() : file.subspan(kRingOffset, ring_bytes_);
}

void Journal::CloseFiles() {
  if (std::exchange(registered_, false)) disk_.Unregister(window_.region());
  for (DiskFileId* file : {&file_, &checkpoint_files_[0], &checkpoint_files_[1]}) {
    if (file->value != 0) disk_.Close(*file);
    *file = {};
  }
}

Status Journal::CreateRegion(uint64_t low, uint64_t window_bytes) {
  const MutableBytes ring = RingInMemory();
  in_ring_ = !ring.empty();
  if (in_ring_) window_bytes = 0;
  const size_t bytes = kJournalBlockBytes + window_bytes;
  auto region = kept_.Create(TailWindow::kRegionName, bytes);
  if (region.code() == Code::kExists) {  // of a journal that was closed, or is none of ours: nothing in it is needed
    MAYFLY_TRY(kept_.Remove(TailWindow::kRegionName));
    region = kept_.Create(TailWindow::kRegionName, bytes);
  }
  if (!region.ok()) return region.status();
  RegionHeader header;
  header.shard = options_.identity.shard;
  header.uuid = options_.identity.uuid;
  header.ring_bytes = ring_bytes_;
  header.window_bytes = window_bytes;
  header.incarnation = superblock_.incarnation;
  header.low = Lsn(low);
  EncodeRegionHeader(header, region->first(kJournalBlockBytes));
  window_ = in_ring_ ? TailWindow(*region, ring) : TailWindow(*region);
  return {};
}

Status Journal::AdoptRegion(const Recovered& recovered) {
  const uint64_t end = recovered.end.value;
  in_ring_ = recovered.all_in_ring();
  if (in_ring_) {
    window_ = TailWindow(recovered.region, RingInMemory());
  } else {
    window_ = TailWindow(recovered.region);
    low_ = recovered.region_low.value;
    if (low_ > head_ || head_ - low_ > window_.size()) return Code::kCorrupt;
  }
  // Between the end and the block's end: zeros, which no reader takes for a record.
  if (head_ != end) window_.Zero(end, head_ - end);
  return {};
}

// The same bytes once more. What was written and not flushed may be in no device: a flush that failed, before the
// server ended, leaves the system thinking that there is nothing more to write.
Task<Status> Journal::WriteAgain(uint64_t from, uint64_t to) {
  BlockBuffer buffer(kWriteBytesMax);
  DiskRequest request(executor_, disk_);
  for (uint64_t bytes = 0; from < to; from += bytes) {
    bytes = std::min({to - from, kWriteBytesMax, ring_bytes_ - from % ring_bytes_});
    const MutableBytes piece = buffer.span().first(bytes);
    request.Read(file_, kRingOffset + from % ring_bytes_, piece);
    Status status = co_await request;
    if (!status.ok()) continue;  // recovery has said what that took
    request.Write(file_, kRingOffset + from % ring_bytes_, piece);
    status = co_await request;
    if (!status.ok()) Fail("write", status);
    MAYFLY_CO_TRY(status);
  }
  co_return Status();
}

Task<Status> Journal::WriteOut(uint64_t upto) {
  DiskRequest request(executor_, disk_);
  while (low_ < upto) {
    const uint64_t to_ring_end = ring_bytes_ - low_ % ring_bytes_;
    const Bytes from = window_.Piece(low_, std::min({upto - low_, kWriteBytesMax, to_ring_end}));
    request.Write(file_, kRingOffset + low_ % ring_bytes_, from);
    const Status status = co_await request;
    if (!status.ok()) Fail("write", status);
    MAYFLY_CO_TRY(status);
    low_ += from.size();
  }
  issued_ = low_;
  co_return Status();
}

// J8. The first sector of what nobody knows to be flushed goes last: as long as it is not what the stream has there,
// the record that begins or ends in it does not hold, and nothing behind it is read. Sectors are what a device writes
// whole (os/disk.h, K3).
Task<Status> Journal::WriteOutAtOnce(uint64_t flushed) {
  constexpr size_t kSectorBytes = 512;
  MAYFLY_CO_TRY(co_await WriteOut(std::min(std::max(low_, BlockCeil(flushed)), head_)));
  if (low_ == head_) co_return Status();
  const uint64_t hinge = low_;
  BlockBuffer block(kJournalBlockBytes);
  const Bytes whole = window_.Piece(hinge, kJournalBlockBytes);
  std::copy(whole.begin(), whole.end(), block.data());
  for (uint8_t& byte : block.span().first(kSectorBytes)) byte = static_cast<uint8_t>(~byte);
  DiskRequest request(executor_, disk_);
  request.Write(file_, kRingOffset + hinge % ring_bytes_, block.span());
  Status status = co_await request;
  if (!status.ok()) Fail("write", status);
  MAYFLY_CO_TRY(status);
  low_ = hinge + kJournalBlockBytes;
  MAYFLY_CO_TRY(co_await WriteOut(head_));
  request.Flush(file_);
  status = co_await request;
  if (!status.ok()) Fail("flush", status);
  MAYFLY_CO_TRY(status);
  low_ = hinge;
  MAYFLY_CO_TRY(co_await WriteOut(hinge + kJournalBlockBytes));
  low_ = issued_ = head_;
  co_return Status();
}

Task<Result<std::unique_ptr<Journal>>> Journal::Create(Executor* executor, Disk* disk, KeptMemory* kept,
                                                       JournalOptions options) {
  if (!CheckJournalBytes(options.ring_bytes).empty()) co_return Code::kInvalid;
  if (!CheckWindowBytes(options.window_bytes, options.ring_bytes).empty()) co_return Code::kInvalid;
  MAYFLY_CO_TRY(CreateFiles(*disk, options));
  Recovered nothing;
  Superblock& first = nothing.superblock;
  first.shard = options.identity.shard;
  first.uuid = options.identity.uuid;
  first.ring_bytes = options.ring_bytes;
  first.tail = first.durable = first.next = kFirstLsn;
  nothing.end = kFirstLsn;
  co_return co_await Open(executor, disk, kept, options, std::move(nothing));
}

Task<Result<std::unique_ptr<Journal>>> Journal::Open(Executor* executor, Disk* disk, KeptMemory* kept,
                                                     JournalOptions options, Recovered recovered, Bytes first) {
  std::unique_ptr<Journal> journal(new Journal(*executor, *disk, *kept, options));
  Journal& j = *journal;
  j.superblock_ = recovered.superblock;
  j.ring_bytes_ = recovered.superblock.ring_bytes;
  MAYFLY_CO_TRY(j.OpenFiles());
  const uint64_t window_bytes =
      std::clamp(BlockFloor(options.window_bytes), kWindowBytesMin, std::min(kWindowBytesMax, j.ring_bytes_ / 2));
  j.tail_ = recovered.superblock.tail.value;
  j.head_ = j.low_ = BlockCeil(recovered.end.value);  // J6: on from a fresh block, under a fresh incarnation
  Superblock& s = j.superblock_;
  Joint joint{recovered.end, Lsn(j.head_), s.incarnation + 1};
  // Nothing was written since the last start: its place is taken, so that starts in a row use up no joints.
  if (s.joint_count != 0 && s.joints[s.joint_count - 1].start >= recovered.end) {
    joint.end = s.joints[s.joint_count - 1].end;
    --s.joint_count;
  }
  s.AddJoint(joint);
  s.incarnation = joint.incarnation;
  // A ring that was memory, and was carried to where it is none, has all that it had.
  const bool is_carried = recovered.all_in_ring() && j.RingInMemory().empty();
  if (recovered.region.empty() || is_carried) {
    MAYFLY_CO_TRY(j.CreateRegion(j.low_, window_bytes));
  } else {
    MAYFLY_CO_TRY(j.AdoptRegion(recovered));
  }
  if (!j.in_ring_) disk->Register(j.window_.region());
  j.registered_ = !j.in_ring_;
  j.payload_max_ = std::min<uint64_t>(kPayloadBytesMax, j.window_.size() / 4) - RecordHeader::kBytes;
  // A record that was flushed in part is void, and what was durable of it with it.
  j.durable_ = std::min(recovered.superblock.durable.value, BlockFloor(recovered.end.value));
  j.checkpoint_sequence_ = s.checkpoint.sequence;
  j.SetLimits();
  const bool again = j.options_.survives_power && !recovered.region.empty();
  if (again) MAYFLY_CO_TRY(co_await j.WriteAgain(BlockFloor(j.durable_), j.low_));
  if (j.options_.survives_power) {
    MAYFLY_CO_TRY(co_await j.WriteOutAtOnce(recovered.superblock.durable.value));
  } else {
    MAYFLY_CO_TRY(co_await j.WriteOut(j.head_));
  }
  if (!first.empty()) j.Put(RecordType::kChanges, first, TxnId());
  // The first makes durable what was recovered, then says that the stream goes on. A new journal gets both blocks.
  for (int i = recovered.superblock.sequence == 0 ? 0 : 1; i < 2; ++i) {
    const Status status = co_await j.WriteSuperblock(Change());
    if (!status.ok()) co_return status;
  }
  // Not before: without the joint a reader would look for a record in the rest of the last block.
  j.window_.SetLow(Lsn(j.low_));
  co_return std::move(journal);
}

Result<std::unique_ptr<CheckpointWriter>> Journal::BeginCheckpoint() {
  if (ended_ != Code::kOk) return ended_;
  if (checkpoint_running_) return Code::kBusy;
  checkpoint_running_ = true;
  CheckpointRef ref;
  ref.present = 1;
  ref.slot = superblock_.checkpoint.present != 0 ? 1 - superblock_.checkpoint.slot : 0;
  ref.sequence = ++checkpoint_sequence_;
  ref.start = Lsn(head_);
  return std::unique_ptr<CheckpointWriter>(new CheckpointWriter(*this, ref));
}

}  // namespace mayfly
