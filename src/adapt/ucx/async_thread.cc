#include "adapt/ucx/async_thread.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <ucs/async/async_fwd.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <memory>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "adapt/posix/poll_until.h"
#include "adapt/posix/signals_blocked.h"
#include "base/log.h"

// Part of UCX's library, but not of its installed headers.
extern "C" __attribute__((weak)) ucs_status_t ucs_async_dispatch_handlers(int* ids, size_t count,
                                                                          ucs_event_set_types_t events);

namespace mayfly {
namespace {

using std::chrono::steady_clock;
constexpr auto kComesWithin = std::chrono::seconds(2);
constexpr auto kStandsMost = std::chrono::seconds(60);  // a fork copies the page tables

std::mutex mutex;  // of users and call
int users = 0;
int call = -1;                      // an eventfd: written to, the thread comes into Stand
bool of_parent = false;             // `call` and its thread are the parent's,
bool shares_set = false;            // and so is the thread's event set,
int event_set = -1;                 // this one; -1: not known yet
std::mutex dispatching;             // held by the thread that a child has in its place, while it is in UCX
std::atomic<bool> forking{false};   // the thread is to stand
std::atomic<bool> standing{false};  // it does

// In UCX's thread.
void Stand(int fd, ucs_event_set_types_t, void*) {
  eventfd_t calls;
  (void)eventfd_read(fd, &calls);
  standing = true;
  (void)PollUntil([] { return !forking; }, steady_clock::now() + kStandsMost);
  standing = false;
}

// The epoll set that waits for `fd`; -1 if there is none.
int EventSetWith(int fd) {
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", none)) {
    if (std::filesystem::read_symlink(entry.path(), none) != "anon_inode:[eventpoll]") continue;
    const std::string name = entry.path().filename();
    const std::unique_ptr<FILE, int (*)(FILE*)> file(fopen(("/proc/self/fdinfo/" + name).c_str(), "re"), fclose);
    char line[256];
    while (file != nullptr && fgets(line, sizeof line, file.get()) != nullptr) {
      int target = -1, set = -1;
      if (sscanf(line, "tfd: %d", &target) != 1 || target != fd) continue;
      std::from_chars(name.data(), name.data() + name.size(), set);
      return set;
    }
  }
  return -1;
}

// What UCX's thread does, in a child. For ever.
void Serve(int set) {
  for (;;) {
    epoll_event events[16];
    const int count = epoll_wait(set, events, std::size(events), -1);
    bool missed = false;
    for (int i = 0; i < count; ++i) {
      int id = static_cast<int>(events[i].data.u64);
      unsigned what = 0;
      if ((events[i].events & EPOLLIN) != 0) what |= UCS_EVENT_SET_EVREAD;
      if ((events[i].events & EPOLLOUT) != 0) what |= UCS_EVENT_SET_EVWRITE;
      if ((events[i].events & EPOLLERR) != 0) what |= UCS_EVENT_SET_EVERR;
      const std::lock_guard lock(dispatching);
      missed |= ucs_async_dispatch_handlers(&id, 1, static_cast<ucs_event_set_types_t>(what)) != UCS_OK;
    }
    if (missed) std::this_thread::yield();  // its worker is busy, and does it itself
  }
}

void LeaveParentsEventSet() {
  if (event_set < 0) event_set = EventSetWith(call);
  const int own = event_set < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
  const bool left = own >= 0 && dup3(own, event_set, O_CLOEXEC) >= 0;
  if (own >= 0) close(own);
  // `call` stays open: its number is in UCX's table, a new descriptor must not get it.
  if (!left || ucs_async_dispatch_handlers == nullptr) {
    MAYFLY_WARN("in a forked process: nobody waits for connections that others make to it");
    return;
  }
  const SignalsBlocked blocked;
  try {
    std::thread(Serve, event_set).detach();
  } catch (const std::system_error&) {
    MAYFLY_WARN("no thread that waits for connections which others make to this process");
  }
}

}  // namespace

AsyncThread::User::User() {
  std::lock_guard lock(mutex);
  if (users++ > 0) return;
  if (of_parent) {
    if (std::exchange(shares_set, false)) LeaveParentsEventSet();
    return;
  }
  call = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (call >= 0 && ucs_async_set_event_handler(UCS_ASYNC_MODE_THREAD_SPINLOCK, call, UCS_EVENT_SET_EVREAD, &Stand,
                                               nullptr, nullptr) == UCS_OK) {
    return;
  }
  MAYFLY_WARN("UCX's thread cannot be held for a fork: a child of this process may hang in its first call");
  if (call >= 0) close(call);
  call = -1;
}

AsyncThread::User::~User() {
  std::lock_guard lock(mutex);
  if (--users > 0 || of_parent || call < 0) return;
  (void)ucs_async_remove_handler(call, 1);
  close(call);
  call = -1;
}

void AsyncThread::BeforeFork() {
  mutex.lock();
  dispatching.lock();
  if (of_parent || call < 0) return;
  (void)PollUntil([] { return !standing; }, steady_clock::now() + kComesWithin);  // of the fork before
  forking = true;
  if (eventfd_write(call, 1) != 0) return;
  (void)PollUntil([] { return standing.load(); }, steady_clock::now() + kComesWithin);
}

void AsyncThread::AfterForkInParent() {
  forking = false;
  dispatching.unlock();
  mutex.unlock();
}

void AsyncThread::AfterForkInChild() {
  forking = standing = false;
  users = 0;  // the parent's are left alone
  if (of_parent || call >= 0) of_parent = shares_set = true;
  dispatching.unlock();
  mutex.unlock();
}

}  // namespace mayfly
