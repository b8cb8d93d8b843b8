// A file's bytes in the shard's chunk file: memory that is given up for others' sake, bytes that are read back, and, at
// level `node`, requests to have them there.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "server/shard.h"
#include "store/chunk_file.h"

namespace mayfly {
namespace {

constexpr uint64_t kAheadBytes = 16u << 20;  // before the reader; an eighth of the memory at most
constexpr uint32_t kAheadPieces = 2;         // of a quarter of that, under way at a time
constexpr uint64_t kAheadGap = 256u << 20;   // of a file in order: chunks on other shards lie between
constexpr Nanos kAheadWithin = 10 * kSecond;
constexpr uint32_t kEvictedAtATime = 128;  // extents: what the journal takes of one request
// Of the memory: for reads of what is on the disk, when nothing can leave memory any more, and for data being read and
// written, however many names there are. A few of the longest transfers, whose edges lie in extents as long.
uint64_t ReadsMin(uint64_t memory) { return std::min<uint64_t>(2 * kTransferBytesMax, memory / 4); }
uint64_t TransfersMin(uint64_t memory) { return std::max(memory / 16, std::min<uint64_t>(64u << 20, memory / 4)); }

}  // namespace

void Shard::KeepMemoryForData() {
  const uint64_t memory = budget_.bytes_max();
  budget_.KeepForData(TransfersMin(memory), reads_only() ? 0 : ReadsMin(memory));
}

Task<Status> Shard::OpenDisk(bool recover, RecoveryReport* report) {
  Result<ChunkFile> opened = Code::kIo;
  std::string why;
  if (recover) {
    ChunkFileState state = ChunkFileState::kGood;
    opened = co_await OpenChunkFile(&executor_, doors_.disk, options_.uuid, options_.self, &state,
                                    Disk::OpenHow{.read_only = reads_only()});
    why = SentenceOf(state);
  } else {
    ChunkFileHeader header;
    header.shard = options_.self;
    header.uuid = options_.uuid;
    header.bytes = options_.disk_bytes / Disk::kBlockBytes * Disk::kBlockBytes;
    opened = co_await CreateChunkFile(&executor_, doors_.disk, header);
    why = fmt::format("cannot be made with {} bytes: {}", header.bytes, TextOf(opened.code()));
  }
  if (!opened.ok()) {
    report->refusal = fmt::format("shard {} cannot keep data: the chunk file {}/{} {}", options_.self.value,
                                  doors_.disk->facts().directory, kChunkFileName, why);
    co_return opened.status();
  }
  chunk_file_ = opened->file;
  disk_space_ = std::make_unique<DiskSpace>(opened->bytes);
  store_.SetDisk(disk_space_.get(), keeps_data());
  store_.SetEviction(options_.evict);
  if (!reads_only()) {
    write_back_ = std::make_unique<WriteBack>(&executor_, doors_.disk, chunk_file_, &store_, keeps_data());
  }
  disk_reader_ =
      std::make_unique<DiskReader>(&executor_, doors_.disk, chunk_file_, &store_, TransfersMin(budget_.bytes_max()) / 2,
                                   [this](uint32_t bytes, Nanos deadline) { return MakeMemory(bytes, deadline); });
  co_return Code::kOk;
}

// What memory alone has, to the disk, before the journal's tail that speaks of it goes there.
Task<Status> Shard::KeepRecovered() {
  if (!keeps_data() || reads_only()) co_return Code::kOk;
  co_return co_await write_back_->Kept(write_back_->written(), kNever);
}

bool Shard::HasBlocks(uint64_t bytes) const {
  return bytes == 0 || disk_space_->blocks_free() >= DiskSpace::BlocksFor(bytes);
}

// Whether a write would find its room now. What is reserved needs memory alone, and may take it in pieces.
bool Shard::HasRoom(uint64_t bytes, uint64_t reserved) {
  if (reserved == 0) {
    const Result<Place> place = Stage(static_cast<uint32_t>(bytes));
    if (place.ok()) store_.Unstage(*place);
    return place.ok();
  }
  if (!HasBlocks(bytes - reserved)) return false;
  const uint64_t pages = bytes + 2 * Arena::kPageBytes;  // pieces end where blocks of the reservation do
  if (arena_.bytes_free() >= pages) return true;
  return Evict(pages) != 0 && SealAndSettle() && arena_.bytes_free() >= pages;
}

Task<Status> Shard::MakeRoom(uint64_t bytes, uint64_t reserved, Nanos deadline) {
  if (LacksTableRoom(1)) MAYFLY_CO_TRY(co_await AwaitTableRoom(deadline));
  const uint64_t blocks = 2 * DiskSpace::BlocksFor(bytes) + disk_space_->blocks() / 16;
  const uint64_t memory = 2 * bytes + budget_.bytes_max() / 16;
  if (disk_space_->blocks_free() >= blocks && arena_.bytes_free() >= memory) co_return Code::kOk;
  for (bool compacts = bytes > reserved;;) {
    const bool has_room = HasRoom(bytes, reserved), has_blocks = HasBlocks(bytes - reserved);
    const bool may_compact = compacts && !HasBlocks(bytes - reserved + store_.CompactionSpare()) && store_.MayCompact();
    if (has_room && !may_compact) co_return Code::kOk;
    const bool lacks_memory = !has_room && has_blocks;
    if (lacks_memory && !log_.HasRoom()) {
      ++eviction_waits_;
      MAYFLY_CO_TRY(co_await log_.WaitForRoom(deadline));
    } else if (lacks_memory && Evict(bytes) != 0) {
      // As much as that was given up already, here and there: until it is in one piece.
      if (!SealAndSettle()) co_return Code::kIo;
    } else if (store_.stats().unkept_bytes != 0 && (reserved == 0 || !has_blocks)) {
      eviction_waits_ += lacks_memory;
      MAYFLY_CO_TRY(co_await log_.Durable(deadline));  // blocks that wait for a record to be durable
      FreeBlocks();
    } else if (lacks_memory && write_back_->kept() < write_back_->written()) {
      // Memory that is given up when the disk has what is in it.
      ++eviction_waits_;
      MAYFLY_CO_TRY(co_await write_back_->Kept(write_back_->kept() + 1, deadline));
    } else if (lacks_memory && reserved != 0) {
      // Promised, and all memory is somebody's who is at work.
      if (executor_.now() >= deadline) co_return Code::kTimedOut;
      ++eviction_waits_;
      co_await executor_.Sleep(kMillisecond);
    } else if (may_compact) {
      compacts = co_await Compact(deadline);  // room that was there may be taken by now
    } else {
      co_return Code::kOk;  // the caller finds that there is no room
    }
  }
}

// Makes blocks of the chunk file free that hold what was written over since, one extent's. False: none were gained.
Task<bool> Shard::Compact(Nanos deadline) {
  if (compacting_) co_return (co_await compacted_.Wait(deadline)).ok();
  if (!SealAndSettle()) co_return false;
  FreeBlocks();
  if (store_.stats().unkept_bytes != 0) co_return (co_await log_.Durable(deadline)).ok();
  compacting_ = true;
  const uint64_t room = std::min<uint64_t>(kTransferBytesMax, budget_.bytes_max() / 8);
  bool gained = false;
  while (!gained && store_.MayCompact() && executor_.now() < deadline && !leaving_) {
    InodeId file;
    ReadPieces pieces;
    if (!store_.FindSparse(&file, &pieces)) {
      co_await executor_.Yield();
      continue;
    }
    Status status = co_await disk_reader_->Fetch(&pieces, true, deadline);
    while (status.ok() && arena_.bytes_free() < room) {
      status = co_await MakeMemory(static_cast<uint32_t>(room), deadline);
    }
    if (!status.ok()) break;
    gained = store_.GiveUp(file, pieces.front());
  }
  compacting_ = false;
  compacted_.WakeAll();
  co_return SealAndSettle() && gained;
}

// Blocks that wait for a record to be durable are waited for; else it is ENOSPC at once.
Task<Status> Shard::Reserve(ChunkRange range, Nanos deadline) {
  constexpr int kTriesMax = 3;  // others may take what comes free
  for (int tries = 1;; ++tries) {
    const Status status = store_.ReserveRange(range);
    if (status.code() != Code::kNoSpace || !has_disk() || HasBlocks(range.bytes)) co_return status;
    if (tries == kTriesMax || !SealAndSettle()) co_return status;
    if (store_.stats().unkept_bytes == 0 && !co_await Compact(deadline)) co_return status;
    MAYFLY_CO_TRY(co_await log_.Durable(deadline));
    FreeBlocks();
  }
}

// Each extent that leaves memory is said in a record, and small files have many: no more than the journal takes of one
// request go at a time, and none while it could not take that.
uint64_t Shard::Evict(uint64_t bytes) {
  uint64_t gained = 0, more = 1;
  while (gained < bytes && more != 0 && (log_.failed() || log_.HasRoom())) {
    more = store_.EvictSome(bytes - gained, kEvictedAtATime);
    gained += more;
    if (!log_.Seal()) break;
  }
  return gained;
}

Task<Status> Shard::MakeMemory(uint32_t bytes, Nanos deadline) {
  if (Evict(bytes) != 0) {
    (void)SealAndSettle();  // the journal may fail: then there is other memory (Freeze)
    co_return Code::kOk;
  }
  ++eviction_waits_;
  if (executor_.now() >= deadline) co_return Code::kTimedOut;
  Status waited;
  if (log_.failed() || write_back_ == nullptr) {
    co_await executor_.Sleep(kMillisecond);  // others are sending what is there
  } else if (!log_.HasRoom()) {
    waited = co_await log_.WaitForRoom(deadline);
  } else if (write_back_->kept() < write_back_->written()) {
    waited = co_await write_back_->Kept(write_back_->kept() + 1, deadline);
  } else {
    co_await executor_.Sleep(kMillisecond);
  }
  if (waited.code() == Code::kIo) {  // likewise, once the log has learnt of it
    co_await executor_.Sleep(kMillisecond);
    waited = Code::kOk;
  }
  co_return waited;
}

// The journal has failed: what it says of memory stays as it is, and what is read back gets memory that was kept.
void Shard::Freeze() {
  store_.Freeze();
  budget_.ReleaseReads();
  arena_.EndDrain();
  table_news_.WakeAll();
  if (disk_reader_ != nullptr) disk_reader_->SetBytesMax(ReadsMin(budget_.bytes_max()) / 2);
}

// Names stop at one 128th of the memory (RoomForTables) and wait at two; segments are drained from three on, and the
// arena leaves four (B5).
bool Shard::BeginDrain() {
  const uint64_t wanted = budget_.bytes_max() / 32;
  while (budget_.TableRoom() < wanted && budget_.arena_used() > budget_.transfers_min() &&
         arena_.ReleaseFreeSegment()) {
  }
  if (!LacksTableRoom(3)) return false;
  if (!store_.StartDrain(wanted - budget_.TableRoom(), undrained_)) {
    drains_stuck_ = true;
    undrained_.clear();
    return false;
  }
  return true;
}

// Gives tables what data leaves: a segment of the arena goes as a whole, so all that lies in it is evicted.
bool Shard::TendTables() {
  constexpr Nanos kAgainAfter = 10 * kMillisecond, kStuckAfter = kSecond;
  const Nanos now = executor_.now();
  if (arena_.draining().empty()) {
    if (!LacksTableRoom(3)) {
      drains_stuck_ = false;
      return false;
    }
    if (now < drain_again_at_) return false;
    if (!BeginDrain()) {
      if (drains_stuck_) drain_again_at_ = now + kAgainAfter;
      table_news_.WakeAll();
      return false;
    }
    drain_until_ = now + kStuckAfter;
    drain_again_at_ = 0;
  }
  if (now < drain_again_at_) return false;
  if (!log_.HasRoom()) {
    drain_until_ = now + kStuckAfter;
    return false;
  }
  const uint64_t evicted = store_.stats().evicted;
  const bool around = store_.EvictDraining(kEvictedAtATime);
  if (!SealAndSettle()) return false;
  if (store_.stats().evicted != evicted) drain_until_ = now + kStuckAfter;
  if (arena_.ReleaseDrained()) {
    undrained_.clear();
    drains_stuck_ = false;
    table_news_.WakeAll();
  }
  if (arena_.draining().empty()) return true;
  if (!around) return true;
  // What is left is being written, read or sent.
  write_back_->Want(write_back_->written());
  drain_again_at_ = now + kAgainAfter;
  if (now < drain_until_) return false;
  undrained_.insert(arena_.draining().begin(), arena_.draining().end());
  arena_.EndDrain();
  return true;
}

Task<Status> Shard::AwaitTableRoom(Nanos deadline) {
  constexpr Nanos kLookEvery = 10 * kMillisecond;
  while (write_back_ != nullptr && LacksTableRoom(2) && !drains_stuck_ && !log_.failed() && !leaving_) {
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
    (void)co_await table_news_.Wait(std::min(deadline, executor_.now() + kLookEvery));
  }
  co_return Code::kOk;
}

// Keeps some memory free, so that writes seldom wait. True: there is more to do.
bool Shard::TendMemory() {
  constexpr Nanos kAgainAfter = 10 * kMillisecond;
  const bool more = !log_.failed() && TendTables();
  const uint64_t most = budget_.bytes_max(), free = arena_.bytes_free();
  write_back_->SetEager(keeps_data() || free < most / 2);
  if (free >= most / 8) return more;
  if (write_back_->kept() == evict_again_at_ && executor_.now() < evict_again_by_) return more;
  if (Evict(most / 16) != 0 || !log_.HasRoom()) return more;
  evict_again_at_ = write_back_->kept();
  evict_again_by_ = executor_.now() + kAgainAfter;
  write_back_->Want(write_back_->written());
  return more;
}

void Shard::FreeBlocks() { store_.Kept(keeps_data() ? journal_->durable().value : log_.sealed().value); }

// Who reads the file in order up to here; null: nobody. Chunks of other shards may lie between.
Shard::ReadBack* Shard::ReadsInOrder(const ChunkRange& range) {
  const uint64_t begin = range.file_offset(), chunk_mask = (uint64_t{1} << range.chunk_bits) - 1;
  const auto known = std::find_if(read_back_.begin(), read_back_.end(), [&](const ReadBack& one) {
    if (one.file != range.file || one.end == 0) return false;
    if (one.end == begin) return true;
    return ((one.end | begin) & chunk_mask) == 0 && one.end < begin && begin - one.end <= kAheadGap;
  });
  return known == read_back_.end() ? nullptr : &*known;
}

// A file that is read in order, one request at a time, would leave the disk idle while the reader has the bytes.
void Shard::FetchAhead(const ChunkRange& range, uint64_t end, bool was_absent) {
  ReadBack* one = ReadsInOrder(range);
  if (one == nullptr) {
    if (!was_absent) return;
    one = &read_back_[next_read_back_ % read_back_.size()];
    *one = {range.file, end, ++next_read_back_};
    return;
  }
  one->end = end;
  GoAhead(one);
}

// Two pieces at a time: the disk reads one while the other is verified, and the next begins when either is in memory.
void Shard::GoAhead(ReadBack* one) {
  const uint64_t ahead = std::min({kAheadBytes, budget_.bytes_max() / 8, disk_reader_->bytes_max() / 2});
  while (!leaving_ && one->fetching < kAheadPieces) {
    uint64_t from = std::max(one->ahead_to, one->end);
    if (from >= one->end + ahead) return;
    ReadPieces pieces;
    uint64_t bytes = 0;
    while (from != ChunkStore::kDone && bytes < ahead / 4) {
      const size_t first = pieces.size();
      from = store_.LiveData(one->file, from, 1, &pieces);
      for (size_t i = first; i < pieces.size(); ++i) bytes += pieces[i].bytes;
    }
    one->ahead_to = from;
    if (pieces.empty()) return;
    ++one->fetching;
    gate_.Spawn(FetchPieces(one->reader, std::move(pieces)), "reading ahead from the disk");
  }
}

// They stay in memory for whoever comes, who will hear of it if they cannot be read.
Task<Status> Shard::FetchPieces(uint64_t reader, ReadPieces pieces) {
  (void)co_await disk_reader_->Fetch(&pieces, true, executor_.now() + kAheadWithin);
  pieces.clear();
  const auto one = std::find_if(read_back_.begin(), read_back_.end(),
                                [reader](const ReadBack& known) { return known.reader == reader; });
  if (one == read_back_.end()) co_return Code::kOk;  // forgotten
  --one->fetching;
  GoAhead(&*one);
  co_return Code::kOk;
}

// The answer is held until all that was changed here before is durable (IsHeldAtCommit); so are those of the file's
// other shards to this one.
Task<Status> Shard::HandleSync(Request* r, const InodeRequest& q, Empty*, ReplyPayload*) {
  if (log_.failed()) co_return Code::kIo;
  if (!q.inode.valid() || !IsHome(q.inode)) co_return Code::kOk;
  const Inode* inode = names_.FindInode(q.inode);
  if (inode == nullptr) co_return Code::kStale;
  if (inode->extra == nullptr) co_return Code::kOk;
  const std::vector<ShardId> shards = inode->extra->shards;
  std::vector<Task<Status>> tasks;
  for (ShardId shard : shards) tasks.push_back(SyncAt(shard, q.inode, r->deadline()));
  co_return co_await All(std::move(tasks));
}

Task<Status> Shard::SyncAt(ShardId shard, InodeId id, Nanos deadline) {
  InodeRequest request;
  request.inode = id;
  Empty reply;
  CallOptions options = PeerCall(deadline);
  co_return co_await caller_.Call<Method::kSync>(shard, request, &reply, options);
}

}  // namespace mayfly
