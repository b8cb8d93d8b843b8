// What a server leaves outside of its session's directory and only it can name: the shared session file, and what its
// MPI library keeps in /dev/shm and in the temporary directory. Each rank writes the list beside its mark, so that
// after a kill -9 whoever removes the session's directory (`mayfly clean`, the next start) finds the rest. Values and
// one-shot file operations, any thread. Invariants  L1  only what the list names and what looks as the list says is
// removed: it belongs to the user, has the
//                 kind of name that such a thing has, and, of files that others may have replaced, names this session.
// Format: share/doc/format/session.md.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "session/uuid.h"

namespace mayfly {

struct Trail {
  std::string session_path;           // of the shared session file; beside it is its map
  std::vector<std::string> segments;  // shared memory files of the MPI library, /.../vader_segment.*
  std::string launcher_directory;  // of the launcher's daemon on this node, /.../ompi.*/pid.N; empty if there is none
  std::string storage;             // in --dir: /.../mayfly-UUID, with the members' storage; empty without --dir

  friend bool operator==(const Trail&, const Trail&) = default;
};

std::string EncodeTrail(const Trail& trail);
// None if the text is no trail.
std::optional<Trail> ParseTrail(std::string_view text);

// What is there of a trail whose processes are dead.
struct TrailFound {
  std::vector<std::string> here;       // may be removed
  std::vector<std::string> elsewhere;  // session files that name other nodes too, whose servers may live
  std::vector<std::string> unknown;    // members' directories that may be another node's: their charters are damaged
};
// Who looks: `host` is this node, `session_directory` the session's in the runtime directory; its map says whose a
// member is of which the charter is damaged.
struct TrailLook {
  Uuid uuid{};
  uint32_t uid = 0;
  std::string host, session_directory;
};
TrailFound LookAlong(const Trail& trail, const TrailLook& look);
// Looks again, and removes what may be removed; the paths that could not be.
std::vector<std::string> RemoveTrail(const Trail& trail, const TrailLook& look);

}  // namespace mayfly
