// Flushes, and the end of the session: what the root's shard leads as jobs. A job is journalled, so that the server
// that comes back after a kill takes it up where it was: other shards' work for it has gone on under the same number.
// Invariants  J1  who knows a job's number finds the job after a restart: its record goes out with the first answer.
//             J2  an outcome is recorded before anybody hears of it, client or shard; from then on it stands.
//             J3  at most one stop runs, and who asks for another one follows that.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "flush/flusher.h"
#include "server/job.h"

namespace mayfly {
namespace {

constexpr size_t kJobsKept = 16;
constexpr Nanos kToldWithin = 3 * kSecond;  // clients have so long to ask for the outcome before the servers are gone
constexpr Nanos kFollowEvery = 20 * kMillisecond;

// Lines as a JSON list; they have nothing in them that would have to be escaped.
std::string ListOf(const std::string& lines) {
  std::string list = "[";
  for (size_t at = 0; at < lines.size();) {
    const size_t end = lines.find('\n', at);
    list += fmt::format("{}\"{}\"", list.size() > 1 ? "," : "", lines.substr(at, end - at));
    at = end == std::string::npos ? lines.size() : end + 1;
  }
  return list + "]";
}

std::string ReportOf(Code result, const std::string& unsent, std::string_view flush_report, bool kept) {
  return fmt::format(R"({{"result":"{}","unsent":{},"flush":{},"kept":{}}})", TextOf(result), ListOf(unsent),
                     flush_report, kept);
}

const char* WhatIs(const JobImage& job) {
  if (!job.stop) return "a flush";
  return job.flushes ? "the end of the session, with its flush," : "the end of the session";
}

}  // namespace

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
  if (stop_job_ == nullptr) return verdict;
  verdict.ended = stop_job_->done();
  if (verdict.ended) verdict.result = stop_job_->image.result;
  verdict.resumed_of_signal = stop_job_->resumed && stop_job_->image.by_signal;
  return verdict;
}

std::string Shard::stop_report() const { return stop_job_ != nullptr ? stop_job_->image.report : std::string(); }

void Shard::RecordJob(const Job& job) {
  if (job.image.report.size() <= JobImage::kReportBytesMax) {
    log_.Record(kTagJob, job.image, job.image.encoded_bytes());
    return;
  }
  JobImage brief = job.image;
  brief.report = ReportOf(brief.result, {}, "null", false);
  log_.Record(kTagJob, brief, brief.encoded_bytes());
}

void Shard::ForgetJob(uint64_t id) {
  JobImage gone;
  gone.id = id;
  log_.Record(kTagJob, gone, gone.encoded_bytes());
}

Result<uint64_t> Shard::StartJob(JobKind kind, FlushSpec spec) {
  const auto [stop, flush, keep, by_signal] = kind;
  if (!is_root()) return Code::kInvalid;
  // Nothing outlives the servers; of those that only read, all does.
  if (keep && !log_.active() && options_.role == ShardRole::kServe) return Code::kNotSupported;
  if (stop && stop_job_ != nullptr && !stop_job_->done()) {  // J3
    if (by_signal && !std::exchange(stop_job_->image.by_signal, true)) RecordJob(*stop_job_);
    return stop_job_->image.id;
  }
  // A signal's stop is final however it went: the servers are leaving, and a second stop would hide its outcome.
  if (stop && stop_job_ != nullptr && (stop_job_->image.result == Code::kOk || stop_job_->image.by_signal)) {
    return stop_job_->image.id;
  }
  if (spec.source.empty()) spec.source = "/";
  if (flush && spec.target.empty()) spec.target = options_.flush_target;
  if (flush && (spec.target.empty() || keep)) return Code::kInvalid;
  if (jobs_.size() >= kJobsKept) {
    auto old = std::find_if(jobs_.begin(), jobs_.end(), [&](auto& j) { return j->done() && j.get() != stop_job_; });
    if (old == jobs_.end()) return Code::kBusy;
    ForgetJob((*old)->image.id);
    jobs_.erase(old);
  }
  jobs_.push_back(std::make_unique<Job>());
  Job* job = jobs_.back().get();
  job->image.id = (doors_.random.U64() >> 1) | 1;  // positive: the flusher counts on
  job->image.state = JobState::kRuns;
  job->image.stop = stop;
  job->image.flushes = flush;
  job->image.keep = keep;
  job->image.by_signal = by_signal;
  if (spec.budget_ms != 0) job->image.budget_until = wall() + spec.budget_ms * kMillisecond;
  job->image.spec = std::move(spec);
  RecordJob(*job);
  if (stop) stop_job_ = job;
  gate_.Spawn(RunJob(job), "a flush");
  return job->image.id;
}

