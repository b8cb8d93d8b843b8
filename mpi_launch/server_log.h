// Where the lines of base/log.h go: standard error, by spdlog, from any thread.
#pragma once

#include <string>

#include "base/log.h"

namespace mayfly {

// Before threads log.
void StartLog(LogLevel lowest);
void SetLogLevel(LogLevel lowest);
// The one sentence why this server could not start or ended badly, for the user: `mayflyd: HOST: cause; remedy`.
// A single write, so that lines of several processes do not mix.
void SayFailure(const std::string& sentence);

}  // namespace mayfly
