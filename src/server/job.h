// A flush, or the end of the session, as `mayfly stop` and `mayfly stage-out` follow it. Only on the root's shard.
#pragma once

#include <string>

#include "server/shard.h"

namespace mayfly {

struct Shard::Job {
  uint64_t id = 0;
  bool stop = false;
  bool keep = false;       // with stop: what outlives the servers stays
  bool by_signal = false;  // nobody asks for the outcome: the session ends whatever it is
  uint64_t flush = 0;      // of the flusher; 0: none
  bool done = false;
  bool told = false;  // a client has seen that it is done
  Code result = Code::kOk;
  std::string report;  // JSON, once done
  FlushStatusReply progress;
};

}  // namespace mayfly
