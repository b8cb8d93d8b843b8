// The door to time. Two clocks: Now() never goes back and is for deadlines; Wall() is for the times of files.
// src/adapt/posix has the real one, tests/fake/sim_clock.h one that tests move by hand.
#pragma once

#include "base/ids.h"

namespace mayfly {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Nanos Now() = 0;   // monotonic nanoseconds
  virtual Nanos Wall() = 0;  // nanoseconds since 1970-01-01 UTC
};

}  // namespace mayfly
