// Learns of the end of other processes of this node at once, also while they are zombies. (UCX finds a dead peer over
// shared memory by its keepalive only: not before somebody waited for the zombie, and never while the connection is
// still being set up.)
// One thread owns a watch. One descriptor a watched process, shared by all its watchers here.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

namespace mayfly {

// A process for as long as the node runs: process ids come back, start times with them do not.
struct ProcessName {
  uint64_t host = 0;   // of the boot and the process id namespace: equal where `pid` means the same
  uint64_t start = 0;  // in clock ticks since boot; 0 if it could not be read
  uint32_t pid = 0;

  static const ProcessName& OfSelf();
  friend auto operator<=>(const ProcessName&, const ProcessName&) = default;
};

class ProcessWatch {
 public:
  ProcessWatch();
  ProcessWatch(const ProcessWatch&) = delete;
  ProcessWatch& operator=(const ProcessWatch&) = delete;
  ~ProcessWatch();

  // kGone: it has ended already. kBlind: not on this host, this very process, or the system cannot watch it.
  enum class Added : uint8_t { kWatched, kGone, kBlind };
  Added Add(const ProcessName& process, uint32_t token);
  // True if some process of this host has this id: perhaps another than the one that is known to be gone.
  static bool IsTaken(uint32_t pid);
  // Of an Add that said kWatched, before or after its end was told.
  void Remove(const ProcessName& process, uint32_t token);
  // Appends the tokens of processes that have ended, each once.
  void Poll(std::vector<uint32_t>* ended);
  // True if Poll has something to tell.
  bool Ready() const;
  // Readable while it has.
  int fd() const { return epoll_; }

 private:
  struct Watched {
    int pidfd = -1;
    std::vector<uint32_t> tokens;
  };
  int epoll_ = -1;
  std::map<ProcessName, Watched> watched_;
  std::map<int, ProcessName> by_pidfd_;
};

}  // namespace mayfly
