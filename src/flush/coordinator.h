// Coordinator: the root's shard's part in a flush. A job goes through the steps that flusher.h names; this class keeps
// the tree of directories, who works on what, and the sums.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "flush/flusher.h"
#include "flush/worker.h"

namespace mayfly::flush_internal {

class Coordinator {
 public:
  Coordinator(FlushContext* context, Worker* worker);
  ~Coordinator();

  Result<uint64_t> Start(FlushSpec spec, uint64_t id);
  Result<FlushStatusReply> StatusOf(uint64_t id) const;
  Status Cancel(uint64_t id);
  Result<std::string> ReportOf(uint64_t id) const;
  Task<Status> Wait(uint64_t id, Nanos deadline);
  bool busy() const;
  // Cancels all; nothing is started any more.
  void Close();

 private:
  // A directory of the namespace, and of the PFS once it is made.
  struct Directory {
    std::string path;  // below source and target
    InodeId inode;
    uint32_t parent = 0;  // index; of the first: itself
    uint32_t depth = 0;
    bool wanted = false;  // it, or something below, is to be copied
    bool made = false;
    bool lost = false;  // it could not be made, or something above it
    bool listed = false;
    Nanos newest = 0;  // mtime of what lies in it
    uint64_t files = 0;
    uint64_t unnamed = 0;  // missing, and no room in the report for their names
    bool shards_known = false;
    std::vector<ShardId> shards;                        // with entries of it; only until it was listed
    std::vector<std::pair<ShardId, uint64_t>> to_copy;  // how many files of which shard's part
  };
  // One shard's part of a directory, being copied.
  struct Part {
    FlushOutcome outcome;
    const FlushWork* here = nullptr;  // on this shard the work itself shows how far it is
  };
  struct Job;

  Task<Status> Run(Job* job);
  Task<Status> RunSteps(Job* job);
  Task<Status> FindSource(Job* job);
  Task<Status> OpenTarget(Job* job);
  Task<Status> ListAll(Job* job);
  Task<Status> ListDirectory(Job* job, size_t index, Semaphore* window);
  Task<Status> ListPart(Job* job, size_t index, ShardId shard, uint64_t* files);
  Task<Status> SetOf(InodeId dir, std::vector<ShardId>* shards);
  Task<Status> ListPage(Job* job, size_t index, ShardId shard, uint64_t after, FlushWorkReply* reply,
                        FlushListing* listing);
  // A page of something from another shard.
  template <class Page>
  Task<Status> AskForPage(ShardId shard, FlushDirRequest request, FlushPath path, FlushWorkReply* reply, Page* page);
  Task<Status> Peek(InodeId parent, std::string name, InodeId* inode, FileType* type);
  std::vector<std::vector<uint32_t>> ByDepth(const Job& job) const;
  void MarkWanted(Job* job);
  Task<Status> MakeAll(Job* job);
  Task<Status> CopyAll(Job* job);
  Task<Status> MakeBatch(Job* job, std::vector<uint32_t> indexes, Semaphore* window);
  Task<Status> CopyPart(Job* job, size_t index, ShardId shard, uint64_t files, Semaphore* window);
  Task<Status> FinishAll(Job* job);
  Task<Status> FinishDirectory(Job* job, size_t index, Semaphore* window);
  Task<Status> AwaitWork(Job* job, std::shared_ptr<FlushWork> work);
  Task<Status> TellTheEnd(uint64_t id);
  Task<Status> TellTheEndTo(ShardId shard, uint64_t id, Semaphore* window);
  // Offloaded work whose end is waited for only as long as the job allows: kTimedOut, and the work goes on by itself.
  template <class T>
  Task<Status> Patiently(Job* job, std::function<T()> work, T* value);
  void Fail(Job* job, Code code, std::string why);
  // `files` are missing, and this line says so.
  void Miss(Job* job, std::string what, uint64_t files);
  // Has the part's missing files, which are counted already, named in the report.
  Task<Status> NameTheMissing(Job* job, size_t index, ShardId shard, FlushPath path, std::shared_ptr<FlushWork> here,
                              uint64_t* named);
  // False if there is no room for it.
  bool AddLine(Job* job, std::string line, size_t bytes_max);
  void Conclude(Job* job);
  Job* Find(uint64_t id) const;

  FlushContext& context_;
  Worker& worker_;
  std::map<uint64_t, std::unique_ptr<Job>> jobs_;
  uint64_t last_id_;
  bool closed_ = false;
};

}  // namespace mayfly::flush_internal
