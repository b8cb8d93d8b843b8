// MAYFLY_CHECK: our own bug, always on. The server ends the process at once with one line (its members treat that as
// a death). Inside a client library nothing may end the caller's process: the library installs a handler that throws
// nothing, poisons its session and returns; see SetCheckHandler.
#pragma once

namespace mayfly {

// Called with the text of the failed check. If it returns, the process aborts, unless the handler never returns.
using CheckHandler = void (*)(const char* expression, const char* file, int line);
void SetCheckHandler(CheckHandler handler);

[[noreturn]] void CheckFailed(const char* expression, const char* file, int line);

}  // namespace mayfly

#define MAYFLY_CHECK(condition)                                                                   \
  do {                                                                                            \
    if (__builtin_expect(!(condition), 0)) ::mayfly::CheckFailed(#condition, __FILE__, __LINE__); \
  } while (false)
