#include "watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "server_log.h"
#include "signals.h"
#include "world.h"

namespace mayfly {
namespace {

// Launchers repeat themselves: a second signal counts only so long after the first.
constexpr Nanos kSameSignal = kSecond;

}  // namespace

Watch::Watch(Footprint& footprint, std::string host, bool speaks)
    : footprint_(footprint), host_(std::move(host)), speaks_(speaks), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  MAYFLY_CHECK(wake_ >= 0);
  thread_ = std::thread([this] { Run(); });
}

Watch::~Watch() {
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kOver;
  }
  Wake();
  thread_.join();
  close(wake_);
}

void Watch::Wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);
}

void Watch::SetSpeaker(bool speaks) {
  std::lock_guard lock(mutex_);
  speaks_ = speaks;
}

void Watch::Starting(Nanos deadline) {
  {
    std::lock_guard lock(mutex_);
    deadline_ = deadline;
  }
  Wake();
}

void Watch::SetStep(std::string step) {
  MAYFLY_DEBUG("{}", step);
  std::lock_guard lock(mutex_);
  step_ = std::move(step);
}

void Watch::Serving(OnSignal on_signal) {
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kServing;
    on_signal_ = std::move(on_signal);
  }
  Wake();
}

void Watch::Ready() {
  std::lock_guard lock(mutex_);
  deadline_ = kNever;
}

void Watch::Ending(Nanos deadline, int code, std::string sentence) {
  {
    std::lock_guard lock(mutex_);
    phase_ = Phase::kEnding;
    on_signal_ = nullptr;
    deadline_ = deadline;
    code_ = code;
    sentence_ = std::move(sentence);
  }
  Wake();
}

void Watch::Quit(int code, const std::string& sentence) {
  footprint_.Remove();
  RemoveMpiSegments();
  if (!sentence.empty()) SayFailure(host_ + ": " + sentence);
  _exit(code);
}

void Watch::Run() {
  for (;;) {
    Nanos deadline = kNever;
    {
      std::lock_guard lock(mutex_);
      if (phase_ == Phase::kOver) return;
      deadline = deadline_;
    }
    int timeout_ms = -1;
    if (deadline != kNever) {
      const Nanos now = clock_.Now();
      const Nanos left = now < deadline ? deadline - now : 0;
      timeout_ms = static_cast<int>(std::min<Nanos>((left + kMillisecond - 1) / kMillisecond, 1 << 30));
    }
    pollfd fds[] = {{Signals::event_fd(), POLLIN, 0}, {wake_, POLLIN, 0}};
    poll(fds, 2, timeout_ms);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = read(wake_, &count, sizeof count);
    if (const uint64_t signals = Signals::Take(); signals != 0) OnSignals(signals);
    OnDeadline();
  }
}

void Watch::OnSignals(uint64_t signals) {
  std::unique_lock lock(mutex_);
  const std::string name = Signals::NameOf(signals);
  const Nanos now = clock_.Now();
  if (phase_ == Phase::kStarting) {
    Quit(kExitNotStarted, speaks_ ? fmt::format("ended by {} while starting; start it again", name) : std::string());
  }
  // All is flushed, or never will be, and the deadline ends it. A launcher sends SIGTERM when the first rank has ended
  // with an error, while others are still telling it, or have just done so.
  if (phase_ == Phase::kEnding || phase_ == Phase::kOver) return;
  const bool first = first_signal_ == 0;
  if (Signals::Urgent(signals) && !first && now - first_signal_ >= kSameSignal) {
    Quit(kExitNotFlushed,
         speaks_ ? fmt::format("ended at once by a second {}; what was not flushed is lost", name) : std::string());
  }
  // A scheduler's warning does not make the later SIGTERM a second one: the flush goes on until the kill.
  if (Signals::Urgent(signals) && first) first_signal_ = now;
  // Under the lock: after Ending has returned it is not running any more.
  if (const auto on_signal = std::exchange(on_signal_, nullptr)) {
    on_signal(name, !Signals::BeforeKill(signals));
  }
  lock.unlock();
  if (Signals::BeforeKill(signals)) {
    footprint_.RemoveEarly();
    RemoveMpiSegments();
  }
}

void Watch::OnDeadline() {
  std::unique_lock lock(mutex_);
  if (deadline_ == kNever || clock_.Now() < deadline_) return;
  if (phase_ != Phase::kEnding) {
    Quit(kExitNotStarted,
         speaks_ ? fmt::format("the start did not end in time while {}; a process of the session hangs or has "
                               "died: look at the launcher's messages, or give a longer --start-timeout",
                               step_)
                 : std::string());
  }
  Quit(code_, sentence_);
}

}  // namespace mayfly
