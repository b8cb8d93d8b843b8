// The side under test: the C interface of Mayfly. Each actor is a session of its own in this process, so that what one
// client keeps (paths, unsent bytes, what it read ahead) meets what another changes.
#pragma once

#include <grp.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <stdexcept>

#include "differential_posix.h"
#include "mayfly/mayfly.h"

namespace differential {

// A client with another user's rights in a process of root. The servers of root serve any user who proves to know the
// session, but the library takes a session from its owner only. So the library is told that we are the owner when it
// looks for the session, the first thing it does, and that we are the other user when it says whose rights it wants.
class Pretend {
 public:
  static void Be(const Identity& to) {
    if (setgroups(to.groups.size(), to.groups.data()) != 0 || setegid(to.gid) != 0) {
      throw std::runtime_error(std::string("change of groups: ") + std::strerror(errno));
    }
    uid_ = to.uid;
    asked_ = 0;
  }
  static uid_t Uid() {
    const uid_t real = static_cast<uid_t>(::syscall(SYS_geteuid));
    return uid_ == 0 || asked_++ == 0 ? real : uid_;
  }

 private:
  static inline uid_t uid_ = 0;
  static inline int asked_ = 0;
};

struct MayflyActor {
  Identity identity;
  mayfly_options options;
};

class MayflyStream : public Stream {
 public:
  explicit MayflyStream(mayfly_dir* dir) : dir_(dir) {}
  ~MayflyStream() override { mayfly_closedir(dir_); }
  int64_t Next(Listed* entry) override {
    mayfly_dirent found;
    const int result = mayfly_readdir(dir_, &found);
    if (result < 0) return -errno;
    if (result == 0) return 0;
    if (found.name_bytes != std::strlen(found.name)) return -EBADMSG;
    entry->name.assign(found.name, found.name_bytes);
    entry->attributes = found.attributes;
    entry->cookie = found.cookie;
    return 1;
  }
  int64_t Seek(uint64_t cookie) override { return OrErrno(mayfly_seekdir(dir_, cookie)); }

 private:
  mayfly_dir* dir_;
};

class MayflySide : public Side {
 public:
  // Throws with a sentence when an actor gets no session.
  explicit MayflySide(const std::vector<MayflyActor>& actors) {
    for (const MayflyActor& actor : actors) {
      mayfly_fs* fs = nullptr;
      const Identity self = {geteuid(), getegid(), {}};
      const bool other = actor.identity.uid != self.uid;
      if (other) Pretend::Be(actor.identity);
      const int result = mayfly_connect(nullptr, &actor.options, &fs);
      const std::string why = result == 0 ? "" : std::string(strerrorname_np(errno)) + ": " + mayfly_error();
      if (other) Pretend::Be(self);
      if (result != 0) {
        for (mayfly_fs* open : sessions_) mayfly_disconnect(open);
        throw std::runtime_error(why);
      }
      sessions_.push_back(fs);
    }
    now_ = sessions_.front();
  }
  // On a session of the caller's; for one thread.
  explicit MayflySide(mayfly_fs* fs) : now_(fs) {}
  ~MayflySide() override {
    for (mayfly_fs* fs : sessions_) {
      if (mayfly_disconnect(fs) != 0) std::fprintf(stderr, "disconnect: %s\n", mayfly_error());
    }
  }
  std::string name() const override { return "mayfly"; }
  void Run(const std::function<void()>& work) override { work(); }
  void Act(int actor) override {
    if (!sessions_.empty()) now_ = sessions_[static_cast<size_t>(actor) % sessions_.size()];
  }
  void SetUmask(mode_t mask) override {
    mayfly_umask(now_, mask);
    for (mayfly_fs* fs : sessions_) mayfly_umask(fs, mask);
  }
  void UseBatch() override { batch_ = true; }

