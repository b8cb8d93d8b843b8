// Many seeds of a simulated world. They run in processes of their own, some dozens each, one after the other: what
// killed servers had goes with the process (nothing of them runs again, not even a destructor), and a seed that dies
// takes no other along. MAYFLY_SEED is the first, MAYFLY_SEEDS how many; one alone runs in this process, where a
// debugger finds it.
#pragma once

#include <cstdint>
#include <functional>
#include <span>

namespace mayfly {

uint64_t FromEnvironment(const char* name, uint64_t otherwise);

// Sanitizers cost some ten times as much.
#ifdef MAYFLY_SANITIZED
inline constexpr uint64_t kSeedsPart = 8;
#else
inline constexpr uint64_t kSeedsPart = 1;
#endif
struct SeedRange {
  explicit SeedRange(uint64_t in_ci)
      : first(FromEnvironment("MAYFLY_SEED", 1)), count(FromEnvironment("MAYFLY_SEEDS", in_ci / kSeedsPart)) {}
  uint64_t first, count;
};

// `run(seed, counts)` lives through one seed and adds to the counts, which are summed up in `sums` (as many as there
// are words in it, kSeedCountsMost at most). What fails in it is a failure of the test that names the seed; after
// kFailedSeedsMost of them no more are tried.
inline constexpr size_t kSeedCountsMost = 24;
inline constexpr size_t kFailedSeedsMost = 20;
void RunSeeds(SeedRange range, std::span<uint64_t> sums,
              const std::function<void(uint64_t seed, std::span<uint64_t> counts)>& run);

}  // namespace mayfly
