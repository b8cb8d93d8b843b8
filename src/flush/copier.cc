#include "flush/copier.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checksum.h"
#include "flush/follow.h"
#include "flush/offloaded.h"
#include "flush/outcome.h"
#include "flush/text.h"

namespace mayfly::flush_internal {
namespace {

constexpr Nanos kLookNanos = 20 * kSecond;
constexpr Nanos kTruncatingNanos = 50 * kMillisecond;
constexpr uint32_t kTruncatingWaits = 100;

uint64_t HashOf(const std::string& s) { return Hash64(AsBytes(s), 0); }

}  // namespace

Task<Status> Copier::Copy(InodeId id, std::string path, bool sync_directory, std::shared_ptr<FlushWork> work) {
  Copying c;
  c.work = work;
  c.id = id;
  c.path = std::move(path);
  c.sync_directory = sync_directory;
  while (locks_.contains(id)) (void)co_await locks_[id]->Wait(kNever);
  locks_[id] = std::make_unique<WaitQueue>(context_.executor);
  co_await files_.Acquire();  // those who wait for the lock hold no place: the one they wait for gets on
  End end = End::kChanged;
  for (uint32_t tries = 0; end == End::kChanged; ++tries) {
    if (tries == Flusher::kTriesMax) {
      end = Fail(&c, Code::kBusy,
                 fmt::format("{}: it changed each of the {} times it was copied; end the programs that write it, then "
                             "flush again",
                             c.path, tries));
    } else {
      end = co_await CopyOnce(&c);
    }
  }
  files_.Release();
  auto lock = std::move(locks_[id]);
  locks_.erase(id);
  lock->WakeAll();

  FlushOutcome& outcome = work->outcome;
  const bool counts = c.look.attr.type != FileType::kDirectory;
  if (end == End::kStopped && counts) work->Miss(c.path);
  if (end == End::kCopied && counts) ++outcome.files;
  if (end == End::kSkipped) ++outcome.skipped;
  if (counts && (end == End::kCopied || end == End::kSkipped) && c.look.attr.size > c.progress) {
    outcome.progress_bytes += c.look.attr.size - c.progress;
  }
  co_return Code::kOk;
}

Task<Status> Copier::LookAt(InodeId id, Look* out) {
  for (uint32_t waits = 0;; ++waits) {
    Status status = co_await context_.exact_attr(id, context_.executor.now() + kLookNanos, &out->attr);
    MAYFLY_CO_TRY(status);
    // No suspension until the end: attributes and what follows are of one moment.
    const Inode* inode = context_.names.FindInode(id);
    if (inode == nullptr || inode->nlink == 0) co_return Code::kNoEntry;
    out->changes = context_.store.Figures(id).changes;
    out->attributes = Attributes();
    out->attributes.permissions = out->attr.permissions;
    out->attributes.uid = out->attr.uid;
    out->attributes.gid = out->attr.gid;
    out->attributes.atime = out->attr.atime;
    out->attributes.mtime = out->attr.mtime;
    out->shards.clear();
    out->truncating = false;
    if (inode->extra != nullptr) {
      out->attributes.xattrs = inode->extra->xattrs;
      out->target = inode->extra->target;
      out->truncating = inode->extra->truncating;
      if (inode->type == FileType::kFile) {
        for (ShardId shard : inode->extra->shards) {
          if (shard != context_.self) out->shards.push_back(shard);
        }
      }
    }
    if (!out->truncating || waits == kTruncatingWaits) co_return Code::kOk;
    co_await context_.executor.Sleep(kTruncatingNanos);
  }
}

// Temporary files are made by the home of what they are to be, so of this job and this home none is in use before this
// server has made one.
Task<void> Copier::TidyUp(const Copying* c) {
  if (context_.came_back == nullptr || !*context_.came_back) co_return;
  const std::shared_ptr<FlushJob> job = c->work->job;
  while (job->tidying) (void)co_await job->changed.Wait(kNever);
  std::string directory(DirectoryOf(c->path));
  if (!job->tidy.insert(HashOf(directory)).second) co_return;
  job->tidying = true;
  std::function<bool()> work = [root = job->root, directory, id = job->id, home = context_.self] {
    RemoveTemporariesOf(*root, directory, id, home);
    return true;
  };
  (void)co_await Offloaded<bool>(context_.executor, context_.offload, std::move(work));
  job->tidying = false;
  job->changed.WakeAll();
}

Task<Copier::End> Copier::CopyOnce(Copying* c) {
  const Inode* inode = context_.names.FindInode(c->id);
  const bool directory = inode != nullptr && inode->type == FileType::kDirectory;
  // A directory that was made gets its attributes even at the end of a job that was stopped.
  if (c->job().Stopped(context_.executor.now()) && !directory) co_return End::kStopped;
  c->work->outcome.progress_bytes -= std::exchange(c->progress, 0);
  Status status = co_await LookAt(c->id, &c->look);
  if (status.code() == Code::kNoEntry || status.code() == Code::kStale) co_return End::kGone;
  if (context_.lacks(status)) {
    c->work->Lack(c->path + std::string(kPartOnly));
    co_return End::kFailed;
  }
  if (!status.ok()) {
    co_return Fail(c, Code::kIo,
                   fmt::format("{}: its size cannot be learned ({}): a member that holds a part of it does not answer",
                               c->path, TextOf(status.code())));
  }
  if (c->look.attr.type == FileType::kDirectory) co_return co_await CopyDirectory(c);
  co_await TidyUp(c);
  bool settled = false;
  const End reused = co_await Reuse(c, &settled);
  if (settled) co_return reused;
  if (c->look.attr.type == FileType::kSymlink) co_return co_await CopySymlink(c);
  if (c->look.shards.empty() && !c->look.truncating) {
    auto slice = std::make_unique<Slice>();
    auto next = co_await Gather(c->id, 0, slice.get());
    if (!next.ok()) {
      co_return Fail(c, Code::kIo, fmt::format("{}: {}; it was not written", c->path, WhyLost(next.code(), 0)));
    }
    if (*next == ChunkStore::kDone) co_return co_await CopySmall(c, std::move(slice));
  }
  co_return co_await CopyLarge(c);
}

// Is what is on the PFS what it should be, or a name away from it?
Task<Copier::End> Copier::Reuse(Copying* c, bool* settled) {
  *settled = true;
  auto found = known_.find(c->id);
  const bool usable = found != known_.end() && found->second.target_hash == HashOf(c->job().target) &&
                      found->second.version == c->look.attr.version && found->second.changes == c->look.changes;
  if (!usable || c->look.truncating) {
    *settled = false;
    co_return End::kChanged;
  }
  const Known known = found->second;
  if (known.path_hash == HashOf(c->path)) {
    std::function<bool()> check = [root = c->job().root, path = c->path, known] {
      PfsAttr attr;
      return root->Stat(path, &attr).ok() && attr.size == known.size && attr.mtime == known.mtime &&
             (attr.type == PfsType::kFile || attr.type == PfsType::kSymlink);
    };
    *settled = co_await Offloaded<bool>(context_.executor, context_.offload, std::move(check));
    co_return End::kSkipped;
  }
  if (known.path.empty() || c->look.attr.nlink < 2) {
    *settled = false;
    co_return End::kChanged;
  }
  std::function<LinkOutcome()> link = [root = c->job().root, known, temporary = NewTemporary(*c), path = c->path,
                                       sync = c->sync_directory] {
    LinkOutcome outcome = LinkName(*root, known.path, known.size, known.mtime, temporary, path);
    if (sync && outcome.linked == Linked::kMade) {
      outcome.status = SyncDirectory(*root, std::string(DirectoryOf(path)));
    }
    return outcome;
  };
  LinkOutcome outcome = co_await Offloaded<LinkOutcome>(context_.executor, context_.offload, std::move(link));
  if (!outcome.status.ok()) co_return Fail(c, outcome.status.code, outcome.status.why);
  if (outcome.linked == Linked::kMade) co_return End::kCopied;
  if (outcome.linked == Linked::kThere) co_return End::kSkipped;
  if (outcome.refused) {
    Refusals refusals;
    refusals.Add({Code::kPermission,
                  fmt::format("{}: the file system makes no hard link to {}: copied instead", c->path, known.path)});
    NoteRefusals(c, refusals);
  }
  *settled = false;
  co_return End::kChanged;
}

Task<Copier::End> Copier::CopyDirectory(Copying* c) {
  std::function<Finished()> work = [root = c->job().root, path = c->path, attributes = c->look.attributes] {
    return FinishDirectory(*root, path, attributes);
  };
  Finished finished = co_await Offloaded<Finished>(context_.executor, context_.offload, std::move(work));
  NoteRefusals(c, finished.refusals);
  if (!finished.status.ok()) co_return Fail(c, finished.status.code, finished.status.why);
  co_return End::kCopied;
}

Task<Copier::End> Copier::CopySymlink(Copying* c) {
  std::string temporary = NewTemporary(*c);
  std::function<Finished()> work = [root = c->job().root, temporary, path = c->path, target = c->look.target,
                                    attributes = c->look.attributes] {
    return MakeSymlink(*root, temporary, path, target, attributes);
  };
  Finished finished = co_await Offloaded<Finished>(context_.executor, context_.offload, std::move(work));
  co_return co_await Place(c, std::move(temporary), std::move(finished), 0);
}

Task<Copier::End> Copier::CopySmall(Copying* c, std::unique_ptr<Slice> slice) {
  std::string temporary = NewTemporary(*c);
  auto stretches = std::make_shared<std::vector<Stretch>>(std::move(slice->stretches));
  std::function<Finished()> work = [root = c->job().root, temporary, path = c->path, stretches,
                                    size = c->look.attr.size, attributes = c->look.attributes] {
    return WriteSmallFile(*root, temporary, path, *stretches, size, attributes);
  };
  Finished finished = co_await Offloaded<Finished>(context_.executor, context_.offload, std::move(work));
  const uint64_t bytes = slice->bytes;
  slice.reset();  // C3
  if (finished.status.ok()) bytes_written_ += bytes;
  co_return co_await Place(c, std::move(temporary), std::move(finished), bytes);
}

Task<Copier::End> Copier::CopyLarge(Copying* c) {
  std::string temporary = NewTemporary(*c);
  struct Created {
    PfsStatus status;
    std::shared_ptr<PfsFile> file;
  };
  std::function<Created()> create = [root = c->job().root, temporary, size = c->look.attr.size] {
    Created created;
    std::unique_ptr<PfsFile> file;
    created.status = root->CreateFile(temporary, &file);
    if (!created.status.ok()) return created;
    created.status = file->Truncate(size);
    created.file = std::move(file);
    return created;
  };
  Created created = co_await Offloaded<Created>(context_.executor, context_.offload, std::move(create));
  if (!created.status.ok()) {
    if (created.file != nullptr) co_await Discard(&c->job(), std::move(temporary), std::move(created.file));
    co_return Fail(c, created.status.code, fmt::format("{}: {}", c->path, created.status.why));
  }
  uint64_t bytes = 0;
  const End end = co_await GatherParts(c, temporary, created.file, &bytes);
  if (end != End::kCopied) {
    co_await Discard(&c->job(), std::move(temporary), std::move(created.file));
    co_return end;
  }
  std::function<Finished()> finish = [root = c->job().root, file = std::move(created.file), temporary, path = c->path,
                                      size = c->look.attr.size, attributes = c->look.attributes]() mutable {
    Finished finished = FinishFile(*file, size, attributes, path);
    file.reset();
    if (!finished.status.ok()) (void)root->Unlink(temporary);
    return finished;
  };
  Finished finished = co_await Offloaded<Finished>(context_.executor, context_.offload, std::move(finish));
  co_return co_await Place(c, std::move(temporary), std::move(finished), bytes);
}

// All shards write what they have, at once.
Task<Copier::End> Copier::GatherParts(Copying* c, const std::string& temporary, std::shared_ptr<PfsFile> file,
                                      uint64_t* bytes) {
  const size_t others = c->look.shards.size();
  std::vector<FlushOutcome> outcomes(others);
  std::vector<Task<Status>> tasks;
  FlushWork& work = *c->work;
  for (size_t i = 0; i < others; ++i) {
    FlushFileRequest request;
    request.job = c->job().id;
    request.inode = c->id;
    FlushPath path;
    path.target = c->job().target;
    path.path = temporary;
    work.live.push_back(&outcomes[i]);
    tasks.push_back(
        Follow<Method::kFlushChunks>(&context_, work.job, c->look.shards[i], request, std::move(path), &outcomes[i]));
  }
  Written here;
  Status ignored = co_await WriteHere(c->id, std::move(file), &work, &here);
  (void)ignored;
  *bytes = here.bytes;
  c->progress += here.bytes;
  End end = here.stopped ? End::kStopped : End::kCopied;
  Code code = here.status.code;
  std::string why = here.status.why;
  for (size_t i = 0; i < others; ++i) {
    auto& task = tasks[i];
    Status status = co_await task;
    std::erase(work.live, &outcomes[i]);
    const FlushOutcome& one = outcomes[i];
    *bytes += one.bytes;
    c->progress += one.progress_bytes;
    work.outcome.progress_bytes += one.progress_bytes;
    if (one.missing != 0 || (!status.ok() && c->job().Stopped(context_.executor.now()))) {
      end = End::kStopped;
    } else if (!status.ok() && code == Code::kOk) {
      code = Code::kIo;
      why = fmt::format("{} holds a part of it and does not answer ({})", context_.book.NameOf(c->look.shards[i]),
                        TextOf(status.code()));
    } else if (one.failed != 0 && code == Code::kOk) {
      code = one.result;
      why = one.notes.empty() ? std::string("a part of it failed") : one.notes.front().text;
    }
  }
  if (code != Code::kOk) {
    const bool corrupt = code == Code::kCorrupt;
    co_return Fail(c, corrupt ? Code::kIo : code,
                   fmt::format("{}: {}{}", c->path, why, corrupt ? "; it was not written" : ""));
  }
  co_return end;
}

// C2, and the name.
Task<Copier::End> Copier::Place(Copying* c, std::string temporary, Finished finished, uint64_t bytes) {
  if (!finished.status.ok()) {
    const Code code = finished.status.code == Code::kCorrupt ? Code::kIo : finished.status.code;
    co_return Fail(c, code, finished.status.why);
  }
  if (c->look.attr.type == FileType::kFile) {
    Look after;
    Status status = co_await LookAt(c->id, &after);
    if (!status.ok() || !after.Same(c->look)) {
      co_await Discard(&c->job(), std::move(temporary), nullptr);
      if (status.ok()) co_return End::kChanged;
      if (status.code() == Code::kNoEntry || status.code() == Code::kStale) co_return End::kGone;
      co_return Fail(c, Code::kIo,
                     fmt::format("{}: a member that holds a part of it went away while it was copied ({})", c->path,
                                 TextOf(status.code())));
    }
  }
  std::function<PfsStatus()> place = [root = c->job().root, temporary, path = c->path, sync = c->sync_directory] {
    return PutInPlace(*root, temporary, path, sync);
  };
  PfsStatus placed = co_await Offloaded<PfsStatus>(context_.executor, context_.offload, std::move(place));
  if (!placed.ok()) co_return Fail(c, placed.code, std::move(placed.why));
  NoteRefusals(c, finished.refusals);
  Remember(c, finished.attr);
  c->work->outcome.bytes += bytes;
  co_return End::kCopied;
}

Copier::End Copier::Fail(Copying* c, Code code, std::string why) {
  AddFailure(&c->work->outcome, code, std::move(why));
  return End::kFailed;
}

void Copier::NoteRefusals(Copying* c, const Refusals& refusals) {
  FlushOutcome& outcome = c->work->outcome;
  outcome.refused += refusals.count;
  for (const std::string& sentence : refusals.sentences) AddNote(&outcome, FlushNoteKind::kRefused, sentence);
}

void Copier::Remember(Copying* c, const PfsAttr& attr) {
  Known known;
  known.target_hash = HashOf(c->job().target);
  known.path_hash = HashOf(c->path);
  known.version = c->look.attr.version;
  known.changes = c->look.changes;
  known.size = attr.size;
  known.mtime = attr.mtime;
  if (c->look.attr.nlink > 1) known.path = c->path;
  known_[c->id] = std::move(known);
}

std::string Copier::NewTemporary(const Copying& c) { return TemporaryPath(c.path, c.job().id, c.id, ++temporaries_); }

Task<void> Copier::Discard(FlushJob* job, std::string temporary, std::shared_ptr<PfsFile> file) {
  std::function<bool()> work = [root = job->root, temporary = std::move(temporary), file = std::move(file)]() mutable {
    file.reset();
    return root->Unlink(temporary).ok();
  };
  (void)co_await Offloaded<bool>(context_.executor, context_.offload, std::move(work));
}

void Copier::ForgetGone() {
  if (known_.size() < context_.names.inodes() + 1024) return;
  absl::erase_if(known_, [&](const auto& entry) { return context_.names.FindInode(entry.first) == nullptr; });
}

}  // namespace mayfly::flush_internal
