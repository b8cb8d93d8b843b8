// One request to a local disk on its way, and what its system calls' results mean for it: both adapters' one place for
// short transfers, retries and errors.
#pragma once

#include <errno.h>

#include <cstdint>

#include "base/status.h"
#include "device/table.h"
#include "os/disk.h"

namespace mayfly {

struct DiskOp {
  enum class Kind : uint8_t { kRead, kWrite, kWriteThrough, kFlush, kDiscard };
  // Without any progress in between: a device that wants more is broken.
  static constexpr uint16_t kTriesMax = 1000;
  // A call moves at most so much (the kernel: 2 GiB less a page).
  static constexpr uint64_t kCallBytesMax = uint64_t{1} << 30;

  Kind kind = Kind::kRead;
  bool fixed = false;  // the last call used registered memory
  bool plain = false;  // it must not any more
  uint16_t tries = 0;
  uint32_t file = 0;  // index in the table
  int fd = -1;
  uint64_t offset = 0;
  uint64_t left = 0;
  uint8_t* data = nullptr;
  Completion* done = nullptr;
  const DeviceFile* on_device = nullptr;  // where the file's bytes lie in `fd`; null: it is a file of its own
  Status status;

  bool writes() const { return kind == Kind::kWrite || kind == Kind::kWriteThrough; }
  // What the next call moves, and where that lies in `fd`. Nothing: behind the file's end on a device.
  uint32_t call_bytes() const { return Call().bytes; }
  uint64_t call_offset() const { return Call().offset; }
  uint64_t discard_bytes() const { return on_device != nullptr ? call_bytes() : left; }

  // `result`: what the call gave, or -errno. True: another call is needed. False: ended, `status` says how.
  bool Advance(int64_t result) {
    if (result < 0) return Failed(static_cast<int>(-result));
    if (kind == Kind::kFlush || (kind == Kind::kDiscard && on_device == nullptr)) return false;
    if (kind == Kind::kDiscard) result = call_bytes();  // a run of the file
    // Part of a block is moved again: past the page cache only whole ones can be.
    const uint64_t moved = static_cast<uint64_t>(result) / Disk::kBlockBytes * Disk::kBlockBytes;
    offset += moved;
    if (data != nullptr) data += moved;
    left -= moved;
    if (left == 0 || kind == Kind::kDiscard) return left != 0 && moved != 0;
    if (moved != 0) {
      tries = 0;
      return true;
    }
    if (kind == Kind::kRead) status = Code::kCorrupt;  // the end of the file
    if (writes() && ++tries < kTriesMax) return true;
    if (writes()) status = Code::kIo;
    return false;
  }

 private:
  struct Piece {
    uint64_t offset;
    uint32_t bytes;
  };
  Piece Call() const {
    const uint64_t bytes = left < kCallBytesMax ? left : kCallBytesMax;
    if (on_device == nullptr) return {offset, static_cast<uint32_t>(bytes)};
    uint64_t begin = 0;
    for (const DeviceRun& run : on_device->runs) {
      const uint64_t end = begin + run.blocks * DeviceTable::kBlockBytes;
      if (offset < end) {
        return {run.first * DeviceTable::kBlockBytes + (offset - begin),
                static_cast<uint32_t>(bytes < end - offset ? bytes : end - offset)};
      }
      begin = end;
    }
    return {0, 0};
  }
  bool Failed(int error) {
    if (fixed && !plain && (error == ENOMEM || error == EFAULT)) {
      plain = true;
      return true;
    }
    if ((error == EINTR || error == EAGAIN || error == ENOMEM) && ++tries < kTriesMax) return true;
    status = CodeOf(error);
    return false;
  }
  Code CodeOf(int error) const {
    if (kind == Kind::kDiscard && (error == EOPNOTSUPP || error == EINVAL || error == ENOSYS)) {
      return Code::kNotSupported;
    }
    if (error == ENOSPC || error == EDQUOT) return Code::kNoSpace;
    if (error == EROFS) return Code::kReadOnly;
    if (error == EFBIG) return Code::kFileTooBig;
    if (error == ENOMEM) return Code::kNoMemory;
    return Code::kIo;  // devices say it in many ways: EIO, ENODATA, EILSEQ, ENXIO, EREMOTEIO, ETIMEDOUT
  }
};

}  // namespace mayfly
