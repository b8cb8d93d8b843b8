// Names: mayfly_mkdir to mayfly_statvfs.
#include <errno.h>
#include <string.h>

#include <algorithm>

#include "capi/entry.h"
#include "client/directory.h"

using namespace mayfly;

// What mayfly_opendir hands out.
struct mayfly_dir {
  mayfly_fs* fs;
  std::unique_ptr<Directory> directory;
  char name[kNameBytesMax + 1];
};

int mayfly_mknod(mayfly_fs* fs, const char* path, mode_t mode) {
  const Call call{"mknod", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  if ((mode & S_IFMT) != 0 && !S_ISREG(mode)) return FailErrno(call, EOPNOTSUPP);
  const uint16_t permissions = NewPermissions(mode & 07777, InstanceOf(fs).umask());
  const int made =
      static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Create(path, true, permissions); }));
  if (made == 0 || errno != EISDIR) return made;
  // What open calls a directory because of a slash at its end: mknod asks whether anything is there.
  struct stat st {};
  return FailErrno(call, mayfly_lstat(fs, path, &st) != 0 && errno == ENOENT ? ENOENT : EEXIST);
}

int mayfly_mkdir(mayfly_fs* fs, const char* path, mode_t mode) {
  const Call call{"mkdir", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  const uint16_t permissions = NewPermissions(mode, InstanceOf(fs).umask()) & 01777;
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Mkdir(path, permissions); }));
}

int mayfly_rmdir(mayfly_fs* fs, const char* path) {
  const Call call{"rmdir", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Rmdir(path); }));
}

int mayfly_unlink(mayfly_fs* fs, const char* path) {
  const Call call{"unlink", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Unlink(path); }));
}

int mayfly_rename(mayfly_fs* fs, const char* from, const char* to, unsigned flags) {
  const Call call{"rename", from != nullptr ? from : "", to != nullptr ? to : ""};
  MAYFLY_NEED(call, fs != nullptr && from != nullptr && to != nullptr);
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Rename(from, to, flags); }));
}

int mayfly_link(mayfly_fs* fs, const char* from, const char* to) {
  const Call call{"link", from != nullptr ? from : "", to != nullptr ? to : ""};
  MAYFLY_NEED(call, fs != nullptr && from != nullptr && to != nullptr);
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Link(from, to); }));
}

int mayfly_symlink(mayfly_fs* fs, const char* target, const char* path) {
  const Call call{"symlink", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && target != nullptr && path != nullptr);
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Symlink(target, path); }));
}

ssize_t mayfly_readlink(mayfly_fs* fs, const char* path, char* buffer, size_t bytes) {
  const Call call{"readlink", path != nullptr ? path : ""};
  if (bytes == 0 || bytes > INT32_MAX) return FailErrno(call, EINVAL);
  MAYFLY_NEED(call, fs != nullptr && path != nullptr && buffer != nullptr);
  return Enter(call, InstanceOf(fs), [&](Engine& engine) -> int64_t {
    auto target = EndOf(engine, [&](Lane& lane) { return lane.ReadLink(path); });
    if (!target.ok()) return Fail(call, target.code());
    const size_t n = std::min(bytes, target->size());
    memcpy(buffer, target->data(), n);
    return static_cast<int64_t>(n);
  });
}

mayfly_dir* mayfly_opendir(mayfly_fs* fs, const char* path) {
  const Call call{"opendir", path != nullptr ? path : ""};
  if (fs == nullptr || path == nullptr) {
    FailErrno(call, EFAULT);
    return nullptr;
  }
  mayfly_dir* dir = nullptr;
  const int64_t entered = Enter(call, InstanceOf(fs), [&](Engine& engine) -> int64_t {
    auto directory = EndOf(engine, [&](Lane& lane) { return Directory::Open(&lane, path); });
    if (!directory.ok()) return Fail(call, directory.code());
    dir = new mayfly_dir;
    dir->fs = fs;
    dir->directory = std::move(*directory);
    return 0;
  });
  return entered == 0 ? dir : nullptr;
}

int mayfly_readdir(mayfly_dir* dir, mayfly_dirent* out) {
  const Call call{"readdir", ""};
  MAYFLY_NEED(call, dir != nullptr && out != nullptr);
  Instance& instance = InstanceOf(dir->fs);
  return static_cast<int>(Enter(call, instance, [&](Engine& engine) -> int64_t {
    Directory::Entry entry;
    auto more = EndOf(engine, [&](Lane& lane) { return dir->directory->Next(&lane, &entry); });
    if (!more.ok()) return Fail(call, more.code());
    if (!*more) return 0;
    const size_t n = std::min<size_t>(entry.name.size(), kNameBytesMax);
    memcpy(dir->name, entry.name.data(), n);
    dir->name[n] = '\0';
    out->cookie = entry.cookie;
    out->name = dir->name;
    out->name_bytes = static_cast<uint32_t>(n);
    StatOf(entry.attr, instance.device(), &out->attributes);
    return 1;
  }));
}

int mayfly_seekdir(mayfly_dir* dir, uint64_t cookie) {
  const Call call{"seekdir", ""};
  MAYFLY_NEED(call, dir != nullptr);
  dir->directory->SeekTo(cookie);
  return 0;
}

int mayfly_closedir(mayfly_dir* dir) {
  const Call call{"closedir", ""};
  MAYFLY_NEED(call, dir != nullptr);
  delete dir;
  return 0;
}

int mayfly_statvfs(mayfly_fs* fs, struct statvfs* out) {
  const Call call{"statvfs", ""};
  MAYFLY_NEED(call, fs != nullptr && out != nullptr);
  Instance& instance = InstanceOf(fs);
  return static_cast<int>(Enter(call, instance, [&](Engine& engine) -> int64_t {
    auto figures = EndOf(engine, [](Lane& lane) { return lane.StatFileSystem(); });
    if (!figures.ok()) return Fail(call, figures.code());
    constexpr uint64_t kUnit = 4096;
    memset(out, 0, sizeof *out);
    out->f_bsize = figures->chunk_bytes;
    out->f_frsize = kUnit;
    out->f_blocks = figures->bytes / kUnit;
    out->f_bfree = out->f_bavail = figures->bytes_free / kUnit;
    out->f_files = figures->inodes + figures->inodes_free;
    out->f_ffree = out->f_favail = figures->inodes_free;
    out->f_fsid = instance.device();
    out->f_namemax = kNameBytesMax;
    return 0;
  }));
}
