// Fills the slot table along the ring with bounded loads. Free functions of placement.cc, apart for their tests.
#pragma once

#include <cstdint>
#include <vector>

#include "ring/layout.h"
#include "ring/ring.h"

namespace mayfly {

// How many of `slots` each member gets, by member id: its exact weighted share rounded down, and the slots left over
// one each to the largest remainders (equal ones: the lower id first). The sum is `slots`.
std::vector<uint32_t> SlotQuotas(const Layout& layout, uint32_t slots);

// The shard of each slot. Slots are dealt in ascending order: slot i goes to the member of the first point at or after
// its first hash, clockwise, whose member has not yet its quota; inside the member to its shards in turn.
std::vector<uint32_t> FillSlots(const Layout& layout, const Ring& ring, uint32_t slots);

}  // namespace mayfly
