// Exact path resolution. A change that may invalidate a cached path component takes the next generation: every shard
// acknowledges it before the change is committed, so that no request of an older walk is served afterwards.
// A shard that does not answer is waited for until its lease is over: from then on it serves nothing without asking.
#include "base/log.h"
#include "server/images.h"
#include "server/shard.h"

namespace mayfly {

void Shard::LearnGeneration(Generation g) {
  if (g <= generation_) return;
  generation_ = g;
  if (ArenaBoard* const board = arena_memory_.Board()) board->generation.store(g.value, std::memory_order_release);
  responder_.SetGeneration(g);
  if (is_root()) log_.Record(kTagGeneration, g, sizeof g);
}

std::optional<Status> Shard::EnterWalk(const Request& r) {
  if (r.walked_at().value == 0) return Status(Code::kGeneration);
  if (!is_root()) {
    const Nanos now = executor_.now();
    if (now >= lease_until_) return std::nullopt;
    if (lease_until_ - now < options_.lease / 2 && !renewing_) {
      gate_.Spawn(RenewLease(now + options_.peer_deadline), "renewing the lease");
    }
  }
  return Status(r.walked_at() < generation_ ? Code::kGeneration : Code::kOk);
}

Task<Status> Shard::EnterWalkSlowly(Request* r) {
  MAYFLY_CO_TRY(co_await RenewLease(r->deadline()));
  co_return r->walked_at() < generation_ ? Code::kGeneration : Code::kOk;
}

Task<Status> Shard::RenewLease(Nanos deadline) {
  while (renewing_) {
    MAYFLY_CO_TRY(co_await renewed_.Wait(deadline));
    if (executor_.now() < lease_until_) co_return Code::kOk;
  }
  renewing_ = true;
  const Nanos asked_at = executor_.now();  // the sequencer's count starts later than ours, so ours ends first
  Empty request;
  LeaseReply reply;
  CallOptions options = PeerCall(deadline);
  Status status = co_await caller_.Call<Method::kLease>(placement_.RootShard(), request, &reply, options);
  renewing_ = false;
  if (status.ok()) {
    LearnGeneration(reply.generation);
    lease_until_ = asked_at + reply.lease_ms * kMillisecond;
  }
  renewed_.WakeAll();
  co_return status;
}

Task<Status> Shard::HandleLease(Request* r, const Empty&, LeaseReply* a, ReplyPayload*) {
  const uint32_t shard = r->party().shard.value;
  if (!is_root() || shard >= leased_until_.size()) co_return Code::kInvalid;
  leased_until_[shard] = executor_.now() + options_.lease;
  a->generation = generation_;
  a->lease_ms = static_cast<uint32_t>(options_.lease / kMillisecond);
  co_return Code::kOk;
}

Task<Status> Shard::BumpGeneration(Nanos deadline) {
  if (is_root()) co_return co_await BumpRound(deadline);
  Empty request;
  LeaseReply reply;
  CallOptions options = PeerCall(deadline);
  Status status = co_await caller_.Call<Method::kBump>(placement_.RootShard(), request, &reply, options);
  if (status.ok()) LearnGeneration(reply.generation);
  co_return status;
}

Task<Status> Shard::HandleBump(Request* r, const Empty&, LeaseReply* a, ReplyPayload*) {
  if (!is_root()) co_return Code::kInvalid;
  MAYFLY_CO_TRY(co_await BumpRound(r->deadline()));
  a->generation = generation_;
  co_return Code::kOk;
}

// All changes that ask while a round of announcements is under way share the next one.
Task<Status> Shard::BumpRound(Nanos deadline) {
  const uint64_t wanted = rounds_started_ + 1;
  while (rounds_done_ < wanted) {
    if (log_.failed()) co_return Code::kReadOnly;  // the next start would give the same one out again
    if (round_running_) {
      MAYFLY_CO_TRY(co_await round_done_.Wait(deadline));
      continue;
    }
    round_running_ = true;
    ++rounds_started_;
    const Generation g(generation_.value + 1);
    LearnGeneration(g);
    std::vector<Task<Status>> announcements;
    for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
      if (ShardId(s) != options_.self) announcements.push_back(AnnounceTo(ShardId(s), g, deadline));
    }
    for (auto& announcement : announcements) (void)co_await announcement;  // each ends by an answer or the lease's end
    rounds_done_ = rounds_started_;
    round_running_ = false;
    round_done_.WakeAll();
  }
  co_return Code::kOk;
}

Task<Status> Shard::AnnounceTo(ShardId shard, Generation g, Nanos deadline) {
  GenerationRequest request;
  request.generation = g;
  Empty reply;
  const Nanos lease_over = std::max(leased_until_[shard.value], executor_.now());
  CallOptions options = PeerCall(std::min(deadline, lease_over + 10 * kMillisecond));
  if (caller_.Unreachable(shard) && executor_.now() >= leased_until_[shard.value]) co_return Code::kOk;
  Status status = co_await caller_.Call<Method::kSetGeneration>(shard, request, &reply, options);
  if (status.ok()) co_return status;
  // It cannot be asked. Once its lease is over it will ask us before it serves a path, and learn the generation then.
  if (executor_.now() < leased_until_[shard.value])
    co_await executor_.Sleep(leased_until_[shard.value] - executor_.now());
  co_return Code::kOk;
}

Task<Status> Shard::HandleSetGeneration(Request*, const GenerationRequest& q, Empty*, ReplyPayload*) {
  LearnGeneration(q.generation);
  co_return Code::kOk;
}

}  // namespace mayfly
