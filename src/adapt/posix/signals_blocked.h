// All signals blocked in this thread for a stretch of code. A thread that is started meanwhile inherits that, for good:
// handlers stay with the threads of who called us.
#pragma once

#include <signal.h>

namespace mayfly {

class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before_);
  }
  SignalsBlocked(const SignalsBlocked&) = delete;
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_;
};

}  // namespace mayfly
