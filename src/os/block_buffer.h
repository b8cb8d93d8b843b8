// Memory that a disk reads into and writes from: aligned to a block, a whole number of them.
#pragma once

#include <cstring>
#include <new>

#include "base/bytes.h"
#include "base/check.h"
#include "os/disk.h"

namespace mayfly {

class BlockBuffer {
 public:
  // Zeroed.
  explicit BlockBuffer(size_t bytes)
      : bytes_(bytes), data_(static_cast<uint8_t*>(::operator new(bytes, std::align_val_t(Disk::kBlockBytes)))) {
    MAYFLY_CHECK(bytes % Disk::kBlockBytes == 0);
    std::memset(data_, 0, bytes);
  }
  BlockBuffer(const BlockBuffer&) = delete;
  BlockBuffer& operator=(const BlockBuffer&) = delete;
  ~BlockBuffer() { ::operator delete(data_, std::align_val_t(Disk::kBlockBytes)); }

  uint8_t* data() { return data_; }
  const uint8_t* data() const { return data_; }
  size_t size() const { return bytes_; }
  MutableBytes span() { return {data_, bytes_}; }

 private:
  const size_t bytes_;
  uint8_t* const data_;
};

}  // namespace mayfly
