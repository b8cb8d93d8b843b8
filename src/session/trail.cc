#include "session/trail.h"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>

#include "device/device.h"
#include "session/node_map.h"
#include "session/session_file.h"
#include "session/storage_layout.h"
#include "session/storage_tree.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kSession = "session", kSegment = "segment", kLauncher = "launcher", kStorage = "storage";
constexpr std::string_view kSegmentName = "vader_segment.", kDaemonName = "pid.", kHostName = "ompi.";
constexpr ProtocolRange kAny{0, ~uint32_t{0}};

void Append(std::string* text, std::string_view kind, std::string_view path) {
  if (path.empty()) return;
  text->append(kind).append(1, ' ').append(path).append(1, '\0');
}

bool IsOurs(const std::string& path, mode_t type, uint32_t uid) {
  struct stat attributes;
  return lstat(path.c_str(), &attributes) == 0 && (attributes.st_mode & S_IFMT) == type && attributes.st_uid == uid;
}

bool IsSegment(const std::string& path, uint32_t uid) {
  return fs::path(path).filename().string().starts_with(kSegmentName) && IsOurs(path, S_IFREG, uid);
}

// The daemon that made the directory is dead. Its number is of our pid namespace, as the marks of the session are.
bool IsDeadLauncher(const std::string& path, uint32_t uid) {
  const fs::path directory(path);
  const std::string name = directory.filename().string();
  if (!name.starts_with(kDaemonName) || !directory.parent_path().filename().string().starts_with(kHostName)) {
    return false;
  }
  pid_t pid = 0;
  const char *begin = name.data() + kDaemonName.size(), *end = name.data() + name.size();
  const auto [at, error] = std::from_chars(begin, end, pid);
  if (error != std::errc() || at != end || pid <= 0) return false;
  return kill(pid, 0) != 0 && errno == ESRCH && IsOurs(path, S_IFDIR, uid);
}

// The host of a member, by number, where its own charter does not say it: by the node's map, else by another member's.
std::optional<std::string> HostOf(MemberId member, const TrailLook& look, const Charter* another) {
  const Outcome<NodeMap> map = NodeMap::Open(look.session_directory + "/map", look.uid);
  if (map.ok() && map->session() == look.uuid && map->layout().Has(member)) return map->layout().member(member).host;
  if (another != nullptr && member.value < another->members.size()) return another->members[member.value].host;
  return std::nullopt;
}

// The members' directories in it that servers of this node made.
void LookIntoStorage(const std::string& path, const TrailLook& look, TrailFound* found) {
  if (path.empty() || !fs::path(path).filename().string().ends_with(UuidText(look.uuid))) return;
  const bool on_device = SplitDevicePath(path).has_value();
  if (!on_device && !IsOurs(path, S_IFDIR, look.uid)) return;
  std::vector<std::string> here;
  std::vector<std::pair<MemberId, std::string>> damaged;
  std::optional<Charter> another;
  for (const std::string& member : StorageDirectoriesIn(path)) {
    Outcome<Charter> charter = ReadCharter(member, look.uid);
    if (charter.ok()) {
      if (charter->uuid != look.uuid) continue;
      if (charter->members[charter->self.value].host == look.host) here.push_back(member);
      another = std::move(*charter);
      continue;
    }
    const Code code = charter.failure().status.code();
    const auto number = MemberOfStorage(fs::path(member).filename().string());
    const bool lost = code == Code::kCorrupt || code == Code::kNoEntry || code == Code::kIo;
    if (lost && number && (on_device || IsOurs(member, S_IFDIR, look.uid))) damaged.emplace_back(*number, member);
  }
  for (auto& [number, member] : damaged) {
    const std::optional<std::string> host = HostOf(number, look, another ? &*another : nullptr);
    if (!host) found->unknown.push_back(std::move(member));
    if (host == look.host) here.push_back(std::move(member));
  }
  std::sort(here.begin(), here.end());
  std::sort(found->unknown.begin(), found->unknown.end());
  found->here.insert(found->here.end(), here.begin(), here.end());
}

}  // namespace

std::string EncodeTrail(const Trail& trail) {
  std::string text;
  Append(&text, kSession, trail.session_path);
  for (const std::string& segment : trail.segments) Append(&text, kSegment, segment);
  Append(&text, kLauncher, trail.launcher_directory);
  Append(&text, kStorage, trail.storage);
  return text;
}

std::optional<Trail> ParseTrail(std::string_view text) {
  Trail trail;
  while (!text.empty()) {
    const size_t end = text.find('\0'), blank = text.find(' ');
    if (end == std::string_view::npos || blank >= end) return std::nullopt;
    const std::string_view kind = text.substr(0, blank);
    const std::string path(text.substr(blank + 1, end - blank - 1));
    if (!path.starts_with('/')) return std::nullopt;
    if (kind == kSession) {
      trail.session_path = path;
    } else if (kind == kSegment) {
      trail.segments.push_back(path);
    } else if (kind == kLauncher) {
      trail.launcher_directory = path;
    } else if (kind == kStorage) {
      trail.storage = path;
    } else {
      return std::nullopt;
    }
    text.remove_prefix(end + 1);
  }
  return trail;
}

TrailFound LookAlong(const Trail& trail, const TrailLook& look) {
  TrailFound found;
  if (!trail.session_path.empty()) {
    const std::string map_path = trail.session_path + ".map";
    const Outcome<SessionFile> file = ReadSessionFile(trail.session_path, look.uid, kAny);
    const bool is_file = file.ok() && file->uuid == look.uuid;
    const bool here = !is_file || std::all_of(file->hosts.begin(), file->hosts.end(),
                                              [&](const std::string& other) { return other == look.host; });
    if (is_file) (here ? found.here : found.elsewhere).push_back(trail.session_path);
    const Outcome<NodeMap> map = NodeMap::Open(map_path, look.uid);
    if (map.ok() && map->session() == look.uuid) (here ? found.here : found.elsewhere).push_back(map_path);
    for (const std::string& written : {trail.session_path, map_path}) {
      for (std::string& left : TemporariesOf(written, UuidText(look.uuid))) {
        (here ? found.here : found.elsewhere).push_back(std::move(left));
      }
    }
  }
  for (const std::string& segment : trail.segments) {
    if (IsSegment(segment, look.uid)) found.here.push_back(segment);
  }
  if (IsDeadLauncher(trail.launcher_directory, look.uid)) found.here.push_back(trail.launcher_directory);
  LookIntoStorage(trail.storage, look, &found);
  return found;
}

std::vector<std::string> RemoveTrail(const Trail& trail, const TrailLook& look) {
  std::vector<std::string> kept;
  for (const std::string& path : LookAlong(trail, look).here) {
    std::error_code error;
    if (SplitDevicePath(path) && !fs::exists(path, error)) {
      if (!RemoveStorageTree(path).ok()) kept.push_back(path);
      continue;
    }
    fs::remove_all(path, error);  // does not follow symbolic links
    if (error) kept.push_back(path);
    // The directory of the launcher's daemons on this host, when this was the last of them.
    if (path == trail.launcher_directory) ::rmdir(fs::path(path).parent_path().c_str());
  }
  if (!trail.storage.empty()) ::rmdir(trail.storage.c_str());  // when it is empty
  return kept;
}

}  // namespace mayfly
