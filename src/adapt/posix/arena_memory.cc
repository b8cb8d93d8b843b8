#include "adapt/posix/arena_memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <utility>

#include "adapt/posix/arena_file.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

using arena_file::kSegmentUnit;
using arena_file::StampFileBytes;

int Allocate(int fd, size_t bytes) {
  int error = 0;
  do error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  while (error == EINTR);
  return error;
}

bool IsOurs(const struct stat& info) {
  return S_ISREG(info.st_mode) && info.st_uid == geteuid() && (info.st_mode & 07777) == 0600 && info.st_nlink == 1;
}

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
  const int error = Allocate(fd, bytes);  // A1
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
  if (!changes_.empty()) munmap(changes_.data(), arena_file::kUsersBytes);
  close(users_fd_);
  if (!keep_) unlink(arena_file::UsersPath(Path()).c_str());  // A3
}

std::string PosixArenaMemory::PathOf(size_t n) const { return arena_file::SegmentPath(Path(), n); }

// Before the first segment, so that who finds a segment finds the file too.
Status PosixArenaMemory::MakeUsersFile() {
  if (users_fd_ >= 0) return {};
  const std::string path = arena_file::UsersPath(Path());
  Result<int> fd = CreateFile(path, arena_file::kUsersBytes);  // A2
  if (!fd.ok()) return fd.code();
  users_fd_ = fd.value();
  if (flock(users_fd_, LOCK_EX | LOCK_NB) != 0) return CodeOfErrno(errno);  // A5
  return MapChanges();
}

Status PosixArenaMemory::MapChanges() {
  void* const at = mmap(nullptr, arena_file::kUsersBytes, PROT_READ | PROT_WRITE, MAP_SHARED, users_fd_, 0);
  if (at == MAP_FAILED) return errno == ENOMEM ? Code::kNoSpace : CodeOfErrno(errno);
  changes_ = {static_cast<ArenaStamp*>(at), kChangeCounts};  // zeroed memory at first, as the stamps
  board_ = reinterpret_cast<ArenaBoard*>(static_cast<uint8_t*>(at) + arena_file::kCountsBytes);
  return Code::kOk;
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
  // What was adopted may already be more.
  if (used_ > options_.bytes_max || bytes > options_.bytes_max - used_) return Code::kNoSpace;
  if (options_.look_only) {
    void* const own =
        mmap(nullptr, bytes + StampFileBytes(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) return Code::kNoSpace;
    segments_.push_back({created_++, MutableBytes(static_cast<uint8_t*>(own), bytes)});
    used_ += bytes;
    return segments_.back().memory;
  }
  MAYFLY_TRY(MakeUsersFile());
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
  if (keep_) return;
  const std::string path = PathOf(segment.number);
  if (const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW); fd >= 0) {
    (void)fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, static_cast<off_t>(bytes));  // A4
    close(fd);
  }
  unlink(path.c_str());  // A3
}

// --- adoption -------------------------------------------------------------------------------------------------------

// The numbers in the names of files that look like segments, sorted.
Result<std::vector<size_t>> PosixArenaMemory::Leftovers() const {
  DIR* directory = opendir(options_.directory.c_str());
  if (directory == nullptr) {
    if (options_.look_only && errno == ENOENT) return std::vector<size_t>();
    MAYFLY_ERROR("cannot list {}: {}", options_.directory, std::strerror(errno));
    return CodeOfErrno(errno);
  }
  const std::string start = options_.prefix + ".";
  std::vector<size_t> numbers;
  while (const dirent* entry = readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (!name.starts_with(start)) continue;
    const std::string_view digits = name.substr(start.size());
    uint32_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error == std::errc() && end == digits.data() + digits.size() && PathOf(number).ends_with(name)) {
      numbers.push_back(number);
    }
  }
  closedir(directory);
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

