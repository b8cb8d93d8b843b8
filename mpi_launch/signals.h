// The signals that end a session. A handler only notes the signal and makes a descriptor readable; watch.h acts on it.
// Process-wide, as signals are. Threads that must not be interrupted block all signals (BlockSignals).
#pragma once

#include <cstdint>
#include <string>

namespace mayfly {

class Signals {
 public:
  // Before MPI_Init, so that no signal finds the default action. SIGHUP (nohup), SIGUSR1 and SIGUSR2 stay ignored if
  // they were at our start. SIGPIPE is ignored from then on.
  static void Install();
  // Readable after a signal, until Take.
  static int event_fd();
  // The signals since the last call: bit n is signal n.
  static uint64_t Take();

  // SIGTERM, SIGINT and SIGHUP come before a kill, a second SIGTERM or SIGINT means "now"; SIGUSR1 and SIGUSR2 are a
  // scheduler's warning that leaves time.
  static bool BeforeKill(uint64_t signals);
  static bool Urgent(uint64_t signals);
  // "SIGTERM", of the first in the set.
  static std::string NameOf(uint64_t signals);
};

// In the calling thread, and what it starts.
void BlockSignals();

}  // namespace mayfly
