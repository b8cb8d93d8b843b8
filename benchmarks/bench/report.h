// What a run of mayfly-bench found out, and how it is told: text, JSON, and a picture (SVG). Rank 0 only.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bench {

struct Phase {
  std::string name;        // as the IO500 calls it
  bool bandwidth = false;  // GiB/s, else kIOPS
  double score = 0;
  double seconds = 0;  // of the slowest rank; for reads the time in calls, since every byte is compared between them
  uint64_t operations = 0, bytes = 0;  // of all ranks
};

struct Run {
  std::string session, version, transport, durability, cache;  // what each figure depends on
  int ranks = 0, members = 0, shards = 0;
  uint64_t chunk_bytes = 0;
  bool checksum = true;
  double stonewall_seconds = 0;
  std::vector<Phase> phases;
};

// The IO500's: geometric means of the bandwidths (GiB/s) and of the rates (kIOPS), and the root of their product.
struct Score {
  double bandwidth = 0, rate = 0, total = 0;
};
Score ScoreOf(const Run& run);

std::string Text(const Run& run);
std::string Json(const Run& run);
// Bars on a logarithmic scale, bandwidths and rates apart.
std::string Svg(const Run& run);

}  // namespace bench
