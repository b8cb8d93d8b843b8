#include "stage/copier.h"

#include <dirent.h>
#include <fmt/format.h>
#include <sys/xattr.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace mayfly::stage {
namespace {

constexpr size_t kBufferBytes = 4u << 20;
constexpr uint64_t kRangeBytes = 32u << 20;  // files above two of them are copied by ranges of so much
constexpr size_t kBatchNames = 64, kBatchBytes = 16 * 1024;
constexpr size_t kXattrBytesMax = 64 * 1024;

bool SameTime(const timespec& a, const timespec& b) { return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec; }
bool SameFile(const struct stat& a, const struct stat& b) {
  return a.st_size == b.st_size && SameTime(a.st_mtim, b.st_mtim) && a.st_ino == b.st_ino;
}

// What the user can do about it.
const char* Remedy(int error) {
  switch (error) {
    case ENOSPC:
      return " (the session's memory is full: give the servers more --memory, or stage less)";
    case ENAMETOOLONG:
      return " (a path in the session has at most 4095 bytes)";
    case ESHUTDOWN:
      return " (the session is ending)";
    default:
      return "";
  }
}

}  // namespace

Copier::Copier(mayfly_fs* fs, const StageSpec& spec, const Source& source, HardLinks* links, Outbox* outbox)
    : fs_(fs), spec_(spec), source_(source), links_(links), outbox_(*outbox), buffer_(new char[kBufferBytes]) {}

StageEnd Copier::Do(const StageItem& item) {
  switch (item.kind) {
    case StageKind::kDirectory:
      return MakeDirectory(item);
    case StageKind::kEntries:
      return CopyEntries(item);
    case StageKind::kRange:
      return CopyRange(item);
    case StageKind::kFileEnd:
      return EndFile(item);
    case StageKind::kDirectoryEnds:
      return EndDirectories(item);
    case StageKind::kFile:
      break;
  }
  return StageEnd::kFailed;
}

std::string Copier::Target(const std::string& path) const {
  if (path.empty()) return spec_.target;
  return (spec_.target == "/" ? "" : spec_.target) + "/" + path;
}

void Copier::FailTarget(const std::string& path, const char* what) {
  const int error = errno;
  if (counts_failures_) ++outbox_.report().counts.failed;
  outbox_.report().failures.push_back(
      fmt::format("{}: {} in the session: {}{}", Target(path), what, std::strerror(error), Remedy(error)));
}
void Copier::FailSource(const std::string& path, const char* what) { FailSource(path, what, errno); }
void Copier::FailSource(const std::string& path, const char* what, int error) {
  if (counts_failures_) ++outbox_.report().counts.failed;
  std::string sentence = fmt::format("{}: {}", source_.Name(path), what);
  if (error != 0) sentence += fmt::format(": {}", std::strerror(error));
  outbox_.report().failures.push_back(std::move(sentence));
}

bool Copier::LooksTheSame(const StageFacts& seen, const struct stat& now) const {
  return links_ != nullptr || FactsOf(now) == seen;  // what the command sees is what is meant
}

bool Copier::IsMountOfThisNode(int folder, const std::string& name) const {
  return links_ == nullptr && IsMountPoint(folder, name);  // G6
}

// ---- directories ----------------------------------------------------------------------------------------------------

StageEnd Copier::MakeDirectory(const StageItem& item) {
  const Descriptor folder = source_.OpenAt(item.path, O_DIRECTORY);
  if (!folder.ok() && links_ == nullptr) return StageEnd::kDeclined;
  struct stat st;
  if (!folder.ok() || ::fstat(folder.get(), &st) != 0) {
    FailSource(item.path, "the directory cannot be read");
    return StageEnd::kFailed;
  }
  if (!LooksTheSame(item.facts, st)) return StageEnd::kDeclined;
  if (!MakeTarget(item.path) || !ListDirectory(item, folder.get())) return StageEnd::kFailed;
  return stopped_ ? StageEnd::kStopped : StageEnd::kDone;
}

