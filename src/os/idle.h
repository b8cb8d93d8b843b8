// The door to sleep. A thread that found nothing to do for its spin budget calls Sleep, which returns when the
// transport, another thread (Wake) or the deadline wants it. A simulated node has none: its driver moves the clock.
#pragma once

#include "base/ids.h"

namespace mayfly {

class Idle {
 public:
  virtual ~Idle() = default;
  // Returns at `until` (monotonic) at the latest; at once if there is an event that was not seen yet.
  virtual void Sleep(Nanos until) = 0;
  // Lets another process run when the cores are shared (sched_yield).
  virtual void Yield() = 0;
  // Ends the current or the next Sleep. The only call here that any thread, or a signal handler, may make.
  virtual void Wake() = 0;
};

}  // namespace mayfly
