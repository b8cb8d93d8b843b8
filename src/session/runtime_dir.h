// The runtime directory: where the sessions of one user meet on one node. It has one subdirectory a session, named by
// its uuid, with session.json, map and for every server rank of the node its mark, rank-N.pid, and its trail,
// rank-N.trail (trail.h). It must be node-local. A value without state of its own: each call looks at the file system;
// several processes may do so at once. Invariants  D1  the directory is the user's own, 0700 and no symbolic link: it
// lies where others may write
// (/dev/shm).
//             D2  a session's directory never exists without the mark of a process that made it, so that one being
//                 born is never taken for a leftover.
//             D3  only what belongs to dead processes is a leftover; what cannot be told is left alone.
//             D4  no mark of a living process is replaced: of two starts that bring the same session back one fails.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "session/outcome.h"
#include "session/process_mark.h"
#include "session/session_file.h"
#include "session/trail.h"
#include "session/uuid.h"

namespace mayfly {

struct RankProcess {
  uint32_t rank = 0;
  uint32_t pid = 0;
  Liveness liveness = Liveness::kUnknown;
};

// A session as one node sees it.
struct LocalSession {
  Uuid uuid{};
  std::string path;                     // of its directory
  std::optional<SessionFile> file;      // its session.json ...
  std::optional<Failure> problem;       // ... or why there is none: kNoEntry while its servers have not yet written it
  std::vector<RankProcess> processes;   // by rank
  Liveness liveness = Liveness::kDead;  // alive if any process is; else unknown if any is; else dead
};

// What dead processes left: the directory of a session, or one that was being made or removed.
struct Leftover {
  std::string path;
  Uuid uuid{};
  TrailFound outside;  // along the trails of its ranks
  bool kept = false;   // its servers ended and left it on purpose, for mayflyd --recover
};

class RuntimeDir {
 public:
  // MAYFLY_RUNTIME_DIR if that is not empty, else /dev/shm/mayfly-UID.
  static std::string PathFor(const std::string& runtime_variable, uint32_t uid);
  // Fails with kNoEntry if there is none, kAccess unless D1 holds.
  static Outcome<RuntimeDir> Open(const std::string& path, uint32_t uid);
  // As Open, but makes it if there is none (not its parents).
  static Outcome<RuntimeDir> Create(const std::string& path, uint32_t uid);

  const std::string& path() const { return path_; }
  std::string SessionPath(const Uuid& uuid) const { return path_ + "/" + UuidText(uuid); }
  std::string SessionFilePath(const Uuid& uuid) const { return SessionPath(uuid) + "/session.json"; }
  std::string MapPath(const Uuid& uuid) const { return SessionPath(uuid) + "/map"; }

  // Makes the session's directory if this is the node's first rank, and marks this process as the server `rank`. kBusy
  // if another living process is that (D4).
  Outcome<Done> Join(const Uuid& uuid, uint32_t rank) const;
  // Writes down what else this rank leaves on the node. After Join. What a launcher and a library left for a dead
  // process that had the rank before is removed.
  Outcome<Done> Note(const Uuid& uuid, uint32_t rank, const Trail& trail) const;
  // Takes trail and mark away; the last rank removes the directory, and what the trails of dead ranks name.
  Outcome<Done> Leave(const Uuid& uuid, uint32_t rank) const;

  // Takes the mark away and leaves all else there, the trail too: who is dead may still be brought back, or given up by
  // `mayfly clean`.
  Outcome<Done> Withdraw(const Uuid& uuid, uint32_t rank) const;

  // Says that what Withdraw leaves of the session is left on purpose, or (`kept` false) that it is not.
  Outcome<Done> MarkKept(const Uuid& uuid, bool kept) const;

  // All sessions, dead ones too, oldest first (by creation time, then uuid; those without a file last).
  Outcome<std::vector<LocalSession>> Sessions(ProtocolRange protocol) const;
  // One session; none if it has no directory here.
  std::optional<LocalSession> Find(const Uuid& uuid, ProtocolRange protocol) const;

  Outcome<std::vector<Leftover>> Leftovers() const;
  // True if it is gone with what it left outside, false if a process came to life in it meanwhile, which keeps all.
  Outcome<bool> RemoveLeftover(const Leftover& leftover) const;
  // Whether or not processes still use it.
  Outcome<Done> Remove(const Uuid& uuid) const;

 private:
  RuntimeDir(std::string path, uint32_t uid) : path_(std::move(path)), uid_(uid) {}
  std::vector<RankProcess> ProcessesIn(const std::string& directory) const;
  std::vector<Trail> TrailsIn(const std::string& directory) const;
  Outcome<Done> MarkRank(const std::string& directory, uint32_t rank) const;

  std::string path_;
  uint32_t uid_;
};

}  // namespace mayfly
