// Waiting for what another thread does within microseconds, and where no lock may be taken (fork).
#pragma once

#include <chrono>
#include <thread>

namespace mayfly {

// Looks every 50 us. False if `until` came first.
template <class Condition>
bool PollUntil(Condition condition, std::chrono::steady_clock::time_point until) {
  while (!condition()) {
    if (std::chrono::steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
  return true;
}

}  // namespace mayfly
