#include "ring/layout.h"

#include <algorithm>
#include <utility>

namespace mayfly {

Result<Layout> Layout::Build(std::vector<Member> members) {
  if (members.empty() || members.size() > kMembersMax) return Code::kInvalid;
  std::sort(members.begin(), members.end(), [](const Member& a, const Member& b) { return a.id < b.id; });  // L3
  Layout layout;
  uint64_t shards = 0;
  for (size_t i = 0; i < members.size(); ++i) {
    const Member& m = members[i];
    if (m.id.value != i) return Code::kInvalid;  // L1
    if (m.weight == 0 || m.weight > kWeightMax) return Code::kInvalid;
    if (m.shards == 0 || m.host.size() > kHostBytesMax) return Code::kInvalid;
    layout.first_shard_.push_back(static_cast<uint32_t>(shards));  // L2
    layout.total_weight_ += m.weight;
    shards += m.shards;
    if (shards > kShardsMax) return Code::kInvalid;
  }
  layout.member_of_.reserve(shards);
  for (const Member& m : members) layout.member_of_.insert(layout.member_of_.end(), m.shards, m.id.value);
  layout.members_ = std::move(members);
  return layout;
}

}  // namespace mayfly
