// Puts newer node maps on this node when shards have moved. Any thread.
#pragma once

#include <algorithm>
#include <atomic>
#include <mutex>
#include <string>
#include <vector>

#include "base/log.h"
#include "server/shard.h"
#include "session/node_map.h"

namespace mayfly {

class ViewKeeper {
 public:
  // `map_path`: of the node; `shared_path`: beside the session file, for other nodes, kept by the one process that has
  // the root's shard and so hears of every view, in order.
  struct Options {
    std::string map_path, shared_path;
    bool has_root = false;
    uint32_t uid = 0;
  };
  ViewKeeper(Options options, View newest)
      : map_path_(std::move(options.map_path)),
        shared_path_(std::move(options.shared_path)),
        keeps_shared_(options.has_root),
        uid_(options.uid),
        newest_(newest.value) {}

  View newest() const { return View(newest_.load()); }
  // False if the node's map could not be replaced. Several processes of a node do so one after the other: the file's
  // own view tells who came first.
  bool Learn(View view, const std::vector<Shard::NewAddress>& moved) {
    std::lock_guard lock(mutex_);
    if (view.value > newest_ + 1) FollowLocked();  // what was said while this process was away, or had another address
    if (view.value <= newest_) return true;
    std::vector<AddressChange> changes;
    for (const auto& one : moved) changes.push_back({one.shard, AsBytes(one.address)});
    const Outcome<Done> replaced = ReplaceAddresses(map_path_, uid_, view, changes);
    if (!replaced.ok() && replaced.failure().status.code() != Code::kExists) {
      MAYFLY_ERROR("{}: processes of this node do not find the servers that were started again",
                   replaced.failure().sentence);
      return false;
    }
    if (keeps_shared_) (void)ReplaceAddresses(shared_path_, uid_, view, changes);  // or the file is gone
    newest_ = view.value;
    return true;
  }

  // Takes over what the root's server has put beside the session file: when many came back at once on several nodes,
  // none of them could be told where the others are.
  void Follow() {
    std::lock_guard lock(mutex_);
    FollowLocked();
  }

 private:
  void FollowLocked() {
    const Outcome<NodeMap> shared = NodeMap::Open(shared_path_, uid_), here = NodeMap::Open(map_path_, uid_);
    if (!shared.ok() || !here.ok() || shared->session() != here->session() || shared->view().value <= newest_) return;
    std::vector<AddressChange> all;
    for (uint32_t s = 0; s < shared->layout().shard_count(); ++s) {
      all.push_back({ShardId(s), shared->AddressOf(ShardId(s))});
    }
    const Outcome<Done> replaced = ReplaceAddresses(map_path_, uid_, shared->view(), all);
    if (replaced.ok() || replaced.failure().status.code() == Code::kExists) newest_ = shared->view().value;
  }

  const std::string map_path_, shared_path_;
  const bool keeps_shared_;
  const uint32_t uid_;
  std::mutex mutex_;
  std::atomic<uint32_t> newest_;
};

}  // namespace mayfly
