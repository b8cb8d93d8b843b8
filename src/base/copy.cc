#include "base/copy.h"

#include <algorithm>
#include <cstring>

#if defined(__x86_64__)
#include <emmintrin.h>
#endif

namespace mayfly {
namespace {

#if defined(__x86_64__)
// Whole lines; `to` is aligned to one.
void StreamLines(uint8_t* to, const uint8_t* from, size_t bytes) {
  for (size_t at = 0; at < bytes; at += kCacheLineBytes) {
    const auto* const line = reinterpret_cast<const __m128i*>(from + at);
    auto* const there = reinterpret_cast<__m128i*>(to + at);
    const __m128i a = _mm_loadu_si128(line), b = _mm_loadu_si128(line + 1);
    const __m128i c = _mm_loadu_si128(line + 2), d = _mm_loadu_si128(line + 3);
    _mm_stream_si128(there, a);
    _mm_stream_si128(there + 1, b);
    _mm_stream_si128(there + 2, c);
    _mm_stream_si128(there + 3, d);
  }
}
#endif

}  // namespace

void FenceCopies() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

void CopyIn(uint8_t* to, Bytes from) {
  size_t done = 0;
#if defined(__x86_64__)
  if (from.size() >= kPastCachesMin) {
    const size_t head = -reinterpret_cast<uintptr_t>(to) % kCacheLineBytes;
    const size_t lines = (from.size() - head) / kCacheLineBytes * kCacheLineBytes;
    std::memcpy(to, from.data(), head);
    StreamLines(to + head, from.data() + head, lines);
    FenceCopies();
    done = head + lines;
  }
#endif
  std::memcpy(to + done, from.data() + done, from.size() - done);
}

void CopyOut(uint8_t* to, Bytes from) {
  constexpr size_t kStreams = 4, kApartMin = 4096;
  const size_t apart = from.size() / kStreams / kCacheLineBytes * kCacheLineBytes;
  size_t done = 0;
  if (apart >= kApartMin) {
    for (size_t at = 0; at < apart; at += kCacheLineBytes) {
      for (size_t stream = 0; stream < kStreams; ++stream) {
        std::memcpy(to + stream * apart + at, from.data() + stream * apart + at, kCacheLineBytes);
      }
    }
    done = kStreams * apart;
  }
  std::memcpy(to + done, from.data() + done, from.size() - done);
}

}  // namespace mayfly
