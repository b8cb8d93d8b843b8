// The servers' address book: what the node map says.
#pragma once

#include <fmt/format.h>

#include "rpc/caller.h"
#include "session/node_map.h"

namespace mayfly {

class NodeBook final : public AddressBook {
 public:
  explicit NodeBook(NodeMap map) : map_(std::move(map)) {}

  uint32_t shard_count() const override { return map_.layout().shard_count(); }
  Bytes AddressOf(ShardId shard) const override { return map_.AddressOf(shard); }
  std::string NameOf(ShardId shard) const override {
    const Member& member = map_.layout().member(map_.layout().MemberOf(shard));
    if (member.shards == 1) return fmt::format("{} (member {})", member.host, member.id.value);
    return fmt::format("{} (member {}, shard {})", member.host, member.id.value, map_.layout().LocalOf(shard));
  }
  const NodeMap& map() const { return map_; }

 private:
  NodeMap map_;
};

}  // namespace mayfly
