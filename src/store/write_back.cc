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
  if (ended_ != Code::kOk) return false;
  bool worked = StartWrites();
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
  const uint64_t begin = next_->base()->block * kBlock;
  uint64_t end = begin;
  while (Extent* extent = Next()) {
    const Extent* const base = extent->base();
    // Whole places: what else lies in the block, in place of one reservation, is written with it.
    const bool in_place = extent->inside;
    const uint64_t offset = base->block * kBlock;
    const uint64_t bytes = in_place ? base->place_bytes : extent->bytes;
    if (bytes > kCopyBytesMax || offset != end || end + Up(bytes) - begin > kGatherBytes) break;
    if (IsBusy(offset, Up(bytes))) break;
    uint8_t* const to = write->gathered->data() + (end - begin);
    std::memcpy(to, store_.arena_->Data({base->place_offset, static_cast<uint32_t>(bytes)}).data(), bytes);
    std::memset(to + bytes, 0, Up(bytes) - bytes);
    end += Up(bytes);
    begun_.push_back(std::exchange(next_, nullptr));
    ++begun_count_;
    if (in_place) break;
  }
  return end - begin;
}

// False: it must wait (B3).
bool WriteBack::Begin(Write* write) {
  const Extent* const base = next_->base();
  const uint64_t within = next_->place_offset - base->place_offset;
  const uint64_t base_bytes = next_->inside ? base->place_bytes : next_->bytes;
  uint64_t offset = base->block * kBlock, bytes = 0;
  Bytes from;
  if (base_bytes <= kCopyBytesMax) {
    if (IsBusy(offset, Up(base_bytes))) return false;
    bytes = Gather(write);
    from = Bytes(write->gathered->span()).first(bytes);
  } else {
    // Longer ones lie on pages, and have the rest of the last to themselves.
    const uint64_t begin = Down(within);
    bytes = Up(within + next_->bytes) - begin;
    offset += begin;
    if (IsBusy(offset, bytes)) return false;
    from = store_.arena_->Data({base->place_offset + begin, static_cast<uint32_t>(bytes)});
    begun_.push_back(std::exchange(next_, nullptr));
    ++begun_count_;
  }
  MAYFLY_CHECK(bytes != 0);
  write->upto = begun_count_;
  write->offset = offset;
  write->bytes = bytes;
  write->done = false;
  ++write_count_;
  ++counts_.writes;
  counts_.write_bytes += bytes;
  disk_.Write(file_, offset, from, write);
  return true;
}

void WriteBack::OnWritten(Completion* self, Status status) {
  auto* write = static_cast<Write*>(self);
  WriteBack& owner = *write->owner;
  if (!status.ok()) owner.Fail("write", status);
  write->done = true;
  while (owner.write_count_ != 0 && owner.writes_[owner.first_write_].done) {
    owner.on_disk_ = owner.writes_[owner.first_write_].upto;
    owner.first_write_ = (owner.first_write_ + 1) % kWritesMax;
    --owner.write_count_;
  }
  if (!owner.flushes_ && owner.ended_ != Code::kIo) owner.Advance(owner.on_disk_);
  if (owner.write_count_ == 0) owner.idle_.WakeAll();
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
  // Who waits for more waits for the writes first, lest each flush cover a part.
  if (on_disk_ < std::min(wanted_, begun_count_)) return false;
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
