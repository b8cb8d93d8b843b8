// Data by way of a mapped arena (P4): asking for the arena, writing into a lent place, copying from where bytes lie.
#include <algorithm>

#include "base/checksum.h"
#include "base/copy.h"
#include "base/log.h"
#include "client/data_path.h"

namespace mayfly {
namespace {

// A page fault of a read maps the 64 KiB around it, so little is gained by mapping more ahead of small ones.
constexpr uint32_t kTouchToReadMin = 256 * 1024;
constexpr uint64_t kWithinMask = (uint64_t{1} << kPlaceSegmentBits) - 1;

// The bytes of a place, and the sum of its stamps; empty if it does not lie in what is mapped.
MutableBytes Locate(ArenaView* arena, uint64_t offset, uint32_t bytes, uint32_t* stamp) {
  const ArenaView::Segment segment = arena->Find(static_cast<uint32_t>(offset >> kPlaceSegmentBits));
  const size_t within = offset & kWithinMask;
  if (bytes == 0 || within > segment.data.size() || bytes > segment.data.size() - within) return {};
  if (stamp != nullptr) {
    for (size_t i = within / kStampBytes; i <= (within + bytes - 1) / kStampBytes; ++i) {
      *stamp += segment.stamps[i].load(std::memory_order_relaxed);
    }
  }
  return segment.data.subspan(within, bytes);
}

// A run as it is said to lie in the arena; invalid if what is mapped is not what the shard has.
Placed PlacedAt(ArenaView* arena, const PlacedRun& run, uint32_t stamp) {
  Placed placed;
  placed.bytes = Locate(arena, run.offset, run.bytes, nullptr);
  if (!placed.valid()) return placed;
  const uint32_t number = static_cast<uint32_t>(run.offset >> kPlaceSegmentBits);
  const size_t within = run.offset & kWithinMask;
  const size_t first = within / kStampBytes, last = (within + run.bytes - 1) / kStampBytes;
  placed.stamps = arena->Find(number).stamps.subspan(first, last - first + 1);
  placed.stamp = stamp;
  return placed;
}

}  // namespace

Task<ArenaView*> DataPath::ArenaOf(ShardId shard) {
  ArenaView* arena = mount_.arenas().Get(shard);
  if (arena == nullptr && mount_.arenas().BeginAsking(shard)) (void)co_await AskForArena(shard, &arena);
  co_return arena;
}

Task<Status> DataPath::AskForArena(ShardId shard, ArenaView** arena) {
  std::string name(kArenaNameBytesMax, '\0');
  size_t bytes = 0;
  Empty request, reply;
  CallOptions options;
  options.deadline = Deadline();
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(name.data()), name.size());
  options.reply_bytes = &bytes;
  Status status = co_await caller_.Call<Method::kArenaName>(shard, request, &reply, options);
  name.resize(status.ok() ? bytes : 0);
  if (name.empty()) {
    mount_.arenas().Refuse(shard);
  } else {
    mount_.arenas().Attach(shard, name, caller_.process());
  }
  *arena = mount_.arenas().Get(shard);
  co_return status;
}

Task<bool> DataPath::Borrow(ArenaView* arena, ShardId shard, uint32_t bytes, bool ahead, Lent* lent, Status* status) {
  lent->shard = shard;
  if (auto kept = mount_.places().Take(shard, bytes)) {
    lent->loan = *kept;
  } else {
    LoanRequest ask;
    ask.loan = mount_.places().NewNumber();
    ask.bytes = bytes;
    ask.ahead = ahead;
    LoanReply reply;
    CallOptions options;
    options.deadline = Deadline();
    *status = co_await caller_.Call<Method::kLoan>(shard, ask, &reply, options);
    if (IsUnheard(*status)) mount_.GiveBackLoan(shard, ask.loan, executor_.now());
    if (status->code() == Code::kInvalid) mount_.arenas().Refuse(shard);  // it does not know us as attached
    // Without memory for it in one piece, sending still finds several small ones.
    if (!IsUnheard(*status) && !status->ok()) *status = Status();
    if (!status->ok() || reply.loan.bytes < bytes) co_return false;
    lent->loan = reply.loan;
  }
  const PlaceLoan& loan = lent->loan;
  lent->memory = Locate(arena, loan.offset, loan.bytes, nullptr);
  if (!lent->valid()) {
    mount_.GiveBackLoan(shard, loan.id, executor_.now());
    mount_.arenas().Refuse(shard);  // what is mapped is not what the shard has
    co_return false;
  }
  arena->Touch(static_cast<uint32_t>(loan.offset >> kPlaceSegmentBits), loan.offset & kWithinMask, loan.bytes);
  co_return true;
}

