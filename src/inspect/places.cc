#include "inspect/places.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <tuple>

#include "journal/recover.h"
#include "session/private_file.h"
#include "session/runtime_dir.h"
#include "session/storage_tree.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> DirectoriesIn(const fs::path& directory) {
  const std::vector<std::string> found = StorageDirectoriesIn(directory.string());
  return {found.begin(), found.end()};
}

std::string NameOfPath(const fs::path& path) { return path.filename().string(); }

bool Exists(const fs::path& path) { return StorageExists(path.string()); }

bool IsMember(const fs::path& directory) {
  if (Exists(directory / Charter::kFileName)) return true;
  const std::vector<fs::path> inside = DirectoriesIn(directory);
  return std::any_of(inside.begin(), inside.end(),
                     [](const fs::path& path) { return ShardOfStorage(NameOfPath(path)).has_value(); });
}

bool IsShard(const fs::path& directory) {
  return ShardOfStorage(NameOfPath(directory)) && Exists(directory / kJournalFileName);
}

// The shards that are there, and those that the charter knows of.
std::vector<ShardPlace> ShardsOf(const fs::path& directory, const Charter* charter) {
  std::vector<ShardPlace> shards;
  for (const fs::path& path : DirectoriesIn(directory)) {
    if (const auto shard = ShardOfStorage(NameOfPath(path))) shards.push_back({*shard, path.string(), true});
  }
  if (charter != nullptr) {
    const auto layout = Layout::Build(charter->members);
    MAYFLY_CHECK(layout.ok());  // C1 of session/charter.h
    for (uint32_t i = 0; i < layout->member(charter->self).shards; ++i) {
      const ShardId shard = layout->ShardOf(charter->self, i);
      const auto same = [shard](const ShardPlace& one) { return one.shard == shard; };
      if (std::any_of(shards.begin(), shards.end(), same)) continue;
      shards.push_back({shard, (directory / fmt::format("shard-{}", shard.value)).string(), false});
    }
  }
  std::sort(shards.begin(), shards.end(), [](const ShardPlace& a, const ShardPlace& b) { return a.shard < b.shard; });
  return shards;
}

// Whose journals lie there, of a directory that does not say it.
std::optional<Uuid> SessionOfJournals(const std::vector<ShardPlace>& shards) {
  for (const ShardPlace& shard : shards) {
    std::ifstream file(fs::path(shard.directory) / kJournalFileName, std::ios::binary);
    for (uint32_t i = 0; i < kSuperblocks; ++i) {
      std::array<uint8_t, kJournalBlockBytes> block;
      if (!file.read(reinterpret_cast<char*>(block.data()), block.size())) break;
      Superblock superblock;
      if (DecodeSuperblock(block, {}, &superblock) == SuperblockState::kOtherSession) return superblock.uuid;
    }
  }
  return std::nullopt;
}

MemberPlace MemberAt(const fs::path& directory, const PlacesOptions& options) {
  MemberPlace place;
  place.directory = directory.string();
  place.base = directory.parent_path().string();
  place.member = MemberOfStorage(NameOfPath(directory)).value_or(MemberId(0));
  place.uuid = SessionOfStorage(NameOfPath(place.base));
  place.in_memory = ParseUuid(NameOfPath(place.base)).has_value();
  Outcome<Charter> charter = ReadCharter(place.directory, options.uid);
  if (charter.ok()) {
    place.uuid = charter->uuid;
    place.member = charter->self;
    place.host = charter->members[charter->self.value].host;
    place.charter = std::move(*charter);
  } else {
    place.charter_problem = charter.failure().sentence;  // P1
    const Code code = charter.failure().status.code();
    place.charter_lost = code == Code::kCorrupt || code == Code::kNoEntry || code == Code::kIo;
  }
  place.here = place.host.empty() || place.host == options.host;
  place.shards = ShardsOf(directory, place.charter ? &*place.charter : nullptr);
  if (!place.uuid) place.uuid = SessionOfJournals(place.shards);
  if (place.in_memory) {
    place.session_directory = place.base;
  } else if (place.uuid) {
    place.session_directory = options.runtime_path + "/" + UuidText(*place.uuid);
  }
  return place;
}

}  // namespace

Outcome<std::vector<MemberPlace>> FindPlaces(const std::string& directory, const PlacesOptions& options) {
  std::error_code error;
  fs::path path = fs::absolute(directory, error).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();  // "dir/"
  const bool is_directory = IsStorageDirectory(path.string());
  if (!is_directory) (void)fs::status(path, error);
  if (error && error != std::errc::no_such_file_or_directory && error != std::errc::not_a_directory) {
    return FailErrno(error.value(), "look at", "directory", directory);
  }
  if (!is_directory) {
    return Fail(Code::kNoEntry, "{} is no directory: give the one of mayflyd's --dir, or one below it", directory);
  }
  std::vector<MemberPlace> found;
  if (IsShard(path)) {
    MemberPlace place = MemberAt(path.parent_path(), options);
    std::erase_if(place.shards, [&](const ShardPlace& one) { return one.directory != path; });
    place.part = true;
    found.push_back(std::move(place));
    return found;
  }
  if (IsMember(path)) {
    found.push_back(MemberAt(path, options));
    return found;
  }
  const auto add_session = [&](const fs::path& base) {
    for (const fs::path& one : DirectoriesIn(base)) {
      if (MemberOfStorage(NameOfPath(one)) && IsMember(one)) found.push_back(MemberAt(one, options));
    }
  };
  add_session(path);
  for (const fs::path& base : DirectoriesIn(path)) {
    if (SessionOfStorage(NameOfPath(base))) add_session(base);
  }
  if (found.empty()) {
    return Fail(Code::kNoEntry,
                "{} holds no journals: give the directory of mayflyd's --dir, or without one the session's in {}",
                directory, options.runtime_path);
  }
  std::sort(found.begin(), found.end(), [](const MemberPlace& a, const MemberPlace& b) {
    return std::tie(a.uuid, a.base, a.member) < std::tie(b.uuid, b.base, b.member);
  });
  return found;
}

Outcome<Done> CheckDead(const MemberPlace& member, const PlacesOptions& options) {
  constexpr ProtocolRange kAnyProtocol{0, ~uint32_t{0}};
  if (!member.uuid || member.session_directory.empty()) return Done{};
  const std::string runtime_path = fs::path(member.session_directory).parent_path().string();
  const Outcome<RuntimeDir> runtime = RuntimeDir::Open(runtime_path, options.uid);
  if (!runtime.ok() && runtime.failure().status.code() == Code::kNoEntry) return Done{};
  if (!runtime.ok()) return Fail(Code::kBusy, "{}", runtime.failure().sentence);
  const auto session = runtime->Find(*member.uuid, kAnyProtocol);
  if (!session || session->liveness == Liveness::kDead) return Done{};
  for (const RankProcess& process : session->processes) {
    if (process.liveness != Liveness::kAlive) continue;
    return Fail(Code::kBusy, "session {}: its server {} lives (process {}); end the session with `mayfly stop`",
                UuidText(*member.uuid), process.rank, process.pid);
  }
  return Fail(
      Code::kBusy,
      "session {}: whether its servers live cannot be told from here (they ran in another container); look from "
      "there",
      UuidText(*member.uuid));
}

std::string NameOf(const MemberPlace& member, ShardId shard) {
  return member.host.empty() ? fmt::format("shard {} of member {}", shard.value, member.member.value)
                             : fmt::format("shard {} of member {} ({})", shard.value, member.member.value, member.host);
}

}  // namespace mayfly
