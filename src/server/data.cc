// Requests about bytes, sent to the shard of their chunk; and what the home and the shards of a file tell each other.
#include <algorithm>

#include "base/log.h"
#include "server/images.h"
#include "server/shard.h"

namespace mayfly {
namespace {

bool GoodRange(uint8_t chunk_bits, uint64_t offset, uint64_t bytes) {
  return chunk_bits >= kChunkBitsMin && chunk_bits <= kChunkBitsMax && bytes > 0 &&
         offset + bytes <= (uint64_t{1} << chunk_bits);
}

constexpr size_t kMappedPartsMax = 96;  // beside the runs

bool SumsMatch(Bytes data, std::span<const uint64_t> sums) {
  for (size_t block = 0; block < sums.size(); ++block) {
    const size_t at = block * kChecksumBlockBytes;
    if (Checksum(data.subspan(at, std::min<size_t>(kChecksumBlockBytes, data.size() - at))) != sums[block])
      return false;
  }
  return true;
}

Status Damaged() {
  MAYFLY_ERROR("stored data does not match its checksum: the reader gets EIO");
  return Code::kIo;
}

}  // namespace

// ---- a file's other shards ----------------------------------------------------------------------------------------

// This shard joins a file at its home before its first chunk of it: from then on sizes, truncation and removal ask it.
// A joined file has an epoch other than 0 in the store.
Task<Status> Shard::JoinFile(InodeId id, Nanos deadline) {
  // Who asks in vain asks for itself alone.
  for (auto asking = joining_.find(id); asking != joining_.end(); asking = joining_.find(id)) {
    WaitQueue* const waiters = asking->second.get();
    (void)co_await waiters->Wait(deadline);
    if (store_.Figures(id).epoch != 0) co_return Code::kOk;
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
  }
  joining_[id] = std::make_unique<WaitQueue>(executor_);
  FileJoinRequest request;
  request.inode = id;
  request.shard = options_.self;
  FileJoinReply reply;
  CallOptions options = PeerCall(deadline);
  Status status = co_await caller_.Call<Method::kFileJoin>(id.home(), request, &reply, options);
  if (status.ok()) status = store_.SetEpoch(id, reply.epoch + 1);
  if (status.ok() && reply.privileged != 0) NotePrivileged(id, reply.privileged);
  auto node = joining_.extract(id);
  node.mapped()->WakeAll();
  co_return status;
}

Task<Status> Shard::HandleFileJoin(Request*, const FileJoinRequest& q, FileJoinReply* a, ReplyPayload*) {
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr || (inode->nlink == 0 && inode->opens == 0)) co_return Code::kStale;
  if (inode->type != FileType::kFile || q.shard.value >= placement_.shard_count()) co_return Code::kInvalid;
  names_.AddShard(*inode, q.shard);
  CountChange(q.inode);  // of what that shard stores this one does not hear
  const InodeExtra& extra = inode->Extra();
  a->epoch = extra.truncate_epoch;
  if (Namespace::HasPrivileges(*inode)) a->privileged = extra.privileged;
  co_return Code::kOk;
}

Task<Status> Shard::HandleGlimpse(Request*, const GlimpseRequest& q, GlimpseReply* a, ReplyPayload*) {
  if (q.clear_mtime) {
    if (log_.failed()) co_return Code::kReadOnly;  // its own would be back after the next start
    store_.ClearMtime(q.inode);
  }
  const FileFigures figures = store_.Figures(q.inode);
  a->end = figures.high_water;
  a->blocks = figures.allocated_bytes / 512;
  a->mtime = figures.mtime;
  a->writes = figures.changes;
  co_return Code::kOk;
}

Task<Status> Shard::GlimpseAt(ShardId shard, GlimpseRequest q, GlimpseReply* out, Nanos deadline) {
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kGlimpse>(shard, q, out, options);
}

Task<Status> Shard::HandleDropFile(Request*, const InodeRequest& q, Empty*, ReplyPayload*) {
  if (IsHome(q.inode)) co_return Code::kInvalid;
  store_.Drop(q.inode);
  privileged_.erase(q.inode);
  co_return Code::kOk;
}

