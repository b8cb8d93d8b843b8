// The layout is what the first start fixes for the life of a session: which members there are, on which hosts, with
// which weights, and how the global shard numbers are dealt out to them. It is a pure value: built once, never changed,
// so any thread may read it without a lock. It knows nothing of hashes, sockets or disks.
// Invariants  L1  member ids are dense: members()[i].id is i.
//             L2  the shards of a member are consecutive: FirstShardOf(m) .. FirstShardOf(m) + shards - 1, and members
//                 follow each other by id, so shard numbers are dense too.
//             L3  equal members, in whatever order they were given, make an equal layout on every rank.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace mayfly {

struct Member {
  MemberId id;
  std::string host;     // as the user knows it; for messages, never for routing
  uint32_t weight = 1;  // share of the hash space relative to the others (say, GiB of capacity)
  uint32_t shards = 1;

  friend bool operator==(const Member&, const Member&) = default;
};

class Layout {
 public:
  static constexpr uint32_t kMembersMax = 65534;
  static constexpr uint32_t kShardsMax = (1u << 24) - 1;  // of the session: a shard takes 24 bits of an inode number
  static constexpr uint32_t kWeightMax = 1u << 20;        // keeps slots x weight exact in 64 bits
  static constexpr uint32_t kHostBytesMax = 255;

  // Fails with kInvalid if there are no members or too many, ids are not 0..n-1 each once, a member has no shard, a
  // weight is 0 or above kWeightMax, a host name is too long, or the shards of all exceed kShardsMax.
  static Result<Layout> Build(std::vector<Member> members);

  std::span<const Member> members() const { return members_; }
  const Member& member(MemberId id) const { return members_[id.value]; }
  uint32_t member_count() const { return static_cast<uint32_t>(members_.size()); }
  uint32_t shard_count() const { return static_cast<uint32_t>(member_of_.size()); }
  uint64_t total_weight() const { return total_weight_; }

  // The shard must be below shard_count() and the member below member_count(): ids that came from a peer are checked
  // with Has() first.
  bool Has(ShardId shard) const { return shard.value < member_of_.size(); }
  bool Has(MemberId id) const { return id.value < members_.size(); }
  MemberId MemberOf(ShardId shard) const { return MemberId(member_of_[shard.value]); }
  uint32_t LocalOf(ShardId shard) const { return shard.value - first_shard_[member_of_[shard.value]]; }
  ShardId FirstShardOf(MemberId id) const { return ShardId(first_shard_[id.value]); }
  ShardId ShardOf(MemberId id, uint32_t local) const { return ShardId(first_shard_[id.value] + local); }

  friend bool operator==(const Layout& a, const Layout& b) { return a.members_ == b.members_; }

 private:
  Layout() = default;

  std::vector<Member> members_;
  std::vector<uint32_t> first_shard_;  // by member
  std::vector<uint16_t> member_of_;    // by shard
  uint64_t total_weight_ = 0;
};

}  // namespace mayfly
