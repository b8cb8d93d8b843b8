// Requests of clients that have this shard's arena mapped: where it is, places to write into, what was written there,
// and where the bytes lie that a read wants. What they copy themselves does not travel.
#include <algorithm>

#include "base/log.h"
#include "server/images.h"
#include "server/shard.h"

namespace mayfly {
namespace {

// A loan ahead of need is given only while so much of the memory is free, and of the chunk file: it takes what it
// finds, where who needs a place makes room first (MakeRoom).
constexpr uint64_t kAheadShare = 8;
constexpr uint32_t kLoansOfProcessMax = 1024;
constexpr Nanos kLookEvery = kSecond;

}  // namespace

Task<Status> Shard::HandleArenaName(Request* r, const Empty&, Empty*, ReplyPayload* out) {
  if (r->party().peer) co_return Code::kInvalid;
  out->text = arena_memory_.Name();
  ClearHolds();
  if (!out->text.empty() && attached_.insert(r->party().process).second) NoteAttached(r->party().process, true);
  co_return Code::kOk;
}

bool Shard::MayLendAhead() const {
  if (has_disk() && disk_space_->blocks_free() < disk_space_->blocks() / kAheadShare) return false;
  if (write_back_ != nullptr && LacksTableRoom(3)) return false;
  return arena_.bytes_free() >= budget_.bytes_max() / kAheadShare;
}

Result<PlaceLoan> Shard::Lend(ClientId process, uint64_t id, uint32_t bytes) {
  if (loans_.Has(process, id)) return Code::kInvalid;
  auto place = Stage(bytes);
  if (!place.ok()) return place.code();
  CountStaged(bytes);
  PlaceLoan loan;
  loan.id = id;
  loan.offset = place->offset;
  loan.bytes = place->bytes;
  loans_.Lend(process, id, *place);
  NoteLoan(process, loan);
  return loan;
}

// A place that stays lent over a restart is neither given to anybody else nor taken for granted.
void Shard::NoteLoan(ClientId process, const PlaceLoan& loan) {
  LoanImage image;
  image.process = process;
  image.loan = loan;
  if (loan.bytes != 0) image.slab_pages = arena_.SlabPagesOf(Place{loan.offset, loan.bytes});
  log_.Record(kTagLoan, image, LoanImage::kBytes);
}

void Shard::NoteAttached(ClientId process, bool attached) {
  AttachedImage image;
  image.process = process;
  image.attached = attached;
  log_.Record(kTagAttached, image, AttachedImage::kBytes);
}

// L1, and the journal knows.
Result<Place> Shard::TakeLoan(ClientId process, uint64_t id) {
  Result<Place> place = loans_.Take(process, id);
  PlaceLoan over;
  over.id = id;
  if (place.ok()) NoteLoan(process, over);
  if (const auto outbox = outboxes_.find(process); outbox != outboxes_.end() && outbox->second.loan == id) {
    outboxes_.erase(outbox);
    NoteOutbox(process, 0, Cred());
  }
  return place;
}

void Shard::TakeAllLoans(ClientId process) {
  for (uint64_t id : loans_.IdsOf(process)) {
    if (auto place = TakeLoan(process, id); place.ok()) store_.Unstage(*place);
  }
}

Task<Status> Shard::HandleLoan(Request* r, const LoanRequest& q, LoanReply* a, ReplyPayload*) {
  const ClientId process = r->party().process;
  if (q.bytes == 0 || q.bytes > kTransferBytesMax || !attached_.contains(process)) co_return Code::kInvalid;
  if (loans_.size() >= kLoansOfProcessMax && loans_.CountOf(process) >= kLoansOfProcessMax) co_return Code::kNoSpace;
  if (q.outbox && (q.bytes != kOutboxBytes || HasUnfinished(process)))
    co_return Code::kInvalid;  // else it is the new one
  if (q.ahead && !MayLendAhead()) co_return Code::kNoSpace;
  if (has_disk()) MAYFLY_CO_TRY(co_await MakeRoom(q.bytes, 0, r->deadline()));
  auto loan = Lend(process, q.loan, q.bytes);
  if (!loan.ok()) co_return loan.code();
  if (q.outbox) OpenOutbox(r->party(), *loan);
  a->loan = *loan;
  co_return Code::kOk;
}

Task<Status> Shard::HandleCommit(Request* r, const CommitRequest& q, LoanReply* a, ReplyPayload*) {
  std::vector<InodeId> died;
  MAYFLY_CO_TRY(co_await StoreLent(r->party(), q, r->deadline(), wall(), &a->loan, &died));
  if (died.empty()) co_return Code::kOk;
  r->AnswerAhead(*a);  // as a Close
  co_return co_await Bury(std::move(died), r->deadline());
}

// `when`: the time of day for the file. *next: the loan that was wished for, if there is memory enough.
Task<Status> Shard::StoreLent(const Party& party, const CommitRequest& q, Nanos deadline, Nanos when, PlaceLoan* next,
                              std::vector<InodeId>* died) {
  const ClientId process = party.process;
  auto range = RangeOf(q.inode, q.chunk, q.chunk_bits, q.offset, q.bytes);
  Status status = range.status();
  if (status.ok() && !q.sums.empty() && q.sums.size() != BlocksOf(q.bytes)) status = Code::kInvalid;
  if (status.ok() && q.closes && !IsHome(q.inode)) status = Code::kInvalid;
  if (status.ok()) status = grants_.Check(party, q.inode, q.grant, kGrantWrite);  // V4
  // The open that makes it comes behind this: the place stays lent, as its bytes are wanted then.
  if (status.ok() && q.closes && names_.FindInode(q.inode) == nullptr) co_return Code::kConflict;
  if (status.ok()) status = co_await MayStore(party, *range, deadline);
  auto place = TakeLoan(process, q.loan);  // used up whatever becomes of it
  if (!place.ok()) co_return status.ok() ? place.status() : status;
  if (status.ok() && q.bytes > place->bytes) status = Code::kInvalid;
  if (status.ok() && executor_.now() >= deadline) status = Code::kTimedOut;  // V2
  if (status.ok() && IsHome(q.inode) && names_.FindInode(q.inode) == nullptr) status = Code::kStale;
  if (!status.ok()) {
    store_.Unstage(*place);
    co_return status;
  }
  MAYFLY_CO_TRY(store_.Commit(*range, *place, q.sums, when));
  if (Inode* inode = IsHome(q.inode) ? names_.FindInode(q.inode) : nullptr) {
    Wrote(*inode, range->file_offset() + q.bytes, &party.cred, when);
  }
  // A chmod may have come while this suspended above.
  if (privileged_.contains(q.inode)) MAYFLY_CO_TRY(co_await DropPrivileges(q.inode, party, deadline));
  if (q.next_bytes != 0 && q.next_bytes <= kTransferBytesMax && MayLendAhead()) {
    if (auto lent = Lend(process, q.next, q.next_bytes); lent.ok()) *next = *lent;
  }
  if (q.closes) EndOpen(q.inode, process, died);
  co_return Code::kOk;
}

Task<Status> Shard::HandleReturn(Request* r, const ReturnRequest& q, Empty*, ReplyPayload*) {
  if (q.loans.size() > ReturnRequest::kLoansMax) co_return Code::kInvalid;
  for (uint64_t id : q.loans) {
    if (auto place = TakeLoan(r->party().process, id); place.ok()) store_.Unstage(*place);
  }
  co_return Code::kOk;
}

// Where the bytes of the pieces lie, and the stamps by which a reader sees that they still lay there when it had
// copied.
void Shard::TellPlaces(const ReadPieces& pieces, ReadReply* a) {
  for (const ReadPiece& piece : pieces) {
    if (piece.is_hole()) continue;
    a->runs.push_back(PlacedRun{piece.place.offset, piece.bytes});
    a->stamp += arena_.StampOf(piece.place);
  }
}

// By files whose sequences are equal modulo the number of counts; each change of them counts, of content and
// attributes and of the entries of this shard that lead to them, before anybody hears of it. Namespace counts what it
// changes itself.
ArenaStamp* Shard::ChangesOf(InodeId file) {
  const std::span<ArenaStamp> changes = arena_memory_.Changes();
  return changes.empty() ? nullptr : &changes[file.sequence() % changes.size()];
}

void Shard::CountChange(InodeId file) {
  ArenaStamp* const count = ChangesOf(file);
  if (count != nullptr) count->store(count->load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

// The place of a file's bytes for who opens it to read: then reading it costs no message. Only what lies here in one
// piece, with at most one checksum.
void Shard::TellContent(ClientId process, const Inode& inode, PlacedFile* placed) {
  if (inode.type != FileType::kFile || inode.size == 0 || inode.size > kChecksumBlockBytes) return;
  if (inode.extra != nullptr && !inode.extra->shards.empty()) return;
  ArenaStamp* const count = attached_.contains(process) ? ChangesOf(inode.id) : nullptr;
  if (count == nullptr) return;
  ChunkRange range;
  range.file = inode.id;
  range.chunk_bits = inode.chunk_bits;
  range.bytes = static_cast<uint32_t>(inode.size);
  ReadPieces pieces;
  const auto covered = store_.Read(range, &pieces);
  if (!covered.ok() || covered->bytes != range.bytes || pieces.size() != 1) return;
  const ReadPiece& piece = pieces.front();
  SumParts sums;
  if (piece.is_hole() || piece.is_absent() || !store_.PieceSums(piece, &sums).ok() || sums.size() > 1) return;
  if (sums.empty() && !store_.Trust(piece).ok()) return;
  placed->told = true;
  placed->offset = piece.place.offset;
  placed->stamp = arena_.StampOf(piece.place);
  placed->counter = static_cast<uint16_t>(count - arena_memory_.Changes().data());
  placed->changes = count->load(std::memory_order_relaxed);
  placed->lease_ms = ReadLeases::kLease / kMillisecond;
  placed->sum_known = !sums.empty();
  if (placed->sum_known) placed->sum = sums.front().sum;
}

// A process is gone: as far as connections tell. One that only stands still may go on writing into its places when it
// wakes, so they are not used again before it has let go of the arena.
void Shard::TakeBackAll(ClientId process) {
  if (attached_.erase(process) != 0) NoteAttached(process, false);
  if (loans_.CountOf(process) == 0) return;
  if (arena_memory_.IsAttached(process.value) && !leaving_) {
    gate_.Spawn(TakeBackLater(process), "waiting for the end of a process that has places of the arena");
    return;
  }
  TakeAllLoans(process);
}

Task<Status> Shard::TakeBackLater(ClientId process) {
  while (!leaving_ && arena_memory_.IsAttached(process.value)) {
    (void)co_await loans_news_.Wait(executor_.now() + kLookEvery);
  }
  // It was forgotten when its connections ended; what it had written down opens files for it once more.
  if (HasUnfinished(process)) {
    co_await FinishOutbox(process);
    ForgetProcess(process);
  }
  TakeAllLoans(process);
  co_return Code::kOk;
}

}  // namespace mayfly
