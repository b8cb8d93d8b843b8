// How an arena's files look to both who makes them (arena_memory.h) and who maps them (arena_view.h): a file a segment,
// `<name>.<number>`: data (a multiple of 2 MiB), then a stamp (4 bytes) for each 64 KiB of it, filled up to whole
// pages.
// `<name>.users`: the counts of changes (4 bytes each), then the board; byte `who` is write-locked by the process that
// attached as `who`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "os/arena_memory.h"

namespace mayfly::arena_file {

constexpr size_t kSegmentUnit = size_t{2} << 20;
constexpr size_t kPageBytes = 4096;

constexpr size_t kCountsBytes = kChangeCounts * sizeof(ArenaStamp);
constexpr size_t kBoardBytes = (sizeof(ArenaBoard) + kPageBytes - 1) / kPageBytes * kPageBytes;
constexpr size_t kUsersBytes = kCountsBytes + kBoardBytes;
static_assert(kCountsBytes % kPageBytes == 0);

constexpr size_t StampCount(size_t data_bytes) { return data_bytes / kStampBytes; }
constexpr size_t StampFileBytes(size_t data_bytes) {
  return (StampCount(data_bytes) * sizeof(ArenaStamp) + kPageBytes - 1) / kPageBytes * kPageBytes;
}
// The data of a file of `file_bytes`. The stamps of the largest segment (64 MiB) take far less than a unit.
constexpr size_t DataBytes(size_t file_bytes) { return file_bytes / kSegmentUnit * kSegmentUnit; }

// Enters the pages of `range` into this process's page tables. They were used before, so a read fault maps all of the
// 64 KiB around it that lie in the page cache, and writably, as the mapping is shared: a fifth of what
// MADV_POPULATE_WRITE costs (52 ms for 256 MiB; MADV_POPULATE_READ 19, this 11), which takes a fault for each page.
// Where the kernel is set to map less at once, what is left out faults when it is used. Changes nothing that others
// write meanwhile. Of pages that were never used it enters one in 16: PosixArenaMemory::Prefault is for these.
inline void MapPages(MutableBytes range) {
  constexpr size_t kFaultAround = 64 * 1024;
  const volatile uint8_t* at = range.data();
  const volatile uint8_t* const end = at + range.size();
  while (at < end) {
    (void)*at;
    at += kFaultAround - reinterpret_cast<uintptr_t>(at) % kFaultAround;
  }
}

inline std::string SegmentPath(const std::string& name, size_t number) { return name + "." + std::to_string(number); }
inline std::string UsersPath(const std::string& name) { return name + ".users"; }

}  // namespace mayfly::arena_file
