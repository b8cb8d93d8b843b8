// Flusher: copies a subtree of the namespace to a directory of the parallel filesystem (PFS) and verifies it. Each
// shard has one; all belong to their shard's thread. The one of the root's shard coordinates jobs:
//   list     every directory's part at every shard of its set: how much there is, and the subdirectories
//   make     the directories on the PFS, mode 0700, parents first
//   copy     each part copies the files whose entries it holds: an entry goes to its inode's home, which has every
//   shard
//            write its own chunks into one temporary file, checks it, and renames it into place
//   finish   owners, modes, xattrs and times of the directories, deepest first
// With a time budget, directories are copied in the order of their mtime, and the files of a part likewise: newest
// first (what a restarted job needs is the last checkpoint), of equal age the smallest first. What is missing at the
// end is named in the report.
//
// Long work is not one long call: a peer's request starts the work or finds it running, and is answered when it ended,
// or after kHoldNanos with what it did so far; then the peer asks again. So every call has a short deadline, repeated
// requests are harmless, progress comes by itself, and work that nobody asks for any more is cancelled.
//
// Invariants  F1  a name on the PFS is only ever replaced by a file whose every byte was read back and matched, and
//                 that did not change meanwhile; whatever fails before leaves the name as it was, and no temporary.
//             F2  blocking calls (PfsTree) are made inside Offload work only; that work owns or shares what it touches,
//                 and file data only under pins that live until it is done.
//             F3  a job ends once, and its report with it. What a shard still does for it then, because it could not be
//                 asked or the PFS holds it up, is cancelled.
//             F4  memory is bounded: a job keeps a record a directory; a shard has at most kFilesMax files in work, at
//                 most three slices of kSliceBytes pinned for each; lists in reports are cut (their counts are not).
// The messages: wire/messages.h, "flush". What a flush does to the target: share/doc/format/flush.md.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "meta/namespace.h"
#include "os/clock.h"
#include "os/offload.h"
#include "os/pfs_tree.h"
#include "ring/placement.h"
#include "rpc/caller.h"
#include "store/chunk_store.h"
#include "task/executor.h"
#include "task/task.h"
#include "wire/messages.h"

namespace mayfly {

// What a flusher works with. All outlive it.
struct FlushContext {
  Executor& executor;
  Clock& clock;
  Offload& offload;
  PfsTree& pfs;
  Caller& caller;
  const Placement& placement;
  const AddressBook& book;
  ShardId self;
  Namespace& names;
  ChunkStore& store;
  bool checksums = true;
  // The exact attributes of an inode whose home is this shard, size and mtime as all its shards know them; the version
  // differs whenever content or attributes changed on any of them. kNoEntry or kStale if it is gone.
  std::function<Task<Status>(InodeId inode, Nanos deadline, Attr* attr)> exact_attr;
  // Into memory, what of the pieces is on the disk alone; null: nothing ever is. An error: the bytes cannot be had.
  std::function<Task<Status>(ReadPieces* pieces)> fetch;
  // Members may be missing for good, with stand-ins in their place that answer kIo; *stands_in: this shard is one. What
  // they had is missing in a flush, by name where that is known. Null: none is.
  const bool* stands_in = nullptr;
  // True if this shard's server was killed and started again: what that one was writing lies in the target still. Null:
  // no server comes back.
  const bool* came_back = nullptr;
  Nanos away_max = 0;             // a shard that stays away is asked again for so long; thrice at least
  std::map<ShardId, Nanos> away;  // since when which shards have not answered
  uint32_t first_temporary = 0;   // random: no name that a killed server gave a temporary file is given again
  // A job that was started here has ended; called before any other shard is told.
  std::function<void(uint64_t job, Code result, const std::string& report)> ended;

  bool is_stand_in() const { return stands_in != nullptr && *stands_in; }
  bool lacks(Status status) const { return stands_in != nullptr && status.code() == Code::kIo; }
};

class Flusher {
 public:
  static constexpr Nanos kHoldNanos = kSecond;             // a request is answered after so long, see above
  static constexpr Nanos kAbandonNanos = 60 * kSecond;     // a job that its coordinator does not ask for is cancelled
  static constexpr uint32_t kFilesMax = 16;                // files in work at a shard
  static constexpr uint32_t kSliceBytes = 16u << 20;       // of a file, pinned and written in one go
  static constexpr uint32_t kDirectoriesMax = 32;          // being listed or finished by the coordinator
  static constexpr uint32_t kTriesMax = 3;                 // for a file that changes while it is copied
  static constexpr uint32_t kReportsMax = 16;              // of ended jobs that are kept
  static constexpr uint32_t kRequestBytesMax = 64 * 1024;  // payload of FlushDir, FlushFile, FlushChunks

  explicit Flusher(FlushContext context);
  // Only when nothing runs any more: after Shutdown gave kOk.
  ~Flusher();
  Flusher(const Flusher&) = delete;
  Flusher& operator=(const Flusher&) = delete;

  // ---- the root's shard ----
  // Starts a job and returns its number. kInvalid: the source is no path of the namespace, or the target is not
  // absolute (or has a NUL). Whether the source exists and the target can be written shows in the job's result.
  // `job`: its number, below 2^63; 0: any that was not used. With that of a job that a killed server had started, and
  // whose end it had told nobody, it goes on: what the others do for it is found, and counted, as if nothing had been.
  Result<uint64_t> Start(FlushSpec spec, uint64_t job = 0);
  // kNoEntry: no such job, or its report was dropped (kReportsMax).
  Result<FlushStatusReply> StatusOf(uint64_t job) const;
  Status Cancel(uint64_t job);
  // JSON; "" until the job is done. {"result": "ok" or a code's text, "files", "bytes", "skipped", "failed", "refused",
  // "missing_count", "missing_cut", "missing": [path...], "errors": [sentence...], "refusals": [sentence...],
  // "directories", "seconds", "target", "source", "verified": bool}. Paths in it are below the target; bytes that are
  // no printable UTF-8 are written \xNN. The result: kOk when everything is there and verified (refused attributes
  // alone do not matter); kTimedOut: the budget ended; kInterrupted: cancelled; else the gravest cause (kNoSpace, kIo,
  // kAccess,
  // ...).
  Result<std::string> ReportOf(uint64_t job) const;
  // Waits until the job is done: its result, or kTimedOut at the deadline (monotonic), kNoEntry.
  Task<Status> Wait(uint64_t job, Nanos deadline);
  // True while a job runs that was started here.
  bool busy() const;

  // What this shard wrote to the PFS itself, in all jobs: bytes of data, also of copies that came to nothing.
  uint64_t bytes_written() const;

  // ---- any shard: what handlers of FlushDir, FlushFile and FlushChunks call ----
  // `payload` is the request's, as received (at most kRequestBytesMax); `*out` becomes the reply's, at most
  // kPageBytesMax. The request must not be executed once (it repeats itself); its deadline may pass without harm.
  Task<Status> ServeDir(FlushDirRequest request, std::string payload, FlushWorkReply* reply, std::string* out);
  Task<Status> ServeFile(FlushFileRequest request, std::string payload, FlushWorkReply* reply, std::string* out);
  Task<Status> ServeChunks(FlushFileRequest request, std::string payload, FlushWorkReply* reply, std::string* out);

  // Cancels all jobs and work and waits for it. kTimedOut: the PFS still has some of it; the object must then stay (the
  // process leaves by _exit). Nothing is started afterwards.
  Task<Status> Shutdown(Nanos deadline);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mayfly
