#include "store/write_back.h"

#include <algorithm>
#include <utility>

#include "base/log.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DiskSpace::kBlockBytes;
constexpr uint64_t Down(uint64_t bytes) { return bytes & ~(kBlock - 1); }
constexpr uint64_t Up(uint64_t bytes) { return Down(bytes + kBlock - 1); }

}  // namespace

WriteBack::WriteBack(Executor* executor, Disk* disk, DiskFileId file, ChunkStore* store, bool flushes)
    : executor_(*executor),
      disk_(*disk),
      file_(file),
      store_(*store),
      flushes_(flushes),
      waiters_(*executor),
      idle_(*executor) {
  for (Write& write : writes_) {
    write.fn = &WriteBack::OnWritten;
    write.owner = this;
    for (EdgeRead& edge : write.edges) {
      edge.fn = &WriteBack::OnEdge;
      edge.write = &write;
    }
  }
  flush_.fn = &WriteBack::OnFlushed;
  flush_.owner = this;
}

WriteBack::~WriteBack() {
  MAYFLY_CHECK(write_count_ == 0 && !flushing_);
  for (Write& write : writes_) {
    if (write.gathered != nullptr) disk_.Unregister(write.gathered->span());
  }
  if (next_ != nullptr) store_.extents_.Unref(next_);
  for (Extent* extent : begun_) store_.extents_.Unref(extent);
  if (file_.value != 0) disk_.Close(file_);
}

bool WriteBack::Turn() {
  bool worked = WriteShared();
  if (ended_ != Code::kOk) return worked;
  worked |= StartWrites();
  worked |= StartFlush();
  return worked;
}

WriteBack::Extent* WriteBack::Next() {
  if (next_ == nullptr) next_ = store_.extents_.NextUnwritten();
  return next_;
}

// B3
bool WriteBack::IsBusy(uint64_t offset, uint64_t bytes) const {
  for (uint32_t i = 0; i < write_count_; ++i) {
    const Write& write = writes_[(first_write_ + i) % kWritesMax];
    if (!write.done && offset < write.offset + write.bytes && write.offset < offset + bytes) return true;
  }
  return false;
}

bool WriteBack::StartWrites() {
  bool worked = false;
  while (write_count_ < kWritesMax && (eager_ || begun_count_ < wanted_) && Next() != nullptr) {
    if (!Begin(&writes_[(first_write_ + write_count_) % kWritesMax])) break;
    worked = true;
  }
  return worked;
}

// Copies extents that follow each other on the disk, from next_ on. Returns their bytes there.
uint64_t WriteBack::Gather(Write* write) {
  if (write->gathered == nullptr) {
    write->gathered = std::make_unique<BlockBuffer>(kGatherBytes);
    disk_.Register(write->gathered->span());
  }
  const uint64_t begin = store_.extents_.DiskOffset(next_);
  uint64_t end = begin;
  while (Extent* extent = Next()) {
    const uint64_t bytes = extent->bytes;
    if (bytes > kCopyBytesMax || SharesBlocks(extent)) break;
    if (store_.extents_.DiskOffset(extent) != end || end + Up(bytes) - begin > kGatherBytes) break;
    if (IsBusy(end, Up(bytes))) break;
    uint8_t* const to = write->gathered->data() + (end - begin);
    std::memcpy(to, store_.extents_.Data(extent).data(), bytes);
    std::memset(to + bytes, 0, Up(bytes) - bytes);
    end += Up(bytes);
    begun_.push_back(std::exchange(next_, nullptr));
    ++begun_count_;
  }
  return end - begin;
}

bool WriteBack::SharesBlocks(const Extent* extent) const {
  return extent->inside && (store_.extents_.DiskOffset(extent) % kBlock != 0 || extent->bytes % kBlock != 0);
}

void WriteBack::Start(Write* write, uint64_t offset, uint64_t bytes) {
  MAYFLY_CHECK(bytes != 0);
  write->upto = begun_count_;
  write->offset = offset;
  write->bytes = bytes;
  write->done = false;
  ++write_count_;
  ++counts_.writes;
  counts_.write_bytes += bytes;
}

// False: it must wait (B3).
bool WriteBack::Begin(Write* write) {
  if (SharesBlocks(next_)) return BeginShared(write);
  const uint64_t offset = store_.extents_.DiskOffset(next_);
  uint64_t bytes = Up(next_->bytes);
  if (IsBusy(offset, bytes)) return false;
  Bytes from;
  if (next_->bytes <= kCopyBytesMax) {
    bytes = Gather(write);
    from = Bytes(write->gathered->span()).first(bytes);
  } else {
    // Longer ones lie on pages, and have the rest of the last to themselves.
    from = store_.arena_->Data({next_->place_offset, static_cast<uint32_t>(bytes)});
    begun_.push_back(std::exchange(next_, nullptr));
    ++begun_count_;
  }
  Start(write, offset, bytes);
  disk_.Write(file_, offset, from, write);
  return true;
}

