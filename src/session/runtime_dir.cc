#include "session/runtime_dir.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <tuple>

#include "session/private_file.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kWhat = "runtime directory";
constexpr std::string_view kJoining = ".joining.";
constexpr std::string_view kRemoving = ".removing.";
constexpr std::string_view kMarkPrefix = "rank-", kMarkSuffix = ".pid", kTrailSuffix = ".trail";
constexpr std::string_view kKeptName = "/kept";
constexpr uint64_t kMarkBytesMax = 1024, kTrailBytesMax = 64 * 1024;

template <class T>
std::optional<T> ParseNumber(std::string_view text) {
  T value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "rank-7.pid" is of rank 7.
std::optional<uint32_t> RankOf(std::string_view name, std::string_view suffix) {
  if (!name.starts_with(kMarkPrefix) || !name.ends_with(suffix)) return std::nullopt;
  name.remove_prefix(kMarkPrefix.size());
  if (name.size() <= suffix.size()) return std::nullopt;
  name.remove_suffix(suffix.size());
  return ParseNumber<uint32_t>(name);
}

std::string MarkPath(const std::string& directory, uint32_t rank) {
  return fmt::format("{}/{}{}{}", directory, kMarkPrefix, rank, kMarkSuffix);
}

std::string TrailPath(const std::string& directory, uint32_t rank) {
  return fmt::format("{}/{}{}{}", directory, kMarkPrefix, rank, kTrailSuffix);
}

std::string HostName() { return MarkOfThisProcess().host; }

// Names in a directory, sorted; none if it is gone.
std::vector<std::string> NamesIn(const std::string& directory) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

Outcome<Done> RemoveTree(const std::string& path) {
  std::error_code error;
  fs::remove_all(path, error);  // does not follow symbolic links
  if (error) return FailErrno(error.value(), "remove", "directory", path);
  return Done{};
}

Liveness Overall(const std::vector<RankProcess>& processes) {
  Liveness overall = Liveness::kDead;
  for (const RankProcess& p : processes) {
    if (p.liveness == Liveness::kAlive) return Liveness::kAlive;
    if (p.liveness == Liveness::kUnknown) overall = Liveness::kUnknown;
  }
  return overall;
}

// UUID.joining.PID.RANK: its maker has not yet left a mark inside if it is between two steps.
bool MakerRuns(std::string_view name) {
  name.remove_prefix(kUuidTextBytes + kJoining.size());
  const auto pid = ParseNumber<int32_t>(name.substr(0, name.find('.')));
  return pid && *pid > 0 && (kill(*pid, 0) == 0 || errno == EPERM);
}

}  // namespace

std::string RuntimeDir::PathFor(const std::string& runtime_variable, uint32_t uid) {
  return runtime_variable.empty() ? fmt::format("/dev/shm/mayfly-{}", uid) : runtime_variable;
}

Outcome<RuntimeDir> RuntimeDir::Open(const std::string& path, uint32_t uid) {
  struct stat attributes;
  if (lstat(path.c_str(), &attributes) != 0) return FailErrno(errno, "open", kWhat, path);
  // D1. In a sticky directory nobody else can put something in its place once it is ours.
  if (S_ISLNK(attributes.st_mode)) {
    return Fail(Code::kAccess, "{} {} is a symbolic link: set MAYFLY_RUNTIME_DIR to a directory of your own", kWhat,
                path);
  }
  if (!S_ISDIR(attributes.st_mode)) {
    return Fail(Code::kAccess, "{} {} is not a directory: set MAYFLY_RUNTIME_DIR to one of your own", kWhat, path);
  }
  if (attributes.st_uid != uid) {
    return Fail(Code::kAccess,
                "{} {} belongs to uid {}, not to uid {}: set MAYFLY_RUNTIME_DIR to a directory of your own", kWhat,
                path, attributes.st_uid, uid);
  }
  if ((attributes.st_mode & 077) != 0) {
    return Fail(Code::kAccess, "{} {} is open to other users (mode {:04o}): run chmod 700 {}", kWhat, path,
                attributes.st_mode & 07777, path);
  }
  return RuntimeDir(path, uid);
}

