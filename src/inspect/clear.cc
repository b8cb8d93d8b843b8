#include "inspect/clear.h"

#include <algorithm>
#include <filesystem>
#include <memory>
#include <set>

#include "adapt/local_disk.h"
#include "inspect/look.h"
#include "inspect/shard_door.h"
#include "session/private_file.h"
#include "session/runtime_dir.h"
#include "session/storage_tree.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

// What the journal holds that is nowhere else; empty if nothing.
std::string OnlyHere(const MemberPlace& member, const ShardPlace& shard, ShardDoor* door) {
  const JournalLook look = door->Run(LookAtJournal(&door->executor(), door->from(), nullptr));
  if (look.failure.state == SuperblockState::kMissing || look.empty() || (look.read && look.recovered.clean)) return {};
  const std::string name = NameOf(member, shard.shard);
  if (!look.read) return fmt::format("{}: what it holds cannot be told: {}", name, SentenceOf(look.failure));
  return fmt::format("{}: {} records and {} bytes of a checkpoint, not closed in order", name, look.recovered.records,
                     look.recovered.checkpoint_bytes);
}

// The journals of a member, locked as a server locks them.
struct Locks {
  std::vector<std::unique_ptr<LocalDisk>> disks;

  Outcome<Done> Take(const MemberPlace& member) {
    for (const ShardPlace& shard : member.shards) {
      if (!shard.there) continue;
      LocalDiskOptions options;
      options.directory.path = shard.directory;
      options.directory.lock_wait = 0;
      options.try_uring = false;
      LocalDiskOpened opened = OpenLocalDisk(std::move(options));
      const std::string name = NameOf(member, shard.shard);
      if (opened.disk == nullptr) return Fail(opened.failure.code, "{}: {}", name, opened.failure.sentence);
      const auto file = opened.disk->Open(kJournalFileName, {});
      if (!file.ok() && file.code() != Code::kNoEntry) {
        return Fail(file.code(), "{}: the journal cannot be locked ({})", name, TextOf(file.code()));
      }
      disks.push_back(std::move(opened.disk));
    }
    return Done{};
  }
};

void RemoveTree(const std::string& path, Cleared* cleared) {
  const Outcome<uint64_t> count = RemoveStorageTree(path);
  if (!count.ok() && cleared->result.ok()) cleared->result = count.failure();
  if (count.ok() && *count != 0) cleared->removed.push_back(path);
}

// What begins with the prefix in the session's runtime directory: memory of a shard.
void RemoveMemory(const MemberPlace& member, const std::string& prefix, Cleared* cleared) {
  if (member.session_directory.empty()) return;
  uint64_t count = 0;
  std::error_code error;
  for (fs::directory_iterator it(member.session_directory, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().starts_with(prefix + ".")) continue;
    std::error_code failed;
    count += fs::remove(it->path(), failed) ? 1 : 0;
    if (failed && cleared->result.ok()) {
      cleared->result = FailErrno(failed.value(), "remove", "file", it->path().string());
    }
  }
  if (count != 0) cleared->removed.push_back(fmt::format("{}/{}.*", member.session_directory, prefix));
}

// What else the session has on this node goes with the last of its journals here: its runtime directory, and what the
// trails in it name. Unless they name journals that are not to go.
void RemoveRest(const MemberPlace& member, const PlacesOptions& options, Cleared* cleared) {
  const std::string runtime_path = fs::path(member.session_directory).parent_path().string();
  const Outcome<RuntimeDir> runtime = RuntimeDir::Open(runtime_path, options.uid);
  if (!runtime.ok()) return;
  const auto leftovers = runtime->Leftovers();
  if (!leftovers.ok()) return;
  for (const Leftover& leftover : *leftovers) {
    if (leftover.uuid != *member.uuid) continue;
    std::vector<std::string> bases = leftover.outside.here;
    bases.push_back(leftover.path);
    const bool others = std::any_of(bases.begin(), bases.end(),
                                    [&](const std::string& path) { return FindPlaces(path, options).ok(); });
    if (others) continue;
    const Outcome<bool> gone = runtime->RemoveLeftover(leftover);
    if (!gone.ok() && cleared->result.ok()) cleared->result = gone.failure();
    if (!gone.ok() || !*gone) continue;
    cleared->removed.push_back(leftover.path);
    cleared->removed.insert(cleared->removed.end(), leftover.outside.here.begin(), leftover.outside.here.end());
  }
}

}  // namespace

ClearPlan PlanClear(std::vector<MemberPlace> places, const PlacesOptions& options) {
  ClearPlan plan;
  std::set<std::string> said;
  for (MemberPlace& member : places) {
    if (!member.here) {  // C2
      plan.elsewhere.push_back(fmt::format("{} was served on {}: clear it there", member.directory, member.host));
      continue;
    }
    if (member.part) {
      plan.forbidden.push_back(fmt::format("a shard is not cleared alone; give {}", member.directory));
      continue;
    }
    if (!member.charter) plan.dirty.push_back(member.charter_problem);
    const Outcome<Done> dead = CheckDead(member, options);
    if (!dead.ok() && said.insert(dead.failure().sentence).second) plan.forbidden.push_back(dead.failure().sentence);
    for (const ShardPlace& shard : member.shards) {
      if (!shard.there) continue;
      ++plan.journals;
      auto door = ShardDoor::Open(member, shard, options);
      if (!door.ok()) {
        const bool busy = door.failure().status.code() == Code::kBusy;
        (busy ? plan.forbidden : plan.dirty).push_back(door.failure().sentence);
        continue;
      }
      if (std::string dirty = OnlyHere(member, shard, door->get()); !dirty.empty()) {
        plan.dirty.push_back(std::move(dirty));
      }
    }
    plan.bytes += StorageBytesIn(member.directory);
    plan.members.push_back(std::move(member));
  }
  return plan;
}

Cleared Clear(const ClearPlan& plan, const PlacesOptions& options) {
  Cleared cleared;
  Locks locks;
  for (const MemberPlace& member : plan.members) {
    cleared.result = locks.Take(member);
    if (!cleared.result.ok()) return cleared;
  }
  // A server that begins to recover marks itself before it looks at its journal.
  for (const MemberPlace& member : plan.members) {
    cleared.result = CheckDead(member, options);
    if (!cleared.result.ok()) return cleared;
  }
  for (const MemberPlace& member : plan.members) {
    for (const ShardPlace& shard : member.shards) {
      RemoveMemory(member, ArenaPrefix(shard.shard), &cleared);
      RemoveMemory(member, KeptPrefix(shard.shard), &cleared);
    }
    RemoveTree(member.directory, &cleared);
    std::error_code error;
    if (!member.in_memory && fs::remove(member.base, error)) cleared.removed.push_back(member.base);  // if it is empty
    if (member.uuid && !member.session_directory.empty()) RemoveRest(member, options, &cleared);
  }
  return cleared;
}

}  // namespace mayfly
