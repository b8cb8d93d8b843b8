// Closing. Small files are closed without waiting: what makes a file's last bytes its content also tells the home of
// the close, and close returns as soon as it was written down for it (lane_outbox.cc), or sent as a message of its own.
// All that could be refused was asked for before: the bytes lie in a place that the home has lent, and it has promised
// that nobody looks at the file before this process has given it up (F2). Whoever wants to is made to wait by the home
// until that message has come, and in this process by Settle and the file's lock. What can still go wrong is what can
// with any write-behind, a disk that fails; the next close or sync of the process says so.
#include <algorithm>

#include "base/log.h"
#include "client/lane.h"

namespace mayfly {
namespace {

constexpr uint64_t kSmallFileMax = 64 * 1024;

}  // namespace

Task<Status> Lane::Close(int fd) {
  bool closed = false;
  FileRef file = mount_.files().StartClose(fd, MayCloseAtOnce, &closed);
  if (file == nullptr) co_return Code::kBadHandle;
  if (closed) co_return mount_.TakeLate();
  co_return co_await EndClose(fd, std::move(file));
}

bool Lane::MayCloseAtOnce(OpenFile& file) {
  return file.unborn() && !file.buffered && file.deferred == Code::kOk && !file.mount.poisoned() &&
         file.mount.outbox().Close(file);
}

Task<Status> Lane::EndClose(int fd, FileRef file) {
  Status status;
  if (file->sole || file->buffered) {
    FileGuard guard;
    status = co_await Lock(*file, &guard);
    if (status.ok() && MayDepart(*file)) {
      guard.HandOver();
      co_return co_await Depart(fd, std::move(file));
    }
    if (status.ok()) {
      status = co_await FlushBuffer(*file);
      file->ahead.pieces.clear();
      file->sole = false;
    }
    if (file->buffered) DropBuffer(*file);
  } else if (IsNewAndSmall(*file)) {
    const ShardId home = file->inode.home();
    if (mount_.CountSmallFile() && !mount_.Listening(home)) {
      if (mount_.arenas().IsUnknown(home)) (void)co_await data_.ArenaOf(home);  // with the bell
      mount_.AskToListen(home);
    }
  }
  if (Status deferred = TakeDeferred(*file); status.ok()) status = deferred;
  if (mount_.options().syncs && file->unsynced && file->epoch == mount_.epoch()) {
    const Status synced = co_await Sync(file);
    if (status.ok()) status = synced;
  }
  if (file->unborn()) {
    Leave(fd, file);
  } else {
    mount_.files().FinishClose(fd);
    if (file->epoch == mount_.epoch() && file->EndHold()) QueueClose(file->inode);
  }
  if (Status late = mount_.TakeLate(); status.ok()) status = late;
  co_return status;
}

// ---- without waiting ----------------------------------------------------------------------------------------------

// One that could have departed, had it been given to this process alone.
bool Lane::IsNewAndSmall(const OpenFile& file) const {
  const uint64_t size = file.size_hint;
  return file.created && size <= kSmallFileMax && (file.flags & (kOpenUnshared | kOpenAppend)) == 0 &&
         mount_.options().write_behind_bytes != 0 && !mount_.options().syncs &&
         mount_.arenas().MayBeMapped(file.inode.home());
}

bool Lane::MayDepart(const OpenFile& file) const {
  const WriteBuffer& buffer = file.buffer;
  const ShardId home = file.inode.home();
  if (!file.sending.empty() || !buffer.lent.valid() ||
      !DataPath::IsToCommit(IdOf(file), buffer.start, buffer.lent, buffer.size))
    return false;
  return file.sole && file.buffered && buffer.lent.shard == home && file.counted && file.hold == nullptr &&
         file.deferred == Code::kOk && (file.epoch == mount_.epoch() || file.unborn()) && !mount_.poisoned() &&
         !mount_.options().syncs && mount_.Listening(home) && departing_ < kDepartingMax;
}

// Takes the file's lock over.
Task<Status> Lane::Depart(int fd, FileRef file) {
  file->ahead.pieces.clear();
  mount_.counters().closed_ahead.fetch_add(1, std::memory_order_relaxed);
  mount_.files().Depart(fd);  // first: what is written down may be over at once, by another lane
  if (!WriteDown(file)) {
    ++departing_;
    ++mount_.departing();
    Spawn(SendLast(this, file), "sending what a closed file held");
    if (caller_.HasUnsent()) co_await UntilSent(file);
  }
  co_return mount_.TakeLate();
}

Task<Status> Lane::SendLast(Lane* lane, FileRef file) {
  FileGuard guard;
  guard.Adopt(file->lock);
  Mount& mount = lane->mount_;
  auto closing = DataPath::Closing::kWanted;
  const Status status = co_await lane->FlushBuffer(*file, &closing);
  file->sole = false;
  // Where nothing was heard the home may have counted the close: a second one would be that of another open.
  if (closing == DataPath::Closing::kWanted && file->stillborn == Code::kOk && file->EndHold()) {
    lane->QueueClose(file->inode);
  }
  if (!status.ok() && !file->departing) {
    file->deferred = status.code();
  } else if (!status.ok()) {
    mount.NoteLate(status.code());
    if (status.code() != Code::kShutdown) {
      MAYFLY_ERROR("what inode {:x} held when it was closed could not be stored: {}", file->inode.value,
                   TextOf(status.code()));
    }
  }
  if (file->departing) mount.files().EndDeparture(file);
  guard.Release();
  --mount.departing();
  --lane->departing_;
  lane->departed_.WakeAll();
  co_return Code::kOk;
}

// The close of a file whose birth is on its way, and that holds nothing: it is told of behind that.
void Lane::Leave(int fd, const FileRef& file) {
  mount_.files().Depart(fd);
  uint8_t unborn = OpenFile::kUnborn;
  if (file->birth.compare_exchange_strong(unborn, OpenFile::kLeft)) return;
  mount_.files().EndDeparture(file);  // it has been born meanwhile
  if (file->epoch == mount_.epoch() && file->EndHold()) QueueClose(file->inode);
}

Task<Status> Lane::Settle() {
  SendWrittenDown();
  // All that is under way has a deadline of its own, which need not have come when ours would: whoever asks for
  // something else must not fail because a server that has to do with what went before hangs.
  constexpr Nanos kEndsWithin = kSecond;
  const Nanos deadline = Deadline() + kEndsWithin;
  for (const Outbox::BundleRef& bundle : mount_.outbox().UnderWay()) {
    while (!bundle->over) MAYFLY_CO_TRY(co_await WaitForNews(deadline));
  }
  for (const FileRef& file : mount_.files().DepartingOf(mount_)) {
    while (file->departing) MAYFLY_CO_TRY(co_await WaitForNews(deadline));
  }
  co_return Code::kOk;
}

// What is sent arrives whatever becomes of this process; until then, or until the answer is here, the call that sent it
// is not over.
Task<void> Lane::UntilSent(FileRef file) {
  constexpr int kTurns = 100;
  for (int i = 0; caller_.HasUnsent() && file->buffered; ++i) {
    if (i < kTurns) {
      co_await executor_.Yield();
    } else {
      (void)co_await departed_.Wait(executor_.now() + kMillisecond);
    }
  }
}

// Of what is under way, on this lane or another, whose thread may compute for long.
Task<Status> Lane::WaitForNews(Nanos deadline) {
  constexpr Nanos kLookEvery = 100 * kMicrosecond;
  const Nanos now = executor_.now();
  if (now >= deadline) co_return Code::kTimedOut;
  if (mount_.departing() > departing_) mount_.WakeHelperToDrive();
  (void)co_await departed_.Wait(std::min(deadline, now + kLookEvery));
  co_return Code::kOk;
}

// ---- telling of closes --------------------------------------------------------------------------------------------

void Lane::QueueClose(InodeId inode) {
  CloseQueue::Batch full = mount_.closes().Add(inode, executor_.now());
  if (!full.empty()) Spawn(SendCloses(std::move(full)), "telling of closed files");
  mount_.SomethingAges();
}

Task<Status> Lane::SendCloses(CloseQueue::Batch batch) {
  CloseRequest request;
  const ShardId home = batch.front().home();
  request.inodes = std::move(batch);
  Empty reply;
  co_return co_await caller_.Call<Method::kClose>(home, request, &reply, ByHandle(Deadline()));
}

void Lane::SendClosesOlder(Nanos before) {
  for (CloseQueue::Batch& batch : mount_.closes().TakeOlder(before)) {
    Spawn(SendCloses(std::move(batch)), "telling of closed files");
  }
}

void Lane::ReturnPlacesOlder(Nanos before) {
  for (PlacePool::Batch& batch : mount_.places().TakeOlder(before)) {
    Spawn(ReturnPlaces(std::move(batch)), "giving back places of an arena");
  }
}

Task<Status> Lane::ReturnPlaces(PlacePool::Batch batch) {
  ReturnRequest request;
  request.loans = std::move(batch.loans);
  Empty reply;
  co_return co_await caller_.Call<Method::kReturn>(batch.shard, request, &reply, ByHandle(Deadline()));
}

}  // namespace mayfly
