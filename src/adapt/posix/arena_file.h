// How an arena's files look to both who makes them (arena_memory.h) and who maps them (arena_view.h): a file a segment,
// `<name>.<number>`: data (a multiple of 2 MiB), then a stamp (4 bytes) for each 64 KiB of it, filled up to whole
// pages.
// `<name>.users`: byte `who` is write-locked by the process that attached as `who`.
#pragma once

#include <cstddef>
#include <string>

#include "os/arena_memory.h"

namespace mayfly::arena_file {

constexpr size_t kSegmentUnit = size_t{2} << 20;
constexpr size_t kPageBytes = 4096;

constexpr size_t StampCount(size_t data_bytes) { return data_bytes / kStampBytes; }
constexpr size_t StampFileBytes(size_t data_bytes) {
  return (StampCount(data_bytes) * sizeof(ArenaStamp) + kPageBytes - 1) / kPageBytes * kPageBytes;
}
// The data of a file of `file_bytes`. The stamps of the largest segment (64 MiB) take far less than a unit.
constexpr size_t DataBytes(size_t file_bytes) { return file_bytes / kSegmentUnit * kSegmentUnit; }

inline std::string SegmentPath(const std::string& name, size_t number) { return name + "." + std::to_string(number); }
inline std::string UsersPath(const std::string& name) { return name + ".users"; }

}  // namespace mayfly::arena_file
