#include "session/node_map_format.h"

namespace mayfly {
namespace {

constexpr uint64_t RoundUp(uint64_t n) { return (n + 7) / 8 * 8; }

}  // namespace

bool CountsAreSane(const NodeMapHeader& h) {
  if (h.members == 0 || h.members > Layout::kMembersMax) return false;
  if (h.shards < h.members || h.shards > Layout::kShardsMax) return false;
  if (h.ring_points == 0 || h.ring_points > Ring::kPointsPerMemberMax) return false;
  if (h.slots != Placement::SlotsFor(h.shards)) return false;
  if (h.order < h.shards || h.order > Placement::OrderMax(h.shards)) return false;
  return h.host_bytes <= uint64_t{h.members} * Layout::kHostBytesMax &&
         h.address_bytes <= uint64_t{h.shards} * NodeMap::kAddressBytesMax;
}

NodeMapSections NodeMapSections::Of(const NodeMapHeader& h) {
  NodeMapSections at;
  at.members = NodeMap::kHeaderBytes;
  at.address_ends = at.members + uint64_t{h.members} * kNodeMapMemberBytes;
  at.slots = at.address_ends + (uint64_t{h.shards} + 1) * sizeof(uint64_t);
  at.order = at.slots + RoundUp(h.slots * sizeof(uint32_t));
  at.positions = at.order + RoundUp(h.order * sizeof(uint32_t));
  at.hosts = at.positions + RoundUp(h.shards * sizeof(uint32_t));
  at.addresses = at.hosts + RoundUp(h.host_bytes);
  at.end = at.addresses + RoundUp(h.address_bytes);
  return at;
}

}  // namespace mayfly
