#include "ring/balance.h"

#include <algorithm>
#include <cstdint>
#include <limits>

namespace mayfly {
namespace {

LoadSpread SpreadOf(const std::vector<MemberBalance>& members, double MemberBalance::*share) {
  LoadSpread spread;
  spread.min = std::numeric_limits<double>::max();
  for (const MemberBalance& m : members) {
    const double load = 100.0 * m.*share / m.fair;
    spread.min = std::min(spread.min, load);
    spread.max = std::max(spread.max, load);
    spread.mean += load / static_cast<double>(members.size());
  }
  return spread;
}

}  // namespace

Balance BalanceOf(const Layout& layout, const Ring& ring, const Placement& placement) {
  std::vector<uint64_t> slots(layout.member_count(), 0);
  for (uint32_t shard : placement.tables().slots) ++slots[layout.MemberOf(ShardId(shard)).value];
  const std::vector<double> ring_shares = ring.Shares();
  Balance balance;
  for (const Member& m : layout.members()) {
    balance.members.push_back({.id = m.id,
                               .fair = 100.0 * m.weight / static_cast<double>(layout.total_weight()),
                               .ring = 100.0 * ring_shares[m.id.value],
                               .table = 100.0 * static_cast<double>(slots[m.id.value]) / placement.slot_count()});
  }
  balance.ring = SpreadOf(balance.members, &MemberBalance::ring);
  balance.table = SpreadOf(balance.members, &MemberBalance::table);
  return balance;
}

}  // namespace mayfly