Task<Status> Shard::DropAt(ShardId shard, InodeId id, Nanos deadline) {
  InodeRequest request;
  request.inode = id;
  Empty reply;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kDropFile>(shard, request, &reply, options);
}

// ---- size ---------------------------------------------------------------------------------------------------------

// A truncation that is under way and never ends, or not soon: nobody waits for it. What a shard whose journal has
// failed left to be settled it settles no more.
bool Shard::CutIsStuck(InodeId id) const {
  return (reads_only() && settled_) || half_cut_.contains(id) || (log_.failed() && Resuming(id));
}

Task<Status> Shard::LockSize(InodeId id, Nanos deadline) {
  for (;;) {
    auto it = size_locks_.find(id);
    if (it == size_locks_.end()) break;
    if (CutIsStuck(id)) co_return Code::kIo;
    MAYFLY_CO_TRY(co_await it->second->Wait(deadline));
  }
  size_locks_[id] = std::make_unique<WaitQueue>(executor_);
  co_return Code::kOk;
}

void Shard::UnlockSize(InodeId id) {
  auto node = size_locks_.extract(id);
  node.mapped()->WakeAll();
}

// All or nothing: a shard that takes no changes is found before anything is cut.
Task<Status> Shard::Truncate(InodeId id, uint64_t size, bool touch, Nanos deadline) {
  MAYFLY_CO_TRY(co_await LockSize(id, deadline));
  Status status = co_await AskToCut(id, deadline);
  bool grows = false;
  if (status.ok()) status = co_await EndsBefore(id, size, deadline, &grows);
  if (status.ok() && grows) {
    // Nothing is cut: what is reserved behind the file's end stays so, as on tmpfs.
    Inode* inode = names_.FindInode(id);
    if (inode == nullptr) status = Code::kStale;
    if (status.ok()) Wrote(*inode, size, nullptr, wall());
  } else if (status.ok()) {
    status = co_await TruncateLocked(id, size, touch, deadline);
    status = IoInsteadOf(Code::kReadOnly, status);  // it says that nothing has changed
  }
  if (!Resuming(id)) UnlockSize(id);
  co_return status;
}

Task<Status> Shard::EndsBefore(InodeId id, uint64_t size, Nanos deadline, bool* before) {
  const Inode* inode = names_.FindInode(id);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->size >= size) co_return Code::kOk;
  Attr attr;
  bool whole = false;  // who writes meanwhile, writes after the file has grown
  MAYFLY_CO_TRY(co_await GlimpseAll(id, deadline, &attr, &whole));
  *before = attr.size < size;
  co_return Code::kOk;
}

Task<Status> Shard::AskToCut(InodeId id, Nanos deadline) {
  const Inode* inode = names_.FindInode(id);
  if (!log_.active() || inode == nullptr || inode->extra == nullptr || inode->extra->shards.empty())
    co_return Code::kOk;
  TruncateRequest probe;
  probe.inode = id;
  co_return co_await TruncateAtAll(inode->extra->shards, probe, deadline);
}

// Parts of an append that were stored before another failed must not show as the file's new end. A shard that takes no
// changes has none.
Task<void> Shard::CutBack(InodeId id, uint64_t size) {
  const Nanos deadline = executor_.now() + options_.peer_deadline;
  if (!(co_await LockSize(id, deadline)).ok()) co_return;
  (void)co_await TruncateLocked(id, size, true, deadline, Refused::kIsDone);
  if (!Resuming(id)) UnlockSize(id);
}

