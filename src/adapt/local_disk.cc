#include "adapt/local_disk.h"

#include <errno.h>
#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <utility>

#include "adapt/posix/posix_disk.h"
#include "adapt/uring/uring_disk.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

int UringDisabled() {
  int value = 0;
  if (std::FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re"); file != nullptr) {
    if (std::fscanf(file, "%d", &value) != 1) value = 0;
    std::fclose(file);
  }
  return value;
}

const char* NameOf(DiskOp::Kind kind) {
  switch (kind) {
    case DiskOp::Kind::kRead:
      return "read";
    case DiskOp::Kind::kWrite:
    case DiskOp::Kind::kWriteThrough:
      return "write";
    case DiskOp::Kind::kFlush:
      return "flush";
    case DiskOp::Kind::kDiscard:
      return "discard in";
  }
  return "";
}

}  // namespace

LocalDisk::~LocalDisk() {
  for (Entry& entry : files_) {
    if (!entry.mapped.empty()) munmap(entry.mapped.data(), entry.mapped.size());
    if (entry.file.fd >= 0) place_->CloseFile(entry.file);
  }
}

Disk::Facts LocalDisk::facts() const { return place_->facts(); }

LocalDisk::Entry& LocalDisk::EntryOf(DiskFileId file) {
  MAYFLY_CHECK(file.value != 0 && file.value <= files_.size());
  Entry& entry = files_[file.value - 1];
  MAYFLY_CHECK(entry.file.fd >= 0);
  return entry;
}

Result<DiskFileId> LocalDisk::Open(std::string_view name, OpenHow how) {
  uint32_t index = 0;
  while (index < files_.size() && files_[index].file.fd >= 0) ++index;
  if (index == files_.size()) return Code::kTooManyFiles;
  Result<DiskPlace::File> file = place_->OpenFile(name, how);
  if (!file.ok()) return file.code();
  files_[index] = {*file, std::string(name), 0, 0, {}, {}};
  OnFile(index, file->fd);
  return DiskFileId(index + 1);
}

void LocalDisk::Close(DiskFileId file) {
  Entry& entry = EntryOf(file);
  MAYFLY_CHECK(entry.under_way == 0);
  OnFile(file.value - 1, -1);
  if (!entry.mapped.empty()) munmap(entry.mapped.data(), entry.mapped.size());
  place_->CloseFile(entry.file);
  entry = {};
}

MutableBytes LocalDisk::Map(DiskFileId file) {
  Entry& entry = EntryOf(file);
  if (!entry.mapped.empty() || !MayMap() || entry.file.on_device != nullptr || !entry.file.writable)
    return entry.mapped;
  const Result<uint64_t> bytes = place_->BytesOf(entry.file);
  if (!bytes.ok() || *bytes == 0) return {};
  void* const at = mmap(nullptr, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, entry.file.fd, 0);
  if (at != MAP_FAILED) entry.mapped = {static_cast<uint8_t*>(at), *bytes};
  return entry.mapped;
}

Result<uint64_t> LocalDisk::BytesOf(DiskFileId file) { return place_->BytesOf(EntryOf(file).file); }

void LocalDisk::Begin(DiskOp::Kind kind, DiskFileId file, uint64_t offset, const uint8_t* data, uint64_t bytes,
                      Completion* done) {
  Entry& entry = EntryOf(file);
  MAYFLY_CHECK(kind == DiskOp::Kind::kRead || entry.file.writable);
  MAYFLY_CHECK(kind == DiskOp::Kind::kFlush || bytes != 0);
  MAYFLY_CHECK((offset | bytes | reinterpret_cast<uintptr_t>(data)) % kBlockBytes == 0);
  MAYFLY_CHECK(pending_ < kPendingMax);
  ++pending_;
  ++entry.under_way;
  DiskOp op;
  op.kind = kind;
  op.file = file.value - 1;
  op.fd = entry.file.fd;
  op.offset = offset;
  op.left = bytes;
  op.data = const_cast<uint8_t*>(data);  // a write's is only read
  op.done = done;
  if (op.writes()) op.status = MakeRoom(&entry, offset + bytes);
  op.on_device = entry.file.on_device.get();
  if (kind == DiskOp::Kind::kRead && op.on_device != nullptr && offset + bytes > entry.file.bytes) {
    op.status = Code::kCorrupt;  // there is something behind a file on a device
  }
  if (!op.status.ok()) {
    refused_.push_back(op);
    return;
  }
  Start(op);
}

Status LocalDisk::MakeRoom(Entry* entry, uint64_t bytes) {
  std::shared_ptr<const DeviceFile> before = entry->file.on_device;
  const Status status = place_->MakeRoom(&entry->file, bytes);
  if (before != entry->file.on_device) entry->before.push_back(std::move(before));
  return status;
}

