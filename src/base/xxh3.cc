#include "base/xxh3.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace mayfly {
namespace {

// The algorithm's default secret. What is read of it: 8 bytes further for each stripe of a block.
constexpr size_t kSecretBytes = 192, kStripesOfBlock = (kSecretBytes - Xxh3::kStripeBytes) / 8;
constexpr size_t kScrambleAt = kSecretBytes - Xxh3::kStripeBytes, kLastAt = kScrambleAt - 7, kMergeAt = 11;
alignas(64) constexpr uint8_t kSecret[kSecretBytes] = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4,
    0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e,
    0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21, 0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43,
    0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb,
    0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19,
    0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7,
    0xc7, 0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78,
    0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
    0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e, 0x2b, 0x16,
    0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f,
    0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
};
constexpr uint32_t kScramblePrime = 0x9E3779B1U;
constexpr uint64_t kMergePrime = 0x9E3779B185EBCA87U, kAvalanchePrime = 0x165667919E3779F9U;

uint64_t SecretAt(size_t at) {
  uint64_t value;
  std::memcpy(&value, kSecret + at, sizeof value);
  return value;
}

using Lanes = uint64_t*;
using Copy = Xxh3::Copy;
// `first`: of the block that the first stripe belongs to, the number of it.
using AddFn = void (*)(Lanes lanes, size_t first, size_t count, const uint8_t* from, uint8_t* to);

#if defined(__x86_64__)

// gcc's own headers begin vectors that no element of is used with themselves (its bug 105593).
#if !defined(__clang__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wuninitialized"
#endif

#define MAYFLY_AVX512 __attribute__((target("avx512f"), always_inline)) inline
#define MAYFLY_AVX2 __attribute__((target("avx2"), always_inline)) inline

struct Avx512 {
  __m512i all;
};

MAYFLY_AVX512 Avx512 Load512(const uint8_t* from) { return {_mm512_loadu_si512(from)}; }
template <Copy kHow>
MAYFLY_AVX512 void Store512(uint8_t* to, Avx512 v) {
  if constexpr (kHow == Copy::kPastCaches) _mm512_stream_si512(reinterpret_cast<__m512i*>(to), v.all);
  if constexpr (kHow == Copy::kPlain) _mm512_storeu_si512(to, v.all);
}
MAYFLY_AVX512 __m512i HighHalves512(__m512i v) { return _mm512_srli_epi64(v, 32); }
MAYFLY_AVX512 Avx512 Accumulate512(Avx512 lanes, Avx512 data, Avx512 secret) {
  const __m512i key = _mm512_xor_si512(data.all, secret.all);
  const __m512i product = _mm512_mul_epu32(key, HighHalves512(key));
  const __m512i swapped = _mm512_shuffle_epi32(data.all, static_cast<_MM_PERM_ENUM>(_MM_SHUFFLE(1, 0, 3, 2)));
  return {_mm512_add_epi64(_mm512_add_epi64(lanes.all, swapped), product)};
}
MAYFLY_AVX512 Avx512 Scramble512(Avx512 lanes, Avx512 secret) {
  const __m512i mixed = _mm512_xor_si512(_mm512_xor_si512(lanes.all, _mm512_srli_epi64(lanes.all, 47)), secret.all);
  const __m512i prime = _mm512_set1_epi64(kScramblePrime);
  const __m512i high = _mm512_mul_epu32(HighHalves512(mixed), prime);
  return {_mm512_add_epi64(_mm512_mul_epu32(mixed, prime), _mm512_slli_epi64(high, 32))};
}

template <Copy kHow>
__attribute__((target("avx512f"))) void Add512(Lanes lanes, size_t first, size_t count, const uint8_t* from,
                                               uint8_t* to) {
  Avx512 sum = Load512(reinterpret_cast<const uint8_t*>(lanes));
  const Avx512 scramble = Load512(kSecret + kScrambleAt);
  while (count != 0) {
    const size_t last = std::min(first + count, kStripesOfBlock);
    count -= last - first;
    for (; first < last; ++first) {
      const Avx512 data = Load512(from);
      Store512<kHow>(to, data);
      sum = Accumulate512(sum, data, Load512(kSecret + 8 * first));
      from += Xxh3::kStripeBytes;
      if constexpr (kHow != Copy::kNone) to += Xxh3::kStripeBytes;
    }
    if (first == kStripesOfBlock) {
      sum = Scramble512(sum, scramble);
      first = 0;
    }
  }
  Store512<Copy::kPlain>(reinterpret_cast<uint8_t*>(lanes), sum);
}

struct Avx2 {
  __m256i low, high;
};

