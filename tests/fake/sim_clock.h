// A clock that stands still until a test moves it.
#pragma once

#include "os/clock.h"

namespace mayfly {

class SimClock : public Clock {
 public:
  Nanos Now() override { return now_; }
  Nanos Wall() override { return kEpoch + now_; }
  void Advance(Nanos by) { now_ += by; }
  void AdvanceTo(Nanos to) {
    if (to > now_) now_ = to;
  }

 private:
  static constexpr Nanos kEpoch = 1'700'000'000 * kSecond;
  Nanos now_ = kSecond;
};

}  // namespace mayfly
