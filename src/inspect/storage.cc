#include "inspect/storage.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "inspect/guess.h"
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

// Of one session, one with a charter that says how it was made. Null if all are lost, and that may be.
Outcome<const MemberPlace*> WithCharter(const std::vector<MemberPlace>& members, bool may_guess) {
  const MemberPlace* with = nullptr;
  const MemberPlace* unreadable = nullptr;
  for (const MemberPlace& member : members) {
    if (member.uuid && members.front().uuid && *member.uuid != *members.front().uuid) {
      return Fail(
          Code::kInvalid,
          "{} and {} are of two sessions: give directories of one, such as {}; with mayflyd's --dir each session "
          "has a directory of its own in it",
          members.front().directory, member.directory, member.base);
    }
    if (member.charter && with == nullptr) with = &member;
    if (!member.charter && !member.charter_lost) unreadable = &member;
  }
  if (with != nullptr) return with;
  if (may_guess && unreadable == nullptr) return with;
  return Fail(Code::kCorrupt,
              "how the session was made is not known: {}; give the directory of another member as well{}",
              (unreadable != nullptr ? *unreadable : members.front()).charter_problem,
              may_guess ? "" : ", or save what is there with `mayfly salvage`");
}

std::string NameOf(const Member& member) { return fmt::format("member {} ({})", member.id.value, member.host); }

class Opener {
 public:
  Opener(const StorageOptions& options, Storage* storage) : options_(options), storage_(*storage) {}

  Outcome<Done> Open(const MemberPlace& member, const ShardPlace& place);

 private:
  void Problem(std::string sentence) { storage_.problems.push_back(std::move(sentence)); }
  void Judge(const JournalLook& look, StoredShard* shard);
  void OpenBytes(const JournalLook& look, StoredShard* shard);

  const StorageOptions& options_;
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
  auto door = ShardDoor::Open(member, place, options_.user);
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
  if (options_.keep_fields) shard->tables->KeepAccepted(&shard->fields);
  const JournalLook look =
      shard->door->Run(LookAtJournal(&shard->door->executor(), shard->door->from(), shard->tables.get()));
  if (!look.read || look.verdict() == Verdict::kUnreadable) {
    Problem(fmt::format("{}: {}", name, Explain(look)));
    return Done{};
  }
  shard->superblock = look.recovered.superblock;
  shard->tail = look.tail;
  Judge(look, shard.get());
  OpenBytes(look, shard.get());
  slot = std::move(shard);
  return Done{};
}