// What the server that was killed was leading. `found_jobs_` is what its journal says.
void Shard::TakeUpJobs() {
  for (auto& [id, image] : found_jobs_) {
    const bool over = image.state == JobState::kEnded;
    if (image.stop && !options_.takes_up_stops) {
      if (!over) MAYFLY_WARN("{} was asked for before the servers were killed; ask for it again", WhatIs(image));
      ForgetJob(id);
      continue;
    }
    jobs_.push_back(std::make_unique<Job>());
    Job* job = jobs_.back().get();
    job->image = std::move(image);
    job->resumed = true;
    const bool final = over && (job->image.result == Code::kOk || job->image.by_signal);
    if (job->image.stop && (stop_job_ == nullptr || !over || final)) stop_job_ = job;
    if (!over) MAYFLY_INFO("taking up {} that was under way", WhatIs(job->image));
    if (!over && !job->image.stop) gate_.Spawn(RunJob(job), "a flush");
  }
  found_jobs_.clear();
  if (stop_job_ == nullptr) return;
  if (!stop_job_->done()) SetRefusing(true);
  gate_.Spawn(RunJob(stop_job_), "the end of the session");
}

Task<Status> Shard::RunJob(Job* job) {
  co_await executor_.Yield();  // J1
  // After a restart names may still be about to change by what was decided before; whoever is gone for good is not
  // waited for.
  const Nanos settled_by = executor_.now() + options_.peer_deadline;
  while (!settled_ && !leaving_ && executor_.now() < settled_by) co_await executor_.Sleep(kFollowEvery);
  if (!job->done() && job->image.stop) co_await RefuseAll(job);
  if (!job->done() && job->image.flushes) co_await FlushFor(job);
  if (!job->done()) EndJob(job, Code::kOk, "null");
  if (!job->image.stop) co_return Code::kOk;
  co_return co_await EndSession(job);
}

Task<void> Shard::RefuseAll(Job* job) {
  const Nanos deadline = executor_.now() + options_.peer_deadline;
  std::vector<std::string> texts(placement_.shard_count());
  std::vector<Task<Status>> tasks;
  for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
    tasks.push_back(RefuseAt(ShardId(s), true, &texts[s], deadline));
  }
  for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
    auto& task = tasks[s];
    Status status = co_await task;
    job->unsent += texts[s];
    if (status.ok()) continue;
    // A member that cannot be told is gone; what it held will show as missing in the flush. Where servers come back it
    // may be there for the flush, and nobody has been asked to send what it is to get.
    MAYFLY_WARN("{} does not take part in the end of the session", book_.NameOf(ShardId(s)));
    if (job->image.flushes && options_.durability != Durability::kNone) {
      job->unsent +=
          fmt::format("{} did not answer when the session began to end: programs may have unsent data of it\n",
                      book_.NameOf(ShardId(s)));
    }
  }
}

// A member has come back: what it knows of it may be old.
Task<Status> Shard::TellWhetherStopping(ShardId shard) {
  std::string unsent;
  MAYFLY_CO_TRY(co_await RefuseAt(shard, refusing_, &unsent, executor_.now() + options_.peer_deadline));
  if (stop_job_ != nullptr && !stop_job_->done()) stop_job_->unsent += unsent;
  co_return Code::kOk;
}

