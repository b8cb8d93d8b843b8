// What a shard keeps of a flush in which it takes part, and of one piece of work in it.
#pragma once

#include <absl/container/flat_hash_set.h>

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "flush/outcome.h"
#include "os/pfs_tree.h"
#include "task/sync.h"
#include "wire/messages.h"

namespace mayfly::flush_internal {

struct FlushJob {
  explicit FlushJob(Executor& executor) : changed(executor) {}

  uint64_t id = 0;
  std::string target;
  std::shared_ptr<PfsRoot> root;  // once opened
  PfsStatus open_status;
  bool opening = false;
  WaitQueue changed;  // opened, stopped

  bool coordinated_here = false;
  bool cancelled = false;
  bool abandoned = false;  // cancelled because nobody asked for it any more
  Nanos cancelled_at = 0;
  Nanos deadline = kNever;  // of the budget
  Nanos asked_at = 0;       // by the coordinator
  uint32_t running = 0;     // pieces of work
  // Directories (hashes of their paths) in which nothing is left of the server that was here before.
  absl::flat_hash_set<uint64_t> tidy;
  bool tidying = false;      // one directory is being looked at
  size_t missing_bytes = 0;  // of the names that its work keeps, see kMissingBytesMax

  // Nothing more is begun.
  bool Stopped(Nanos now) const { return cancelled || now >= deadline; }
  // What was begun had its time to end.
  bool GraceOver(Nanos now) const {
    constexpr Nanos kGrace = 5 * kSecond;
    return (cancelled && now >= cancelled_at + kGrace) || (deadline != kNever && now >= deadline + kGrace);
  }
  void Cancel(Nanos now) {
    if (cancelled) return;
    cancelled = true;
    cancelled_at = now;
    changed.WakeAll();
  }
};

// Behind the path of a file of which a missing member has a part.
constexpr std::string_view kPartOnly = " (partial: a missing member had a part of it)";

// Something that a request started and that further requests ask after.
struct FlushWork {
  explicit FlushWork(Executor& executor) : changed(executor) {}
  std::shared_ptr<FlushJob> job;
  FlushOutcome outcome;
  std::vector<const FlushOutcome*> live;  // of parts at other shards, for the progress
  std::vector<std::string> missing;       // what was not reached, as far as there is room; the outcome counts all
  bool done = false;
  Nanos done_at = 0;
  WaitQueue changed;

  void Miss(std::string path) {
    ++outcome.missing;
    if (job->missing_bytes + path.size() > kMissingBytesMax) return;
    job->missing_bytes += path.size();
    missing.push_back(std::move(path));
  }
  // Because a member is missing.
  void Lack(std::string path) {
    outcome.result = Graver(outcome.result, Code::kIo);
    Miss(std::move(path));
  }
  uint64_t ProgressBytes() const {
    uint64_t bytes = outcome.progress_bytes;
    for (const FlushOutcome* part : live) bytes += part->progress_bytes;
    return bytes;
  }
};

}  // namespace mayfly::flush_internal
