#include "session/discover.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

namespace mayfly {
namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

Failure Stale(const FoundSession& found) {
  if (found.file.durable) {
    return Fail(Code::kAgain, "the servers of session {} were killed: bring them back with `mayflyd --recover`",
                found.path);
  }
  return Fail(Code::kStale,
              "session {} has no living server: start a new one, or run mayfly clean to remove what it left",
              found.path);
}

bool Exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// The last chance of a client on a node without a server: the copy of the map beside the shared session file.
std::string SharedMapPath(const std::string& session_path) { return session_path + ".map"; }

// Fails if a session all of whose servers were on this node has none left.
Outcome<FoundSession> Judge(FoundSession found, bool local_copy, const DiscoverOptions& options) {
  const bool all_here = local_copy || found.file.hosts.front() == options.host;
  if (found.local_servers == Liveness::kDead && found.file.hosts.size() == 1 && all_here) return Stale(found);
  return found;
}

Outcome<FoundSession> FromLocal(const LocalSession& local, const DiscoverOptions& options) {
  if (!local.file) {
    if (local.liveness != Liveness::kDead && local.problem->status.code() == Code::kNoEntry) {
      return Fail(Code::kAgain, "session {} is starting: try again in a moment", local.path);
    }
    return *local.problem;
  }
  FoundSession found{*local.file, local.path + "/session.json", local.path + "/map", local.liveness};
  if (!Exists(found.map_path)) {
    if (found.file.state != SessionState::kStarting) {
      return Fail(Code::kCorrupt, "node map {} of a session that is {} is missing: start the session again",
                  found.map_path, TextOf(found.file.state));
    }
    found.map_path.clear();
  }
  return Judge(std::move(found), true, options);
}

// The copy on this node, if there is one that may be trusted. A runtime directory that is not in order does not stop a
// client that was given a path.
std::optional<LocalSession> LocalCopy(const Uuid& uuid, const DiscoverOptions& options) {
  Outcome<RuntimeDir> runtime = RuntimeDir::Open(options.runtime_path, options.uid);
  if (!runtime.ok()) return std::nullopt;
  return runtime->Find(uuid, options.protocol);
}

Outcome<FoundSession> FromPath(const std::string& path, const DiscoverOptions& options) {
  Outcome<SessionFile> file = ReadSessionFile(path, options.uid, options.protocol);
  if (!file.ok()) {
    Failure failure = file.failure();
    if (failure.status.code() == Code::kNoEntry) {
      failure =
          Fail(Code::kNotMapped, "there is no session file {}: start the session, or correct MAYFLY_SESSION", path);
    }
    return failure;
  }
  FoundSession found{std::move(*file), path, "", Liveness::kDead};
  const std::optional<LocalSession> local = LocalCopy(found.file.uuid, options);
  std::vector<std::string> maps;
  if (local) {
    found.local_servers = local->liveness;
    if (local->file) found.file.state = std::max(found.file.state, local->file->state);  // S2
    maps.push_back(local->path + "/map");
  }
  maps.push_back(found.file.map_path);
  maps.push_back(SharedMapPath(path));
  const auto map = std::find_if(maps.begin(), maps.end(), Exists);
  if (map != maps.end()) {
    found.map_path = *map;
  } else if (found.file.state != SessionState::kStarting) {
    Outcome<FoundSession> judged = Judge(found, local.has_value(), options);
    if (!judged.ok()) return judged;
    return Fail(
        Code::kNotMapped,
        "session {} has no node map on this node ({}) and none at {}: run on a node of the session, or start it "
        "again",
        path, found.file.map_path, maps.back());
  }
  return Judge(std::move(found), local.has_value(), options);
}

Outcome<FoundSession> FromVariable(const DiscoverOptions& options) {
  const auto uuid = ParseUuid(options.session_variable);
  if (!uuid) return FromPath(options.session_variable, options);
  Outcome<RuntimeDir> runtime = RuntimeDir::Open(options.runtime_path, options.uid);
  if (!runtime.ok() && runtime.failure().status.code() != Code::kNoEntry) return runtime.failure();
  const auto local = runtime.ok() ? runtime->Find(*uuid, options.protocol) : std::nullopt;
  if (local) return FromLocal(*local, options);
  return Fail(Code::kNotMapped, "there is no session {} in {}: start it, or set MAYFLY_SESSION to its session file",
              options.session_variable, options.runtime_path);
}

// "/dev/shm/.../session.json (job 12), ..."
std::string ListOf(const std::vector<const LocalSession*>& sessions) {
  std::string list;
  for (const LocalSession* session : sessions) {
    if (!list.empty()) list += ", ";
    list += session->path + "/session.json";
    if (session->file && !session->file->job.empty()) list += " (job " + session->file->job + ")";
  }
  return list;
}

Outcome<FoundSession> FromNode(const DiscoverOptions& options) {
  std::vector<LocalSession> all;
  Outcome<RuntimeDir> runtime = RuntimeDir::Open(options.runtime_path, options.uid);
  if (runtime.ok()) {
    Outcome<std::vector<LocalSession>> sessions = runtime->Sessions(options.protocol);
    if (!sessions.ok()) return sessions.failure();
    all = std::move(*sessions);
  } else if (runtime.failure().status.code() != Code::kNoEntry) {
    return runtime.failure();
  }
  const bool in_job = !options.job.empty();
  std::vector<const LocalSession*> of_job, dead_of_job, open_to_us, of_others;
  for (const LocalSession& session : all) {
    const bool live = session.liveness != Liveness::kDead;
    if (in_job && session.file && session.file->job == options.job) {
      (live ? of_job : dead_of_job).push_back(&session);
    } else if (live) {
      const bool other = in_job && session.file && !session.file->job.empty();
      (other ? of_others : open_to_us).push_back(&session);
    }
  }
  const auto& candidates = !of_job.empty() ? of_job : !dead_of_job.empty() ? dead_of_job : open_to_us;
  if (candidates.size() == 1) return FromLocal(*candidates.front(), options);
  if (candidates.size() > 1) {
    return Fail(Code::kInvalid, "{} sessions of yours are on this node: set MAYFLY_SESSION to one of {}",
                candidates.size(), ListOf(candidates));
  }
  if (!of_others.empty()) {
    return Fail(Code::kNotMapped,
                "no session of job {} is on this node, only of other jobs: to use one set MAYFLY_SESSION to {}",
                options.job, ListOf(of_others));
  }
  return Fail(Code::kNotMapped,
              "no session of yours is on this node: start one, or set MAYFLY_SESSION to its session file");
}

}  // namespace

