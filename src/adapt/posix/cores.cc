#include "adapt/posix/cores.h"

#include <sched.h>

namespace mayfly {

uint32_t PosixCores::Current() {
  const int core = sched_getcpu();
  return core < 0 ? kNone : static_cast<uint32_t>(core);
}

// The kernel moves a running thread at once only if it must.
void PosixCores::Leave(uint32_t core) {
  cpu_set_t allowed;
  if (core >= CPU_SETSIZE || Current() != core || sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  cpu_set_t others = allowed;
  CPU_CLR(core, &others);
  if (CPU_COUNT(&others) == 0 || sched_setaffinity(0, sizeof others, &others) != 0) return;
  (void)sched_setaffinity(0, sizeof allowed, &allowed);
}

}  // namespace mayfly