Task<Status> Shard::TruncateLocked(InodeId id, uint64_t size, bool touch, Nanos deadline, Refused refused) {
  Inode* inode = names_.FindInode(id);
  if (inode == nullptr) co_return Code::kStale;
  MAYFLY_CHECK(store_.Truncate(id, size));
  CountChange(id);
  inode->size = size;
  if (touch) Touch(*inode, wall());
  ++inode->version;
  if (inode->extra == nullptr || inode->extra->shards.empty()) {
    names_.Changed(*inode);
    co_return Code::kOk;
  }
  IntentImage intent;
  intent.kind = IntentKind::kTruncate;
  intent.inode = id;
  intent.size = size;
  intent.epoch = ++inode->extra->truncate_epoch;
  intent.shards = inode->extra->shards;
  inode->extra->truncating = true;
  names_.Changed(*inode);
  const uint64_t number = BeginIntent(intent);
  const Status status = co_await CutElsewhere(intent, inode->chunk_bits, deadline, refused);
  if (!status.ok() && number != 0) {
    // What a shard still has would be read again behind a later end of the file: nobody sees the size before it was
    // told (SettleRound). At level `none` a shard that cannot be reached is gone, and its bytes with it.
    LeaveIntent(number);
    co_return status;
  }
  EndCut(id);
  EndIntent(number);
  co_return status;
}

// The part of a truncation that other shards have in it. kReadOnly if all answered and some refused: they will until
// they come back, and until then the file has no size.
Task<Status> Shard::CutElsewhere(IntentImage intent, uint8_t chunk_bits, Nanos deadline, Refused refused) {
  TruncateRequest request;
  request.inode = intent.inode;
  request.size = intent.size;
  request.epoch = intent.epoch;
  request.chunk_bits = chunk_bits;
  request.unanswered = refused == Refused::kIsDone;
  const Status told = co_await TruncateAtAll(intent.shards, request, deadline);
  if (told.code() != Code::kReadOnly) co_return told;
  if (refused == Refused::kIsDone) co_return Code::kOk;
  if (half_cut_.insert(intent.inode).second) size_locks_.at(intent.inode)->WakeAll();
  co_return told;
}

void Shard::EndCut(InodeId id) {
  half_cut_.erase(id);
  Inode* inode = names_.FindInode(id);
  if (inode == nullptr || inode->extra == nullptr) return;
  inode->extra->truncating = false;
  names_.Changed(*inode);
}

// What went wrong first; kReadOnly only if nothing worse did.
Task<Status> Shard::TruncateAtAll(std::vector<ShardId> shards, TruncateRequest q, Nanos deadline) {
  std::vector<Task<Status>> tasks;
  for (ShardId shard : shards) tasks.push_back(TruncateAt(shard, q, deadline));
  Status all;
  for (Task<Status>& task : tasks) {
    const Status one = co_await task;
    if (!one.ok() && (all.ok() || all.code() == Code::kReadOnly)) all = one;
  }
  co_return all;
}

Task<Status> Shard::TruncateAt(ShardId shard, TruncateRequest q, Nanos deadline) {
  Empty reply;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kChunkTruncate>(shard, q, &reply, options);
}

Task<Status> Shard::HandleChunkTruncate(Request* r, const TruncateRequest& q, Empty*, ReplyPayload*) {
  if (q.epoch == 0) co_return Code::kOk;  // else it would not have come this far
  // The home let this shard join before it began, and that answer was overtaken: it would set the epoch back.
  while (store_.Figures(q.inode).epoch == 0) {
    const auto joining = joining_.find(q.inode);
    if (joining == joining_.end()) break;
    MAYFLY_CO_TRY(co_await joining->second->Wait(r->deadline()));
  }
  const FileFigures figures = store_.Figures(q.inode);
  if (figures.epoch == 0 || q.epoch + 1 <= figures.epoch) co_return Code::kOk;  // not joined, or a later one came first
  MAYFLY_CHECK(store_.Truncate(q.inode, q.size));
  co_return store_.SetEpoch(q.inode, q.epoch + 1);
}

void Shard::Touch(Inode& inode, Nanos when) {
  inode.mtime = inode.ctime = when;
  inode.mtime_set = 0;
}

// After bytes up to file offset `end` were stored here, at the home, or the file grew to there.
void Shard::Wrote(Inode& inode, uint64_t end, const Cred* cred, Nanos when) {
  CountChange(inode.id);
  inode.size = std::max(inode.size, end);
  Touch(inode, when);
  ++inode.version;
  if (cred != nullptr) names_.ClearPrivileges(inode, *cred);
  names_.Changed(inode);
}

// ---- writing ------------------------------------------------------------------------------------------------------

