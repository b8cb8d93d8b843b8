#include "inspect/shard_door.h"

#include <algorithm>

namespace mayfly {
namespace {

constexpr Nanos kOfLivingWait = 200 * kMillisecond;  // a server of a session that lives probably lives itself

Failure InUse(const std::string& name) {
  return Fail(Code::kBusy,
              "{}: a server has the journal open; look at it with `mayfly status`, or stop the session first", name);
}

}  // namespace

ShardDoor::ShardDoor(std::string name, std::unique_ptr<LocalDisk> disk, JournalIdentity identity,
                     const std::string& kept_in)
    : name_(std::move(name)), identity_(identity), disk_(std::move(disk)) {
  if (!kept_in.empty()) {
    kept_ = std::make_unique<PosixKeptMemory>(
        PosixKeptMemory::Options{.directory = kept_in, .prefix = KeptPrefix(identity.shard), .look_only = true});
    memory_ = OpenToRead(kept_in, 0).disk;
  }
  loop_.Add(disk_.get());
  loop_.Add(memory_.get());
}

ShardDoor::~ShardDoor() {
  loop_.Remove(disk_.get());
  loop_.Remove(memory_.get());
}

LocalDiskOpened ShardDoor::OpenToRead(const std::string& directory, Nanos lock_wait) {
  LocalDiskOptions options;
  options.directory.path = directory;
  options.directory.read_only = true;
  options.directory.lock_wait = lock_wait;
  options.try_uring = false;  // a tool has to work wherever there are plain reads
  options.at_once_in_memory = true;
  return OpenLocalDisk(std::move(options));
}

Outcome<std::unique_ptr<ShardDoor>> ShardDoor::Open(const MemberPlace& member, const ShardPlace& shard,
                                                    const PlacesOptions& user) {
  const std::string name = NameOf(member, shard.shard);
  if (!shard.there) return Fail(Code::kNoEntry, "{}: its directory {} is not there", name, shard.directory);
  const Nanos lock_wait = CheckDead(member, user).ok() ? user.lock_wait : std::min(user.lock_wait, kOfLivingWait);
  LocalDiskOpened opened = OpenToRead(shard.directory, lock_wait);
  if (opened.disk == nullptr) {
    return Fail(opened.failure.code, "{}: {} cannot be opened ({}); be the user whose servers made it", name,
                shard.directory, TextOf(opened.failure.code));
  }
  const auto in_use = opened.disk->InUse(kJournalFileName);
  if (in_use.ok() && *in_use) return InUse(name);
  JournalIdentity identity;
  if (member.uuid) identity.uuid = *member.uuid;
  identity.shard = shard.shard;
  return std::unique_ptr<ShardDoor>(
      new ShardDoor(name, std::move(opened.disk), identity, member.here ? member.session_directory : std::string()));
}

RecoverFrom ShardDoor::from() const {
  RecoverFrom from;
  from.disk = disk_.get();
  from.kept = kept_.get();
  from.identity = identity_;
  return from;
}

Outcome<Done> ShardDoor::Unchanged(const Superblock& superblock) {
  const auto in_use = disk_->InUse(kJournalFileName);
  if (in_use.ok() && *in_use) return InUse(name_);  // D2
  auto file = disk_->Open(kJournalFileName, Disk::OpenHow{.read_only = true});
  if (!file.ok()) return Fail(file.code(), "{}: the journal is not there any more", name_);
  JournalFailure failure;
  JournalIdentity identity;
  identity.uuid = superblock.uuid;
  identity.shard = superblock.shard;
  // A server's first word is a superblock.
  const auto now = Run(ReadSuperblock(&executor(), disk_.get(), *file, identity, &failure));
  disk_->Close(*file);
  if (now.ok() && now->sequence == superblock.sequence) return Done{};
  return Fail(Code::kBusy, "{}: a server had the journal open meanwhile; look again", name_);
}

}  // namespace mayfly
