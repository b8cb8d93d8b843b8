// XXH3 (64 bit, seed 0) of more than 240 bytes, in steps of whole stripes, which copies what it hashes on the way: what
// is in a register need not be loaded again, and the arithmetic is done while stores wait for memory. The library has
// no such thing (source of the algorithm: xxHash's specification, "XXH3 Algorithm Overview"; unit tests compare).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace mayfly {

class Xxh3 {
 public:
  static constexpr size_t kStripeBytes = 64, kShort = 240;  // up to kShort bytes the algorithm is another
  enum class Copy : uint8_t { kNone, kPlain, kPastCaches };

  // What the processor has that makes this faster than a pass of its own. Without it nothing else here may be called.
  enum class Vectors : uint8_t { kNone, kAvx2, kAvx512 };
  static Vectors Available();
  static bool IsFast();
  static void Use(Vectors vectors);  // instead of the best there is: a test's
  // Of a hash over `bytes` bytes: the last one to 64 are in no stripe, wherever they end.
  static constexpr size_t StripesOf(size_t bytes) { return bytes == 0 ? 0 : (bytes - 1) / kStripeBytes; }

  void Reset() { *this = Xxh3(); }
  size_t stripes() const { return stripes_; }
  // The next `count` stripes. kPastCaches: `to` is aligned to 64 bytes, and a fence is the caller's.
  void Add(const uint8_t* from, size_t count, uint8_t* to = nullptr, Copy how = Copy::kNone);
  // All StripesOf(bytes) were added; `end`: behind the last byte, of which 64 can be read.
  uint64_t Digest(const uint8_t* end, size_t bytes) const;

 private:
  static constexpr uint32_t kPrime32[] = {0x9E3779B1U, 0x85EBCA77U, 0xC2B2AE3DU};
  static constexpr uint64_t kPrime64[] = {0x9E3779B185EBCA87U, 0xC2B2AE3D27D4EB4FU, 0x165667B19E3779F9U,
                                          0x85EBCA77C2B2AE63U, 0x27D4EB2F165667C5U};

  std::array<uint64_t, 8> lanes_{kPrime32[2], kPrime64[0], kPrime64[1], kPrime64[2],
                                 kPrime64[3], kPrime32[1], kPrime64[4], kPrime32[0]};
  size_t stripes_ = 0;
};

}  // namespace mayfly
