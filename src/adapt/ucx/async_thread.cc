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
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "base/log.h"

namespace mayfly {
namespace {

using std::chrono::steady_clock;
constexpr auto kLookEvery = std::chrono::microseconds(50);
constexpr auto kComesWithin = std::chrono::seconds(2);
constexpr auto kStandsMost = std::chrono::seconds(60);  // a fork copies the page tables

std::mutex mutex;  // of users and call
int users = 0;
int call = -1;                      // an eventfd: written to, the thread comes into Stand
bool of_parent = false;             // `call` and its thread are the parent's
std::atomic<bool> forking{false};   // the thread is to stand
std::atomic<bool> standing{false};  // it does

template <class Condition>
bool Until(Condition condition, steady_clock::duration most) {
  const auto until = steady_clock::now() + most;
  while (!condition()) {
    if (steady_clock::now() >= until) return false;
    std::this_thread::sleep_for(kLookEvery);
  }
  return true;
}

// In UCX's thread.
void Stand(int fd, ucs_event_set_types_t, void*) {
  eventfd_t calls;
  (void)eventfd_read(fd, &calls);
  standing = true;
  (void)Until([] { return !forking; }, kStandsMost);
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

void LeaveParentsEventSet() {
  const int shared = EventSetWith(call);
  const int own = shared < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
  if (own < 0 || dup3(own, shared, O_CLOEXEC) < 0) {
    MAYFLY_DEBUG("this process shares UCX's event set with the one that it was forked from");
  }
  if (own >= 0) close(own);
  close(call);
  call = -1;
}

}  // namespace

AsyncThread::User::User() {
  std::lock_guard lock(mutex);
  if (users++ > 0) return;
  if (of_parent) {
    if (call >= 0) LeaveParentsEventSet();
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
  if (of_parent || call < 0) return;
  (void)Until([] { return !standing; }, kComesWithin);  // of the fork before
  forking = true;
  if (eventfd_write(call, 1) == 0) (void)Until([] { return standing.load(); }, kComesWithin);
}

void AsyncThread::AfterForkInParent() {
  forking = false;
  mutex.unlock();
}

void AsyncThread::AfterForkInChild() {
  forking = standing = false;
  of_parent = true;
  users = 0;  // the parent's are left alone
  mutex.unlock();
}

}  // namespace mayfly
