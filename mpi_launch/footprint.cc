#include "footprint.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>

#include "base/log.h"
#include "session/private_file.h"
#include "storage.h"
#include "wire/header.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

std::string Text(int error) { return std::generic_category().message(error); }

}  // namespace

// T1
template <class Fn>
Outcome<Done> Footprint::Unless(Fn make) {
  std::lock_guard lock(mutex_);
  if (removed_) return Fail(Code::kInterrupted, "ended while starting; start it again");
  return make();
}

Outcome<Done> Footprint::Join(const std::string& runtime_path, const Uuid& uuid, uint32_t rank, const Trail& trail) {
  return Unless([&]() -> Outcome<Done> {
    uid_ = geteuid();
    uuid_ = uuid;
    rank_ = rank;
    default_runtime_ = runtime_path == RuntimeDir::PathFor("", uid_);
    // A session that ends removes the empty runtime directory: then it is made again.
    for (int round = 0;; ++round) {
      Outcome<RuntimeDir> runtime = RuntimeDir::Create(runtime_path, uid_);
      if (!runtime.ok()) return runtime.failure();
      Outcome<Done> joined = runtime->Join(uuid, rank);
      if (!joined.ok() && (joined.failure().status.code() != Code::kNoEntry || round == 10)) {
        Failure failure = joined.failure();
        if (failure.status.code() == Code::kNoSpace) {
          failure.sentence += "; remove files there (`mayfly clean` removes what dead sessions left)";
        }
        return failure;
      }
      if (!joined.ok()) continue;
      runtime_ = *runtime;
      directory_ = runtime->SessionPath(uuid);
      return runtime->Note(uuid, rank, trail);
    }
  });
}

std::string Footprint::directory() const { return directory_; }

void Footprint::AddShard(ShardId shard) {
  std::lock_guard lock(mutex_);
  shards_.push_back(shard);
}

Outcome<Done> Footprint::WriteNodeMap(const NodeMapSource& source) {
  return Unless([&] { return mayfly::WriteNodeMap(runtime_->MapPath(uuid_), uid_, source); });
}

Outcome<Done> Footprint::WriteNodeFile(const SessionFile& file) {
  return Unless([&] { return WriteSessionFile(runtime_->SessionFilePath(uuid_), file); });
}

Outcome<Done> Footprint::WriteShared(const std::string& path, const SessionFile& file, const NodeMapSource* map) {
  return Unless([&]() -> Outcome<Done> {
    shared_ = path;
    protocol_ = file.protocol;
    if (map != nullptr) {
      Outcome<Done> written = mayfly::WriteNodeMap(path + ".map", uid_, *map);
      if (!written.ok()) return written;
    }
    return WriteSessionFile(path, file);
  });
}

void Footprint::CareForShared(const std::string& path, uint32_t protocol) {
  std::lock_guard lock(mutex_);
  shared_ = path;
  protocol_ = protocol;
}

Outcome<Done> Footprint::MakeDirectory(const std::string& directory) {
  return Unless([&]() -> Outcome<Done> {
    std::vector<fs::path> missing;
    std::error_code error;
    for (fs::path at = directory; !at.empty() && !fs::exists(at, error); at = at.parent_path()) {
      if (at.has_filename()) missing.push_back(at);
      if (at == at.root_path()) break;
    }
    for (auto at = missing.rbegin(); at != missing.rend(); ++at) {
      if (mkdir(at->c_str(), 0755) == 0) {
        made_.push_back(*at);
      } else if (errno != EEXIST) {
        return Fail(CodeOfErrno(errno), "cannot create {} for --flush-to: {}; give a directory that you may write",
                    at->string(), Text(errno));
      }
    }
    return CheckWritable(directory, "--flush-to", "create it, or give another one");
  });
}

void Footprint::Keep() {
  std::lock_guard lock(mutex_);
  made_.clear();
}

void Footprint::CareForStorage(const std::string& base, MemberId member) {
  std::lock_guard lock(mutex_);
  storage_ = base;
  member_ = member;
}

void Footprint::KeepStorage(bool keep) {
  std::lock_guard lock(mutex_);
  keep_storage_ = keep;
  if (!keep && runtime_) (void)runtime_->MarkKept(uuid_, false);
}

void Footprint::KeepSession() {
  std::lock_guard lock(mutex_);
  keep_storage_ = keep_session_ = true;
}

void Footprint::Withhold() {
  std::lock_guard lock(mutex_);
  withheld_ = true;
}

void Footprint::RemoveEarly() {
  {
    std::unique_lock lock(mutex_, std::chrono::seconds(2));
    if (!lock.owns_lock() || withheld_) return;
  }
  Remove();
}

void Footprint::Remove() {
  std::unique_lock lock(mutex_, std::chrono::seconds(2));
  if (!lock.owns_lock() || std::exchange(removed_, true)) return;
  if (keep_storage_) {
    if (runtime_ && keep_session_) {
      const Outcome<Done> marked = runtime_->MarkKept(uuid_, true);
      if (!marked.ok())
        MAYFLY_WARN("{}; the next session that starts here will clean this one up", marked.failure().sentence);
    }
    if (runtime_) (void)runtime_->Withdraw(uuid_, rank_);
    return;
  }
  if (!storage_.empty()) RemoveStorage(storage_, member_);
  if (!shared_.empty()) {
    // T2: another server may have taken the names meanwhile.
    const Outcome<SessionFile> file = ReadSessionFile(shared_, uid_, {protocol_, protocol_});
    if (file.ok() && file->uuid == uuid_) unlink(shared_.c_str());
    const Outcome<NodeMap> map = NodeMap::Open(shared_ + ".map", uid_);
    if (map.ok() && map->session() == uuid_) unlink((shared_ + ".map").c_str());
    for (const std::string& written : {shared_, shared_ + ".map"}) {
      for (const std::string& left : TemporariesOf(written, UuidText(uuid_))) unlink(left.c_str());
    }
  }
  if (runtime_) {
    for (ShardId shard : shards_) {
      const std::string prefix = ArenaPrefix(shard) + ".", kept = KeptPrefix(shard) + ".";
      std::error_code error;
      for (fs::directory_iterator it(directory_, error), end; !error && it != end; it.increment(error)) {
        const std::string name = it->path().filename().string();
        if (name.starts_with(prefix) || name.starts_with(kept)) unlink(it->path().c_str());
      }
    }
    (void)runtime_->Leave(uuid_, rank_);
    if (default_runtime_) rmdir(runtime_->path().c_str());  // if it is empty
  }
  for (auto at = made_.rbegin(); at != made_.rend(); ++at) rmdir(at->c_str());
}

Outcome<Done> CheckWritable(const std::string& directory, const std::string& option, const std::string& if_missing) {
  std::string path = directory + "/.mayfly-probe.XXXXXX";
  const int fd = mkstemp(path.data());
  if (fd < 0) {
    const int error = errno;
    const std::string remedy = error == ENOENT   ? if_missing
                               : error == ENOSPC ? "make room there"
                                                 : "give a directory that you may write";
    return Fail(CodeOfErrno(error), "directory {} of {} cannot be written: {}; {}", directory, option, Text(error),
                remedy);
  }
  close(fd);
  unlink(path.c_str());
  return Done{};
}

}  // namespace mayfly
