// The session as a whole: its room, its status and its end, and what it wants of a process. Part of wire/messages.h,
// which has the table of methods.
#pragma once

#include "wire/types.h"

namespace mayfly {

struct StatFsReply {
  uint64_t bytes = 0, bytes_free = 0, inodes = 0, inodes_free = 0;
  uint32_t chunk_bytes = 0;
  template <class Io>
  void Fields(Io& io) {
    io(bytes, bytes_free, inodes, inodes_free, chunk_bytes);
  }
};

// Reply payload: JSON of one shard.
struct StatusRequest {
  bool counters = true;
  template <class Io>
  void Fields(Io& io) {
    io(counters);
  }
};

// To the root's home. Request payload: FlushSpec. A flush runs by itself; FlushStatus follows it.
struct FlushSpec {
  std::string source, target, pattern;
  uint32_t budget_ms = 0;
  template <class Io>
  void Fields(Io& io) {
    io(source, target, pattern, budget_ms);
  }
};
struct FlushRequest {
  bool stop = false;  // refuse new work first, and end the session when all is verified
  bool flush = true;  // false: stop without
  bool keep = false;  // with stop: what outlives the servers stays, closed in order, for mayflyd --recover
  template <class Io>
  void Fields(Io& io) {
    io(stop, flush, keep);
  }
};
struct FlushReply {
  uint64_t job = 0;
  template <class Io>
  void Fields(Io& io) {
    io(job);
  }
};
// To every shard when the session stops (or goes on after all): clients are refused from then on. Their unsent writes
// are asked for first; reply payload: a line for each process that did not send them (text).
struct RefuseRequest {
  bool refuse = true;
  template <class Io>
  void Fields(Io& io) {
    io(refuse);
  }
};
// To every shard at the end. `keep`: as in FlushRequest.
struct LeaveRequest {
  bool keep = false;
  template <class Io>
  void Fields(Io& io) {
    io(keep);
  }
};
struct FlushStatusRequest {
  uint64_t job = 0;
  bool cancel = false;
  template <class Io>
  void Fields(Io& io) {
    io(job, cancel);
  }
};
// Payload, once `done`: the report (JSON).
struct FlushStatusReply {
  uint64_t files_done = 0, files_total = 0, bytes_done = 0, bytes_total = 0;
  bool done = false;
  Code result = Code::kOk;
  template <class Io>
  void Fields(Io& io) {
    io(files_done, files_total, bytes_done, bytes_total, done, result);
  }
};

// A long poll by a process's service lane: answered when another open or stat wants write-behind of some of the
// process's files given up, or empty after kRevokePollMs. Reply payload: the inodes (u64 each). The process sends what
// it holds of them and then names them in Yielded.
struct CountReply {
  uint32_t count = 0;
  template <class Io>
  void Fields(Io& io) {
    io(count);
  }
};
constexpr uint32_t kRevokePollMs = 20'000;

}  // namespace mayfly
