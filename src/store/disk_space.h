// Which blocks of a shard's chunk file are taken. Best fit, of equal runs the first in the file; neighbours merge when
// they come free. It knows nothing of what lies there, and touches no disk.
// Memory: about 50 bytes a free run.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "base/status.h"

namespace mayfly {

class DiskSpace {
 public:
  static constexpr uint32_t kBlockBytes = 4096;
  static constexpr uint64_t kBlocksMax = uint64_t{1} << 32;
  static constexpr uint32_t BlocksFor(uint64_t bytes) {
    return static_cast<uint32_t>((bytes + kBlockBytes - 1) / kBlockBytes);
  }
  struct Run {
    uint32_t first = 0, blocks = 0;
  };

  // Of a file of so many bytes, whose first block is its header (chunk_file.h) and is never given out.
  explicit DiskSpace(uint64_t file_bytes);

  // The first of `blocks` neighbours (not 0). kNoSpace: there are not so many in a row.
  Result<uint32_t> Allocate(uint32_t blocks);
  // Any part of what was given out.
  void Free(uint32_t first, uint32_t blocks);
  // While nothing is given out: these are, and the rest is free. kCorrupt, and nothing changed: they overlap, or lie
  // outside.
  Status Adopt(std::vector<Run> taken);

  uint64_t blocks() const { return blocks_; }
  uint64_t blocks_free() const { return blocks_free_; }

 private:
  void Insert(uint32_t first, uint32_t blocks);
  void Erase(uint32_t first, uint32_t blocks);

  const uint64_t blocks_;
  uint64_t blocks_free_ = 0;
  absl::btree_map<uint32_t, uint32_t> by_place_;              // first -> blocks
  absl::btree_set<std::pair<uint32_t, uint32_t>> by_length_;  // blocks, first
};

}  // namespace mayfly
