// Requests about the session as a whole: status, flush, the end.
#include <fmt/format.h>

#include "base/log.h"
#include "flush/flusher.h"
#include "server/job.h"
#include "wire/payload.h"

namespace mayfly {
namespace {
constexpr size_t kJobsKept = 16;
constexpr Nanos kUnsentWithin = 5 * kSecond;  // clients have so long to send what write-behind holds
constexpr Nanos kToldWithin = 3 * kSecond;    // and so long to ask for the outcome before the servers are gone
constexpr Nanos kFollowEvery = 20 * kMillisecond;
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
      R"("group_waiters":{},"stalls":{},"stalled_ms":{},"checkpoints":{},"checkpoints_failed":{},)"
      R"("checkpoint_bytes":{},"checkpoint_ms":{},"commit_interval_us":{},"starts":{},"in_doubt":{},"failed":{},"data":{}}})",
      keeps_data() ? "node" : "process", JsonText(disk.directory), disk.how, disk.in_memory, disk.bytes_registered,
      disk.transfers, disk.transfers_registered, j.ring_bytes, j.live_bytes, j.unwritten_bytes, j.records,
      j.record_bytes, j.write_bytes, j.flushes, j.groups, j.group_waiters, j.stalls, j.stalled / kMillisecond,
      j.checkpoints, j.checkpoints_failed, j.checkpoint_bytes, checkpoint_took_ / kMillisecond,
      options_.journal.commit_interval / kMicrosecond, j.incarnation,
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
      R"("writes":{},"write_bytes":{},"flushes":{},"evicted":{},"evicted_bytes":{},"read_back":{},"read_back_bytes":{},)"
      R"("hits":{}}})",
      TextOf(options_.fsync), s.disk_bytes, s.disk_bytes_free, s.unkept_bytes, s.dead_bytes, w.extents, w.unkept,
      w.writes, w.write_bytes, w.flushes, s.evicted, s.evicted_bytes, s.fetched, s.fetched_bytes, s.hits);
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
  refusing_ = q.refuse;
  EndStages();
  co_return Code::kOk;
}

// Asks every sole opener to send what it holds; a line for each process that did not in time.
Task<std::string> Shard::CollectUnsent(Nanos deadline) {
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
    refusing_ = refuse;
    EndStages();
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

// ---- flush and stop -------------------------------------------------------------------------------------------------

void Shard::BeginStop(bool flush) {
  if (!is_root()) return;
  FlushSpec spec;
  spec.target = options_.flush_target;
  spec.budget_ms = options_.flush_budget_ms;
  if (spec.target.empty()) flush = false;
  (void)StartJob({.stop = true, .flush = flush, .by_signal = true}, std::move(spec));
}

Shard::StopVerdict Shard::stop_verdict() const {
  StopVerdict verdict;
  verdict.ended = stop_job_ != nullptr && stop_job_->done;
  if (verdict.ended) verdict.result = stop_job_->result;
  return verdict;
}

std::string Shard::stop_report() const { return stop_job_ != nullptr ? stop_job_->report : std::string(); }

Result<uint64_t> Shard::StartJob(JobKind kind, FlushSpec spec) {
  const auto [stop, flush, keep, by_signal] = kind;
  if (!is_root()) return Code::kInvalid;
  // Nothing outlives the servers; of those that only read, all does.
  if (keep && !log_.active() && options_.role == ShardRole::kServe) return Code::kNotSupported;
  if (stop && stop_job_ != nullptr && !stop_job_->done) {
    stop_job_->by_signal |= by_signal;
    return stop_job_->id;  // it is stopping already: follow that
  }
  // A signal's stop is final however it went: the servers are leaving, and a second stop would hide its outcome.
  if (stop && stop_job_ != nullptr && (stop_job_->result == Code::kOk || stop_job_->by_signal)) return stop_job_->id;
  if (spec.source.empty()) spec.source = "/";
  if (flush && spec.target.empty()) spec.target = options_.flush_target;
  if (flush && (spec.target.empty() || keep)) return Code::kInvalid;
  if (jobs_.size() >= kJobsKept) {
    auto old = std::find_if(jobs_.begin(), jobs_.end(), [&](auto& j) { return j->done && j.get() != stop_job_; });
    if (old == jobs_.end()) return Code::kBusy;
    jobs_.erase(old);
  }
  jobs_.push_back(std::make_unique<Job>());
  Job* job = jobs_.back().get();
  job->id = doors_.random.U64() | 1;
  job->stop = stop;
  job->by_signal = by_signal;
  job->keep = keep;
  if (stop) stop_job_ = job;
  gate_.Spawn(RunJob(job, flush, std::move(spec)), "a flush");
  return job->id;
}

Task<Status> Shard::RunJob(Job* job, bool flush, FlushSpec spec) {
  std::string unsent;
  if (job->stop) {
    const Nanos deadline = executor_.now() + options_.peer_deadline;
    std::vector<std::string> texts(placement_.shard_count());
    std::vector<Task<Status>> tasks;
    for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
      tasks.push_back(RefuseAt(ShardId(s), true, &texts[s], deadline));
    }
    for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
      auto& task = tasks[s];
      Status status = co_await task;
      unsent += texts[s];
      // A member that cannot be told is gone; what it held will show as missing in the flush.
      if (!status.ok()) MAYFLY_WARN("{} does not take part in the end of the session", book_.NameOf(ShardId(s)));
    }
  }
  std::string flush_report = "null";
  if (flush) {
    auto started = flusher_->Start(spec);
    if (!started.ok()) {
      job->result = started.code();
      MAYFLY_ERROR("a flush of the session to the directory that was named could not be started ({})",
                   TextOf(started.code()));
    } else {
      job->flush = *started;
      for (;;) {
        auto now = flusher_->StatusOf(job->flush);
        if (!now.ok()) {
          job->result = now.code();
          break;
        }
        job->progress = *now;
        if (now->done) {
          job->result = now->result;
          break;
        }
        co_await executor_.Sleep(kFollowEvery);
      }
      auto report = flusher_->ReportOf(job->flush);
      if (report.ok() && !report->empty()) flush_report = *report;
    }
  }
  std::string lines = "[";
  for (size_t at = 0; at < unsent.size();) {
    const size_t end = unsent.find('\n', at);
    lines += fmt::format("{}\"{}\"", lines.size() > 1 ? "," : "", unsent.substr(at, end - at));
    at = end == std::string::npos ? unsent.size() : end + 1;
  }
  lines += "]";
  if (!unsent.empty() && job->result == Code::kOk) job->result = Code::kIo;  // what was not sent is not in the PFS
  job->report = fmt::format(R"({{"result":"{}","unsent":{},"flush":{},"kept":{}}})", TextOf(job->result), lines,
                            flush_report, (job->keep && job->result == Code::kOk) || is_degraded());
  job->done = true;
  if (!job->stop) co_return Code::kOk;
  // What was not flushed of a degraded session stays where it is, and nothing about it can be mended while it is
  // served.
  if (job->result != Code::kOk && !job->by_signal && !is_degraded()) {
    // The session goes on: whoever stopped it can look, mend and stop it again.
    const Nanos deadline = executor_.now() + options_.peer_deadline;
    for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
      std::string nothing;
      (void)co_await RefuseAt(ShardId(s), false, &nothing, deadline);
    }
    co_return Code::kOk;
  }
  const Nanos until = executor_.now() + kToldWithin;
  while (!job->told && !job->by_signal && executor_.now() < until) co_await executor_.Sleep(kFollowEvery);
  co_return co_await LeaveAll(job->keep && job->result == Code::kOk);
}

