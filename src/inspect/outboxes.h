// What processes of a shard's node had written down for it (wire/outbox.h) when it died, done in its tables, as its
// next start would (server/outbox.cc). One thread.
// Invariants  U1  what is done already, all or a part of it, is done once; doing it all again changes nothing.
//             U2  the tables are as consistent afterwards as before, whatever stands in an outbox.
#pragma once

#include "inspect/salvage.h"
#include "ring/placement.h"

namespace mayfly {

struct OutboxTimes {
  Nanos now = 0;   // of the clock by which the processes noted when they did what
  Nanos wall = 0;  // the time of day then
};

struct WrittenDown {
  uint64_t done = 0;      // changes that the tables had not, and have now
  uint64_t left_out = 0;  // that cannot be done: they contradict the tables, or are none
  uint64_t unread = 0;    // outboxes whose memory is not there: what stands in them is not known
};

// Of one shard that is there, once all tables are settled (Settle). `bytes` reads the arena. `placement`: null if it is
// not known.
WrittenDown DoWrittenDown(const SalvageShard& shard, const Placement* placement, const OutboxTimes& times);

}  // namespace mayfly
