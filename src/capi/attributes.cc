// Attributes: mayfly_stat to mayfly_fremovexattr.
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "capi/entry.h"

using namespace mayfly;

namespace {

Lane::Target ByPath(const char* path, bool follow) {
  Lane::Target target;
  target.path = path;
  target.follow = follow;
  return target;
}

Lane::Target ByFile(const FileRef& file) {
  Lane::Target target;
  target.file = file;
  return target;
}

// Both kinds of stat: `make(lane)` gives Result<Attr>.
template <class Make>
int StatInto(const Call& call, Instance& instance, struct stat* out, Make&& make) {
  return static_cast<int>(Enter(call, instance, [&](Engine& engine) -> int64_t {
    auto attr = EndOf(engine, make);
    if (!attr.ok()) return Fail(call, attr.code());
    StatOf(*attr, instance.device(), out);
    return 0;
  }));
}

int StatPath(const char* name, mayfly_fs* fs, const char* path, struct stat* out, bool follow) {
  const Call call{name, path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr && out != nullptr);
  return StatInto(call, InstanceOf(fs), out, [&](Lane& lane) { return lane.Stat(path, follow); });
}

int Change(const Call& call, Instance& instance, const Lane::Target& target, const SetAttrRequest& change) {
  return static_cast<int>(Block(call, instance, [&](Lane& lane) { return lane.SetAttr(target, change); }));
}

int ChangePath(const char* name, mayfly_fs* fs, const char* path, bool follow, const SetAttrRequest& change) {
  const Call call{name, path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  return Change(call, InstanceOf(fs), ByPath(path, follow), change);
}

int ChangeFile(const char* name, int fd, const SetAttrRequest& change) {
  const Call call{name, ""};
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  return Change(call, InstanceOf(*file), ByFile(file), change);
}

SetAttrRequest ModeChange(mode_t mode) {
  SetAttrRequest change;
  change.mask = kSetMode;
  change.permissions = static_cast<uint16_t>(mode & 07777);
  return change;
}

SetAttrRequest OwnerChange(uid_t uid, gid_t gid) {
  SetAttrRequest change;
  change.mask = kSetOwner;
  if (uid != static_cast<uid_t>(-1)) change.mask |= kSetUid;
  if (gid != static_cast<gid_t>(-1)) change.mask |= kSetGid;
  change.uid = uid;
  change.gid = gid;
  return change;
}

// ---- xattrs: the same by path, by path without following, and by descriptor ----

bool NameFits(const char* name) {
  const size_t bytes = strnlen(name, kXattrNameBytesMax + 1);
  return bytes != 0 && bytes <= kXattrNameBytesMax;
}

// What an xattr call works on: the instance (null: errno is set) and the target.
struct XattrOn {
  Instance* instance = nullptr;
  Lane::Target target;
  FileRef file;
};

XattrOn OnPath(const Call& call, mayfly_fs* fs, const char* path, bool follow) {
  XattrOn on;
  if (fs == nullptr || path == nullptr) {
    FailErrno(call, EFAULT);
    return on;
  }
  on.instance = &InstanceOf(fs);
  on.target = ByPath(path, follow);
  return on;
}

XattrOn OnFile(const Call& call, int fd) {
  XattrOn on;
  on.file = FileOf(call, fd);
  if (on.file == nullptr) return on;
  on.instance = &InstanceOf(*on.file);
  on.target = ByFile(on.file);
  return on;
}

ssize_t GetXattr(const Call& call, const XattrOn& on, const char* name, void* value, size_t bytes) {
  if (on.instance == nullptr) return -1;
  MAYFLY_NEED(call, name != nullptr && (value != nullptr || bytes == 0));
  if (!NameFits(name)) return FailErrno(call, ERANGE);
  const MutableBytes room(static_cast<uint8_t*>(value), bytes);
  return Block(call, *on.instance, [&](Lane& lane) { return lane.GetXattr(on.target, name, room); });
}

int SetXattr(const Call& call, const XattrOn& on, const char* name, const void* value, size_t bytes, int flags) {
  if (on.instance == nullptr) return -1;
  MAYFLY_NEED(call, name != nullptr && (value != nullptr || bytes == 0));
  if ((flags & ~3) != 0) return FailErrno(call, EINVAL);  // XATTR_CREATE, XATTR_REPLACE
  if (!NameFits(name)) return FailErrno(call, ERANGE);
  if (bytes > kXattrValueBytesMax) return FailErrno(call, E2BIG);
  const Bytes data(static_cast<const uint8_t*>(value), bytes);
  return static_cast<int>(Block(call, *on.instance, [&](Lane& lane) {
    return lane.SetXattr(on.target, name, data, static_cast<uint32_t>(flags));
  }));
}

ssize_t ListXattr(const Call& call, const XattrOn& on, char* list, size_t bytes) {
  if (on.instance == nullptr) return -1;
  MAYFLY_NEED(call, list != nullptr || bytes == 0);
  const MutableBytes room(reinterpret_cast<uint8_t*>(list), bytes);
  return Block(call, *on.instance, [&](Lane& lane) { return lane.ListXattr(on.target, room); });
}

int RemoveXattr(const Call& call, const XattrOn& on, const char* name) {
  if (on.instance == nullptr) return -1;
  MAYFLY_NEED(call, name != nullptr);
  if (!NameFits(name)) return FailErrno(call, ERANGE);
  return static_cast<int>(Block(call, *on.instance, [&](Lane& lane) { return lane.RemoveXattr(on.target, name); }));
}

}  // namespace

int mayfly_stat(mayfly_fs* fs, const char* path, struct stat* out) { return StatPath("stat", fs, path, out, true); }
int mayfly_lstat(mayfly_fs* fs, const char* path, struct stat* out) { return StatPath("lstat", fs, path, out, false); }

int mayfly_fstat(int fd, struct stat* out) {
  const Call call{"fstat", ""};
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  MAYFLY_NEED(call, out != nullptr);
  return StatInto(call, InstanceOf(*file), out, [&](Lane& lane) { return lane.Stat(file); });
}

int mayfly_access(mayfly_fs* fs, const char* path, int mode, int flags) {
  const Call call{"access", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  if ((mode & ~7) != 0 || (flags & ~AT_SYMLINK_NOFOLLOW) != 0) return FailErrno(call, EINVAL);
  const bool follow = (flags & AT_SYMLINK_NOFOLLOW) == 0;
  // R_OK, W_OK and X_OK are 4, 2 and 1, as the rights.
  return static_cast<int>(
      Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Access(path, static_cast<uint32_t>(mode), follow); }));
}

