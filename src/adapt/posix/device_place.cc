#include "adapt/posix/device_place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "os/block_buffer.h"
#include "os/plain_name.h"

namespace mayfly {

namespace {

constexpr uint64_t kBlock = DeviceTable::kBlockBytes;
static_assert(kBlock == Disk::kBlockBytes);
// What a file without a size gets at first, and the most that it gets at once without need.
constexpr uint64_t kFirstBytes = uint64_t{16} << 20, kMoreBytesMax = uint64_t{1} << 30;

// D2
bool ReadsDirectly(const Device& device) {
  const Result<int> fd = device.OpenData(O_RDONLY | O_DIRECT);
  if (!fd.ok()) return false;
  BlockBuffer block(kBlock);
  const ssize_t got = pread(*fd, block.data(), block.size(), 0);
  close(*fd);
  return got == static_cast<ssize_t>(kBlock);
}

bool IsInMemory(const std::string& path) {
  struct statfs fs {};
  return statfs(path.c_str(), &fs) == 0 && fs.f_type == TMPFS_MAGIC;
}

}  // namespace

DiskFailure DevicePlace::Open(Options options, DevicePath where) {
  options_ = std::move(options);
  prefix_ = where.name.empty() ? "" : where.name + "/";
  DeviceFailure failure = device_.Open(where.device, options_.read_only);
  if (failure.ok() && !options_.read_only) failure = device_.Claim();
  if (!failure.ok()) {
    return {failure.code, fmt::format("cannot keep data in {}: {}", where.device, failure.sentence)};
  }
  in_memory_ = device_.is_regular() && IsInMemory(where.device);
  direct_ = options_.direct && !in_memory_ && ReadsDirectly(device_);
  return {};
}

Disk::Facts DevicePlace::facts() const {
  Disk::Facts facts;
  facts.directory = options_.path;
  facts.direct = direct_;
  facts.in_memory = in_memory_;
  facts.bytes_total = device_.bytes();
  if (const Result<DeviceTable> table = device_.Load(); table.ok()) facts.bytes_free = table->blocks_free() * kBlock;
  return facts;
}

Status DevicePlace::Lock(int fd, const DeviceFile& file) const {
  const int error = Device::LockFile(fd, file, options_.lock_wait);  // D1
  if (error == 0) return {};
  if (error == EAGAIN) {
    MAYFLY_ERROR("{} on {} is in use by another server: end it, or name another place with --dir", file.name,
                 device_.path());
    return Code::kBusy;
  }
  MAYFLY_ERROR("cannot lock {} on {}: {}", file.name, device_.path(), std::strerror(error));
  return CodeOfErrno(error);
}

Result<DiskPlace::File> DevicePlace::OpenFile(std::string_view name_given, Disk::OpenHow how) {
  if (!IsPlainName(name_given) || how.bytes > (uint64_t{1} << 62)) return Code::kInvalid;
  const std::string name = NameOf(name_given);
  const bool writable = !how.read_only && !options_.read_only;
  if (how.create && !writable) return Code::kReadOnly;
  if (how.create) {
    const uint64_t bytes = how.bytes != 0 ? how.bytes : kFirstBytes;
    const Status made = device_.Create(name, bytes);
    if (!made.ok() && made.code() != Code::kExists) {
      MAYFLY_WARN("cannot allocate {} MiB for {} on {}: {}", bytes >> 20, name, device_.path(), TextOf(made.code()));
    }
    MAYFLY_TRY(made);
  }
  Result<DeviceTable> table = device_.Load();
  if (!table.ok()) return table.status();
  const DeviceFile* const found = table->Find(name);
  if (found == nullptr) return Code::kNoEntry;
  const Result<int> fd = device_.OpenData((writable ? O_RDWR : O_RDONLY) | (direct_ ? O_DIRECT : 0));
  if (!fd.ok()) return fd.status();
  File file{*fd, writable, std::make_shared<DeviceFile>(*found), how.create ? how.bytes : found->bytes};
  const Status locked = writable ? Lock(file.fd, *file.on_device) : Status();
  if (locked.ok()) return file;
  close(file.fd);
  return locked;
}

void DevicePlace::CloseFile(File file) {
  if (file.writable) Device::UnlockFile(file.fd, *file.on_device);
  close(file.fd);
}

Status DevicePlace::MakeRoom(File* file, uint64_t bytes) {
  if (bytes <= file->on_device->blocks() * kBlock) {
    file->bytes = std::max(file->bytes, bytes);
    return {};
  }
  std::shared_ptr<DeviceFile> grown;
  const Status status = device_.Change([&](DeviceTable* table) -> Status {
    DeviceFile* const entry = table->Find(file->on_device->name);
    if (entry == nullptr) return Code::kNoEntry;
    DeviceFile next = *entry;
    const uint64_t have = entry->blocks() * kBlock;
    const uint64_t least = bytes - have, better = std::max(least, std::min(have, kMoreBytesMax));
    const auto blocks = [](uint64_t size) { return (size + kBlock - 1) / kBlock; };
    if (!table->Allocate(&next, blocks(better)).ok()) MAYFLY_TRY(table->Allocate(&next, blocks(least)));
    next.bytes = next.blocks() * kBlock;
    *entry = next;
    grown = std::make_shared<DeviceFile>(std::move(next));
    return {};
  });
  if (!status.ok()) return status;
  file->on_device = std::move(grown);
  file->bytes = bytes;
  return {};
}

Result<bool> DevicePlace::InUse(std::string_view name) const {
  if (!IsPlainName(name)) return Code::kInvalid;
  const Result<DeviceTable> table = device_.Load();
  if (!table.ok()) return table.status();
  const DeviceFile* const file = table->Find(NameOf(name));
  if (file == nullptr) return Code::kNoEntry;
  return device_.InUse(*file, options_.lock_wait);
}

Status DevicePlace::Remove(std::string_view name) {
  if (!IsPlainName(name)) return Code::kInvalid;
  const Result<uint64_t> removed = device_.Remove(NameOf(name), false);
  if (!removed.ok()) return removed.status();
  return *removed != 0 ? Status() : Status(Code::kNoEntry);
}

Status DevicePlace::Rename(std::string_view from, std::string_view to) {
  if (!IsPlainName(from) || !IsPlainName(to)) return Code::kInvalid;
  const std::string old_name = NameOf(from), new_name = NameOf(to);
  return device_.Change([&](DeviceTable* table) -> Status {
    if (table->Find(old_name) == nullptr) return Code::kNoEntry;
    if (old_name == new_name) return {};
    std::erase_if(table->files, [&](const DeviceFile& one) { return one.name == new_name; });
    table->Find(old_name)->name = new_name;
    return {};
  });
}

Result<std::vector<std::string>> DevicePlace::List() {
  const Result<DeviceTable> table = device_.Load();
  if (!table.ok()) return table.status();
  std::vector<std::string> names;
  for (const DeviceFile& file : table->files) {
    if (!file.name.starts_with(prefix_)) continue;
    const std::string name = file.name.substr(prefix_.size());
    if (IsPlainName(name)) names.push_back(name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace mayfly