bool LocalDisk::EndRefused() {
  const std::vector<DiskOp> refused = std::exchange(refused_, {});
  for (const DiskOp& op : refused) Ended(op);
  return !refused.empty();
}

void LocalDisk::Read(DiskFileId file, uint64_t offset, MutableBytes to, Completion* done) {
  Begin(DiskOp::Kind::kRead, file, offset, to.data(), to.size(), done);
}

void LocalDisk::Write(DiskFileId file, uint64_t offset, Bytes from, Completion* done) {
  Begin(DiskOp::Kind::kWrite, file, offset, from.data(), from.size(), done);
}

void LocalDisk::WriteThrough(DiskFileId file, uint64_t offset, Bytes from, Completion* done) {
  Begin(DiskOp::Kind::kWriteThrough, file, offset, from.data(), from.size(), done);
}

void LocalDisk::Flush(DiskFileId file, Completion* done) { Begin(DiskOp::Kind::kFlush, file, 0, nullptr, 0, done); }

void LocalDisk::Discard(DiskFileId file, uint64_t offset, uint64_t bytes, Completion* done) {
  Begin(DiskOp::Kind::kDiscard, file, offset, nullptr, bytes, done);
}

void LocalDisk::Ended(const DiskOp& op) {
  --pending_;
  Entry& entry = files_[op.file];
  --entry.under_way;
  const Status status = op.status.ok() && IsGone(op.kind, entry) ? Status(Code::kNoEntry) : op.status;
  if (!status.ok()) LogOnce(op, status.code());
  op.done->fn(op.done, status);
}

bool LocalDisk::IsGone(DiskOp::Kind kind, Entry& entry) {
  constexpr uint32_t kWritesALook = 64;
  const bool look = kind == DiskOp::Kind::kFlush || kind == DiskOp::Kind::kWriteThrough ||
                    (kind == DiskOp::Kind::kWrite && ++entry.writes % kWritesALook == 0);
  if (!look || (removed_here_ != nullptr && *removed_here_)) return false;
  return place_->IsGone(entry.file);
}

void LocalDisk::LogOnce(const DiskOp& op, Code code) {
  const uint32_t bit = static_cast<uint8_t>(code) < 32 ? uint32_t{1} << static_cast<uint8_t>(code) : 0;
  if ((logged_ & bit) != 0 || code == Code::kCorrupt || code == Code::kNotSupported) return;
  logged_ |= bit;
  const char* hint = code == Code::kIo        ? "; the device fails: look at the kernel's log"
                     : code == Code::kNoSpace ? "; remove something from its file system"
                     : code == Code::kNoEntry ? "; somebody removed it: keep what cleans up away from --dir"
                                              : "";
  MAYFLY_ERROR("cannot {} {}/{} at {}: {}{}", NameOf(op.kind), place_->path(), files_[op.file].name, op.offset,
               TextOf(code), hint);
}

std::string WarningWithoutUring(int error, int disabled) {
  std::string cause;
  switch (error) {
    case 0:
      cause = "io_uring was switched off";
      break;
    case EPERM:
    case EACCES:
      cause = disabled != 0
                  ? fmt::format("io_uring is disabled on this node; ask for kernel.io_uring_disabled = 0 (it is {})",
                                disabled)
                  : std::string(
                        "io_uring is forbidden here, probably by a container; have its seccomp profile allow"
                        " io_uring_setup, io_uring_enter and io_uring_register");
      break;
    case ENOSYS:
    case EOPNOTSUPP:
      cause = "this kernel has no io_uring that would do, or a container hides it; Linux 5.11 and newer have it";
      break;
    case ENOMEM:
      cause = "io_uring may not lock enough memory; raise the limit (ulimit -l 65536)";
      break;
    case EMFILE:
    case ENFILE:
      cause = "io_uring may open no more files; raise the limit (ulimit -n)";
      break;
    default:
      cause = fmt::format("io_uring does not work here ({})", std::strerror(error));
      break;
  }
  return cause + ": local storage goes by plain reads and writes, which are as safe but cost more processor time";
}

LocalDiskOpened OpenLocalDisk(LocalDiskOptions options) {
  LocalDiskOpened opened;
  std::unique_ptr<DiskPlace> place;
  opened.failure = OpenDiskPlace(std::move(options.directory), &place);
  if (!opened.failure.ok()) return opened;
  if (options.at_once_in_memory && place->facts().in_memory) {
    opened.disk = std::make_unique<PosixDisk>(std::move(place), 0);
  } else {
    int error = 0;
    if (options.try_uring) opened.disk = UringDisk::Make(place, &error, options.warns);
    if (opened.disk == nullptr) {
      opened.warning = WarningWithoutUring(error, UringDisabled());
      opened.disk = std::make_unique<PosixDisk>(std::move(place));
    }
  }
  opened.disk->removed_here_ = options.removed_here;
  return opened;
}

}  // namespace mayfly
