// The door to bulk memory: segments that other processes of the node can map (0600), backed by real pages before they
// are handed out (fallocate), so that a full /dev/shm is an error here and never a SIGBUS later. What such a process
// sees of them is os/arena_view.h.
#pragma once

#include <atomic>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace mayfly {

// One for each stretch of kStampBytes of a segment, readable by all who map it. The owner counts it up before any of
// the stretch is given out anew: who copied from there and then finds the stamp as it was told has copied what was
// there.
using ArenaStamp = std::atomic<uint32_t>;
static_assert(ArenaStamp::is_always_lock_free);
constexpr size_t kStampBytes = 64 * 1024;
// How many counts of changes an arena has (server/mapped.cc says of what).
constexpr size_t kChangeCounts = 1u << 16;

// What an arena's owner and those who attached tell each other without a message. All zeros at first.
// Invariants  B1  until `until` (the node's monotonic clock) the owner serves walks of `generation`, and it counts each
//                 change before anybody hears of it.
//             B2  who attached puts a file into one of its holds and looks at the file's count then; the owner counts,
//                 and looks at the holds then. So one of them sees the other.
//             B3  a file's hold is its number, and the complement once the owner has registered it as open: who takes
//                 it out and finds that has to tell of the close.
//             B4  the owner counts a process's bell up when it has something to ask it for. Who listens to it so asks
//                 what it is.
struct ArenaBoard {
  static constexpr size_t kProcesses = 64, kHolds = 64;
  using Hold = std::atomic<uint64_t>;
  using Bell = std::atomic<uint32_t>;

  std::atomic<uint64_t> generation;
  std::atomic<uint64_t> until;
  alignas(64) std::atomic<uint64_t> processes[kProcesses];  // whose holds these are; 0: free
  alignas(64) Hold holds[kProcesses][kHolds];               // 0: free
  alignas(64) Bell bells[kProcesses];
};
static_assert(std::atomic<uint64_t>::is_always_lock_free);

class ArenaMemory {
 public:
  struct Found {
    uint32_t number = 0;
    MutableBytes segment;
  };

  virtual ~ArenaMemory() = default;
  // Before the first Map: the segments that a process which died left under this name, sorted by number, with the bytes
  // and stamps that it left; from now on as if Map had given them, and numbers go on behind the highest. Clients that
  // had attached still are. kBusy: that process is alive. None are found where this is not wanted (see the adapter).
  virtual Result<std::vector<Found>> Adopt() = 0;
  // A new segment of exactly `bytes` (a multiple of 2 MiB), zeroed. kNoSpace when the node has no room for it.
  // Lives until Unmap or the end of this object (but see Keep). Segments are numbered 0, 1, 2 ... in the order of
  // creation.
  virtual Result<MutableBytes> Map(size_t bytes) = 0;
  // The stamps of a segment that Map gave, all 0 at first.
  virtual std::span<ArenaStamp> Stamps(MutableBytes segment) = 0;
  // kChangeCounts, readable by all who attached; they outlive the process as the segments do. None before the first
  // Map or Adopt, and where nobody can attach.
  virtual std::span<ArenaStamp> Changes() = 0;
  // Likewise, and writable by them; null for none.
  virtual ArenaBoard* Board() = 0;
  // The memory is the node's again at once, whoever else has it mapped.
  virtual void Unmap(MutableBytes segment) = 0;
  // From now on neither Unmap nor the end of this object takes anything from the node: it is for the next Adopt.
  virtual void Keep() = 0;
  // Touches the pages of `range` so that the first write does not fault (may be slow: 1 GB/s). Safe to call from a
  // helper thread while others use the memory.
  virtual void Prefault(MutableBytes range) = 0;

  // By which other processes of this node and user find the segments (ArenaViews::Attach); empty: not at all.
  virtual std::string Name() const = 0;
  // Whether a process that attached as `who` may still have the segments mapped.
  virtual bool IsAttached(uint64_t who) = 0;
};

}  // namespace mayfly
