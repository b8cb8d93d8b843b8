// One request to a local disk on its way, and what its system calls' results mean for it: both adapters' one place for
// short transfers, retries and errors.
#pragma once

#include <errno.h>

#include <cstdint>

#include "base/status.h"
#include "os/disk.h"

namespace mayfly {

struct DiskOp {
  enum class Kind : uint8_t { kRead, kWrite, kFlush, kDiscard };
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
  Status status;

  uint32_t call_bytes() const { return static_cast<uint32_t>(left < kCallBytesMax ? left : kCallBytesMax); }

  // `result`: what the call gave, or -errno. True: another call is needed. False: ended, `status` says how.
  bool Advance(int64_t result) {
    if (result < 0) return Failed(static_cast<int>(-result));
    if (kind == Kind::kFlush || kind == Kind::kDiscard) return false;
    // Part of a block is moved again: past the page cache only whole ones can be.
    const uint64_t moved = static_cast<uint64_t>(result) / Disk::kBlockBytes * Disk::kBlockBytes;
    offset += moved;
    data += moved;
    left -= moved;
    if (left == 0) return false;
    if (moved != 0) {
      tries = 0;
      return true;
    }
    if (kind == Kind::kRead) status = Code::kCorrupt;  // the end of the file
    if (kind == Kind::kWrite && ++tries < kTriesMax) return true;
    if (kind == Kind::kWrite) status = Code::kIo;
    return false;
  }

 private:
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
