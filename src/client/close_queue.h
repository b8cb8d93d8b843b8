// Closes that the servers have not been told of yet, by home shard, for all lanes of a process: a shard is told of many
// at once. Any thread.
// Invariants  Q1  a close waits at most kAgeMax, if somebody calls TakeOlder that often (the helper does).
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "wire/messages.h"

namespace mayfly {

class CloseQueue {
 public:
  static constexpr size_t kBatch = 32;  // of one shard: then they are sent
  static constexpr Nanos kAgeMax = kSecond;
  using Batch = std::vector<InodeId>;  // all of one home, at most kClosesMax

  // Non-empty when the shard's batch is full: the caller sends it.
  Batch Add(InodeId inode, Nanos now) {
    std::lock_guard lock(mutex_);
    Waiting& waiting = by_home_[inode.home().value];
    if (waiting.inodes.empty()) {
      waiting.since = now;
      if (oldest_ == kNever) oldest_ = now;
    }
    waiting.inodes.push_back(inode);
    if (waiting.inodes.size() < kBatch) return {};
    return std::exchange(waiting.inodes, {});
  }
  // The batches whose first close came at `before` or earlier.
  std::vector<Batch> TakeOlder(Nanos before) {
    std::vector<Batch> batches;
    std::lock_guard lock(mutex_);
    oldest_ = kNever;
    for (auto& [home, waiting] : by_home_) {
      if (waiting.inodes.empty()) continue;
      if (waiting.since <= before) {
        batches.push_back(std::exchange(waiting.inodes, {}));
      } else if (waiting.since < oldest_) {
        oldest_ = waiting.since;
      }
    }
    return batches;
  }
  // kNever if nothing waits. May be too early, never too late.
  Nanos oldest() const { return oldest_; }

  std::mutex& fork_mutex() { return mutex_; }
  // In a forked child: the closes are the parent's.
  void Forget() {
    by_home_.clear();
    oldest_ = kNever;
  }

 private:
  static_assert(kBatch <= CloseRequest::kClosesMax);
  struct Waiting {
    Batch inodes;
    Nanos since = 0;
  };
  std::mutex mutex_;
  std::map<uint32_t, Waiting> by_home_;  // in order: a run is a function of its inputs
  std::atomic<Nanos> oldest_{kNever};
};

}  // namespace mayfly
