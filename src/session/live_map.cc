#include "session/live_map.h"

#include <sys/stat.h>

#include <chrono>

namespace mayfly {

Bytes LiveMap::AddressOf(ShardId shard) const {
  const auto now = static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  uint64_t before = looked_at_.load(std::memory_order_relaxed);
  if (now - before >= kLookEvery && looked_at_.compare_exchange_strong(before, now)) Look();
  return newest_.load(std::memory_order_acquire)->AddressOf(shard);
}

void LiveMap::Look() const {
  std::lock_guard lock(mutex_);
  // A map is never changed, only replaced (N2): another file is another map.
  struct stat attributes {};
  if (stat(path_.c_str(), &attributes) != 0) return;
  const std::pair<uint64_t, uint64_t> file(attributes.st_dev, attributes.st_ino);
  if (file == seen_) return;
  Outcome<NodeMap> map = NodeMap::Open(path_, uid_);
  if (!map.ok() || map->session() != first_.session()) return;
  seen_ = file;
  if (map->view() <= newest_.load(std::memory_order_relaxed)->view()) return;
  if (map->layout().shard_count() != first_.layout().shard_count()) return;
  later_.push_back(std::make_unique<const NodeMap>(std::move(*map)));
  newest_.store(later_.back().get(), std::memory_order_release);
}

}  // namespace mayfly
