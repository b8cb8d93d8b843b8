#include "ring/slot_table.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/check.h"

namespace mayfly {

std::vector<uint32_t> SlotQuotas(const Layout& layout, uint32_t slots) {
  const uint64_t total = layout.total_weight();
  std::vector<uint32_t> quotas(layout.member_count());
  std::vector<uint64_t> remainders(layout.member_count());
  uint64_t left = slots;
  for (const Member& m : layout.members()) {
    const uint64_t exact = uint64_t{slots} * m.weight;  // of `total`: below 2^50
    quotas[m.id.value] = static_cast<uint32_t>(exact / total);
    remainders[m.id.value] = exact % total;
    left -= quotas[m.id.value];
  }
  MAYFLY_CHECK(left < layout.member_count());
  std::vector<uint32_t> by_remainder(layout.member_count());
  std::iota(by_remainder.begin(), by_remainder.end(), 0u);
  std::stable_sort(by_remainder.begin(), by_remainder.end(),
                   [&](uint32_t a, uint32_t b) { return remainders[a] > remainders[b]; });
  for (uint64_t i = 0; i < left; ++i) ++quotas[by_remainder[i]];
  return quotas;
}

std::vector<uint32_t> FillSlots(const Layout& layout, const Ring& ring, uint32_t slots) {
  MAYFLY_CHECK(std::has_single_bit(slots) && slots > 1);
  const int shift = 64 - std::countr_zero(slots);
  const auto points = ring.points();
  std::vector<uint32_t> left = SlotQuotas(layout, slots);
  std::vector<uint32_t> given(layout.member_count(), 0);
  // next[i] leads towards the first point after i whose member still wants slots. Chains are shortened as they are
  // walked: without that the last slots, when most members are full, would cost a walk round the ring each.
  std::vector<uint32_t> next(points.size());
  for (size_t i = 0; i < next.size(); ++i) next[i] = static_cast<uint32_t>(i + 1 == next.size() ? 0 : i + 1);
  auto wants = [&](uint32_t point) { return left[points[point].member.value] != 0; };

  std::vector<uint32_t> table(slots);
  size_t cursor = 0;  // the first point at or after the slot; slots ascend, so it only advances
  for (uint32_t slot = 0; slot < slots; ++slot) {
    const uint64_t first_hash = uint64_t{slot} << shift;
    while (cursor < points.size() && points[cursor].position < first_hash) ++cursor;
    uint32_t at = cursor == points.size() ? 0 : static_cast<uint32_t>(cursor);
    while (!wants(at)) {  // ends: quotas add up to `slots`
      const uint32_t after = next[at];
      if (!wants(after)) next[at] = next[after];
      at = after;
    }
    const MemberId member = points[at].member;
    --left[member.value];
    table[slot] = layout.ShardOf(member, given[member.value]++ % layout.member(member).shards).value;
  }
  return table;
}

}  // namespace mayfly
