// The door to chance: ids, nonces, jitter. The real one is the kernel's; a test's is a seeded generator.
#pragma once

#include "base/bytes.h"

namespace mayfly {

class Random {
 public:
  virtual ~Random() = default;
  virtual void Fill(MutableBytes out) = 0;  // unpredictable bytes, good enough for keys
  uint64_t U64() {
    uint64_t v = 0;
    Fill({reinterpret_cast<uint8_t*>(&v), sizeof v});
    return v;
  }
};

}  // namespace mayfly
