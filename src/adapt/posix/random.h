// The kernel's random bytes. Small requests are served from a buffer, because a system call each would cost more than
// the message that needs the nonce.
// One thread owns it. After fork the child never repeats its parent's bytes: the buffer is a page that the kernel
// wipes in the child (MADV_WIPEONFORK), and a wiped buffer is an empty one.
#pragma once

#include "os/random.h"

namespace mayfly {

class PosixRandom final : public Random {
 public:
  PosixRandom();
  PosixRandom(const PosixRandom&) = delete;
  PosixRandom& operator=(const PosixRandom&) = delete;
  ~PosixRandom() override;
  void Fill(MutableBytes out) override;

 private:
  static constexpr size_t kBufferBytes = 1024;
  static constexpr size_t kSmallBytesMax = 64;
  struct Buffer {
    size_t left;  // the last `left` of `bytes` were not given out yet
    uint8_t bytes[kBufferBytes];
  };
  Buffer* buffer_ = nullptr;  // null: the kernel cannot wipe a page, so nothing is buffered
};

}  // namespace mayfly
