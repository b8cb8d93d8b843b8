// The door to blocking work (the PFS may hang for minutes; a shard must not). `work` runs on another thread and may
// touch only what it was given; `done` runs afterwards on the thread that owns this object, from Poll. The simulated
// one runs `work` inside Poll.
#pragma once

#include <functional>

namespace mayfly {

class Offload {
 public:
  virtual ~Offload() = default;
  virtual void Run(std::function<void()> work, std::function<void()> done) = 0;
  // Calls `done` of what has finished; true if there was any.
  virtual bool Poll() = 0;
};

}  // namespace mayfly
