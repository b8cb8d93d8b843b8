// Coordinator: finding the source and listing what is below it.
#include <fmt/format.h>

#include <algorithm>

#include "flush/coordinator_job.h"
#include "flush/outcome.h"
#include "flush/text.h"

namespace mayfly::flush_internal {
namespace {

constexpr Nanos kCallNanos = 5 * kSecond;
constexpr uint32_t kTriesMax = 3;
constexpr size_t kPartsAtOnce = 16;          // of one directory
constexpr size_t kPathBytesMax = 32 * 1024;  // what a request has room for

bool MayAskAgain(Status status) { return status.code() == Code::kUnavailable || status.code() == Code::kTimedOut; }

}  // namespace

Task<Status> Coordinator::Peek(InodeId parent, std::string name, InodeId* inode, FileType* type) {
  const ShardId shard = context_.placement.DentryShard(parent, name);
  if (shard == context_.self) {
    if (context_.is_stand_in()) co_return Code::kIo;
    auto found = context_.names.Find(parent, name);
    if (!found.ok()) co_return found.code();
    *inode = found->inode;
    *type = found->type;
    co_return Code::kOk;
  }
  PeekRequest request;
  request.parent = parent;
  request.name = name;
  PeekReply reply;
  Status status;
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    CallOptions options;
    options.deadline = context_.executor.now() + kCallNanos;
    status = co_await context_.caller.Call<Method::kPeek>(shard, request, &reply, options);
    if (!MayAskAgain(status)) break;
  }
  MAYFLY_CO_TRY(status);
  if (!reply.inode.valid()) co_return Code::kNoEntry;
  if (reply.inode.home().value >= context_.placement.shard_count()) co_return Code::kCorrupt;
  *inode = reply.inode;
  *type = reply.type;
  co_return Code::kOk;
}

Task<Status> Coordinator::FindSource(Job* job) {
  InodeId at = context_.placement.RootInode();
  std::string rest = job->source;
  while (!rest.empty()) {
    const size_t slash = rest.find('/');
    const std::string name = rest.substr(0, slash);
    rest = slash == std::string::npos ? std::string() : rest.substr(slash + 1);
    InodeId inode;
    FileType type = FileType::kNone;
    Status status = co_await Peek(at, name, &inode, &type);
    if (status.ok() && type != FileType::kDirectory) {
      if (rest.empty()) {
        job->only = name;
        break;
      }
      status = Code::kNotDirectory;
    }
    if (!status.ok()) {
      Fail(job, status.code(),
           fmt::format("the source /{} cannot be flushed: {} (at '{}'; symbolic links in it are not followed)",
                       job->source, TextOf(status.code()), name));
      co_return status;
    }
    at = inode;
  }
  job->source_inode = at;
  co_return Code::kOk;
}

Task<Status> Coordinator::ListAll(Job* job) {
  Directory first;
  first.inode = job->source_inode;
  if (!job->only.empty()) {
    first.listed = true;
    first.files = job->files_total = 1;
    first.to_copy.emplace_back(context_.placement.DentryShard(job->source_inode, job->only), 1);
    job->directories.push_back(std::move(first));
    co_return Code::kOk;
  }
  job->directories.push_back(std::move(first));
  Semaphore window(context_.executor, Flusher::kDirectoriesMax);
  Gate gate(context_.executor);
  for (size_t next = 0;;) {
    if (next < job->directories.size()) {
      co_await window.Acquire();
      gate.Spawn(ListDirectory(job, next++, &window), "listing a directory");
    } else if (gate.running() != 0) {
      (void)co_await job->changed.Wait(kNever);
    } else {
      break;
    }
  }
  co_return Code::kOk;
}

