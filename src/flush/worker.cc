#include "flush/worker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checksum.h"
#include "flush/follow.h"
#include "flush/offloaded.h"
#include "flush/outcome.h"
#include "flush/text.h"

namespace mayfly::flush_internal {
namespace {

constexpr Nanos kSweepEvery = 10 * kSecond;
constexpr size_t kEndedMax = 64;
constexpr Nanos kKeepDone = 30 * kSecond;  // an answer that got lost is asked for again well before

bool IsSound(const FlushPath& path) {
  return !path.target.empty() && path.target[0] == '/' && path.target.find('\0') == std::string::npos &&
         IsPlainPath(path.path) && path.pattern.find('\0') == std::string::npos &&
         (path.only.empty() || (IsPlainPath(path.only) && path.only.find('/') == std::string::npos));
}

template <class T>
std::string Encoded(const T& message, size_t bytes_max) {
  std::string out(bytes_max, '\0');
  Encoder e(MutableBytes(reinterpret_cast<uint8_t*>(out.data()), out.size()));
  e.Put(message);
  MAYFLY_CHECK(e.ok());  // lists are cut before
  out.resize(e.size());
  return out;
}

}  // namespace

Worker::Worker(FlushContext* context)
    : context_(*context), copier_(context), gate_(context->executor), tick_(context->executor) {}

// ---- requests of peers ----------------------------------------------------------------------------------------------

Task<Status> Worker::ServeDir(FlushDirRequest request, std::string payload, FlushWorkReply* reply, std::string* out) {
  if (closed_) co_return Code::kShutdown;
  if (request.step == FlushStep::kEnd) {
    EndJob(request.job);
    if (ended_.size() == kEndedMax) ended_.pop_front();
    ended_.push_back(request.job);
    *out = Encoded(FlushOutcome(), kOutcomeBytesMax);
    co_return Code::kOk;
  }
  if (request.step == FlushStep::kCopy) {
    co_return co_await Serve(Kind::kDir, request.job, request.dir, request.cancel, request.budget_left_ms,
                             std::move(payload), reply, out);
  }
  FlushPath path;
  Decoder d(AsBytes(payload));
  d.Get(path);
  MAYFLY_CO_TRY(d.Finish());
  if (!IsSound(path)) co_return Code::kInvalid;
  if (request.step == FlushStep::kList) {
    *out = Encoded(List(request, path, reply), kPageBytesMax);
    co_return Code::kOk;
  }
  auto work = works_.find(KeyOf(Kind::kDir, request.job, request.dir, path));
  if (work == works_.end() || !work->second->done) co_return Code::kNoEntry;
  *out = Encoded(MissingOf(*work->second, request.after, reply), kPageBytesMax);
  co_return Code::kOk;
}

FlushMissing Worker::MissingOf(const FlushWork& work, uint64_t after, FlushWorkReply* reply) {
  FlushMissing page;
  size_t bytes = sizeof(uint32_t);
  reply->next = after;
  while (reply->next < work.missing.size()) {
    const std::string& path = work.missing[reply->next];
    bytes += sizeof(uint32_t) + path.size();
    if (bytes > kPageBytesMax) break;
    page.paths.push_back(path);
    ++reply->next;
  }
  reply->end = reply->next >= work.missing.size();
  return page;
}

Worker::Key Worker::KeyOf(Kind kind, uint64_t job, InodeId inode, const FlushPath& path) {
  const std::string& named = path.only.empty() ? path.path : path.only;
  return Key(job, kind, inode.value, Hash64(AsBytes(named), path.only.size()));
}

Task<Status> Worker::ServeFile(FlushFileRequest request, std::string payload, FlushWorkReply* reply, std::string* out) {
  return Serve(Kind::kFile, request.job, request.inode, request.cancel, 0, std::move(payload), reply, out);
}

Task<Status> Worker::ServeChunks(FlushFileRequest request, std::string payload, FlushWorkReply* reply,
                                 std::string* out) {
  return Serve(Kind::kChunks, request.job, request.inode, request.cancel, 0, std::move(payload), reply, out);
}

Task<Status> Worker::Serve(Kind kind, uint64_t id, InodeId inode, bool cancel, uint32_t budget_left_ms,
                           std::string payload, FlushWorkReply* reply, std::string* out) {
  if (closed_) co_return Code::kShutdown;
  FlushPath path;
  Decoder d(AsBytes(payload));
  d.Get(path);
  MAYFLY_CO_TRY(d.Finish());
  if (!IsSound(path)) co_return Code::kInvalid;
  if (std::find(ended_.begin(), ended_.end(), id) != ended_.end()) co_return Code::kInterrupted;
  const Nanos now = context_.executor.now();
  std::shared_ptr<FlushJob> job = FindOrMakeJob(id, path.target);
  if (job->target != path.target) co_return Code::kInvalid;
  if (job->abandoned && !cancel) {
    // Its coordinator is back, and what was cancelled meanwhile is begun anew; what of it still runs puts only whole
    // files in place, under names of its own before.
    EndJob(id);
    job = FindOrMakeJob(id, path.target);
  }
  job->asked_at = now;
  if (budget_left_ms != 0) job->deadline = std::min(job->deadline, now + budget_left_ms * kMillisecond);
  if (cancel) job->Cancel(now);
  std::shared_ptr<FlushWork> work = Begin(kind, job, inode, std::move(path));
  const Nanos until = now + Flusher::kHoldNanos;
  while (!work->done && !closed_ && (co_await work->changed.Wait(until)).ok()) {
  }
  if (closed_) co_return Code::kShutdown;
  reply->running = !work->done;
  FlushOutcome outcome = work->outcome;
  outcome.progress_bytes = work->ProgressBytes();
  *out = Encoded(outcome, kOutcomeBytesMax);
  co_return Code::kOk;
}

// ---- jobs and work
// ----------------------------------------------------------------------------------------------------

std::shared_ptr<FlushJob> Worker::AddJob(uint64_t id, std::string target, Nanos deadline) {
  std::shared_ptr<FlushJob> job = FindOrMakeJob(id, target);
  job->coordinated_here = true;
  job->deadline = deadline;
  return job;
}

std::shared_ptr<FlushJob> Worker::FindOrMakeJob(uint64_t id, const std::string& target) {
  std::shared_ptr<FlushJob>& job = jobs_[id];
  if (job == nullptr) {
    job = std::make_shared<FlushJob>(context_.executor);
    job->id = id;
    job->target = target;
    job->asked_at = context_.executor.now();
    if (!janitor_running_) {
      janitor_running_ = true;
      gate_.Spawn(Janitor(), "looking after flushes");
    }
  }
  return job;
}

std::shared_ptr<FlushWork> Worker::Begin(Kind kind, std::shared_ptr<FlushJob> job, InodeId inode, FlushPath path) {
  std::shared_ptr<FlushWork>& work = works_[KeyOf(kind, job->id, inode, path)];
  if (work != nullptr) return work;
  work = std::make_shared<FlushWork>(context_.executor);
  work->job = std::move(job);
  ++work->job->running;
  std::shared_ptr<FlushWork> begun = work;  // the map may grow while it runs
  gate_.Spawn(Run(kind, inode, std::move(path), begun), "flushing");
  return begun;
}

std::shared_ptr<FlushWork> Worker::StartDir(std::shared_ptr<FlushJob> job, InodeId dir, FlushPath path) {
  return Begin(Kind::kDir, std::move(job), dir, std::move(path));
}

std::shared_ptr<FlushWork> Worker::StartFile(std::shared_ptr<FlushJob> job, InodeId inode, std::string path) {
  FlushPath p;
  p.target = job->target;
  p.path = std::move(path);
  return Begin(Kind::kFile, std::move(job), inode, std::move(p));
}

Task<Status> Worker::Run(Kind kind, InodeId inode, FlushPath path, std::shared_ptr<FlushWork> work) {
  Status opened = co_await OpenTarget(work->job);
  if (!opened.ok()) {
    AddFailure(&work->outcome, opened.code(),
               fmt::format("on {}: {}", context_.book.NameOf(context_.self), work->job->open_status.why));
  } else if (kind == Kind::kDir) {
    (void)co_await RunDir(inode, std::move(path), work);
  } else if (kind == Kind::kFile) {
    (void)co_await copier_.Copy(inode, std::move(path.path), true, work);
  } else {
    (void)co_await copier_.WriteChunks(inode, std::move(path.path), work);
  }
  work->done = true;
  work->done_at = context_.executor.now();
  --work->job->running;
  work->changed.WakeAll();
  co_return Code::kOk;
}

// Each shard opens the target by itself: that its node sees it is not a matter of course.
Task<Status> Worker::OpenTarget(std::shared_ptr<FlushJob> job) {
  while (job->opening) (void)co_await job->changed.Wait(kNever);
  if (job->root != nullptr) co_return Code::kOk;
  job->opening = true;
  struct Opened {
    PfsStatus status;
    std::shared_ptr<PfsRoot> root;
  };
  std::function<Opened()> open = [&pfs = context_.pfs, target = job->target] {
    Opened opened;
    bool created = false;
    opened.status = pfs.Open(target, false, &opened.root, &created);
    return opened;
  };
  Opened opened = co_await Offloaded<Opened>(context_.executor, context_.offload, std::move(open));
  job->open_status = std::move(opened.status);
  job->root = std::move(opened.root);
  job->opening = false;
  job->changed.WakeAll();
  co_return job->open_status.code;
}

void Worker::EndJob(uint64_t id) {
  auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  std::shared_ptr<FlushJob> job = found->second;
  jobs_.erase(found);
  job->Cancel(context_.executor.now());
  works_.erase(works_.lower_bound(Key(id, Kind::kDir, 0, 0)), works_.lower_bound(Key(id + 1, Kind::kDir, 0, 0)));
  DropRoot(std::move(job));
  copier_.ForgetGone();
  tick_.WakeAll();
}

// The last one closes the target, which may block. Work that still runs keeps the root for itself.
void Worker::DropRoot(std::shared_ptr<FlushJob> job) {
  if (job->running != 0 || job->root == nullptr) return;
  context_.offload.Run([root = std::move(job->root)]() mutable { root.reset(); }, [] {});
}

void Worker::Close() {
  closed_ = true;
  const Nanos now = context_.executor.now();
  for (auto& [id, job] : jobs_) job->Cancel(now);
  for (auto& [key, work] : works_) work->changed.WakeAll();
  tick_.WakeAll();
}

Task<Status> Worker::Janitor() {
  while (!jobs_.empty() && !closed_) {
    (void)co_await tick_.Wait(context_.executor.now() + kSweepEvery);
    Sweep(context_.executor.now());
  }
  janitor_running_ = false;
  co_return Code::kOk;
}

void Worker::Sweep(Nanos now) {
  std::erase_if(works_, [&](const auto& entry) {
    const FlushWork& work = *entry.second;
    return work.done && now >= work.done_at + kKeepDone;
  });
  std::vector<uint64_t> over;
  for (auto& [id, job] : jobs_) {
    if (job->coordinated_here || now < job->asked_at + Flusher::kAbandonNanos) continue;
    job->abandoned |= !job->cancelled;
    job->Cancel(now);
    if (job->running == 0) over.push_back(id);
  }
  for (uint64_t id : over) EndJob(id);
}

// ---- a directory's part ---------------------------------------------------------------------------------------------

struct Worker::DirWalk {
  DirWalk(Executor& executor, std::shared_ptr<FlushWork> w)
      : work(std::move(w)), window(executor, Flusher::kFilesMax * 2), gate(executor) {}
  std::shared_ptr<FlushWork> work;
  Semaphore window;
  Gate gate;
};

FlushListing Worker::List(const FlushDirRequest& request, const FlushPath& path, FlushWorkReply* reply) {
  constexpr uint32_t kShardsTold = 64;
  constexpr uint32_t kPagesMax = 64;  // read in one go
  constexpr size_t kBytesMax = kPageBytesMax / 2;
  FlushListing listing;
  size_t bytes = 0;
  reply->next = request.after;
  std::unique_ptr<uint8_t[]> page(new uint8_t[kPageBytesMax]);
  for (uint32_t pages = 0; pages < kPagesMax && !reply->end && bytes < kBytesMax; ++pages) {
    Encoder e(MutableBytes(page.get(), kPageBytesMax));
    const ReadDirReply read = context_.names.List(request.dir, reply->next, e);
    reply->end = read.end;
    Decoder d(Bytes(page.get(), e.size()));
    for (uint32_t i = 0; i < read.count; ++i) {
      if (bytes >= kBytesMax) {
        reply->end = false;
        break;
      }
      ListingEntry entry;
      d.Get(entry);
      MAYFLY_CHECK(d.ok());
      reply->next = entry.sequence;
      if (entry.attr.type != FileType::kDirectory) {
        if (!MatchesPattern(path.pattern, JoinPath(path.path, entry.name))) continue;
        ++listing.files;
        listing.bytes += entry.attr.size;
        listing.newest = std::max(listing.newest, entry.attr.mtime);
        continue;
      }
      FlushSubdirectory sub;
      sub.name = entry.name;
      sub.inode = entry.attr.inode;
      sub.mtime = entry.attr.mtime;
      const Inode* inode = sub.inode.home() == context_.self ? context_.names.FindInode(sub.inode) : nullptr;
      if (inode != nullptr && inode->extra != nullptr && inode->extra->shards.size() <= kShardsTold) {
        sub.shards_known = true;
        sub.shards = inode->extra->shards;
      }
      bytes += sub.name.size() + 4 * sub.shards.size() + 64;
      listing.directories.push_back(std::move(sub));
    }
  }
  return listing;
}

std::vector<Worker::Entry> Worker::NextEntries(InodeId dir, const FlushPath& path, bool ordered, uint64_t* after,
                                               bool* end) {
  constexpr size_t kOrderedMax = 65536;  // more than that and order is kept within as many
  std::vector<Entry> entries;
  std::unique_ptr<uint8_t[]> page(new uint8_t[kPageBytesMax]);
  do {
    Encoder e(MutableBytes(page.get(), kPageBytesMax));
    const ReadDirReply read = context_.names.List(dir, *after, e);
    *end = read.end;
    Decoder d(Bytes(page.get(), e.size()));
    for (uint32_t i = 0; i < read.count; ++i) {
      ListingEntry listed;
      d.Get(listed);
      MAYFLY_CHECK(d.ok());
      *after = listed.sequence;
      if (listed.attr.type == FileType::kDirectory) continue;
      if (!MatchesPattern(path.pattern, JoinPath(path.path, listed.name))) continue;
      Entry entry;
      entry.name = listed.name;
      entry.inode = listed.attr.inode;
      entry.type = listed.attr.type;
      entry.mtime = listed.attr.mtime;
      entry.size = listed.attr.size;
      entries.push_back(std::move(entry));
    }
  } while (ordered && !*end && entries.size() < kOrderedMax);
  if (ordered) {
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
      return a.mtime != b.mtime ? a.mtime > b.mtime : a.size < b.size;
    });
  }
  return entries;
}