bool Copier::MakeTarget(const std::string& path) {
  const std::string target = Target(path);
  if (mayfly_mkdir(fs_, target.c_str(), 0700) == 0) return true;
  if (errno != EEXIST) {
    FailTarget(path, "the directory cannot be made");
    return false;
  }
  struct stat there;
  if (mayfly_lstat(fs_, target.c_str(), &there) != 0) {
    FailTarget(path, "the directory cannot be looked at");
    return false;
  }
  if (!S_ISDIR(there.st_mode)) {
    errno = EEXIST;
    FailTarget(path, "something that is no directory is in the way");
    return false;
  }
  // An earlier run may have finished it, closed to its owner; its attributes are set again at the end.
  if ((there.st_mode & 0700) != 0700 && !path.empty() &&
      mayfly_chmod(fs_, target.c_str(), (there.st_mode & 07777) | 0700) != 0) {
    FailTarget(path, "the directory cannot be opened to its owner");
    return false;
  }
  return true;
}

bool Copier::ListDirectory(const StageItem& item, int folder) {
  const int again = ::dup(folder);
  DIR* const dir = again >= 0 ? ::fdopendir(again) : nullptr;
  if (dir == nullptr) {
    FailSource(item.path, "the directory cannot be read");
    if (again >= 0) ::close(again);
    return false;
  }
  bool good = true;
  StageItem batch = item;
  batch.kind = StageKind::kEntries;
  size_t bytes = 0;
  const auto send = [&] {
    if (batch.names.empty()) return;
    outbox_.report().counts.files_found += batch.names.size();
    if (!outbox_.Find(batch)) {
      // The queue is full: done here, before more is found. What fails is told there.
      for (const std::string& name : batch.names) (void)CopyEntry(batch, folder, name, nullptr);
    }
    batch.names.clear();
    bytes = 0;
  };
  while (!stopped_) {
    errno = 0;
    const dirent* const entry = ::readdir(dir);
    if (entry == nullptr) {
      if (errno != 0) {
        FailSource(item.path, "the directory cannot be read to its end");
        good = false;
      }
      break;
    }
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    struct stat st;
    const bool unknown = entry->d_type == DT_UNKNOWN || entry->d_type == DT_DIR;
    if (unknown && ::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
      StageItem child;
      child.kind = StageKind::kDirectory;
      child.command_only = item.command_only || IsMountOfThisNode(folder, name);
      child.path = Below(item.path, name);
      child.facts = FactsOf(st);
      (void)outbox_.Find(std::move(child));
    } else {
      bytes += name.size();
      batch.names.push_back(name);
    }
    if (batch.names.size() >= kBatchNames || bytes >= kBatchBytes) send();
    if (!outbox_.Breathe()) stopped_ = true;
  }
  if (!stopped_) send();
  ::closedir(dir);
  return good;
}

StageEnd Copier::EndDirectories(const StageItem& item) {
  bool good = true;
  if (item.seen.size() != item.names.size()) return StageEnd::kDeclined;
  for (size_t i = 0; i < item.names.size(); ++i) {
    const std::string& path = item.names[i];
    if (Target(path) == "/") continue;  // the namespace's root is nobody's copy
    const Descriptor folder = source_.OpenAt(path, O_DIRECTORY);
    struct stat st;
    if (!folder.ok() && links_ == nullptr) return StageEnd::kDeclined;
    if (folder.ok() && ::fstat(folder.get(), &st) == 0) {
      if (!LooksTheSame(item.seen[i], st)) return StageEnd::kDeclined;
    } else {
      FailSource(path, "the directory cannot be looked at again");
      good = false;
      continue;
    }
    good &= CopyXattrs(path, folder.get()) && SetAttributes(path, -1, st);
    if (!outbox_.Breathe()) return StageEnd::kStopped;
  }
  return good ? StageEnd::kDone : StageEnd::kFailed;
}

// ---- entries --------------------------------------------------------------------------------------------------------