// What a request says about a range of a file, as the store wants it. kInvalid if it is none, or none of this shard's.
Result<ChunkRange> Shard::RangeOf(InodeId file, ChunkIndex chunk, uint8_t chunk_bits, uint32_t offset, size_t bytes) {
  if (!GoodRange(chunk_bits, offset, bytes) || file.home().value >= placement_.shard_count() ||
      placement_.ChunkShard(file.home(), chunk) != options_.self) {
    return Code::kInvalid;
  }
  ChunkRange range;
  range.file = file;
  range.chunk = chunk;
  range.chunk_bits = chunk_bits;
  range.offset = offset;
  range.bytes = static_cast<uint32_t>(bytes);
  return range;
}

// Before data of a range is taken in: the file lives, and this shard is one of its shards.
Task<Status> Shard::MayStore(const Party& party, ChunkRange range, Nanos deadline) {
  if (IsHome(range.file)) {
    Inode* inode = names_.FindInode(range.file);
    if (inode == nullptr || (inode->nlink == 0 && inode->opens == 0)) co_return Code::kStale;
    if (inode->type != FileType::kFile || inode->chunk_bits != range.chunk_bits) co_return Code::kInvalid;
  } else if (store_.Figures(range.file).epoch == 0) {
    MAYFLY_CO_TRY(co_await JoinFile(range.file, deadline));
  }
  if (privileged_.contains(range.file)) MAYFLY_CO_TRY(co_await DropPrivileges(range.file, party, deadline));
  co_return Code::kOk;
}

Task<Status> Shard::HandleWrite(Request* r, const WriteRequest& q, Empty*, ReplyPayload*) {
  const size_t bytes = r->payload().size();
  auto range = RangeOf(q.inode, q.chunk, q.chunk_bits, q.offset, bytes);
  if (!range.ok()) co_return range.code();
  if (!q.sums.empty() && q.sums.size() != BlocksOf(bytes)) co_return Code::kInvalid;
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantWrite));  // V4
  MAYFLY_CO_TRY(co_await MayStore(r->party(), *range, r->deadline()));
  if (q.epoch != 0 && !IsHome(q.inode) && store_.Figures(q.inode).epoch != q.epoch) co_return Code::kConflict;
  MAYFLY_CO_TRY(co_await ReceiveInto(r, *range, q.sums));
  // No suspension since the bytes became the file's.
  if (Inode* inode = IsHome(q.inode) ? names_.FindInode(q.inode) : nullptr) {
    Wrote(*inode, range->file_offset() + bytes, &r->party().cred, wall());
  }
  // A chmod may have come while the bytes did.
  if (privileged_.contains(q.inode)) r->AnswerAhead(Empty());
  if (privileged_.contains(q.inode)) MAYFLY_CO_TRY(co_await DropPrivileges(q.inode, r->party(), r->deadline()));
  co_return Code::kOk;
}

// A fresh place. What was freed since the last record may be used again once that is written.
Result<Place> Shard::Stage(uint32_t bytes) {
  Result<Place> place = store_.Stage(bytes);
  if (place.ok() || !log_.active()) return place;
  if (has_disk() && HasBlocks(bytes)) (void)Evict(bytes);
  if (!SealAndSettle()) return place;
  return store_.Stage(bytes);
}

bool Shard::SealAndSettle() {
  if (!log_.Seal()) return false;
  store_.Settle(log_.sealed().value);
  return true;
}

