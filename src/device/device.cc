#include "device/device.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = DeviceTable::kBlockBytes;
constexpr uint64_t kHeadBytes = uint64_t{1} << 20;    // of a file, zeroed at both of its ends
constexpr uint64_t kSmallBytes = uint64_t{16} << 20;  // zeroed whole when it goes: a charter holds secrets
constexpr Nanos kTableLockWithin = 10 * kSecond;
constexpr Nanos kRemoveLockWithin = 60 * kSecond;  // others discard

Nanos MonotonicNow() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<Nanos>(t.tv_sec) * kSecond + static_cast<Nanos>(t.tv_nsec);
}

void Pause() {
  const timespec pause{0, 2'000'000};
  nanosleep(&pause, nullptr);
}

// An errno, 0. `type`: F_WRLCK, F_UNLCK.
int LockByte(int fd, uint64_t offset, short type, Nanos wait) {
  const Nanos until = MonotonicNow() + wait;
  for (;;) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(offset);
    lock.l_len = 1;
    if (fcntl(fd, F_OFD_SETLK, &lock) == 0) return 0;
    if (errno == EINTR) continue;
    if ((errno != EAGAIN && errno != EACCES) || MonotonicNow() >= until) return errno == EACCES ? EAGAIN : errno;
    Pause();
  }
}

