#include "server/staging.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "server/shard.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

constexpr Nanos kHold = 2 * kSecond;          // a worker waits so long for something to do, then asks again
constexpr Nanos kInviteWithin = 5 * kSecond;  // servers that have not come by then are not waited for
// What a worker has begun for a job that is over takes so long to end, if its file system and the session answer.
constexpr Nanos kEarlierEndsWithin = 30 * kSecond;
constexpr Nanos kInviteAgainAfter = 50 * kMillisecond;
constexpr uint32_t kInvitesAtOnce = 64;
constexpr uint32_t kStreamsMax = 4096;
constexpr uint32_t kThreadsMax = 8;  // of a worker: a guest on the node

// Enough to hide latency, few enough for the metadata server of a parallel filesystem.
uint32_t StreamsFor(size_t members) { return static_cast<uint32_t>(std::clamp<size_t>(4 * members, 8, 64)); }

// `count` of them, evenly spread.
std::vector<ShardId> Some(const std::vector<ShardId>& all, size_t count) {
  std::vector<ShardId> some;
  count = std::min(count, all.size());
  for (size_t i = 0; i < count; ++i) some.push_back(all[i * all.size() / count]);
  return some;
}

}  // namespace

Task<Status> Shard::HandleStageStart(Request* r, const Empty&, StageStartReply* a, ReplyPayload*) {
  auto text = co_await FetchText(r, kPageBytesMax);
  if (!text.ok()) co_return text.code();
  StageSpec spec;
  MAYFLY_CO_TRY(DecodePayload(*text, &spec));
  if (!is_root() || spec.source.empty() || spec.source[0] != '/' || spec.target.empty() || spec.target[0] != '/') {
    co_return Code::kInvalid;
  }
  if (spec.streams == 0) spec.streams = StreamsFor(options_.stage_shards.size());
  spec.streams = std::min(spec.streams, kStreamsMax);
  std::vector<ShardId> shards;
  // A server reads with the rights of its own user, which nobody else may borrow.
  if (spec.members && r->party().cred.uid == options_.uid) {
    shards = Some(options_.stage_shards, spec.streams);
  }
  std::vector<StageBoard::Invited> invited;
  for (ShardId shard : shards) invited.push_back({shard.value + 1, book_.NameOf(shard)});
  const uint32_t workers = std::max<uint32_t>(1, static_cast<uint32_t>(shards.size()));
  spec.threads = std::min(kThreadsMax, (spec.streams + workers - 1) / workers);
  const uint64_t job = doors_.random.U64() | 1;
  if (stage_desk_ == nullptr) stage_desk_ = std::make_unique<StageDesk>(executor_);
  a->invited = static_cast<uint32_t>(invited.size());
  // After a restart there may be workers of jobs that are forgotten (B7).
  const Status opened =
      stage_desk_->board.Open(job, spec, r->party().process, r->party().cred.uid, std::move(invited), recovered_.found);
  if (!opened.ok()) co_return opened;
  a->job = job;
  a->streams = spec.streams;
  if (!shards.empty())
    gate_.Spawn(InviteAll(job, std::move(spec), std::move(shards)), "inviting servers to a stage-in");
  co_return Code::kOk;
}

Task<Status> Shard::InviteAll(uint64_t job, StageSpec spec, std::vector<ShardId> shards) {
  const std::string payload = EncodedPayload(spec, kPageBytesMax);
  const Nanos until = executor_.now() + kInviteWithin;
  const Nanos earlier_until = executor_.now() + kEarlierEndsWithin;
  Semaphore window(executor_, kInvitesAtOnce);
  Gate gate(executor_);
  for (ShardId shard : shards) {
    co_await window.Acquire();
    const Nanos deadline = recovered_.found ? earlier_until : until;
    gate.Spawn(InviteOne(job, shard, AsBytes(payload), deadline, &window), "an invitation to a stage-in");
  }
  co_await gate.Drain();
  stage_desk_->board.Release(job);
  WakeWorkers(job);
  while (executor_.now() < until && !leaving_ && !stage_desk_->board.EveryoneCame(job)) {
    (void)co_await stage_desk_->arrivals.Wait(until);
  }
  stage_desk_->board.StopWaiting(job);
  WakeWorkers(job);
  co_return Code::kOk;
}

Task<Status> Shard::InviteOne(uint64_t job, ShardId shard, Bytes payload, Nanos deadline, Semaphore* window) {
  StageInviteRequest request;
  request.job = job;
  request.worker = shard.value + 1;
  StageBoard& board = stage_desk_->board;
  Status status;
  for (;;) {
    if (shard == options_.self) {
      StageSpec spec;
      status = DecodePayload(AsText(payload), &spec);
      if (status.ok()) status = StartWorker(request, std::move(spec));
    } else {
      Empty reply;
      CallOptions options = PeerCall(deadline);
      options.payload = payload;
      status = co_await caller_.Call<Method::kStageInvite>(shard, request, &reply, options);
    }
    if (status.code() != Code::kBusy || leaving_ || executor_.now() + kInviteAgainAfter >= deadline) break;
    co_await executor_.Sleep(kInviteAgainAfter);
  }
  const bool silent = status.code() == Code::kTimedOut || status.code() == Code::kUnavailable;
  if (recovered_.found && (silent || status.code() == Code::kBusy)) {  // B7 cannot be had
    board.Refuse(job, fmt::format("{} {}; look at `mayfly status`, and run the same command again", book_.NameOf(shard),
                                  silent ? "does not answer, and may still be copying for an earlier stage-in"
                                         : "is still copying for an earlier stage-in, and does not end"));
  }
  if (!status.ok()) (void)board.Decline(job, request.worker);
  window->Release();
  co_return Code::kOk;
}

