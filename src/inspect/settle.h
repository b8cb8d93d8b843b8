// What was begun at several shards and had no end everywhere when they died, brought to one among those that are there:
// as their servers would, but without asking anybody. Plain values.
#pragma once

#include <vector>

#include "inspect/shard_tables.h"

namespace mayfly {

struct SettleShard {
  ShardTables* tables = nullptr;  // null: this shard is not there
  bool whole = false;             // its journal is read to its end and is not damaged: what it does not hold is not so
};

// Of transactions that were prepared at a shard and not decided there.
struct Settled {
  uint64_t committed = 0;  // its coordinator's journal says so
  uint64_t aborted = 0;    // its coordinator's journal has nothing of it: presumed abort
  uint64_t unknown = 0;    // its coordinator is not there, or damaged, or the shard cannot do it: left undone
};

// Finishes all tables (ShardTables::Finish). `shards`: by number.
Settled Settle(const std::vector<SettleShard>& shards);

}  // namespace mayfly