Outcome<RuntimeDir> RuntimeDir::Create(const std::string& path, uint32_t uid) {
  if (mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    Failure failure = FailErrno(errno, "create", kWhat, path);
    failure.sentence += "; set MAYFLY_RUNTIME_DIR to a node-local directory that you may write";
    return failure;
  }
  return Open(path, uid);
}

Outcome<Done> RuntimeDir::MarkRank(const std::string& directory, uint32_t rank) const {
  return WritePrivateFile({MarkPath(directory, rank), "process mark", uid_}, AsBytes(EncodeMark(MarkOfThisProcess())));
}

Outcome<Done> RuntimeDir::Join(const Uuid& uuid, uint32_t rank) const {
  const std::string directory = SessionPath(uuid);
  const std::string born = fmt::format("{}{}{}.{}", directory, kJoining, getpid(), rank);
  // Each round either joins the directory that is there or moves a finished one into place (D2). It fails only if
  // another rank did the opposite at that moment, which cannot go on for long.
  constexpr int kRounds = 16;
  // D4: of two that look at the same mark one is first.
  const FileDescriptor lock(open(path_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (lock.valid()) (void)flock(lock.get(), LOCK_EX);
  for (const RankProcess& other : ProcessesIn(directory)) {
    if (other.rank != rank || other.liveness != Liveness::kAlive || other.pid == static_cast<uint32_t>(getpid())) {
      continue;
    }
    return Fail(Code::kBusy,
                "server {} of the session runs already (process {}): another start is under way or has been done; wait "
                "for that one",
                rank, other.pid);
  }
  for (int round = 0; round < kRounds; ++round) {
    Outcome<Done> joined = MarkRank(directory, rank);
    if (joined.ok() || joined.failure().status.code() != Code::kNoEntry) return joined;
    if (mkdir(born.c_str(), 0700) != 0 && errno != EEXIST) return FailErrno(errno, "create", "directory", born);
    Outcome<Done> marked = MarkRank(born, rank);
    if (marked.ok() && rename(born.c_str(), directory.c_str()) == 0) return Done{};
    const int error = errno;
    Outcome<Done> removed = RemoveTree(born);
    if (!removed.ok()) return removed;
    if (!marked.ok()) return marked;
    if (error != EEXIST && error != ENOTEMPTY) return FailErrno(error, "create", "directory", directory);
  }
  return Fail(Code::kBusy, "cannot join {}: other processes make and remove it all the time; stop them first",
              directory);
}

Outcome<Done> RuntimeDir::Note(const Uuid& uuid, uint32_t rank, const Trail& trail) const {
  const std::string text = EncodeTrail(trail);
  // The session goes on, but what a launcher and a library made for the process before is of no use to it.
  const std::string path = TrailPath(SessionPath(uuid), rank);
  const Outcome<std::string> old_text = ReadPrivateFile({path, "process trail", uid_}, kTrailBytesMax);
  if (auto old = old_text.ok() ? ParseTrail(*old_text) : std::nullopt; old) {
    std::erase_if(old->segments, [&](const std::string& segment) {
      return std::find(trail.segments.begin(), trail.segments.end(), segment) != trail.segments.end();
    });
    (void)RemoveTrail({"", old->segments, old->launcher_directory, ""}, {uuid, uid_, HostName(), SessionPath(uuid)});
  }
  return WritePrivateFile({path, "process trail", uid_}, AsBytes(text));
}

Outcome<Done> RuntimeDir::Withdraw(const Uuid& uuid, uint32_t rank) const {
  const std::string mark = MarkPath(SessionPath(uuid), rank);
  if (unlink(mark.c_str()) != 0 && errno != ENOENT) return FailErrno(errno, "remove", "process mark", mark);
  return Done{};
}

Outcome<Done> RuntimeDir::MarkKept(const Uuid& uuid, bool kept) const {
  const std::string path = SessionPath(uuid) + std::string(kKeptName);
  if (!kept) {
    if (unlink(path.c_str()) != 0 && errno != ENOENT) return FailErrno(errno, "remove", "mark", path);
    return Done{};
  }
  const FileDescriptor file(open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file.valid()) return FailErrno(errno, "create", "mark", path);
  return Done{};
}

Outcome<Done> RuntimeDir::Leave(const Uuid& uuid, uint32_t rank) const {
  const std::string directory = SessionPath(uuid);
  // Before the mark: another rank that leaves may else take a trail without one for a dead rank's.
  const std::string trail = TrailPath(directory, rank);
  if (unlink(trail.c_str()) != 0 && errno != ENOENT) return FailErrno(errno, "remove", "process trail", trail);
  Outcome<Done> withdrawn = Withdraw(uuid, rank);
  if (!withdrawn.ok()) return withdrawn;
  // A dead rank's mark does not keep the directory; one that cannot be judged does (D3).
  if (Overall(ProcessesIn(directory)) != Liveness::kDead) return Done{};
  Outcome<bool> removed = RemoveLeftover({directory, uuid, {}, false});
  if (!removed.ok()) return removed.failure();
  return Done{};
}

std::vector<RankProcess> RuntimeDir::ProcessesIn(const std::string& directory) const {
  std::vector<RankProcess> processes;
  for (const std::string& name : NamesIn(directory)) {
    const auto rank = RankOf(name, kMarkSuffix);
    if (!rank) continue;
    Outcome<std::string> text =
        ReadPrivateFile({std::string(directory).append("/").append(name), "process mark", uid_}, kMarkBytesMax);
    if (!text.ok() && text.failure().status.code() == Code::kNoEntry) continue;  // it left between the two looks
    const auto mark = text.ok() ? ParseMark(*text) : std::nullopt;
    processes.push_back({*rank, mark ? mark->pid : 0, mark ? LivenessOf(*mark) : Liveness::kUnknown});
  }
  std::sort(processes.begin(), processes.end(),
            [](const RankProcess& a, const RankProcess& b) { return a.rank < b.rank; });
  return processes;
}

std::vector<Trail> RuntimeDir::TrailsIn(const std::string& directory) const {
  std::vector<Trail> trails;
  for (const std::string& name : NamesIn(directory)) {
    if (!RankOf(name, kTrailSuffix)) continue;
    Outcome<std::string> text =
        ReadPrivateFile({std::string(directory).append("/").append(name), "process trail", uid_}, kTrailBytesMax);
    const auto trail = text.ok() ? ParseTrail(*text) : std::nullopt;
    if (trail) trails.push_back(*trail);
  }
  return trails;
}

std::optional<LocalSession> RuntimeDir::Find(const Uuid& uuid, ProtocolRange protocol) const {
  LocalSession session;
  session.uuid = uuid;
  session.path = SessionPath(uuid);
  struct stat attributes;
  if (lstat(session.path.c_str(), &attributes) != 0 || !S_ISDIR(attributes.st_mode)) return std::nullopt;
  session.processes = ProcessesIn(session.path);
  session.liveness = Overall(session.processes);
  const std::string path = SessionFilePath(uuid);
  Outcome<SessionFile> file = ReadSessionFile(path, uid_, protocol);
  if (!file.ok()) {
    session.problem = file.failure();
  } else if (file->uuid != uuid) {
    session.problem = Fail(Code::kCorrupt, "session file {} is of another session ({}): run mayfly clean", path,
                           UuidText(file->uuid));
  } else {
    session.file = std::move(*file);
  }
  return session;
}

Outcome<std::vector<LocalSession>> RuntimeDir::Sessions(ProtocolRange protocol) const {
  Outcome<RuntimeDir> checked = Open(path_, uid_);
  if (!checked.ok()) return checked.failure();
  std::vector<LocalSession> sessions;
  for (const std::string& name : NamesIn(path_)) {
    const auto uuid = ParseUuid(name);
    if (!uuid) continue;
    auto session = Find(*uuid, protocol);
    if (session) sessions.push_back(std::move(*session));
  }
  auto age = [](const LocalSession& s) { return std::tuple(s.file ? s.file->created_ns : ~uint64_t{0}, s.uuid); };
  std::sort(sessions.begin(), sessions.end(),
            [&](const LocalSession& a, const LocalSession& b) { return age(a) < age(b); });
  return sessions;
}

Outcome<std::vector<Leftover>> RuntimeDir::Leftovers() const {
  Outcome<RuntimeDir> checked = Open(path_, uid_);
  if (!checked.ok()) return checked.failure();
  std::vector<Leftover> leftovers;
  for (const std::string& name : NamesIn(path_)) {
    const auto uuid = ParseUuid(std::string_view(name).substr(0, kUuidTextBytes));
    if (!uuid) continue;  // not ours: nothing else is ever made here
    const std::string_view rest = std::string_view(name).substr(kUuidTextBytes);
    const std::string path = path_ + "/" + name;
    const bool dead = Overall(ProcessesIn(path)) == Liveness::kDead;  // D3
    if (dead && (rest.empty() || rest.starts_with(kRemoving) || (rest.starts_with(kJoining) && !MakerRuns(name)))) {
      Leftover leftover{path, *uuid, {}, access((path + std::string(kKeptName)).c_str(), F_OK) == 0};
      const auto add = [](const std::vector<std::string>& more, std::vector<std::string>* all) {
        for (const std::string& one : more) {
          if (std::find(all->begin(), all->end(), one) == all->end()) all->push_back(one);
        }
      };
      for (const Trail& trail : TrailsIn(path)) {
        const TrailFound found = LookAlong(trail, {*uuid, uid_, HostName(), path});
        add(found.here, &leftover.outside.here);
        add(found.elsewhere, &leftover.outside.elsewhere);
        add(found.unknown, &leftover.outside.unknown);
      }
      leftovers.push_back(std::move(leftover));
    }
  }
  return leftovers;
}

Outcome<bool> RuntimeDir::RemoveLeftover(const Leftover& leftover) const {
  // Moved aside first: a server that joins from now on makes a new directory. One that joined just before has its mark
  // inside, which the second look finds.
  const bool is_aside = leftover.path.starts_with(SessionPath(leftover.uuid) + std::string(kRemoving));
  const std::string aside =
      is_aside ? leftover.path : fmt::format("{}{}{}", SessionPath(leftover.uuid), kRemoving, getpid());
  if (!is_aside && rename(leftover.path.c_str(), aside.c_str()) != 0) {
    if (errno == ENOENT) return true;
    return FailErrno(errno, "remove", "directory", leftover.path);
  }
  if (Overall(ProcessesIn(aside)) != Liveness::kDead) {
    if (rename(aside.c_str(), leftover.path.c_str()) != 0) return FailErrno(errno, "put back", "directory", aside);
    return false;
  }
  std::vector<std::string> kept;
  for (const Trail& trail : TrailsIn(aside)) {
    for (std::string& path : RemoveTrail(trail, {leftover.uuid, uid_, HostName(), aside}))
      kept.push_back(std::move(path));
  }
  Outcome<Done> removed = RemoveTree(aside);
  if (!removed.ok()) return removed.failure();
  if (!kept.empty()) {
    return Fail(Code::kAccess, "cannot remove {}, which a dead session left: remove it by hand", kept.front());
  }
  return true;
}

Outcome<Done> RuntimeDir::Remove(const Uuid& uuid) const { return RemoveTree(SessionPath(uuid)); }

}  // namespace mayfly
