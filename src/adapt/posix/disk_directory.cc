#include "adapt/posix/disk_directory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>

#include "adapt/posix/device_place.h"
#include "base/log.h"
#include "os/block_buffer.h"
#include "os/plain_name.h"

namespace mayfly {

namespace {

constexpr size_t kBlock = Disk::kBlockBytes;
constexpr const char* kProbeName = ".mayfly-probe";

Nanos MonotonicNow() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<Nanos>(t.tv_sec) * kSecond + static_cast<Nanos>(t.tv_nsec);
}

// What kind of file system it is (linux/magic.h); 0 if it does not say.
uint32_t TypeOf(int fd) {
  struct statfs fs {};
  return fstatfs(fd, &fs) == 0 ? static_cast<uint32_t>(fs.f_type) : 0;
}

bool IsInMemory(uint32_t type) { return type == TMPFS_MAGIC || type == RAMFS_MAGIC || type == HUGETLBFS_MAGIC; }

// Of the local file systems it is known that RWF_DSYNC flushes the device; some of a network took no notice of it.
bool WritesThrough(uint32_t type) {
  constexpr uint32_t kF2fs = 0xf2f52010;  // linux/magic.h lacks it before 5.9
  return type == EXT4_SUPER_MAGIC || type == XFS_SUPER_MAGIC || type == BTRFS_SUPER_MAGIC || type == kF2fs;
}

// A file of no name, or of one that is gone again at once.
int OpenProbe(int directory, int flags) {
  const int fd = openat(directory, ".", O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT)) return fd;
  const std::string name = kProbeName + std::to_string(getpid());
  const int named = openat(directory, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | flags, 0600);
  if (named >= 0) unlinkat(directory, name.c_str(), 0);
  return named;
}

// Writes a block there and reads it back; an errno, 0 if that worked.
int WriteAndRead(int directory, int flags) {
  const int fd = OpenProbe(directory, flags);
  if (fd < 0) return errno;
  std::unique_ptr<uint8_t, void (*)(void*)> memory(static_cast<uint8_t*>(std::aligned_alloc(kBlock, 2 * kBlock)),
                                                   std::free);
  int error = memory == nullptr ? ENOMEM : 0;
  if (error == 0) {
    std::memset(memory.get(), 0x5a, kBlock);
    const ssize_t written = pwrite(fd, memory.get(), kBlock, 0);
    if (written < 0) error = errno;
    if (written >= 0 && written != static_cast<ssize_t>(kBlock)) error = ENOSPC;
  }
  if (error == 0) {
    const ssize_t read = pread(fd, memory.get() + kBlock, kBlock, 0);
    if (read < 0) error = errno;
    if (read >= 0 && std::memcmp(memory.get(), memory.get() + kBlock, kBlock) != 0) error = EIO;
  }
  close(fd);
  return error;
}

// An errno, 0 if that worked.
int WriteZeros(int fd, uint64_t bytes) {
  const BlockBuffer zeros(1 << 20);
  for (uint64_t at = 0; at < bytes;) {
    const ssize_t written =
        pwrite(fd, zeros.data(), std::min<uint64_t>(zeros.size(), bytes - at), static_cast<off_t>(at));
    if (written < 0 && errno != EINTR) return errno;
    if (written == 0) return ENOSPC;
    if (written > 0) at += static_cast<uint64_t>(written);
  }
  return 0;
}

}  // namespace

DiskFailure DirectoryFailure(const std::string& path, int error) {
  const Code code = error == EDQUOT ? Code::kNoSpace : CodeOfErrno(error);
  const auto because = [&](const char* cause) {
    return DiskFailure{code, fmt::format("cannot keep data in {}: {}", path, cause)};
  };
  switch (error) {
    case ENOENT:
      return because("there is no such directory; create it on every node, or name another with --dir");
    case ENOTDIR:
      return because("it is not a directory; name one with --dir");
    case EACCES:
    case EPERM:
      return because("you may not write there; change its permissions, or name another directory with --dir");
    case EROFS:
      return because("its file system is mounted read-only; name another directory with --dir");
    case ENOSPC:
    case EDQUOT:
      return because(
          "its file system is full, or your quota is used up; remove something, or name another directory"
          " with --dir");
    case EIO:
      return because(
          "its device fails (input/output error); look at the kernel's log, or name another directory"
          " with --dir");
    default:
      return because(fmt::format("{}; name another directory with --dir", std::strerror(error)).c_str());
  }
}

