// What a raw device, or a file that stands for one, says of itself: which files lie on it and where. Pure values; who
// reads and writes them is device.h. Format: share/doc/format/device.md.
// Invariants  T1  the runs of a table that was decoded lie inside of the device, behind the tables, and do not overlap;
//                 its names are distinct.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace mayfly {

struct DeviceRun {
  uint64_t first = 0, blocks = 0;
  friend bool operator==(const DeviceRun&, const DeviceRun&) = default;
};

struct DeviceFile {
  std::string name;    // "mayfly-UUID/member-0/shard-1/journal"
  uint64_t bytes = 0;  // of its content, at most those of its runs
  std::vector<DeviceRun> runs;
  uint64_t blocks() const;
  friend bool operator==(const DeviceFile&, const DeviceFile&) = default;
};

struct DeviceTable {
  static constexpr uint64_t kMagic = 0x3156454459414d00;  // "\0MAYDEV1"
  static constexpr uint32_t kVersion = 1;
  static constexpr uint64_t kBlockBytes = 4096;
  static constexpr size_t kHeaderBytes = 64, kEntryBytes = 512, kNameBytesMax = 96, kRunsMax = 25;
  // Two places, of which each change takes the older.
  static constexpr uint64_t kPlaceBytes = uint64_t{1} << 20, kPlaces = 2, kDataOffset = kPlaces * kPlaceBytes;
  static constexpr size_t kFilesMax = (kPlaceBytes - kHeaderBytes) / kEntryBytes;
  static constexpr uint64_t kDeviceBytesMin = uint64_t{16} << 20;

  uint64_t sequence = 0;
  uint64_t device_bytes = 0;  // a multiple of kBlockBytes
  std::vector<DeviceFile> files;

  DeviceFile* Find(std::string_view name);
  const DeviceFile* Find(std::string_view name) const { return const_cast<DeviceTable*>(this)->Find(name); }
  // Names that begin with it.
  bool Has(std::string_view prefix) const;
  uint64_t blocks_free() const;
  // Appends to the file, of free blocks: in a row if there are so many, else in as few runs as can be. kNoSpace, and
  // nothing changed: there are not so many, or it would be in more than kRunsMax. Bytes are left alone.
  Status Allocate(DeviceFile* file, uint64_t blocks) const;
};

enum class DeviceTableState : uint8_t { kGood, kNone, kDamaged, kFutureVersion };

// Whole blocks. kNoSpace: more files than fit.
Result<std::vector<uint8_t>> EncodeDeviceTable(const DeviceTable& table);
// How many bytes of a place, of which the first block is given, say something, if it is a table; whole blocks.
size_t DeviceTableBytes(Bytes first_block);
// `place`: at least so many.
DeviceTableState DecodeDeviceTable(Bytes place, DeviceTable* table);

}  // namespace mayfly