// The payload into a fresh place, verified, and then swapped in (V3).
Task<Status> Shard::ReceiveInto(Request* r, ChunkRange range, std::span<const uint64_t> sums) {
  if (has_disk()) MAYFLY_CO_TRY(co_await MakeRoom(range.bytes, store_.ReservedBytes(range), r->deadline()));
  auto place = Stage(range.bytes);
  if (!place.ok()) co_return co_await ReceivePiecemeal(r, range, sums);
  CountStaged(range.bytes);
  MutableBytes to = arena_.Data(*place).first(range.bytes);
  Status status;
  if (r->payload().is_eager() && !sums.empty()) {
    absl::InlinedVector<uint64_t, 64> found(sums.size());
    CopyInAndChecksum(to.data(), r->payload().eager(), found.data());
    if (!std::equal(found.begin(), found.end(), sums.begin())) status = Code::kCorrupt;
  } else {
    status = co_await r->Fetch(to);
    if (!status.ok()) {
      store_.Unstage(*place);
      r->Abandon();  // the sender went away in the middle: not executed, it may ask again
      co_return status;
    }
    if (!SumsMatch(to, sums)) status = Code::kCorrupt;
  }
  if (status.code() == Code::kCorrupt) {
    MAYFLY_ERROR("data of a write arrived damaged: refused, the writer gets EIO");
    status = Code::kIo;
  }
  if (status.ok() && executor_.now() >= r->deadline()) status = Code::kTimedOut;  // V2
  if (status.ok() && IsHome(range.file) && names_.FindInode(range.file) == nullptr) status = Code::kStale;
  if (!status.ok()) {
    store_.Unstage(*place);
    co_return status;
  }
  co_return store_.Commit(range, *place, sums, wall());
}

// There is no place for all of it in one piece: in several, with what fallocate reserved, or it is ENOSPC at once.
Task<Status> Shard::ReceivePiecemeal(Request* r, ChunkRange range, std::span<const uint64_t> sums) {
  auto room = StagePieces(range);
  if (!room.ok()) co_return room.code();
  std::unique_ptr<uint8_t[]> buffer(new uint8_t[range.bytes]);
  MutableBytes to(buffer.get(), range.bytes);
  Status status = co_await r->Fetch(to);
  if (!status.ok()) {
    r->Abandon();
  } else if (!SumsMatch(to, sums)) {
    status = Code::kIo;
  } else if (executor_.now() >= r->deadline()) {
    status = Code::kTimedOut;
  } else if (IsHome(range.file) && names_.FindInode(range.file) == nullptr) {
    status = Code::kStale;
  }
  if (!status.ok()) {
    for (Place place : *room) store_.Unstage(place);
    co_return status;
  }
  co_return CommitPieces(range, to, *room, !sums.empty());
}

// A place in what is reserved there, if anything is.
Result<Place> Shard::StageFor(const ChunkRange& range) {
  Result<Place> place = store_.StageFor(range);
  if (place.ok() || !has_disk() || store_.ReservedBytes(range) == 0) return place;
  if (Evict(range.bytes) == 0 || !SealAndSettle()) return place;
  return store_.StageFor(range);
}

// Places for a range, in pieces as long as can be had; all or none.
Result<std::vector<Place>> Shard::StagePieces(ChunkRange range) {
  constexpr uint32_t kPieceMin = 4096;
  std::vector<Place> places;
  while (range.bytes > 0) {
    Result<Place> place = Stage(range.bytes);
    if (!place.ok()) place = StageFor(range);
    for (uint32_t piece = range.bytes; !place.ok() && piece > kPieceMin;) {
      piece = std::max(piece / 2, kPieceMin);
      place = Stage(piece);
    }
    if (!place.ok()) {
      for (Place staged : places) store_.Unstage(staged);
      return place.code();
    }
    places.push_back(*place);
    const uint32_t used = std::min(range.bytes, place->bytes);
    range.bytes -= used;
    range.offset += used;
  }
  return places;
}

Status Shard::CommitPieces(ChunkRange range, Bytes bytes, const std::vector<Place>& places, bool summed) {
  for (Place place : places) {
    range.bytes = std::min<uint32_t>(static_cast<uint32_t>(bytes.size()), place.bytes);
    absl::InlinedVector<uint64_t, 64> sums(BlocksOf(range.bytes));
    CopyInAndChecksum(arena_.Data(place).data(), bytes.first(range.bytes), sums.data());
    if (!summed) sums.clear();
    MAYFLY_TRY(store_.Commit(range, place, sums, wall()));
    bytes = bytes.subspan(range.bytes);
    range.offset += range.bytes;
  }
  return Code::kOk;
}

// Bytes that are here already, into fresh places.
Status Shard::StoreBytes(const ChunkRange& range, Bytes bytes, bool summed) {
  auto places = StagePieces(range);
  if (!places.ok()) return places.code();
  return CommitPieces(range, bytes, *places, summed);
}

