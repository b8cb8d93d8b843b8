// The node map of a process that outlives views: layout and placement as they always were, addresses as the newest map
// at its path has them. A server that was started again has another address, and puts a newer map there.
// Any thread. Invariants  M1  what AddressOf gave stays valid as long as this object.
//                         M2  the file is looked at no more often than each kLookEvery, and only when asked.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "session/node_map.h"

namespace mayfly {

class LiveMap {
 public:
  static constexpr uint64_t kLookEvery = 50'000'000;  // nanoseconds

  LiveMap(NodeMap map, std::string path, uint32_t uid) : first_(std::move(map)), path_(std::move(path)), uid_(uid) {
    newest_.store(&first_, std::memory_order_release);
  }
  LiveMap(const LiveMap&) = delete;
  LiveMap& operator=(const LiveMap&) = delete;

  // Whose layout and placement hold for good.
  const NodeMap& map() const { return first_; }
  // Of the newest view that has been seen, after a look if the last one is long ago (M2).
  Bytes AddressOf(ShardId shard) const;

 private:
  void Look() const;

  const NodeMap first_;
  const std::string path_;
  const uint32_t uid_;
  mutable std::atomic<const NodeMap*> newest_;
  mutable std::atomic<uint64_t> looked_at_{0};  // monotonic nanoseconds
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<const NodeMap>> later_;  // M1
  mutable std::pair<uint64_t, uint64_t> seen_{};               // device and inode of the file that was opened last
};

}  // namespace mayfly