void Opener::Judge(const JournalLook& look, StoredShard* shard) {
  const std::string name = mayfly::NameOf(shard->member, shard->place.shard);
  const bool keeps_data = storage_.durability == "node";
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
      Problem(sentence + fmt::format(": what it held is not there, and {} that may have been acknowledged{}",
                                     storage_.durability.empty() ? "unless the session was at --durability node"
                                                                 : "at --durability " + storage_.durability,
                                     elsewhere ? "; salvage there" : ""));
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
  from.uuid = storage_.session;
  from.shard = shard->place.shard;
  from.places_hold = look.tail == TailMemory::kRead;
  shard->bytes = std::make_unique<PieceReader>(std::move(from));
  const ChunkFileState state = shard->door->Run(shard->bytes->Open());
  if (state == ChunkFileState::kGood || (state == ChunkFileState::kMissing && storage_.durability != "node")) {
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

Outcome<Done> AsChartered(const MemberPlace& with, Storage* storage) {
  const Charter& charter = *with.charter;
  storage->session = charter.uuid;
  storage->durability = charter.durability;
  Result<Layout> layout = Layout::Build(charter.members);
  MAYFLY_CHECK(layout.ok());  // C1 of session/charter.h
  Result<Placement> placement = Placement::Build(*layout, charter.ring);
  if (!placement.ok()) return Fail(Code::kCorrupt, "{}: its charter makes no ring", with.directory);
  storage->layout = std::move(*layout);
  storage->placement = std::move(*placement);
  storage->root = storage->placement->RootInode();
  return Done{};
}

Outcome<Done> OpenAll(const std::vector<MemberPlace>& members, const StorageOptions& options, Storage* storage) {
  storage->shards.resize(storage->layout.shard_count());
  Opener opener(options, storage);
  for (const MemberPlace& member : members) {
    if (!member.charter) storage->notes.push_back(member.charter_problem);
    for (const ShardPlace& shard : member.shards) {
      if (const Outcome<Done> opened = opener.Open(member, shard); !opened.ok()) return opened.failure();
    }
  }
  return Done{};
}

// The tables first: they say what else the session had.
Outcome<Done> OpenGuessing(std::vector<MemberPlace>* members, const StorageOptions& options, Storage* storage) {
  if (!members->front().uuid) {
    return Fail(Code::kCorrupt, "{}: neither a charter nor a journal in it says which session it is of; give another",
                members->front().directory);
  }
  storage->session = *members->front().uuid;
  const std::optional<NodeMap> map = MapOf(members->front(), options.user.uid);
  Outcome<Layout> layout = GuessLayout(members, 0);
  if (!layout.ok()) return layout.failure();
  storage->layout = map ? map->layout() : std::move(*layout);
  for (MemberPlace& member : *members) {
    if (!map || !map->layout().Has(member.shards.front().shard)) continue;
    member.member = map->layout().MemberOf(member.shards.front().shard);
    member.host = map->layout().member(member.member).host;
  }
  if (const Outcome<Done> opened = OpenAll(*members, options, storage); !opened.ok()) return opened.failure();
  if (map) {
    storage->placement = map->placement();
    storage->root = storage->placement->RootInode();
    storage->notes.push_back(
        fmt::format("no charter can be read: which members and shards there were, and what belongs where, is taken "
                    "from {}/map",
                    members->front().session_directory));
    return Done{};
  }
  uint32_t shards = 0;
  for (const auto& shard : storage->shards) {
    if (shard != nullptr) shards = std::max(shards, ShardsSpokenOf(shard->tables.get()));
  }
  layout = GuessLayout(members, shards);
  if (!layout.ok()) return layout.failure();
  storage->layout = std::move(*layout);
  storage->shards.resize(storage->layout.shard_count());
  storage->notes.push_back(fmt::format(
      "no charter can be read; guessed: the session had {} shards of {} members, as neither the directories "
      "nor the journals speak of more",
      storage->layout.shard_count(), storage->layout.member_count()));
  uint64_t agreed = 0;
  storage->placement = GuessPlacement(storage->layout, storage->settle_shards(), &agreed);
  if (storage->placement) {
    storage->notes.push_back(
        fmt::format("guessed: all members had the same weight; {} names and chunks lie where that puts them", agreed));
  } else {
    storage->notes.push_back(
        "what belonged where is not known: of a file with a part on a missing member all that is not found counts as "
        "missing, holes too");
  }
  const std::optional<InodeId> root = FindRoot(storage->settle_shards());
  if (root) {
    storage->root = *root;
  } else {
    storage->root = InodeId::Make(ShardId(0), Placement::kRootInodeSequence);
    storage->notes.push_back("nothing that is there speaks of the root: all is without a way from it, in lost+found");
  }
  return Done{};
}

}  // namespace

std::vector<SettleShard> Storage::settle_shards() const {
  std::vector<SettleShard> all;
  for (const auto& shard : shards) {
    all.push_back(shard != nullptr ? SettleShard{shard->tables.get(), shard->whole} : SettleShard());
  }
  return all;
}

Outcome<Storage> OpenStorage(const std::vector<std::string>& directories, const StorageOptions& options) {
  Outcome<std::vector<MemberPlace>> found = FindAll(directories, options.user);
  if (!found.ok()) return found.failure();
  const Outcome<const MemberPlace*> with = WithCharter(*found, options.may_guess);
  if (!with.ok()) return with.failure();
  for (const MemberPlace& member : *found) {
    if (const Outcome<Done> dead = CheckDead(member, options.user); !dead.ok()) return dead.failure();  // G1
  }
  Storage storage{{}, {}, *Layout::Build({{MemberId(0), "", 1, 1}}), {}, {}, {}, {}, {}, {}, {}};
  Outcome<Done> opened = Done{};
  if (*with != nullptr) {
    opened = AsChartered(**with, &storage);
    if (opened.ok()) opened = OpenAll(*found, options, &storage);
  } else {
    opened = OpenGuessing(&*found, options, &storage);
  }
  if (!opened.ok()) return opened.failure();
  NoteMissing(*found, &storage);
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
