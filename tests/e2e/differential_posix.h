// The reference side: system calls in a directory of this machine's tmpfs. A thread of its own makes them: its root
// directory is that directory (where we may chroot) and its effective ids are those of the actor, while the rest of the
// process keeps its own. And the same side with one fault each, to see that the comparison finds it.
#pragma once

#include <dirent.h>
#include <grp.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "differential_side.h"

namespace differential {

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;
};

inline int64_t OrErrno(int64_t result) { return result < 0 ? -errno : result; }

class PosixStream : public Stream {
 public:
  explicit PosixStream(DIR* dir) : dir_(dir) {}
  ~PosixStream() override { ::closedir(dir_); }
  int64_t Next(Listed* entry) override {
    errno = 0;
    const dirent* found = ::readdir(dir_);
    if (found == nullptr) return -errno;
    entry->name = found->d_name;
    entry->attributes = {};
    if (::fstatat(::dirfd(dir_), found->d_name, &entry->attributes, AT_SYMLINK_NOFOLLOW) != 0) {
      if (errno != EACCES) return -errno;
      entry->attributes = {};  // it may be read and not searched: names and types
      entry->attributes.st_mode = DTTOIF(found->d_type);
    }
    entry->cookie = static_cast<uint64_t>(::telldir(dir_));
    return 1;
  }
  int64_t Seek(uint64_t cookie) override {
    if (cookie == 0) {
      ::rewinddir(dir_);
    } else {
      ::seekdir(dir_, static_cast<long>(cookie));
    }
    return 0;
  }
  bool NamesNow(std::set<std::string>* names) override {
    const int fd = ::openat(::dirfd(dir_), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR* dir = fd < 0 ? nullptr : ::fdopendir(fd);
    if (dir == nullptr) return false;
    while (const dirent* entry = ::readdir(dir)) names->insert(entry->d_name);
    ::closedir(dir);
    return true;
  }

 private:
  DIR* dir_;
};

class PosixSide : public Side {
 public:
  // `root` exists. Without `chroot` paths must be relative and stay inside.
  PosixSide(std::string root, std::vector<Identity> actors, bool chroot)
      : root_(std::move(root)), actors_(std::move(actors)), thread_([this, chroot] { Serve(chroot); }) {
    Run([] {});
    if (!failure_.empty()) throw std::runtime_error(failure_);
  }
  ~PosixSide() override {
    Hand([this] { ended_ = true; });
    thread_.join();
  }
  std::string name() const override { return "tmpfs"; }

  void Run(const std::function<void()>& work) override { Hand(work); }
  void Act(int actor) override {
    const Identity& to = actors_[static_cast<size_t>(actor) % actors_.size()];
    if (now_->uid == to.uid) return;
    now_ = &to;
    // The raw calls change this thread alone. Root first: it takes rights to change the rest.
    if (::syscall(SYS_setresuid, -1, 0, -1) != 0 || ::syscall(SYS_setgroups, to.groups.size(), to.groups.data()) != 0 ||
        ::syscall(SYS_setresgid, -1, to.gid, -1) != 0 || ::syscall(SYS_setresuid, -1, to.uid, -1) != 0) {
      std::perror("change of the thread's ids");
      std::abort();
    }
  }
  void SetUmask(mode_t mask) override { ::umask(mask); }
  void OpenRoot() override {
    // "." is a look-up in it, which may not be allowed; confined, its name is another way.
    if (::chmod(".", 0777) != 0 && ::chmod(root_.c_str(), 0777) != 0) std::perror("chmod of the root");
  }

