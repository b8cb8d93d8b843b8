// Coordinator: making the directories, having the parts copied, finishing the directories.
#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "flush/coordinator_job.h"
#include "flush/follow.h"
#include "flush/offloaded.h"
#include "flush/outcome.h"
#include "flush/text.h"

namespace mayfly::flush_internal {
namespace {

constexpr Nanos kLookEvery = 500 * kMillisecond;
constexpr Nanos kStaleNanos = 3600 * kSecond;  // temporaries of a session that is no more
constexpr size_t kBatch = 64;                  // directories made in one go
constexpr uint32_t kBatchesInFlight = 4;
constexpr uint32_t kPartsMin = 64, kPartsMax = 4096;

}  // namespace

template <class T>
Task<Status> Coordinator::Patiently(Job* job, std::function<T()> work, T* value) {
  auto state = StartOffloaded<T>(context_.executor, context_.offload, std::move(work));
  while (!state->done) {
    const Nanos now = context_.executor.now();
    if (job->flush->GraceOver(now)) co_return Code::kTimedOut;
    (void)co_await state->changed.Wait(now + kLookEvery);
  }
  *value = std::move(*state->value);
  co_return Code::kOk;
}

Task<Status> Coordinator::OpenTarget(Job* job) {
  struct Opened {
    PfsStatus status;
    std::shared_ptr<PfsRoot> root;
    bool created = false;
  };
  std::function<Opened()> open = [&pfs = context_.pfs, target = job->spec.target] {
    Opened opened;
    opened.status = pfs.Open(target, true, &opened.root, &opened.created);
    return opened;
  };
  Opened opened;
  Status status = co_await Patiently<Opened>(job, std::move(open), &opened);
  if (!status.ok()) {
    Fail(job, Code::kTimedOut, fmt::format("the file system of {} did not answer in time", job->spec.target));
    co_return status;
  }
  if (!opened.status.ok()) {
    Fail(job, opened.status.code, opened.status.why);
    co_return opened.status.code;
  }
  job->target_made = opened.created;
  job->flush->root = std::move(opened.root);
  co_return Code::kOk;
}

// ---- making directories
// -----------------------------------------------------------------------------------------------

Task<Status> Coordinator::MakeAll(Job* job) {
  const auto levels = ByDepth(*job);
  for (const std::vector<uint32_t>& level : levels) {
    Semaphore window(context_.executor, kBatchesInFlight);
    Gate gate(context_.executor);
    std::vector<uint32_t> batch;
    for (size_t i = 0; i < level.size(); ++i) {
      Directory& directory = job->directories[level[i]];
      if (directory.depth != 0 && job->directories[directory.parent].lost) {
        directory.lost = true;
        if (directory.files != 0) Miss(job, directory.path + "/", directory.files);
      } else {
        batch.push_back(level[i]);
      }
      if (batch.size() < kBatch && i + 1 < level.size()) continue;
      if (batch.empty()) continue;
      co_await window.Acquire();
      gate.Spawn(MakeBatch(job, std::exchange(batch, {}), &window), "making directories");
    }
    co_await gate.Drain();
  }
  co_return Code::kOk;
}

Task<Status> Coordinator::MakeBatch(Job* job, std::vector<uint32_t> indexes, Semaphore* window) {
  struct Made {
    bool created = false;
    PfsStatus status;
  };
  using Batch = std::vector<Made>;
  auto paths = std::make_shared<std::vector<std::string>>();
  for (uint32_t index : indexes) paths->push_back(job->directories[index].path);
  std::vector<uint64_t> over;  // jobs of which nothing can be in use
  for (const auto& [id, other] : jobs_) {
    if (other->done) over.push_back(id);
  }
  const Nanos wall = context_.clock.Wall();
  std::function<Batch()> work = [root = job->flush->root, paths, over = std::move(over),
                                 before = wall > kStaleNanos ? wall - kStaleNanos : 0, new_root = job->target_made] {
    Batch batch;
    for (const std::string& path : *paths) {
      Made made;
      made.status = root->MakeDirectory(path, &made.created);
      const bool fresh = made.created || (path.empty() && new_root);
      if (made.status.ok() && !fresh) RemoveTemporaries(*root, path, over, before);
      batch.push_back(std::move(made));
    }
    return batch;
  };
  Batch batch;
  const bool stopped = job->flush->Stopped(context_.executor.now());
  Status status = stopped ? Status(Code::kTimedOut) : Status();
  if (!stopped) status = co_await Patiently<Batch>(job, std::move(work), &batch);
  for (size_t i = 0; i < indexes.size(); ++i) {
    Directory& directory = job->directories[indexes[i]];
    if (status.ok() && batch[i].status.ok()) {
      directory.made = true;
      continue;
    }
    directory.lost = true;
    if (status.ok()) {
      Fail(job, batch[i].status.code,
           fmt::format("{}/: {}; nothing in it was copied", directory.path, batch[i].status.why));
    }
    if (directory.files != 0 || !status.ok()) Miss(job, directory.path + "/", directory.files);
  }
  window->Release();
  co_return Code::kOk;
}

// ---- copying
// ----------------------------------------------------------------------------------------------------------

Task<Status> Coordinator::CopyAll(Job* job) {
  std::vector<uint32_t> order;
  for (uint32_t i = 0; i < job->directories.size(); ++i) {
    const Directory& directory = job->directories[i];
    if (directory.made && directory.files != 0) order.push_back(i);
  }
  if (job->flush->deadline != kNever) {
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return job->directories[a].newest > job->directories[b].newest; });
  }
  const uint32_t places = std::clamp(2 * context_.placement.shard_count(), kPartsMin, kPartsMax);
  Semaphore window(context_.executor, places);
  Gate gate(context_.executor);
  for (uint32_t index : order) {
    for (const auto& [shard, files] : job->directories[index].to_copy) {
      co_await window.Acquire();
      gate.Spawn(CopyPart(job, index, shard, files, &window), "copying a part of a directory");
    }
  }
  co_await gate.Drain();
  co_return Code::kOk;
}

