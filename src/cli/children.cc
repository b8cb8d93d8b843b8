#include "cli/children.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <limits.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "cli/cli.h"

namespace mayfly::cli {

std::string Self() {
  char path[PATH_MAX];
  const ssize_t n = ::readlink("/proc/self/exe", path, sizeof path);
  return n > 0 ? std::string(path, static_cast<size_t>(n)) : "mayfly";
}

std::string ProgramBeside(const std::string& name, const std::string& folder) {
  const std::string self = Self();
  const std::string here = self.substr(0, self.find_last_of('/') + 1);
  for (const std::string& place : {here + name, here + folder + "/" + name}) {
    if (::access(place.c_str(), X_OK) == 0) return place;
  }
  return name;
}
namespace {

double Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// In the child, between fork and exec.
void Prepare(Children::How how, pid_t parent) {
  if (how == Children::How::kFront) return;
  const int nothing = open("/dev/null", O_RDONLY);
  if (nothing >= 0) dup2(nothing, STDIN_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  if (how == Children::How::kHelper) return;
  setpgid(0, 0);
  if (how == Children::How::kDetached) return;
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(Children::kNotStarted);  // it died before it could be asked for
}

}  // namespace

Children::Children() {
  sigemptyset(&watched_);
  for (int signal : {SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD}) sigaddset(&watched_, signal);
  // The default action discards SIGCHLD unless it is blocked; a caller may have left it ignored.
  struct sigaction action {};
  action.sa_handler = SIG_DFL;
  sigaction(SIGCHLD, &action, nullptr);
  sigprocmask(SIG_BLOCK, &watched_, &before_);
}

pid_t Children::Start(const Words& words, How how) {
  std::vector<char*> argv;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) {
    Prepare(how, parent);
    sigprocmask(SIG_SETMASK, &before_, nullptr);
    execvp(argv[0], argv.data());
    Fail(fmt::format("{} cannot be started: {}", words[0], std::strerror(errno)));
    _exit(kNotStarted);
  }
  if (pid < 0) {
    Fail(fmt::format("{} cannot be started: {}", words[0], std::strerror(errno)));
    ended_[pid] = kNotStarted;
  }
  return pid;
}

void Children::Reap() {
  int status = 0;
  for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    ended_[pid] = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  }
}

void Children::PassOn(const siginfo_t& info, pid_t front) {
  if (info.si_signo != SIGUSR1 && info.si_signo != SIGUSR2) ++asked_to_end_;
  if (info.si_code <= 0) Send(front, info.si_signo);  // H1: of a process, not of the terminal
}

void Children::Send(pid_t pid, int signal) const {
  if (pid > 0 && !Ended(pid)) ::kill(pid, signal);
}

bool Children::WaitUntil(const std::function<bool()>& done, pid_t front, double seconds) {
  const double end = Now() + seconds;
  for (;;) {
    Reap();
    if (done()) return true;
    const double left = end - Now();
    if (left <= 0) return false;
    timespec timeout{};
    const double at_most = std::min(left, 3600.0);
    timeout.tv_sec = static_cast<time_t>(at_most);
    timeout.tv_nsec = static_cast<long>((at_most - std::floor(at_most)) * 1e9);
    siginfo_t info{};
    if (sigtimedwait(&watched_, &info, &timeout) > 0 && info.si_signo != SIGCHLD) PassOn(info, front);
  }
}

int Children::Wait(pid_t pid, pid_t front) {
  constexpr double kForEver = 1e9;
  (void)WaitUntil([&] { return Ended(pid); }, front, kForEver);
  return StatusOf(pid);
}

int Children::Run(const Words& words, How how) {
  const pid_t pid = Start(words, how);
  return Wait(pid, pid);
}

}  // namespace mayfly::cli
