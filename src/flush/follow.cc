#include "flush/follow.h"

#include <vector>

#include "flush/outcome.h"

namespace mayfly::flush_internal {
namespace {

constexpr Nanos kCallNanos = 5 * kSecond;  // a request is answered within Flusher::kHoldNanos
constexpr uint32_t kFailuresMax = 3;
constexpr Nanos kRetryNanos = 500 * kMillisecond;

uint32_t MillisecondsLeft(Nanos deadline, Nanos now) {
  if (deadline == kNever) return 0;
  const Nanos left = deadline > now ? (deadline - now) / kMillisecond : 0;
  return static_cast<uint32_t>(std::clamp<Nanos>(left, 1, ~uint32_t{0}));
}

std::vector<uint8_t> EncodedPath(const FlushPath& path) {
  constexpr size_t kLengths = 4 * sizeof(uint32_t);
  std::vector<uint8_t> bytes(path.target.size() + path.path.size() + path.pattern.size() + path.only.size() + kLengths);
  Encoder e{MutableBytes(bytes)};
  e.Put(path);
  MAYFLY_CHECK(e.ok() && e.size() == bytes.size());
  return bytes;
}

}  // namespace

template <Method M>
Task<Status> Follow(FlushContext* context, std::shared_ptr<FlushJob> job, ShardId shard,
                    typename MethodTypes<M>::Request request, FlushPath path, FlushOutcome* outcome) {
  std::vector<uint8_t> sent = EncodedPath(path);
  if (sent.size() > Flusher::kRequestBytesMax) co_return Code::kNameTooLong;
  std::vector<uint8_t> received(kOutcomeBytesMax);
  for (uint32_t failures = 0;;) {
    const Nanos now = context->executor.now();
    if (job->GraceOver(now)) co_return Code::kTimedOut;
    request.cancel = job->Stopped(now);
    if constexpr (M == Method::kFlushDir) request.budget_left_ms = MillisecondsLeft(job->deadline, now);
    FlushWorkReply reply;
    size_t bytes = 0;
    CallOptions options;
    options.deadline = now + kCallNanos;
    options.payload = sent;
    options.reply_payload = received;
    options.reply_bytes = &bytes;
    Status status = co_await context->caller.Call<M>(shard, request, &reply, options);
    if (status.ok()) {
      failures = 0;
      context->away.erase(shard);
      Decoder d(Bytes(received).subspan(0, bytes));
      FlushOutcome now_done;
      d.Get(now_done);
      MAYFLY_CO_TRY(d.Finish());
      *outcome = std::move(now_done);
      if (!reply.running) co_return Code::kOk;
      continue;
    }
    const bool again = status.code() == Code::kUnavailable || status.code() == Code::kTimedOut;
    const Nanos away_since = context->away.try_emplace(shard, now).first->second;
    const bool patient = context->executor.now() < away_since + context->away_max;
    if (!again || (++failures >= kFailuresMax && !patient)) co_return status;
    (void)co_await job->changed.Wait(context->executor.now() + kRetryNanos);
  }
}

template Task<Status> Follow<Method::kFlushDir>(FlushContext*, std::shared_ptr<FlushJob>, ShardId, FlushDirRequest,
                                                FlushPath, FlushOutcome*);
template Task<Status> Follow<Method::kFlushFile>(FlushContext*, std::shared_ptr<FlushJob>, ShardId, FlushFileRequest,
                                                 FlushPath, FlushOutcome*);
template Task<Status> Follow<Method::kFlushChunks>(FlushContext*, std::shared_ptr<FlushJob>, ShardId, FlushFileRequest,
                                                   FlushPath, FlushOutcome*);

}  // namespace mayfly::flush_internal