Task<Status> Worker::RunDir(InodeId dir, FlushPath path, std::shared_ptr<FlushWork> work) {
  DirWalk walk(context_.executor, work);
  const bool ordered = work->job->deadline != kNever;
  uint64_t after = 0;
  bool end = false;
  while (!end) {
    std::vector<Entry> entries;
    if (path.only.empty()) {
      entries = NextEntries(dir, path, ordered, &after, &end);
    } else {
      end = true;
      auto found = context_.names.Find(dir, path.only);
      if (!found.ok() || found->type == FileType::kDirectory) break;
      Entry entry;
      entry.name = path.only;
      entry.inode = found->inode;
      entry.type = found->type;
      entries.push_back(std::move(entry));
    }
    for (Entry& entry : entries) {
      co_await walk.window.Acquire();
      std::string to = JoinPath(path.path, entry.name);
      walk.gate.Spawn(CopyEntry(&walk, std::move(entry), std::move(to)), "copying a file");
    }
    co_await context_.executor.Yield();
  }
  co_await walk.gate.Drain();
  if (work->outcome.files == 0) co_return Code::kOk;
  std::function<PfsStatus()> sync = [root = work->job->root, at = path.path] { return SyncDirectory(*root, at); };
  PfsStatus synced = co_await Offloaded<PfsStatus>(context_.executor, context_.offload, std::move(sync));
  if (!synced.ok()) AddFailure(&work->outcome, synced.code, std::move(synced.why));
  co_return Code::kOk;
}

