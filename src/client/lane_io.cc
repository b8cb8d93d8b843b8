// Reading and writing open files.
#include <algorithm>

#include "base/checksum.h"
#include "client/lane.h"
#include "client/quick_io.h"

namespace mayfly {
namespace {

constexpr Nanos kLockSleepFirst = 5 * kMicrosecond, kLockSleepMost = 500 * kMicrosecond;
// Ranges of more chunks than this are first checked against what can exist at all.
constexpr uint64_t kManyChunks = 256;

}  // namespace

Lane::Lane(Executor& executor, Caller& caller, Mount& mount, uint64_t seed)
    : executor_(executor),
      caller_(caller),
      mount_(mount),
      walker_(executor, caller, mount.placement(), mount.cred(), mount.arenas(), seed),
      data_(executor, caller, mount),
      gate_(executor),
      ahead_done_(executor),
      noted_done_(executor),
      departed_(executor) {}

Lane::~Lane() { MAYFLY_CHECK(idle()); }

Task<Status> Lane::Lock(OpenFile& file, FileGuard* guard) {
  if (guard->holds() || guard->Try(file.lock)) co_return Code::kOk;
  co_return co_await LockSlow(file, guard);
}

Task<Status> Lane::LockSlow(OpenFile& file, FileGuard* guard) {
  const Nanos deadline = Deadline();
  Nanos sleep = kLockSleepFirst;
  while (!guard->Try(file.lock)) {
    if (file.departing) SendWrittenDown(file.inode.home());  // it may be what holds the lock
    if (mount_.poisoned()) co_return Code::kIo;
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
    co_await executor_.Sleep(walker_.Jitter(sleep));
    sleep = std::min(sleep * 2, kLockSleepMost);
  }
  co_return Code::kOk;
}

Task<Status> Lane::FlushInode(InodeId inode) {
  if (mount_.buffered() == 0) co_return Code::kOk;
  Status result;
  for (const FileRef& file : mount_.files().Of(mount_, inode)) {
    if (!file->buffered) continue;
    FileGuard guard;
    Status status = co_await Lock(*file, &guard);
    if (status.ok()) {
      status = co_await FlushBuffer(*file);
      if (!status.ok()) file->deferred = status.code();
    }
    if (!status.ok()) result = status;
  }
  co_return result;
}

// ---- reading ------------------------------------------------------------------------------------------------------

std::optional<size_t> Lane::ReadContent(const OpenFile& file, MutableBytes to, uint64_t offset) {
  const Content& content = file.content;
  const Bytes all = content.placed.bytes;
  const bool check = content.sum_known && mount_.options().checksum;
  const bool whole = offset == 0 && to.size() >= all.size();
  if (check && !whole && offset < all.size()) return std::nullopt;  // the sum is of all of it
  const size_t n = std::min<size_t>(all.size() - std::min<uint64_t>(offset, all.size()), to.size());
  uint64_t sum = content.sum;
  if (check && n != 0) {
    sum = CopyOutAndChecksum(to.data(), all.first(n));
  } else if (n != 0) {
    CopyOut(to.data(), all.subspan(offset, n));
  }
  if (!content.IsThere(executor_.now())) return std::nullopt;
  if (sum != content.sum) return std::nullopt;  // who is asked finds out
  mount_.counters().read_mapped.fetch_add(1, std::memory_order_relaxed);
  return n;
}

Task<Result<size_t>> Lane::ReadHere(OpenFile& file, MutableBytes to, uint64_t offset, FileGuard* guard, bool keep) {
  if (file.content.valid()) {
    if (const auto n = ReadContent(file, to, offset)) co_return *n;
  }
  if (file.buffered) {
    MAYFLY_CO_TRY(co_await Lock(file, guard));
    Status status = co_await FlushBuffer(file);
    if (!status.ok()) {
      file.deferred = status.code();
      co_return status;
    }
  }
  FromAhead ahead;
  if ((file.sole || MayLease(file)) && (guard->holds() || guard->Try(file.lock)) &&
      ReadsInOrder(file, offset, to.size())) {
    const bool may = co_await MayReadAhead(file, offset, to.size());
    if (may) ahead = co_await ReadAhead(file, to, offset);
  }
  if (!keep) guard->Release();
  if (ahead.ended || ahead.bytes == to.size()) co_return ahead.bytes;
  const uint64_t at = offset + ahead.bytes;
  auto rest = co_await data_.Read(IdOf(file), at, to.subspan(ahead.bytes), file.size_hint);
  if (!rest.ok()) {
    if (ahead.bytes != 0) co_return ahead.bytes;
    co_return rest.code();
  }
  const uint64_t end = at + *rest;
  if (end > file.size_hint) file.size_hint = end;
  co_return ahead.bytes + *rest;
}

Task<Result<size_t>> Lane::ReadAt(FileRef file, MutableBytes to, uint64_t offset) {
  if (!file->readable()) co_return Code::kBadHandle;
  if (file->type == FileType::kDirectory) co_return Code::kIsDirectory;
  if (to.empty()) co_return size_t{0};
  if (file->epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(*file));
  FileGuard guard;
  co_return co_await ReadHere(*file, to, offset, &guard, false);
}

Task<Result<size_t>> Lane::Read(FileRef file, MutableBytes to) {
  if (!file->readable()) co_return Code::kBadHandle;
  if (file->type == FileType::kDirectory) co_return Code::kIsDirectory;
  if (to.empty()) co_return size_t{0};
  if (file->epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(*file));
  FileGuard guard;
  if (!guard.Try(file->lock)) MAYFLY_CO_TRY(co_await LockSlow(*file, &guard));
  auto read = co_await ReadHere(*file, to, file->offset, &guard, true);
  if (read.ok()) file->offset += *read;
  co_return read;
}

// ---- writing ------------------------------------------------------------------------------------------------------

// Before a write: what one that is not born yet buffers needs no home.
bool Lane::MustAdopt(const OpenFile& file) const {
  return file.epoch.load(std::memory_order_acquire) != mount_.epoch() && !(file.unborn() && file.sole);
}

Task<Result<size_t>> Lane::WriteHere(OpenFile& file, Bytes data, uint64_t offset, FileGuard* guard, bool keep) {
  if (Status deferred = TakeDeferred(file); !deferred.ok()) co_return deferred;
  const bool small = IsSmallWrite(mount_, data.size());
  if (file.sole || file.buffered) {
    MAYFLY_CO_TRY(co_await Lock(file, guard));
    if (small && MayBuffer(file, offset, data.size())) {
      auto buffered = co_await BufferWrite(file, data, offset);
      if (!keep) guard->Release();
      co_return buffered;
    }
    MAYFLY_CO_TRY(co_await FlushBuffer(file));
    file.ahead.pieces.clear();
    file.buffer.next = offset + data.size();
  } else if (small && (file.flags & (kOpenUnshared | kOpenAppend)) == 0 && !mount_.Listening(file.inode.home()) &&
             (guard->holds() || guard->Try(file.lock))) {
    // Small writes, one behind the other: from now on such files should be asked for alone.
    if (offset != 0 && offset == file.buffer.next) mount_.AskToListen(file.inode.home());
    file.buffer.next = offset + data.size();
  }
  if (!keep) guard->Release();
  if (file.epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(file));
  ++file.changes;
  auto written = co_await data_.Write(IdOf(file), offset, data);
  ++file.changes;
  if (written.ok() && offset + *written > file.size_hint) file.size_hint = offset + *written;
  co_return written;
}

Task<Result<size_t>> Lane::WriteAt(FileRef file, Bytes data, uint64_t offset) {
  if (!file->writable()) co_return Code::kBadHandle;
  if (data.empty()) co_return size_t{0};
  if (MustAdopt(*file)) MAYFLY_CO_TRY(co_await Adopt(*file));
  file->unsynced = true;
  Result<size_t> written = size_t{0};
  if (file->appends()) {  // wherever the caller wanted it, as Linux
    uint64_t end = 0;
    written = co_await data_.Append(IdOf(*file), data, &end);
  } else {
    FileGuard guard;
    written = co_await WriteHere(*file, data, offset, &guard, false);
    if (MayHaveRoom(written)) {
      MAYFLY_CO_TRY(co_await Settle());
      written = co_await WriteHere(*file, data, offset, &guard, false);
    }
  }
  if (written.ok() && SyncsEach(*file)) MAYFLY_CO_TRY(co_await Sync(file));
  co_return written;
}

Task<Result<size_t>> Lane::Write(FileRef file, Bytes data) {
  if (!file->writable()) co_return Code::kBadHandle;
  if (data.empty()) co_return size_t{0};
  if (MustAdopt(*file)) MAYFLY_CO_TRY(co_await Adopt(*file));
  file->unsynced = true;
  FileGuard guard;
  if (!guard.Try(file->lock)) MAYFLY_CO_TRY(co_await LockSlow(*file, &guard));
  if (file->appends()) {
    uint64_t end = 0;
    auto written = co_await data_.Append(IdOf(*file), data, &end);
    if (written.ok()) file->offset = end;
    if (written.ok() && SyncsEach(*file)) MAYFLY_CO_TRY(co_await Sync(file));
    co_return written;
  }
  auto written = co_await WriteHere(*file, data, file->offset, &guard, true);
  if (MayHaveRoom(written)) {
    MAYFLY_CO_TRY(co_await Settle());
    written = co_await WriteHere(*file, data, file->offset, &guard, true);
  }
  if (written.ok()) file->offset += *written;
  if (written.ok() && SyncsEach(*file)) MAYFLY_CO_TRY(co_await Sync(file));
  co_return written;
}

Task<Status> Lane::Sync(FileRef file) {
  if (file->epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(*file));
  Status status;
  if (file->buffered) {
    FileGuard guard;
    MAYFLY_CO_TRY(co_await Lock(*file, &guard));
    status = co_await FlushBuffer(*file);
  }
  if (Status deferred = TakeDeferred(*file); status.ok()) status = deferred;
  if (Status late = mount_.TakeLate(); status.ok()) status = late;
  if (!status.ok() || !mount_.options().syncs) co_return status;
  file->unsynced = false;  // before: what is written meanwhile need not be in it
  status = co_await SyncAt(file->inode.home(), file->inode);
  if (!status.ok()) file->unsynced = true;
  co_return status;
}

Task<Status> Lane::SyncAt(ShardId shard, InodeId inode) {
  InodeRequest request;
  request.inode = inode;
  Empty reply;
  co_return co_await caller_.Call<Method::kSync>(shard, request, &reply, ByHandle(Deadline()));
}

// ---- size, space, position ----------------------------------------------------------------------------------------

Task<Status> Lane::Truncate(FileRef file, uint64_t size) {
  if (!file->writable() || file->type != FileType::kFile) co_return Code::kInvalid;
  file->unsynced = true;
  FileGuard guard;
  if (file->sole) {
    MAYFLY_CO_TRY(co_await Lock(*file, &guard));
    MAYFLY_CO_TRY(co_await FlushBuffer(*file));
    file->ahead.pieces.clear();
  }
  guard.Release();
  SetAttrRequest change;
  change.mask = kSetSize | kByHandle;
  change.size = size;
  Target target;
  target.file = file;
  ++file->changes;
  Status status = co_await SetAttr(target, change);
  ++file->changes;
  if (status.ok()) file->size_hint = size;
  co_return status;
}

Task<Status> Lane::Fallocate(FileRef file, Allocate what, uint64_t offset, uint64_t bytes) {
  if (!file->writable()) co_return Code::kBadHandle;
  const uint64_t size_max = DataPath::SizeMax(file->chunk_bits);
  if (offset > size_max || bytes > size_max - offset) co_return Code::kFileTooBig;
  file->unsynced = true;
  if (file->epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(*file));
  FileGuard guard;
  if (file->sole) {
    MAYFLY_CO_TRY(co_await Lock(*file, &guard));
    MAYFLY_CO_TRY(co_await FlushBuffer(*file));
    file->ahead.pieces.clear();
  }
  guard.Release();
  const uint64_t chunk_bytes = uint64_t{1} << file->chunk_bits;
  if (bytes / chunk_bytes > kManyChunks) {
    if (what == Allocate::kPunch) {
      auto attr = co_await data_.GetAttr(file->inode, true);
      if (!attr.ok()) co_return attr.code();
      const uint64_t end = (attr->size + chunk_bytes - 1) / chunk_bytes * chunk_bytes;
      bytes = end > offset ? std::min(bytes, end - offset) : 0;
    } else {
      auto room = co_await StatFileSystem();
      if (!room.ok()) co_return room.code();
      if (bytes > room->bytes) co_return Code::kNoSpace;
    }
  }
  const auto kind = what == Allocate::kPunch ? DataPath::Range::kPunch : DataPath::Range::kReserve;
  ++file->changes;
  Status status = co_await data_.ForRange(IdOf(*file), kind, offset, bytes);
  ++file->changes;
  MAYFLY_CO_TRY(status);
  // The home too when the size stays: the times change.
  const uint64_t end = what == Allocate::kExtend ? offset + bytes : 0;
  RangeRequest request;
  request.inode = file->inode;
  request.grant = file->grant();
  request.bytes = end;
  request.chunk_bits = file->chunk_bits;
  Empty reply;
  status = co_await caller_.Call<Method::kExtend>(file->inode.home(), request, &reply, ByHandle(Deadline()));
  if (status.ok() && end > file->size_hint) file->size_hint = end;
  co_return status;
}

Task<Result<uint64_t>> Lane::Seek(FileRef file, int64_t offset, Whence whence) {
  FileGuard guard;
  if (!guard.Try(file->lock)) MAYFLY_CO_TRY(co_await LockSlow(*file, &guard));
  if (file->epoch.load(std::memory_order_acquire) != mount_.epoch()) MAYFLY_CO_TRY(co_await Adopt(*file));
  int64_t base = 0;
  if (file->type == FileType::kDirectory && whence != Whence::kSet && whence != Whence::kCurrent)
    co_return Code::kInvalid;
  if (whence == Whence::kCurrent) {
    base = static_cast<int64_t>(file->offset);
  } else if (whence != Whence::kSet) {
    MAYFLY_CO_TRY(co_await FlushBuffer(*file));
    if (whence == Whence::kEnd) {
      auto attr = co_await data_.GetAttr(file->inode, true);
      if (!attr.ok()) co_return attr.code();
      base = static_cast<int64_t>(attr->size);
    } else {
      if (file->type != FileType::kFile) co_return Code::kInvalid;
      if (offset < 0) co_return Code::kNoDevice;
      auto found = co_await data_.Seek(IdOf(*file), static_cast<uint64_t>(offset), whence == Whence::kHole);
      if (found.ok()) file->offset = *found;
      co_return found;
    }
  }
  int64_t to = 0;
  if (__builtin_add_overflow(base, offset, &to) || to < 0) co_return Code::kInvalid;
  file->offset = static_cast<uint64_t>(to);
  co_return file->offset;
}

}  // namespace mayfly
