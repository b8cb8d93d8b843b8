// The machine's clocks. Stateless: any thread may use one.
#pragma once

#include "os/clock.h"

namespace mayfly {

class PosixClock final : public Clock {
 public:
  Nanos Now() override;
  Nanos Wall() override;
};

}  // namespace mayfly
