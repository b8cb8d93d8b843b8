// Making files without waiting, in a part of a directory that is this process's own (own_parts.h): that the name is new
// is known, and so is the file's number, so open returns as soon as the message that makes the file was sent. What is
// written meanwhile is buffered, and the close is sent behind the open; every other request about the file, or by a
// path, waits until it is born (Born, Settle). Other processes wait at the server until this one has yielded the part.
#include "base/log.h"
#include "client/lane.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

constexpr uint32_t kOwn = kOpenRead | kOpenWrite | kOpenCreate | kOpenExclusive | kOpenTruncate | kOpenNoFollow;
constexpr uint64_t kNoEpoch = ~uint64_t{0};  // F7
constexpr size_t kNumbersFew = OwnPart::kNumbers / 2;

}  // namespace

// Whether who opens a file so, to make it, would like to be alone in the part of the directory.
bool Lane::WishesPart(uint32_t flags, ShardId shard) const {
  if ((flags & ~kOwn) != 0 || (flags & kOpenWrite) == 0 || mount_.options().write_behind_bytes == 0) return false;
  return mount_.Listening(shard) && !mount_.options().syncs && mount_.arenas().MayBeMapped(shard);
}

// To be told of a part costs more than to make a file in it, so it is for who makes several there.
bool Lane::MakesMany(InodeId dir, ShardId shard) {
  MadeIn& made = made_in_[absl::HashOf(dir, shard) % made_in_.size()];
  if (made.dir != dir || made.shard != shard) made = MadeIn{dir, shard, 0};
  return ++made.files > mount_.options().own_after / 2;
}

void Lane::LearnPart(InodeId dir, ShardId shard, uint64_t revocations, uint8_t chunk_bits, std::string_view told) {
  OwnPart part;
  if (!DecodePayload(told, &part).ok()) return;
  mount_.own_parts().Learn(dir, shard, revocations, chunk_bits, part, executor_.now());
}

Task<Status> Lane::CreateOwn(std::string_view path, uint32_t flags, uint16_t permissions, int* fd) {
  while (departing_ >= kDepartingMax) MAYFLY_CO_TRY(co_await WaitForNews(Deadline()));
  Walk walk(walker_, path, Deadline());
  if (!walk.TryToParent() || !walk.status().ok() || !walk.is_name() || walk.too_long() || walk.slash()) {
    co_return Code::kOk;
  }
  const ShardId shard = walk.shard();
  ArenaView* const arena = mount_.arenas().Get(shard);
  if (!WishesPart(flags, shard) || arena == nullptr || arena->Board() == nullptr) co_return Code::kOk;
  // The walk is true now, and nobody else has changed the part before it is yielded (B1).
  const ArenaBoard& board = *arena->Board();
  if (board.generation.load(std::memory_order_acquire) != walk.generation().value ||
      executor_.now() >= board.until.load(std::memory_order_acquire)) {
    co_return Code::kOk;
  }
  const uint64_t revocations = mount_.revocations();
  size_t left = 0;
  const auto number = mount_.own_parts().Begin(walk.parent(), shard, walk.name(), executor_.now(), &left);
  if (!number) co_return Code::kOk;
  Attr attr;
  attr.inode = number->inode;
  attr.type = FileType::kFile;
  attr.chunk_bits = mount_.options().chunk_bits != 0 ? mount_.options().chunk_bits : number->chunk_bits;
  const Granted granted{caller_.identity().process, Grant{kBirthRights, number->tag}};
  auto file = std::make_shared<OpenFile>(mount_, attr, flags, kNoEpoch, granted);
  file->birth = OpenFile::kUnborn;
  file->created = true;
  file->sole = true;
  std::vector<FileRef> others;  // none: nobody has had this number
  const auto got = mount_.files().Add(file, revocations, &others);
  if (!got.ok()) {
    mount_.own_parts().End(walk.parent(), shard);
    co_return got.code();
  }
  mount_.counters().made_ahead.fetch_add(1, std::memory_order_relaxed);
  ++departing_;
  ++mount_.departing();
  mount_.SomethingAges();
  Spawn(SendBirth(this, file, walk.parent(), std::string(walk.name()), permissions, left < kNumbersFew),
        "making a file");
  if (caller_.HasUnsent()) co_await UntilSent(file, Sent::kOpen);
  *fd = *got;
  co_return Code::kOk;
}