int mayfly_chmod(mayfly_fs* fs, const char* path, mode_t mode) {
  return ChangePath("chmod", fs, path, true, ModeChange(mode));
}
int mayfly_fchmod(int fd, mode_t mode) { return ChangeFile("fchmod", fd, ModeChange(mode)); }
int mayfly_chown(mayfly_fs* fs, const char* path, uid_t uid, gid_t gid) {
  return ChangePath("chown", fs, path, true, OwnerChange(uid, gid));
}
int mayfly_lchown(mayfly_fs* fs, const char* path, uid_t uid, gid_t gid) {
  return ChangePath("lchown", fs, path, false, OwnerChange(uid, gid));
}
int mayfly_fchown(int fd, uid_t uid, gid_t gid) { return ChangeFile("fchown", fd, OwnerChange(uid, gid)); }

int mayfly_utimens(mayfly_fs* fs, const char* path, const struct timespec times[2], int flags) {
  const Call call{"utimens", path != nullptr ? path : ""};
  if ((flags & ~AT_SYMLINK_NOFOLLOW) != 0) return FailErrno(call, EINVAL);
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  SetAttrRequest change;
  auto any = TimesOf(times, &change);
  // As Linux: with nothing to do the path is not even looked at, but what is wrong with it counts before wrong times.
  if (!any.ok()) return mayfly_access(fs, path, F_OK, flags) == 0 ? Fail(call, any.code()) : -1;
  if (!*any) return 0;
  return ChangePath(call.name, fs, path, (flags & AT_SYMLINK_NOFOLLOW) == 0, change);
}

int mayfly_futimens(int fd, const struct timespec times[2]) {
  const Call call{"futimens", ""};
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  SetAttrRequest change;
  auto any = TimesOf(times, &change);
  if (!any.ok()) return Fail(call, any.code());
  if (!*any) return 0;
  return ChangeFile(call.name, fd, change);
}

ssize_t mayfly_getxattr(mayfly_fs* fs, const char* path, const char* name, void* value, size_t bytes) {
  const Call call{"getxattr", path != nullptr ? path : ""};
  return GetXattr(call, OnPath(call, fs, path, true), name, value, bytes);
}
ssize_t mayfly_lgetxattr(mayfly_fs* fs, const char* path, const char* name, void* value, size_t bytes) {
  const Call call{"lgetxattr", path != nullptr ? path : ""};
  return GetXattr(call, OnPath(call, fs, path, false), name, value, bytes);
}
ssize_t mayfly_fgetxattr(int fd, const char* name, void* value, size_t bytes) {
  const Call call{"fgetxattr", ""};
  return GetXattr(call, OnFile(call, fd), name, value, bytes);
}
int mayfly_setxattr(mayfly_fs* fs, const char* path, const char* name, const void* value, size_t bytes, int flags) {
  const Call call{"setxattr", path != nullptr ? path : ""};
  return SetXattr(call, OnPath(call, fs, path, true), name, value, bytes, flags);
}
int mayfly_lsetxattr(mayfly_fs* fs, const char* path, const char* name, const void* value, size_t bytes, int flags) {
  const Call call{"lsetxattr", path != nullptr ? path : ""};
  return SetXattr(call, OnPath(call, fs, path, false), name, value, bytes, flags);
}
int mayfly_fsetxattr(int fd, const char* name, const void* value, size_t bytes, int flags) {
  const Call call{"fsetxattr", ""};
  return SetXattr(call, OnFile(call, fd), name, value, bytes, flags);
}
ssize_t mayfly_listxattr(mayfly_fs* fs, const char* path, char* list, size_t bytes) {
  const Call call{"listxattr", path != nullptr ? path : ""};
  return ListXattr(call, OnPath(call, fs, path, true), list, bytes);
}
ssize_t mayfly_llistxattr(mayfly_fs* fs, const char* path, char* list, size_t bytes) {
  const Call call{"llistxattr", path != nullptr ? path : ""};
  return ListXattr(call, OnPath(call, fs, path, false), list, bytes);
}
ssize_t mayfly_flistxattr(int fd, char* list, size_t bytes) {
  const Call call{"flistxattr", ""};
  return ListXattr(call, OnFile(call, fd), list, bytes);
}
int mayfly_removexattr(mayfly_fs* fs, const char* path, const char* name) {
  const Call call{"removexattr", path != nullptr ? path : ""};
  return RemoveXattr(call, OnPath(call, fs, path, true), name);
}
int mayfly_lremovexattr(mayfly_fs* fs, const char* path, const char* name) {
  const Call call{"lremovexattr", path != nullptr ? path : ""};
  return RemoveXattr(call, OnPath(call, fs, path, false), name);
}
int mayfly_fremovexattr(int fd, const char* name) {
  const Call call{"fremovexattr", ""};
  return RemoveXattr(call, OnFile(call, fd), name);
}