DiscoverOptions DiscoverOptions::FromEnvironment(std::string path, ProtocolRange protocol) {
  DiscoverOptions options;
  options.path = std::move(path);
  options.session_variable = Variable("MAYFLY_SESSION");
  options.job = Variable("SLURM_JOB_ID");
  if (options.job.empty()) options.job = Variable("PBS_JOBID");
  options.uid = geteuid();
  options.runtime_path = RuntimeDir::PathFor(Variable("MAYFLY_RUNTIME_DIR"), options.uid);
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  options.host = host.data();
  options.protocol = protocol;
  return options;
}

Outcome<FoundSession> Discover(const DiscoverOptions& options) {
  if (!options.path.empty()) return FromPath(options.path, options);
  if (!options.session_variable.empty()) return FromVariable(options);
  return FromNode(options);
}

Outcome<NodeMap> OpenNodeMap(const FoundSession& found) {
  if (found.map_path.empty()) {
    return Fail(Code::kAgain, "session {} is starting: try again in a moment", found.path);
  }
  Outcome<NodeMap> map = NodeMap::Open(found.map_path, found.file.uid);
  if (!map.ok()) return map;
  if (map->session() != found.file.uuid || map->layout().shard_count() != found.file.shard_count ||
      map->layout().member_count() != found.file.member_count) {
    return Fail(Code::kCorrupt, "node map {} is not of session {}: remove it and start the session again",
                found.map_path, found.path);
  }
  return map;
}

}  // namespace mayfly
