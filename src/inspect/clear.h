// Removing the storage of dead servers on this node: journals, checkpoints and charter of members, and what of theirs
// lies in memory. A plan first, which says what would be lost and what forbids it; then the removal, which looks again.
// One-shot file operations, one thread.
// Invariants  C1  nothing of a session goes of which a process lives, or may live, or whose journals a process has
// open;
//                 the journals stay locked until they are gone.
//             C2  what is another host's is left alone: whether its servers live cannot be told from here.
//             C3  only files and directories of the kinds that servers make there go.
#pragma once

#include <string>
#include <vector>

#include "inspect/places.h"

namespace mayfly {

struct ClearPlan {
  std::vector<MemberPlace> members;  // what goes
  uint64_t journals = 0, bytes = 0;  // of them, as the file system counts
  // A sentence each:
  std::vector<std::string> forbidden;  // a server lives, or may live; or it cannot be done so
  std::vector<std::string> dirty;      // would be lost, and is nowhere else
  std::vector<std::string> elsewhere;  // members of other hosts, which stay
};

ClearPlan PlanClear(std::vector<MemberPlace> places, const PlacesOptions& options);

// The paths that are gone. kBusy if a server came to life since, kAccess and others with what could not be removed;
// what was removed before that stays so.
struct Cleared {
  std::vector<std::string> removed;
  Outcome<Done> result = Done{};
};
Cleared Clear(const ClearPlan& plan, const PlacesOptions& options);

}  // namespace mayfly
