#include "server/stage_board.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "wire/stage_targets.h"

namespace mayfly {
namespace {

uint64_t BytesOf(const StageItem& item) {
  uint64_t bytes = sizeof item + item.path.size();
  for (const std::string& name : item.names) bytes += sizeof name + name.size();
  return bytes;
}

uint32_t DepthOf(const std::string& path) {
  return path.empty() ? 0 : 1 + static_cast<uint32_t>(std::count(path.begin(), path.end(), '/'));
}

}  // namespace

StageBoard::Job* StageBoard::Find(uint64_t id) {
  auto it = std::find_if(jobs_.begin(), jobs_.end(), [&](const auto& job) { return job->id == id; });
  return it == jobs_.end() ? nullptr : it->get();
}
const StageBoard::Job* StageBoard::Find(uint64_t id) const { return const_cast<StageBoard*>(this)->Find(id); }

Status StageBoard::Open(uint64_t id, StageSpec spec, ClientId command, uint32_t uid, std::vector<Invited> invited,
                        bool held) {
  for (const auto& job : jobs_) {
    if (job->over) continue;
    if (TargetsMeet(job->spec.target, spec.target)) return Code::kBusy;  // B5
  }
  if (jobs_.size() >= kJobsMax) {
    auto old = std::find_if(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->over; });
    if (old == jobs_.end()) return Code::kBusy;
    jobs_.erase(old);
  }
  auto job = std::make_unique<Job>();
  job->id = id;
  job->command = command;
  job->uid = uid;
  job->patient = !invited.empty();
  job->held = held && !invited.empty();
  job->workers[kCommand].state = Worker::State::kTakesPart;
  for (Invited& one : invited) job->workers[one.worker].host = std::move(one.host);
  StageItem root;
  root.facts = spec.facts;
  root.names.emplace_back();
  job->spec = std::move(spec);
  Push(job.get(), {std::move(root)});
  jobs_.push_back(std::move(job));
  return Code::kOk;
}

Status StageBoard::MayUse(uint64_t id, uint32_t uid) const {
  const Job* job = Find(id);
  return job != nullptr && (uid == 0 || job->uid == uid) ? Code::kOk : Code::kNoEntry;
}

// ---- queues ---------------------------------------------------------------------------------------------------------

void StageBoard::Push(Job* job, Queued piece) {
  if (piece.what.command_only) {
    job->own.push_back(std::move(piece));
    return;
  }
  switch (piece.what.kind) {
    case StageKind::kDirectory:
      job->directories.push_front(std::move(piece));  // depth first: the queue stays short
      return;
    case StageKind::kEntries:
      job->queued_bytes += BytesOf(piece.what);
      job->entries.push_back(std::move(piece));
      return;
    case StageKind::kFile:
    case StageKind::kRange:
    case StageKind::kFileEnd:
    case StageKind::kDirectoryEnds:
      job->again.push_back(std::move(piece));
      return;
  }
}

// What is begun is finished first: ranges keep all busy while there are any, instead of at the end alone.
bool StageBoard::PopGeneral(Job* job, Queued* piece) {
  const auto pop = [piece](std::deque<Queued>* queue) {
    if (queue->empty()) return false;
    *piece = std::move(queue->front());
    queue->pop_front();
    return true;
  };
  if (pop(&job->again)) return true;
  if (!job->ranges.empty()) {
    const uint64_t id = job->ranges.front();
    Large& large = job->larges.at(id);
    piece->large = id;
    piece->what = large.file;
    piece->what.kind = StageKind::kRange;
    piece->what.begin = large.next;
    piece->what.end = std::min(large.next + large.file.end, large.file.facts.size);
    large.next = piece->what.end;
    ++large.out;
    if (large.next == large.file.facts.size) job->ranges.pop_front();
    return true;
  }
  if (pop(&job->entries)) {
    job->queued_bytes -= BytesOf(piece->what);
    return true;
  }
  return pop(&job->directories);
}

size_t StageBoard::General(const Job& job) {
  size_t ranges = 0;
  for (uint64_t id : job.ranges) {
    const Large& large = job.larges.at(id);
    ranges += (large.file.facts.size - large.next + large.file.end - 1) / large.file.end;
  }
  return job.again.size() + ranges + job.entries.size() + job.directories.size();
}

bool StageBoard::CommandHelps(const Job& job) {  // B6
  for (const auto& [number, worker] : job.workers) {
    if (number == kCommand) continue;
    if (worker.state == Worker::State::kTakesPart) return false;
    if (worker.state == Worker::State::kInvited && job.patient) return false;
  }
  return true;
}

