// What stands between the library's own bugs and the caller's process. Every entry point runs under a Guard; a failed
// MAYFLY_CHECK below it poisons the session and comes back out of the entry point as EIO.
// It comes back by longjmp: a check may fail inside a UCX callback, a destructor or a coroutine, through none of which
// an exception can travel. What stood on the stack in between is left as it is: the engine it belonged to is never used
// again (its session is poisoned), so nothing looks at it. The one thing such code must not hold is a mutex that others
// need: no check stands inside the few locked stretches of client and capi.
// One thread uses a Guard; they nest.
#pragma once

#include <setjmp.h>

#include <new>
#include <utility>

namespace mayfly {

class Guard {
 public:
  using Poison = void (*)(void* context);

  // `poison`, if given, is called with `context` before the stack is left.
  Guard(Poison poison, void* context);
  Guard(const Guard&) = delete;
  ~Guard();

  // Runs `body`; false if a check failed below, or memory ran out.
  template <class Body>
  bool Run(Body&& body) {
    if (_setjmp(place_) != 0) return false;
    try {
      std::forward<Body>(body)();
    } catch (...) {  // from the standard library, outside of coroutines
      return false;
    }
    return true;
  }

  // Makes failed checks of this process come back to their guards.
  static void Install();

 private:
  static void OnCheckFailed(const char* expression, const char* file, int line);

  jmp_buf place_;
  Poison poison_;
  void* context_;
  Guard* outer_;
};

}  // namespace mayfly