// Clients hold their locks on this very file; where it is missing none is attached.
Status PosixArenaMemory::AdoptUsersFile() {
  const std::string path = arena_file::UsersPath(Path());
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0 && errno == ENOENT) return MakeUsersFile();
  struct stat info {};
  Status status = fd >= 0 && fstat(fd, &info) == 0 ? Status() : Status(CodeOfErrno(errno));
  if (status.ok() && !IsOurs(info)) status = Code::kAccess;
  if (status.ok() && flock(fd, LOCK_EX | LOCK_NB) != 0) {
    status = errno == EWOULDBLOCK ? Code::kBusy : CodeOfErrno(errno);  // A5
  }
  if (status.ok()) {
    if (const int error = Allocate(fd, arena_file::kUsersBytes); error != 0) status = CodeOfErrno(error);
  }
  if (status.ok()) {
    users_fd_ = fd;
    return MapChanges();
  }
  if (fd >= 0) close(fd);
  MAYFLY_ERROR("cannot take over {}: {}", path,
               status == Status(Code::kBusy) ? "the server that it belongs to is alive" : TextOf(status.code()));
  return status;
}

// Empty: it was no segment and is gone.
Result<MutableBytes> PosixArenaMemory::AdoptFile(const std::string& path) {
  const int fd = open(path.c_str(), (options_.look_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW);
  struct stat info {};
  int error = fd >= 0 && fstat(fd, &info) == 0 ? 0 : errno;
  if (error == 0 && !IsOurs(info)) error = EACCES;
  const size_t file_bytes = static_cast<size_t>(info.st_size);
  const size_t bytes = arena_file::DataBytes(file_bytes);
  const bool whole = bytes != 0 && file_bytes == bytes + StampFileBytes(bytes);
  if (error == 0 && !whole) {
    close(fd);
    if (!options_.look_only) unlink(path.c_str());
    return MutableBytes();
  }
  // A1: its owner may have died in Unmap
  if (error == 0 && !options_.look_only) error = Allocate(fd, file_bytes);
  void* data = MAP_FAILED;
  if (error == 0) {
    const int kind = options_.look_only ? MAP_PRIVATE : MAP_SHARED;
    data = mmap(nullptr, file_bytes, PROT_READ | PROT_WRITE, kind, fd, 0);
    if (data == MAP_FAILED) error = errno;
  }
  if (fd >= 0) close(fd);
  if (error == 0) {
    madvise(data, bytes, MADV_HUGEPAGE);
    return MutableBytes(static_cast<uint8_t*>(data), bytes);
  }
  MAYFLY_ERROR("cannot take over {}: {}", path, std::strerror(error));
  return error == ENOSPC || error == EDQUOT || error == ENOMEM ? Code::kNoSpace : CodeOfErrno(error);
}

Result<std::vector<ArenaMemory::Found>> PosixArenaMemory::Adopt() {
  MAYFLY_CHECK(created_ == 0);
  if (!options_.adopt) return std::vector<Found>();
  if (!options_.look_only) MAYFLY_TRY(AdoptUsersFile());
  Result<std::vector<size_t>> numbers = Leftovers();
  if (!numbers.ok()) return numbers.code();
  std::vector<Found> found;
  for (size_t number : *numbers) {
    Result<MutableBytes> memory = AdoptFile(PathOf(number));
    if (!memory.ok()) {
      keep_ = true;  // for who comes when there is room again
      return memory.code();
    }
    created_ = number + 1;
    if (memory->empty()) continue;
    segments_.push_back({number, *memory});
    used_ += memory->size();
    found.push_back({static_cast<uint32_t>(number), *memory});
  }
  return found;
}

// What fallocate made is neither zeroed nor mapped along with a neighbour before it is used: each page has to be
// faulted in by itself. Neither way changes what others write meanwhile.
void PosixArenaMemory::Prefault(MutableBytes range) {
  if (madvise(range.data(), range.size(), MADV_POPULATE_WRITE) == 0) return;
  const volatile uint8_t* const data = range.data();  // before Linux 5.14
  for (size_t at = 0; at < range.size(); at += arena_file::kPageBytes) (void)data[at];
}

}  // namespace mayfly
