#include "journal/journal.h"

#include <algorithm>
#include <utility>

#include "base/checksum.h"
#include "base/log.h"

namespace mayfly {

Journal::Journal(Executor& executor, Disk& disk, KeptMemory& kept, const JournalOptions& options)
    : executor_(executor),
      disk_(disk),
      kept_(kept),
      options_(options),
      session_(SessionMark(options.identity)),
      writes_through_(disk.facts().writes_through),
      ring_bytes_(options.ring_bytes),
      durable_waiters_(executor),
      idle_(executor),
      room_queue_(executor),
      superblock_block_(kJournalBlockBytes),
      superblock_free_(executor),
      gate_(executor) {
  for (WriteOp& op : writes_) {
    op.fn = &Journal::OnWritten;
    op.journal = this;
  }
  flush_.fn = &Journal::OnFlushed;
  flush_.journal = this;
  committed_at_ = executor.now();
}

Journal::~Journal() {
  MAYFLY_CHECK(write_count_ == 0 && !flushing_ && !checkpoint_running_);
  CloseFiles();
}

void Journal::SetLimits() {
  const uint64_t window = window_.size(), ring_end = BlockFloor(tail_) + ring_bytes_;  // J4
  if (in_ring_) {
    hard_limit_ = ring_end - kPadRoom;
    soft_limit_ = hard_limit_ - ring_bytes_ / 8;
    return;
  }
  hard_limit_ = std::min(low_ + window, ring_end) - kPadRoom;
  soft_limit_ = std::min(low_ + window - window / 4, ring_end - ring_bytes_ / 8) - kPadRoom;
}

Result<Lsn> Journal::Append(Bytes fields, TxnId transaction) {
  if (ended_ != Code::kOk) return ended_;
  if (closing_) return Code::kShutdown;
  if (fields.size() > payload_max_) return Code::kTooBig;
  const uint64_t span = RecordHeader::SpanOf(fields.size());
  if (head_ + span > hard_limit_) {
    ++counts_.refused;
    return Code::kNoSpace;
  }
  Put(RecordType::kChanges, fields, transaction);
  Appended();
  ++counts_.records;
  counts_.record_bytes += span;
  return Lsn(head_);
}

void Journal::Put(RecordType type, Bytes payload, TxnId transaction) {
  RecordHeader header;
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  header.type = type;
  header.lsn = Lsn(head_);
  header.wrap = static_cast<uint32_t>(head_ / ring_bytes_);
  header.incarnation = superblock_.incarnation;
  header.transaction = transaction;
  header.session = session_;
  header.durable_behind = RecordHeader::DurableBehind(Lsn(head_), Lsn(durable_));
  std::array<uint8_t, RecordHeader::kBytes> bytes;
  SealRecordHeader(header, Checksum(payload), options_.identity.uuid, bytes.data());
  // J1: whole or not there, wherever a kill falls, as the checksum covers both.
  const uint64_t used = RecordHeader::kBytes + payload.size(), span = header.span();
  const MutableBytes place = window_.Place(head_, span);
  if (place.size() == span) {
    if (!payload.empty()) std::memcpy(place.data() + RecordHeader::kBytes, payload.data(), payload.size());
    std::memset(place.data() + used, 0, span - used);
    std::atomic_signal_fence(std::memory_order_release);
    std::memcpy(place.data(), bytes.data(), RecordHeader::kBytes);
  } else {
    window_.Put(head_ + RecordHeader::kBytes, payload);
    window_.Zero(head_ + used, span - used);
    std::atomic_signal_fence(std::memory_order_release);
    window_.Put(head_, bytes);
  }
  head_ += span;
  if (in_ring_) low_ = issued_ = head_;
}

void Journal::Appended() {
  if (in_ring_) window_.SetLow(Lsn(head_));
}

void Journal::Pad() {
  static constexpr std::array<uint8_t, kPadRoom> kZeros{};
  uint64_t rest = BlockCeil(head_) - head_;
  if (rest == 0) return;
  if (rest < RecordHeader::kBytes) rest += kJournalBlockBytes;
  const bool released = released_ == head_;
  pad_begin_ = head_;
  Put(RecordType::kPad, Bytes(kZeros).first(rest - RecordHeader::kBytes), TxnId());
  Appended();
  pad_end_ = head_;
  if (released) released_ = head_;
  ++counts_.pads;
  counts_.pad_bytes += rest;
}

Task<Status> Journal::WaitForRoom(uint64_t bytes, Nanos deadline) {
  const uint64_t most = std::min(window_.size() - window_.size() / 4, ring_bytes_ - ring_bytes_ / 8) - kPadRoom;
  if (RecordHeader::SpanOf(bytes) > most) co_return Code::kTooBig;
  if (ended_ != Code::kOk) co_return ended_;
  if (room_waiters_.empty() && HasRoom(bytes)) co_return Status();
  ++counts_.stalls;
  const Nanos since = executor_.now();
  RoomWaiter waiter{bytes};
  room_waiters_.push_back(&waiter);
  const Status woken = co_await room_queue_.Wait(deadline);
  counts_.stalled += executor_.now() - since;
  if (!woken.ok()) {
    std::erase(room_waiters_, &waiter);
    WakeRoom();  // the next may need less
    co_return woken;
  }
  co_return ended_;
}

void Journal::WakeRoom() {
  uint64_t bytes = 0;
  while (!room_waiters_.empty() && HasRoom(bytes + room_waiters_.front()->bytes)) {
    bytes += RecordHeader::SpanOf(room_waiters_.front()->bytes);
    room_waiters_.pop_front();
    room_queue_.Wake(1);
  }
}

Task<Status> Journal::Durable(Lsn lsn, Nanos deadline) {
  MAYFLY_CHECK(lsn.value <= head_);
  if (group_ && lsn.value > durable_ && lsn.value <= group_target_) ++group_waiters_;
  while (durable_ < lsn.value) {
    if (ended_ != Code::kOk) co_return ended_;
    wanted_ = std::max(wanted_, lsn.value);
    ++waiters_;
    const Status woken = co_await durable_waiters_.Wait(deadline);
    --waiters_;
    if (!woken.ok()) co_return woken;
  }
  co_return Status();
}

void Journal::Release(Lsn lsn) {
  MAYFLY_CHECK(lsn.value <= head_);
  // Padding speaks of nothing.
  released_ = std::max(released_, lsn.value == pad_begin_ ? pad_end_ : lsn.value);
}

bool Journal::WantsRelease() const {
  if (released_ >= head_) return false;
  const uint64_t whole = BlockFloor(head_) - issued_;
  return wanted_ > released_ || (group_ && group_target_ > released_) || !room_waiters_.empty() ||
         whole >= std::min(kWriteBytesMin, window_.size() / 4);
}

bool Journal::TurnNow() {
  const Nanos now = executor_.now();
  if (head_ == durable_) committed_at_ = now;
  bool worked = StartGroup(now);
  worked |= StartWrites();
  worked |= StartFlush();
  if (!room_waiters_.empty() && HasRoom(room_waiters_.front()->bytes)) {
    WakeRoom();  // those who were let in before have not taken all that they might have
    worked = true;
  }
  if (head_ - superblock_head_ >= ring_bytes_ / 8 && !superblock_busy_ && !closing_) {
    gate_.Spawn(Refresh(this), "the journal's superblock");
    worked = true;
  }
  return worked;
}

Nanos Journal::next_turn() const {
  if (ended_ != Code::kOk || options_.commit_interval == 0 || group_ || head_ == durable_) return kNever;
  return committed_at_ + options_.commit_interval;
}

bool Journal::StartGroup(Nanos now) {
  if (group_) return false;
  const bool by_interval = options_.commit_interval != 0 && !closing_;
  const bool due = by_interval && head_ > durable_ && now - committed_at_ >= options_.commit_interval;
  if (by_interval ? !due : wanted_ <= durable_) return false;
  if (due || wanted_ > issued_) Pad();  // J3
  group_target_ = due || wanted_ > issued_ ? head_ : issued_;
  group_waiters_ = waiters_ + std::exchange(asked_, 0);
  group_ = true;
  return true;
}

bool Journal::StartWrites() {
  bool worked = false;
  while (write_count_ < kWritesMax) {
    const uint64_t upto = std::max(BlockFloor(std::min(head_, released_)), issued_);  // J7
    const uint64_t whole = upto - issued_;
    const bool hurry = (group_ && issued_ < group_target_) || !room_waiters_.empty();
    if (whole == 0 || (!hurry && whole < std::min(kWriteBytesMin, window_.size() / 4))) break;
    const uint64_t to_window_end = window_.size() - issued_ % window_.size();
    const uint64_t to_ring_end = ring_bytes_ - issued_ % ring_bytes_;
    StartWrite(std::min({whole, kWriteBytesMax, to_window_end, to_ring_end}));
    worked = true;
  }
  return worked;
}

bool Journal::IsWholeGroup(uint64_t bytes) const {
  return writes_through_ && group_ && !flushing_ && durable_ == issued_ && group_target_ == issued_ + bytes;
}

void Journal::StartWrite(uint64_t bytes) {
  const bool through = IsWholeGroup(bytes);
  WriteOp& op = writes_[(first_write_ + write_count_++) % kWritesMax];
  op.done = false;
  op.to = issued_ + bytes;
  op.through = through;
  const Bytes from = window_.Piece(issued_, bytes);
  MAYFLY_CHECK(from.size() == bytes && op.to <= BlockFloor(tail_) + ring_bytes_);  // J4
  const uint64_t at = issued_;
  issued_ += bytes;
  ++counts_.writes;
  counts_.write_bytes += bytes;
  if (through) {
    disk_.WriteThrough(file_, kRingOffset + at % ring_bytes_, from, &op);
  } else {
    disk_.Write(file_, kRingOffset + at % ring_bytes_, from, &op);
  }
}

void Journal::OnWritten(Completion* self, Status status) {
  auto* op = static_cast<WriteOp*>(self);
  Journal& journal = *op->journal;
  if (!status.ok()) journal.Fail("write", status);
  op->done = true;
  while (journal.write_count_ != 0 && journal.writes_[journal.first_write_].done) {
    // After a failure nothing moves any more: what is in the region stays.
    if (journal.ended_ != Code::kIo) journal.low_ = journal.writes_[journal.first_write_].to;
    journal.first_write_ = (journal.first_write_ + 1) % kWritesMax;
    --journal.write_count_;
  }
  journal.window_.SetLow(Lsn(journal.low_));
  journal.SetLimits();
  journal.WakeRoom();
  if (op->through) journal.EndGroup("write", status, op->to);
  if (journal.write_count_ == 0) journal.idle_.WakeAll();
}

bool Journal::StartFlush() {
  if (!group_ || flushing_ || low_ < group_target_) return false;  // J2
  flushing_ = true;
  flush_covers_ = low_;
  disk_.Flush(file_, &flush_);
  return true;
}

void Journal::OnFlushed(Completion* self, Status status) {
  Journal& journal = *static_cast<FlushOp*>(self)->journal;
  journal.flushing_ = false;
  journal.EndGroup("flush", status, journal.flush_covers_);
  journal.idle_.WakeAll();
}

void Journal::EndGroup(const char* what, Status status, uint64_t covers) {
  group_ = false;
  committed_at_ = executor_.now();
  ++counts_.flushes;
  if (!status.ok()) {
    Fail(what, status);
    return;
  }
  ++counts_.groups;
  counts_.group_waiters += group_waiters_;
  counts_.group_waiters_max = std::max(counts_.group_waiters_max, group_waiters_);
  SetDurable(covers);
}

void Journal::SetDurable(uint64_t durable) {
  if (durable <= durable_ || ended_ == Code::kIo) return;
  durable_ = durable;
  durable_waiters_.WakeAll();
}

void Journal::WakeAll() {
  durable_waiters_.WakeAll();
  room_waiters_.clear();
  room_queue_.WakeAll();
}

void Journal::Fail(std::string_view what, Status status) {
  if (ended_ == Code::kIo) return;
  MAYFLY_ERROR(
      "the journal in {} failed (a {}: {}): this server takes no more changes; what it holds can still be read and "
      "flushed",
      disk_.facts().directory, what, TextOf(status.code()));
  ended_ = Code::kIo;  // J5
  WakeAll();
}

Task<Status> Journal::Refresh(Journal* journal) {
  (void)co_await journal->WriteSuperblock(Change());  // its failure has been said
  co_return Status();
}

Task<Status> Journal::WriteSuperblock(Change change) {
  while (superblock_busy_) (void)co_await superblock_free_.Wait(kNever);
  superblock_busy_ = true;
  const Status status = co_await WriteSuperblockAlone(change);
  superblock_busy_ = false;
  superblock_free_.WakeAll();
  co_return status;
}

Task<Status> Journal::WriteSuperblockAlone(Change change) {
  if (ended_ != Code::kOk) co_return ended_;
  if (closing_ && !change.clean) co_return Code::kShutdown;  // the clean one is the last
  superblock_head_ = head_;
  DiskRequest request(executor_, disk_);
  const uint64_t covers = low_;
  request.Flush(file_);
  Status status = co_await request;
  ++counts_.flushes;
  if (status.ok()) {
    SetDurable(covers);
    Superblock next = superblock_;
    ++next.sequence;
    next.durable = Lsn(durable_);
    next.next = Lsn(head_);
    next.wrap = static_cast<uint32_t>(head_ / ring_bytes_);
    next.flags = change.clean ? uint32_t{kSuperblockClean} : 0;
    if (change.has_checkpoint) {
      next.checkpoint = change.checkpoint;
      next.tail = change.checkpoint.start;
      next.TrimJoints();
    }
    EncodeSuperblock(next, superblock_block_.span());
    request.Write(file_, next.sequence % kSuperblocks * kJournalBlockBytes, superblock_block_.span());
    status = co_await request;
    if (status.ok()) {
      request.Flush(file_);
      status = co_await request;
      ++counts_.flushes;
    }
    if (status.ok()) {
      superblock_ = next;
      ++counts_.superblocks;
      tail_ = next.tail.value;  // J4: now, not before
      SetLimits();
      WakeRoom();
      co_return Status();
    }
  }
  Fail("superblock's write", status);
  co_return Code::kIo;
}

Task<Status> Journal::Close() {
  closing_ = true;
  if (in_ring_ && ended_ == Code::kOk) Pad();  // elsewhere the flush does; a clean stream ends with a block
  const Status durable = co_await Durable(Lsn(head_), kNever);
  Status status = durable;
  if (status.ok()) {
    MAYFLY_CHECK(durable_ == head_);
    Change change;
    change.clean = true;
    status = co_await WriteSuperblock(change);
  }
  co_await Stop();
  if (status.ok()) (void)kept_.Remove(TailWindow::kRegionName);  // a clean superblock makes it void anyway
  co_return status;
}

Task<void> Journal::Stop() {
  if (ended_ == Code::kOk) ended_ = Code::kShutdown;
  WakeAll();
  co_await gate_.Drain();
  while (superblock_busy_) (void)co_await superblock_free_.Wait(kNever);
  while (write_count_ != 0 || flushing_) (void)co_await idle_.Wait(kNever);
  CloseFiles();
}

JournalStats Journal::stats() const {
  JournalStats stats = counts_;
  stats.ring_bytes = ring_bytes_;
  stats.window_bytes = window_.size();
  stats.live_bytes = head_ - tail_;
  stats.unwritten_bytes = head_ - low_;
  stats.unflushed_bytes = head_ - durable_;
  stats.incarnation = superblock_.incarnation;
  stats.failed = ended_ == Code::kIo;
  return stats;
}

}  // namespace mayfly
