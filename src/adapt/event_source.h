// Something with descriptors that become readable when there is work: what PosixIdle sleeps on.
#pragma once

#include <span>

namespace mayfly {

class EventSource {
 public:
  virtual std::span<const int> event_fds() = 0;
  // Promises that one of the descriptors becomes readable at the next event. False: there is work already, do not
  // sleep.
  virtual bool Arm() = 0;

 protected:
  ~EventSource() = default;
};

}  // namespace mayfly