  int64_t Open(const std::string& path, int flags, mode_t mode) override {
    return OrErrno(::open(path.c_str(), flags | O_CLOEXEC, mode));
  }
  int64_t Create(const std::string& path, int flags, mode_t mode) override {
    const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC | flags, mode);
    return fd < 0 ? -errno : OrErrno(::close(fd));
  }
  int64_t Close(int fd) override { return OrErrno(::close(fd)); }
  int64_t Read(int fd, void* to, size_t bytes) override { return OrErrno(::read(fd, to, bytes)); }
  int64_t Write(int fd, const void* from, size_t bytes) override { return OrErrno(::write(fd, from, bytes)); }
  int64_t Pread(int fd, void* to, size_t bytes, int64_t offset, int parts) override {
    if (parts <= 1) return OrErrno(::pread(fd, to, bytes, offset));
    const std::vector<iovec> iov = Vector(to, bytes, parts);
    return OrErrno(::preadv(fd, iov.data(), static_cast<int>(iov.size()), offset));
  }
  int64_t Pwrite(int fd, const void* from, size_t bytes, int64_t offset, int parts) override {
    if (parts <= 1) return OrErrno(::pwrite(fd, from, bytes, offset));
    const std::vector<iovec> iov = Vector(from, bytes, parts);
    return OrErrno(::pwritev(fd, iov.data(), static_cast<int>(iov.size()), offset));
  }
  int64_t Seek(int fd, int64_t offset, int whence) override { return OrErrno(::lseek(fd, offset, whence)); }
  int64_t Fsync(int fd) override { return OrErrno(::fsync(fd)); }
  int64_t Fallocate(int fd, int mode, int64_t offset, int64_t bytes) override {
    return OrErrno(::fallocate(fd, mode, offset, bytes));
  }

  int64_t Stat(const Target& t, struct stat* out) override {
    return OrErrno(t.fd >= 0  ? ::fstat(t.fd, out)
                   : t.follow ? ::stat(t.path.c_str(), out)
                              : ::lstat(t.path.c_str(), out));
  }
  int64_t Chmod(const Target& t, mode_t mode) override {
    return OrErrno(t.fd >= 0 ? ::fchmod(t.fd, mode) : ::chmod(t.path.c_str(), mode));
  }
  int64_t Chown(const Target& t, uid_t uid, gid_t gid) override {
    return OrErrno(t.fd >= 0  ? ::fchown(t.fd, uid, gid)
                   : t.follow ? ::chown(t.path.c_str(), uid, gid)
                              : ::lchown(t.path.c_str(), uid, gid));
  }
  int64_t Utimens(const Target& t, const timespec* times) override {
    if (t.fd >= 0) return OrErrno(::futimens(t.fd, times));
    return OrErrno(::utimensat(AT_FDCWD, t.path.c_str(), times, t.follow ? 0 : AT_SYMLINK_NOFOLLOW));
  }
  int64_t Truncate(const Target& t, int64_t size) override {
    return OrErrno(t.fd >= 0 ? ::ftruncate(t.fd, size) : ::truncate(t.path.c_str(), size));
  }
  int64_t GetXattr(const Target& t, const std::string& name, void* value, size_t bytes) override {
    return OrErrno(t.fd >= 0  ? ::fgetxattr(t.fd, name.c_str(), value, bytes)
                   : t.follow ? ::getxattr(t.path.c_str(), name.c_str(), value, bytes)
                              : ::lgetxattr(t.path.c_str(), name.c_str(), value, bytes));
  }
  int64_t SetXattr(const Target& t, const std::string& name, const std::string& value, int flags) override {
    return OrErrno(t.fd >= 0  ? ::fsetxattr(t.fd, name.c_str(), value.data(), value.size(), flags)
                   : t.follow ? ::setxattr(t.path.c_str(), name.c_str(), value.data(), value.size(), flags)
                              : ::lsetxattr(t.path.c_str(), name.c_str(), value.data(), value.size(), flags));
  }
  int64_t ListXattr(const Target& t, char* list, size_t bytes) override {
    return OrErrno(t.fd >= 0  ? ::flistxattr(t.fd, list, bytes)
                   : t.follow ? ::listxattr(t.path.c_str(), list, bytes)
                              : ::llistxattr(t.path.c_str(), list, bytes));
  }
  int64_t RemoveXattr(const Target& t, const std::string& name) override {
    return OrErrno(t.fd >= 0  ? ::fremovexattr(t.fd, name.c_str())
                   : t.follow ? ::removexattr(t.path.c_str(), name.c_str())
                              : ::lremovexattr(t.path.c_str(), name.c_str()));
  }

