// How a client finds its session. In this order, and nothing later is asked once something was named:
//   1. the path that the caller gives,
//   2. MAYFLY_SESSION: the path of a session file, or the uuid of a session on this node,
//   3. the job: the live session on this node that has this job's id (SLURM_JOB_ID, PBS_JOBID),
//   4. the only live session of this user on this node; inside a job, sessions of other jobs do not count.
// It never waits: a caller that may wait for servers tries again while the failure is kNotMapped (no session yet) or
// kAgain (one is starting), until its own bound. No state, any thread; the environment is read once, by
// DiscoverOptions::FromEnvironment.
#pragma once

#include <cstdint>
#include <string>

#include "session/node_map.h"
#include "session/outcome.h"
#include "session/process_mark.h"
#include "session/runtime_dir.h"
#include "session/session_file.h"

namespace mayfly {

struct DiscoverOptions {
  std::string path;              // explicit; empty if there is none
  std::string session_variable;  // MAYFLY_SESSION
  std::string job;               // empty outside of one
  std::string runtime_path;      // RuntimeDir::PathFor(...)
  std::string host;              // of this node
  uint32_t uid = 0;
  ProtocolRange protocol;

  static DiscoverOptions FromEnvironment(std::string path, ProtocolRange protocol);
};

struct FoundSession {
  SessionFile file;      // the most advanced state of the copies that were seen
  std::string path;      // of the session file that led here
  std::string map_path;  // of the node map; empty while the session is starting and there is none
  // Of the servers on this node; dead if there are none. A session of several hosts is found even when they are dead:
  // the other members still serve it.
  Liveness local_servers = Liveness::kDead;
};

// Codes besides those of ReadSessionFile: kNotMapped (no session), kAgain (it is starting), kInvalid (several live
// ones: the sentence lists them), kStale (its servers are gone).
Outcome<FoundSession> Discover(const DiscoverOptions& options);

// The map of a session that was found. Fails with kAgain while there is none, kCorrupt if it is of another session.
Outcome<NodeMap> OpenNodeMap(const FoundSession& found);

}  // namespace mayfly
