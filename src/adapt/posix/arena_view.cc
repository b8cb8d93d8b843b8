#include "adapt/posix/arena_view.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "adapt/posix/arena_file.h"

namespace mayfly {
namespace {

// The descriptor of a file that is ours alone (V1), or -1.
int OpenOwn(const std::string& path, size_t* bytes) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return -1;
  struct stat st {};
  if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() && (st.st_mode & 077) == 0) {
    *bytes = static_cast<size_t>(st.st_size);
    return fd;
  }
  close(fd);
  return -1;
}

}  // namespace

std::unique_ptr<PosixArenaView> PosixArenaView::Attach(const std::string& name, uint64_t who) {
  size_t bytes = 0;
  const int fd = OpenOwn(arena_file::UsersPath(name), &bytes);
  if (fd < 0) return nullptr;
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(who >> 1);
  lock.l_len = 1;
  if (fcntl(fd, F_OFD_SETLK, &lock) != 0) {
    close(fd);
    return nullptr;
  }
  std::span<const ArenaStamp> changes;
  ArenaBoard* board = nullptr;
  if (bytes >= arena_file::kUsersBytes) {
    void* const at = mmap(nullptr, arena_file::kUsersBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED) {
      mprotect(at, arena_file::kCountsBytes, PROT_READ);  // the counts are the owner's
      changes = {static_cast<const ArenaStamp*>(at), kChangeCounts};
      board = reinterpret_cast<ArenaBoard*>(static_cast<uint8_t*>(at) + arena_file::kCountsBytes);
    }
  }
  return std::unique_ptr<PosixArenaView>(new PosixArenaView(name, fd, changes, board));
}

PosixArenaView::~PosixArenaView() {
  for (auto& slot : rows_) {
    std::unique_ptr<Row> row(slot.load());
    if (row == nullptr) continue;
    for (auto& segment : row->segments) {
      std::unique_ptr<Mapped> mapped(segment.load());
      if (mapped != nullptr) munmap(mapped->data.data(), mapped->file_bytes);
    }
  }
  if (!changes_.empty()) munmap(const_cast<ArenaStamp*>(changes_.data()), arena_file::kUsersBytes);
  close(users_fd_);  // last: from now on the owner takes back what it lent
}

PosixArenaView::Mapped* PosixArenaView::Get(uint32_t number) const {
  if (number >> kRowBits >= kRow) return nullptr;
  const Row* row = rows_[number >> kRowBits].load(std::memory_order_acquire);
  return row != nullptr ? row->segments[number & (kRow - 1)].load(std::memory_order_acquire) : nullptr;
}

PosixArenaView::Mapped* PosixArenaView::Map(uint32_t number) {
  if (number >> kRowBits >= kRow) return nullptr;
  std::lock_guard lock(mutex_);
  if (Mapped* mapped = Get(number)) return mapped;
  size_t bytes = 0;
  const int fd = OpenOwn(arena_file::SegmentPath(name_, number), &bytes);
  if (fd < 0) return nullptr;
  const size_t data_bytes = arena_file::DataBytes(bytes);
  void* at = MAP_FAILED;
  if (data_bytes != 0 && bytes == data_bytes + arena_file::StampFileBytes(data_bytes)) {
    at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  }
  close(fd);
  if (at == MAP_FAILED) return nullptr;
  auto* data = static_cast<uint8_t*>(at);
  mprotect(data + data_bytes, bytes - data_bytes, PROT_READ);  // the stamps are the owner's
  auto mapped = std::make_unique<Mapped>();
  mapped->data = MutableBytes(data, data_bytes);
  mapped->file_bytes = bytes;
  mapped->stamps = {reinterpret_cast<const ArenaStamp*>(data + data_bytes), arena_file::StampCount(data_bytes)};
  auto& slot = rows_[number >> kRowBits];
  Row* row = slot.load(std::memory_order_relaxed);
  if (row == nullptr) {
    row = new Row;
    slot.store(row, std::memory_order_release);
  }
  Mapped* raw = mapped.release();
  row->segments[number & (kRow - 1)].store(raw, std::memory_order_release);
  return raw;
}

ArenaView::Segment PosixArenaView::Find(uint32_t number) {
  Mapped* mapped = Get(number);
  if (mapped == nullptr) mapped = Map(number);
  if (mapped == nullptr) return {};
  return {mapped->data, mapped->stamps};
}

void PosixArenaView::Touch(uint32_t segment, size_t offset, size_t bytes) {
  Mapped* mapped = Get(segment);
  if (mapped == nullptr || bytes == 0) return;
  const size_t last = std::min(offset + bytes - 1, mapped->data.size() - 1) / kTouchBytes;
  for (size_t unit = offset / kTouchBytes; unit <= last && unit < kTouchesMax; ++unit) {
    std::atomic<bool>& touched = mapped->touched[unit];
    if (touched.load(std::memory_order_relaxed)) continue;
    arena_file::MapPages(
        mapped->data.subspan(unit * kTouchBytes, std::min(kTouchBytes, mapped->data.size() - unit * kTouchBytes)));
    touched.store(true, std::memory_order_relaxed);
  }
}

}  // namespace mayfly