Task<void> Shard::FlushFor(Job* job) {
  FlushSpec spec = job->image.spec;
  if (job->image.budget_until != 0) {
    const Nanos now = wall();
    const Nanos left = job->image.budget_until > now ? (job->image.budget_until - now) / kMillisecond : 0;
    spec.budget_ms = static_cast<uint32_t>(std::max<Nanos>(left, 1));
  }
  const uint64_t id = job->image.id;
  const auto started = flusher_->Start(std::move(spec), id);
  if (!started.ok()) {
    MAYFLY_ERROR("a flush of the session to the directory that was named could not be started ({})",
                 TextOf(started.code()));
    EndJob(job, started.code(), "null");
    co_return;
  }
  while (!job->done()) {  // FlushEnded
    auto now = flusher_->StatusOf(id);
    if (!now.ok()) {
      EndJob(job, now.code(), "null");
      break;
    }
    job->progress = *now;
    co_await executor_.Sleep(kFollowEvery);
  }
}

// Before other shards are told (J2).
void Shard::FlushEnded(uint64_t id, Code result, const std::string& report) {
  for (auto& job : jobs_) {
    if (job->image.id != id || job->done()) continue;
    if (auto last = flusher_->StatusOf(id); last.ok()) job->progress = *last;
    EndJob(job.get(), result, report.empty() ? "null" : report);
  }
}

void Shard::EndJob(Job* job, Code result, std::string_view flush_report) {
  JobImage& image = job->image;
  if (!job->unsent.empty() && result == Code::kOk) result = Code::kIo;  // what was not sent is not in the PFS
  image.state = JobState::kEnded;
  image.result = result;
  image.report = ReportOf(result, job->unsent, flush_report, (image.keep && result == Code::kOk) || is_degraded());
  RecordJob(*job);  // J2
}

// What comes of a stop once its outcome stands.
Task<Status> Shard::EndSession(Job* job) {
  const bool done = job->image.result == Code::kOk;
  // What was not flushed of a degraded session stays where it is, and nothing about it can be mended while it is
  // served.
  if (!done && !job->image.by_signal && !is_degraded()) {
    // The session goes on: whoever stopped it can look, mend and stop it again.
    const Nanos deadline = executor_.now() + options_.peer_deadline;
    for (uint32_t s = 0; s < placement_.shard_count(); ++s) {
      std::string nothing;
      (void)co_await RefuseAt(ShardId(s), false, &nothing, deadline);
    }
    co_return Code::kOk;
  }
  const Nanos until = executor_.now() + kToldWithin;
  while (!job->told && !job->image.by_signal && executor_.now() < until) co_await executor_.Sleep(kFollowEvery);
  co_return co_await LeaveAll(job->image.keep && done);
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
  // No suspension until the answer: the job and that it was asked for are one record (J1).
  auto job = StartJob({.stop = q.stop, .flush = q.flush, .keep = q.keep}, std::move(spec));
  if (!job.ok()) co_return job.code();
  a->job = *job;
  co_return Code::kOk;
}

Task<Status> Shard::HandleFlushStatus(Request* r, const FlushStatusRequest& q, FlushStatusReply* a, ReplyPayload* out) {
  if (!MayControl(r->party())) co_return Code::kPermission;
  for (auto& job : jobs_) {
    if (job->image.id != q.job) continue;
    if (q.cancel && !job->done()) (void)flusher_->Cancel(q.job);
    *a = job->progress;
    a->done = job->done();
    a->result = job->image.result;
    if (job->done()) {
      out->text = job->image.report.substr(0, kTransferBytesMax);
      job->told = true;
    }
    co_return Code::kOk;
  }
  co_return Code::kNoEntry;
}

}  // namespace mayfly
