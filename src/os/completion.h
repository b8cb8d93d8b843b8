// How a door says that something it was asked for has ended.
#pragma once

#include "base/status.h"

namespace mayfly {

// Embedded in the object that waits; the door keeps the pointer until it called `fn`.
struct Completion {
  using Fn = void (*)(Completion* self, Status status);
  Fn fn = nullptr;
};

}  // namespace mayfly