DiskDirectory::~DiskDirectory() {
  if (fd_ >= 0) close(fd_);
}

DiskFailure DiskDirectory::Open(Options options) {
  options_ = std::move(options);
  fd_ = open(options_.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd_ < 0) return DirectoryFailure(options_.path, errno);
  const uint32_t type = TypeOf(fd_);
  in_memory_ = IsInMemory(type);
  writes_through_ = WritesThrough(type);
  return options_.read_only ? DiskFailure() : TryOut();
}

DiskFailure DiskDirectory::TryOut() {
  if (const int error = WriteAndRead(fd_, 0); error != 0) return DirectoryFailure(options_.path, error);
  direct_ = options_.direct && !in_memory_ && WriteAndRead(fd_, O_DIRECT) == 0;  // D2
  return {};
}

Disk::Facts DiskDirectory::facts() const {
  Disk::Facts facts;
  facts.directory = options_.path;
  facts.direct = direct_;
  facts.in_memory = in_memory_;
  facts.writes_through = writes_through_;
  struct statvfs fs {};
  if (fstatvfs(fd_, &fs) == 0) {
    facts.bytes_total = uint64_t{fs.f_blocks} * fs.f_frsize;
    facts.bytes_free = uint64_t{fs.f_bavail} * fs.f_frsize;
  }
  return facts;
}

int DiskDirectory::TryLock(int fd, int how) const {
  const Nanos until = MonotonicNow() + options_.lock_wait;
  while (flock(fd, how | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK || MonotonicNow() >= until) return errno;
    const timespec pause{0, 2'000'000};
    nanosleep(&pause, nullptr);
  }
  return 0;
}

Status DiskDirectory::Lock(int fd, const std::string& name) {
  const int error = TryLock(fd, LOCK_EX);
  if (error == EWOULDBLOCK) {
    MAYFLY_ERROR("{}/{} is in use by another server: end it, or name another directory with --dir", options_.path,
                 name);
    return Code::kBusy;
  }
  if (error != 0) {  // a file system without locks
    MAYFLY_WARN("cannot lock {}/{} ({}): see to it that no two servers use this directory", options_.path, name,
                std::strerror(error));
  }
  return {};
}

Status DiskDirectory::Allocate(int fd, const Disk::OpenHow& how) const {
  int error = 0;
  if (how.bytes != 0) {
    do error = posix_fallocate(fd, 0, static_cast<off_t>(how.bytes));
    while (error == EINTR);
  }
  if (error == 0 && how.written && !in_memory_) error = WriteZeros(fd, how.bytes);
  if (error == 0 && fsync(fd) != 0) error = errno;  // so that SyncNames is all that its durability still needs
  if (error == 0) return {};
  return error == EDQUOT ? Code::kNoSpace : CodeOfErrno(error);
}

Result<DiskDirectory::File> DiskDirectory::OpenFile(std::string_view name_given, Disk::OpenHow how) {
  if (!IsPlainName(name_given) || how.bytes > (uint64_t{1} << 62)) return Code::kInvalid;
  const std::string name(name_given);
  const bool writable = !how.read_only && !options_.read_only;
  if (how.create && !writable) return Code::kReadOnly;
  // O_NONBLOCK for as long as it may be a pipe; io_uring would take it for "do not wait for the device".
  const int flags = O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | (writable ? O_RDWR : O_RDONLY) |
                    (direct_ ? O_DIRECT : 0) | (how.create ? O_CREAT | O_EXCL : 0);
  const int fd = openat(fd_, name.c_str(), flags, 0600);
  if (fd < 0) {
    const int error = errno;
    if (error != ENOENT && error != EEXIST) {
      MAYFLY_ERROR("cannot open {}/{}: {}", options_.path, name, std::strerror(error));
    }
    return error == EDQUOT ? Code::kNoSpace : CodeOfErrno(error);
  }
  struct stat info {};
  Status status = fstat(fd, &info) == 0 ? Status() : Status(CodeOfErrno(errno));
  if (status.ok() && !S_ISREG(info.st_mode)) status = S_ISDIR(info.st_mode) ? Code::kIsDirectory : Code::kInvalid;
  if (status.ok() && fcntl(fd, F_SETFL, direct_ ? O_DIRECT : 0) != 0) status = CodeOfErrno(errno);
  if (status.ok() && writable) status = Lock(fd, name);
  if (status.ok() && how.create) {
    status = Allocate(fd, how);
    if (!status.ok()) {
      MAYFLY_WARN("cannot allocate {} MiB for {}/{}: {}", how.bytes >> 20, options_.path, name, TextOf(status.code()));
      unlinkat(fd_, name.c_str(), 0);
    }
  }
  if (status.ok()) return File{fd, writable, nullptr, 0};
  close(fd);
  return status;
}

