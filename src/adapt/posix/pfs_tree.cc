#include "adapt/posix/pfs_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace mayfly {
namespace {

// What the user can do about it.
std::string_view RemedyOf(int error) {
  switch (error) {
    case ENOSPC:
      return "make room there or choose another target, then flush again";
    case EDQUOT:
      return "your quota is used up: remove files there or choose another target, then flush again";
    case EACCES:
    case EPERM:
      return "check owner and mode of the directory, or choose another target";
    case EROFS:
      return "the file system is mounted read-only: choose another target";
    case ELOOP:
      return "a symbolic link is in the way inside the target, and none is followed there: remove it or choose another "
             "target";
    case EISDIR:
    case ENOTDIR:
    case EEXIST:
    case ENOTEMPTY:
      return "something of another type has the name in the target: move it away, then flush again";
    case ENAMETOOLONG:
      return "the file system takes no name this long: rename the file or choose another target";
    case EMFILE:
    case ENFILE:
      return "raise the limit of open files (ulimit -n)";
    case ENOENT:
      return "was the target removed meanwhile? flush again";
    default:
      return "the file system failed: flush again, and if it stays tell its administrators";
  }
}

Code CodeOf(int error) {
  if (error == EDQUOT) return Code::kNoSpace;
  return CodeOfErrno(error);
}

PfsStatus Fail(int error, std::string_view operation, std::string_view path) {
  const char* text = strerrordesc_np(error);
  PfsStatus status;
  status.code = CodeOf(error);
  status.why =
      fmt::format("cannot {} {}: {}; {}", operation, path, text == nullptr ? "unknown error" : text, RemedyOf(error));
  return status;
}

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& o) noexcept : fd_(std::exchange(o.fd_, -1)) {}
  Fd& operator=(Fd&& o) noexcept {
    std::swap(fd_, o.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }

 private:
  int fd_ = -1;
};

timespec TimeOf(Nanos t) {
  timespec out;
  const auto value = static_cast<int64_t>(t);  // before 1970 it is negative
  constexpr auto kOne = static_cast<int64_t>(kSecond);
  out.tv_sec = static_cast<time_t>(value / kOne - (value % kOne < 0 ? 1 : 0));
  out.tv_nsec = static_cast<long>(value % kOne + (value % kOne < 0 ? kOne : 0));
  return out;
}

Nanos NanosOf(const timespec& t) { return static_cast<Nanos>(t.tv_sec) * kSecond + static_cast<Nanos>(t.tv_nsec); }

PfsAttr AttrOf(const struct stat& st) {
  PfsAttr a;
  a.type = S_ISREG(st.st_mode)   ? PfsType::kFile
           : S_ISDIR(st.st_mode) ? PfsType::kDirectory
           : S_ISLNK(st.st_mode) ? PfsType::kSymlink
                                 : PfsType::kOther;
  a.permissions = st.st_mode & 07777;
  a.uid = st.st_uid;
  a.gid = st.st_gid;
  a.size = static_cast<uint64_t>(st.st_size);
  a.blocks = static_cast<uint64_t>(st.st_blocks);
  a.mtime = NanosOf(st.st_mtim);
  a.ctime = NanosOf(st.st_ctim);
  a.links = st.st_nlink;
  a.device = st.st_dev;
  a.number = st.st_ino;
  return a;
}

// A directory of ours in which its owner could not work gets the owner's bits. `fd` may be O_PATH.
void LetOwnerWork(int fd) {
  struct stat st;
  if (::geteuid() == 0 || ::fstat(fd, &st) != 0) return;
  if (!S_ISDIR(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 0700) == 0700) return;
  (void)::chmod(fmt::format("/proc/self/fd/{}", fd).c_str(), (st.st_mode & 07777) | 0700);
}

