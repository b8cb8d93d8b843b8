// How much memory this node has to give, and what the limits of this process allow. Read once, at the start.
#pragma once

#include <cstdint>
#include <string>

#include "session/outcome.h"

namespace mayfly {

constexpr uint64_t kShardMemoryMin = uint64_t{64} << 20;

struct NodeMemory {
  uint64_t available = 0;    // without swapping, within the limit of our control group
  uint64_t shared_free = 0;  // on the file system of the runtime directory
  std::string shared_path;   // of that
};

// `runtime_path` need not exist yet; its parent does.
NodeMemory ReadNodeMemory(const std::string& runtime_path);

struct MemoryPlan {
  uint32_t members = 1;      // on this node
  uint32_t shards = 1;       // of a member
  uint64_t asked_bytes = 0;  // of a member; 0: choose
};
// The memory of each member of this node. Fails with a sentence that says what would do.
Outcome<uint64_t> PlanMemory(const NodeMemory& node, const MemoryPlan& plan);

// A sentence if the limit of locked memory will keep buffers from being registered for the network; else empty.
std::string MemlockWarning(uint64_t member_bytes);

}  // namespace mayfly
