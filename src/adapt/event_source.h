// Something with descriptors that become readable when there is work: what PosixIdle sleeps on.
#pragma once

#include <span>

#include "base/ids.h"

namespace mayfly {

class EventSource {
 public:
  virtual std::span<const int> event_fds() = 0;
  // Promises that one of the descriptors becomes readable at the next event. False: there is work already, do not
  // sleep.
  virtual bool Arm() = 0;
  // Both asked after an Arm that said true: the longest sleep that it can bear, and whether its descriptors mean
  // nothing just now and must not end it.
  virtual Nanos sleep_max() const { return kNever; }
  virtual bool deaf() const { return false; }

 protected:
  ~EventSource() = default;
};

}  // namespace mayfly
