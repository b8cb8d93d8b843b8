#include "flush/coordinator.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "flush/coordinator_job.h"
#include "flush/outcome.h"
#include "flush/text.h"

namespace mayfly::flush_internal {
namespace {

constexpr size_t kDirectoryBytesMax = 4095;
constexpr size_t kPatternBytesMax = 4096;

// "/a//b/" as "a/b".
std::string PlainSource(const std::string& source) {
  std::string plain;
  for (char c : source) {
    if (c != '/' || (!plain.empty() && plain.back() != '/')) plain += c;
  }
  if (!plain.empty() && plain.back() == '/') plain.pop_back();
  return plain;
}

}  // namespace

Coordinator::Coordinator(FlushContext* context, Worker* worker)
    : context_(*context), worker_(*worker), last_id_(context->clock.Wall() / kMicrosecond) {}

Coordinator::~Coordinator() = default;

Result<uint64_t> Coordinator::Start(FlushSpec spec, uint64_t id) {
  if (closed_) return Code::kShutdown;
  if (id >> 63 != 0 || jobs_.contains(id)) return Code::kInvalid;
  while (spec.target.size() > 1 && spec.target.back() == '/') spec.target.pop_back();
  const std::string source = PlainSource(spec.source);
  if (!IsPlainPath(source) || spec.target.empty() || spec.target[0] != '/' ||
      spec.target.find('\0') != std::string::npos || spec.target.size() > kDirectoryBytesMax ||
      spec.pattern.size() > kPatternBytesMax || spec.pattern.find('\0') != std::string::npos) {
    return Code::kInvalid;
  }
  if (jobs_.size() >= Flusher::kReportsMax) {
    auto old = std::find_if(jobs_.begin(), jobs_.end(), [](const auto& entry) { return entry.second->done; });
    if (old == jobs_.end()) return Code::kBusy;
    jobs_.erase(old);
  }
  const Nanos now = context_.executor.now();
  auto owned = std::make_unique<Job>(context_.executor);
  Job* job = owned.get();
  job->id = id != 0 ? id : ++last_id_;
  job->source = source;
  job->began = now;
  job->flush = worker_.AddJob(job->id, spec.target, spec.budget_ms == 0 ? kNever : now + spec.budget_ms * kMillisecond);
  job->spec = std::move(spec);
  const uint64_t number = job->id;
  jobs_[number] = std::move(owned);
  worker_.gate().Spawn(Run(job), "a flush");
  return number;
}

Coordinator::Job* Coordinator::Find(uint64_t id) const {
  auto found = jobs_.find(id);
  return found == jobs_.end() ? nullptr : found->second.get();
}

Result<FlushStatusReply> Coordinator::StatusOf(uint64_t id) const {
  const Job* job = Find(id);
  if (job == nullptr) return Code::kNoEntry;
  FlushStatusReply status;
  const auto add = [&](const FlushOutcome& outcome) {
    status.files_done += outcome.files + outcome.skipped + outcome.failed;
    status.bytes_done += outcome.progress_bytes;
  };
  add(job->outcome);
  for (const Part* part : job->parts) {
    add(part->here != nullptr ? part->here->outcome : part->outcome);
    if (part->here != nullptr) status.bytes_done += part->here->ProgressBytes() - part->here->outcome.progress_bytes;
  }
  status.files_total = std::max(job->files_total, status.files_done);
  status.bytes_total = std::max(job->bytes_total, status.bytes_done);
  status.done = job->done;
  status.result = job->result;
  return status;
}

Status Coordinator::Cancel(uint64_t id) {
  Job* job = Find(id);
  if (job == nullptr) return Code::kNoEntry;
  if (!job->done) job->flush->Cancel(context_.executor.now());
  return Code::kOk;
}

Result<std::string> Coordinator::ReportOf(uint64_t id) const {
  const Job* job = Find(id);
  if (job == nullptr) return Code::kNoEntry;
  return job->report;
}

Task<Status> Coordinator::Wait(uint64_t id, Nanos deadline) {
  for (;;) {
    Job* job = Find(id);
    if (job == nullptr) co_return Code::kNoEntry;
    if (job->done) co_return job->result;
    Status waited = co_await job->changed.Wait(deadline);
    if (!waited.ok()) co_return waited;
  }
}

bool Coordinator::busy() const {
  return std::any_of(jobs_.begin(), jobs_.end(), [](const auto& entry) { return !entry.second->done; });
}

void Coordinator::Close() {
  closed_ = true;
  for (auto& [id, job] : jobs_) {
    if (!job->done) job->flush->Cancel(context_.executor.now());
  }
}

// ---- a job
// ------------------------------------------------------------------------------------------------------------

Task<Status> Coordinator::Run(Job* job) {
  (void)co_await RunSteps(job);
  Conclude(job);
  if (context_.ended) context_.ended(job->id, job->result, job->report);
  worker_.EndJob(job->id);
  worker_.gate().Spawn(TellTheEnd(job->id), "telling the end of a flush");
  job->done = true;
  job->changed.WakeAll();
  co_return Code::kOk;
}

Task<Status> Coordinator::RunSteps(Job* job) {
  MAYFLY_CO_TRY(co_await FindSource(job));
  MAYFLY_CO_TRY(co_await OpenTarget(job));
  MAYFLY_CO_TRY(co_await ListAll(job));
  MarkWanted(job);
  MAYFLY_CO_TRY(co_await MakeAll(job));
  MAYFLY_CO_TRY(co_await CopyAll(job));
  co_return co_await FinishAll(job);
}

void Coordinator::Conclude(Job* job) {
  FlushOutcome& outcome = job->outcome;
  Code result = outcome.result == Code::kCorrupt ? Code::kIo : outcome.result;
  if (outcome.missing != 0 && job->flush->Stopped(context_.executor.now())) {
    // At the end of the budget peers have the work that they follow here cancelled.
    const bool interrupted = job->flush->cancelled && job->flush->cancelled_at < job->flush->deadline;
    result = Graver(result, interrupted ? Code::kInterrupted : Code::kTimedOut);
  }
  if (outcome.missing != 0 && result == Code::kOk) result = Code::kIo;
  job->result = result;
  uint64_t made = 0;
  for (const Directory& directory : job->directories) made += directory.made;
  ReportFacts facts;
  facts.result = result == Code::kOk ? "ok" : TextOf(result);
  facts.source = "/" + job->source;
  facts.target = job->spec.target;
  facts.outcome = &outcome;
  facts.directories = made;
  facts.seconds = static_cast<double>(context_.executor.now() - job->began) / kSecond;
  facts.verified = result == Code::kOk;
  for (const Directory& directory : job->directories) {
    if (directory.unnamed == 0) continue;
    job->missing_cut += directory.unnamed;
    AddLine(job, fmt::format("{}/ ({} more files)", directory.path, directory.unnamed),
            kMissingBytesMax + kLinesBytesMax);
  }
  std::sort(job->missing.begin(), job->missing.end());
  facts.missing = &job->missing;
  facts.missing_cut = job->missing_cut;
  job->report = ReportJson(facts);
  Log(result == Code::kOk ? LogLevel::kInfo : LogLevel::kWarn,
      "flush of /{} to {}: {}; {} files and {} bytes written and verified, {} there already, {} failed, {} missing, {} "
      "attributes refused",
      Printable(job->source), Printable(job->spec.target), facts.result, outcome.files, outcome.bytes, outcome.skipped,
      outcome.failed, outcome.missing, outcome.refused);
  // What was needed to get here is needed no more; the report stays.
  job->directories = std::vector<Directory>();
  job->outcome.notes = std::vector<FlushNote>();
  job->missing = std::vector<std::string>();
}

void Coordinator::Fail(Job* job, Code code, std::string why) {
  ++job->outcome.failed;
  job->outcome.result = Graver(job->outcome.result, code);
  AddNote(&job->outcome, FlushNoteKind::kFailed, std::move(why), kReportNotes);
}

void Coordinator::Miss(Job* job, std::string what, uint64_t files) {
  files = std::max<uint64_t>(files, 1);
  job->outcome.missing += files;
  if (!AddLine(job, std::move(what), kMissingBytesMax + kLinesBytesMax)) job->missing_cut += files;
}

bool Coordinator::AddLine(Job* job, std::string line, size_t bytes_max) {
  const std::string shown = Printable(line);
  const auto escaped = [](char c) { return c == '\\' || c == '"'; };
  const size_t bytes = shown.size() + static_cast<size_t>(std::count_if(shown.begin(), shown.end(), escaped)) + 3;
  if (job->missing_bytes + bytes > bytes_max) return false;
  job->missing_bytes += bytes;
  job->missing.push_back(std::move(line));
  return true;
}

Task<Status> Coordinator::AwaitWork(Job* job, std::shared_ptr<FlushWork> work) {
  constexpr Nanos kLookEvery = 500 * kMillisecond;
  while (!work->done) {
    const Nanos now = context_.executor.now();
    if (job->flush->GraceOver(now)) co_return Code::kTimedOut;
    (void)co_await work->changed.Wait(now + kLookEvery);
  }
  co_return Code::kOk;
}

// Frees what the other shards keep for the job, and ends what they could not be asked about in time.
Task<Status> Coordinator::TellTheEnd(uint64_t id) {
  constexpr uint32_t kInFlight = 64;
  Semaphore window(context_.executor, kInFlight);
  Gate gate(context_.executor);
  for (uint32_t s = 0; s < context_.placement.shard_count() && !closed_; ++s) {
    const ShardId shard(s);
    if (shard == context_.self || context_.caller.Unreachable(shard)) continue;
    co_await window.Acquire();
    gate.Spawn(TellTheEndTo(shard, id, &window), "telling the end of a flush");
  }
  co_await gate.Drain();
  co_return Code::kOk;
}

Task<Status> Coordinator::TellTheEndTo(ShardId shard, uint64_t id, Semaphore* window) {
  FlushDirRequest request;
  request.job = id;
  request.step = FlushStep::kEnd;
  FlushWorkReply reply;
  std::vector<uint8_t> received(kOutcomeBytesMax);
  CallOptions options;
  options.deadline = context_.executor.now() + 3 * kSecond;
  options.reply_payload = received;
  // Best effort: a shard that does not hear of it ends the job when it is not asked any more.
  (void)co_await context_.caller.Call<Method::kFlushDir>(shard, request, &reply, options);
  window->Release();
  co_return Code::kOk;
}

}  // namespace mayfly::flush_internal
