#include "stage/source.h"

#include <cerrno>
#include <climits>

namespace mayfly::stage {

StageFacts FactsOf(const struct stat& st) {
  StageFacts facts;
  facts.inode = st.st_ino;
  facts.size = S_ISDIR(st.st_mode) ? 0 : static_cast<uint64_t>(st.st_size);
  facts.mtime = static_cast<Nanos>(st.st_mtim.tv_sec) * kSecond + static_cast<Nanos>(st.st_mtim.tv_nsec);
  return facts;
}

bool IsMountPoint(int folder, const std::string& name) {
  struct statx st;
  return ::statx(folder, name.c_str(), AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT, 0, &st) == 0 &&
         (st.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

std::string Below(const std::string& folder, const std::string& name) {
  if (folder.empty() || name.empty()) return folder + name;
  return folder + "/" + name;
}

int Source::Open() {
  folder_ = Descriptor(::open(root_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  return folder_.ok() || errno == ENOTDIR ? 0 : errno;
}

namespace {

// A folder on the way to a path that is longer than the kernel takes: `*rest` is what is left below it.
Descriptor FolderTowards(int from, const std::string& path, std::string* rest) {
  Descriptor folder;
  size_t at = 0;
  while (path.size() - at >= PATH_MAX) {
    const size_t end = path.rfind('/', at + PATH_MAX - 2);
    if (end == std::string::npos || end < at) break;
    const std::string piece = path.substr(at, end - at);
    Descriptor next(::openat(folder.ok() ? folder.get() : from, piece.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!next.ok()) return next;
    folder = std::move(next);
    at = end + 1;
  }
  *rest = path.substr(at);
  return folder;
}

}  // namespace

bool Source::Stat(const std::string& path, struct stat* out) const {
  if (path.empty()) return ::lstat(root_.c_str(), out) == 0;
  if (path.size() < PATH_MAX) return ::fstatat(folder_.get(), path.c_str(), out, AT_SYMLINK_NOFOLLOW) == 0;
  std::string rest;
  const Descriptor folder = FolderTowards(folder_.get(), path, &rest);
  return folder.ok() && ::fstatat(folder.get(), rest.c_str(), out, AT_SYMLINK_NOFOLLOW) == 0;
}

Descriptor Source::OpenAt(const std::string& path, int flags) const {
  flags |= O_RDONLY | O_CLOEXEC | O_NOFOLLOW;
  if (path.empty()) return Descriptor(::open(root_.c_str(), flags));
  if (path.size() < PATH_MAX) return Descriptor(::openat(folder_.get(), path.c_str(), flags));
  std::string rest;
  const Descriptor folder = FolderTowards(folder_.get(), path, &rest);
  return folder.ok() ? Descriptor(::openat(folder.get(), rest.c_str(), flags)) : Descriptor();
}

}  // namespace mayfly::stage
