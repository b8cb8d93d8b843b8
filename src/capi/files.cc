// Files: mayfly_open to mayfly_fallocate.
#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include <algorithm>
#include <limits>
#include <new>

#include "capi/entry.h"
#include "client/quick_io.h"

using namespace mayfly;

namespace {

constexpr size_t kBytesMax = std::numeric_limits<ssize_t>::max();
constexpr int kVectorsMax = 1024;             // IOV_MAX
constexpr size_t kGatherMax = 4u << 20;       // pieces of a vector that become one message, and so stay together
constexpr int kKeepSize = 1, kPunchHole = 2;  // FALLOC_FL_
constexpr int kFallocateKnown = 0xff;         // bits that Linux knows, whatever tmpfs says to them

MutableBytes RoomOf(void* buffer, size_t bytes) { return {static_cast<uint8_t*>(buffer), bytes}; }
Bytes DataOf(const void* buffer, size_t bytes) { return {static_cast<const uint8_t*>(buffer), bytes}; }

// The sum of a vector's lengths; -1 with errno set.
ssize_t SumOf(const Call& call, const iovec* iov, int count) {
  if (count < 0 || count > kVectorsMax) return FailErrno(call, EINVAL);
  if (count != 0 && iov == nullptr) return FailErrno(call, EFAULT);
  size_t sum = 0;
  for (int i = 0; i < count; ++i) {
    if (iov[i].iov_len > kBytesMax - sum) return FailErrno(call, EINVAL);
    if (iov[i].iov_len != 0 && iov[i].iov_base == nullptr) return FailErrno(call, EFAULT);
    sum += iov[i].iov_len;
  }
  return static_cast<ssize_t>(sum);
}

// As FileOf, for the calls that a program makes by the thousand on one file (FileTable::FindAgain).
const FileRef& FileAgain(const Call& call, int fd) {
  const FileRef& file = Registry::Get().files().FindAgain(fd);
  if (file == nullptr) Fail(call, Code::kBadHandle);
  return file;
}

}  // namespace

int mayfly_open(mayfly_fs* fs, const char* path, int flags, ...) {
  const Call call{"open", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list arguments;
    va_start(arguments, flags);
    mode = va_arg(arguments, mode_t);
    va_end(arguments);
  }
  auto open_flags = OpenFlagsOf(flags);
  if (!open_flags.ok()) return Fail(call, open_flags.code());
  const uint16_t permissions = (flags & O_CREAT) != 0 ? NewPermissions(mode, InstanceOf(fs).umask()) : 0;
  return static_cast<int>(
      Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.Open(path, *open_flags, permissions); }));
}

int mayfly_close(int fd) {
  const Call call{"close", ""};
  bool closed = false;
  FileTable& files = Registry::Get().files();
  FileRef file = files.StartClose(fd, Lane::MayCloseAtOnce, &closed);
  if (file == nullptr) return static_cast<int>(Fail(call, Code::kBadHandle));
  if (closed) return static_cast<int>(Returned(call, file->mount.TakeLate()));
  volatile bool begun = false;  // a failed check jumps back
  const int64_t result = Block(call, InstanceOf(*file), [&](Lane& lane) {
    begun = true;
    return lane.EndClose(fd, file);
  });
  if (!begun) files.FinishClose(fd);
  return static_cast<int>(result);
}

ssize_t mayfly_read(int fd, void* buffer, size_t bytes) {
  const Call call{"read", ""};
  const FileRef& file = FileAgain(call, fd);
  if (file == nullptr) return -1;
  MAYFLY_NEED(call, buffer != nullptr || bytes == 0);
  if (bytes > kBytesMax) return FailErrno(call, EINVAL);
  if (const auto n = QuickRead(*file, RoomOf(buffer, bytes), std::nullopt)) return static_cast<ssize_t>(*n);
  return Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.Read(file, RoomOf(buffer, bytes)); });
}

