// Worker: what a shard does of a flush when it is asked to. It keeps the jobs it takes part in and the pieces of work
// in them, so that a request that comes again finds what the first one started.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "flush/copier.h"
#include "flush/flusher.h"
#include "flush/job.h"

namespace mayfly::flush_internal {

class Worker {
 public:
  explicit Worker(FlushContext* context);

  // What peers ask for (flusher.h).
  Task<Status> ServeDir(FlushDirRequest request, std::string payload, FlushWorkReply* reply, std::string* out);
  Task<Status> ServeFile(FlushFileRequest request, std::string payload, FlushWorkReply* reply, std::string* out);
  Task<Status> ServeChunks(FlushFileRequest request, std::string payload, FlushWorkReply* reply, std::string* out);

  // The same for the coordinator on this shard.
  std::shared_ptr<FlushJob> AddJob(uint64_t id, std::string target, Nanos deadline);
  FlushListing List(const FlushDirRequest& request, const FlushPath& path, FlushWorkReply* reply);
  // A page of its missing paths, from the `after`th on.
  static FlushMissing MissingOf(const FlushWork& work, uint64_t after, FlushWorkReply* reply);
  std::shared_ptr<FlushWork> StartDir(std::shared_ptr<FlushJob> job, InodeId dir, FlushPath path);
  std::shared_ptr<FlushWork> StartFile(std::shared_ptr<FlushJob> job, InodeId inode, std::string path);
  // Cancels what runs and forgets the job.
  void EndJob(uint64_t id);

  // Nothing is started any more; what runs is cancelled.
  void Close();
  size_t running() const { return gate_.running(); }
  uint64_t bytes_written() const { return copier_.bytes_written(); }
  Gate& gate() { return gate_; }

 private:
  enum class Kind : uint8_t { kDir, kFile, kChunks };
  using Key = std::tuple<uint64_t, Kind, uint64_t, uint64_t>;  // job, kind, inode, hash of the path
  struct Entry {
    std::string name;
    InodeId inode;
    FileType type = FileType::kNone;
    Nanos mtime = 0;
    uint64_t size = 0;
  };
  struct DirWalk;

  static Key KeyOf(Kind kind, uint64_t job, InodeId inode, const FlushPath& path);
  Task<Status> Serve(Kind kind, uint64_t job, InodeId inode, bool cancel, uint32_t budget_left_ms, std::string payload,
                     FlushWorkReply* reply, std::string* out);
  std::shared_ptr<FlushJob> FindOrMakeJob(uint64_t id, const std::string& target);
  std::shared_ptr<FlushWork> Begin(Kind kind, std::shared_ptr<FlushJob> job, InodeId inode, FlushPath path);
  Task<Status> Run(Kind kind, InodeId inode, FlushPath path, std::shared_ptr<FlushWork> work);
  Task<Status> OpenTarget(std::shared_ptr<FlushJob> job);
  Task<Status> RunDir(InodeId dir, FlushPath path, std::shared_ptr<FlushWork> work);
  Task<Status> CopyEntry(DirWalk* walk, Entry entry, std::string path);
  // The next files of a part, in the order in which they are to be copied.
  std::vector<Entry> NextEntries(InodeId dir, const FlushPath& path, bool ordered, uint64_t* after, bool* end);
  Task<Status> Janitor();
  void Sweep(Nanos now);
  void DropRoot(std::shared_ptr<FlushJob> job);

  FlushContext& context_;
  Copier copier_;
  Gate gate_;
  WaitQueue tick_;  // the janitor sleeps here
  std::map<uint64_t, std::shared_ptr<FlushJob>> jobs_;
  std::map<Key, std::shared_ptr<FlushWork>> works_;
  std::deque<uint64_t> ended_;  // so that a late request does not start an old job again
  bool janitor_running_ = false;
  bool closed_ = false;
};

}  // namespace mayfly::flush_internal
