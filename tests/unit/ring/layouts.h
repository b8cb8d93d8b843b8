// Layouts for the tests of this room.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "ring/layout.h"
#include "ring/placement.h"

namespace mayfly {

// `members` of weight 1 with `shards` each.
inline Layout EqualLayout(uint32_t members, uint32_t shards) {
  std::vector<Member> list;
  for (uint32_t i = 0; i < members; ++i) {
    list.push_back({MemberId(static_cast<uint16_t>(i)), "node" + std::to_string(i), 1, shards});
  }
  return Layout::Build(std::move(list)).value();
}

struct Share {
  uint32_t weight, shards;
};
inline Layout WeightedLayout(const std::vector<Share>& shares) {
  std::vector<Member> list;
  for (size_t i = 0; i < shares.size(); ++i) {
    list.push_back({MemberId(static_cast<uint16_t>(i)), "n" + std::to_string(i), shares[i].weight, shares[i].shards});
  }
  return Layout::Build(std::move(list)).value();
}

inline uint64_t SlotsOf(const Placement& placement, uint32_t shard) {
  return static_cast<uint64_t>(std::ranges::count(placement.tables().slots, shard));
}

}  // namespace mayfly
