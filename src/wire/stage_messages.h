// What travels during a stage-in. The root's shard keeps the queue of work; workers (the command that started it, and a
// thread of servers that see the source) take pieces from it, and put in what they find. Paths are relative to source
// and target, without a '/' at either end; "" is the source itself.
#pragma once

#include <string>
#include <vector>

#include "wire/types.h"

namespace mayfly {

// By these a file or directory of the source is known to be the same one on another node. Of directories: no size.
struct StageFacts {
  uint64_t inode = 0, size = 0;
  Nanos mtime = 0;
  bool operator==(const StageFacts&) const = default;
  template <class Io>
  void Fields(Io& io) {
    io(inode, size, mtime);
  }
};

// Payload of StageStart and StageInvite.
struct StageSpec {
  std::string source;    // absolute, without symlinks
  std::string target;    // in the session, absolute
  StageFacts facts;      // of the source, as the command sees it
  uint32_t streams = 0;  // pieces of work that are out at a time, in all; 0: the root's shard chooses
  bool members = true;   // servers are to take part
  uint32_t threads = 0;  // of one worker at most; the root's shard says
  template <class Io>
  void Fields(Io& io) {
    io(source, target, facts, streams, members, threads);
  }
};

enum class StageKind : uint8_t {
  kDirectory = 1,      // make the directory `path` and find what is in it
  kEntries = 2,        // copy the entries `names` of the directory `path`; directories among them are put in
  kFile = 3,           // only put in: the file `path` has been made, copy it by ranges of `end` bytes
  kRange = 4,          // only taken: copy [begin, end) of the file `path`
  kFileEnd = 5,        // only taken: all ranges of `path` are there, set size and attributes
  kDirectoryEnds = 6,  // only taken: set the attributes of the directories `names`
};
constexpr bool IsKnown(StageKind k) { return k >= StageKind::kDirectory && k <= StageKind::kDirectoryEnds; }

struct StageItem {
  StageKind kind = StageKind::kEntries;
  bool command_only = false;  // the command must do it: others see another file there, or it has further names
  std::string path;
  StageFacts facts;  // of `path`, as whoever found it saw them
  uint64_t begin = 0, end = 0;
  std::vector<std::string> names;
  std::vector<StageFacts> seen;  // kDirectoryEnds: of each of `names`, as whoever found it saw them
  template <class Io>
  void Fields(Io& io) {
    io(kind, command_only, path, facts, begin, end, names, seen);
  }
};

struct StageCounts {
  uint64_t files_found = 0, bytes_found = 0;  // all but directories; bytes of what somebody has begun with
  uint64_t files_done = 0, bytes_done = 0;
  uint64_t skipped = 0;  // of files_done: they were there already
  uint64_t failed = 0;
  template <class Io>
  void Fields(Io& io) {
    io(files_found, bytes_found, files_done, bytes_done, skipped, failed);
  }
  StageCounts& operator+=(const StageCounts& o) {
    files_found += o.files_found;
    bytes_found += o.bytes_found;
    files_done += o.files_done;
    bytes_done += o.bytes_done;
    skipped += o.skipped;
    failed += o.failed;
    return *this;
  }
};

// Payload of StageWork, all since the worker's last one.
struct StageReport {
  StageCounts counts;
  std::vector<StageItem> found;
  std::vector<std::string> failures;  // sentences
  template <class Io>
  void Fields(Io& io) {
    io(counts, found, failures);
  }
};

// How a worker gives back what it took.
enum class StageEnd : uint8_t {
  kDone = 1,
  kFailed = 2,    // its sentences say why
  kDeclined = 3,  // this node sees something else there: for the command
  kStopped = 4,   // not done, the worker leaves: for somebody else
};
constexpr bool IsKnown(StageEnd e) { return e >= StageEnd::kDone && e <= StageEnd::kStopped; }

struct StageStartReply {
  uint64_t job = 0;
  uint32_t invited = 0;  // servers that were asked to take part
  uint32_t streams = 0;  // as asked for or chosen
  template <class Io>
  void Fields(Io& io) {
    io(job, invited, streams);
  }
};
// To a server's first shard: start a worker. kNotSupported: it has none.
struct StageInviteRequest {
  uint64_t job = 0;
  uint32_t worker = 0;
  template <class Io>
  void Fields(Io& io) {
    io(job, worker);
  }
};
// Reports, gives back and takes, as the fields say. With `take` the answer waits a while for something to do.
struct StageWorkRequest {
  uint64_t job = 0;
  uint32_t worker = 0;    // 0: the command; else the number of the invitation
  bool declines = false;  // the worker takes no part: it does not see the source
  uint64_t item = 0;      // given back; 0: nothing
  StageEnd end = StageEnd::kDone;
  bool take = false;
  template <class Io>
  void Fields(Io& io) {
    io(job, worker, declines, item, end, take);
  }
};
// Payload: a StageItem, if `item` is not 0.
struct StageWorkReply {
  bool over = false;     // nothing will come any more
  uint64_t item = 0;     // taken
  uint32_t waiting = 0;  // further pieces that this worker could take now
  bool full = false;     // do kEntries yourself instead of putting them in
  template <class Io>
  void Fields(Io& io) {
    io(over, item, waiting, full);
  }
};
struct StageStatusRequest {
  uint64_t job = 0;
  bool cancel = false;
  template <class Io>
  void Fields(Io& io) {
    io(job, cancel);
  }
};
// Payload, once `done`: StageSummary.
struct StageStatusReply {
  StageCounts counts;
  uint32_t working = 0;  // servers that take part
  bool done = false;
  bool cancelled = false;
  template <class Io>
  void Fields(Io& io) {
    io(counts, working, done, cancelled);
  }
};
struct StageShare {
  uint32_t worker = 0;
  std::string host;
  StageCounts counts;
  template <class Io>
  void Fields(Io& io) {
    io(worker, host, counts);
  }
};
struct StageSummary {
  std::vector<StageShare> shares;     // of the workers that took part
  std::vector<std::string> failures;  // the first ones; the counts are complete
  template <class Io>
  void Fields(Io& io) {
    io(shares, failures);
  }
};

}  // namespace mayfly
