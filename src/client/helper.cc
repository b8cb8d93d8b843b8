#include "client/helper.h"

#include <algorithm>

#include "base/log.h"

namespace mayfly {
namespace {

constexpr size_t kRevokedAtOnce = kPageBytesMax / sizeof(uint64_t);
constexpr Nanos kPollGrace = 5 * kSecond;  // beyond the server's own bound

}  // namespace

Helper::Helper(Lane& lane) : lane_(lane), mount_(lane.mount()), poked_(lane.executor()) {
  lane_.Spawn(Run(), "the helper");
}

Helper::~Helper() = default;

void Helper::Poke() {
  poked_since_ = true;
  poked_.WakeAll();
}

void Helper::Stop() {
  stopping_ = true;
  Poke();
}

bool Helper::SomethingAges() const {
  return mount_.oldest() != kNever || mount_.buffered() != 0 || mount_.departing() != 0 || mount_.own_parts().any();
}

Task<Status> Helper::Run() {
  while (!stopping_) {
    poked_since_ = false;
    for (ShardId shard : mount_.TakeListenRequests()) lane_.Spawn(Listen(shard), "listening for revocations");
    const Nanos now = lane_.executor().now();
    const Nanos close_before = now - std::min(now, CloseQueue::kAgeMax);
    lane_.SendWrittenDown(std::nullopt, now - std::min(now, Outbox::kAgeMax));
    lane_.SendClosesOlder(close_before);
    lane_.ReturnPlacesOlder(now - std::min(now, PlacePool::kAgeMax));
    if (mount_.buffered() != 0) {
      (void)co_await lane_.FlushOlder(now - std::min(now, kBufferAgeMax));  // errors wait with the files
      if (stopping_) break;
    }
    lane_.GiveBackParts(now - std::min(now, OwnParts::kAgeMax));
    if (!mount_.own_parts().any()) lane_.GiveBackOutboxes();
    // While anything ages it looks once a second; else it sleeps until it is told (SomethingAges).
    Nanos until = kNever;
    if (SomethingAges()) {
      until = lane_.executor().now() + CloseQueue::kAgeMax / 2;
    } else {
      mount_.helper_watches() = false;
      if (SomethingAges()) {  // it came in between
        mount_.helper_watches() = true;
        continue;
      }
    }
    if (!poked_since_) (void)co_await poked_.Wait(until);  // no suspension since it was looked at
  }
  co_return Code::kOk;
}

Task<Status> Helper::Listen(ShardId shard) {
  constexpr Nanos kPause = kSecond;
  // Also after the shard was away: it may still think that this process holds something.
  while (!stopping_) {
    (void)co_await ListenOnce(shard);
    mount_.SetListening(shard, false);
    if (stopping_) break;
    (void)co_await StopBuffering(shard);
    if (!stopping_) (void)co_await poked_.Wait(lane_.executor().now() + kPause);
  }
  co_return Code::kOk;
}

Task<Status> Helper::ListenOnce(ShardId shard) {
  auto room = std::make_unique<uint8_t[]>(kRevokedAtOnce * sizeof(uint64_t));
  // The connection must stand before the shard counts as listened to.
  Status status = co_await lane_.Ping(shard, lane_.Deadline());
  if (status.ok()) mount_.SetListening(shard, true);  // H1
  while (status.ok() && !stopping_) {
    Empty request;
    CountReply reply;
    size_t bytes = 0;
    CallOptions options = lane_.ByHandle(lane_.executor().now() + kRevokePollMs * kMillisecond + kPollGrace);
    options.reply_payload = MutableBytes(room.get(), kRevokedAtOnce * sizeof(uint64_t));
    options.reply_bytes = &bytes;
    status = co_await lane_.caller().Call<Method::kRevoked>(shard, request, &reply, options);
    if (!status.ok() || bytes == 0) continue;
    std::vector<InodeId> inodes(bytes / sizeof(uint64_t));
    for (size_t i = 0; i < inodes.size(); ++i) {
      uint64_t number = 0;
      std::memcpy(&number, room.get() + i * sizeof number, sizeof number);
      inodes[i] = InodeId(number);
    }
    status = co_await GiveUp(shard, std::move(inodes));
  }
  co_return status;
}

Task<Status> Helper::GiveUp(ShardId shard, std::vector<InodeId> inodes) {
  mount_.own_parts().Revoke(shard, inodes);
  lane_.SendWrittenDown(shard);
  std::vector<FileRef> files = mount_.files().Revoke(mount_, inodes);
  (void)co_await lane_.Yield(files);  // what failed is with the files
  co_return co_await lane_.GiveBack(shard, std::move(inodes), std::move(files));
}

// Nobody hears this shard's revocations any more: its files are written through from now on.
Task<Status> Helper::StopBuffering(ShardId shard) {
  std::vector<FileRef> files = mount_.files().Of(mount_);
  std::erase_if(files, [shard](const FileRef& file) { return file->inode.home() != shard || !file->sole; });
  lane_.GiveBackParts(kNever, shard);
  co_return co_await lane_.Yield(std::move(files));
}

}  // namespace mayfly