Task<Status> Worker::CopyEntry(DirWalk* walk, Entry entry, std::string path) {
  FlushWork& work = *walk->work;
  if (work.job->Stopped(context_.executor.now())) {
    work.Miss(std::move(path));
  } else if (entry.inode.home() == context_.self) {
    (void)co_await copier_.Copy(entry.inode, std::move(path), false, walk->work);
  } else if (entry.inode.home().value >= context_.placement.shard_count()) {
    AddFailure(&work.outcome, Code::kCorrupt, fmt::format("{}: its entry names no inode of this session", path));
  } else {
    const bool degraded = context_.stands_in != nullptr;
    FlushFileRequest request;
    request.job = work.job->id;
    request.inode = entry.inode;
    FlushPath where;
    where.target = work.job->target;
    where.path = path;
    FlushOutcome there;
    work.live.push_back(&there);
    Status status =
        co_await Follow<Method::kFlushFile>(&context_, work.job, entry.inode.home(), request, std::move(where), &there);
    std::erase(work.live, &there);
    if (status.ok()) {
      const bool partial = degraded && !work.job->Stopped(context_.executor.now());
      if (std::exchange(there.missing, 0) != 0) work.Miss(partial ? path + std::string(kPartOnly) : path);
      Merge(&work.outcome, there);
    } else if (work.job->Stopped(context_.executor.now())) {
      work.Miss(std::move(path));
    } else if (context_.lacks(status)) {
      work.Lack(fmt::format("{} (absent: {} had it)", path, context_.book.NameOf(entry.inode.home())));
    } else {
      AddFailure(&work.outcome, Code::kIo,
                 fmt::format("{}: {}, where it lives, does not answer ({})", path,
                             context_.book.NameOf(entry.inode.home()), TextOf(status.code())));
    }
  }
  walk->window.Release();
  co_return Code::kOk;
}

}  // namespace mayfly::flush_internal
