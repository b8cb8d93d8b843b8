// What the journals of a session have to say besides, so that a recovery makes tables of them that fit together:
// decides what was under way between shards, lets fsck look, mends what it found (mend.h), and looks again at what
// comes of it, until there is nothing left. Values alone, nothing is written. One thread. Invariants  N1  what is given
// out was looked at: applied behind the fields it leaves no finding, and the namespace of
//                 every shard passes what recovery asks of it.
#pragma once

#include <memory>
#include <vector>

#include "inspect/fsck.h"
#include "session/outcome.h"

namespace mayfly {

struct RepairShard {
  TlvWriter fields;                // of its checkpoint and of its records, in order
  size_t before_tail = 0;          // bytes of them that came before the first record that its ring need not have
  bool whole = true;               // all that it had acknowledged is among them
  uint64_t chunk_file_blocks = 0;  // 0: there is none, or it is not known
};

struct RepairPlan {
  std::vector<TlvWriter> images;  // by shard, behind the fields
  Settled settled;                // of what was under way
  uint64_t mended = 0;            // findings
};

// The shard's tables as a recovery makes them of its fields and of what is to come behind them.
std::unique_ptr<ShardTables> TablesWith(ShardId shard, const RepairShard& from, Bytes images);

// `shards`: all of the layout, by number. kCorrupt with a sentence: it cannot be done.
Outcome<RepairPlan> PlanRepair(const Layout& layout, const Placement& placement, const std::vector<RepairShard>& shards,
                               Nanos now);

}  // namespace mayfly
