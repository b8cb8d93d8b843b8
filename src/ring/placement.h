// Where everything lives. The hash space is cut into slots of equal width; a table gives each slot to a shard, so that
// every shard has its weighted share to within one slot, and look-up is one index. A second table, the order, lists
// the shards along the ring; the chunks of a file walk it, so large files are balanced exactly. Rank and client use
// the same tables: ranks build them from the layout, clients map them from the node map.
// A pure value: never changed after it was made, cheap to copy, any thread may read it.
// Invariants  P1  equal (layout, options) give equal tables on every rank.
//             P2  a shard's number of slots differs from its weighted share by less than one.
//             P3  order[positions[s]] is s, for every shard s: chunk 0 of a file lives at the home of its inode.
//             P4  every entry of slots and order is below shard_count().
// Tables, hash inputs, a worked example: share/doc/format/ring.md.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/ids.h"
#include "base/status.h"
#include "ring/layout.h"
#include "ring/ring.h"

namespace mayfly {

// The three tables as they are stored. Entries are shard numbers in slots and order, indexes into order in positions.
struct PlacementTables {
  std::span<const uint32_t> slots;
  std::span<const uint32_t> order;
  std::span<const uint32_t> positions;
};

class Placement {
 public:
  static constexpr uint32_t kSlotsMin = 65536;
  static constexpr uint32_t kSlotsPerShardMin = 64;
  static constexpr uint32_t kSlotsMax = 1u << 30;       // kSlotsPerShardMin for Layout::kShardsMax shards
  static constexpr uint64_t kRootInodeSequence = 1;     // the root inode is InodeId::Make(RootShard(), 1)
  static constexpr uint32_t kOrderMin = 4096;           // exact weights cost no more entries than this, or than
  static constexpr uint32_t kOrderPerShardMax = 16;     // 16 a shard; past both they are rounded (OrderMax)
  static constexpr uint32_t kHashedNameBytesMax = 255;  // as long as a name can be

  // The tables of `layout`. Fails with kInvalid as Ring::Build does.
  static Result<Placement> Build(const Layout& layout, const RingOptions& options = {});
  // A view of stored tables; nothing is copied. `keeps`, which may be null, owns the memory and lives as long as any
  // copy of the placement. Fails with kCorrupt unless P3 and P4 hold and the sizes are possible.
  static Result<Placement> FromTables(const PlacementTables& tables, uint32_t shard_count,
                                      std::shared_ptr<const void> keeps);

  ShardId ShardOfHash(uint64_t hash) const { return ShardId(tables_.slots[hash >> shift_]); }
  // The shard of the dentry `name` in the directory `parent`. A new inode is born there.
  ShardId DentryShard(InodeId parent, std::string_view name) const { return ShardOfHash(DentryHash(parent, name)); }
  // The shard of chunk `k` of a file whose inode lives at `home`; home itself for chunk 0. `home` must be below
  // shard_count(): a number that came from a peer is checked first.
  ShardId ChunkShard(ShardId home, ChunkIndex k) const {
    const uint64_t at = uint64_t{tables_.positions[home.value]} + k.value;
    return ShardId(tables_.order[at % tables_.order.size()]);
  }
  ShardId RootShard() const { return DentryShard(InodeId(), "/"); }
  InodeId RootInode() const { return InodeId::Make(RootShard(), kRootInodeSequence); }

  uint32_t shard_count() const { return static_cast<uint32_t>(tables_.positions.size()); }
  uint32_t slot_count() const { return static_cast<uint32_t>(tables_.slots.size()); }
  const PlacementTables& tables() const { return tables_; }
  // Equal on ranks that agree about every entry; ranks compare it when they meet.
  uint64_t Fingerprint() const;

  // xxHash64, seed 0, of the parent's number (8 bytes, little-endian) followed by the name. Bytes of a name past
  // kHashedNameBytesMax do not count: such names are refused before they are placed.
  static uint64_t DentryHash(InodeId parent, std::string_view name);
  // The smallest power of two that gives each shard kSlotsPerShardMin slots on average, at least kSlotsMin.
  static uint32_t SlotsFor(uint32_t shard_count);
  // The order is never longer: kOrderMin or kOrderPerShardMax entries a shard, whichever is more, and one a shard.
  static uint64_t OrderMax(uint32_t shard_count);

 private:
  explicit Placement(const PlacementTables& tables, std::shared_ptr<const void> keeps)
      : tables_(tables), shift_(64 - std::countr_zero(tables.slots.size())), keeps_(std::move(keeps)) {}

  PlacementTables tables_;
  int shift_;  // 64 - log2(slots)
  std::shared_ptr<const void> keeps_;
};

}  // namespace mayfly