StageEnd Copier::CopyEntries(const StageItem& item) {
  // The first piece of all is the source itself, whatever it is.
  const bool whole = item.path.empty() && item.names.size() == 1 && item.names[0].empty();
  Descriptor folder;
  struct stat st;
  if (whole) {
    if (!source_.Stat("", &st)) {
      if (links_ == nullptr) return StageEnd::kDeclined;
      FailSource("", "cannot be looked at");
      return StageEnd::kFailed;
    }
    if (!LooksTheSame(item.facts, st)) return StageEnd::kDeclined;
    if (!S_ISDIR(st.st_mode)) ++outbox_.report().counts.files_found;
  } else {
    folder = source_.OpenAt(item.path, O_DIRECTORY);
    if (!folder.ok() && links_ == nullptr) return StageEnd::kDeclined;
    if (!folder.ok() || ::fstat(folder.get(), &st) != 0) {
      FailSource(item.path, "the directory cannot be opened");
      outbox_.report().counts.failed += item.names.size() - 1;
      return StageEnd::kFailed;
    }
    if (!LooksTheSame(item.facts, st)) return StageEnd::kDeclined;
  }
  std::vector<std::string> linked;
  bool good = true;
  for (const std::string& name : item.names) {
    good &= CopyEntry(item, folder.get(), name, &linked);
    if (stopped_ || !outbox_.Breathe()) return StageEnd::kStopped;
  }
  if (!linked.empty()) {
    StageItem rest = item;
    rest.command_only = true;
    rest.names = std::move(linked);
    (void)outbox_.Find(std::move(rest));
  }
  return good ? StageEnd::kDone : StageEnd::kFailed;
}