ssize_t mayfly_write(int fd, const void* buffer, size_t bytes) {
  const Call call{"write", ""};
  const FileRef& file = FileAgain(call, fd);
  if (file == nullptr) return -1;
  MAYFLY_NEED(call, buffer != nullptr || bytes == 0);
  if (bytes > kBytesMax) return FailErrno(call, EINVAL);
  if (const auto n = QuickWrite(*file, DataOf(buffer, bytes), std::nullopt)) return static_cast<ssize_t>(*n);
  return Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.Write(file, DataOf(buffer, bytes)); });
}

ssize_t mayfly_pread(int fd, void* buffer, size_t bytes, off_t offset) {
  const Call call{"pread", ""};
  if (offset < 0) return FailErrno(call, EINVAL);  // before the descriptor is looked at, as Linux
  const FileRef& file = FileAgain(call, fd);
  if (file == nullptr) return -1;
  MAYFLY_NEED(call, buffer != nullptr || bytes == 0);
  if (bytes > kBytesMax) return FailErrno(call, EINVAL);
  const auto at = static_cast<uint64_t>(offset);
  if (const auto n = QuickRead(*file, RoomOf(buffer, bytes), at)) return static_cast<ssize_t>(*n);
  return Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.ReadAt(file, RoomOf(buffer, bytes), at); });
}

ssize_t mayfly_pwrite(int fd, const void* buffer, size_t bytes, off_t offset) {
  const Call call{"pwrite", ""};
  if (offset < 0) return FailErrno(call, EINVAL);
  const FileRef& file = FileAgain(call, fd);
  if (file == nullptr) return -1;
  MAYFLY_NEED(call, buffer != nullptr || bytes == 0);
  if (bytes > kBytesMax) return FailErrno(call, EINVAL);
  const auto at = static_cast<uint64_t>(offset);
  if (const auto n = QuickWrite(*file, DataOf(buffer, bytes), at)) return static_cast<ssize_t>(*n);
  return Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.WriteAt(file, DataOf(buffer, bytes), at); });
}

ssize_t mayfly_preadv(int fd, const struct iovec* iov, int count, off_t offset) {
  const Call call{"preadv", ""};
  if (offset < 0) return FailErrno(call, EINVAL);
  const ssize_t sum = SumOf(call, iov, count);
  if (sum < 0) return -1;
  if (sum == 0) {  // as Linux: not even a directory minds
    FileRef file = FileOf(call, fd);
    return file == nullptr ? -1 : file->readable() ? 0 : FailErrno(call, EBADF);
  }
  if (count == 1) return mayfly_pread(fd, iov[0].iov_base, iov[0].iov_len, offset);
  const auto bytes = static_cast<size_t>(sum);
  std::unique_ptr<uint8_t[]> gathered;
  if (bytes <= kGatherMax) gathered.reset(new (std::nothrow) uint8_t[bytes + 1]);
  if (gathered != nullptr) {
    const ssize_t read = mayfly_pread(fd, gathered.get(), bytes, offset);
    size_t at = 0;
    for (int i = 0; i < count && read > 0 && at < static_cast<size_t>(read); ++i) {
      const size_t n = std::min(iov[i].iov_len, static_cast<size_t>(read) - at);
      if (n != 0) memcpy(iov[i].iov_base, gathered.get() + at, n);
      at += n;
    }
    return read;
  }
  ssize_t done = 0;
  for (int i = 0; i < count; ++i) {
    if (iov[i].iov_len == 0) continue;
    const ssize_t read = mayfly_pread(fd, iov[i].iov_base, iov[i].iov_len, offset + done);
    if (read < 0) return done != 0 ? done : -1;
    done += read;
    if (static_cast<size_t>(read) < iov[i].iov_len) break;
  }
  return done;
}