bool IsLocked(int fd, uint64_t offset) {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  lock.l_start = static_cast<off_t>(offset);
  lock.l_len = 1;
  return fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

// All of it; an errno, 0. A short read is EIO.
int ReadAll(int fd, MutableBytes to, uint64_t offset) {
  while (!to.empty()) {
    const ssize_t got = pread(fd, to.data(), to.size(), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return got < 0 ? errno : EIO;
    to = to.subspan(static_cast<size_t>(got));
    offset += static_cast<uint64_t>(got);
  }
  return 0;
}

int WriteAll(int fd, Bytes from, uint64_t offset) {
  while (!from.empty()) {
    const ssize_t put = pwrite(fd, from.data(), from.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return put < 0 ? errno : EIO;
    from = from.subspan(static_cast<size_t>(put));
    offset += static_cast<uint64_t>(put);
  }
  return 0;
}

int ZeroRange(int fd, uint64_t offset, uint64_t bytes) {
  const std::vector<uint8_t> zeros(std::min(bytes, kHeadBytes));
  for (uint64_t done = 0; done < bytes; done += zeros.size()) {
    const uint64_t piece = std::min<uint64_t>(zeros.size(), bytes - done);
    if (const int error = WriteAll(fd, Bytes(zeros).first(piece), offset + done); error != 0) return error;
  }
  return 0;
}

Status StatusOf(int error) {
  if (error == 0) return {};
  return error == EDQUOT ? Code::kNoSpace : CodeOfErrno(error);
}

uint64_t HeadOf(const DeviceFile& file) { return file.blocks() * kBlock <= kSmallBytes ? kSmallBytes : kHeadBytes; }

uint64_t LockOffset(const DeviceFile& file) { return file.runs.empty() ? 1 : file.runs.front().first * kBlock; }

// ---- what else may be on a device ----------------------------------------------------------------------------------

struct Magic {
  int64_t offset;  // negative: from the end
  std::string_view bytes;
  const char* what;
};
using namespace std::literals;  // NOLINT
constexpr Magic kMagics[] = {
    {0x438, "\x53\xef"sv, "an ext2, ext3 or ext4 file system"},
    {0, "XFSB"sv, "an XFS file system"},
    {0x10040, "_BHRfS_M"sv, "a btrfs file system"},
    {0x400, "\x10\x20\xf5\xf2"sv, "an F2FS file system"},
    {3, "NTFS    "sv, "an NTFS file system"},
    {3, "EXFAT   "sv, "an exFAT file system"},
    {54, "FAT1"sv, "a FAT file system"},
    {82, "FAT32"sv, "a FAT file system"},
    {0, "hsqs"sv, "a squashfs file system"},
    {32769, "CD001"sv, "an ISO 9660 file system"},
    {4086, "SWAPSPACE2"sv, "swap space"},
    {4086, "SWAP-SPACE"sv, "swap space"},
    {0, "LUKS\xba\xbe"sv, "an encrypted volume (LUKS)"},
    {0, "LABELONE"sv, "a physical volume of LVM"},
    {512, "LABELONE"sv, "a physical volume of LVM"},
    {1024, "LABELONE"sv, "a physical volume of LVM"},
    {1536, "LABELONE"sv, "a physical volume of LVM"},
    {0, "\xfc\x4e\x2b\xa9"sv, "a part of a RAID"},
    {4096, "\xfc\x4e\x2b\xa9"sv, "a part of a RAID"},
    {-8192, "\xfc\x4e\x2b\xa9"sv, "a part of a RAID"},
    {-65536, "\xfc\x4e\x2b\xa9"sv, "a part of a RAID"},
    {131072, "\x0c\xb1\xba\x00"sv, "a part of a ZFS pool"},
    {4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca"sv, "a bcache"},
    {0, "bluestore block device"sv, "a Ceph store"},
    {32, "ORCLDISK"sv, "an Oracle ASM disk"},
    {512, "EFI PART"sv, "a partition table (GPT)"},
    {4096, "EFI PART"sv, "a partition table (GPT)"},
    {-512, "EFI PART"sv, "a partition table (GPT)"},
    {510, "\x55\xaa"sv, "a partition table (MBR) or a boot sector"},
};

}  // namespace

std::string ForeignSignature(int fd, uint64_t device_bytes) {
  for (const Magic& magic : kMagics) {
    const uint64_t offset =
        magic.offset >= 0 ? static_cast<uint64_t>(magic.offset) : device_bytes - static_cast<uint64_t>(-magic.offset);
    if (offset > device_bytes || magic.bytes.size() > device_bytes - offset) continue;
    uint8_t found[32];
    if (ReadAll(fd, MutableBytes(found, magic.bytes.size()), offset) != 0) continue;
    if (std::memcmp(found, magic.bytes.data(), magic.bytes.size()) == 0) return magic.what;
  }
  return "";
}

std::optional<DevicePath> SplitDevicePath(const std::string& path) {
  std::string device = path, name;
  for (;;) {
    while (device.size() > 1 && device.back() == '/') device.pop_back();
    struct stat info {};
    if (stat(device.c_str(), &info) == 0) {
      if (S_ISBLK(info.st_mode) || S_ISREG(info.st_mode)) return DevicePath{device, name};
      return std::nullopt;
    }
    const size_t slash = device.rfind('/');
    if (errno != ENOTDIR || slash == std::string::npos || slash == 0) return std::nullopt;
    name = device.substr(slash + 1) + (name.empty() ? "" : "/" + name);
    device.resize(slash);
  }
}

Device::~Device() {
  if (claim_ >= 0) close(claim_);
  if (fd_ >= 0) close(fd_);
}

DeviceFailure Device::Open(const std::string& path, bool read_only) {
  path_ = path;
  read_only_ = read_only;
  fd_ = open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  if (fd_ < 0) {
    const int error = errno;
    const bool access = error == EACCES || error == EPERM;
    return {CodeOfErrno(error), access ? "you may not write there; be given the device, or name another with --dir"
                                       : fmt::format("{}; name another with --dir", std::strerror(error))};
  }
  struct stat info {};
  if (fstat(fd_, &info) != 0) return {CodeOfErrno(errno), std::strerror(errno)};
  regular_ = S_ISREG(info.st_mode);
  if (!regular_ && !S_ISBLK(info.st_mode)) {
    return {Code::kInvalid, "it is neither a directory nor a block device; name one with --dir"};
  }
  uint64_t size = static_cast<uint64_t>(info.st_size);
  int sector = 512;
  if (!regular_ && (ioctl(fd_, BLKGETSIZE64, &size) != 0 || ioctl(fd_, BLKSSZGET, &sector) != 0)) {
    return {CodeOfErrno(errno), fmt::format("its size cannot be told ({})", std::strerror(errno))};
  }
  if (static_cast<uint64_t>(sector) > kBlock) {
    return {Code::kNotSupported, fmt::format("its sectors of {} bytes are too large; name another with --dir", sector)};
  }
  bytes_ = size / kBlock * kBlock;
  if (regular_ && bytes_ < DeviceTable::kDeviceBytesMin) {
    return {Code::kNotDirectory, "it is not a directory; name one with --dir"};
  }
  // Secrets and data lie there in the clear. A group is how devices are given to people.
  const mode_t open_to = regular_ ? info.st_mode & 077 : info.st_mode & 07;
  const bool somebody_elses_file = regular_ && info.st_uid != geteuid();
  if (open_to != 0 || somebody_elses_file) {
    return {Code::kAccess, fmt::format("it is open to other users (mode {:04o}, owner {}); run chmod {} {}",
                                       info.st_mode & 07777, info.st_uid, regular_ ? "600" : "o-rwx", path)};
  }
  return {};
}

Result<DeviceTable> Device::LoadPlaces(bool* any_damaged) const {
  std::optional<DeviceTable> best;
  *any_damaged = false;
  if (bytes_ < DeviceTable::kDataOffset) return Code::kNoEntry;
  for (uint64_t i = 0; i < DeviceTable::kPlaces; ++i) {
    std::vector<uint8_t> place(kBlock);
    int error = ReadAll(fd_, place, i * DeviceTable::kPlaceBytes);
    if (error == 0 && DeviceTableBytes(place) > kBlock) {
      place.resize(DeviceTableBytes(place));
      error = ReadAll(fd_, place, i * DeviceTable::kPlaceBytes);
    }
    if (error != 0) return CodeOfErrno(error);
    DeviceTable table;
    const DeviceTableState state = DecodeDeviceTable(place, &table);
    if (state == DeviceTableState::kFutureVersion) return Code::kNotSupported;
    if (state == DeviceTableState::kDamaged) *any_damaged = true;
    if (state != DeviceTableState::kGood || (best && best->sequence >= table.sequence)) continue;
    if (table.device_bytes > bytes_) {
      *any_damaged = true;  // it has shrunk, or is another's copy
      continue;
    }
    best = std::move(table);
  }
  if (!best) return *any_damaged ? Code::kCorrupt : Code::kNoEntry;
  return std::move(*best);
}

Result<DeviceTable> Device::Load() const {
  constexpr int kLooks = 10;
  bool damaged = false;
  for (int look = 1;; ++look) {
    Result<DeviceTable> table = LoadPlaces(&damaged);
    // Others may have been writing the one place at the first look and the other at the second.
    if (table.code() != Code::kCorrupt || look == kLooks) return table;
    Pause();
  }
}

Status Device::Store(const DeviceTable& table) {
  const Result<std::vector<uint8_t>> bytes = EncodeDeviceTable(table);
  if (!bytes.ok()) return bytes.status();
  int error = WriteAll(fd_, *bytes, table.sequence % DeviceTable::kPlaces * DeviceTable::kPlaceBytes);
  if (error == 0 && fdatasync(fd_) != 0) error = errno;
  if (error != 0) MAYFLY_ERROR("cannot write the table of {}: {}", path_, std::strerror(error));
  return StatusOf(error);
}

Status Device::Change(const std::function<Status(DeviceTable*)>& change) {
  const int locked = LockByte(fd_, 0, F_WRLCK, kTableLockWithin);
  if (locked != 0) return locked == EAGAIN ? Status(Code::kBusy) : StatusOf(locked);
  Result<DeviceTable> table = Load();
  Status status = table.status();
  if (status.ok()) status = change(&*table);
  if (status.ok()) {
    ++table->sequence;
    status = Store(*table);  // N1
  }
  LockByte(fd_, 0, F_UNLCK, 0);
  return status;
}

// N3
DeviceFailure Device::LooksForeign() const {
  if (regular_) {
    // Nobody's file is overwritten for a slip of the hand: a new one is zeros.
    std::vector<uint8_t> begin(DeviceTable::kDataOffset);
    const int error = ReadAll(fd_, begin, 0);
    if (error != 0) return {CodeOfErrno(error), std::strerror(error)};
    if (std::all_of(begin.begin(), begin.end(), [](uint8_t byte) { return byte == 0; })) return {};
    return {Code::kExists, "it is a file with something else in it; name a directory, a device or a new file of zeros"};
  }
  const std::string what = ForeignSignature(fd_, bytes_);
  if (what.empty()) return {};
  return {Code::kExists, fmt::format("it carries {}; if that may be lost, run wipefs -a {}", what, path_)};
}

DeviceFailure Device::Claim() {
  const uint64_t least = DeviceTable::kDeviceBytesMin;
  if (bytes_ < least) {
    return {Code::kNoSpace, fmt::format("it has {} MiB and needs {} at least", bytes_ >> 20, least >> 20)};
  }
  const int locked = LockByte(fd_, 0, F_WRLCK, kTableLockWithin);
  if (locked != 0) return {Code::kBusy, "another server has its table all the time; end that one"};
  DeviceFailure failure = ClaimLocked();
  if (!failure.ok() && claim_ >= 0) close(std::exchange(claim_, -1));  // before another looks
  LockByte(fd_, 0, F_UNLCK, 0);
  return failure;
}

DeviceFailure Device::ClaimLocked() {
  if (!regular_ && claim_ < 0) {
    claim_ = open(path_.c_str(), O_RDWR | O_EXCL | O_CLOEXEC);
    const int error = errno;
    if (claim_ < 0 && error != EBUSY) return {CodeOfErrno(error), std::strerror(error)};
  }
  bool damaged = false;
  const Result<DeviceTable> there = LoadPlaces(&damaged);
  DeviceFailure failure;
  // A server of ours may have it for itself. Whoever else has it does not leave our table in its place.
  if (there.code() == Code::kNoEntry && !regular_ && claim_ < 0) {
    failure = {Code::kBusy, "it is in use (mounted, or part of a volume); unmount it, or name another with --dir"};
  } else if (there.code() == Code::kNoEntry) {
    failure = LooksForeign();
    if (failure.ok()) {
      DeviceTable table;
      table.device_bytes = bytes_;
      const Status stored = Store(table);
      if (!stored.ok()) failure = {stored.code(), std::string(TextOf(stored.code()))};
    }
  } else if (!there.ok()) {
    const bool later = there.code() == Code::kNotSupported;
    failure = {
        there.code(),
        later
            ? "a later version of Mayfly has its files there; use that one"
            : fmt::format("its table is damaged; if what is there may be lost, run dd if=/dev/zero of={} bs=1M count=2",
                          path_)};
  }
  return failure;
}

Status Device::Create(std::string_view name, uint64_t bytes) {
  return Change([&](DeviceTable* table) -> Status {
    if (table->Find(name) != nullptr) return Code::kExists;
    DeviceFile file;
    file.name = name;
    file.bytes = bytes;
    MAYFLY_TRY(table->Allocate(&file, std::max<uint64_t>((bytes + kBlock - 1) / kBlock, 1)));
    // Before the table names it.
    int error = 0;
    uint64_t left = std::min(bytes, kHeadBytes);
    for (const DeviceRun& run : file.runs) {
      const uint64_t piece = std::min(left, run.blocks * kBlock);
      if (error == 0) error = ZeroRange(fd_, run.first * kBlock, piece);
      left -= piece;
    }
    if (error != 0) return StatusOf(error);
    table->files.push_back(std::move(file));
    return {};
  });
}

Status Device::WriteFile(std::string_view name, Bytes content) {
  return Change([&](DeviceTable* table) -> Status {
    DeviceFile file;
    file.name = name;
    file.bytes = content.size();
    MAYFLY_TRY(table->Allocate(&file, std::max<uint64_t>((content.size() + kBlock - 1) / kBlock, 1)));
    Bytes rest = content;
    for (const DeviceRun& run : file.runs) {
      const Bytes piece = rest.first(std::min<uint64_t>(rest.size(), run.blocks * kBlock));
      if (const int error = WriteAll(fd_, piece, run.first * kBlock); error != 0) return StatusOf(error);
      rest = rest.subspan(piece.size());
    }
    if (fdatasync(fd_) != 0) return StatusOf(errno);
    std::erase_if(table->files, [&](const DeviceFile& one) { return one.name == name; });
    table->files.push_back(std::move(file));
    return {};
  });
}

Result<std::vector<uint8_t>> Device::ReadFile(std::string_view name, uint64_t bytes_max) const {
  const Result<DeviceTable> table = Load();
  if (!table.ok()) return table.status();
  const DeviceFile* file = table->Find(name);
  if (file == nullptr) return Code::kNoEntry;
  if (file->bytes > bytes_max) return Code::kCorrupt;
  std::vector<uint8_t> content(file->bytes);
  MutableBytes rest(content);
  for (const DeviceRun& run : file->runs) {
    const MutableBytes piece = rest.first(std::min<uint64_t>(rest.size(), run.blocks * kBlock));
    if (const int error = ReadAll(fd_, piece, run.first * kBlock); error != 0) return CodeOfErrno(error);
    rest = rest.subspan(piece.size());
  }
  return content;
}

// N4
void Device::ZeroHead(const DeviceFile& file) {
  uint64_t head = HeadOf(file);
  for (const DeviceRun& run : file.runs) {
    const uint64_t piece = std::min(head, run.blocks * kBlock);
    (void)ZeroRange(fd_, run.first * kBlock, piece);
    head -= piece;
  }
}

// What lies behind the head. As a hint: a device may leave what was there.
void Device::Discard(const DeviceFile& file) {
  uint64_t head = HeadOf(file);
  for (const DeviceRun& run : file.runs) {
    const uint64_t piece = std::min(head, run.blocks * kBlock);
    head -= piece;
    uint64_t range[2] = {run.first * kBlock + piece, run.blocks * kBlock - piece};
    if (range[1] == 0) continue;
    if (regular_) {
      (void)fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(range[0]),
                      static_cast<off_t>(range[1]));
    } else {
      (void)ioctl(fd_, BLKDISCARD, range);
    }
  }
}

Result<uint64_t> Device::Remove(std::string_view name, bool forget) {
  std::vector<DeviceFile> gone;
  bool last = false;
  const int locked = LockByte(fd_, 0, F_WRLCK, kRemoveLockWithin);
  if (locked != 0) return locked == EAGAIN ? Code::kBusy : CodeOfErrno(locked);
  Result<DeviceTable> table = Load();
  Status status = table.status();
  if (status.ok()) {
    const auto goes = [&](const DeviceFile& file) {
      return file.name == name || file.name.starts_with(std::string(name) + "/");
    };
    std::copy_if(table->files.begin(), table->files.end(), std::back_inserter(gone), goes);
    std::erase_if(table->files, goes);
    last = forget && table->files.empty();
    ++table->sequence;
    status = Store(*table);
  }
  if (status.ok()) {
    // Nobody can be given its blocks while the table is locked. What takes long comes last: who is killed in it has
    // left nothing that says what was there.
    for (const DeviceFile& file : gone) ZeroHead(file);
    if (last) status = StatusOf(ZeroRange(fd_, 0, DeviceTable::kDataOffset));
    if (status.ok() && fdatasync(fd_) != 0) status = StatusOf(errno);
    for (const DeviceFile& file : gone) Discard(file);
  }
  LockByte(fd_, 0, F_UNLCK, 0);
  if (!status.ok()) return status;
  return static_cast<uint64_t>(gone.size());
}

Result<int> Device::OpenData(int flags) const {
  const int fd = open(path_.c_str(), flags | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) return CodeOfErrno(errno);
  return fd;
}

int Device::LockFile(int fd, const DeviceFile& file, Nanos wait) {
  return LockByte(fd, LockOffset(file), F_WRLCK, wait);  // N2
}

void Device::UnlockFile(int fd, const DeviceFile& file) { LockByte(fd, LockOffset(file), F_UNLCK, 0); }

Result<bool> Device::InUse(const DeviceFile& file, Nanos wait) const {
  for (const Nanos until = MonotonicNow() + wait; IsLocked(fd_, LockOffset(file));) {
    if (MonotonicNow() >= until) return true;
    Pause();
  }
  return false;
}

}  // namespace mayfly
