// How a session was made, where none of its charters can be read: out of the node map if that is still there, else out
// of the directories' names and of what the journals speak of. Plain functions over tables that were read, one thread.
// Invariants  U1  what is taken without proof is said; what can be tried on what is there is tried, and given up if one
//                 name or chunk contradicts it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "inspect/places.h"
#include "inspect/settle.h"
#include "ring/placement.h"
#include "session/node_map.h"

namespace mayfly {

// The session's map in the node's memory; none if it is not there or does not hold.
std::optional<NodeMap> MapOf(const MemberPlace& member, uint32_t uid);

// Members as far as directories tell, with all shards below `shards` at least. Each place gets the number of its member
// in there. kInvalid if two directories hold the same shard.
Outcome<Layout> GuessLayout(std::vector<MemberPlace>* places, uint32_t shards);

// One more than the greatest shard that something in the tables is of.
uint32_t ShardsSpokenOf(ShardTables* tables);

// The root's number is no other directory's. None if nothing that is there speaks of it.
std::optional<InodeId> FindRoot(const std::vector<SettleShard>& shards);

// As if nobody had given members a weight, or the ring other options: none if something that is there lies elsewhere
// (U1), or if there is too little to tell. *agreed: how many names and chunks lie where it puts them.
std::optional<Placement> GuessPlacement(const Layout& layout, const std::vector<SettleShard>& shards, uint64_t* agreed);

}  // namespace mayfly
