#include "adapt/posix/process_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/check.h"
#include "base/checksum.h"

namespace mayfly {

namespace {

std::string ReadFile(const char* path) {
  char data[1024];
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  const ssize_t n = read(fd, data, sizeof data);
  close(fd);
  return n > 0 ? std::string(data, static_cast<size_t>(n)) : std::string();
}

// Field 22 of /proc/PID/stat; the name in field 2 may hold spaces and parentheses. 0 if it cannot be read.
uint64_t StartOf(uint32_t pid) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%u/stat", pid);
  const std::string text = ReadFile(path);
  size_t at = text.rfind(')');
  for (int field = 2; field < 22 && at != text.npos; ++field) at = text.find(' ', at + 1);
  uint64_t start = 0;
  if (at != text.npos) std::from_chars(text.data() + at + 1, text.data() + text.size(), start);
  return start;
}

uint64_t HostOf() {
  std::string name = ReadFile("/proc/sys/kernel/random/boot_id");
  struct stat info {};
  if (stat("/proc/self/ns/pid", &info) == 0) name += std::to_string(info.st_ino);
  return Checksum(AsBytes(name));
}

int OpenPidfd(uint32_t pid) {
#ifdef SYS_pidfd_open
  return static_cast<int>(syscall(SYS_pidfd_open, pid, 0));  // close-on-exec by itself
#else
  (void)pid;
  errno = ENOSYS;
  return -1;
#endif
}

}  // namespace

const ProcessName& ProcessName::OfSelf() {
  static thread_local ProcessName self;  // a forked child is another process
  const auto pid = static_cast<uint32_t>(getpid());
  if (self.pid != pid) self = {HostOf(), StartOf(pid), pid};
  return self;
}

ProcessWatch::ProcessWatch() : epoll_(epoll_create1(EPOLL_CLOEXEC)) { MAYFLY_CHECK(epoll_ >= 0); }

ProcessWatch::~ProcessWatch() {
  for (auto& [process, watched] : watched_) close(watched.pidfd);
  close(epoll_);
}

ProcessWatch::Added ProcessWatch::Add(const ProcessName& process, uint32_t token) {
  const ProcessName& self = ProcessName::OfSelf();
  if (process.host != self.host || process.pid == self.pid || process.pid == 0) return Added::kBlind;
  auto found = watched_.find(process);
  if (found != watched_.end()) {
    found->second.tokens.push_back(token);
    return Added::kWatched;
  }
  const int pidfd = OpenPidfd(process.pid);
  if (pidfd < 0) return errno == ESRCH ? Added::kGone : Added::kBlind;
  // Read after the descriptor was opened: equal means that it is the one we mean. Unreadable (hidepid): believe it.
  const uint64_t start = StartOf(process.pid);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = pidfd;
  const bool other = start != 0 && process.start != 0 && start != process.start;
  if (other || epoll_ctl(epoll_, EPOLL_CTL_ADD, pidfd, &event) != 0) {
    close(pidfd);
    return other ? Added::kGone : Added::kBlind;
  }
  watched_[process] = {pidfd, {token}};
  by_pidfd_[pidfd] = process;
  return Added::kWatched;
}

bool ProcessWatch::IsTaken(uint32_t pid) {
  const int pidfd = OpenPidfd(pid);
  if (pidfd >= 0) close(pidfd);
  return pidfd >= 0 || errno != ESRCH;
}

void ProcessWatch::Remove(const ProcessName& process, uint32_t token) {
  auto found = watched_.find(process);
  if (found == watched_.end()) return;  // told already
  std::erase(found->second.tokens, token);
  if (!found->second.tokens.empty()) return;
  by_pidfd_.erase(found->second.pidfd);
  close(found->second.pidfd);  // leaves the epoll set too
  watched_.erase(found);
}

bool ProcessWatch::Ready() const {
  epoll_event event;
  return !watched_.empty() && epoll_wait(epoll_, &event, 1, 0) > 0;
}

void ProcessWatch::Poll(std::vector<uint32_t>* ended) {
  if (watched_.empty()) return;
  epoll_event events[16];
  const int n = epoll_wait(epoll_, events, 16, 0);
  for (int i = 0; i < n; ++i) {
    auto name = by_pidfd_.find(events[i].data.fd);
    if (name == by_pidfd_.end()) continue;
    auto found = watched_.find(name->second);
    ended->insert(ended->end(), found->second.tokens.begin(), found->second.tokens.end());
    close(found->second.pidfd);
    watched_.erase(found);
    by_pidfd_.erase(name);
  }
}

}  // namespace mayfly