void DataPath::Fill(FileId file, Piece piece, const Lent& lent, CommitRequest* request) {
  request->loan = lent.loan.id;
  request->inode = file.inode;
  request->chunk = piece.chunk;
  request->offset = piece.offset;
  request->bytes = piece.bytes;
  request->chunk_bits = file.chunk_bits;
  request->grant = file.grant;
  if (!mount_.has_helper() || !mount_.places().HasRoom(lent.shard, lent.loan.bytes)) return;
  request->next = mount_.places().NewNumber();
  request->next_bytes = lent.loan.bytes;
}

void DataPath::FillCommit(FileId file, uint64_t offset, const Lent& lent, size_t bytes, Sums sums,
                          CommitRequest* request) {
  Fill(file, PieceAt(file, offset, bytes), lent, request);
  request->sums = std::move(sums);
}

Task<bool> DataPath::Commit(FileId file, Piece piece, Lent lent, Sums sums, Closing* closing, Status* status) {
  CommitRequest request;
  Fill(file, piece, lent, &request);
  request.sums = std::move(sums);
  request.closes = *closing == Closing::kWanted && lent.shard == file.inode.home();
  LoanReply reply;
  CallOptions options;
  options.deadline = Deadline();
  *status = co_await caller_.Call<Method::kCommit>(lent.shard, request, &reply, options);
  if (status->ok() && reply.loan.bytes != 0) {
    mount_.KeepPlace(lent.shard, reply.loan, executor_.now());
  }
  if (IsUnheard(*status)) {
    mount_.GiveBackLoan(lent.shard, lent.loan.id, executor_.now());
    if (request.next != 0) mount_.GiveBackLoan(lent.shard, request.next, executor_.now());
  }
  if (request.closes && status->ok()) *closing = Closing::kDone;
  if (request.closes && IsUnheard(*status)) *closing = Closing::kUnheard;
  if (status->ok()) mount_.counters().written_mapped.fetch_add(1, std::memory_order_relaxed);
  co_return status->code() != Code::kStale;  // the shard took the place back, or has no such file: sending tells
}

Task<bool> DataPath::WriteMapped(ArenaView* arena, ShardId shard, FileId file, Piece piece, Bytes data,
                                 Status* status) {
  Lent lent;
  if (!co_await Borrow(arena, shard, piece.bytes, false, &lent, status)) co_return !status->ok();
  Sums sums;
  const Nanos began = caller_.trace().Start();
  if (mount_.options().checksum) {
    sums.resize(BlocksOf(data.size()));
    CopyInAndChecksum(lent.memory.data(), data, sums.data());
  } else {
    CopyIn(lent.memory.data(), data);
  }
  caller_.trace().Copied(Method::kCommit, began);
  Closing closing = Closing::kNo;
  co_return co_await Commit(file, piece, lent, std::move(sums), &closing, status);
}

Task<Lent> DataPath::BorrowFor(FileId file, uint64_t offset, size_t bytes) {
  Lent lent;
  const Piece piece = PieceAt(file, offset, bytes);
  const ShardId shard = ShardOf(file, piece.chunk);
  ArenaView* const arena = co_await ArenaOf(shard);
  Status status;
  if (arena == nullptr) co_return lent;
  if (!co_await Borrow(arena, shard, piece.bytes, true, &lent, &status)) lent.memory = {};
  co_return lent;
}

Task<Lent> DataPath::BorrowOutbox(ShardId shard) {
  Lent lent;
  lent.shard = shard;
  ArenaView* const arena = mount_.arenas().Get(shard);
  if (arena == nullptr) co_return lent;
  LoanRequest ask;
  ask.loan = mount_.places().NewNumber();
  ask.bytes = kOutboxBytes;
  ask.ahead = ask.outbox = true;
  LoanReply reply;
  CallOptions options;
  options.deadline = Deadline();
  const Status status = co_await caller_.Call<Method::kLoan>(shard, ask, &reply, options);
  if (IsUnheard(status)) mount_.GiveBackLoan(shard, ask.loan, executor_.now());
  if (!status.ok() || reply.loan.bytes < kOutboxBytes) co_return lent;
  lent.loan = reply.loan;
  lent.memory = Locate(arena, reply.loan.offset, reply.loan.bytes, nullptr);
  co_return lent;
}

