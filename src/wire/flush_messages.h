// What shards say to each other during a flush (flush/flusher.h). Part of wire/messages.h, which has the table of
// methods.
#pragma once

#include <string>
#include <vector>

#include "wire/types.h"

namespace mayfly {

// Each of these starts work or finds it running; the reply comes when
// it ended, or soon with `running` set: then the same request is sent again. Request payload: FlushPath. Reply payload:
// FlushListing for kList, FlushMissing for kMissing, FlushOutcome for the others.
enum class FlushStep : uint8_t {
  kList = 1,     // a page of what a directory's part holds, from `after` on
  kCopy = 2,     // copies the files whose entries it holds
  kEnd = 3,      // the job is over (dir unused): what still runs is cancelled
  kMissing = 4,  // a page of what kCopy, which has ended, did not reach in time
};
constexpr bool IsKnown(FlushStep s) { return s >= FlushStep::kList && s <= FlushStep::kMissing; }

// To a shard of the directory's set.
struct FlushDirRequest {
  uint64_t job = 0;
  InodeId dir;
  FlushStep step = FlushStep::kCopy;
  bool cancel = false;
  uint64_t after = 0;           // kList: insertion sequence on this shard; kMissing: how many were named
  uint32_t budget_left_ms = 0;  // kCopy; 0: no limit
  template <class Io>
  void Fields(Io& io) {
    io(job, dir, step, cancel, after, budget_left_ms);
  }
};
// FlushFile: to the home: copies a file or symlink, or sets the attributes of a directory that exists. FlushChunks: to
// a shard with chunks of a file: writes them into the temporary file that exists.
struct FlushFileRequest {
  uint64_t job = 0;
  InodeId inode;
  bool cancel = false;
  template <class Io>
  void Fields(Io& io) {
    io(job, inode, cancel);
  }
};
struct FlushWorkReply {
  bool running = false;
  bool end = false;   // kList, kMissing: this was the last page
  uint64_t next = 0;  // kList, kMissing: `after` of the next page
  template <class Io>
  void Fields(Io& io) {
    io(running, end, next);
  }
};
struct FlushPath {
  std::string target;   // directory on the PFS
  std::string path;     // below the target: of the directory, the file, or the temporary file
  std::string pattern;  // FlushDir: on the path below the source, which is `path` too; empty: everything
  std::string only;     // FlushDir: the one entry that is meant; empty: all
  template <class Io>
  void Fields(Io& io) {
    io(target, path, pattern, only);
  }
};
// One subdirectory of a listing. `shards`: those that hold entries of it, if the asked shard is its home and they are
// few.
struct FlushSubdirectory {
  std::string name;
  InodeId inode;
  bool shards_known = false;
  Nanos mtime = 0;
  std::vector<ShardId> shards;
  template <class Io>
  void Fields(Io& io) {
    io(name, inode, shards_known, mtime, shards);
  }
};
struct FlushListing {
  uint64_t files = 0, bytes = 0;  // of this page, that match
  Nanos newest = 0;               // mtime of a file
  std::vector<FlushSubdirectory> directories;
  template <class Io>
  void Fields(Io& io) {
    io(files, bytes, newest, directories);
  }
};
// Paths below the target of files that were not reached in time.
struct FlushMissing {
  std::vector<std::string> paths;
  template <class Io>
  void Fields(Io& io) {
    io(paths);
  }
};
enum class FlushNoteKind : uint8_t { kFailed = 1, kRefused = 2 };
constexpr bool IsKnown(FlushNoteKind k) { return k >= FlushNoteKind::kFailed && k <= FlushNoteKind::kRefused; }
struct FlushNote {
  FlushNoteKind kind = FlushNoteKind::kFailed;
  std::string text;  // a sentence
  template <class Io>
  void Fields(Io& io) {
    io(kind, text);
  }
};
struct FlushOutcome {
  // files, symlinks and further names of files: copied, already there, not copied, not reached in time
  uint64_t files = 0, skipped = 0, failed = 0, missing = 0;
  uint64_t bytes = 0;            // written and verified
  uint64_t refused = 0;          // attributes
  uint64_t progress_bytes = 0;   // for a progress line: also what was skipped, or written and not verified yet
  Code result = Code::kOk;       // the gravest
  std::vector<FlushNote> notes;  // bounded; the counts are not
  template <class Io>
  void Fields(Io& io) {
    io(files, skipped, failed, missing, bytes, refused, progress_bytes, result, notes);
  }
};

}  // namespace mayfly
