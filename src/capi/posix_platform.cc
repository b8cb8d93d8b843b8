#include "capi/posix_platform.h"

#include <time.h>
#include <unistd.h>

#include <algorithm>

#include "adapt/posix/arena_view.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "adapt/posix/random.h"
#include "adapt/ucx/async_thread.h"
#include "adapt/ucx/ucx_transport.h"
#include "base/log.h"
#include "capi/fork_gate.h"

namespace mayfly {
namespace {

constexpr ProtocolRange kProtocol{kWireVersion, kWireVersion};
constexpr Nanos kLookFirst = 5 * kMillisecond, kLookMost = 200 * kMillisecond;
// Without a path, a variable or a job nothing says that a session will ever come.
constexpr Nanos kUnnamedWait = 10 * kSecond;

class PosixGround final : public Ground {
 public:
  PosixGround(std::unique_ptr<AsyncThread::User> user, std::unique_ptr<UcxTransport> transport)
      : async_thread_user_(std::move(user)), transport_(std::move(transport)) {
    idle_.Add(transport_.get());
  }
  ~PosixGround() override { idle_.Remove(transport_.get()); }
  Clock& clock() override { return clock_; }
  Idle& idle() override { return idle_; }
  Random& random() override { return random_; }
  Transport& transport() override { return *transport_; }
  void Abandon() override { transport_->Abandon(); }

 private:
  std::unique_ptr<AsyncThread::User> async_thread_user_;
  PosixClock clock_;
  PosixIdle idle_;
  PosixRandom random_;
  std::unique_ptr<UcxTransport> transport_;
};

Cred CredOfThisProcess() {
  Cred cred;
  cred.uid = geteuid();
  cred.gid = getegid();
  gid_t groups[4096];
  const int count = getgroups(4096, groups);
  for (int i = 0; i < count; ++i) cred.groups.push_back(groups[i]);
  if (cred.groups.size() > kGroupsMax) {
    MAYFLY_WARN("this process is in {} groups; only the first {} count for permissions", cred.groups.size(),
                kGroupsMax);
    cred.groups.resize(kGroupsMax);
  }
  return cred;
}

void SleepFor(Nanos nanos) {
  timespec t{static_cast<time_t>(nanos / kSecond), static_cast<long>(nanos % kSecond)};
  nanosleep(&t, nullptr);
}

}  // namespace

Outcome<std::unique_ptr<PosixPlatform>> PosixPlatform::Connect(const std::string& session, Nanos wait, UcxOptions ucx) {
  PosixClock clock;
  const DiscoverOptions options = DiscoverOptions::FromEnvironment(session, kProtocol);
  const bool named = !options.path.empty() || !options.session_variable.empty() || !options.job.empty();
  const Nanos started = clock.Now();
  Nanos pause = kLookFirst;
  for (;;) {
    Outcome<FoundSession> found = Discover(options);
    Failure failure{Code::kTimedOut, ""};
    if (found.ok() && found->file.state == SessionState::kStopping) {
      return Fail(Code::kShutdown, "session {} is stopping", found->path);
    }
    if (found.ok() && found->file.state == SessionState::kReady) {
      Outcome<NodeMap> map = OpenNodeMap(*found);
      if (map.ok()) {
        return std::unique_ptr<PosixPlatform>(
            new PosixPlatform(std::move(*found), std::move(*map), options.runtime_path, std::move(ucx)));
      }
      failure = map.failure();
    } else if (found.ok()) {
      failure = Fail(Code::kAgain, "session {} is not ready yet", found->path);
    } else {
      failure = found.failure();
    }
    const Code code = failure.status.code();
    if (code != Code::kNotMapped && code != Code::kAgain) return failure;
    const Nanos waited = clock.Now() - started;
    if (waited >= wait || (code == Code::kNotMapped && !named && waited >= kUnnamedWait)) {
      if (code == Code::kNotMapped) return failure;
      return Fail(Code::kTimedOut, "{} after {:.1f} s: see what its servers print, or 'mayfly wait'", failure.sentence,
                  static_cast<double>(waited) / static_cast<double>(kSecond));
    }
    SleepFor(std::min(pause, wait - waited));
    pause = std::min(pause * 2, kLookMost);
  }
}

PosixPlatform::PosixPlatform(FoundSession found, NodeMap map, std::string runtime_path, UcxOptions ucx)
    : found_(std::move(found)),
      map_(std::move(map), found_.map_path, found_.file.uid),
      runtime_path_(std::move(runtime_path)),
      ucx_(std::move(ucx)) {
  identity_.secret = found_.file.secret;
  identity_.uuid = found_.file.uuid;
  identity_.cred = CredOfThisProcess();
  char host[256] = {};
  if (gethostname(host, sizeof host - 1) == 0) identity_.host = host;
  ForkGate::SetOthers({&AsyncThread::BeforeFork, &AsyncThread::AfterForkInParent, &AsyncThread::AfterForkInChild});
}

std::unique_ptr<Ground> PosixPlatform::NewGround(std::string* why) {
  auto user = std::make_unique<AsyncThread::User>();
  std::unique_ptr<UcxTransport> transport = UcxTransport::Create(ucx_, why);
  if (transport == nullptr) return nullptr;
  return std::make_unique<PosixGround>(std::move(user), std::move(transport));
}

Identity PosixPlatform::identity() const {
  Identity identity = identity_;
  identity.pid = static_cast<uint32_t>(getpid());
  return identity;
}

std::string PosixPlatform::NameOf(ShardId shard) const {
  const MemberId member = map_.map().layout().MemberOf(shard);
  return fmt::format("{} (member {}, shard {})", map_.map().layout().member(member).host, member.value, shard.value);
}

bool PosixPlatform::MayBeHere(ShardId shard) const {
  return map_.map().layout().member(map_.map().layout().MemberOf(shard)).host == identity_.host;
}

std::unique_ptr<ArenaView> PosixPlatform::Attach(const std::string& name, uint64_t who) {
  return PosixArenaView::Attach(name, who);
}

bool PosixPlatform::SessionIsGone() {
  return access(found_.path.c_str(), F_OK) != 0 && access(found_.map_path.c_str(), F_OK) != 0;
}

bool PosixPlatform::ServersHaveLeft() {
  const Outcome<RuntimeDir> runtime = RuntimeDir::Open(runtime_path_, found_.file.uid);
  if (!runtime.ok()) return true;
  const auto session = runtime->Find(found_.file.uuid, kProtocol);
  return !session || session->liveness == Liveness::kDead;
}

}  // namespace mayfly
