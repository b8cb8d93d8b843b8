#include "adapt/posix/arena_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "adapt/posix/arena_file.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

using arena_file::kSegmentUnit;
using arena_file::StampFileBytes;

// The descriptor of a new file of `bytes`, all of them backed by pages.
Result<int> CreateFile(const std::string& path, size_t bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    const int error = errno;
    const char* hint =
        error == EEXIST ? ": a session is using it, or one that died left it (mayfly clean removes it)" : "";
    MAYFLY_ERROR("cannot create {}: {}{}", path, std::strerror(error), hint);
    return CodeOfErrno(error);
  }
  int error = 0;
  do error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));  // A1
  while (error == EINTR);
  if (error == 0) return fd;
  close(fd);
  unlink(path.c_str());
  MAYFLY_WARN("no room for {} MiB of arena in {}: {}", bytes >> 20, path, std::strerror(error));
  return error == ENOSPC || error == EDQUOT || error == ENOMEM ? Code::kNoSpace : CodeOfErrno(error);
}

}  // namespace

PosixArenaMemory::~PosixArenaMemory() {
  for (const Segment& segment : segments_) Release(segment);
  if (users_fd_ < 0) return;
  close(users_fd_);
  unlink(arena_file::UsersPath(Name()).c_str());  // A3
}

std::string PosixArenaMemory::PathOf(size_t n) const { return arena_file::SegmentPath(Name(), n); }

// Before the first segment, so that who finds a segment finds the file too.
bool PosixArenaMemory::MakeUsersFile() {
  if (users_fd_ >= 0) return true;
  const std::string path = arena_file::UsersPath(Name());
  users_fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);  // A2
  if (users_fd_ < 0) MAYFLY_ERROR("cannot create {}: {}", path, std::strerror(errno));
  return users_fd_ >= 0;
}

bool PosixArenaMemory::IsAttached(uint64_t who) {
  if (users_fd_ < 0) return false;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(who >> 1);  // offsets are signed
  lock.l_len = 1;
  if (fcntl(users_fd_, F_OFD_GETLK, &lock) != 0) return true;  // cannot be told: the careful answer
  return lock.l_type != F_UNLCK;
}

Result<MutableBytes> PosixArenaMemory::Map(size_t bytes) {
  MAYFLY_CHECK(bytes != 0 && bytes % kSegmentUnit == 0);
  if (bytes > options_.bytes_max - used_) return Code::kNoSpace;
  if (!MakeUsersFile()) return CodeOfErrno(errno);
  const std::string path = PathOf(created_);
  const size_t file_bytes = bytes + StampFileBytes(bytes);
  Result<int> fd = CreateFile(path, file_bytes);
  if (!fd.ok()) return fd.code();
  void* data = mmap(nullptr, file_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.value(), 0);
  const int error = errno;
  close(fd.value());
  if (data == MAP_FAILED) {
    unlink(path.c_str());
    MAYFLY_WARN("cannot map {}: {}", path, std::strerror(error));
    return error == ENOMEM ? Code::kNoSpace : CodeOfErrno(error);
  }
  madvise(data, bytes, MADV_HUGEPAGE);  // where the mount allows it; otherwise nothing is lost
  MutableBytes memory(static_cast<uint8_t*>(data), bytes);
  segments_.push_back({created_++, memory});
  used_ += bytes;
  return memory;
}

std::span<ArenaStamp> PosixArenaMemory::Stamps(MutableBytes segment) {
  // The file is zeroed memory, and a lock-free atomic of 0 is 4 zero bytes.
  return {reinterpret_cast<ArenaStamp*>(segment.data() + segment.size()), arena_file::StampCount(segment.size())};
}

void PosixArenaMemory::Unmap(MutableBytes memory) {
  auto found = std::find_if(segments_.begin(), segments_.end(),
                            [&](const Segment& segment) { return segment.memory.data() == memory.data(); });
  MAYFLY_CHECK(found != segments_.end() && found->memory.size() == memory.size());
  Release(*found);
  used_ -= memory.size();
  segments_.erase(found);
}

void PosixArenaMemory::Release(const Segment& segment) {
  const size_t bytes = segment.memory.size();
  munmap(segment.memory.data(), bytes + StampFileBytes(bytes));
  const std::string path = PathOf(segment.number);
  if (const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW); fd >= 0) {
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));  // A4
    close(fd);
  }
  unlink(path.c_str());  // A3
}

void PosixArenaMemory::Prefault(MutableBytes range) { arena_file::MapPages(range); }

}  // namespace mayfly