// `linked`: where names go that only the command copies, if this is none. Null: they are found again one by one.
bool Copier::CopyEntry(const StageItem& item, int folder, const std::string& name, std::vector<std::string>* linked) {
  const std::string path = Below(item.path, name);
  struct stat st;
  if (!(folder >= 0 ? ::fstatat(folder, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 : source_.Stat(path, &st))) {
    FailSource(path, "cannot be looked at");
    return false;
  }
  const bool mounted = folder >= 0 && IsMountOfThisNode(folder, name);  // G6
  if (S_ISDIR(st.st_mode)) {
    StageItem child;
    child.kind = StageKind::kDirectory;
    child.command_only = item.command_only || mounted;
    child.path = path;
    child.facts = FactsOf(st);
    (void)outbox_.Find(std::move(child));
    return true;
  }
  if (mounted || (links_ == nullptr && S_ISREG(st.st_mode) && st.st_nlink > 1)) {  // the command's
    if (linked != nullptr) {
      linked->push_back(name);
      return true;
    }
    StageItem one = item;
    one.command_only = true;
    one.names = {name};
    (void)outbox_.Find(std::move(one));
    return true;
  }
  if (S_ISLNK(st.st_mode)) return CopySymlink(path, folder, name, st);
  if (!S_ISREG(st.st_mode)) {
    FailSource(path, "is neither file, directory nor symlink; it was left out", 0);
    return false;
  }
  if (st.st_nlink > 1 && LinkToFirst(path, st)) return true;
  return CopyFile(path, folder, name, st);
}

bool Copier::CopySymlink(const std::string& path, int folder, const std::string& name, const struct stat& st) {
  char target[4096];
  const ssize_t n = folder >= 0 ? ::readlinkat(folder, name.c_str(), target, sizeof target - 1)
                                : ::readlink(source_.Name(path).c_str(), target, sizeof target - 1);
  if (n < 0) {
    FailSource(path, "the symlink cannot be read");
    return false;
  }
  target[n] = '\0';
  const std::string at = Target(path);
  StageCounts& counts = outbox_.report().counts;
  if (mayfly_symlink(fs_, target, at.c_str()) != 0) {
    if (errno != EEXIST) {
      FailTarget(path, "the symlink cannot be made");
      return false;
    }
    char now[4096];
    const ssize_t m = mayfly_readlink(fs_, at.c_str(), now, sizeof now);
    if (m == n && std::memcmp(now, target, static_cast<size_t>(n)) == 0) {
      ++counts.skipped;
    } else if (mayfly_unlink(fs_, at.c_str()) != 0 || mayfly_symlink(fs_, target, at.c_str()) != 0) {
      FailTarget(path, "what is in the way of the symlink cannot be replaced");
      return false;
    }
  }
  if (!SetAttributes(path, -1, st)) return false;
  ++counts.files_done;
  return true;
}

// The second and later names of a file become links to the first, which may still be in work: the link is made from the
// inode that exists from the first moment on. False: `path` is the first.
bool Copier::LinkToFirst(const std::string& path, const struct stat& st) {
  std::string first;
  {
    std::lock_guard lock(links_->mutex);
    const auto [it, is_first] = links_->first.try_emplace({st.st_dev, st.st_ino}, path);
    if (is_first) {
      // Made here, under the lock, so that whoever comes second finds it.
      const int fd = mayfly_open(fs_, Target(path).c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
      if (fd >= 0) mayfly_close(fd);
      return false;
    }
    first = it->second;
  }
  if (first == path) return false;  // the piece came back to us
  StageCounts& counts = outbox_.report().counts;
  const std::string from = Target(first), at = Target(path);
  struct stat one, two;
  if (mayfly_lstat(fs_, from.c_str(), &one) == 0 && mayfly_lstat(fs_, at.c_str(), &two) == 0) {
    if (one.st_ino == two.st_ino) {
      ++counts.skipped;
      ++counts.files_done;
      return true;
    }
    if (mayfly_unlink(fs_, at.c_str()) != 0) {
      FailTarget(path, "what is in the way of the hard link cannot be removed");
      return true;
    }
  }
  if (mayfly_link(fs_, from.c_str(), at.c_str()) != 0) {
    FailTarget(path, "the hard link cannot be made");
  } else {
    ++counts.files_done;
  }
  return true;
}

// ---- files ----------------------------------------------------------------------------------------------------------

// An empty file to write into. -1: it was told why not, unless `*complete`.
int Copier::OpenTarget(const std::string& path, const struct stat& st, bool* complete) {
  const std::string target = Target(path);
  int fd = mayfly_open(fs_, target.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
  if (fd >= 0) return fd;
  struct stat there;
  if (errno != EEXIST) {
    FailTarget(path, "the file cannot be made");
    return -1;
  }
  if (mayfly_lstat(fs_, target.c_str(), &there) != 0) {
    FailTarget(path, "the file cannot be looked at");
    return -1;
  }
  const bool file = S_ISREG(there.st_mode);
  if (file && there.st_size == st.st_size && SameTime(there.st_mtim, st.st_mtim)) {
    // G1. A mode or an owner that changed since is no reason to copy it again.
    const bool owned = ::geteuid() != 0 || (there.st_uid == st.st_uid && there.st_gid == st.st_gid);
    *complete = (((there.st_mode ^ st.st_mode) & 07777) == 0 && owned) || SetAttributes(path, -1, st);
    return -1;
  }
  if (file && st.st_nlink > 1) {  // the inode stays: other names are links to it already
    if ((there.st_mode & 0200) == 0) (void)mayfly_chmod(fs_, target.c_str(), 0600);
    fd = mayfly_open(fs_, target.c_str(), O_WRONLY | O_TRUNC | O_NOFOLLOW);
  } else if (mayfly_unlink(fs_, target.c_str()) == 0 || errno == ENOENT) {
    fd = mayfly_open(fs_, target.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0600);
  }
  if (fd < 0) FailTarget(path, "what is in the way of the file cannot be replaced");
  return fd;
}

bool Copier::CopyFile(const std::string& path, int folder, const std::string& name, const struct stat& st) {
  const auto size = static_cast<uint64_t>(st.st_size);
  StageCounts& counts = outbox_.report().counts;
  counts.bytes_found += size;
  bool complete = false;
  const int fd = OpenTarget(path, st, &complete);
  if (fd < 0 && !complete) return false;
  if (complete) {
    ++counts.skipped;
    ++counts.files_done;
    counts.bytes_done += size;
    return true;
  }
  if (size > 2 * kRangeBytes) {
    if (mayfly_close(fd) != 0) {
      FailTarget(path, "the file cannot be made");
      return false;
    }
    StageItem large;
    large.kind = StageKind::kFile;
    large.path = path;
    large.facts = FactsOf(st);
    large.end = kRangeBytes;
    (void)outbox_.Find(std::move(large));
    return true;
  }
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
  const Descriptor source = folder >= 0 ? Descriptor(::openat(folder, name.c_str(), kFlags)) : source_.OpenAt(path, 0);
  bool good = source.ok();
  if (!good) FailSource(path, "cannot be opened");
  good = good && FillFile(path, source.get(), fd, st);
  if (mayfly_close(fd) != 0 && good) {
    FailTarget(path, "the file cannot be closed");
    (void)mayfly_unlink(fs_, Target(path).c_str());  // it may have its mtime already
    good = false;
  }
  if (good) ++outbox_.report().counts.files_done;
  return good;
}

bool Copier::FillFile(const std::string& path, int source, int fd, const struct stat& st) {
  const auto size = static_cast<uint64_t>(st.st_size);
  const bool sparse = static_cast<uint64_t>(st.st_blocks) * 512 < size;
  uint64_t last = 0;
  if (CopyBytes(path, source, fd, 0, size, sparse, &last) != Copied::kAll) return false;
  struct stat now;
  if (::fstat(source, &now) != 0 || !SameFile(now, st)) {  // G4
    FailSource(path, "changed while it was copied; run the same command again", 0);
    return false;
  }
  if (last < size && mayfly_ftruncate(fd, st.st_size) != 0) {
    FailTarget(path, "the size cannot be set");
    return false;
  }
  if (!CopyXattrs(path, source)) return false;
  if (size != 0 && mayfly_fsync(fd) != 0) {
    FailTarget(path, "cannot be written");
    return false;
  }
  return SetAttributes(path, fd, st);
}

// Data goes, holes stay holes. *last: the end of the last data.
Copier::Copied Copier::CopyBytes(const std::string& path, int source, int fd, uint64_t begin, uint64_t end, bool sparse,
                                 uint64_t* last) {
  for (uint64_t at = begin; at < end;) {
    uint64_t stop = end;
    if (sparse) {
      const off_t data = ::lseek(source, static_cast<off_t>(at), SEEK_DATA);
      if (data < 0 && errno == ENXIO) {  // a hole to the end
        outbox_.report().counts.bytes_done += end - at;
        return Copied::kAll;
      }
      if (data >= 0) {
        const uint64_t from = std::clamp<uint64_t>(static_cast<uint64_t>(data), at, end);
        outbox_.report().counts.bytes_done += from - at;
        at = from;
        const off_t hole = at < end ? ::lseek(source, static_cast<off_t>(at), SEEK_HOLE) : -1;
        if (hole > 0) stop = std::min<uint64_t>(end, static_cast<uint64_t>(hole));
      }  // else: this filesystem does not tell holes
    }
    while (at < stop) {
      const ssize_t n =
          ::pread(source, buffer_.get(), std::min<uint64_t>(kBufferBytes, stop - at), static_cast<off_t>(at));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) {
        n < 0 ? FailSource(path, "cannot be read") : FailSource(path, "became shorter while it was copied", 0);
        return Copied::kFailed;
      }
      for (ssize_t done = 0; done < n;) {
        const ssize_t m =
            mayfly_pwrite(fd, buffer_.get() + done, static_cast<size_t>(n - done), static_cast<off_t>(at) + done);
        if (m <= 0) {
          FailTarget(path, "cannot be written");
          return Copied::kFailed;
        }
        done += m;
      }
      at += static_cast<uint64_t>(n);
      *last = at;
      outbox_.report().counts.bytes_done += static_cast<uint64_t>(n);
      if (!outbox_.Breathe()) {
        stopped_ = true;
        return Copied::kStopped;
      }
    }
  }
  return Copied::kAll;
}

// A range that fails is counted by the board, as a file has many; here it only says why.
StageEnd Copier::CopyRange(const StageItem& item) {
  counts_failures_ = false;
  const StageEnd end = CopyRangeOf(item);
  counts_failures_ = true;
  return end;
}

StageEnd Copier::CopyRangeOf(const StageItem& item) {
  const Descriptor source = source_.OpenAt(item.path, 0);
  struct stat st;
  const bool seen = source.ok() && ::fstat(source.get(), &st) == 0;
  Copied copied = Copied::kFailed;
  if (!seen || FactsOf(st) != item.facts) {
    if (links_ == nullptr) return StageEnd::kDeclined;
    seen ? FailSource(item.path, "changed while it was copied; run the same command again", 0)
         : FailSource(item.path, "cannot be opened");
  } else if (const int fd = mayfly_open(fs_, Target(item.path).c_str(), O_WRONLY | O_NOFOLLOW); fd < 0) {
    FailTarget(item.path, "the file cannot be opened");
  } else {
    uint64_t last = 0;
    const bool sparse = static_cast<uint64_t>(st.st_blocks) * 512 < static_cast<uint64_t>(st.st_size);
    copied = CopyBytes(item.path, source.get(), fd, item.begin, item.end, sparse, &last);
    if (mayfly_close(fd) != 0 && copied == Copied::kAll) {
      FailTarget(item.path, "cannot be written");
      copied = Copied::kFailed;
    }
  }
  return copied == Copied::kAll ? StageEnd::kDone : copied == Copied::kStopped ? StageEnd::kStopped : StageEnd::kFailed;
}

StageEnd Copier::EndFile(const StageItem& item) {
  const Descriptor source = source_.OpenAt(item.path, 0);
  struct stat st;
  const bool seen = source.ok() && ::fstat(source.get(), &st) == 0;
  if (!seen || FactsOf(st) != item.facts) {  // G4
    if (links_ == nullptr) return StageEnd::kDeclined;
    seen ? FailSource(item.path, "changed while it was copied; run the same command again", 0)
         : FailSource(item.path, "cannot be opened");
    return StageEnd::kFailed;
  }
  if (mayfly_truncate(fs_, Target(item.path).c_str(), st.st_size) != 0) {
    FailTarget(item.path, "the size cannot be set");
    return StageEnd::kFailed;
  }
  if (!CopyXattrs(item.path, source.get()) || !SetAttributes(item.path, -1, st)) return StageEnd::kFailed;
  ++outbox_.report().counts.files_done;
  return StageEnd::kDone;
}

// ---- attributes -----------------------------------------------------------------------------------------------------

bool Copier::CopyXattrs(const std::string& path, int source) {
  char list[kXattrBytesMax];
  const ssize_t n = ::flistxattr(source, list, sizeof list);
  const bool root = ::geteuid() == 0;
  for (ssize_t at = 0; at < n;) {
    const char* const name = list + at;
    at += static_cast<ssize_t>(std::strlen(name)) + 1;
    if (std::strncmp(name, "user.", 5) != 0 && !(root && std::strncmp(name, "trusted.", 8) == 0)) continue;
    const ssize_t bytes = ::fgetxattr(source, name, buffer_.get(), kXattrBytesMax);
    if (bytes < 0) {
      FailSource(path, "an extended attribute cannot be read");
      return false;
    }
    if (mayfly_lsetxattr(fs_, Target(path).c_str(), name, buffer_.get(), static_cast<size_t>(bytes), 0) != 0) {
      FailTarget(path, "an extended attribute cannot be set");
      return false;
    }
  }
  return true;
}

// Only root can give files away; for others the copy is theirs, as with cp -p, and then must not run with the rights of
// an owner or a group that it has not.
bool Copier::SetAttributes(const std::string& path, int fd, const struct stat& st) {
  unsigned mask = S_ISLNK(st.st_mode) ? 0u : static_cast<unsigned>(MAYFLY_STAGE_MODE);
  struct stat wanted = st;
  if (::geteuid() == 0) {
    mask |= MAYFLY_STAGE_UID | MAYFLY_STAGE_GID;
  } else {
    if (st.st_uid != ::geteuid()) wanted.st_mode &= ~static_cast<mode_t>(S_ISUID);
    if (st.st_uid == ::geteuid() && st.st_gid != ::getegid()) mask |= MAYFLY_STAGE_GID;  // then it is one of ours
    if ((mask & MAYFLY_STAGE_GID) == 0 && st.st_gid != ::getegid()) wanted.st_mode &= ~static_cast<mode_t>(S_ISGID);
  }
  const std::string target = Target(path);
  if (mayfly_stage_attributes(fs_, fd, target.c_str(), mask, wanted) == 0) return true;
  if (errno == EPERM && ::geteuid() != 0 && (mask & MAYFLY_STAGE_GID) != 0) {
    // A group of the owner's that this process is not in.
    wanted.st_mode &= ~static_cast<mode_t>(S_ISGID);
    if (mayfly_stage_attributes(fs_, fd, target.c_str(), mask & ~MAYFLY_STAGE_GID, wanted) == 0) return true;
  }
  FailTarget(path, "the attributes cannot be set");
  return false;
}

}  // namespace mayfly::stage
