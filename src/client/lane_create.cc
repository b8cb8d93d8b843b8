// Making and removing files without waiting, in a part of a directory that is this process's own (own_parts.h): it is
// known that the name is new, or a file's, and which number a new file gets, so the call returns as soon as that is
// written down (lane_outbox.cc). What is written to a new file meanwhile is buffered; every other request about it, or
// by a path, waits until it is born (Born, Settle). Other processes wait at the server until this one has yielded the
// part.
#include "client/lane.h"

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

void Lane::LearnPart(InodeId dir, ShardId shard, uint64_t revocations, uint8_t chunk_bits, const OwnPart& told) {
  mount_.own_parts().Learn(dir, shard, revocations, chunk_bits, told, executor_.now());
}

// The walk is true now, and nobody else has changed the part before it is yielded (the board's B1).
bool Lane::IsOwnWalk(Walk& walk, ShardId shard) {
  ArenaView* const arena = mount_.arenas().Get(shard);
  if (arena == nullptr || arena->Board() == nullptr || !mount_.Listening(shard)) return false;
  const ArenaBoard& board = *arena->Board();
  return board.generation.load(std::memory_order_acquire) == walk.generation().value &&
         executor_.now() < board.until.load(std::memory_order_acquire);
}

Task<Status> Lane::CreateOwn(std::string_view path, uint32_t flags, uint16_t permissions, int* fd) {
  Walk walk(walker_, path, Deadline());
  if (!walk.TryToParent() || !walk.status().ok() || !walk.is_name() || walk.too_long() || walk.slash()) {
    co_return Code::kOk;
  }
  const ShardId shard = walk.shard();
  if (!WishesPart(flags, shard)) co_return Code::kOk;
  if (!mount_.outbox().IsReady(shard)) {
    if (!mount_.own_parts().IsOwn(walk.parent(), shard) || !co_await HasOutbox(shard)) co_return Code::kOk;
  }
  if (!IsOwnWalk(walk, shard)) co_return Code::kOk;
  const uint64_t revocations = mount_.revocations();
  size_t left = 0;
  const auto number = mount_.own_parts().Begin(walk.parent(), shard, walk.name(), executor_.now(), &left);
  if (!number) co_return Code::kOk;
  BirthRecord record;
  record.parent = walk.parent();
  record.inode = number->inode;
  record.tag = number->tag;
  record.flags = flags;
  record.permissions = permissions;
  record.chunk_bits = mount_.options().chunk_bits != 0 ? mount_.options().chunk_bits : number->chunk_bits;
  record.at = executor_.now();
  record.name = walk.name();
  Attr attr;
  attr.inode = number->inode;
  attr.type = FileType::kFile;
  attr.chunk_bits = record.chunk_bits;
  const Granted granted{caller_.identity().process, Grant{kBirthRights, number->tag}};
  auto file = std::make_shared<OpenFile>(mount_, attr, flags, kNoEpoch, granted);
  file->birth = OpenFile::kUnborn;
  file->created = true;
  file->sole = true;
  const auto got = mount_.files().Add(file, revocations, nullptr);
  Status status = got.status();
  Outbox::Added added{};
  while (status.ok()) {
    added = mount_.outbox().AddBirth(record, file, number->hash, left < kNumbersFew, executor_.now());
    if (Outbox::Is(added)) break;
    status = co_await WaitToWriteDown(shard, added, walk.deadline());
  }
  if (!status.ok()) {
    if (got.ok()) mount_.files().FinishClose(*got);
    const OwnParts::Outcome gone{walk.parent(), number->hash, true};  // there is no such file
    mount_.own_parts().End(shard, {}, {&gone, 1});
    co_return added == Outbox::Added::kGone ? Status() : status;
  }
  Count(added);
  if (walker_.known.MightLearn(shard)) walker_.known.Note(walk.entry(), walk.hash());
  *fd = *got;
  co_return Code::kOk;
}

Task<Status> Lane::RemoveOwn(std::string_view path, bool* removed) {
  Walk walk(walker_, path, Deadline());
  if (!walk.TryToParent() || !walk.status().ok() || !walk.is_name() || walk.too_long() || walk.slash()) {
    co_return Code::kOk;
  }
  const ShardId shard = walk.shard();
  if (mount_.options().syncs || !mount_.outbox().IsReady(shard) || !IsOwnWalk(walk, shard)) co_return Code::kOk;
  RemovalRecord record;
  record.parent = walk.parent();
  record.at = executor_.now();
  record.name = walk.name();
  uint64_t hash = 0;
  if (!mount_.own_parts().BeginRemoval(record.parent, shard, record.name, executor_.now(), &hash)) co_return Code::kOk;
  for (;;) {
    const Outbox::Added added = mount_.outbox().AddRemoval(shard, record, hash, executor_.now());
    if (Outbox::Is(added)) {
      Count(added);
      break;
    }
    const Status status = co_await WaitToWriteDown(shard, added, walk.deadline());
    if (status.ok()) continue;
    const OwnParts::Outcome stays{record.parent, hash, false};
    mount_.own_parts().End(shard, {}, {&stays, 1});
    co_return added == Outbox::Added::kGone ? Status() : status;
  }
  *removed = true;
  co_return Code::kOk;
}

Task<Status> Lane::Born(OpenFile& file) {
  const Nanos deadline = Deadline();
  if (file.unborn()) SendWrittenDown(file.inode.home());
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
      SendWrittenDown(shard);
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