MAYFLY_AVX2 Avx2 Load256(const uint8_t* from) {
  return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)),
          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32))};
}
template <Copy kHow>
MAYFLY_AVX2 void Store256(uint8_t* to, Avx2 v) {
  auto* const there = reinterpret_cast<__m256i*>(to);
  if constexpr (kHow == Copy::kPastCaches) {
    _mm256_stream_si256(there, v.low);
    _mm256_stream_si256(there + 1, v.high);
  }
  if constexpr (kHow == Copy::kPlain) {
    _mm256_storeu_si256(there, v.low);
    _mm256_storeu_si256(there + 1, v.high);
  }
}
MAYFLY_AVX2 __m256i Accumulate256(__m256i lanes, __m256i data, __m256i secret) {
  const __m256i key = _mm256_xor_si256(data, secret);
  const __m256i product = _mm256_mul_epu32(key, _mm256_srli_epi64(key, 32));
  const __m256i swapped = _mm256_shuffle_epi32(data, _MM_SHUFFLE(1, 0, 3, 2));
  return _mm256_add_epi64(_mm256_add_epi64(lanes, swapped), product);
}
MAYFLY_AVX2 __m256i Scramble256(__m256i lanes, __m256i secret) {
  const __m256i mixed = _mm256_xor_si256(_mm256_xor_si256(lanes, _mm256_srli_epi64(lanes, 47)), secret);
  const __m256i prime = _mm256_set1_epi64x(kScramblePrime);
  const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime);
  return _mm256_add_epi64(_mm256_mul_epu32(mixed, prime), _mm256_slli_epi64(high, 32));
}

template <Copy kHow>
__attribute__((target("avx2"))) void Add256(Lanes lanes, size_t first, size_t count, const uint8_t* from, uint8_t* to) {
  Avx2 sum = Load256(reinterpret_cast<const uint8_t*>(lanes));
  const Avx2 scramble = Load256(kSecret + kScrambleAt);
  while (count != 0) {
    const size_t last = std::min(first + count, kStripesOfBlock);
    count -= last - first;
    for (; first < last; ++first) {
      const Avx2 data = Load256(from), secret = Load256(kSecret + 8 * first);
      Store256<kHow>(to, data);
      sum = {Accumulate256(sum.low, data.low, secret.low), Accumulate256(sum.high, data.high, secret.high)};
      from += Xxh3::kStripeBytes;
      if constexpr (kHow != Copy::kNone) to += Xxh3::kStripeBytes;
    }
    if (first == kStripesOfBlock) {
      sum = {Scramble256(sum.low, scramble.low), Scramble256(sum.high, scramble.high)};
      first = 0;
    }
  }
  Store256<Copy::kPlain>(reinterpret_cast<uint8_t*>(lanes), sum);
}

#undef MAYFLY_AVX512
#undef MAYFLY_AVX2
#if !defined(__clang__)
#pragma GCC diagnostic pop
#endif

const AddFn* FunctionsOf(Xxh3::Vectors vectors) {
  static constexpr AddFn k512[] = {Add512<Copy::kNone>, Add512<Copy::kPlain>, Add512<Copy::kPastCaches>};
  static constexpr AddFn k256[] = {Add256<Copy::kNone>, Add256<Copy::kPlain>, Add256<Copy::kPastCaches>};
  if (vectors == Xxh3::Vectors::kAvx512) return k512;
  return vectors == Xxh3::Vectors::kAvx2 ? k256 : nullptr;
}

#else

const AddFn* FunctionsOf(Xxh3::Vectors) { return nullptr; }

#endif

const AddFn* functions = FunctionsOf(Xxh3::Available());  // null: none

// One stripe with the secret at `at`, by plain arithmetic.
void Accumulate(Lanes lanes, const uint8_t* data, size_t at) {
  for (size_t i = 0; i < 8; ++i) {
    uint64_t value;
    std::memcpy(&value, data + 8 * i, sizeof value);
    const uint64_t key = value ^ SecretAt(at + 8 * i);
    lanes[i ^ 1] += value;
    lanes[i] += (key & 0xFFFFFFFFU) * (key >> 32);
  }
}

uint64_t FoldedProduct(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

}  // namespace

Xxh3::Vectors Xxh3::Available() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f")) return Vectors::kAvx512;
  if (__builtin_cpu_supports("avx2")) return Vectors::kAvx2;
#endif
  return Vectors::kNone;
}

bool Xxh3::IsFast() { return functions != nullptr; }

void Xxh3::Use(Vectors vectors) { functions = FunctionsOf(std::min(vectors, Available())); }

void Xxh3::Add(const uint8_t* from, size_t count, uint8_t* to, Copy how) {
  functions[static_cast<size_t>(how)](lanes_.data(), stripes_ % kStripesOfBlock, count, from, to);
  stripes_ += count;
}

uint64_t Xxh3::Digest(const uint8_t* end, size_t bytes) const {
  MAYFLY_CHECK(bytes > kShort && stripes_ == StripesOf(bytes));
  std::array<uint64_t, 8> lanes = lanes_;
  Accumulate(lanes.data(), end - kStripeBytes, kLastAt);
  uint64_t hash = bytes * kMergePrime;
  for (size_t i = 0; i < 4; ++i) {
    const size_t at = kMergeAt + 16 * i;
    hash += FoldedProduct(lanes[2 * i] ^ SecretAt(at), lanes[2 * i + 1] ^ SecretAt(at + 8));
  }
  hash = (hash ^ (hash >> 37)) * kAvalanchePrime;
  return hash ^ (hash >> 32);
}

}  // namespace mayfly