Status Shard::StartWorker(const StageInviteRequest& q, StageSpec spec) {
  if (leaving_ || refusing_) return Code::kShutdown;
  return on_stage_ ? on_stage_(q.job, q.worker, std::move(spec)) : Code::kNotSupported;
}

Task<Status> Shard::HandleStageInvite(Request* r, const StageInviteRequest& q, Empty*, ReplyPayload*) {
  auto text = co_await FetchText(r, kPageBytesMax);
  if (!text.ok()) co_return text.code();
  StageSpec spec;
  MAYFLY_CO_TRY(DecodePayload(*text, &spec));
  co_return StartWorker(q, std::move(spec));
}

// As many as there is something to do for; all when there will be nothing any more.
void Shard::WakeWorkers(uint64_t job) {
  StageDesk& desk = *stage_desk_;
  if (desk.board.IsOver(job)) {
    desk.for_servers.WakeAll();
    desk.for_commands.WakeAll();
    return;
  }
  desk.for_servers.Wake(desk.board.Takeable(job, true));
  desk.for_commands.Wake(desk.board.Takeable(job, false));
}

Task<Status> Shard::HandleStageWork(Request* r, const StageWorkRequest& q, StageWorkReply* a, ReplyPayload* out) {
  auto text = co_await FetchText(r, kPageBytesMax);
  if (!text.ok()) co_return text.code();
  if (stage_desk_ == nullptr) co_return Code::kNoEntry;
  StageDesk& desk = *stage_desk_;
  MAYFLY_CO_TRY(desk.board.MayUse(q.job, r->party().cred.uid));
  StageReport report;
  if (!text->empty()) MAYFLY_CO_TRY(DecodePayload(*text, &report));
  MAYFLY_CO_TRY(desk.board.PutIn(q.job, q.worker, std::move(report)));
  if (q.item != 0) MAYFLY_CO_TRY(desk.board.GiveBack(q.job, q.worker, q.item, q.end));
  if (q.declines) MAYFLY_CO_TRY(desk.board.Decline(q.job, q.worker));
  WakeWorkers(q.job);
  desk.arrivals.WakeAll();
  const Nanos until = std::min(r->deadline(), executor_.now() + kHold);
  for (;;) {
    // No suspension until the answer: what was taken is out with this worker.
    if (!q.take) {
      a->over = desk.board.IsOver(q.job);
      co_return Code::kOk;
    }
    auto piece = desk.board.Take(q.job, q.worker, r->party().process);
    if (!piece.ok()) co_return piece.code();
    const Nanos now = executor_.now();
    if (piece->over || piece->item != 0 || now >= until || leaving_ || refusing_) {
      a->over = piece->over || leaving_ || refusing_;
      a->item = piece->item;
      a->waiting = piece->waiting;
      a->full = piece->full;
      if (piece->item != 0) out->text = EncodedPayload(piece->what, kPageBytesMax);
      co_return Code::kOk;
    }
    (void)co_await (q.worker == StageBoard::kCommand ? desk.for_commands : desk.for_servers).Wait(until);
  }
}

Task<Status> Shard::HandleStageStatus(Request* r, const StageStatusRequest& q, StageStatusReply* a, ReplyPayload* out) {
  if (stage_desk_ == nullptr) co_return Code::kNoEntry;
  StageBoard& board = stage_desk_->board;
  MAYFLY_CO_TRY(board.MayUse(q.job, r->party().cred.uid));
  if (q.cancel) {
    board.Cancel(q.job);
    WakeWorkers(q.job);
  }
  StageSummary summary;
  MAYFLY_CO_TRY(board.StatusOf(q.job, a, &summary));
  if (a->done) out->text = EncodedPayload(summary, kTransferBytesMax);
  co_return Code::kOk;
}

// A process has died or left.
void Shard::LeaveStages(ClientId process) {
  if (stage_desk_ == nullptr) return;
  const std::vector<uint64_t> jobs = stage_desk_->board.Running();
  stage_desk_->board.Gone(process);
  for (uint64_t job : jobs) WakeWorkers(job);
  stage_desk_->arrivals.WakeAll();
}

void Shard::EndStages() {
  if (stage_desk_ == nullptr) return;
  stage_desk_->for_servers.WakeAll();
  stage_desk_->for_commands.WakeAll();
  stage_desk_->arrivals.WakeAll();
}

}  // namespace mayfly
