// A place is some bytes of a shard's arena: what Allocate gave, or a part of it. Its offset means the same to every
// process that maps the shard's segments: number of the segment (as ArenaMemory counts them) | byte within it.
#pragma once

#include <cstdint>

namespace mayfly {

struct Place {
  static constexpr int kSegmentBits = 26;
  static constexpr uint32_t kBytesMax = uint32_t{1} << kSegmentBits;  // 64 MiB: the longest place, and segment

  uint64_t offset = 0;
  uint32_t bytes = 0;  // 0: no place

  constexpr bool valid() const { return bytes != 0; }
  constexpr uint32_t segment() const { return static_cast<uint32_t>(offset >> kSegmentBits); }
  constexpr uint32_t within() const { return static_cast<uint32_t>(offset & (kBytesMax - 1)); }
  friend constexpr bool operator==(const Place&, const Place&) = default;
};

}  // namespace mayfly
