// How a session ended that nobody stopped by `mayfly stop`: a signal came (a job's time limit, say), the servers
// flushed and left. A small file beside the shared session file keeps the outcome until `mayfly stop` asks for it and
// takes it away. JSON, 0600: {"complete": bool, "sentence": text, "missing": text}.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "session/outcome.h"

namespace mayfly {

struct Verdict {
  bool complete = false;  // everything that was to be flushed is on the PFS, verified
  std::string sentence;
  std::string missing;  // files that are not there, a line each
};

// `session_path`: of the session file. A verdict of an earlier session is replaced.
Outcome<Done> WriteVerdict(const std::string& session_path, uint32_t uid, const Verdict& verdict);
// kNoEntry if there is none. It stays until RemoveVerdict.
Outcome<Verdict> ReadVerdict(const std::string& session_path, uint32_t uid);
// What is in it; `path` is for the sentence. kCorrupt.
Outcome<Verdict> ParseVerdict(std::string_view text, std::string_view path);
void RemoveVerdict(const std::string& session_path);

}  // namespace mayfly
