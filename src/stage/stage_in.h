// Stage-in, as the command does it: starts a job at the root's shard, which has all servers that see the source take
// part, works on what only this process can do (or on everything, if no server takes part), and follows the job to its
// end. A crawl reads each source directory once; run again after whatever happened, it continues (copier.h, G1).
#pragma once

#include <mayfly/mayfly.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "wire/stage_messages.h"

namespace mayfly::stage {

struct StageInOptions {
  std::string source;  // file or directory, absolute and without symlinks
  std::string target;  // path in the session, absolute: becomes the copy of `source`
  uint32_t streams =
      0;  // files, directories and ranges that are copied at a time, by all together; 0: as many as suit the session
  bool members = true;  // servers take part
};

struct StageResult {
  StageCounts counts;
  std::vector<StageShare> shares;     // who did what; worker 0 is this command
  std::vector<std::string> failures;  // "path: cause", the first few
  bool interrupted = false;
  uint32_t restarts = 0;  // how often it was begun again because servers were killed; all else is of the last time
  std::string broken;     // why nothing more is known: the session has ended, or does not answer
  bool ok() const { return counts.failed == 0 && !interrupted && broken.empty(); }
};

// Runs until everything is copied or failed. `show` is called a few times a second, on this thread. `stop` is looked at
// between two steps of at most a few MiB each.
StageResult StageIn(mayfly_fs* fs, StageInOptions options, const std::function<void(const StageCounts&)>& show,
                    const std::atomic<bool>* stop);

}  // namespace mayfly::stage