  int64_t Open(const std::string& path, int flags, mode_t mode) override {
    if (!TakeBatch()) return OrErrno(mayfly_open(now_, path.c_str(), flags, mode));
    mayfly_op op = {};
    op.kind = MAYFLY_OP_OPEN;
    op.path = path.c_str();
    op.flags = flags;
    op.mode = mode;
    return Submit(&op);
  }
  int64_t Create(const std::string& path, int flags, mode_t mode) override {
    batch_ = false;
    mayfly_op op = {};
    op.kind = MAYFLY_OP_CREATE;
    op.path = path.c_str();
    op.flags = flags;
    op.mode = mode;
    return Submit(&op);
  }
  int64_t Close(int fd) override {
    if (!TakeBatch()) return OrErrno(mayfly_close(fd));
    mayfly_op op = {};
    op.kind = MAYFLY_OP_CLOSE;
    op.fd = fd;
    return Submit(&op);
  }
  int64_t Read(int fd, void* to, size_t bytes) override { return OrErrno(mayfly_read(fd, to, bytes)); }
  int64_t Write(int fd, const void* from, size_t bytes) override { return OrErrno(mayfly_write(fd, from, bytes)); }
  int64_t Pread(int fd, void* to, size_t bytes, int64_t offset, int parts) override {
    // Of no bytes a vector is another call than a buffer.
    if (TakeBatch() && (parts <= 1 || bytes > 0)) return Transfer(MAYFLY_OP_PREAD, fd, to, bytes, offset);
    if (parts <= 1) return OrErrno(mayfly_pread(fd, to, bytes, offset));
    const std::vector<iovec> iov = Vector(to, bytes, parts);
    return OrErrno(mayfly_preadv(fd, iov.data(), static_cast<int>(iov.size()), offset));
  }
  int64_t Pwrite(int fd, const void* from, size_t bytes, int64_t offset, int parts) override {
    if (TakeBatch()) return Transfer(MAYFLY_OP_PWRITE, fd, const_cast<void*>(from), bytes, offset);
    if (parts <= 1) return OrErrno(mayfly_pwrite(fd, from, bytes, offset));
    const std::vector<iovec> iov = Vector(from, bytes, parts);
    return OrErrno(mayfly_pwritev(fd, iov.data(), static_cast<int>(iov.size()), offset));
  }
  int64_t Seek(int fd, int64_t offset, int whence) override { return OrErrno(mayfly_lseek(fd, offset, whence)); }
  int64_t Fsync(int fd) override { return OrErrno(mayfly_fsync(fd)); }
  int64_t Fallocate(int fd, int mode, int64_t offset, int64_t bytes) override {
    return OrErrno(mayfly_fallocate(fd, mode, offset, bytes));
  }

  int64_t Stat(const Target& t, struct stat* out) override {
    if (TakeBatch() && t.fd < 0) {
      mayfly_op op = {};
      op.kind = t.follow ? MAYFLY_OP_STAT : MAYFLY_OP_LSTAT;
      op.path = t.path.c_str();
      op.buffer = out;
      return Submit(&op);
    }
    return OrErrno(t.fd >= 0  ? mayfly_fstat(t.fd, out)
                   : t.follow ? mayfly_stat(now_, t.path.c_str(), out)
                              : mayfly_lstat(now_, t.path.c_str(), out));
  }
  int64_t Chmod(const Target& t, mode_t mode) override {
    return OrErrno(t.fd >= 0 ? mayfly_fchmod(t.fd, mode) : mayfly_chmod(now_, t.path.c_str(), mode));
  }
  int64_t Chown(const Target& t, uid_t uid, gid_t gid) override {
    return OrErrno(t.fd >= 0  ? mayfly_fchown(t.fd, uid, gid)
                   : t.follow ? mayfly_chown(now_, t.path.c_str(), uid, gid)
                              : mayfly_lchown(now_, t.path.c_str(), uid, gid));
  }
  int64_t Utimens(const Target& t, const timespec* times) override {
    if (t.fd >= 0) return OrErrno(mayfly_futimens(t.fd, times));
    return OrErrno(mayfly_utimens(now_, t.path.c_str(), times, t.follow ? 0 : AT_SYMLINK_NOFOLLOW));
  }
  int64_t Truncate(const Target& t, int64_t size) override {
    return OrErrno(t.fd >= 0 ? mayfly_ftruncate(t.fd, size) : mayfly_truncate(now_, t.path.c_str(), size));
  }
  int64_t GetXattr(const Target& t, const std::string& name, void* value, size_t bytes) override {
    return OrErrno(t.fd >= 0  ? mayfly_fgetxattr(t.fd, name.c_str(), value, bytes)
                   : t.follow ? mayfly_getxattr(now_, t.path.c_str(), name.c_str(), value, bytes)
                              : mayfly_lgetxattr(now_, t.path.c_str(), name.c_str(), value, bytes));
  }
  int64_t SetXattr(const Target& t, const std::string& name, const std::string& value, int flags) override {
    const char* n = name.c_str();
    const char* p = t.path.c_str();
    return OrErrno(t.fd >= 0  ? mayfly_fsetxattr(t.fd, n, value.data(), value.size(), flags)
                   : t.follow ? mayfly_setxattr(now_, p, n, value.data(), value.size(), flags)
                              : mayfly_lsetxattr(now_, p, n, value.data(), value.size(), flags));
  }
  int64_t ListXattr(const Target& t, char* list, size_t bytes) override {
    return OrErrno(t.fd >= 0  ? mayfly_flistxattr(t.fd, list, bytes)
                   : t.follow ? mayfly_listxattr(now_, t.path.c_str(), list, bytes)
                              : mayfly_llistxattr(now_, t.path.c_str(), list, bytes));
  }
  int64_t RemoveXattr(const Target& t, const std::string& name) override {
    return OrErrno(t.fd >= 0  ? mayfly_fremovexattr(t.fd, name.c_str())
                   : t.follow ? mayfly_removexattr(now_, t.path.c_str(), name.c_str())
                              : mayfly_lremovexattr(now_, t.path.c_str(), name.c_str()));
  }

