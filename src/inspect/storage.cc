#include "inspect/storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "inspect/report.h"

namespace mayfly {
namespace {

Outcome<std::vector<MemberPlace>> FindAll(const std::vector<std::string>& directories, const PlacesOptions& user) {
  std::vector<MemberPlace> all;
  for (const std::string& directory : directories) {
    Outcome<std::vector<MemberPlace>> found = FindPlaces(directory, user);
    if (!found.ok()) return found.failure();
    for (MemberPlace& member : *found) {
      const auto same = std::find_if(all.begin(), all.end(),
                                     [&](const MemberPlace& one) { return one.directory == member.directory; });
      if (same == all.end()) {
        all.push_back(std::move(member));
        continue;
      }
      for (ShardPlace& shard : member.shards) {  // named one by one, or twice
        const auto is_it = [&](const ShardPlace& one) { return one.shard == shard.shard; };
        if (std::none_of(same->shards.begin(), same->shards.end(), is_it)) same->shards.push_back(std::move(shard));
      }
    }
  }
  return all;
}

// Of one session, with a charter that says how it was made.
Outcome<const MemberPlace*> WithCharter(const std::vector<MemberPlace>& members) {
  const MemberPlace* with = nullptr;
  for (const MemberPlace& member : members) {
    if (member.uuid && members.front().uuid && *member.uuid != *members.front().uuid) {
      return Fail(
          Code::kInvalid,
          "{} and {} are of two sessions: give directories of one, such as {}; with mayflyd's --dir each session "
          "has a directory of its own in it",
          members.front().directory, member.directory, member.base);
    }
    if (member.charter && with == nullptr) with = &member;
  }
  if (with != nullptr) return with;
  return Fail(Code::kCorrupt, "how the session was made is not known: {}; give the directory of another member as well",
              members.front().charter_problem);
}

std::string NameOf(const Member& member) { return fmt::format("member {} ({})", member.id.value, member.host); }

class Opener {
 public:
  Opener(const PlacesOptions& user, Storage* storage) : user_(user), storage_(*storage) {}

  Outcome<Done> Open(const MemberPlace& member, const ShardPlace& place);

 private:
  void Problem(std::string sentence) { storage_.problems.push_back(std::move(sentence)); }
  void Judge(const JournalLook& look, StoredShard* shard);
  void OpenBytes(const JournalLook& look, StoredShard* shard);