Task<Status> Shard::WriteAt(ShardId shard, WriteRequest q, Bytes payload, Nanos deadline) {
  Empty reply;
  CallOptions options = PeerCall(deadline);
  options.payload = payload;
  co_return co_await caller_.Call<Method::kWrite>(shard, q, &reply, options);
}

// O_APPEND: the home gives the place at the end, writes or forwards the parts, and only then moves the end.
Task<Status> Shard::HandleAppend(Request* r, const AppendRequest& q, OffsetReply* a, ReplyPayload*) {
  const size_t bytes = r->payload().size();
  if (bytes == 0 || (!q.sums.empty() && q.sums.size() != BlocksOf(bytes))) co_return Code::kInvalid;
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantWrite));  // V4
  std::unique_ptr<uint8_t[]> buffer(new uint8_t[bytes]);
  Status status = co_await r->Fetch(MutableBytes(buffer.get(), bytes));
  if (!status.ok()) {
    r->Abandon();
    co_return status;
  }
  Bytes data(buffer.get(), bytes);
  if (!SumsMatch(data, q.sums)) co_return Code::kIo;
  if (has_disk()) MAYFLY_CO_TRY(co_await MakeRoom(bytes, 0, r->deadline()));
  MAYFLY_CO_TRY(co_await LockSize(q.inode, r->deadline()));
  Attr attr;
  status = co_await ExactAttr(q.inode, r->deadline(), &attr);
  if (status.ok() && attr.type != FileType::kFile) status = Code::kInvalid;
  if (status.ok() && executor_.now() >= r->deadline()) status = Code::kTimedOut;  // V2
  std::vector<Task<Status>> parts;
  const uint64_t chunk_bytes = uint64_t{1} << attr.chunk_bits;
  uint64_t number = 0, epoch = 1;
  if (status.ok()) {
    // No suspension since the size was asked for.
    if (const Inode* inode = names_.FindInode(q.inode); inode != nullptr && inode->extra != nullptr) {
      epoch = inode->extra->truncate_epoch + 1;
    }
    IntentImage intent;
    intent.kind = IntentKind::kAppend;
    intent.inode = q.inode;
    intent.size = attr.size;
    intent.bytes = bytes;
    // Within one chunk of this shard it is one record, with the new end.
    const bool here =
        attr.size / chunk_bytes == (attr.size + bytes - 1) / chunk_bytes &&
        placement_.ChunkShard(q.inode.home(), ChunkIndex(static_cast<uint32_t>(attr.size >> attr.chunk_bits))) ==
            options_.self;
    if (!here) number = BeginIntent(std::move(intent));
  }
  for (uint64_t at = 0; status.ok() && at < bytes;) {
    const uint64_t offset = attr.size + at;
    const uint64_t n = std::min<uint64_t>(bytes - at, chunk_bytes - offset % chunk_bytes);
    Bytes part = data.subspan(at, n);
    WriteRequest write;
    write.inode = q.inode;
    write.chunk = ChunkIndex(static_cast<uint32_t>(offset >> attr.chunk_bits));
    write.offset = static_cast<uint32_t>(offset % chunk_bytes);
    write.chunk_bits = attr.chunk_bits;
    write.epoch = epoch;
    const ShardId shard = placement_.ChunkShard(q.inode.home(), write.chunk);
    if (shard == options_.self) {
      ChunkRange range;
      range.file = q.inode;
      range.chunk = write.chunk;
      range.chunk_bits = write.chunk_bits;
      range.offset = write.offset;
      range.bytes = static_cast<uint32_t>(n);
      status = StoreBytes(range, part, !q.sums.empty());
    } else {
      for (size_t b = 0; b < part.size() && !q.sums.empty(); b += kChecksumBlockBytes) {
        write.sums.push_back(Checksum(part.subspan(b, std::min<size_t>(kChecksumBlockBytes, part.size() - b))));
      }
      parts.push_back(WriteAt(shard, write, part, r->deadline()));
    }
    at += n;
  }
  for (auto& part : parts) {
    Status one = co_await part;
    if (!one.ok() && status.ok()) status = one;
  }
  Inode* inode = names_.FindInode(q.inode);
  if (status.ok() && inode == nullptr) status = Code::kStale;
  if (status.ok()) {
    Wrote(*inode, attr.size + bytes, &r->party().cred, wall());
    a->offset = attr.size;
  }
  UnlockSize(q.inode);
  if (!status.ok() && inode != nullptr && attr.type == FileType::kFile) {
    co_await CutBack(q.inode, attr.size);
  }
  EndIntent(number);
  // Not to be tried again: what a part's shard refused may be taken back only once that is there again.
  co_return IoInsteadOf(Code::kConflict, status);
}