ssize_t mayfly_pwritev(int fd, const struct iovec* iov, int count, off_t offset) {
  const Call call{"pwritev", ""};
  if (offset < 0) return FailErrno(call, EINVAL);
  const ssize_t sum = SumOf(call, iov, count);
  if (sum < 0) return -1;
  if (count == 1) return mayfly_pwrite(fd, iov[0].iov_base, iov[0].iov_len, offset);
  const auto bytes = static_cast<size_t>(sum);
  std::unique_ptr<uint8_t[]> gathered;
  if (bytes <= kGatherMax) gathered.reset(new (std::nothrow) uint8_t[bytes + 1]);
  if (gathered != nullptr) {
    size_t at = 0;
    for (int i = 0; i < count; ++i) {
      if (iov[i].iov_len != 0) memcpy(gathered.get() + at, iov[i].iov_base, iov[i].iov_len);
      at += iov[i].iov_len;
    }
    return mayfly_pwrite(fd, gathered.get(), bytes, offset);
  }
  ssize_t done = 0;
  for (int i = 0; i < count; ++i) {
    if (iov[i].iov_len == 0) continue;
    const ssize_t written = mayfly_pwrite(fd, iov[i].iov_base, iov[i].iov_len, offset + done);
    if (written < 0) return done != 0 ? done : -1;
    done += written;
    if (static_cast<size_t>(written) < iov[i].iov_len) break;
  }
  return done;
}

off_t mayfly_lseek(int fd, off_t offset, int whence) {
  const Call call{"lseek", ""};
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  Lane::Whence from;
  switch (whence) {
    case SEEK_SET:
      from = Lane::Whence::kSet;
      break;
    case SEEK_CUR:
      from = Lane::Whence::kCurrent;
      break;
    case SEEK_END:
      from = Lane::Whence::kEnd;
      break;
    case SEEK_DATA:
      from = Lane::Whence::kData;
      break;
    case SEEK_HOLE:
      from = Lane::Whence::kHole;
      break;
    default:
      return FailErrno(call, EINVAL);
  }
  return Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.Seek(file, offset, from); });
}

int mayfly_fsync(int fd) {
  const Call call{"fsync", ""};
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  return static_cast<int>(Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.Sync(file); }));
}

int mayfly_fdatasync(int fd) { return mayfly_fsync(fd); }

int mayfly_sync(mayfly_fs* fs) {
  const Call call{"sync", ""};
  MAYFLY_NEED(call, fs != nullptr);
  return static_cast<int>(Enter(
      call, InstanceOf(fs), [&](Engine& engine) -> int64_t { return Returned(call, InstanceOf(fs).Sync(engine)); }));
}

int mayfly_ftruncate(int fd, off_t size) {
  const Call call{"ftruncate", ""};
  if (size < 0) return FailErrno(call, EINVAL);
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  const auto to = static_cast<uint64_t>(size);
  return static_cast<int>(Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.Truncate(file, to); }));
}

int mayfly_truncate(mayfly_fs* fs, const char* path, off_t size) {
  const Call call{"truncate", path != nullptr ? path : ""};
  MAYFLY_NEED(call, fs != nullptr && path != nullptr);
  if (size < 0) return FailErrno(call, EINVAL);
  Lane::Target target;
  target.path = path;
  SetAttrRequest change;
  change.mask = kSetSize;
  change.size = static_cast<uint64_t>(size);
  return static_cast<int>(Block(call, InstanceOf(fs), [&](Lane& lane) { return lane.SetAttr(target, change); }));
}

int mayfly_fallocate(int fd, int mode, off_t offset, off_t bytes) {
  const Call call{"fallocate", ""};
  FileRef file = FileOf(call, fd);
  if (file == nullptr) return -1;
  if (offset < 0 || bytes <= 0) return FailErrno(call, EINVAL);
  Lane::Allocate what;
  if (mode == 0) {
    what = Lane::Allocate::kExtend;
  } else if (mode == kKeepSize) {
    what = Lane::Allocate::kKeepSize;
  } else if (mode == (kPunchHole | kKeepSize)) {
    what = Lane::Allocate::kPunch;
  } else {
    const bool known = (mode & ~kFallocateKnown) == 0 && (mode & (kPunchHole | kKeepSize)) != kPunchHole;
    return FailErrno(call, known && !file->writable() ? EBADF : EOPNOTSUPP);
  }
  const auto from = static_cast<uint64_t>(offset), count = static_cast<uint64_t>(bytes);
  return static_cast<int>(
      Block(call, InstanceOf(*file), [&](Lane& lane) { return lane.Fallocate(file, what, from, count); }));
}