class PosixFile final : public PfsFile {
 public:
  PosixFile(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

  PfsStatus WriteAt(Bytes data, uint64_t offset) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0) return Fail(n < 0 ? errno : EIO, "write", path_);
      data = data.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  }
  PfsStatus ReadAt(MutableBytes to, uint64_t offset) override {
    while (!to.empty()) {
      const ssize_t n = ::pread(fd_.get(), to.data(), to.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return Fail(errno, "read back", path_);
      if (n == 0) {
        PfsStatus status;
        status.code = Code::kIo;
        status.why = fmt::format("reading back {} it ends at byte {}, {} too early; {}", path_, offset, to.size(),
                                 RemedyOf(EIO));
        return status;
      }
      to = to.subspan(static_cast<size_t>(n));
      offset += static_cast<uint64_t>(n);
    }
    return {};
  }
  PfsStatus Truncate(uint64_t size) override {
    return Check(::ftruncate(fd_.get(), static_cast<off_t>(size)), "set the size of");
  }
  PfsStatus Sync() override { return Check(::fsync(fd_.get()), "write to storage (fsync)"); }
  void DropCache(uint64_t offset, uint64_t bytes) override {
    (void)::posix_fadvise(fd_.get(), static_cast<off_t>(offset), static_cast<off_t>(bytes), POSIX_FADV_DONTNEED);
  }
  PfsStatus SetOwner(uint32_t uid, uint32_t gid) override {
    return Check(::fchown(fd_.get(), uid, gid), "set the owner of");
  }
  PfsStatus SetMode(uint16_t permissions) override {
    return Check(::fchmod(fd_.get(), permissions), "set the mode of");
  }
  PfsStatus SetTimes(Nanos atime, Nanos mtime) override {
    const timespec times[2] = {TimeOf(atime), TimeOf(mtime)};
    return Check(::futimens(fd_.get(), times), "set the times of");
  }
  PfsStatus SetXattr(const std::string& name, std::string_view value) override {
    return Check(::fsetxattr(fd_.get(), name.c_str(), value.data(), value.size(), 0),
                 "set the extended attribute " + name + " of");
  }
  PfsStatus Stat(PfsAttr* attr) override {
    struct stat st;
    if (::fstat(fd_.get(), &st) != 0) return Fail(errno, "look at", path_);
    *attr = AttrOf(st);
    return {};
  }

 private:
  PfsStatus Check(int result, std::string_view operation) const {
    return result == 0 ? PfsStatus() : Fail(errno, operation, path_);
  }

  const Fd fd_;
  const std::string path_;  // for sentences
};

class PosixRoot final : public PfsRoot {
 public:
  PosixRoot(Fd fd, std::string name, bool openat2) : fd_(std::move(fd)), name_(std::move(name)), openat2_(openat2) {}

  PfsStatus MakeDirectory(const std::string& path, bool* created) override {
    *created = false;
    if (path.empty()) return {};
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "make the directory", Full(path));
    if (::mkdirat(parent.fd.get(), parent.name.c_str(), 0700) == 0) {
      *created = true;
      return {};
    }
    if (errno != EEXIST) return Fail(errno, "make the directory", Full(path));
    Fd there(::openat(parent.fd.get(), parent.name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!there.ok()) {
      PfsStatus status = Fail(errno == ENOTDIR || errno == ELOOP ? EEXIST : errno, "make the directory", Full(path));
      return status;
    }
    LetOwnerWork(there.get());
    return {};
  }