// The set of shards that hold entries of a directory.
Task<Status> Coordinator::SetOf(InodeId dir, std::vector<ShardId>* shards) {
  if (dir.home() == context_.self) {
    if (context_.is_stand_in()) co_return Code::kIo;
    const Inode* inode = context_.names.FindInode(dir);
    if (inode == nullptr) co_return Code::kStale;
    if (inode->extra != nullptr) *shards = inode->extra->shards;
    co_return Code::kOk;
  }
  ShardsRequest request;
  request.inode = dir;
  ShardsReply reply;
  std::vector<uint8_t> received(4 * size_t{context_.placement.shard_count()});
  size_t bytes = 0;
  Status status;
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    CallOptions options;
    options.deadline = context_.executor.now() + kCallNanos;
    options.reply_payload = received;
    options.reply_bytes = &bytes;
    status = co_await context_.caller.Call<Method::kShards>(dir.home(), request, &reply, options);
    if (!MayAskAgain(status)) break;
  }
  MAYFLY_CO_TRY(status);
  Decoder d(Bytes(received).subspan(0, bytes));
  for (uint32_t i = 0; i < reply.count && d.left() >= 4; ++i) d.Get(shards->emplace_back());
  co_return d.Finish();
}

Task<Status> Coordinator::ListDirectory(Job* job, size_t index, Semaphore* window) {
  const InodeId dir = job->directories[index].inode;
  const std::string path = job->directories[index].path;
  std::vector<ShardId> shards = std::move(job->directories[index].shards);
  Status status;
  if (job->flush->Stopped(context_.executor.now())) {
    Miss(job, path + "/ and all below", 0);
    status = Code::kInterrupted;
  } else if (!job->directories[index].shards_known) {
    status = co_await SetOf(dir, &shards);
    if (context_.lacks(status)) {
      // Only its home, which is missing, knew who has a part of it.
      status = Status();
      for (uint32_t s = 0; s < context_.placement.shard_count(); ++s) shards.push_back(ShardId(s));
    }
    // Removed meanwhile: there is nothing to be kept.
    if (!status.ok() && status.code() != Code::kStale && status.code() != Code::kNoEntry) {
      Fail(job, Code::kIo,
           fmt::format("{}/: {}, where it lives, does not answer ({}): all below it is missing", path,
                       context_.book.NameOf(dir.home()), TextOf(status.code())));
      Miss(job, path + "/ and all below", 0);
    }
  }
  if (status.ok()) {
    job->directories[index].listed = true;
    if (std::find(shards.begin(), shards.end(), dir.home()) == shards.end()) shards.push_back(dir.home());
    std::erase_if(shards, [&](ShardId s) { return s.value >= context_.placement.shard_count(); });
    for (size_t first = 0; first < shards.size(); first += kPartsAtOnce) {
      const size_t count = std::min(kPartsAtOnce, shards.size() - first);
      std::vector<uint64_t> files(count);
      std::vector<Task<Status>> tasks;
      for (size_t i = 0; i < count; ++i) tasks.push_back(ListPart(job, index, shards[first + i], &files[i]));
      for (size_t i = 0; i < count; ++i) {
        auto& task = tasks[i];
        (void)co_await task;
        if (files[i] == 0) continue;
        job->directories[index].files += files[i];
        job->directories[index].to_copy.emplace_back(shards[first + i], files[i]);
      }
    }
  }
  co_await context_.executor.Yield();
  window->Release();
  job->changed.WakeAll();
  co_return Code::kOk;
}

Task<Status> Coordinator::ListPart(Job* job, size_t index, ShardId shard, uint64_t* files) {
  for (uint64_t after = 0;;) {
    FlushWorkReply reply;
    FlushListing listing;
    Status status = co_await ListPage(job, index, shard, after, &reply, &listing);
    const std::string path = job->directories[index].path;
    if (!status.ok()) {
      if (!context_.lacks(status)) {
        Fail(job, Code::kIo,
             fmt::format("{}/: what {} holds of it cannot be listed ({})", path, context_.book.NameOf(shard),
                         TextOf(status.code())));
      }
      Miss(job, fmt::format("{}/ (the part of {})", path, context_.book.NameOf(shard)), 0);
      co_return status;
    }
    *files += listing.files;
    job->files_total += listing.files;
    job->bytes_total += listing.bytes;
    job->directories[index].newest = std::max(job->directories[index].newest, listing.newest);
    for (FlushSubdirectory& sub : listing.directories) {
      Directory directory;
      directory.path = JoinPath(path, sub.name);
      directory.inode = sub.inode;
      directory.parent = static_cast<uint32_t>(index);
      directory.depth = job->directories[index].depth + 1;
      directory.shards_known = sub.shards_known;
      directory.shards = std::move(sub.shards);
      if (directory.path.size() > kPathBytesMax) {
        Fail(job, Code::kNameTooLong, directory.path.substr(0, 200) + "...: the path is too long to be flushed");
        Miss(job, directory.path + "/ and all below", 0);
        continue;
      }
      job->directories.push_back(std::move(directory));
    }
    job->changed.WakeAll();
    if (reply.end) co_return Code::kOk;
    if (reply.next <= after) co_return Code::kCorrupt;
    after = reply.next;
    co_await context_.executor.Yield();
  }
}

