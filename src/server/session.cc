// Requests about the session as a whole: status, refusing new work, and a shard's part of a flush. Who leads: jobs.cc.
#include <fmt/format.h>

#include "base/log.h"
#include "flush/flusher.h"
#include "server/shard.h"
#include "wire/payload.h"

namespace mayfly {
namespace {
constexpr Nanos kUnsentWithin = 5 * kSecond;  // clients have so long to send what write-behind holds
// A path as JSON has it; what is not plain ASCII goes as a question mark.
std::string JsonText(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c >= ' ' && c < 127 ? c : '?';
  }
  return out + "\"";
}
}  // namespace

Task<Status> Shard::HandlePing(Request*, const Empty&, Empty*, ReplyPayload*) { co_return Code::kOk; }

// ---- status -------------------------------------------------------------------------------------------------------

std::string Shard::StatusJson() {
  const ArenaStats arena = arena_.stats();
  const ChunkStoreStats data = store_.stats();
  const ResponderStats& in = responder_.stats();
  const CallerStats& out = caller_.stats();
  return fmt::format(
      R"({{"shard":{},"host":"{}","pid":{},"root":{},"generation":{},"transport":"{}","checksums":{},"refusing":{},"role":"{}",)"
      R"("memory":{{"limit":{},"used":{},"tables":{},"arena_mapped":{},"arena_used":{},"prefaulted":{}}},)"
      R"("names":{{"inodes":{},"bytes":{},"prepared":{},"soles":{}}},)"
      R"("data":{{"files":{},"extents":{},"staged":{},"pins":{},"corrupt_blocks":{},"compacted_bytes":{}}},)"
      R"("requests":{{"served":{},"connections":{},"hellos":{},"repeated":{},"expired":{},"malformed":{},)"
      R"("truncated":{},"oversized":{},"unauthenticated":{},"denied":{},"unknown_connection":{},"refused_grants":{},)"
      R"("traced":{}}},)"
      R"("calls":{{"made":{},"retries":{},"timeouts":{},"late_replies":{},"refused":{},"connects":{}}},)"
      R"("flush":{{"written_bytes":{}}},"recovery":{},"journal":{}}})",
      options_.self.value, options_.host, options_.pid, is_root(), generation_.value, doors_.transport.Describe(),
      options_.checksums, refusing_, RoleText(), budget_.bytes_max(), budget_.used(), budget_.table_used(),
      arena.bytes_mapped, arena.bytes_used, arena.bytes_prefaulted, names_.inodes(), names_.memory_bytes(),
      names_.prepared(), soles_.size(), data.files, data.extents, data.staged, data.pins, data.corrupt_blocks,
      data.compacted_bytes, in.requests, responder_.connections(), in.hellos, in.repeated, in.expired, in.malformed,
      in.truncated, in.oversized, in.unauthenticated, in.denied, in.unknown_connection, grants_.refused(),
      responder_.trace().on(), out.calls, out.retries, out.timeouts, out.late_replies, out.refused_messages,
      out.connects, flusher_->bytes_written(), RecoveryJson(), JournalJson());
}

// "null" where nothing outlives the process.
std::string Shard::JournalJson() const {
  if (journal_ == nullptr) return "null";
  const JournalStats j = journal_->stats();
  const Disk::Facts disk = doors_.disk->facts();
  return fmt::format(
      R"({{"durability":"{}","directory":{},"how":"{}","in_memory":{},"registered_bytes":{},"transfers":{},)"
      R"("transfers_registered":{},"ring_bytes":{},"live_bytes":{},)"
      R"("unwritten_bytes":{},"records":{},"record_bytes":{},"write_bytes":{},"flushes":{},"groups":{},)"
      R"("group_waiters":{},"group_mean":{:.1f},"group_largest":{},"stalls":{},"stalled_ms":{},"checkpoints":{},)"
      R"("checkpoints_failed":{},"checkpoint_bytes":{},"checkpoint_ms":{},"commit_interval_us":{},"starts":{},"in_doubt":{},"failed":{},"data":{}}})",
      keeps_data() ? "node" : "process", JsonText(disk.directory), disk.how, disk.in_memory, disk.bytes_registered,
      disk.transfers, disk.transfers_registered, j.ring_bytes, j.live_bytes, j.unwritten_bytes, j.records,
      j.record_bytes, j.write_bytes, j.flushes, j.groups, j.group_waiters,
      j.groups != 0 ? static_cast<double>(j.group_waiters) / static_cast<double>(j.groups) : 0.0, j.group_waiters_max,
      j.stalls, j.stalled / kMillisecond, j.checkpoints, j.checkpoints_failed, j.checkpoint_bytes,
      checkpoint_took_ / kMillisecond, options_.journal.commit_interval / kMicrosecond, j.incarnation,
      prepared_since_.size() + outcomes_.size() + resuming_.size(), j.failed || log_.failed(), DataJson());
}

// How this start came up; "null" for one that brought nothing back.
std::string Shard::RecoveryJson() const {
  if (!recovered_.found) return "null";
  return fmt::format(
      R"({{"closed_in_order":{},"records_read":{},"read_bytes":{},"inodes_found":{},"damaged":{},"given_up":{},)"
      R"("recovery_ms":{}}})",
      recovered_.clean, recovered_.records, recovered_.bytes, recovered_.inodes, recovered_.damage.size(), given_up_,
      recovered_.took / kMillisecond);
}

