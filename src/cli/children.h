// Programs that a command starts and waits for. One thread. From its making on, an object takes the signals that ask
// this process to end (INT, TERM, HUP) or warn it (USR1, USR2) and passes them on to whatever runs in front; this
// process goes on, to clean up. One object a process, to the end of it: signals are the process's.
// Invariants  H1  what a terminal sends to the whole foreground group is not sent a second time.
//             H2  a program in the background hears nothing of the terminal, and ends by SIGTERM when this process
//             dies.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace mayfly::cli {

using Words = std::vector<std::string>;

// The path of this program.
std::string Self();
// One of ours: it stands beside this program in an installation, and in `folder` below it in a build; else PATH has it.
std::string ProgramBeside(const std::string& name, const std::string& folder);

class Children {
 public:
  enum class How {
    kFront,       // with our input and output
    kHelper,      // no input; what it prints goes to standard error, so that standard output is the front program's
    kBackground,  // likewise, and H2
    kDetached,    // likewise, but it outlives this process
  };
  // The exit status of a program that cannot be started is 127; a sentence says why.
  static constexpr int kNotStarted = 127;

  Children();
  Children(const Children&) = delete;

  pid_t Start(const Words& words, How how);
  // The exit status, 128 + the signal's number if one ended it. Signals meanwhile go to `front`, or to nobody if it is
  // 0.
  int Wait(pid_t pid, pid_t front);
  int Run(const Words& words, How how);
  // Until `done`, which is asked each time something ended, or for so long: true if done.
  bool WaitUntil(const std::function<bool()>& done, pid_t front, double seconds);
  bool Ended(pid_t pid) const { return ended_.contains(pid); }
  int StatusOf(pid_t pid) const { return ended_.at(pid); }
  void Send(pid_t pid, int signal) const;

  // How many of INT, TERM and HUP came so far.
  int asked_to_end() const { return asked_to_end_; }

 private:
  void Reap();
  void PassOn(const siginfo_t& info, pid_t front);

  sigset_t watched_, before_;
  std::map<pid_t, int> ended_;
  int asked_to_end_ = 0;
};

}  // namespace mayfly::cli
