#include "sim/seeds.h"

#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#endif

namespace mayfly {
namespace {

constexpr uint64_t kSeedsOfOne = 16;  // in a process; each leaves some MiB
constexpr unsigned kHangs = 600;      // seconds: no seed takes a hundredth of that

struct Told {
  uint64_t seed = 0, failed = 0;
  std::array<uint64_t, kSeedCountsMost> counts{};
};
static_assert(sizeof(Told) <= 4096);  // a write to the pipe is whole

using One = std::function<void(uint64_t, std::span<uint64_t>)>;

Told Live(uint64_t seed, size_t words, const One& run) {
  SCOPED_TRACE("MAYFLY_SEED=" + std::to_string(seed));
  Told told;
  told.seed = seed;
  run(seed, std::span(told.counts).first(words));
  told.failed = testing::Test::HasFailure() ? 1 : 0;
  return told;
}

[[noreturn]] void LiveAll(uint64_t first, uint64_t end, size_t words, const One& run, int to) {
  // Freed memory serves the next seed: faults of fresh pages are much of what a short one costs.
  (void)mallopt(M_MMAP_THRESHOLD, 64 << 20);
  (void)mallopt(M_TRIM_THRESHOLD, 1 << 30);
  bool failed = false;
  for (uint64_t seed = first; seed < end && !failed; ++seed) {
    (void)alarm(kHangs);
    const Told told = Live(seed, words, run);
    failed = told.failed != 0;
    (void)std::fflush(stdout);
    if (write(to, &told, sizeof told) != sizeof told) break;
  }
#if defined(__SANITIZE_ADDRESS__)
  // Whatever killed servers had is still referred to, from their graves.
  if (!failed && __lsan_do_recoverable_leak_check() != 0) _exit(3);
#endif
  _exit(0);
}

// Not a failure of the test yet: the next seeds would find it and think that it is theirs.
void Failed(const std::string& what, std::vector<std::string>* failures) {
  std::printf("%s\n", what.c_str());
  failures->push_back(what);
}

// The seeds from `first` on, in a child; returns the first that it did not get to.
uint64_t RunSome(uint64_t first, uint64_t end, std::span<uint64_t> sums, const One& run,
                 std::vector<std::string>* failures) {
  int ends[2];
  if (pipe(ends) != 0) {
    Failed("no pipe", failures);
    return end;
  }
  (void)std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    (void)close(ends[0]);
    LiveAll(first, end, sums.size(), run, ends[1]);
  }
  (void)close(ends[1]);
  uint64_t next = first;
  Told told;
  while (child > 0 && read(ends[0], &told, sizeof told) == sizeof told) {
    next = told.seed + 1;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += told.counts[i];
    if (told.failed != 0) Failed("MAYFLY_SEED=" + std::to_string(told.seed) + " failed", failures);
  }
  (void)close(ends[0]);
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child) {
    Failed("no child", failures);
    return end;
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return next;
  if (next == end) {
    Failed("a seed of " + std::to_string(first) + " to " + std::to_string(end - 1) + " leaks", failures);
    return end;
  }
  Failed("MAYFLY_SEED=" + std::to_string(next) + " died, " +
             (WIFSIGNALED(status) ? "signal " + std::to_string(WTERMSIG(status))
                                  : "exit code " + std::to_string(WEXITSTATUS(status))),
         failures);
  return next + 1;
}

}  // namespace

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

void RunSeeds(SeedRange range, std::span<uint64_t> sums, const One& run) {
  if (range.count == 1) {
    const Told told = Live(range.first, sums.size(), run);
    for (size_t i = 0; i < sums.size(); ++i) sums[i] += told.counts[i];
    return;
  }
  const uint64_t end = range.first + range.count;
  std::vector<std::string> failures;
  for (uint64_t at = range.first; at < end && failures.size() < kFailedSeedsMost;) {
    at = RunSome(at, std::min(end, at + kSeedsOfOne), sums, run, &failures);
  }
  for (const std::string& what : failures) ADD_FAILURE() << what;
}

}  // namespace mayfly
