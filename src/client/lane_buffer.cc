// Write-behind of a file's sole user, and readahead of a sole user or under a lease. Everything here runs under the
// file's lock, but for LoadAhead.
#include <algorithm>
#include <bit>
#include <new>

#include "client/lane.h"
#include "client/quick_io.h"

namespace mayfly {
namespace {

bool IsOver(const std::shared_ptr<FullBuffer>& full) { return full->over.load(std::memory_order_acquire); }
bool IsSending(const OpenFile& file) { return !std::all_of(file.sending.begin(), file.sending.end(), IsOver); }

constexpr size_t kAheadFirst = 256 * 1024, kAheadPieceMax = 1u << 20;
// A lease is a message: it is asked for after so many reads in a row, if so many more may follow.
constexpr uint32_t kLeaseRun = 3, kLeaseReads = 8;
constexpr Nanos kLeaseRetry = 100 * kMillisecond;  // after a refusal

}  // namespace

// ---- write-behind -------------------------------------------------------------------------------------------------

Task<Result<size_t>> Lane::BufferWrite(OpenFile& file, Bytes data, uint64_t offset) {
  WriteBuffer& buffer = file.buffer;
  file.ahead.pieces.clear();
  ++file.changes;
  size_t done = 0;
  while (done < data.size()) {
    const uint64_t start = buffer.bytes == nullptr ? offset + done : buffer.start;
    if (buffer.bytes == nullptr) {
      if (!file.sending.empty()) co_await executor_.Yield();  // an answer that is here has brought the next place
      co_await GetBuffer(file, start, FirstRoom(file, start, data.size() - done));
    }
    if (buffer.bytes == nullptr) {
      if (file.unborn()) MAYFLY_CO_TRY(co_await Born(file));
      auto rest = co_await data_.Write(IdOf(file), offset + done, data.subspan(done));
      if (!rest.ok() && done == 0) co_return rest;
      done += rest.ok() ? *rest : 0;
      break;
    }
    if (buffer.size == 0) {
      buffer.start = offset + done;
      buffer.since = executor_.now();
    }
    const size_t n = std::min(buffer.room - buffer.size, data.size() - done);
    buffer.Append(data.subspan(done, n));
    done += n;
    if (!file.buffered.exchange(true)) {
      ++mount_.buffered();
      mount_.SomethingAges();
    }
    if (buffer.size == buffer.room) MAYFLY_CO_TRY(co_await SendFull(file));
  }
  buffer.next = offset + done;
  ++buffer.writes;
  if (buffer.next > file.size_hint) file.size_hint = buffer.next;
  co_return done;
}

// Of a buffer that `bytes` bytes are waiting for. The first of a new file need not hold more than they are: most small
// files are written in one piece, and the next buffer of one that is not is a large one.
size_t Lane::FirstRoom(const OpenFile& file, uint64_t start, size_t bytes) {
  constexpr size_t kSmall = 64 * 1024, kStepMin = 64;
  const size_t most = BufferRoom(file, start);
  if (!file.created || start != 0 || bytes >= kSmall || !file.mount.arenas().MayBeMapped(file.inode.home()))
    return most;
  // In steps, so that a place fits the next file too, which is a little longer or shorter; never full, as then it would
  // be sent before the close.
  const size_t step = std::max(kStepMin, std::bit_floor(bytes + 1) / 4);
  return std::min(most, (bytes + step) / step * step);
}

// Its bytes go to their shard while the next are gathered.
Task<Status> Lane::SendFull(OpenFile& file) {
  if (file.unborn()) co_return co_await FlushBuffer(file);
  MAYFLY_CO_TRY(co_await AwaitSending(file, kSendingMax - 1));
  auto full = std::make_shared<FullBuffer>();
  CountSent(&file.buffer);
  full->buffer = std::exchange(file.buffer, WriteBuffer());
  file.buffer.next = full->buffer.start + full->buffer.size;
  file.sending.push_back(full);
  ++departing_;
  ++mount_.departing();
  Spawn(SendInBackground(this, file.shared_from_this(), std::move(full)), "sending a full buffer");
  co_return Code::kOk;
}

Task<Status> Lane::SendInBackground(Lane* lane, FileRef file, std::shared_ptr<FullBuffer> full) {
  const Status status = co_await lane->SendBuffer(*file, full->buffer, nullptr);
  if (!status.ok()) file->deferred = status.code();
  lane->FreeBuffer(&full->buffer);
  full->over.store(true, std::memory_order_release);
  --lane->mount_.departing();
  --lane->departing_;
  lane->departed_.WakeAll();
  co_return Code::kOk;
}

Task<Status> Lane::AwaitSending(OpenFile& file, size_t most) {
  constexpr Nanos kEndsWithin = kSecond;  // each of them has a deadline of its own
  const Nanos deadline = Deadline() + kEndsWithin;
  for (;;) {
    std::erase_if(file.sending, IsOver);
    if (file.sending.size() <= most) co_return Code::kOk;
    if (mount_.poisoned()) co_return Code::kIo;
    MAYFLY_CO_TRY(co_await WaitForNews(deadline));
  }
}

Task<Status> Lane::FlushBuffer(OpenFile& file, DataPath::Closing* closing) {
  if (!file.buffered) co_return Code::kOk;
  WriteBuffer& buffer = file.buffer;
  Status status;
  ++file.changes;
  // What closes it is sent behind the open, and tried again should it have come first.
  if (closing == nullptr && file.unborn()) status = co_await Born(file);
  if (buffer.size != 0) {
    if (status.ok()) status = co_await SendBuffer(file, buffer, closing);
    buffer.next = buffer.start + buffer.size;
    CountSent(&buffer);
  }
  if (Status sent = co_await AwaitSending(file, 0); status.ok()) status = sent;
  ++file.changes;
  DropBuffer(file);
  co_return status;
}

Task<Status> Lane::SendBuffer(OpenFile& file, WriteBuffer& buffer, DataPath::Closing* closing) {
  Status status;
  bool committed = false;
  const Lent lent = std::exchange(buffer.lent, Lent());
  if (lent.valid()) {
    const DataPath::Sums sums = SumsOf(buffer);
    auto no = DataPath::Closing::kNo;
    DataPath::Closing* const told = closing != nullptr ? closing : &no;
    committed = co_await data_.CommitLent(IdOf(file), buffer.start, lent, buffer.size, sums, told, &status);
    if (committed && status.code() == Code::kConflict) {
      status = co_await Born(file);
      if (status.ok()) {
        committed = co_await data_.CommitLent(IdOf(file), buffer.start, lent, buffer.size, sums, told, &status);
      }
      if (status.code() == Code::kConflict) status = Code::kStale;
      if (committed && !status.ok()) mount_.GiveBackLoan(lent.shard, lent.loan.id, executor_.now());
    }
    if (!committed) {
      status = Status();
      if (file.unborn()) status = co_await Born(file);
    }
  }
  if (committed || !status.ok()) co_return status;
  size_t done = 0;
  for (bool settled = false;;) {
    auto written = co_await data_.Write(IdOf(file), buffer.start + done, {buffer.bytes + done, buffer.size - done});
    if (written.ok()) done += *written;
    if (done == buffer.size) break;
    if (written.ok()) continue;
    status = written.status();
    // What asks for a close holds what it would wait for.
    if (settled || closing != nullptr || !MayHaveRoom(written)) break;
    settled = true;
    status = co_await Settle();
    if (!status.ok()) break;
  }
  // A place that was not to be committed is as good as before.
  if (lent.valid() && !DataPath::IsToCommit(IdOf(file), buffer.start, lent, buffer.size)) {
    mount_.KeepPlace(lent.shard, lent.loan, executor_.now());
  }
  co_return status;
}

void Lane::CountSent(WriteBuffer* buffer) {
  ++mount_.counters().buffers_sent;
  mount_.counters().writes_buffered += std::exchange(buffer->writes, 0);
}

DataPath::Sums Lane::SumsOf(const WriteBuffer& buffer) const {
  if (!buffer.summed) return data_.SumsOf({buffer.bytes, buffer.size});
  DataPath::Sums sums(BlocksOf(buffer.size));
  buffer.sums.Give(buffer.bytes, buffer.size, sums.data());
  return sums;
}

// Where the arena is mapped, a place in it; else memory of our own, or none.
Task<void> Lane::GetBuffer(OpenFile& file, uint64_t start, size_t bytes) {
  WriteBuffer& buffer = file.buffer;
  if (mount_.buffered() < Mount::kBuffersMax) buffer.lent = co_await data_.BorrowFor(IdOf(file), start, bytes);
  buffer.room = bytes;
  if (buffer.lent.valid()) {
    buffer.bytes = buffer.lent.memory.data();
    buffer.summed = mount_.options().checksum;
  } else {
    buffer.own = mount_.TakeBuffer();
    buffer.bytes = buffer.own.get();
  }
}

void Lane::FreeBuffer(WriteBuffer* buffer) {
  mount_.GiveBuffer(std::move(buffer->own));
  if (buffer->lent.valid()) mount_.KeepPlace(buffer->lent.shard, buffer->lent.loan, executor_.now());
  buffer->Clear();
}

void Lane::DropBuffer(OpenFile& file) {
  FreeBuffer(&file.buffer);
  file.sending.clear();
  if (file.buffered.exchange(false)) --mount_.buffered();
}

Task<Status> Lane::Yield(std::vector<FileRef> files) {
  Status result;
  for (const FileRef& file : files) {
    FileGuard guard;
    Status status = co_await Lock(*file, &guard);
    if (!status.ok()) {
      result = status;
      continue;
    }
    status = co_await FlushBuffer(*file);
    if (!status.ok()) file->deferred = status.code();
    file->sole = false;
    file->leased = false;
    file->ahead.leased_until = 0;
    file->ahead.pieces.clear();
    ++mount_.counters().revoked;
  }
  co_return result;
}

Task<Status> Lane::FlushOlder(Nanos before) {
  for (const FileRef& file : mount_.files().Of(mount_)) {
    if (!file->buffered) continue;
    FileGuard guard;
    if (!guard.Try(file->lock)) continue;  // somebody is busy with it: the next round finds it
    if (file->buffer.size != 0 ? file->buffer.since > before : IsSending(*file)) continue;
    Status status = co_await FlushBuffer(*file);
    if (!status.ok()) file->deferred = status.code();
  }
  co_return Code::kOk;
}

// ---- readahead ----------------------------------------------------------------------------------------------------

bool Lane::ReadsInOrder(OpenFile& file, uint64_t offset, size_t bytes) {
  Readahead& ahead = file.ahead;
  const size_t window = mount_.options().readahead_bytes;
  const bool sequential = offset == ahead.next;
  ahead.next = offset + bytes;
  if (!sequential) {
    ahead.run = 0;
    ahead.window = kAheadFirst;
    ahead.pieces.clear();
    return false;
  }
  if (bytes > std::min(kAheadReadMax, window / 2)) return false;
  return ++ahead.run >= kAheadRun;
}

Task<bool> Lane::MayReadAhead(OpenFile& file, uint64_t offset, size_t bytes) {
  if (file.sole) co_return mount_.Listening(file.inode.home());
  Readahead& ahead = file.ahead;
  // This call began before the end of the lease if it lasts now: whatever is written later, it may have come first.
  executor_.Look();
  const Nanos now = executor_.now();
  const bool lasts = now < ahead.leased_until;
  const bool worth =
      ahead.run > kLeaseRun && file.size_hint > offset && (file.size_hint - offset) / kLeaseReads > bytes;
  if (now >= ahead.ask_again && (lasts || worth)) co_await AskForLease(file);
  co_return now < ahead.leased_until;
}

// Asked for again when half of it is over, so that it goes on without a gap and what was fetched stays good.
Task<void> Lane::AskForLease(OpenFile& file) {
  Readahead& ahead = file.ahead;
  const Nanos asked = executor_.now();
  ahead.ask_again = asked + kLeaseRetry;
  if (!mount_.files().MayLease(file)) co_return;
  ReadLeaseRequest request;
  request.inode = file.inode;
  request.grant = file.grant();
  ReadLeaseReply reply;
  const CallOptions options = ByHandle(Deadline());
  Status status = co_await caller_.Call<Method::kReadLease>(file.inode.home(), request, &reply, options);
  if (executor_.now() >= ahead.leased_until) ahead.pieces.clear();  // there was a gap
  const bool given = status.ok() && reply.lease_ms != 0;
  if (given) ahead.leased_until = asked + reply.lease_ms * kMillisecond;
  if (given) ahead.ask_again = asked + reply.lease_ms * kMillisecond / 2;
}

// Fetches what lies behind `from` until a window is here or on its way.
void Lane::TopUp(OpenFile& file, uint64_t from) {
  Readahead& ahead = file.ahead;
  const size_t window = std::min<size_t>(std::max(ahead.window, kAheadFirst), mount_.options().readahead_bytes);
  const size_t piece_bytes = std::min(std::max<size_t>(window / 2, 64 * 1024), kAheadPieceMax);
  for (;;) {
    uint64_t at = from;
    if (!ahead.pieces.empty()) {
      const AheadPiece& last = *ahead.pieces.back();
      at = last.offset + last.asked;
      if (at >= from + window || at >= file.size_hint) return;
      if (last.state == AheadPiece::State::kHere && last.bytes < last.asked) return;  // the file ends there
    }
    auto piece = std::make_shared<AheadPiece>();
    piece->offset = at;
    piece->asked = piece_bytes - at % piece_bytes;
    piece->changes = file.changes;
    piece->lane = this;
    if (ahead.spare_bytes >= piece->asked) {
      piece->data_bytes = std::exchange(ahead.spare_bytes, 0);
      piece->data = std::move(ahead.spare);
    }
    ahead.pieces.push_back(piece);
    Spawn(LoadAhead(this, IdOf(file), std::move(piece)), "reading ahead");
  }
}

Task<Status> Lane::LoadAhead(Lane* lane, FileId file, std::shared_ptr<AheadPiece> piece) {
  Result<size_t> read = Code::kNoMemory;
  piece->placed = co_await lane->data_.Where(file, piece->offset, piece->asked);
  if (piece->placed.valid()) {
    read = piece->asked;
  } else {
    if (piece->data == nullptr) {
      piece->data.reset(new (std::nothrow) uint8_t[piece->asked]);
      piece->data_bytes = piece->data != nullptr ? piece->asked : 0;
    }
    if (piece->data != nullptr)
      read = co_await lane->data_.Read(file, piece->offset, {piece->data.get(), piece->asked}, kNever);
  }
  if (read.ok()) piece->bytes = *read;
  piece->state = read.ok() ? AheadPiece::State::kHere : AheadPiece::State::kFailed;
  lane->ahead_done_.WakeAll();
  co_return Code::kOk;  // whoever reads there asks again and gets the error
}

Task<Lane::FromAhead> Lane::ReadAhead(OpenFile& file, MutableBytes to, uint64_t offset) {
  Readahead& ahead = file.ahead;
  const Nanos deadline = Deadline();
  auto& pieces = ahead.pieces;
  while (!pieces.empty() && pieces.front()->offset + pieces.front()->asked <= offset) ahead.Pop();
  if (!pieces.empty() && (pieces.front()->offset > offset || pieces.front()->changes != file.changes)) pieces.clear();
  TopUp(file, offset);
  FromAhead got;
  while (got.bytes < to.size() && !pieces.empty()) {
    const std::shared_ptr<AheadPiece> piece = pieces.front();
    while (piece->state == AheadPiece::State::kLoading && piece->lane == this) {
      if (!(co_await ahead_done_.Wait(deadline)).ok()) break;
    }
    // Another lane's piece that is still loading may take as long as its thread computes.
    if (piece->state != AheadPiece::State::kHere || piece->changes != file.changes) {  // F3
      pieces.clear();
      break;
    }
    const size_t at = static_cast<size_t>(offset + got.bytes - piece->offset);
    const size_t n = std::min(piece->bytes > at ? piece->bytes - at : 0, to.size() - got.bytes);
    if (!piece->CopyOut(at, to.subspan(got.bytes, n))) {
      pieces.clear();
      break;
    }
    got.bytes += n;
    if (piece->bytes < piece->asked && at + n >= piece->bytes) {
      got.ended = true;
      break;
    }
    if (at + n == piece->asked) {
      ahead.Pop();
      ahead.window = std::min<size_t>(ahead.window * 2, mount_.options().readahead_bytes);
    }
  }
  if (got.bytes != 0) {
    mount_.counters().read_ahead_hits += 1 + std::exchange(ahead.hits, 0);
    TopUp(file, offset + got.bytes);
  }
  co_return got;
}

}  // namespace mayfly
