// How a process uses a session: what mayfly_options says, in this room's units.
#pragma once

#include "base/ids.h"

namespace mayfly {

struct ClientOptions {
  Nanos op_timeout = 30 * kSecond;  // of every operation; of every piece of a long transfer
  // A server that cannot be connected to for so long fails calls. Where servers come back, they are waited for instead.
  Nanos unreachable_after = 3 * kSecond;
  bool checksum = true;                    // sums travel with writes, and reads are verified
  uint32_t write_behind_bytes = 1u << 20;  // buffer of a sole opener's small sequential writes; 0: off
  uint32_t readahead_bytes = 8u << 20;     // window of small sequential reads; 0: off
  // Small files made, and half as many in one part of a directory: from then on they are made and closed without
  // waiting.
  uint32_t own_after = 8;
  bool syncs = false;      // level `node`: fsync and close wait until the servers' disks have the file
  bool map_arena = true;   // of servers on this node
  uint8_t chunk_bits = 0;  // of new files; 0: the session's
};

}  // namespace mayfly