Task<bool> DataPath::CommitLent(FileId file, uint64_t offset, Lent lent, size_t bytes, Sums sums, Closing* closing,
                                Status* status) {
  if (!IsToCommit(file, offset, lent, bytes)) co_return false;
  const Piece piece = PieceAt(file, offset, bytes);
  co_return co_await Commit(file, piece, lent, std::move(sums), closing, status);
}

Task<Placed> DataPath::Where(FileId file, uint64_t offset, size_t bytes) {
  Placed placed;
  const Piece piece = PieceAt(file, offset, bytes);
  const ShardId shard = ShardOf(file, piece.chunk);
  ArenaView* const arena = mount_.arenas().Get(shard);
  if (mount_.options().checksum || arena == nullptr || piece.bytes != bytes || bytes < kMappedReadMin) co_return placed;
  const ReadRequest request = RequestFor(file, piece, true);
  ReadReply reply;
  CallOptions options;
  options.deadline = Deadline();
  const Status status = co_await caller_.Call<Method::kRead>(shard, request, &reply, options);
  if (!status.ok() || reply.runs.size() != 1 || reply.parts.size() != 1) co_return placed;
  const PlacedRun& run = reply.runs.front();
  if (reply.parts.front().hole || reply.parts.front().bytes != bytes || run.bytes != bytes) co_return placed;
  placed = PlacedAt(arena, run, reply.stamp);
  if (!placed.valid()) co_return placed;
  arena->Touch(static_cast<uint32_t>(run.offset >> kPlaceSegmentBits), run.offset & kWithinMask, bytes);
  co_return placed;
}

Content DataPath::ContentOf(const Attr& attr, const PlacedFile& told, Nanos asked) {
  Content content;
  ArenaView* const arena = mount_.arenas().Get(attr.inode.home());
  if (arena == nullptr || attr.size > kTransferBytesMax || told.counter >= arena->Changes().size()) return content;
  content.placed = PlacedAt(arena, PlacedRun{told.offset, static_cast<uint32_t>(attr.size)}, told.stamp);
  content.changes = &arena->Changes()[told.counter];
  content.changes_then = told.changes;
  content.until = asked + told.lease_ms * kMillisecond;
  content.sum_known = told.sum_known;
  content.sum = told.sum;
  return content;
}

DataPath::Copied DataPath::CopyMapped(ArenaView* arena, const ReadReply& reply, MutableBytes to) {
  const bool check = mount_.options().checksum;
  const Nanos began = caller_.trace().Start();
  size_t run = 0, used = 0, at = 0;
  Bytes from;
  bool damaged = false;
  for (const Part& part : reply.parts) {
    MutableBytes out = to.subspan(at, part.bytes);
    at += part.bytes;
    if (part.hole) {
      std::memset(out.data(), 0, out.size());
      continue;
    }
    uint64_t sum = 0;
    bool summed = false;
    for (size_t done = 0; done < out.size();) {  // usually once: a part lies in one run
      if (used == from.size()) {
        if (run == reply.runs.size()) return Copied::kMoved;
        const PlacedRun& place = reply.runs[run++];
        from = Locate(arena, place.offset, place.bytes, nullptr);
        if (from.empty()) return Copied::kMoved;
        if (place.bytes >= kTouchToReadMin) {
          arena->Touch(static_cast<uint32_t>(place.offset >> kPlaceSegmentBits), place.offset & kWithinMask,
                       place.bytes);
        }
        used = 0;
      }
      const Bytes here = from.subspan(used, std::min(from.size() - used, out.size() - done));
      summed = check && part.sum_known && here.size() == out.size();
      if (summed) {
        sum = CopyOutAndChecksum(out.data(), here);
      } else {
        CopyOut(out.data() + done, here);
      }
      used += here.size();
      done += here.size();
    }
    if (check && part.sum_known && (summed ? sum : Checksum(out)) != part.sum) damaged = true;
  }
  caller_.trace().Copied(Method::kRead, began);
  std::atomic_thread_fence(std::memory_order_acquire);  // the stamps are looked at after the copy
  uint32_t stamp = 0;
  for (const PlacedRun& place : reply.runs) Locate(arena, place.offset, place.bytes, &stamp);
  if (stamp != reply.stamp) {
    mount_.counters().moved_meanwhile.fetch_add(1, std::memory_order_relaxed);
    return Copied::kMoved;
  }
  if (!damaged) mount_.counters().read_mapped.fetch_add(1, std::memory_order_relaxed);
  return damaged ? Copied::kDamaged : Copied::kOk;
}

}  // namespace mayfly