// B5. Likewise.
bool WriteBack::BeginShared(Write* write) {
  const uint64_t first = store_.extents_.DiskOffset(next_), end = first + next_->bytes;
  const uint64_t offset = Down(first), bytes = Up(end) - offset;
  if (IsBusy(offset, bytes)) return false;
  write->shared = next_;
  write->blocks = std::make_unique<BlockBuffer>(bytes);
  begun_.push_back(std::exchange(next_, nullptr));
  ++begun_count_;
  Start(write, offset, bytes);
  const uint64_t last = bytes - kBlock;  // where the last block is in the buffer
  const bool cuts_first = first != offset, cuts_last = end % kBlock != 0;
  write->reading = cuts_first && cuts_last && last != 0 ? 2 : 1;
  EdgeRead* edge = write->edges.data();
  if (cuts_first) disk_.Read(file_, offset, write->blocks->span().first(kBlock), edge++);
  if (cuts_last && !(cuts_first && last == 0)) {
    disk_.Read(file_, offset + last, write->blocks->span().subspan(last, kBlock), edge);
  }
  return true;
}

void WriteBack::OnEdge(Completion* self, Status status) {
  Write* const write = static_cast<EdgeRead*>(self)->write;
  WriteBack& owner = *write->owner;
  if (!status.ok()) owner.Fail("read", status);
  --write->reading;
  if (write->reading == 0 && owner.ended_ == Code::kIo) owner.End(write);
}

// Those whose edges have come.
bool WriteBack::WriteShared() {
  bool worked = false;
  for (uint32_t i = 0; i < write_count_; ++i) {
    Write* const write = &writes_[(first_write_ + i) % kWritesMax];
    if (write->shared == nullptr || write->reading != 0) continue;
    const Extent* const extent = std::exchange(write->shared, nullptr);
    const uint64_t within = store_.extents_.DiskOffset(extent) - write->offset;
    std::memcpy(write->blocks->data() + within, store_.extents_.Data(extent).data(), extent->bytes);
    disk_.Write(file_, write->offset, write->blocks->span(), write);
    worked = true;
  }
  return worked;
}

void WriteBack::OnWritten(Completion* self, Status status) {
  auto* write = static_cast<Write*>(self);
  if (!status.ok()) write->owner->Fail("write", status);
  write->owner->End(write);
}

void WriteBack::End(Write* write) {
  write->done = true;
  write->shared = nullptr;
  write->blocks.reset();
  while (write_count_ != 0 && writes_[first_write_].done) {
    on_disk_ = writes_[first_write_].upto;
    first_write_ = (first_write_ + 1) % kWritesMax;
    --write_count_;
  }
  if (!flushes_ && ended_ != Code::kIo) Advance(on_disk_);
  if (write_count_ == 0) idle_.WakeAll();
}

void WriteBack::Advance(uint64_t kept) {
  for (; kept_ < kept; ++kept_) {
    begun_.front()->on_disk = true;
    store_.extents_.Unref(begun_.front());
    begun_.pop_front();
    ++counts_.extents;
  }
  waiters_.WakeAll();
}

bool WriteBack::StartFlush() {
  if (flushing_ || wanted_ <= kept_ || on_disk_ <= kept_) return false;
  // Who waits for more waits for the writes first, lest each flush cover a part; but not for all that others write and
  // want meanwhile, or a stream of writes would put the flush off until it fills the memory.
  if (first_wanted_ == 0) first_wanted_ = wanted_;
  if (on_disk_ < std::min(first_wanted_, begun_count_)) return false;
  if (put_off_until_ == 0) put_off_until_ = counts_.write_bytes + kPutOffBytes;
  if (on_disk_ < std::min(wanted_, begun_count_) && counts_.write_bytes < put_off_until_) return false;
  first_wanted_ = put_off_until_ = 0;
  flushing_ = true;
  flush_covers_ = on_disk_;
  disk_.Flush(file_, &flush_);
  return true;
}

void WriteBack::OnFlushed(Completion* self, Status status) {
  WriteBack& owner = *static_cast<FlushOp*>(self)->owner;
  owner.flushing_ = false;
  ++owner.counts_.flushes;
  if (!status.ok()) {
    owner.Fail("flush", status);
  } else if (owner.ended_ != Code::kIo) {
    owner.Advance(owner.flush_covers_);
  }
  owner.idle_.WakeAll();
}

void WriteBack::Fail(std::string_view what, Status status) {
  if (ended_ == Code::kIo) return;
  MAYFLY_ERROR(
      "the chunk file in {} failed (a {}: {}): this server takes no more changes; what it holds can still be "
      "read and flushed",
      disk_.facts().directory, what, TextOf(status.code()));
  ended_ = Code::kIo;  // B4
  waiters_.WakeAll();
}

Task<Status> WriteBack::Kept(uint64_t n, Nanos deadline) {
  while (kept_ < n) {
    if (ended_ != Code::kOk) co_return ended_;
    Want(n);
    const Status woken = co_await waiters_.Wait(deadline);
    if (!woken.ok()) co_return woken;
  }
  co_return Status();
}

Task<void> WriteBack::Stop() {
  if (ended_ == Code::kOk) ended_ = Code::kShutdown;
  waiters_.WakeAll();
  while (write_count_ != 0 || flushing_) (void)co_await idle_.Wait(kNever);
}

WriteBackStats WriteBack::stats() const {
  WriteBackStats stats = counts_;
  stats.unkept = written() - kept_;
  stats.failed = failed();
  return stats;
}

}  // namespace mayfly