// `more`: numbers are running out.
Task<Status> Lane::SendBirth(Lane* lane, FileRef file, InodeId dir, std::string name, uint16_t permissions, bool more) {
  Mount& mount = lane->mount_;
  const ShardId shard = file->inode.home();
  const Nanos deadline = lane->Deadline();
  const uint64_t revocations = mount.own_parts().revocations();
  TargetBuffer told(lane->walker_);
  Status status;
  OpenReply reply;
  for (;;) {
    OpenRequest request;
    request.parent = dir;
    request.name = name;
    request.flags = file->flags | (more ? uint32_t{kOpenOwn} : 0u);
    request.permissions = permissions;
    request.chunk_bits = file->chunk_bits;
    request.inode = file->inode;
    request.tag = file->original.grant.tag;
    CallOptions options = lane->ByHandle(deadline);
    told.AddTo(&options);
    status = co_await lane->caller_.Call<Method::kOpen>(shard, request, &reply, options);
    if (!Walk::MayRetry(status) || lane->executor_.now() >= deadline) break;
    co_await lane->executor_.Sleep(lane->walker_.Jitter(kMillisecond));
  }
  if (status.ok()) {
    if (reply.own) lane->LearnPart(dir, shard, revocations, reply.attr.chunk_bits, told.text());
    if (lane->walker_.known.MightLearn(shard)) lane->walker_.known.Note(dir, name);
    file->counted = !reply.uncounted;
    file->epoch.store(mount.epoch(), std::memory_order_release);  // F4, F7
  } else {
    file->stillborn = status.code();
    if (status.code() != Code::kShutdown) {  // else it was sent, and nobody waited
      MAYFLY_ERROR("a file that was made without waiting, '{}', could not be made: {}", name, TextOf(status.code()));
    }
  }
  mount.own_parts().End(dir, shard);
  mount.files().EndBirth(file);
  if (file->birth.exchange(OpenFile::kBorn) == OpenFile::kLeft) {
    if (status.ok() && file->EndHold()) lane->QueueClose(file->inode);
    if (!status.ok()) mount.NoteLate(status.code());
    mount.files().EndDeparture(file);
  } else if (!status.ok() && !file->departing) {
    file->deferred = status.code();
  }
  --mount.departing();
  --lane->departing_;
  lane->departed_.WakeAll();
  co_return Code::kOk;
}

Task<Status> Lane::Born(OpenFile& file) {
  const Nanos deadline = Deadline();
  while (file.unborn()) MAYFLY_CO_TRY(co_await WaitForNews(deadline));
  co_return file.stillborn.load();
}

// ---- giving them back -----------------------------------------------------------------------------------------------

void Lane::GiveBackParts(Nanos before, std::optional<ShardId> of) {
  for (auto& [shard, dirs] : mount_.own_parts().BeginYield(before, of)) {
    Spawn(GiveBack(shard, std::move(dirs), {}), "giving back parts of directories");
  }
}

// Tells the shard that parts of directories, and files, are not this process's alone any more. What could not be given
// up in time is not told of: the shard will name it again.
Task<Status> Lane::GiveBack(ShardId shard, std::vector<InodeId> inodes, std::vector<FileRef> files) {
  const std::vector<InodeId> all = inodes;
  co_await LeaveParts(shard, &inodes);
  for (const FileRef& file : files) {
    if (file->sole) std::erase(inodes, file->inode);  // somebody holds its lock for longer than a deadline
  }
  const Status status = co_await SayYielded(shard, std::move(inodes));
  mount_.own_parts().EndYield(shard, all);
  co_return status;
}

// Waits for what is being made in parts that are own no longer, and drops those of which not all comes in time.
Task<void> Lane::LeaveParts(ShardId shard, std::vector<InodeId>* dirs) {
  constexpr Nanos kLookEvery = 20 * kMicrosecond;
  const Nanos deadline = Deadline();
  // Whoever looks at a file that was closed need not ask for it any more then.
  if (!dirs->empty()) SendClosesOlder(kNever);
  for (size_t i = 0; i < dirs->size();) {
    const InodeId dir = (*dirs)[i];
    while (mount_.own_parts().IsUnderWay(dir, shard) && executor_.now() < deadline) {
      co_await executor_.Sleep(kLookEvery);
    }
    if (mount_.own_parts().IsUnderWay(dir, shard)) {
      dirs->erase(dirs->begin() + static_cast<ptrdiff_t>(i));
    } else {
      ++i;
    }
  }
}

Task<Status> Lane::SayYielded(ShardId shard, std::vector<InodeId> inodes) {
  Empty reply;
  CloseRequest request;
  for (size_t first = 0; first < inodes.size(); first += CloseRequest::kClosesMax) {
    const size_t end = std::min<size_t>(first + CloseRequest::kClosesMax, inodes.size());
    request.inodes.assign(inodes.begin() + static_cast<ptrdiff_t>(first), inodes.begin() + static_cast<ptrdiff_t>(end));
    const CallOptions options = ByHandle(Deadline());
    MAYFLY_CO_TRY(co_await caller_.Call<Method::kYielded>(shard, request, &reply, options));
  }
  co_return Code::kOk;
}

}  // namespace mayfly
