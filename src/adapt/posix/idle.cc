#include "adapt/posix/idle.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "base/check.h"

namespace mayfly {

namespace {

Nanos MonotonicNow() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<Nanos>(t.tv_sec) * kSecond + static_cast<Nanos>(t.tv_nsec);
}

void Watch(int epoll, int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = fd;
  MAYFLY_CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) == 0);
}

timespec TimespecOf(Nanos nanos) { return {static_cast<time_t>(nanos / kSecond), static_cast<long>(nanos % kSecond)}; }

// epoll_wait by nanoseconds; a kernel before 5.11 has only milliseconds, rounded up so that it does not spin.
int Wait(int epoll, epoll_event* events, int count, Nanos nanos) {
  const timespec timeout = TimespecOf(nanos);
  int n = epoll_pwait2(epoll, events, count, &timeout, nullptr);
  if (n < 0 && errno == ENOSYS) {
    const Nanos millis = (nanos + kMillisecond - 1) / kMillisecond;
    n = epoll_wait(epoll, events, count, static_cast<int>(std::min<Nanos>(millis, 1 << 30)));
  }
  return n;
}

}  // namespace

PosixIdle::PosixIdle() : epoll_(epoll_create1(EPOLL_CLOEXEC)), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  MAYFLY_CHECK(epoll_ >= 0 && wake_ >= 0);
  Watch(epoll_, wake_);
}

PosixIdle::~PosixIdle() {
  close(epoll_);
  close(wake_);
}

void PosixIdle::Add(EventSource* source) {
  for (int fd : source->event_fds()) Watch(epoll_, fd);
  sources_.push_back(source);
}

void PosixIdle::Remove(EventSource* source) {
  if (std::erase(sources_, source) == 0) return;
  for (int fd : source->event_fds()) epoll_ctl(epoll_, EPOLL_CTL_DEL, fd, nullptr);
}

void PosixIdle::Sleep(Nanos until) {
  constexpr Nanos kLongest = 3600 * kSecond;  // fits every clock; waking once an hour harms nobody
  Nanos longest = kLongest;
  bool deaf = false;
  for (EventSource* source : sources_) {
    if (!source->Arm()) return;  // I1
    longest = std::min(longest, source->sleep_max());
    deaf |= source->deaf();
  }
  const Nanos now = MonotonicNow();
  if (now >= until) return;
  const Nanos nanos = std::min(until - now, longest);
  bool woken = true;
  if (deaf) {
    const timespec timeout = TimespecOf(nanos);
    pollfd wake{wake_, POLLIN, 0};
    woken = ppoll(&wake, 1, &timeout, nullptr) > 0;
  } else {
    epoll_event events[8];
    const int n = Wait(epoll_, events, 8, nanos);
    woken = std::any_of(events, events + std::max(n, 0), [this](const epoll_event& e) { return e.data.fd == wake_; });
  }
  uint64_t count = 0;
  if (woken && read(wake_, &count, sizeof count) < 0) MAYFLY_CHECK(errno == EAGAIN);  // I2
}

void PosixIdle::Yield() { sched_yield(); }

void PosixIdle::Wake() {
  const int saved = errno;  // may run in a signal handler
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(wake_, &one, sizeof one);  // full: somebody woke it already
  errno = saved;
}

}  // namespace mayfly
