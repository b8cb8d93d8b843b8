// A thread that watches over the process while others may be stuck: it acts on signals, and ends the process when a
// start or an end takes too long. What it does at once, it does by _exit, after taking away the footprint.
//   starting   a signal, or the deadline: ends
//   serving    (from the last step of the start on) a first signal asks for the session's end; a second SIGTERM or
//              SIGINT, a second later or more: ends
//   ending     at the deadline, a few seconds away: ends; signals change nothing, up to the process's last moment
// A signal that comes before a kill takes the footprint away at once: the servers hold what they need open, and clients
// are about to be refused anyway. So a launcher's kill a second later leaves nothing behind.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <thread>

#include "adapt/posix/clock.h"
#include "base/ids.h"
#include "footprint.h"

namespace mayfly {

enum ExitCode : int { kExitDone = 0, kExitNotFlushed = 1, kExitUsage = 2, kExitNotStarted = 3 };

class Watch {
 public:
  // `speaks`: of the session's processes, this one tells the user.
  Watch(Footprint& footprint, std::string host, bool speaks);
  ~Watch();
  Watch(const Watch&) = delete;

  void SetSpeaker(bool speaks);
  void Starting(Nanos deadline);
  // What is being done, for the sentence when it takes too long: "waiting for the addresses of the others".
  void SetStep(std::string step);
  // `on_signal` is called on the watch's thread, once, with the signal's name, and whether it is a scheduler's warning,
  // after which a job script may still ask how the session ended; it must not block. The deadline of the start holds
  // until Ready.
  using OnSignal = std::function<void(const std::string& signal, bool warning)>;
  void Serving(OnSignal on_signal);
  void Ready();
  // At the deadline the process says `sentence`, unless it is empty, and ends with `code`.
  void Ending(Nanos deadline, int code, std::string sentence);

  // Takes the footprint away and ends the process; from any thread.
  [[noreturn]] void Quit(int code, const std::string& sentence);

 private:
  enum class Phase { kStarting, kServing, kEnding, kOver };
  void Run();
  void OnSignals(uint64_t signals);
  void OnDeadline();
  void Wake();

  Footprint& footprint_;
  PosixClock clock_;
  const std::string host_;
  std::mutex mutex_;
  Phase phase_ = Phase::kStarting;
  bool speaks_;
  Nanos deadline_ = kNever;
  int code_ = kExitNotStarted;
  std::string step_;      // kStarting
  std::string sentence_;  // kEnding
  OnSignal on_signal_;
  Nanos first_signal_ = 0;
  int wake_ = -1;
  std::thread thread_;
};

}  // namespace mayfly
