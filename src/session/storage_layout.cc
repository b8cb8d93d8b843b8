#include "session/storage_layout.h"

#include <algorithm>
#include <charconv>

#include "session/storage_tree.h"

namespace mayfly {
namespace {

constexpr std::string_view kSessionPrefix = "mayfly-", kMemberPrefix = "member-", kShardPrefix = "shard-";

std::string_view NameOf(const std::string& path) { return std::string_view(path).substr(path.rfind('/') + 1); }

// The number behind the prefix, written as we write numbers.
template <class T>
std::optional<T> NumberBehind(std::string_view prefix, std::string_view name, uint64_t max) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), value);
  if (error != std::errc() || end != name.data() + name.size() || value > max) return std::nullopt;
  if (name.size() > 1 && name.front() == '0') return std::nullopt;
  return T(static_cast<decltype(T::value)>(value));
}

}  // namespace

std::string StorageBase(const std::string& directory, const std::string& session_directory, const Uuid& uuid) {
  return directory.empty() ? session_directory : fmt::format("{}/{}{}", directory, kSessionPrefix, UuidText(uuid));
}

std::string MemberStorage(const std::string& base, MemberId member) {
  return fmt::format("{}/{}{}", base, kMemberPrefix, member.value);
}

std::string ShardStorage(const std::string& base, MemberId member, ShardId shard) {
  return fmt::format("{}/{}{}", MemberStorage(base, member), kShardPrefix, shard.value);
}

std::optional<Uuid> SessionOfStorage(std::string_view name) {
  if (name.starts_with(kSessionPrefix)) name.remove_prefix(kSessionPrefix.size());
  return ParseUuid(name);
}

std::optional<MemberId> MemberOfStorage(std::string_view name) {
  return NumberBehind<MemberId>(kMemberPrefix, name, Layout::kMembersMax);
}

std::optional<ShardId> ShardOfStorage(std::string_view name) {
  return NumberBehind<ShardId>(kShardPrefix, name, Layout::kShardsMax);
}

std::string ArenaPrefix(ShardId shard) { return fmt::format("arena-{}", shard.value); }

std::string KeptPrefix(ShardId shard) { return fmt::format("kept-{}", shard.value); }

Outcome<std::vector<Charter>> FindMembers(const std::string& base, const Uuid& uuid, const std::string& host,
                                          uint32_t uid, std::vector<std::string>* damaged) {
  std::vector<Charter> found;
  for (const std::string& path : StorageDirectoriesIn(base)) {
    if (!NameOf(path).starts_with(kMemberPrefix)) continue;
    Outcome<Charter> charter = ReadCharter(path, uid);
    if (!charter.ok()) {
      if (charter.failure().status.code() == Code::kNoEntry) continue;  // its start did not get far
      if (damaged != nullptr) {
        damaged->push_back(charter.failure().sentence);
        continue;
      }
      return charter.failure();
    }
    if (charter->uuid != uuid) {
      return Fail(Code::kInvalid, "{} holds a member of another session ({}): give the --dir of session {}", path,
                  UuidText(charter->uuid), UuidText(uuid));
    }
    // A directory that several nodes see holds the members of all of them.
    if (charter->members[charter->self.value].host == host) found.push_back(std::move(*charter));
  }
  std::sort(found.begin(), found.end(), [](const Charter& a, const Charter& b) { return a.self < b.self; });
  return found;
}

std::vector<Uuid> FindSessions(const std::string& directory) {
  std::vector<Uuid> found;
  for (const std::string& path : StorageDirectoriesIn(directory)) {
    const std::string_view name = NameOf(path);
    if (!name.starts_with(kSessionPrefix)) continue;
    if (const auto uuid = ParseUuid(name.substr(kSessionPrefix.size()))) found.push_back(*uuid);
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace mayfly