// ---- reading ------------------------------------------------------------------------------------------------------

Task<Status> Shard::HandleRead(Request* r, const ReadRequest& q, ReadReply* a, ReplyPayload* out) {
  if (!GoodRange(q.chunk_bits, q.offset, q.bytes) || q.bytes > kTransferBytesMax ||
      q.inode.home().value >= placement_.shard_count()) {
    co_return Code::kInvalid;
  }
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantRead));  // V4
  if (IsHome(q.inode)) {
    Inode* inode = names_.FindInode(q.inode);
    if (inode == nullptr) co_return Code::kStale;
    if (inode->type != FileType::kFile) co_return Code::kInvalid;
    if (inode->extra == nullptr || inode->extra->shards.empty()) {
      a->size_known = true;
      a->size = inode->size;
    }
  }
  ChunkRange range;
  range.file = q.inode;
  range.chunk = q.chunk;
  range.chunk_bits = q.chunk_bits;
  range.offset = q.offset;
  range.bytes = q.bytes;
  auto covered = store_.Read(range, &out->pieces);
  if (!covered.ok()) co_return covered.code();
  if (has_disk()) {
    const bool absent =
        std::any_of(out->pieces.begin(), out->pieces.end(), [](const auto& p) { return p.is_absent(); });
    if (absent) {
      const bool in_order = ReadsInOrder(range) != nullptr;
      const Status fetched = co_await disk_reader_->Fetch(&out->pieces, in_order, r->deadline());
      if (fetched.code() == Code::kCorrupt) co_return Damaged();
      MAYFLY_CO_TRY(fetched);
    }
    FetchAhead(range, range.file_offset() + covered->bytes, absent);
  }
  a->cut = covered->cut;
  // A copy is gone with this answer, so its bytes are sent.
  const bool mapped = q.mapped && std::none_of(out->pieces.begin(), out->pieces.end(),
                                               [](const ReadPiece& p) { return static_cast<bool>(p.copy); });
  const size_t parts_max = mapped ? kMappedPartsMax : kPartsMax;
  const size_t pieces_max = mapped ? kRunsMax : ChunkStore::kReadPiecesMax;
  size_t data_bytes = 0, data_pieces = 0, used = 0;
  for (ReadPiece& piece : out->pieces) {
    SumParts sums;
    if (!piece.is_hole()) {
      const Status status = q.want_sums ? store_.PieceSums(piece, &sums) : store_.Trust(piece);
      if (!status.ok()) co_return Damaged();
    }
    if (a->parts.size() + std::max<size_t>(sums.size(), 1) > parts_max || data_pieces == pieces_max) {
      a->cut = true;
      break;
    }
    if (sums.empty()) {
      Part part;
      part.bytes = piece.bytes;
      part.hole = piece.is_hole();
      a->parts.push_back(part);
    }
    for (const SumPart& sum : sums) {
      Part part;
      part.bytes = sum.bytes;
      part.sum_known = true;
      part.sum = sum.sum;
      a->parts.push_back(part);
    }
    if (!piece.is_hole()) {
      data_bytes += piece.bytes;
      ++data_pieces;
      out->view = piece.data;
    }
    ++used;
  }
  out->pieces.resize(used);
  if (mapped) {
    TellPlaces(out->pieces, a);
    out->view = {};
    co_return Code::kOk;
  }
  if (data_pieces > 1) {
    out->gathered.reset(new uint8_t[data_bytes]);
    size_t at = 0;
    for (const ReadPiece& piece : out->pieces) {
      if (piece.is_hole()) continue;
      std::memcpy(out->gathered.get() + at, piece.data.data(), piece.bytes);
      at += piece.bytes;
    }
    out->view = Bytes(out->gathered.get(), data_bytes);
  }
  co_return Code::kOk;
}