  PfsStatus CreateFile(const std::string& path, std::unique_ptr<PfsFile>* file) override {
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "create", Full(path));
    constexpr int kFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    Fd fd(::openat(parent.fd.get(), parent.name.c_str(), kFlags | O_NOATIME, 0600));
    if (!fd.ok() && errno == EPERM) fd = Fd(::openat(parent.fd.get(), parent.name.c_str(), kFlags, 0600));
    if (!fd.ok()) return Fail(errno, "create", Full(path));
    *file = std::make_unique<PosixFile>(std::move(fd), Full(path));
    return {};
  }

  PfsStatus OpenFile(const std::string& path, std::unique_ptr<PfsFile>* file) override {
    constexpr int kFlags = O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;  // a FIFO must not make us wait
    int error = 0;
    Fd fd = OpenBeneath(path, kFlags | O_NOATIME, &error);
    if (!fd.ok() && error == EPERM) fd = OpenBeneath(path, kFlags, &error);
    struct stat st;
    if (fd.ok() && (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode))) {
      fd = Fd();
      error = EEXIST;
    }
    if (!fd.ok()) return Fail(error, "open", Full(path));
    *file = std::make_unique<PosixFile>(std::move(fd), Full(path));
    return {};
  }

  PfsStatus OpenDirectory(const std::string& path, std::unique_ptr<PfsFile>* directory) override {
    int error = 0;
    Fd fd = OpenBeneath(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, &error);
    if (!fd.ok()) return Fail(error, "open the directory", Full(path));
    *directory = std::make_unique<PosixFile>(std::move(fd), Full(path));
    return {};
  }

  PfsStatus Symlink(const std::string& target, const std::string& path) override {
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "create the symbolic link", Full(path));
    if (::symlinkat(target.c_str(), parent.fd.get(), parent.name.c_str()) == 0) return {};
    return Fail(errno, "create the symbolic link", Full(path));
  }

  PfsStatus SetSymlinkOwner(const std::string& path, uint32_t uid, uint32_t gid) override {
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "set the owner of", Full(path));
    if (::fchownat(parent.fd.get(), parent.name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW) == 0) return {};
    return Fail(errno, "set the owner of", Full(path));
  }

  PfsStatus SetSymlinkTimes(const std::string& path, Nanos atime, Nanos mtime) override {
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "set the times of", Full(path));
    const timespec times[2] = {TimeOf(atime), TimeOf(mtime)};
    if (::utimensat(parent.fd.get(), parent.name.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0) return {};
    return Fail(errno, "set the times of", Full(path));
  }

  PfsStatus Link(const std::string& from, const std::string& to) override {
    Parent a, b;
    if (int e = OpenParent(from, &a); e != 0) return Fail(e, "link", Full(from));
    if (int e = OpenParent(to, &b); e != 0) return Fail(e, "link", Full(to));
    if (::linkat(a.fd.get(), a.name.c_str(), b.fd.get(), b.name.c_str(), 0) == 0) return {};
    return Fail(errno, "link", Full(to));
  }

  PfsStatus Rename(const std::string& from, const std::string& to) override {
    Parent a, b;
    if (int e = OpenParent(from, &a); e != 0) return Fail(e, "rename", Full(from));
    if (int e = OpenParent(to, &b); e != 0) return Fail(e, "rename into place", Full(to));
    if (::renameat(a.fd.get(), a.name.c_str(), b.fd.get(), b.name.c_str()) == 0) return {};
    return Fail(errno, "rename into place", Full(to));
  }

  PfsStatus Unlink(const std::string& path) override {
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "remove", Full(path));
    if (::unlinkat(parent.fd.get(), parent.name.c_str(), 0) == 0) return {};
    return Fail(errno, "remove", Full(path));
  }

  PfsStatus Stat(const std::string& path, PfsAttr* attr) override {
    struct stat st;
    if (path.empty()) {
      if (::fstat(fd_.get(), &st) != 0) return Fail(errno, "look at", Full(path));
      *attr = AttrOf(st);
      return {};
    }
    Parent parent;
    if (int e = OpenParent(path, &parent); e != 0) return Fail(e, "look at", Full(path));
    if (::fstatat(parent.fd.get(), parent.name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0) {
      return Fail(errno, "look at", Full(path));
    }
    *attr = AttrOf(st);
    return {};
  }

  PfsStatus List(const std::string& path, const std::function<void(std::string_view)>& visit) override {
    int error = 0;
    Fd fd = OpenBeneath(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, &error);
    if (!fd.ok()) return Fail(error, "list", Full(path));
    DIR* dir = ::fdopendir(fd.get());
    if (dir == nullptr) return Fail(errno, "list", Full(path));
    fd.Release();
    errno = 0;
    while (dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") visit(name);
      errno = 0;
    }
    const int e = errno;
    ::closedir(dir);
    return e == 0 ? PfsStatus() : Fail(e, "list", Full(path));
  }

  PfsStatus Space(PfsSpace* space) override {
    struct statvfs st;
    if (::fstatvfs(fd_.get(), &st) != 0) return Fail(errno, "ask for the free space of", name_);
    space->bytes_total = uint64_t{st.f_blocks} * st.f_frsize;
    space->bytes_free = uint64_t{st.f_bavail} * st.f_frsize;
    space->files_free = st.f_favail;
    return {};
  }

 private:
  struct Parent {
    Fd fd;
    std::string name;
  };

  std::string Full(const std::string& path) const { return path.empty() ? name_ : name_ + "/" + path; }

  // The directory of `path` and its last component; an errno.
  int OpenParent(const std::string& path, Parent* out) const {
    const size_t slash = path.rfind('/');
    out->name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (out->name.empty() || out->name == "." || out->name == "..") return EINVAL;
    int error = 0;
    const std::string above = slash == std::string::npos ? std::string() : path.substr(0, slash);
    out->fd = OpenBeneath(above, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC, &error);
    return out->fd.ok() ? 0 : error;
  }

  // F1. A path may be longer than the kernel takes at once, so it is walked in pieces.
  Fd OpenBeneath(const std::string& path, int flags, int* error) const {
    constexpr size_t kPieceMax = 4000;
    if (!Plain(path)) {
      *error = EINVAL;
      return Fd();
    }
    Fd at;
    size_t begin = 0;
    for (;;) {
      const int from = at.ok() ? at.get() : fd_.get();
      size_t end = path.size();
      if (end - begin > kPieceMax) {
        end = path.rfind('/', begin + kPieceMax);
        if (end == std::string::npos || end <= begin) {
          *error = ENAMETOOLONG;
          return Fd();
        }
      }
      const bool last = end == path.size();
      const int piece_flags = last ? flags : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
      const std::string piece = begin == end ? std::string(".") : path.substr(begin, end - begin);
      at = Fd(OpenPiece(from, piece, piece_flags));
      if (!at.ok()) {
        *error = errno == EXDEV ? ELOOP : errno;
        return Fd();
      }
      if (last) return at;
      begin = end + 1;
    }
  }

  // No empty component, ".", ".." or NUL; "" is the root.
  static bool Plain(const std::string& path) {
    if (path.empty()) return true;
    if (path.find('\0') != std::string::npos) return false;
    size_t begin = 0;
    for (;;) {
      size_t end = path.find('/', begin);
      if (end == std::string::npos) end = path.size();
      const std::string_view name = std::string_view(path).substr(begin, end - begin);
      if (name.empty() || name == "." || name == "..") return false;
      if (end == path.size()) return true;
      begin = end + 1;
    }
  }

  int OpenPiece(int from, const std::string& piece, int flags) const {
    if (openat2_) {
      struct open_how how = {};
      // RESOLVE_NO_SYMLINKS says ELOOP of a last component too, where O_NOFOLLOW with O_DIRECTORY says ENOTDIR.
      how.flags = static_cast<uint64_t>(flags & ~O_NOFOLLOW);
      how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
      const long fd = ::syscall(SYS_openat2, from, piece.c_str(), &how, sizeof how);
      if (fd >= 0 || (errno != ENOSYS && errno != EPERM && errno != EAGAIN)) return static_cast<int>(fd);
      // Unknown to the kernel, or kept from us by a filter: by hand. (A true EPERM comes again.)
    }
    return OpenByHand(from, piece, flags);
  }

  // One component at a time, none of them a symlink. `piece` is Plain, or ".".
  static int OpenByHand(int from, const std::string& piece, int flags) {
    Fd at;
    size_t begin = 0;
    for (;;) {
      const size_t end = std::min(piece.find('/', begin), piece.size());
      const bool last = end == piece.size();
      const int part_flags = last ? flags | O_NOFOLLOW : O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
      const int parent = at.ok() ? at.get() : from;
      const std::string name = piece.substr(begin, end - begin);
      const int fd = ::openat(parent, name.c_str(), part_flags);
      if (fd < 0) {
        // With O_DIRECTORY a symlink gives ENOTDIR here: say the same as openat2.
        const int e = errno;
        struct stat st;
        const bool link = ::fstatat(parent, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISLNK(st.st_mode);
        errno = link ? ELOOP : e;
        return -1;
      }
      if (last) return fd;
      at = Fd(fd);
      begin = end + 1;
    }
  }

  const Fd fd_;
  const std::string name_;
  const bool openat2_;
};

// `mkdir -p`: the parents as the user's umask wants them, the last one 0700. An errno.
int MakeAll(const std::string& directory, bool* created) {
  for (size_t end = 1; end != std::string::npos;) {
    end = directory.find('/', end);
    const std::string part = directory.substr(0, end);
    const bool last = end == std::string::npos || directory.find_first_not_of('/', end) == std::string::npos;
    if (::mkdir(part.c_str(), last ? 0700 : 0777) == 0) {
      *created = last;
    } else if (errno != EEXIST) {
      // Some file systems answer EROFS or EACCES for a directory that is there.
      struct stat st;
      const int e = errno;
      if (::stat(part.c_str(), &st) != 0) return e;
    }
    if (last) break;
    ++end;
  }
  return 0;
}

}  // namespace

PfsStatus PosixPfsTree::Open(const std::string& directory, bool create, std::shared_ptr<PfsRoot>* root, bool* created) {
  *created = false;
  if (directory.empty() || directory[0] != '/' || directory.find('\0') != std::string::npos) {
    PfsStatus status;
    status.code = Code::kInvalid;
    status.why = fmt::format("the target '{}' is no absolute path: name it from / on", directory);
    return status;
  }
  if (create) {
    if (int e = MakeAll(directory, created); e != 0) return Fail(e, "make the target directory", directory);
  }
  {
    Fd path(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!path.ok()) return Fail(errno, "open the target directory", directory);
    LetOwnerWork(path.get());
  }
  Fd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.ok()) return Fail(errno, "open the target directory", directory);
  if (::faccessat(fd.get(), ".", W_OK | X_OK, AT_EACCESS) != 0) {
    return Fail(errno, "write into the target directory", directory);
  }
  *root = std::make_shared<PosixRoot>(std::move(fd), directory, options_.openat2);
  return {};
}

}  // namespace mayfly
