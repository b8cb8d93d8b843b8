#include "signals.h"

#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "base/check.h"

namespace mayfly {
namespace {

struct Known {
  int number;
  const char* name;
};
constexpr Known kKnown[] = {
    {SIGTERM, "SIGTERM"}, {SIGINT, "SIGINT"}, {SIGHUP, "SIGHUP"}, {SIGUSR1, "SIGUSR1"}, {SIGUSR2, "SIGUSR2"}};

constexpr uint64_t Bit(int signal) { return uint64_t{1} << signal; }

std::atomic<uint64_t> seen{0};
static_assert(std::atomic<uint64_t>::is_always_lock_free, "a signal handler uses it");
int event = -1;

void Note(int signal) {
  const int saved = errno;
  seen.fetch_or(Bit(signal));
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(event, &one, sizeof one);  // full: somebody is told already
  errno = saved;
}

}  // namespace

void Signals::Install() {
  event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  MAYFLY_CHECK(event >= 0);
  for (const Known& known : kKnown) {
    struct sigaction before {};
    sigaction(known.number, nullptr, &before);
    // A shell ignores SIGINT for what it runs in the background; that must not outlive it.
    const bool may_be_ignored = known.number != SIGINT && known.number != SIGTERM;
    if (before.sa_handler == SIG_IGN && may_be_ignored) continue;
    struct sigaction action {};
    action.sa_handler = Note;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    sigaction(known.number, &action, nullptr);
  }
  signal(SIGPIPE, SIG_IGN);
}

int Signals::event_fd() { return event; }

uint64_t Signals::Take() {
  uint64_t count = 0;
  [[maybe_unused]] const ssize_t got = read(event, &count, sizeof count);  // before the look, so that none is missed
  return seen.exchange(0);
}

bool Signals::BeforeKill(uint64_t signals) { return (signals & (Bit(SIGTERM) | Bit(SIGINT) | Bit(SIGHUP))) != 0; }
bool Signals::Urgent(uint64_t signals) { return (signals & (Bit(SIGTERM) | Bit(SIGINT))) != 0; }

std::string Signals::NameOf(uint64_t signals) {
  for (const Known& known : kKnown) {
    if ((signals & Bit(known.number)) != 0) return known.name;
  }
  return "a signal";
}

void BlockSignals() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, nullptr);
}

}  // namespace mayfly
