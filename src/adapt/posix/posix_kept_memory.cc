#include "adapt/posix/posix_kept_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "base/check.h"
#include "base/log.h"
#include "os/plain_name.h"

namespace mayfly {

namespace {

Code Failed(const char* what, const std::string& path, int error) {
  const bool full = error == ENOSPC || error == EDQUOT || error == ENOMEM;
  const char* hint = full                   ? ": make room there, or give the server less memory (--memory)"
                     : error == EWOULDBLOCK ? ": the server that it belongs to is alive"
                                            : "";
  MAYFLY_ERROR("cannot {} {}: {}{}", what, path, std::strerror(error), hint);
  return full ? Code::kNoSpace : error == EWOULDBLOCK ? Code::kBusy : CodeOfErrno(error);
}

}  // namespace

PosixKeptMemory::~PosixKeptMemory() {
  for (const auto& [name, region] : regions_) Unmap(region);
}

std::string PosixKeptMemory::PathOf(std::string_view name) const {
  return options_.directory + "/" + options_.prefix + "." + std::string(name);
}

void PosixKeptMemory::Unmap(const Region& region) {
  munmap(region.memory.data(), region.memory.size());
  close(region.fd);
}

// Takes `fd`, which is locked unless we only look.
Result<MutableBytes> PosixKeptMemory::Map(std::string_view name, int fd, size_t bytes) {
  const int kind = options_.look_only ? MAP_PRIVATE : MAP_SHARED;  // M3
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, kind, fd, 0);
  if (data == MAP_FAILED) {
    const int error = errno;
    close(fd);
    return Failed("map", PathOf(name), error);
  }
  const MutableBytes memory(static_cast<uint8_t*>(data), bytes);
  regions_[std::string(name)] = {fd, memory};
  return memory;
}

Result<MutableBytes> PosixKeptMemory::Create(std::string_view name, size_t bytes) {
  MAYFLY_CHECK(IsPlainName(name) && bytes != 0);
  if (options_.look_only) return Code::kReadOnly;
  const std::string path = PathOf(name), unfinished = path + "~";
  if (access(path.c_str(), F_OK) == 0) return Code::kExists;
  unlink(unfinished.c_str());  // of one who died in here
  const int fd = open(unfinished.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return Failed("create", unfinished, errno);
  int error = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : errno;  // M2
  if (error == 0) {
    do error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));  // R2
    while (error == EINTR);
  }
  // M1. Not over a file that another process made meanwhile.
  if (error == 0 && renameat2(AT_FDCWD, unfinished.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) {
    error = errno;
  }
  if (error == 0) return Map(name, fd, bytes);
  close(fd);
  unlink(unfinished.c_str());
  return error == EEXIST ? Code::kExists : Failed("make", path, error);
}

Result<MutableBytes> PosixKeptMemory::Find(std::string_view name) {
  MAYFLY_CHECK(IsPlainName(name) && !regions_.contains(name));
  const std::string path = PathOf(name);
  const int fd = open(path.c_str(), (options_.look_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 && errno == ENOENT) return Code::kNoEntry;
  struct stat info {};
  int error = fd >= 0 && fstat(fd, &info) == 0 ? 0 : errno;
  const bool ours = S_ISREG(info.st_mode) && info.st_uid == geteuid() && (info.st_mode & 07777) == 0600;
  if (error == 0 && (!ours || info.st_size == 0)) error = EACCES;
  if (error == 0 && !options_.look_only && flock(fd, LOCK_EX | LOCK_NB) != 0) error = errno;  // M2
  if (error == 0) return Map(name, fd, static_cast<size_t>(info.st_size));
  if (fd >= 0) close(fd);
  return Failed("take over", path, error);
}

Status PosixKeptMemory::Remove(std::string_view name) {
  MAYFLY_CHECK(IsPlainName(name));
  if (options_.look_only) return Code::kReadOnly;
  if (auto found = regions_.find(name); found != regions_.end()) {
    Unmap(found->second);
    regions_.erase(found);
  }
  const std::string path = PathOf(name);
  if (unlink(path.c_str()) == 0) return {};
  return errno == ENOENT ? Code::kNoEntry : Failed("remove", path, errno);
}

}  // namespace mayfly
