// The report of a session's end (JSON, made by the root's shard) as one sentence for the user.
#pragma once

#include <string>

#include "session/verdict.h"

namespace mayfly {

struct StopSentence {
  bool complete = false;
  std::string sentence;
  std::string missing;  // what the report lists as missing, a line each
};

// `ok`: the verdict of the stop. `report`: its JSON; may be empty.
StopSentence SentenceOfStop(bool ok, const std::string& report);

// For whoever asks when the servers are gone: the job script's `mayfly stop` after a scheduler's warning.
void KeepVerdict(const std::string& session, const Verdict& verdict);

}  // namespace mayfly
