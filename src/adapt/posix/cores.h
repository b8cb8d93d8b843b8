// Cores by the kernel's numbers. Which cores the thread may use is as it was when a call returns.
#pragma once

#include "os/cores.h"

namespace mayfly {

class PosixCores final : public Cores {
 public:
  uint32_t Current() override;
  void Leave(uint32_t core) override;
};

}  // namespace mayfly