size_t StageBoard::Takeable(uint64_t id, bool servers) const {
  const Job* job = Find(id);
  if (job == nullptr || job->held || job->out.size() >= job->spec.streams) return 0;
  size_t pieces = servers ? 0 : job->own.size();
  if (servers || CommandHelps(*job)) pieces += General(*job);
  return std::min<size_t>(pieces, job->spec.streams - job->out.size());  // B2
}

bool StageBoard::EveryoneCame(uint64_t id) const {
  const Job* job = Find(id);
  if (job == nullptr) return true;
  return std::none_of(job->workers.begin(), job->workers.end(),
                      [](const auto& one) { return one.second.state == Worker::State::kInvited; });
}

bool StageBoard::IsOver(uint64_t id) const {
  const Job* job = Find(id);
  return job == nullptr || job->over || job->cancelled;
}

void StageBoard::StopWaiting(uint64_t id) {
  if (Job* job = Find(id)) job->patient = false;
}

void StageBoard::Release(uint64_t id) {
  if (Job* job = Find(id)) job->held = false;
}

void StageBoard::Refuse(uint64_t id, std::string sentence) {
  Job* job = Find(id);
  if (job == nullptr || job->over) return;
  Failed(job, 1, std::move(sentence));
  Cancel(id);
}

Result<StageBoard::Piece> StageBoard::Take(uint64_t id, uint32_t number, ClientId process) {
  Job* job = Find(id);
  if (job == nullptr || !job->workers.contains(number)) return Code::kNoEntry;
  Worker& worker = job->workers[number];
  if (worker.state == Worker::State::kGone) return Code::kNoEntry;  // what it had was given up (B4)
  worker.state = Worker::State::kTakesPart;
  worker.process = process;
  Piece piece;
  piece.over = job->over || job->cancelled;
  piece.full = job->queued_bytes >= kQueuedBytesMax;
  const bool server = number != kCommand;
  if (piece.over || Takeable(id, server) == 0) return piece;
  Queued next;
  if (!server && !job->own.empty()) {
    next = std::move(job->own.front());
    job->own.pop_front();
  } else {
    MAYFLY_CHECK(PopGeneral(job, &next));
  }
  piece.item = ++job->last;
  piece.what = next.what;
  job->out[piece.item] = {std::move(next), number};  // B1
  piece.waiting = static_cast<uint32_t>(std::min<size_t>(Takeable(id, server), ~uint32_t{0}));
  return piece;
}

// ---- what comes back ------------------------------------------------------------------------------------------------

void StageBoard::Failed(Job* job, uint64_t entries, std::string sentence) {
  job->counts.failed += entries;
  if (job->failures.size() < kFailuresMax) job->failures.push_back(std::move(sentence));
}

Status StageBoard::PutIn(uint64_t id, uint32_t number, StageReport report) {
  Job* job = Find(id);
  if (job == nullptr || !job->workers.contains(number)) return Code::kNoEntry;
  job->counts += report.counts;
  job->workers[number].counts += report.counts;
  for (std::string& failure : report.failures) Failed(job, 0, std::move(failure));
  if (job->cancelled || job->over) return Code::kOk;
  for (StageItem& item : report.found) {
    if (item.kind != StageKind::kFile) {
      if (item.kind == StageKind::kDirectory || item.kind == StageKind::kEntries) Push(job, {std::move(item)});
      continue;
    }
    if (item.end == 0 || item.facts.size == 0) continue;
    const uint64_t large = ++job->last;
    item.command_only = false;  // others see the same file, or they decline
    job->larges[large].file = std::move(item);
    job->ranges.push_back(large);
  }
  return Code::kOk;
}

// B3
void StageBoard::EndRange(Job* job, uint64_t id, bool done) {
  Large& large = job->larges.at(id);
  --large.out;
  if (!done && !large.failed) {
    large.failed = true;
    ++job->counts.failed;
    std::erase(job->ranges, id);
  }
  if (large.out != 0 || (!large.failed && large.next != large.file.facts.size)) return;
  if (!large.failed) {
    Queued end;
    end.what = std::move(large.file);
    end.what.kind = StageKind::kFileEnd;
    Push(job, std::move(end));
  }
  job->larges.erase(id);
}

void StageBoard::Ended(Job* job, Out out, StageEnd end) {
  StageItem& what = out.piece.what;
  if (job->cancelled) return;
  switch (end) {
    case StageEnd::kDeclined:
      what.command_only = true;
      Push(job, std::move(out.piece));
      return;
    case StageEnd::kStopped:
      Push(job, std::move(out.piece));
      return;
    case StageEnd::kDone:
    case StageEnd::kFailed:
      break;
  }
  const bool done = end == StageEnd::kDone;
  if (what.kind == StageKind::kRange) EndRange(job, out.piece.large, done);
  if (what.kind == StageKind::kDirectory && done) {
    job->endings[DepthOf(what.path)].push_back({std::move(what.path), what.facts, what.command_only});
  }
}

