// A dead server's shard, opened to be looked at: its disk, read-only, its kept memory, as a copy, and a loop that
// drives them. What recovery gets of a living process, tools get of this. One thread. Invariants  D1  nothing is
// written, made, removed or kept locked: a server that comes back does not notice.
//             D2  a server that lives has it: not opened. One that came to life since: Unchanged says so.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "adapt/local_disk.h"
#include "adapt/posix/posix_kept_memory.h"
#include "inspect/disk_loop.h"
#include "inspect/places.h"
#include "journal/recover.h"

namespace mayfly {

class ShardDoor {
 public:
  // kBusy: a server lives that has the journal open; kNoEntry, kAccess: there is no directory, or no way into it.
  // A server that was killed just now may keep it for a moment, which is waited for.
  static Outcome<std::unique_ptr<ShardDoor>> Open(const MemberPlace& member, const ShardPlace& shard,
                                                  const PlacesOptions& user);
  ShardDoor(const ShardDoor&) = delete;
  ShardDoor& operator=(const ShardDoor&) = delete;
  ~ShardDoor();

  Executor& executor() { return loop_.executor(); }
  // The shard's directory, and the session's in the node's memory; null if that is elsewhere or gone.
  Disk* disk() { return disk_.get(); }
  Disk* memory() { return memory_.get(); }
  // For Recover and its like. Kept memory of another host is not there.
  RecoverFrom from() const;

  // kBusy if a server has had the journal open since `superblock` was read.
  Outcome<Done> Unchanged(const Superblock& superblock);

  // As DiskLoop.
  template <class T>
  T Run(Task<T> task) {
    return loop_.Run(std::move(task));
  }

 private:
  ShardDoor(std::string name, std::unique_ptr<LocalDisk> disk, JournalIdentity identity, const std::string& kept_in);
  static LocalDiskOpened OpenToRead(const std::string& directory, Nanos lock_wait);

  const std::string name_;  // for sentences
  const JournalIdentity identity_;
  DiskLoop loop_;
  std::unique_ptr<LocalDisk> disk_;
  std::unique_ptr<PosixKeptMemory> kept_;  // null if that is elsewhere
  std::unique_ptr<LocalDisk> memory_;      // likewise
};

}  // namespace mayfly
