// Something with a descriptor that becomes readable when there is work: what PosixIdle sleeps on.
#pragma once

namespace mayfly {

class EventSource {
 public:
  virtual int event_fd() = 0;
  // Promises that the descriptor becomes readable at the next event. False: there is work already, do not sleep.
  virtual bool Arm() = 0;

 protected:
  ~EventSource() = default;
};

}  // namespace mayfly