Task<Status> Coordinator::ListPage(Job* job, size_t index, ShardId shard, uint64_t after, FlushWorkReply* reply,
                                   FlushListing* listing) {
  FlushDirRequest request;
  request.job = job->id;
  request.dir = job->directories[index].inode;
  request.step = FlushStep::kList;
  request.after = after;
  FlushPath path;
  path.target = job->spec.target;
  path.path = job->directories[index].path;
  path.pattern = job->spec.pattern;
  if (shard == context_.self) {
    if (context_.is_stand_in()) co_return Code::kIo;
    *listing = worker_.List(request, path, reply);
    co_return Code::kOk;
  }
  MAYFLY_CO_TRY(co_await AskForPage(shard, request, std::move(path), reply, listing));
  for (const FlushSubdirectory& sub : listing->directories) {
    const bool sound = !sub.name.empty() && IsPlainPath(sub.name) && sub.name.find('/') == std::string::npos &&
                       sub.inode.valid() && sub.inode.home().value < context_.placement.shard_count();
    if (!sound) co_return Code::kCorrupt;
  }
  co_return Code::kOk;
}

template <class Page>
Task<Status> Coordinator::AskForPage(ShardId shard, FlushDirRequest request, FlushPath path, FlushWorkReply* reply,
                                     Page* page) {
  std::vector<uint8_t> sent(Flusher::kRequestBytesMax);
  Encoder e{MutableBytes(sent)};
  e.Put(path);
  if (!e.ok()) co_return Code::kNameTooLong;
  std::vector<uint8_t> received(kPageBytesMax);
  size_t bytes = 0;
  Status status;
  for (uint32_t tries = 0; tries < kTriesMax; ++tries) {
    CallOptions options;
    options.deadline = context_.executor.now() + kCallNanos;
    options.payload = Bytes(sent).subspan(0, e.size());
    options.reply_payload = received;
    options.reply_bytes = &bytes;
    status = co_await context_.caller.Call<Method::kFlushDir>(shard, request, reply, options);
    if (!MayAskAgain(status)) break;
  }
  MAYFLY_CO_TRY(status);
  Decoder d(Bytes(received).subspan(0, bytes));
  d.Get(*page);
  co_return d.Finish();
}
template Task<Status> Coordinator::AskForPage(ShardId, FlushDirRequest, FlushPath, FlushWorkReply*, FlushListing*);
template Task<Status> Coordinator::AskForPage(ShardId, FlushDirRequest, FlushPath, FlushWorkReply*, FlushMissing*);

void Coordinator::MarkWanted(Job* job) {
  std::vector<Directory>& directories = job->directories;
  for (Directory& directory : directories) {
    directory.wanted = directory.listed && (job->spec.pattern.empty() || directory.files != 0 ||
                                            MatchesPattern(job->spec.pattern, directory.path));
  }
  // Children stand behind their parents.
  for (size_t i = directories.size(); i-- > 1;) {
    if (directories[i].wanted) directories[directories[i].parent].wanted = true;
  }
  directories[0].wanted = true;
}

std::vector<std::vector<uint32_t>> Coordinator::ByDepth(const Job& job) const {
  std::vector<std::vector<uint32_t>> levels;
  for (uint32_t i = 0; i < job.directories.size(); ++i) {
    const Directory& directory = job.directories[i];
    if (levels.size() <= directory.depth) levels.resize(directory.depth + 1);
    if (directory.wanted) levels[directory.depth].push_back(i);
  }
  return levels;
}

}  // namespace mayfly::flush_internal
