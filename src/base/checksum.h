// The one checksum of data: XXH3 (64 bit, seed 0) by block of at most 64 KiB, and the ring's hash xxHash64.
#pragma once

#include <absl/container/inlined_vector.h>

#include <array>
#include <cstdint>

#include "base/bytes.h"
#include "base/xxh3.h"

namespace mayfly {

constexpr uint32_t kChecksumBlockBytes = 64 * 1024;

uint64_t Checksum(Bytes data);  // XXH3_64bits
// As CopyIn and CopyOut, and hashes what it copies on the way (source: MEASURED.md, beats a pass of its own). `sums`
// receives one entry a started block of 64 KiB; of CopyOut `from` is at most one.
void CopyInAndChecksum(uint8_t* to, Bytes from, uint64_t* sums);
uint64_t CopyOutAndChecksum(uint8_t* to, Bytes from);
uint64_t Hash64(Bytes data, uint64_t seed);  // xxHash64
constexpr size_t BlocksOf(uint64_t bytes) { return (bytes + kChecksumBlockBytes - 1) / kChecksumBlockBytes; }

// The sums of memory in an arena that is filled from its begin on, piece by piece, made while the pieces are copied.
class RunningSums {
 public:
  // Copies `from` behind the `size` bytes that are at `begin`, all of which came by Append.
  void Append(uint8_t* begin, size_t size, Bytes from);
  // Of these; `sums` receives BlocksOf(size) entries.
  void Give(const uint8_t* begin, size_t size, uint64_t* sums) const;
  void Reset();

 private:
  void AppendToBlock(uint8_t* block, size_t at, Bytes from);
  uint64_t SumOf(const uint8_t* block, size_t bytes) const;

  absl::InlinedVector<uint64_t, 4> whole_;  // of blocks
  Xxh3 hash_;                               // of the block after these, as far as it came to that
  std::array<uint8_t, Xxh3::kStripeBytes> last_;
  size_t last_end_ = 0;  // of that block's bytes, those before this are in last_
};

}  // namespace mayfly