  int64_t Access(const std::string& path, int mode, bool follow) override {
    return OrErrno(::faccessat(AT_FDCWD, path.c_str(), mode, AT_EACCESS | (follow ? 0 : AT_SYMLINK_NOFOLLOW)));
  }
  int64_t Unlink(const std::string& path) override { return OrErrno(::unlink(path.c_str())); }
  int64_t Mkdir(const std::string& path, mode_t mode) override { return OrErrno(::mkdir(path.c_str(), mode)); }
  int64_t Rmdir(const std::string& path) override { return OrErrno(::rmdir(path.c_str())); }
  int64_t Rename(const std::string& from, const std::string& to, unsigned flags) override {
    return OrErrno(::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags));
  }
  int64_t Link(const std::string& from, const std::string& to) override {
    return OrErrno(::linkat(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), 0));
  }
  int64_t Symlink(const std::string& target, const std::string& path) override {
    return OrErrno(::symlink(target.c_str(), path.c_str()));
  }
  int64_t Readlink(const std::string& path, char* to, size_t bytes) override {
    return OrErrno(::readlink(path.c_str(), to, bytes));
  }
  std::unique_ptr<Stream> OpenDir(const std::string& path, int64_t* error) override {
    DIR* dir = ::opendir(path.c_str());
    if (dir == nullptr) *error = -errno;
    return dir == nullptr ? nullptr : std::make_unique<PosixStream>(dir);
  }

 private:
  void Hand(const std::function<void()>& work) {
    std::unique_lock lock(mutex_);
    work_ = &work;
    changed_.notify_all();
    changed_.wait(lock, [this] { return work_ == nullptr; });
  }
  void Serve(bool chroot) {
    // From here on the root, the working directory and the umask are this thread's own.
    if (::unshare(CLONE_FS) != 0 || ::chdir(root_.c_str()) != 0 ||
        (chroot && (::chroot(".") != 0 || ::chdir("/") != 0))) {
      failure_ = "cannot enter " + root_ + ": " + std::strerror(errno);
    }
    std::unique_lock lock(mutex_);
    while (!ended_) {
      changed_.wait(lock, [this] { return work_ != nullptr; });
      (*work_)();
      work_ = nullptr;
      changed_.notify_all();
    }
  }

  const std::string root_;
  const std::vector<Identity> actors_;
  const Identity* now_ = actors_.data();  // the process's own
  std::string failure_;
  std::mutex mutex_;
  std::condition_variable changed_;
  const std::function<void()>* work_ = nullptr;
  bool ended_ = false;
  std::thread thread_;
};

// tmpfs with one fault.
class BrokenSide : public PosixSide {
 public:
  static std::vector<std::string> Faults() {
    return {"errno",      "noreplace",  "short-read", "stale-byte", "lost-times", "hole",
            "list-twice", "list-loses", "nlink",      "mode",       "size",       "xattr"};
  }
  BrokenSide(std::string root, std::vector<Identity> actors, bool chroot, std::string fault)
      : PosixSide(std::move(root), std::move(actors), chroot), fault_(std::move(fault)) {}
  std::string name() const override { return "broken: " + fault_; }

