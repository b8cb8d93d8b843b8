#include "side_lane.h"

#include <unistd.h>

#include <algorithm>

namespace mayfly {
namespace {

constexpr Nanos kLookForCancel = 50 * kMillisecond;
constexpr Nanos kCloseWithin = 2 * kSecond;

}  // namespace

Outcome<std::unique_ptr<SideLane>> SideLane::Create(const UcxOptions& ucx, const NodeBook& book, const Secret& secret,
                                                    const std::string& host) {
  std::string why;
  auto transport = UcxTransport::Create(ucx, &why);
  if (transport == nullptr) return Fail(Code::kUnavailable, "{}", why);
  std::unique_ptr<SideLane> lane(new SideLane(std::move(transport)));
  Identity identity;
  identity.secret = secret;
  identity.uuid = book.map().session();
  identity.client = ClientId(lane->random_.U64() | 1);
  identity.process = ClientId(lane->random_.U64() | 1);
  identity.cred.uid = geteuid();
  identity.cred.gid = getegid();
  identity.pid = static_cast<uint32_t>(getpid());
  identity.host = host;
  lane->caller_ = std::make_unique<Caller>(lane->executor_, *lane->transport_, lane->random_, book, std::move(identity),
                                           Caller::Timing());
  lane->transport_->SetReceiver(lane->caller_.get());
  lane->idle_.Add(lane->transport_.get());
  return lane;
}

SideLane::~SideLane() {
  caller_->Shutdown();
  const Nanos until = clock_.Now() + kCloseWithin;
  while (caller_->in_flight() != 0 && clock_.Now() < until) {
    if (!transport_->Progress() && !executor_.RunOnce()) idle_.Yield();
  }
  idle_.Remove(transport_.get());
  if (caller_->in_flight() != 0) (void)caller_.release();  // the network still has buffers of its
}

Status SideLane::Drive(Task<Status> task, const std::atomic<bool>* cancel) {
  while (!task.done()) {
    if (cancel != nullptr && cancel->load(std::memory_order_relaxed)) caller_->Shutdown();
    if (transport_->Progress() | executor_.RunOnce()) continue;
    idle_.Sleep(std::min(executor_.next_timer(), clock_.Now() + kLookForCancel));
  }
  return task.Take();
}

}  // namespace mayfly
