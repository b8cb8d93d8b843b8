// Bytes of a file where they lie in a mapped arena (os/arena_view.h). They stay mapped as long as the mount.
#pragma once

#include <span>

#include "os/arena_memory.h"

namespace mayfly {

struct Placed {
  Bytes bytes;  // empty: none
  std::span<const ArenaStamp> stamps;
  uint32_t stamp = 0;  // their sum, when the bytes were there

  bool valid() const { return !bytes.empty(); }
  // After a copy: whether it copied what was told.
  bool IsThere() const {
    std::atomic_thread_fence(std::memory_order_acquire);  // the stamps are looked at after the copy
    uint32_t sum = 0;
    for (const ArenaStamp& s : stamps) sum += s.load(std::memory_order_relaxed);
    return sum == stamp;
  }
};

}  // namespace mayfly