std::string_view Shard::RoleText() const {
  if (stands_in_) return "missing";
  return options_.role == ShardRole::kServe ? "serves" : "read-only";
}

// Of the chunk file; "null" where there is none.
std::string Shard::DataJson() const {
  if (write_back_ == nullptr) return "null";
  const WriteBackStats w = write_back_->stats();
  const ChunkStoreStats s = store_.stats();
  return fmt::format(
      R"({{"fsync":"{}","bytes":{},"bytes_free":{},"unkept_bytes":{},"dead_bytes":{},"extents":{},"unkept_extents":{},)"
      R"("writes":{},"write_bytes":{},"flushes":{},"evicted":{},"evicted_bytes":{},"eviction_waits":{},"read_back":{},)"
      R"("read_back_bytes":{},"hits":{}}})",
      TextOf(options_.fsync), s.disk_bytes, s.disk_bytes_free, s.unkept_bytes, s.dead_bytes, w.extents, w.unkept,
      w.writes, w.write_bytes, w.flushes, s.evicted, s.evicted_bytes, eviction_waits_, s.fetched, s.fetched_bytes,
      s.hits);
}

Task<Status> Shard::HandleGetStatus(Request*, const StatusRequest&, Empty*, ReplyPayload* out) {
  out->text = StatusJson();
  co_return Code::kOk;
}

Task<Status> Shard::HandleTrace(Request* r, const TraceRequest& q, Empty*, ReplyPayload* out) {
  if (!MayControl(r->party())) co_return Code::kPermission;
  TraceBook& trace = responder_.trace();
  MAYFLY_CO_TRY(trace.Switch(q.trace, q.for_ms * kMillisecond));
  if (q.report) {
    const auto lines = trace.Read(q.trace);
    if (!lines.ok()) co_return lines.code();
    out->text = EncodedPayload(*lines, kTransferBytesMax);
  }
  co_return Code::kOk;
}

// ---- refusing new work ----------------------------------------------------------------------------------------------

Task<Status> Shard::HandleRefuse(Request* r, const RefuseRequest& q, Empty*, ReplyPayload* out) {
  if (q.refuse) out->text = co_await CollectUnsent(std::min(r->deadline(), executor_.now() + kUnsentWithin));
  if (out->text.size() > kPageBytesMax) out->text.resize(kPageBytesMax);
  SetRefusing(q.refuse);
  co_return Code::kOk;
}

// Kept, so that a server that comes back while the session ends takes nothing in that the flush has passed already.
void Shard::SetRefusing(bool refuse) {
  if (refusing_ != refuse) log_.Record(kTagRefusing, refuse, sizeof refuse);
  refusing_ = refuse;
  collecting_ = false;
  EndStages();
}

// Asks every sole opener to send what it holds; a line for each process that did not in time.
Task<std::string> Shard::CollectUnsent(Nanos deadline) {
  collecting_ = true;  // nobody begins to hold back anew what is being asked for
  std::vector<InodeId> ids;
  for (const auto& [id, sole] : soles_) ids.push_back(id);
  std::vector<Task<Status>> ends;
  for (InodeId id : ids) ends.push_back(EndSole(id, ClientId(), deadline));
  for (auto& end : ends) (void)co_await end;
  std::string text;
  const auto parties = responder_.Parties();
  for (const auto& [id, sole] : soles_) {
    for (const auto& party : parties) {
      if (party->process != sole.process) continue;
      text += fmt::format("inode {} may have unsent data in process {} on {}\n", id.value, party->pid, party->host);
      break;
    }
  }
  co_return text;
}

Task<Status> Shard::RefuseAt(ShardId shard, bool refuse, std::string* unsent, Nanos deadline) {
  if (shard == options_.self) {
    if (refuse) *unsent = co_await CollectUnsent(std::min(deadline, executor_.now() + kUnsentWithin));
    SetRefusing(refuse);
    co_return Code::kOk;
  }
  RefuseRequest request;
  request.refuse = refuse;
  Empty reply;
  size_t bytes = 0;
  unsent->resize(kPageBytesMax);
  CallOptions options = PeerCall(deadline);
  options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(unsent->data()), unsent->size());
  options.reply_bytes = &bytes;
  Status status = co_await caller_.Call<Method::kRefuse>(shard, request, &reply, options);
  unsent->resize(status.ok() ? bytes : 0);
  co_return status;
}

// ---- what shards do of a flush -----------------------------------------------------------------------------------

Task<Status> Shard::HandleFlushDir(Request* r, const FlushDirRequest& q, FlushWorkReply* a, ReplyPayload* out) {
  auto text = co_await FetchText(r, Flusher::kRequestBytesMax);
  if (!text.ok()) co_return text.code();
  co_return co_await flusher_->ServeDir(q, std::move(*text), a, &out->text);
}

Task<Status> Shard::HandleFlushFile(Request* r, const FlushFileRequest& q, FlushWorkReply* a, ReplyPayload* out) {
  auto text = co_await FetchText(r, Flusher::kRequestBytesMax);
  if (!text.ok()) co_return text.code();
  co_return co_await flusher_->ServeFile(q, std::move(*text), a, &out->text);
}

Task<Status> Shard::HandleFlushChunks(Request* r, const FlushFileRequest& q, FlushWorkReply* a, ReplyPayload* out) {
  auto text = co_await FetchText(r, Flusher::kRequestBytesMax);
  if (!text.ok()) co_return text.code();
  co_return co_await flusher_->ServeChunks(q, std::move(*text), a, &out->text);
}

}  // namespace mayfly