void DiskDirectory::CloseFile(File file) {
  if (file.writable) flock(file.fd, LOCK_UN);
  close(file.fd);
}

Result<uint64_t> DiskDirectory::BytesOf(const File& file) const {
  struct stat info {};
  if (fstat(file.fd, &info) != 0) return CodeOfErrno(errno);
  return static_cast<uint64_t>(info.st_size);
}

bool DiskDirectory::IsGone(const File& file) const {
  struct stat info {};
  return fstat(file.fd, &info) == 0 && info.st_nlink == 0;
}

Result<bool> DiskDirectory::InUse(std::string_view name) const {
  if (!IsPlainName(name)) return Code::kInvalid;
  const int fd = openat(fd_, std::string(name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
  if (fd < 0) return CodeOfErrno(errno);
  const bool in_use = TryLock(fd, LOCK_SH) == EWOULDBLOCK;
  close(fd);
  return in_use;
}

Status DiskDirectory::Remove(std::string_view name) {
  if (!IsPlainName(name)) return Code::kInvalid;
  return unlinkat(fd_, std::string(name).c_str(), 0) == 0 ? Status() : Status(CodeOfErrno(errno));
}

Status DiskDirectory::Rename(std::string_view from, std::string_view to) {
  if (!IsPlainName(from) || !IsPlainName(to)) return Code::kInvalid;
  const int result = renameat(fd_, std::string(from).c_str(), fd_, std::string(to).c_str());
  return result == 0 ? Status() : Status(CodeOfErrno(errno));
}

Status DiskDirectory::SyncNames() {
  if (fsync(fd_) == 0 || errno == EINVAL) return {};  // EINVAL: it has nothing to write back
  MAYFLY_ERROR("cannot make the names in {} durable: {}", options_.path, std::strerror(errno));
  return CodeOfErrno(errno);
}

Result<std::vector<std::string>> DiskDirectory::List() {
  const int fd = openat(fd_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return CodeOfErrno(errno);
  DIR* listing = fdopendir(fd);
  if (listing == nullptr) {
    const int error = errno;
    close(fd);
    return CodeOfErrno(error);
  }
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(listing)) {
    struct stat info {};
    const bool is_file = fstatat(fd, entry->d_name, &info, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(info.st_mode) &&
                         IsPlainName(entry->d_name);
    if (is_file) names.emplace_back(entry->d_name);
    errno = 0;
  }
  const int error = errno;
  closedir(listing);
  if (error != 0) return CodeOfErrno(error);
  std::sort(names.begin(), names.end());
  return names;
}

DiskFailure OpenDiskPlace(DiskPlace::Options options, std::unique_ptr<DiskPlace>* place) {
  if (auto where = SplitDevicePath(options.path)) {
    auto device = std::make_unique<DevicePlace>();
    DiskFailure failure = device->Open(std::move(options), std::move(*where));
    if (failure.ok()) *place = std::move(device);
    return failure;
  }
  auto directory = std::make_unique<DiskDirectory>();
  DiskFailure failure = directory->Open(std::move(options));
  if (failure.ok()) *place = std::move(directory);
  return failure;
}

}  // namespace mayfly
