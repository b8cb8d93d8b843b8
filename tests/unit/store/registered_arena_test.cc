// What the arena maps is known to the disk for just so long (R1). That nothing is under way in it when it goes, the
// simulated disk checks.
#include "store/registered_arena.h"

#include <gtest/gtest.h>

#include "fake/sim_arena.h"
#include "fake/sim_clock.h"
#include "fake/sim_disk.h"
#include "store/arena.h"

namespace mayfly {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

struct RegisteredArenaTest : testing::Test {
  SimClock clock;
  SimPlatter platter{{}};
  SimDisk disk{platter, clock};
  SimArenaMemory memory;
};

TEST_F(RegisteredArenaTest, EachSegmentIsRegisteredWhileItIsMapped) {
  RegisteredArena registered(&memory, &disk);
  MemoryBudget budget(64 * kMiB);
  Arena arena(&registered, &budget, {.segment_bytes = 2 * kMiB});
  const Place first = *arena.Allocate(2 * kMiB), second = *arena.Allocate(kMiB);
  const MutableBytes seen = arena.Data(second);
  EXPECT_TRUE(disk.IsRegistered(arena.Data(first)));
  EXPECT_TRUE(disk.IsRegistered(seen));
  arena.Free(second);
  ASSERT_TRUE(arena.ReleaseFreeSegment());
  EXPECT_FALSE(disk.IsRegistered(seen));
  EXPECT_TRUE(disk.IsRegistered(arena.Data(first)));
}

TEST_F(RegisteredArenaTest, SegmentsOfAServerBeforeAreRegisteredToo) {
  const MutableBytes left = *memory.Map(2 * kMiB);
  memory.Died();
  RegisteredArena registered(&memory, &disk);
  EXPECT_FALSE(disk.IsRegistered(left));
  EXPECT_EQ(registered.Adopt()->size(), 1u);
  EXPECT_TRUE(disk.IsRegistered(left));
  registered.Unmap(left);
  EXPECT_FALSE(disk.IsRegistered(left));
}

TEST_F(RegisteredArenaTest, WithoutADiskItIsTheMemoryItself) {
  RegisteredArena registered(&memory, nullptr);
  const MutableBytes segment = *registered.Map(2 * kMiB);
  EXPECT_EQ(registered.Stamps(segment).data(), memory.Stamps(segment).data());
  registered.Unmap(segment);
}

}  // namespace
}  // namespace mayfly
