#include "capi/convert.h"

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <string_view>

namespace mayfly {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kSecondsMax = INT64_MAX / kNanosPerSecond - 1;
constexpr uint32_t kBlockBytes = 1u << 20;  // what tools should read and write at a time, of what has no chunks

// Times before 1970 travel as negative numbers.
timespec TimeOf(Nanos nanos) {
  const auto value = static_cast<int64_t>(nanos);
  timespec t{};
  t.tv_sec = static_cast<time_t>(value / kNanosPerSecond);
  t.tv_nsec = static_cast<long>(value % kNanosPerSecond);
  if (t.tv_nsec < 0) {
    t.tv_nsec += kNanosPerSecond;
    --t.tv_sec;
  }
  return t;
}

Nanos NanosOf(const timespec& t) {
  const int64_t seconds = t.tv_sec > kSecondsMax ? kSecondsMax : t.tv_sec < -kSecondsMax ? -kSecondsMax : t.tv_sec;
  return static_cast<Nanos>(seconds * kNanosPerSecond + t.tv_nsec);
}

bool Valid(const timespec& t) {
  return t.tv_nsec == UTIME_NOW || t.tv_nsec == UTIME_OMIT || (t.tv_nsec >= 0 && t.tv_nsec < kNanosPerSecond);
}

}  // namespace

Result<uint32_t> OpenFlagsOf(int flags) {
  if ((flags & O_PATH) != 0) return Code::kInvalid;
  if ((flags & O_TMPFILE) == O_TMPFILE) return Code::kNotSupported;
  if ((flags & O_CREAT) != 0 && (flags & O_DIRECTORY) != 0) return Code::kInvalid;
  uint32_t out = 0;
  switch (flags & O_ACCMODE) {
    case O_RDONLY:
      out = kOpenRead;
      break;
    case O_WRONLY:
      out = kOpenWrite;
      break;
    case O_RDWR:
      out = kOpenRead | kOpenWrite;
      break;
    default:
      return Code::kInvalid;
  }
  if ((flags & O_CREAT) != 0) out |= kOpenCreate;
  if ((flags & O_CREAT) != 0 && (flags & O_EXCL) != 0) out |= kOpenExclusive;
  if ((flags & O_TRUNC) != 0) out |= kOpenTruncate;
  if ((flags & O_APPEND) != 0) out |= kOpenAppend;
  if ((flags & O_DIRECTORY) != 0) out |= kOpenDirectory;
  if ((flags & O_NOFOLLOW) != 0) out |= kOpenNoFollow;
  if ((flags & (O_SYNC | O_DSYNC | O_DIRECT)) != 0) out |= kOpenUnshared;
  if ((flags & (O_SYNC | O_DSYNC)) != 0) out |= kOpenSync;
  return out;
}

mode_t ProcessUmask() {
  // umask(2) could only read it by setting it, which other threads would see.
  constexpr std::string_view kField = "Umask:";
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(kField)) return static_cast<mode_t>(std::strtoul(&line[kField.size()], nullptr, 8)) & 0777;
  }
  const mode_t mask = umask(022);
  umask(mask);
  return mask;
}

uint16_t NewPermissions(mode_t mode, mode_t mask) {
  return static_cast<uint16_t>((mode & 07777 & ~mask) | ((mode & S_IXGRP) != 0 ? kAskedGroupExec : 0));
}

void StatOf(const Attr& attr, uint64_t device, struct stat* out) {
  std::memset(out, 0, sizeof *out);
  out->st_dev = static_cast<dev_t>(device);
  out->st_ino = static_cast<ino_t>(attr.inode.value);
  out->st_mode = attr.permissions & 07777;
  switch (attr.type) {
    case FileType::kFile:
      out->st_mode |= S_IFREG;
      break;
    case FileType::kDirectory:
      out->st_mode |= S_IFDIR;
      break;
    case FileType::kSymlink:
      out->st_mode |= S_IFLNK;
      break;
    case FileType::kNone:
      break;
  }
  out->st_nlink = attr.nlink;
  out->st_uid = attr.uid;
  out->st_gid = attr.gid;
  out->st_size = static_cast<off_t>(attr.size);
  out->st_blksize =
      attr.chunk_bits >= kChunkBitsMin && attr.chunk_bits <= kChunkBitsMax ? 1L << attr.chunk_bits : kBlockBytes;
  out->st_blocks = static_cast<blkcnt_t>(attr.blocks);
  out->st_atim = TimeOf(attr.atime);
  out->st_mtim = TimeOf(attr.mtime);
  out->st_ctim = TimeOf(attr.ctime);
}

Result<bool> TimesOf(const struct timespec* times, SetAttrRequest* change) {
  if (times == nullptr) {
    change->mask |= kSetAtimeNow | kSetMtimeNow;
    return true;
  }
  if (!Valid(times[0]) || !Valid(times[1])) return Code::kInvalid;
  if (times[0].tv_nsec == UTIME_OMIT && times[1].tv_nsec == UTIME_OMIT) return false;
  if (times[0].tv_nsec == UTIME_NOW) {
    change->mask |= kSetAtimeNow;
  } else if (times[0].tv_nsec != UTIME_OMIT) {
    change->mask |= kSetAtime;
    change->atime = NanosOf(times[0]);
  }
  if (times[1].tv_nsec == UTIME_NOW) {
    change->mask |= kSetMtimeNow;
  } else if (times[1].tv_nsec != UTIME_OMIT) {
    change->mask |= kSetMtime;
    change->mtime = NanosOf(times[1]);
  }
  return true;
}

}  // namespace mayfly
