// Copies between memory of a program and an arena, which is larger than the caches and whose bytes are seldom read by
// who wrote them. Regions do not overlap; none has to be aligned.
#pragma once

#include "base/bytes.h"

namespace mayfly {

constexpr size_t kCacheLineBytes = 64;

// Into an arena, past the caches from kPastCachesMin bytes on: a store that goes through them reads each line first,
// and more than twice as long (source: PERFORMANCE.md, "copies"). Visible to others before whatever is stored later.
void CopyIn(uint8_t* to, Bytes from);
constexpr size_t kPastCachesMin = 1024;
// What makes it visible; for who stores past the caches by other means.
void FenceCopies();

// Out of an arena, from several places at a time: each page is a stream of its own for the processor, which fetches
// ahead within it and waits at its end.
void CopyOut(uint8_t* to, Bytes from);

}  // namespace mayfly
