#include "supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>

#include "adapt/posix/clock.h"
#include "base/log.h"
#include "server_log.h"
#include "watch.h"

namespace mayfly {
namespace {

constexpr size_t kDeathsMax = 5;  // P2
constexpr Nanos kDeathsWithin = 60 * kSecond;
constexpr int kPassedOn[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
constexpr char kServing = 'S', kEnding = 'E';

std::string HostName() {
  char name[256] = {};
  gethostname(name, sizeof name - 1);
  return name;
}

std::string HowItEnded(int status) {
  if (WIFSIGNALED(status))
    return fmt::format("was killed by signal {} ({})", WTERMSIG(status), strsignal(WTERMSIG(status)));
  return fmt::format("ended unexpectedly with exit code {}", WEXITSTATUS(status));
}

class Supervisor {
 public:
  Supervisor(CommandLine line, const std::function<int(CommandLine, ParentLine)>& serve)
      : line_(std::move(line)), serve_(serve) {
    sigemptyset(&mine_);
    for (int number : kPassedOn) {
      sigaddset(&mine_, number);
      // A shell ignores SIGINT for what it runs in the background; what is ignored is never waited for.
      if (number == SIGTERM || number == SIGINT) signal(number, SIG_DFL);
    }
    sigaddset(&mine_, SIGCHLD);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &mine_, &before_);
  }

  // Empty in the parent, or why it ends; in a child its exit code.
  std::optional<int> Start() {
    std::array<int, 2> ends{-1, -1};
    const pid_t parent = getpid();
    if (pipe2(ends.data(), O_CLOEXEC) != 0 || (server_ = fork()) < 0) {
      SayFailure(fmt::format("{}: --supervise cannot start a process: {}; raise the limits (ulimit -u, ulimit -n)",
                             HostName(), std::strerror(errno)));
      return kExitNotStarted;
    }
    if (server_ != 0) {
      close(ends[1]);
      heard_ = ends[0];
      return {};
    }
    close(ends[0]);
    prctl(PR_SET_PDEATHSIG, SIGKILL);                 // P1
    if (getppid() != parent) _exit(kExitNotStarted);  // before that
    sigprocmask(SIG_SETMASK, &before_, nullptr);
    return serve_(std::move(line_), ParentLine(ends[1]));
  }

  std::optional<int> Run() {
    if (auto code = Start()) return code;
    if (line_.options.log_level_given) SetLogLevel(line_.options.log_level);
    for (;;) {
      const int status = Await();
      Listen();
      if (asked_to_end_ || ending_ || !mending_) return EndAs(status);
      if (!MayMend(status) || asked_to_end_) return EndAs(status);
      if (auto code = Start()) return code;
    }
  }

 private:
  // Until the server has ended; how.
  int Await() {
    for (;;) {
      int status = 0;
      const pid_t ended = waitpid(server_, &status, WNOHANG);
      if (ended == server_) {
        server_ = 0;
        return status;
      }
      MAYFLY_CHECK(ended == 0 || errno == EINTR);
      OnSignal(sigwaitinfo(&mine_, nullptr));
    }
  }

  void OnSignal(int number) {
    if (number <= 0 || number == SIGCHLD) return;
    if (number != SIGUSR1 && number != SIGUSR2) asked_to_end_ = true;  // a kill may follow
    if (server_ != 0) kill(server_, number);
    if (server_ == 0) asked_to_end_ = true;
  }

  // What the server said until it ended.
  void Listen() {
    std::string said;
    std::array<char, 4096> piece{};
    fcntl(heard_, F_SETFL, O_NONBLOCK);  // should something that it forked still have it open
    for (ssize_t got = 0; (got = read(heard_, piece.data(), piece.size())) > 0;) {
      said.append(piece.data(), static_cast<size_t>(got));
    }
    close(heard_);
    heard_ = -1;
    for (size_t at = 0; at < said.size();) {
      const size_t end = said.find('\0', at);
      if (end == std::string::npos) break;  // it died in the middle of it
      const std::string text = said.substr(at + 1, end - at - 1);
      if (said[at] == kEnding) ending_ = true;
      if (said[at] == kServing) HearOfServing(text);
      at = end + 1;
    }
  }

  // "member session-bytes session runtime", so that paths may hold anything.
  void HearOfServing(const std::string& text) {
    uint16_t member = 0;
    size_t bytes = 0;
    const char* const end = text.data() + text.size();
    auto parsed = std::from_chars(text.data(), end, member);
    if (parsed.ec != std::errc() || parsed.ptr == end) return;
    parsed = std::from_chars(parsed.ptr + 1, end, bytes);
    const auto at = static_cast<size_t>(parsed.ptr - text.data()) + 1;
    if (parsed.ec != std::errc() || at + bytes + 1 > text.size()) return;
    mending_ = ParentLine::Mending{MemberId(member), text.substr(at, bytes), text.substr(at + bytes + 1)};
    line_.options.rejoin = true;
    line_.options.recover = false;
    line_.options.rejoin_member = mending_->member;
    line_.options.session = mending_->session;
    setenv("MAYFLY_RUNTIME_DIR", mending_->runtime_path.c_str(), 1);
  }

  // After a death that was not asked for, and a pause that grows with their number.
  bool MayMend(int status) {
    const Nanos now = clock_.Now();
    while (!deaths_.empty() && now - deaths_.front() > kDeathsWithin) deaths_.pop_front();
    deaths_.push_back(now);
    const std::string who =
        fmt::format("the server of member {} on {} {}", mending_->member.value, HostName(), HowItEnded(status));
    if (deaths_.size() >= kDeathsMax) {
      SayFailure(
          fmt::format("{}, the {}th time within a minute, and is not started again: see above why, then bring it back "
                      "with `mayflyd "
                      "--rejoin --member {}`, or end the session with `mayfly stop`",
                      who, deaths_.size(), mending_->member.value));
      return false;
    }
    MAYFLY_WARN("{}: starting it again", who);
    const Nanos until = now + (deaths_.size() - 1) * kSecond;
    for (Nanos left = 0; !asked_to_end_ && (left = until - std::min(until, clock_.Now())) != 0;) {
      const timespec pause{static_cast<time_t>(left / kSecond), static_cast<long>(left % kSecond)};
      OnSignal(sigtimedwait(&mine_, nullptr, &pause));
    }
    return true;
  }

  int EndAs(int status) {
    if (!WIFSIGNALED(status)) return WEXITSTATUS(status);
    const rlimit none{0, 0};
    setrlimit(RLIMIT_CORE, &none);  // the core is the server's
    const int number = WTERMSIG(status);
    signal(number, SIG_DFL);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, number);
    sigprocmask(SIG_UNBLOCK, &set, nullptr);
    raise(number);
    return kExitNotFlushed;
  }

  CommandLine line_;
  const std::function<int(CommandLine, ParentLine)>& serve_;
  PosixClock clock_;
  sigset_t mine_, before_;
  pid_t server_ = 0;
  int heard_ = -1;
  std::optional<ParentLine::Mending> mending_;
  bool asked_to_end_ = false, ending_ = false;
  std::deque<Nanos> deaths_;
};

}  // namespace

void ParentLine::Tell(std::string_view message) const {
  if (fd_ < 0) return;
  // Less than a pipe holds, so nobody needs to listen.
  [[maybe_unused]] const ssize_t written = write(fd_, message.data(), message.size());
}

void ParentLine::Serving(const Mending& how) const {
  std::string message =
      fmt::format("{}{} {} {} {}", kServing, how.member.value, how.session.size(), how.session, how.runtime_path);
  message.push_back('\0');
  Tell(message);
}

void ParentLine::Ending() const { Tell({std::array{kEnding, '\0'}.data(), 2}); }

int Supervise(CommandLine line, const std::function<int(CommandLine, ParentLine)>& serve) {
  return *Supervisor(std::move(line), serve).Run();
}

}  // namespace mayfly
