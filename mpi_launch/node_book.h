// The servers' address book: what the node map says.
#pragma once

#include <fmt/format.h>

#include "rpc/caller.h"
#include "session/live_map.h"

namespace mayfly {

class NodeBook final : public AddressBook {
 public:
  NodeBook(NodeMap map, std::string path, uint32_t uid) : map_(std::move(map), std::move(path), uid) {}

  uint32_t shard_count() const override { return map().layout().shard_count(); }
  Bytes AddressOf(ShardId shard) const override { return map_.AddressOf(shard); }
  std::string NameOf(ShardId shard) const override {
    const Member& member = map().layout().member(map().layout().MemberOf(shard));
    if (member.shards == 1) return fmt::format("{} (member {})", member.host, member.id.value);
    return fmt::format("{} (member {}, shard {})", member.host, member.id.value, map().layout().LocalOf(shard));
  }
  const NodeMap& map() const { return map_.map(); }

 private:
  LiveMap map_;
};

}  // namespace mayfly
