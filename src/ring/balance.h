// How evenly the hash space is dealt out: the plain ring beside the slot table. For `mayfly ring` and the tests.
#pragma once

#include <vector>

#include "base/ids.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "ring/ring.h"

namespace mayfly {

// Load of a member in percent of its weighted share: 100 is exact, 122 is 22% more than it should have.
struct LoadSpread {
  double min = 0, mean = 0, max = 0;
};

struct MemberBalance {
  MemberId id;
  // Percent of the whole hash space.
  double fair = 0;   // by weight
  double ring = 0;   // what the plain ring gives it
  double table = 0;  // what the slot table gives it
};

struct Balance {
  std::vector<MemberBalance> members;  // by id
  LoadSpread ring, table;
};

// `placement` must be of `layout`.
Balance BalanceOf(const Layout& layout, const Ring& ring, const Placement& placement);

}  // namespace mayfly