Task<Status> Shard::LeaveAll(bool keep) {
  std::vector<Task<Status>> tasks;
  for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
    if (ShardId(s) != options_.self) tasks.push_back(LeaveAt(ShardId(s), keep));
  }
  for (auto& task : tasks) (void)co_await task;
  kept_ = keep;
  leaving_ = true;
  if (on_leave_) on_leave_();
  co_return Code::kOk;
}

Task<Status> Shard::LeaveAt(ShardId shard, bool keep) {
  LeaveRequest request;
  request.keep = keep;
  Empty reply;
  CallOptions options = PeerCall(executor_.now() + 5 * kSecond);
  co_return co_await caller_.Call<Method::kLeave>(shard, request, &reply, options);
}

Task<Status> Shard::HandleLeave(Request*, const LeaveRequest& q, Empty*, ReplyPayload*) {
  struct Later {
    // The answer leaves first.
    static Task<Status> Run(Shard* shard, bool keep) {
      co_await shard->executor_.Sleep(kFollowEvery);
      shard->kept_ = keep && shard->log_.active();
      shard->leaving_ = true;
      if (shard->on_leave_) shard->on_leave_();
      co_return Code::kOk;
    }
  };
  gate_.Spawn(Later::Run(this, q.keep), "leaving");
  co_return Code::kOk;
}

Task<Status> Shard::HandleFlush(Request* r, const FlushRequest& q, FlushReply* a, ReplyPayload*) {
  if (!MayControl(r->party())) co_return Code::kPermission;  // it writes to the PFS with the servers' rights
  auto text = co_await FetchText(r, kPageBytesMax);
  if (!text.ok()) co_return text.code();
  FlushSpec spec;
  if (!text->empty()) {
    Decoder d(AsBytes(*text));
    d.Get(spec);
    MAYFLY_CO_TRY(d.Finish());
  }
  if (q.stop && spec.budget_ms == 0) spec.budget_ms = options_.flush_budget_ms;
  auto job = StartJob({.stop = q.stop, .flush = q.flush, .keep = q.keep}, std::move(spec));
  if (!job.ok()) co_return job.code();
  a->job = *job;
  co_return Code::kOk;
}

Task<Status> Shard::HandleFlushStatus(Request* r, const FlushStatusRequest& q, FlushStatusReply* a, ReplyPayload* out) {
  if (!MayControl(r->party())) co_return Code::kPermission;
  for (auto& job : jobs_) {
    if (job->id != q.job) continue;
    if (q.cancel && job->flush != 0) (void)flusher_->Cancel(job->flush);
    *a = job->progress;
    a->done = job->done;
    a->result = job->result;
    if (job->done) {
      out->text = job->report.substr(0, kTransferBytesMax);
      job->told = true;
    }
    co_return Code::kOk;
  }
  co_return Code::kNoEntry;
}

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
