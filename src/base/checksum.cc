#include "base/checksum.h"

#include <xxhash.h>
#if defined(__x86_64__) && __has_include(<xxh_x86dispatch.h>)
#include <xxh_x86dispatch.h>  // from here on XXH3_64bits is the widest that this processor has: AVX2, AVX-512
#endif

#include <algorithm>

namespace mayfly {

uint64_t Checksum(Bytes data) { return XXH3_64bits(data.data(), data.size()); }

void CopyAndChecksum(uint8_t* to, Bytes from, uint64_t* sums) {
  for (size_t at = 0; at < from.size(); at += kChecksumBlockBytes) {
    size_t n = std::min<size_t>(kChecksumBlockBytes, from.size() - at);
    std::memcpy(to + at, from.data() + at, n);
    *sums++ = XXH3_64bits(to + at, n);
  }
}

uint64_t Hash64(Bytes data, uint64_t seed) { return XXH64(data.data(), data.size(), seed); }

}  // namespace mayfly