  int64_t Access(const std::string& path, int mode, bool follow) override {
    return OrErrno(mayfly_access(now_, path.c_str(), mode, follow ? 0 : AT_SYMLINK_NOFOLLOW));
  }
  int64_t Unlink(const std::string& path) override {
    return TakeBatch() ? OnPath(MAYFLY_OP_UNLINK, path) : OrErrno(mayfly_unlink(now_, path.c_str()));
  }
  int64_t Mkdir(const std::string& path, mode_t mode) override {
    return TakeBatch() ? OnPath(MAYFLY_OP_MKDIR, path, mode) : OrErrno(mayfly_mkdir(now_, path.c_str(), mode));
  }
  int64_t Rmdir(const std::string& path) override {
    return TakeBatch() ? OnPath(MAYFLY_OP_RMDIR, path) : OrErrno(mayfly_rmdir(now_, path.c_str()));
  }
  int64_t Rename(const std::string& from, const std::string& to, unsigned flags) override {
    return OrErrno(mayfly_rename(now_, from.c_str(), to.c_str(), flags));
  }
  int64_t Link(const std::string& from, const std::string& to) override {
    return OrErrno(mayfly_link(now_, from.c_str(), to.c_str()));
  }
  int64_t Symlink(const std::string& target, const std::string& path) override {
    return OrErrno(mayfly_symlink(now_, target.c_str(), path.c_str()));
  }
  int64_t Readlink(const std::string& path, char* to, size_t bytes) override {
    return OrErrno(mayfly_readlink(now_, path.c_str(), to, bytes));
  }
  std::unique_ptr<Stream> OpenDir(const std::string& path, int64_t* error) override {
    mayfly_dir* dir = mayfly_opendir(now_, path.c_str());
    if (dir == nullptr) *error = -errno;
    return dir == nullptr ? nullptr : std::make_unique<MayflyStream>(dir);
  }

 private:
  bool TakeBatch() { return std::exchange(batch_, false); }
  int64_t OnPath(mayfly_op_kind kind, const std::string& path, mode_t mode = 0) {
    mayfly_op op = {};
    op.kind = kind;
    op.path = path.c_str();
    op.mode = mode;
    return Submit(&op);
  }
  int64_t Transfer(mayfly_op_kind kind, int fd, void* buffer, size_t bytes, int64_t offset) {
    mayfly_op op = {};
    op.kind = kind;
    op.fd = fd;
    op.buffer = buffer;
    op.bytes = bytes;
    op.offset = offset;
    return Submit(&op);
  }
  int64_t Submit(mayfly_op* op) {
    mayfly_batch* batch = mayfly_batch_create(now_);
    if (batch == nullptr) return -errno;
    mayfly_op* done = nullptr;
    int64_t result = OrErrno(mayfly_batch_submit(batch, &op, 1));
    if (result == 0) {
      const ssize_t finished = mayfly_batch_wait(batch, 1, &done, 1, -1);
      result = finished != 1 || done != op ? -EBADMSG : op->result < 0 ? -op->error : op->result;
    }
    mayfly_batch_destroy(batch);
    return result;
  }

  std::vector<mayfly_fs*> sessions_;
  mayfly_fs* now_ = nullptr;
  bool batch_ = false;
};

}  // namespace differential

// Instead of the C library's, also for the library under test.
extern "C" inline __attribute__((used)) uid_t geteuid() noexcept { return differential::Pretend::Uid(); }