  int64_t Rmdir(const std::string& path) override {
    const int64_t result = PosixSide::Rmdir(path);
    return fault_ == "errno" && result == -ENOTEMPTY ? -EEXIST : result;
  }
  int64_t Rename(const std::string& from, const std::string& to, unsigned flags) override {
    return PosixSide::Rename(from, to, fault_ == "noreplace" ? flags & ~RENAME_NOREPLACE : flags);
  }
  int64_t Pread(int fd, void* to, size_t bytes, int64_t offset, int parts) override {
    const int64_t border = (offset / 65536 + 1) * 65536 - offset;
    const bool cut = fault_ == "short-read" && offset >= 0 && static_cast<int64_t>(bytes) > border;
    return PosixSide::Pread(fd, to, cut ? static_cast<size_t>(border) : bytes, offset, parts);
  }
  int64_t Pwrite(int fd, const void* from, size_t bytes, int64_t offset, int parts) override {
    if (fault_ != "stale-byte" || bytes < 2 || (offset + static_cast<int64_t>(bytes)) % 65536 != 1) {
      return PosixSide::Pwrite(fd, from, bytes, offset, parts);
    }
    const int64_t result = PosixSide::Pwrite(fd, from, bytes - 1, offset, 1);
    return result < 0 ? result : result + 1;
  }
  int64_t Unlink(const std::string& path) override {
    const size_t slash = path.rfind('/');
    const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    struct stat before {};
    const bool known = fault_ == "lost-times" && ::stat(parent.c_str(), &before) == 0;
    const int64_t result = PosixSide::Unlink(path);
    const timespec times[2] = {before.st_atim, before.st_mtim};
    if (known && result == 0) ::utimensat(AT_FDCWD, parent.c_str(), times, 0);
    return result;
  }
  int64_t Seek(int fd, int64_t offset, int whence) override {
    const int64_t result = PosixSide::Seek(fd, offset, whence);
    return fault_ == "hole" && whence == SEEK_HOLE && result >= 0 ? PosixSide::Seek(fd, 0, SEEK_END) : result;
  }
  int64_t Stat(const Target& target, struct stat* out) override {
    const int64_t result = PosixSide::Stat(target, out);
    if (fault_ == "nlink" && result == 0 && S_ISREG(out->st_mode) && out->st_nlink == 3) out->st_nlink = 2;
    if (fault_ == "size" && result == 0 && S_ISREG(out->st_mode) && out->st_size > 65536) out->st_size = 65536;
    return result;
  }
  int64_t Chmod(const Target& target, mode_t mode) override {
    return PosixSide::Chmod(target, fault_ == "mode" ? mode & 0777 : mode);
  }
  int64_t RemoveXattr(const Target& target, const std::string& name) override {
    char value[1];
    const int64_t there = fault_ == "xattr" ? PosixSide::GetXattr(target, name, value, 0) : -ENODATA;
    return there >= 0 ? 0 : PosixSide::RemoveXattr(target, name);
  }
  std::unique_ptr<Stream> OpenDir(const std::string& path, int64_t* error) override {
    auto stream = PosixSide::OpenDir(path, error);
    // Not where the tree is emptied, which begins with a dot.
    if (stream == nullptr || fault_.rfind("list-", 0) != 0 || path.rfind('.', 0) == 0) return stream;
    return std::make_unique<BrokenStream>(std::move(stream), fault_ == "list-twice");
  }

 private:
  // The fifth entry comes twice, or not at all.
  class BrokenStream : public Stream {
   public:
    BrokenStream(std::unique_ptr<Stream> stream, bool twice) : stream_(std::move(stream)), twice_(twice) {}
    int64_t Next(Listed* entry) override {
      if (++count_ == 6 && twice_) {
        *entry = last_;
        return 1;
      }
      int64_t result = stream_->Next(&last_);
      if (count_ == 5 && !twice_ && result == 1) result = stream_->Next(&last_);
      *entry = last_;
      return result;
    }
    int64_t Seek(uint64_t cookie) override { return stream_->Seek(cookie); }

   private:
    std::unique_ptr<Stream> stream_;
    const bool twice_;
    int count_ = 0;
    Listed last_;
  };

  const std::string fault_;
};

}  // namespace differential
