// Builds the order in which the chunks of a file walk the shards. Free functions of placement.cc, apart for their
// tests.
#pragma once

#include <cstdint>
#include <vector>

#include "ring/layout.h"
#include "ring/ring.h"

namespace mayfly {

// How often each shard of a member stands in the order, by member id: the smallest whole numbers in the ratio of
// weight / shards, if the order then has at most `entries_max` entries; else that ratio scaled to `entries_max` entries
// and rounded, at least 1. So equal weights give 1, and a shard with twice the weight gets twice the entries.
std::vector<uint32_t> OrderRepeats(const Layout& layout, uint64_t entries_max);

// The order: each shard as often as OrderRepeats says, evenly spread, members along the ring, neighbours on different
// members as far as the weights allow.
std::vector<uint32_t> BuildOrder(const Layout& layout, const Ring& ring, uint64_t entries_max);

}  // namespace mayfly
