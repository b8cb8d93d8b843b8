// Stretches of a file that cannot be had, for a report. Plain values.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace mayfly {

enum class GapKind : uint8_t {
  kMissing,  // what had it is not there
  kCorrupt,  // it is there, and does not match its checksum
};

struct Gap {
  uint64_t begin = 0, end = 0;
  GapKind kind = GapKind::kMissing;
  friend bool operator==(const Gap&, const Gap&) = default;
};
using Gaps = std::vector<Gap>;

// In order, neighbours of one kind as one.
inline void SortGaps(Gaps* gaps) {
  std::sort(gaps->begin(), gaps->end(), [](const Gap& a, const Gap& b) { return a.begin < b.begin; });
  size_t kept = 0;
  for (const Gap& gap : *gaps) {
    if (gap.begin >= gap.end) continue;
    if (kept != 0 && (*gaps)[kept - 1].end >= gap.begin && (*gaps)[kept - 1].kind == gap.kind) {
      (*gaps)[kept - 1].end = std::max((*gaps)[kept - 1].end, gap.end);
    } else {
      (*gaps)[kept++] = gap;
    }
  }
  gaps->resize(kept);
}

}  // namespace mayfly
