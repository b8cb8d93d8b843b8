// The MPI part of a server's life: who else there is, values that all must share, and agreement on whether each step
// of the start went well everywhere. One thread (MPI_THREAD_FUNNELED). Only world.cc includes mpi.h and pmix.h.
// Invariants  M1  every rank makes the same calls in the same order; Agree after each step is what keeps it so.
//             M2  an MPI call that fails ends in the handler of OnError, which does not return.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "session/outcome.h"

namespace mayfly {

class World {
 public:
  // MPI_Init, until all ranks are out of it. The rank is known from then on.
  World(int* argc, char*** argv);
  World(const World&) = delete;

  void OnError(std::function<void(const std::string& cause)> handler) { on_error_ = std::move(handler); }

  uint32_t rank() const { return rank_; }
  uint32_t size() const { return size_; }
  // Among the ranks of this node, by rank.
  uint32_t node_rank() const { return node_rank_; }
  uint32_t node_size() const { return node_size_; }
  bool leads_node() const { return node_rank_ == 0; }
  const std::string& host() const { return host_; }

  // All ranks learn whether all are well: `mine`, or "HOST: sentence" of the lowest rank that failed, with the code of
  // its failure, and how many more ranks did.
  Outcome<Done> Agree(const Outcome<Done>& mine);
  // From `root` to all, or from the first rank of each node to that node.
  std::string Share(std::string text, uint32_t root = 0);
  uint64_t ShareOnNode(uint64_t value);
  // Of each rank, by rank.
  std::vector<std::string> GatherAll(const std::string& mine);
  uint64_t Max(uint64_t mine);

  void Finalize();

 private:
  void Check(int result, const char* call);

  std::function<void(const std::string&)> on_error_;
  uint32_t rank_ = 0, size_ = 1, node_rank_ = 0, node_size_ = 1;
  std::string host_;
};

// Open MPI leaves shared memory files behind when a process is killed. Those of this process; any thread, after
// MPI_Init.
std::vector<std::string> MpiSegments();
// Unlinks them: they stay mapped, and after MPI_Init every local peer has its mapping.
void RemoveMpiSegments();
// Where the launcher's daemon on this node keeps its files, which stay if it is killed; empty if it is not Open MPI's.
std::string MpiLauncherDirectory();

// The rank that the launcher gave this process, before MPI knows; 0 outside of a launcher.
uint32_t RankOfEnvironment();

}  // namespace mayfly
