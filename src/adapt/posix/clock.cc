#include "adapt/posix/clock.h"

#include <time.h>

namespace mayfly {

namespace {
Nanos Read(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<Nanos>(t.tv_sec) * kSecond + static_cast<Nanos>(t.tv_nsec);
}
}  // namespace

Nanos PosixClock::Now() { return Read(CLOCK_MONOTONIC); }
Nanos PosixClock::Wall() { return Read(CLOCK_REALTIME); }

}  // namespace mayfly