Task<Status> Coordinator::CopyPart(Job* job, size_t index, ShardId shard, uint64_t files, Semaphore* window) {
  Part part;
  FlushPath path;
  path.target = job->spec.target;
  path.path = job->directories[index].path;
  path.pattern = job->only.empty() ? job->spec.pattern : std::string();
  path.only = job->only;
  const InodeId dir = job->directories[index].inode;
  Status status;
  std::shared_ptr<FlushWork> work;
  job->parts.insert(&part);
  // Also when the job was stopped: then nothing is copied, and the part says what there was to copy.
  if (shard == context_.self) {
    work = worker_.StartDir(job->flush, dir, path);
    part.here = work.get();
    status = co_await AwaitWork(job, work);
    part.outcome = work->outcome;
    part.here = nullptr;
  } else {
    FlushDirRequest request;
    request.job = job->id;
    request.dir = dir;
    status = co_await Follow<Method::kFlushDir>(&context_, job->flush, shard, request, path, &part.outcome);
  }
  job->parts.erase(&part);
  if (part.outcome.missing != 0) {
    uint64_t named = 0;
    (void)co_await NameTheMissing(job, index, shard, std::move(path), std::move(work), &named);
    job->directories[index].unnamed += part.outcome.missing - std::min(named, part.outcome.missing);
  }
  const FlushOutcome& outcome = part.outcome;
  Merge(&job->outcome, outcome, kReportNotes);
  const uint64_t ended = outcome.files + outcome.skipped + outcome.failed + outcome.missing;
  const bool nothing = outcome.failed != 0 && ended < files && outcome.files + outcome.skipped == 0;
  if (!status.ok() || nothing) {
    const std::string& name = job->directories[index].path;
    if (!status.ok() && !job->flush->Stopped(context_.executor.now())) {
      Fail(job, Code::kIo,
           fmt::format("{}/: {}, which holds a part of it, does not answer ({})", name, context_.book.NameOf(shard),
                       TextOf(status.code())));
    }
    Miss(job, fmt::format("{}/ (the part of {})", name, context_.book.NameOf(shard)),
         files > ended ? files - ended : 1);
  }
  window->Release();
  co_return Code::kOk;
}

Task<Status> Coordinator::NameTheMissing(Job* job, size_t index, ShardId shard, FlushPath path,
                                         std::shared_ptr<FlushWork> here, uint64_t* named) {
  FlushDirRequest request;
  request.job = job->id;
  request.dir = job->directories[index].inode;
  request.step = FlushStep::kMissing;
  for (FlushWorkReply reply; !reply.end; request.after = reply.next) {
    reply = FlushWorkReply();
    FlushMissing page;
    if (here != nullptr) {
      page = Worker::MissingOf(*here, request.after, &reply);
    } else {
      MAYFLY_CO_TRY(co_await AskForPage(shard, request, path, &reply, &page));
    }
    if (!reply.end && reply.next <= request.after) co_return Code::kCorrupt;
    for (std::string& missing : page.paths) {
      if (!AddLine(job, std::move(missing), kMissingBytesMax)) co_return Code::kOk;
      ++*named;
    }
    co_await context_.executor.Yield();
  }
  co_return Code::kOk;
}

// ---- finishing
// --------------------------------------------------------------------------------------------------------

Task<Status> Coordinator::FinishAll(Job* job) {
  const auto levels = ByDepth(*job);
  // The root of the namespace is nobody's directory: a target that was there keeps what its owner gave it.
  const bool first_too = job->only.empty() && (!job->source.empty() || job->target_made);
  for (size_t depth = levels.size(); depth-- > 0;) {
    Semaphore window(context_.executor, Flusher::kDirectoriesMax);
    Gate gate(context_.executor);
    for (uint32_t index : levels[depth]) {
      if (!job->directories[index].made || (index == 0 && !first_too)) continue;
      co_await window.Acquire();
      gate.Spawn(FinishDirectory(job, index, &window), "finishing a directory");
    }
    co_await gate.Drain();
  }
  co_return Code::kOk;
}

Task<Status> Coordinator::FinishDirectory(Job* job, size_t index, Semaphore* window) {
  const std::string path = job->directories[index].path;
  const InodeId dir = job->directories[index].inode;
  FlushOutcome outcome;
  Status status;
  if (dir.home() == context_.self && context_.is_stand_in()) {
    status = Code::kIo;
  } else if (dir.home() == context_.self) {
    std::shared_ptr<FlushWork> work = worker_.StartFile(job->flush, dir, path);
    status = co_await AwaitWork(job, work);
    outcome = work->outcome;
  } else {
    FlushFileRequest request;
    request.job = job->id;
    request.inode = dir;
    FlushPath where;
    where.target = job->spec.target;
    where.path = path;
    status =
        co_await Follow<Method::kFlushFile>(&context_, job->flush, dir.home(), request, std::move(where), &outcome);
  }
  Merge(&job->outcome, outcome, kReportNotes);
  if (!status.ok()) {
    if (!job->flush->Stopped(context_.executor.now()) && !context_.lacks(status)) {
      Fail(job, Code::kIo,
           fmt::format("{}/: {}, where it lives, does not answer ({}): its mode and times are missing", path,
                       context_.book.NameOf(dir.home()), TextOf(status.code())));
    }
    Miss(job, path + "/ (its mode, owner and times)", 1);
  }
  window->Release();
  co_return Code::kOk;
}

}  // namespace mayfly::flush_internal
