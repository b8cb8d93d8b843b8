// The one checksum of data: XXH3 (64 bit, seed 0) by block of at most 64 KiB, and the ring's hash xxHash64.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace mayfly {

constexpr uint32_t kChecksumBlockBytes = 64 * 1024;

uint64_t Checksum(Bytes data);  // XXH3_64bits
// Copies block by block and hashes each while it is in the cache (source: MEASURED.md, beats a pass of its own).
// `sums` receives one entry a started block of 64 KiB. `to` holds from.size() bytes.
void CopyAndChecksum(uint8_t* to, Bytes from, uint64_t* sums);
uint64_t Hash64(Bytes data, uint64_t seed);  // xxHash64
constexpr size_t BlocksOf(uint64_t bytes) { return (bytes + kChecksumBlockBytes - 1) / kChecksumBlockBytes; }

}  // namespace mayfly
