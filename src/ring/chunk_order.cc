#include "ring/chunk_order.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

namespace mayfly {
namespace {

// The repeats in smallest whole numbers; empty if they would make more than `entries_max` entries.
std::vector<uint32_t> ExactRepeats(const Layout& layout, uint64_t entries_max) {
  uint64_t multiple = 1;  // least common multiple of the shard counts: weight x multiple / shards is whole
  for (const Member& m : layout.members()) {
    multiple = std::lcm(multiple, uint64_t{m.shards});
    if (multiple > (uint64_t{1} << 40)) return {};  // 2^40 x kWeightMax is still below 2^64
  }
  uint64_t divisor = 0;
  for (const Member& m : layout.members()) divisor = std::gcd(divisor, m.weight * (multiple / m.shards));
  std::vector<uint32_t> repeats;
  uint64_t entries = 0;
  for (const Member& m : layout.members()) {
    const uint64_t repeat = m.weight * (multiple / m.shards) / divisor;
    if (repeat > (entries_max - entries) / m.shards) return {};
    entries += repeat * m.shards;
    repeats.push_back(static_cast<uint32_t>(repeat));
  }
  return repeats;
}

// A member's rank along the ring: by its lowest point.
std::vector<uint32_t> RingRanks(const Layout& layout, const Ring& ring) {
  constexpr uint32_t kNone = ~0u;
  std::vector<uint32_t> ranks(layout.member_count(), kNone);
  uint32_t next = 0;
  for (const RingPoint& p : ring.points()) {
    if (ranks[p.member.value] == kNone) ranks[p.member.value] = next++;
  }
  return ranks;
}

struct Entry {
  uint64_t key;  // place in the order as a fraction of 2^64
  uint32_t rank;
  uint32_t shard;
};

}  // namespace

std::vector<uint32_t> OrderRepeats(const Layout& layout, uint64_t entries_max) {
  std::vector<uint32_t> repeats = ExactRepeats(layout, entries_max);
  if (!repeats.empty()) return repeats;
  for (const Member& m : layout.members()) {
    const uint64_t whole = uint64_t{m.shards} * layout.total_weight();  // below 2^60
    const uint64_t scaled = m.weight * entries_max;                     // below 2^49
    repeats.push_back(static_cast<uint32_t>(std::max<uint64_t>(1, (scaled + whole / 2) / whole)));
  }
  return repeats;
}

std::vector<uint32_t> BuildOrder(const Layout& layout, const Ring& ring, uint64_t entries_max) {
  const std::vector<uint32_t> repeats = OrderRepeats(layout, entries_max);
  const std::vector<uint32_t> ranks = RingRanks(layout, ring);
  std::vector<uint32_t> along(layout.member_count());  // members by rank
  for (uint32_t m = 0; m < layout.member_count(); ++m) along[ranks[m]] = m;

  // Members with equally many entries form a class; the entries of a class are spaced exactly evenly, so between two
  // neighbouring entries of a shard there are as many others as there should be, give or take one a class.
  std::map<uint64_t, std::vector<uint32_t>> classes;
  for (uint32_t m : along) classes[uint64_t{repeats[m]} * layout.members()[m].shards].push_back(m);

  std::vector<Entry> entries;
  uint64_t class_number = 0;
  for (const auto& [entries_each, members] : classes) {
    // Entry i of the j-th of c members, n entries each, in class t of C, is at (i + (j + t/C) / c) / n of the order.
    const unsigned __int128 whole = static_cast<unsigned __int128>(entries_each) * members.size() * classes.size();
    for (uint64_t i = 0; i < entries_each; ++i) {
      for (uint64_t j = 0; j < members.size(); ++j) {
        const uint64_t part = (i * members.size() + j) * classes.size() + class_number;
        const Member& m = layout.members()[members[j]];
        entries.push_back({static_cast<uint64_t>((static_cast<unsigned __int128>(part) << 64) / whole),
                           ranks[m.id.value], layout.ShardOf(m.id, static_cast<uint32_t>(i % m.shards)).value});
      }
    }
    ++class_number;
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tuple(a.key, a.rank, a.shard) < std::tuple(b.key, b.rank, b.shard);
  });
  std::vector<uint32_t> order;
  order.reserve(entries.size());
  for (const Entry& e : entries) order.push_back(e.shard);
  return order;
}

}  // namespace mayfly
