#include "store/disk_space.h"

#include <algorithm>
#include <iterator>

#include "base/check.h"

namespace mayfly {

DiskSpace::DiskSpace(uint64_t file_bytes) : blocks_(std::min(file_bytes / kBlockBytes, kBlocksMax)) {
  if (blocks_ > 1) Insert(1, static_cast<uint32_t>(blocks_ - 1));
}

void DiskSpace::Insert(uint32_t first, uint32_t blocks) {
  by_place_.emplace(first, blocks);
  by_length_.emplace(blocks, first);
  blocks_free_ += blocks;
}

void DiskSpace::Erase(uint32_t first, uint32_t blocks) {
  by_place_.erase(first);
  by_length_.erase({blocks, first});
  blocks_free_ -= blocks;
}

Result<uint32_t> DiskSpace::Allocate(uint32_t blocks) {
  MAYFLY_CHECK(blocks != 0);
  const auto fit = by_length_.lower_bound({blocks, 0});
  if (fit == by_length_.end()) return Code::kNoSpace;
  const auto [length, first] = *fit;
  Erase(first, length);
  if (length > blocks) Insert(first + blocks, length - blocks);
  return first;
}

void DiskSpace::Free(uint32_t first, uint32_t blocks) {
  MAYFLY_CHECK(blocks != 0 && first != 0 && uint64_t{first} + blocks <= blocks_);
  auto next = by_place_.lower_bound(first);
  if (next != by_place_.begin()) {
    const auto [before, length] = *std::prev(next);
    MAYFLY_CHECK(before + length <= first);
    if (before + length == first) {
      Erase(before, length);
      first = before;
      blocks += length;
    }
  }
  next = by_place_.lower_bound(first);
  if (next != by_place_.end()) {
    const auto [behind, length] = *next;
    MAYFLY_CHECK(uint64_t{first} + blocks <= behind);
    if (first + blocks == behind) {
      Erase(behind, length);
      blocks += length;
    }
  }
  Insert(first, blocks);
}

Status DiskSpace::Adopt(std::vector<Run> taken) {
  MAYFLY_CHECK(blocks_ <= 1 || blocks_free_ == blocks_ - 1);
  std::sort(taken.begin(), taken.end(), [](const Run& a, const Run& b) { return a.first < b.first; });
  uint64_t at = 1;
  for (const Run& run : taken) {
    if (run.blocks == 0 || run.first < at || uint64_t{run.first} + run.blocks > blocks_) return Code::kCorrupt;
    at = uint64_t{run.first} + run.blocks;
  }
  by_place_.clear();
  by_length_.clear();
  blocks_free_ = 0;
  at = 1;
  for (const Run& run : taken) {
    if (run.first > at) Insert(static_cast<uint32_t>(at), static_cast<uint32_t>(run.first - at));
    at = uint64_t{run.first} + run.blocks;
  }
  if (at < blocks_) Insert(static_cast<uint32_t>(at), static_cast<uint32_t>(blocks_ - at));
  return {};
}

}  // namespace mayfly
