#include "ring/placement.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/checksum.h"
#include "base/coding.h"
#include "ring/chunk_order.h"
#include "ring/slot_table.h"

namespace mayfly {
namespace {

// The memory behind the spans of a placement that was built here.
struct BuiltTables {
  std::vector<uint32_t> slots, order, positions;
};

Bytes AsBytes(std::span<const uint32_t> table) {
  return {reinterpret_cast<const uint8_t*>(table.data()), table.size_bytes()};
}

bool AllBelow(std::span<const uint32_t> table, uint32_t limit) {
  uint32_t highest = 0;  // no early exit: the loop vectorises, and tables are nearly always right
  for (uint32_t entry : table) highest = std::max(highest, entry);
  return highest < limit;
}

}  // namespace

uint32_t Placement::SlotsFor(uint32_t shard_count) {
  return std::bit_ceil(std::max(kSlotsMin, shard_count * kSlotsPerShardMin));  // below 2^30: no overflow
}

uint64_t Placement::OrderMax(uint32_t shard_count) {
  return std::max<uint64_t>(kOrderMin, uint64_t{kOrderPerShardMax} * shard_count) + shard_count;
}

uint64_t Placement::DentryHash(InodeId parent, std::string_view name) {
  std::array<uint8_t, sizeof parent.value + kHashedNameBytesMax> key;
  const size_t name_bytes = std::min<size_t>(name.size(), kHashedNameBytesMax);
  Encoder encoder(key);
  encoder.Put(parent);
  encoder.Raw(name.data(), name_bytes);
  return Hash64(Bytes(key.data(), encoder.size()), 0);
}

Result<Placement> Placement::Build(const Layout& layout, const RingOptions& options) {
  Result<Ring> ring = Ring::Build(layout, options);
  if (!ring.ok()) return ring.code();
  auto built = std::make_shared<BuiltTables>();
  built->slots = FillSlots(layout, *ring, SlotsFor(layout.shard_count()));
  built->order = BuildOrder(layout, *ring, OrderMax(layout.shard_count()) - layout.shard_count());
  built->positions.resize(layout.shard_count());
  for (size_t i = built->order.size(); i-- > 0;) built->positions[built->order[i]] = static_cast<uint32_t>(i);
  const PlacementTables tables{built->slots, built->order, built->positions};
  Result<Placement> placement = FromTables(tables, layout.shard_count(), std::move(built));
  MAYFLY_CHECK(placement.ok());  // what is built passes the check of what is read
  return placement;
}

Result<Placement> Placement::FromTables(const PlacementTables& tables, uint32_t shard_count,
                                        std::shared_ptr<const void> keeps) {
  if (shard_count == 0 || shard_count > Layout::kShardsMax) return Code::kCorrupt;
  if (tables.slots.size() != SlotsFor(shard_count)) return Code::kCorrupt;
  if (tables.positions.size() != shard_count) return Code::kCorrupt;
  if (tables.order.size() < shard_count || tables.order.size() > OrderMax(shard_count)) return Code::kCorrupt;
  if (!AllBelow(tables.slots, shard_count) || !AllBelow(tables.order, shard_count)) return Code::kCorrupt;  // P4
  for (uint32_t shard = 0; shard < shard_count; ++shard) {
    const uint32_t at = tables.positions[shard];
    if (at >= tables.order.size() || tables.order[at] != shard) return Code::kCorrupt;  // P3
  }
  return Placement(tables, std::move(keeps));
}

uint64_t Placement::Fingerprint() const {
  const std::array<uint64_t, 3> sums = {Checksum(AsBytes(tables_.slots)), Checksum(AsBytes(tables_.order)),
                                        Checksum(AsBytes(tables_.positions))};
  return Checksum(Bytes(reinterpret_cast<const uint8_t*>(sums.data()), sizeof sums));
}

}  // namespace mayfly
