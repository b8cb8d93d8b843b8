// The door to the processor core that a thread runs on.
#pragma once

#include <cstdint>

namespace mayfly {

// Any thread; each call is about the one that makes it.
class Cores {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};  // not known
  virtual ~Cores() = default;
  virtual uint32_t Current() = 0;
  // Goes on on another core that the thread may use, if it is on this one and there is any.
  virtual void Leave(uint32_t core) = 0;
};

}  // namespace mayfly
