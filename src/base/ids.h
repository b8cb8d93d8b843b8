// Strong types for the ids that meet in one signature. Each is a plain integer on the wire and in tables; none
// converts to another by accident.
// Invariants  I1  an InodeId is never reused within a session; 0 is no inode.
//             I2  its upper 24 bits name the shard it was born on and lives on for ever (its home).
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace mayfly {

// Tag makes each instantiation a type of its own; V is the integer.
template <class Tag, class V>
struct Id {
  V value = 0;
  constexpr Id() = default;
  constexpr explicit Id(V v) : value(v) {}
  friend constexpr auto operator<=>(Id, Id) = default;
  template <class H>
  friend H AbslHashValue(H h, Id id) {
    return H::combine(std::move(h), id.value);
  }
};

// Dense ids given at the first start: members 0..65,533, shards of the whole session 0..2^24-1 (the layout maps a
// shard to its member and local number).
using MemberId = Id<struct MemberTag, uint16_t>;
using ShardId = Id<struct ShardTag, uint32_t>;
using ClientId = Id<struct ClientTag, uint64_t>;        // random, one a client lane; 0 is none
using Generation = Id<struct GenerationTag, uint64_t>;  // of the namespace; 0 is "no walk" (by handle)
using View = Id<struct ViewTag, uint32_t>;
using ChunkIndex = Id<struct ChunkTag, uint32_t>;
using TxnId = Id<struct TxnTag, uint64_t>;  // coordinator shard:24 | sequence:40
using Lsn = Id<struct LsnTag, uint64_t>;

// shard:24 | sequence:40. The home is in the number, so no table is asked for it.
struct InodeId {
  uint64_t value = 0;
  constexpr InodeId() = default;
  constexpr explicit InodeId(uint64_t v) : value(v) {}
  static constexpr uint64_t kSequenceMax = (uint64_t{1} << 40) - 1;
  static constexpr InodeId Make(ShardId home, uint64_t sequence) {
    return InodeId((uint64_t{home.value} << 40) | (sequence & kSequenceMax));
  }
  constexpr ShardId home() const { return ShardId(static_cast<uint32_t>(value >> 40)); }
  constexpr uint64_t sequence() const { return value & kSequenceMax; }
  constexpr bool valid() const { return value != 0; }
  friend constexpr auto operator<=>(InodeId, InodeId) = default;
  template <class H>
  friend H AbslHashValue(H h, InodeId id) {
    return H::combine(std::move(h), id.value);
  }
};

// Nanoseconds. Monotonic for deadlines, since 1970 for file times; the names of variables say which.
using Nanos = uint64_t;
constexpr Nanos kNever = ~Nanos{0};
constexpr Nanos kMicrosecond = 1000, kMillisecond = 1000 * kMicrosecond, kSecond = 1000 * kMillisecond;

}  // namespace mayfly
