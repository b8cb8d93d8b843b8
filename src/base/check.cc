#include "base/check.h"

#include <atomic>
#include <cstdio>
#include <cstdlib>

namespace mayfly {
namespace {
std::atomic<CheckHandler> handler{nullptr};
}

void SetCheckHandler(CheckHandler h) { handler = h; }

void CheckFailed(const char* expression, const char* file, int line) {
  if (CheckHandler h = handler.load()) h(expression, file, line);
  std::fprintf(stderr, "mayfly: internal check failed: %s (%s:%d). Please report this line.\n", expression, file, line);
  std::abort();
}

}  // namespace mayfly