// ---- shape --------------------------------------------------------------------------------------------------------

Task<Status> Shard::HandleChunkReserve(Request* r, const RangeRequest& q, Empty*, ReplyPayload*) {
  if (!GoodRange(q.chunk_bits, q.offset, q.bytes) || q.inode.home().value >= placement_.shard_count()) {
    co_return Code::kInvalid;
  }
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantWrite));  // V4
  if (IsHome(q.inode)) {
    if (names_.FindInode(q.inode) == nullptr) co_return Code::kStale;
  } else if (store_.Figures(q.inode).epoch == 0) {
    MAYFLY_CO_TRY(co_await JoinFile(q.inode, r->deadline()));
  }
  ChunkRange range;
  range.file = q.inode;
  range.chunk = q.chunk;
  range.chunk_bits = q.chunk_bits;
  range.offset = q.offset;
  range.bytes = static_cast<uint32_t>(q.bytes);
  co_return co_await Reserve(range, r->deadline());
}

Task<Status> Shard::HandleChunkPunch(Request* r, const RangeRequest& q, Empty*, ReplyPayload*) {
  if (!GoodRange(q.chunk_bits, q.offset, q.bytes)) co_return Code::kInvalid;
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantWrite));  // V4
  ChunkRange range;
  range.file = q.inode;
  range.chunk = q.chunk;
  range.chunk_bits = q.chunk_bits;
  range.offset = q.offset;
  range.bytes = static_cast<uint32_t>(q.bytes);
  MAYFLY_CO_TRY(store_.Punch(range));
  if (Inode* inode = IsHome(q.inode) ? names_.FindInode(q.inode) : nullptr) Wrote(*inode, 0, &r->party().cred, wall());
  co_return Code::kOk;
}

Task<Status> Shard::HandleExtend(Request* r, const RangeRequest& q, Empty*, ReplyPayload*) {
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, kGrantWrite));  // V4
  Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->type != FileType::kFile) co_return Code::kInvalid;
  Wrote(*inode, q.bytes, &r->party().cred, wall());
  co_return Code::kOk;
}

Task<Status> Shard::HandleChunkSeek(Request* r, const SeekRequest& q, OffsetReply* a, ReplyPayload*) {
  if (q.chunk_bits < kChunkBitsMin || q.chunk_bits > kChunkBitsMax) co_return Code::kInvalid;
  MAYFLY_CO_TRY(grants_.Check(r->party(), q.inode, q.grant, 0));  // V4
  if (q.hole) {
    a->found = true;
    a->offset = store_.NextHole(q.inode, q.from, q.chunk_bits);
  } else {
    const ChunkStore::Found found = store_.NextData(q.inode, q.from);
    a->found = found.found;
    a->offset = found.offset;
  }
  co_return Code::kOk;
}

Task<Status> Shard::HandleStatFs(Request*, const Empty&, StatFsReply* a, ReplyPayload*) {
  const ArenaStats arena = arena_.stats();
  const uint64_t arena_free = arena.bytes_free_warm + arena.bytes_free_cold;
  a->bytes = budget_.bytes_max();
  a->bytes_free = budget_.ArenaRoom() + arena_free;
  if (has_disk()) {
    const ChunkStoreStats data = store_.stats();
    a->bytes = data.disk_bytes;
    a->bytes_free = data.disk_bytes_free + data.unkept_bytes;
  }
  // Names get what the arena has and does not use, too. An empty file with a short name takes a third of 512 bytes.
  a->inodes = names_.inodes();
  a->inodes_free = (budget_.bytes_max() - std::min(budget_.bytes_max(), budget_.used()) + arena_free) / 512;
  if (write_back_ != nullptr) {  // data makes way for them
    const uint64_t most = budget_.tables_max() - budget_.bytes_max() / 128;
    a->inodes_free = (most - std::min(most, budget_.table_used())) / 512;
  }
  a->chunk_bytes = 1u << options_.chunk_bits;
  co_return Code::kOk;
}

}  // namespace mayfly