  const PlacesOptions& user_;
  Storage& storage_;
};

Outcome<Done> Opener::Open(const MemberPlace& member, const ShardPlace& place) {
  const std::string name = mayfly::NameOf(member, place.shard);
  if (!storage_.layout.Has(place.shard)) {
    Problem(fmt::format("{}: the session has no such shard: {} is left alone", name, place.directory));
    return Done{};
  }
  auto& slot = storage_.shards[place.shard.value];
  if (slot != nullptr) {
    return Fail(Code::kInvalid, "{} is there twice, in {} and {}: give one of them", name, slot->place.directory,
                place.directory);
  }
  auto door = ShardDoor::Open(member, place, user_);
  if (!door.ok()) {
    if (door.failure().status.code() == Code::kBusy) return door.failure();  // G1
    Problem(door.failure().sentence);                                        // G2
    return Done{};
  }
  auto shard = std::make_unique<StoredShard>();
  shard->member = member;
  shard->place = place;
  shard->door = std::move(*door);
  shard->tables = std::make_unique<ShardTables>(place.shard);
  const JournalLook look =
      shard->door->Run(LookAtJournal(&shard->door->executor(), shard->door->from(), shard->tables.get()));
  if (!look.read || look.verdict() == Verdict::kUnreadable) {
    Problem(fmt::format("{}: {}", name, Explain(look)));
    return Done{};
  }
  shard->superblock = look.recovered.superblock;
  Judge(look, shard.get());
  OpenBytes(look, shard.get());
  slot = std::move(shard);
  return Done{};
}

void Opener::Judge(const JournalLook& look, StoredShard* shard) {
  const std::string name = mayfly::NameOf(shard->member, shard->place.shard);
  const bool keeps_data = storage_.charter.durability == "node";
  shard->whole = true;
  if (look.verdict() == Verdict::kDamaged) {
    shard->whole = false;
    Problem(fmt::format("{}: {}", name, Explain(look)));
  }
  if (look.tail == TailMemory::kGone || look.tail == TailMemory::kElsewhere) {
    const bool elsewhere = look.tail == TailMemory::kElsewhere;
    std::string sentence = fmt::format("{}: the last part of its journal {}", name,
                                       elsewhere ? "lies in the memory of the host that served it, if that still runs"
                                                 : "went with the memory of the node");
    if (keeps_data) {
      storage_.notes.push_back(sentence + "; what was synced or closed is in the rest");
    } else {
      shard->whole = false;
      Problem(sentence + fmt::format(": what it held is not there, and at --durability {} that may have been "
                                     "acknowledged{}",
                                     storage_.charter.durability, elsewhere ? "; salvage there" : ""));
    }
  }
  if (shard->tables->refused() != 0) {
    shard->whole = false;
    Problem(fmt::format("{}: {} field{} of its journal contradict{} the rest and {} left out", name,
                        shard->tables->refused(), shard->tables->refused() == 1 ? "" : "s",
                        shard->tables->refused() == 1 ? "s" : "", shard->tables->refused() == 1 ? "is" : "are"));
  }
}

void Opener::OpenBytes(const JournalLook& look, StoredShard* shard) {
  PieceReader::From from;
  from.executor = &shard->door->executor();
  from.disk = shard->door->disk();
  from.memory = shard->door->memory();
  from.arena_prefix = ArenaPrefix(shard->place.shard);
  from.uuid = storage_.charter.uuid;
  from.shard = shard->place.shard;
  from.places_hold = look.tail == TailMemory::kRead;
  shard->bytes = std::make_unique<PieceReader>(std::move(from));
  const ChunkFileState state = shard->door->Run(shard->bytes->Open());
  if (state == ChunkFileState::kGood || (state == ChunkFileState::kMissing && storage_.charter.durability != "node")) {
    return;
  }
  Problem(fmt::format("{}: the chunk file {}/{} {}", mayfly::NameOf(shard->member, shard->place.shard),
                      shard->place.directory, kChunkFileName, SentenceOf(state)));
}

// Members and shards of which nothing was given, or could be read.
void NoteMissing(const std::vector<MemberPlace>& found, Storage* storage) {
  for (const Member& member : storage->layout.members()) {
    const auto is_it = [&](const MemberPlace& place) { return place.member == member.id; };
    if (std::none_of(found.begin(), found.end(), is_it)) {
      storage->missing_members.push_back(member.id);
      storage->absent.push_back(fmt::format("{}: its directory is not among those that were given", NameOf(member)));
      continue;
    }
    for (uint32_t i = 0; i < member.shards; ++i) {
      const ShardId shard = storage->layout.ShardOf(member.id, i);
      const auto named = [&](const MemberPlace& place) {
        return place.member == member.id && std::any_of(place.shards.begin(), place.shards.end(),
                                                        [&](const ShardPlace& one) { return one.shard == shard; });
      };
      if (std::any_of(found.begin(), found.end(), named)) continue;
      storage->absent.push_back(fmt::format("{}: shard {} is not among what was given", NameOf(member), shard.value));
    }
  }
}

}  // namespace

std::vector<SettleShard> Storage::settle_shards() const {
  std::vector<SettleShard> all;
  for (const auto& shard : shards) {
    all.push_back(shard != nullptr ? SettleShard{shard->tables.get(), shard->whole} : SettleShard());
  }
  return all;
}

Outcome<Storage> OpenStorage(const std::vector<std::string>& directories, const PlacesOptions& user) {
  const Outcome<std::vector<MemberPlace>> found = FindAll(directories, user);
  if (!found.ok()) return found.failure();
  const Outcome<const MemberPlace*> with = WithCharter(*found);
  if (!with.ok()) return with.failure();
  for (const MemberPlace& member : *found) {
    if (const Outcome<Done> dead = CheckDead(member, user); !dead.ok()) return dead.failure();  // G1
  }
  const Charter& charter = *(*with)->charter;
  Result<Layout> layout = Layout::Build(charter.members);
  MAYFLY_CHECK(layout.ok());  // C1 of session/charter.h
  Result<Placement> placement = Placement::Build(*layout, charter.ring);
  if (!placement.ok()) return Fail(Code::kCorrupt, "{}: its charter makes no ring", (*with)->directory);
  Storage storage{charter, *layout, *placement, {}, {}, {}, {}, {}};
  storage.shards.resize(storage.layout.shard_count());
  NoteMissing(*found, &storage);
  Opener opener(user, &storage);
  for (const MemberPlace& member : *found) {
    if (!member.charter) storage.notes.push_back(member.charter_problem);
    for (const ShardPlace& shard : member.shards) {
      if (const Outcome<Done> opened = opener.Open(member, shard); !opened.ok()) return opened.failure();
    }
  }
  return storage;
}

Outcome<Done> Unchanged(const Storage& storage) {
  for (const auto& shard : storage.shards) {
    if (shard == nullptr) continue;
    if (const Outcome<Done> unchanged = shard->door->Unchanged(shard->superblock); !unchanged.ok()) return unchanged;
  }
  return Done{};
}

}  // namespace mayfly
