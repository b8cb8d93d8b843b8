// The session as a whole: figures, health, flush.
#include <algorithm>
#include <vector>

#include "client/lane.h"
#include "task/all.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

constexpr size_t kShardsAtOnce = 64;
constexpr size_t kStatusBytesMax = 1u << 20;

Task<Status> StatFsOf(Lane* lane, ShardId shard, StatFsReply* reply) {
  Empty request;
  co_return co_await lane->caller().Call<Method::kStatFs>(shard, request, reply, lane->ByHandle(lane->Deadline()));
}

}  // namespace

Task<Status> Lane::SyncSession() {
  if (!mount_.options().syncs) co_return Code::kOk;
  const uint32_t shards = mount_.placement().shard_count();
  Status status;
  for (uint32_t first = 0; first < shards; first += kShardsAtOnce) {
    std::vector<Task<Status>> tasks;
    for (uint32_t s = first; s < std::min<uint32_t>(first + kShardsAtOnce, shards); ++s) {
      tasks.push_back(SyncAt(ShardId(s), InodeId()));
    }
    const Status these = co_await All(std::move(tasks));
    if (!these.ok()) status = these;
  }
  co_return status;
}

// The sum over all shards; what cannot be reached does not count.
Task<Result<StatFs>> Lane::StatFileSystem() {
  if (MustSettle()) MAYFLY_CO_TRY(co_await Settle());
  const uint32_t shards = mount_.placement().shard_count();
  StatFs sum;
  Status status;
  bool any = false;
  for (uint32_t first = 0; first < shards; first += kShardsAtOnce) {
    const uint32_t count = std::min<uint32_t>(kShardsAtOnce, shards - first);
    std::vector<StatFsReply> replies(count);
    std::vector<Task<Status>> tasks;
    tasks.reserve(count);
    for (uint32_t i = 0; i < count; ++i) tasks.push_back(StatFsOf(this, ShardId(first + i), &replies[i]));
    for (uint32_t i = 0; i < count; ++i) {
      Task<Status>& task = tasks[i];
      Status one = co_await task;
      if (!one.ok()) {
        status = one;
        continue;
      }
      any = true;
      sum.bytes += replies[i].bytes;
      sum.bytes_free += replies[i].bytes_free;
      sum.inodes += replies[i].inodes;
      sum.inodes_free += replies[i].inodes_free;
      sum.chunk_bytes = replies[i].chunk_bytes;
    }
  }
  if (!any) co_return status;
  co_return sum;
}

Task<Status> Lane::Ping(ShardId shard, Nanos deadline) {
  Empty request, reply;
  co_return co_await caller_.Call<Method::kPing>(shard, request, &reply, ByHandle(deadline));
}

Task<Result<std::string>> Lane::ShardStatus(ShardId shard) {
  StatusRequest request;
  Empty reply;
  std::string json(kStatusBytesMax, '\0');
  size_t bytes = 0;
  CallOptions options = ByHandle(Deadline());
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(json.data()), json.size());
  options.reply_bytes = &bytes;
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kGetStatus>(shard, request, &reply, options));
  json.resize(bytes);
  co_return json;
}

Task<Result<std::vector<TraceLine>>> Lane::Trace(ShardId shard, TraceRequest request) {
  std::string payload(request.report ? kTransferBytesMax : 0, '\0');
  size_t bytes = 0;
  Empty reply;
  CallOptions options = ByHandle(Deadline());
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(payload.data()), payload.size());
  options.reply_bytes = &bytes;
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kTrace>(shard, request, &reply, options));
  std::vector<TraceLine> lines;
  if (bytes != 0) MAYFLY_CO_TRY(DecodePayload(std::string_view(payload).substr(0, bytes), &lines));
  for (const TraceLine& line : lines) {
    for (const TraceBucket& bucket : line.buckets) {
      if (bucket.bucket >= Histogram::kBuckets) co_return Code::kCorrupt;
    }
  }
  co_return lines;
}

Task<Result<uint64_t>> Lane::StartFlush(FlushRequest what, const FlushSpec& spec) {
  std::vector<uint8_t> payload(4 * sizeof(uint32_t) + spec.source.size() + spec.target.size() + spec.pattern.size());
  Encoder encoder{MutableBytes(payload)};
  encoder.Put(spec);
  MAYFLY_CHECK(encoder.ok());
  FlushReply reply;
  CallOptions options = ByHandle(Deadline());
  options.payload = Bytes(payload).first(encoder.size());
  const ShardId root = mount_.placement().RootShard();
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kFlush>(root, what, &reply, options));
  co_return reply.job;
}

Task<Status> Lane::FlushProgress(uint64_t job, bool cancel, FlushStatusReply* reply, std::string* report) {
  FlushStatusRequest request;
  request.job = job;
  request.cancel = cancel;
  report->resize(kTransferBytesMax);
  size_t bytes = 0;
  CallOptions options = ByHandle(Deadline());
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(report->data()), report->size());
  options.reply_bytes = &bytes;
  const ShardId root = mount_.placement().RootShard();
  Status status = co_await caller_.Call<Method::kFlushStatus>(root, request, reply, options);
  report->resize(status.ok() ? bytes : 0);
  co_return status;
}

// ---- stage-in -----------------------------------------------------------------------------------------------------

Task<Status> Lane::StageStart(StageSpec spec, StageStartReply* reply) {
  const std::string payload = EncodedPayload(spec, kPageBytesMax);
  Empty request;
  CallOptions options = ByHandle(Deadline());
  options.payload = AsBytes(payload);
  const ShardId root = mount_.placement().RootShard();
  co_return co_await caller_.Call<Method::kStageStart>(root, request, reply, options);
}

Task<Status> Lane::StageWork(StageWorkRequest request, Bytes payload, StageWorkReply* reply, StageItem* item) {
  std::string text(kPageBytesMax, '\0');
  size_t bytes = 0;
  CallOptions options = ByHandle(Deadline());
  options.payload = payload;
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size());
  options.reply_bytes = &bytes;
  const ShardId root = mount_.placement().RootShard();
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kStageWork>(root, request, reply, options));
  if (reply->item == 0) co_return Code::kOk;
  co_return DecodePayload(std::string_view(text).substr(0, bytes), item);
}

Task<Status> Lane::StageStatus(StageStatusRequest request, StageStatusReply* reply, StageSummary* summary) {
  std::string text(kTransferBytesMax, '\0');
  size_t bytes = 0;
  CallOptions options = ByHandle(Deadline());
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size());
  options.reply_bytes = &bytes;
  const ShardId root = mount_.placement().RootShard();
  MAYFLY_CO_TRY(co_await caller_.Call<Method::kStageStatus>(root, request, reply, options));
  if (!reply->done) co_return Code::kOk;
  co_return DecodePayload(std::string_view(text).substr(0, bytes), summary);
}

}  // namespace mayfly
