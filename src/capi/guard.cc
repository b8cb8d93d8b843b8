#include "capi/guard.h"

#include "base/check.h"
#include "base/log.h"

namespace mayfly {
namespace {
thread_local Guard* innermost = nullptr;
}

Guard::Guard(Poison poison, void* context) : poison_(poison), context_(context), outer_(innermost) { innermost = this; }

Guard::~Guard() { innermost = outer_; }

void Guard::Install() { SetCheckHandler(&Guard::OnCheckFailed); }

void Guard::OnCheckFailed(const char* expression, const char* file, int line) {
  MAYFLY_ERROR("internal check failed: {} ({}:{}); the session answers EIO from now on, please report this line",
               expression, file, line);
  if (innermost == nullptr) return;  // not below an entry point of the library
  if (innermost->poison_ != nullptr) innermost->poison_(innermost->context_);
  _longjmp(innermost->place_, 1);
}

}  // namespace mayfly
