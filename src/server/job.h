// A flush, or the end of the session, as `mayfly stop` and `mayfly stage-out` follow it. Only on the root's shard.
#pragma once

#include <string>

#include "server/shard.h"

namespace mayfly {

struct Shard::Job {
  JobImage image;        // as the journal has it
  std::string unsent;    // with stop: a line for each process that did not send what it holds
  bool resumed = false;  // this server was started again while it was under way
  bool told = false;     // a client has seen that it is done
  FlushStatusReply progress;

  bool done() const { return image.state == JobState::kEnded; }
};

}  // namespace mayfly
