// Does a session file that is in the way belong to servers that live? A second server must not take their clients away.
#pragma once

#include <optional>
#include <string>

#include "adapt/ucx/ucx_worker.h"
#include "session/outcome.h"
#include "session/session_file.h"

namespace mayfly {

// The session file at `path`, if there is one. Fails if there is something else at that place, or a file that cannot be
// judged: it is not overwritten then.
Outcome<std::optional<SessionFile>> ReadOldSession(const std::string& path);
// True if servers of that session live on this node.
bool LivesHere(const std::string& runtime_path, const Uuid& uuid);
// For a session that had servers on other nodes: asks some of them for a sign of life over the network.
bool Answers(const SessionFile& file, const std::string& path, const UcxOptions& ucx, const std::string& host);

}  // namespace mayfly
