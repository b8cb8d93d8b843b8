#include "adapt/posix/random.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/random.h>

#include "base/check.h"

namespace mayfly {

namespace {
void FromKernel(uint8_t* out, size_t n) {
  while (n != 0) {
    const ssize_t got = getrandom(out, n, 0);
    MAYFLY_CHECK(got > 0 || errno == EINTR);  // there is no other error with these arguments
    if (got <= 0) continue;
    out += got;
    n -= static_cast<size_t>(got);
  }
}
}  // namespace

PosixRandom::PosixRandom() {
  void* page = mmap(nullptr, sizeof(Buffer), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED) return;
  if (madvise(page, sizeof(Buffer), MADV_WIPEONFORK) != 0) {
    munmap(page, sizeof(Buffer));
    return;
  }
  buffer_ = static_cast<Buffer*>(page);
}

PosixRandom::~PosixRandom() {
  if (buffer_ != nullptr) munmap(buffer_, sizeof(Buffer));
}

void PosixRandom::Fill(MutableBytes out) {
  if (buffer_ == nullptr || out.size() > kSmallBytesMax) {
    FromKernel(out.data(), out.size());
    return;
  }
  if (buffer_->left < out.size()) {
    FromKernel(buffer_->bytes, kBufferBytes);
    buffer_->left = kBufferBytes;
  }
  uint8_t* from = buffer_->bytes + (kBufferBytes - buffer_->left);
  std::memcpy(out.data(), from, out.size());
  std::memset(from, 0, out.size());  // what became a key is nowhere else
  buffer_->left -= out.size();
}

}  // namespace mayfly
