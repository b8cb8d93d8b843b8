// Stage-in: copies a tree of the local or parallel filesystem into the session, through the C API alone.
// A crawl reads each source directory once; `streams` threads take directories, files and ranges of large files from
// one queue. Invariants  G1  a file's times are set last: a copy that was cut short never has the source's mtime, so
// the same
//                 stage-in run again continues: what has the source's size and mtime is left alone.
//             G2  nothing is followed: a symlink in the source becomes the same symlink.
//             G3  every failure is listed with its path; others go on; success means that everything is there.
#pragma once

#include <mayfly/mayfly.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

namespace mayfly::stage {

struct StageInOptions {
  std::string source;                // file or directory
  std::string target;                // path in the session: becomes the copy of `source`
  uint32_t streams = 8;              // concurrent copies of this process
  uint64_t large_bytes = 64u << 20;  // files above are copied by ranges of so much, by all streams
  uint32_t failures_max = 100;       // sentences kept
};

struct StageCounts {
  std::atomic<uint64_t> files_done{0}, files_total{0}, bytes_done{0}, bytes_total{0}, skipped{0}, failed{0};
};

struct StageResult {
  uint64_t files = 0, bytes = 0, skipped = 0, failed = 0;
  bool interrupted = false;
  std::vector<std::string> failures;  // "path: cause", the first few
  bool ok() const { return failed == 0 && !interrupted; }
};

// Runs until everything is copied or failed. `counts` may be read by another thread meanwhile. `stop` is looked at
// between two steps of at most a few MiB each.
StageResult StageIn(mayfly_fs* fs, const StageInOptions& options, StageCounts* counts, const std::atomic<bool>* stop);

}  // namespace mayfly::stage