Status StageBoard::GiveBack(uint64_t id, uint32_t worker, uint64_t item, StageEnd end) {
  Job* job = Find(id);
  if (job == nullptr) return Code::kNoEntry;
  auto it = job->out.find(item);
  if (it == job->out.end() || it->second.worker != worker) return Code::kNoEntry;
  Out out = std::move(it->second);
  job->out.erase(it);
  Ended(job, std::move(out), end);
  Advance(job);
  return Code::kOk;
}

Status StageBoard::Decline(uint64_t id, uint32_t worker) {
  Job* job = Find(id);
  if (job == nullptr || !job->workers.contains(worker)) return Code::kNoEntry;
  Worker& one = job->workers[worker];
  if (one.state == Worker::State::kInvited) one.state = Worker::State::kDeclined;
  if (one.state == Worker::State::kTakesPart) Lose(job, worker);
  return Code::kOk;
}

void StageBoard::Advance(Job* job) {
  if (job->over || !job->out.empty()) return;
  if (!job->cancelled && (General(*job) != 0 || !job->own.empty())) return;
  if (job->cancelled || job->endings.empty()) {
    job->over = true;
    for (auto* queue : {&job->again, &job->entries, &job->directories, &job->own}) queue->clear();
    return;
  }
  const auto deepest = std::prev(job->endings.end());
  Queued piece[2];  // for anybody, for the command
  size_t bytes[2] = {0, 0};
  const auto push = [&](bool own) {
    if (piece[own].what.names.empty()) return;
    piece[own].what.kind = StageKind::kDirectoryEnds;
    piece[own].what.command_only = own;
    Push(job, std::exchange(piece[own], {}));
    bytes[own] = 0;
  };
  for (Ending& ending : deepest->second) {
    const bool own = ending.command_only;
    bytes[own] += ending.path.size();
    piece[own].what.names.push_back(std::move(ending.path));
    piece[own].what.seen.push_back(ending.facts);
    if (piece[own].what.names.size() >= kBatchMax || bytes[own] >= kPieceBytesMax) push(own);
  }
  push(false);
  push(true);
  job->endings.erase(deepest);
}

// ---- ends -----------------------------------------------------------------------------------------------------------

void StageBoard::Cancel(uint64_t id) {
  Job* job = Find(id);
  if (job == nullptr || job->over) return;
  job->cancelled = true;
  Advance(job);
}

void StageBoard::Lose(Job* job, uint32_t number) {  // B4
  Worker& worker = job->workers[number];
  worker.state = Worker::State::kGone;
  for (auto it = job->out.begin(); it != job->out.end();) {
    if (it->second.worker != number) {
      ++it;
      continue;
    }
    Out out = std::move(it->second);
    it = job->out.erase(it);
    const StageItem& what = out.piece.what;
    const bool counted = what.kind == StageKind::kRange;  // by EndRange
    const uint64_t entries = counted ? 0 : std::max<uint64_t>(1, what.names.size());
    const std::string who = number == kCommand ? "the command" : "the server on " + worker.host;
    Failed(job, entries,
           fmt::format("{}/{}: {} that was copying it has gone; run the same command again: it continues",
                       job->spec.source, what.path, who));
    Ended(job, std::move(out), StageEnd::kFailed);
  }
  Advance(job);
}

void StageBoard::Gone(ClientId process) {
  for (const auto& job : jobs_) {
    if (job->over) continue;
    if (job->command == process) job->cancelled = true;
    std::vector<uint32_t> gone;
    for (const auto& [number, worker] : job->workers) {
      if (worker.state == Worker::State::kTakesPart && worker.process == process) gone.push_back(number);
    }
    for (uint32_t number : gone) Lose(job.get(), number);
    Advance(job.get());
  }
}

Status StageBoard::StatusOf(uint64_t id, StageStatusReply* status, StageSummary* summary) const {
  const Job* job = Find(id);
  if (job == nullptr) return Code::kNoEntry;
  status->counts = job->counts;
  status->done = job->over;
  status->cancelled = job->cancelled;
  for (const auto& [number, worker] : job->workers) {
    if (number != kCommand && worker.state == Worker::State::kTakesPart) ++status->working;
  }
  if (!job->over) return Code::kOk;
  for (const auto& [number, worker] : job->workers) {
    const StageCounts& counts = worker.counts;
    if (counts.files_done == 0 && counts.bytes_done == 0 && counts.failed == 0) continue;
    summary->shares.push_back({number, worker.host, counts});
  }
  summary->failures = job->failures;
  return Code::kOk;
}

std::vector<uint64_t> StageBoard::Running() const {
  std::vector<uint64_t> ids;
  for (const auto& job : jobs_) {
    if (!job->over) ids.push_back(job->id);
  }
  return ids;
}

}  // namespace mayfly
