// Which process has which inode of this home open, how often, and whether to write. The total of an inode is
// Inode::opens.
// Owned by one namespace, used by one thread.
// Invariants  F1  a count is at least 1; a process without open files may stay, with a small empty table.
//             F2  who opened to write counts as writing until it has closed all that it opened of the inode.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <cstdint>
#include <vector>

#include "wire/types.h"

namespace mayfly {

class OpenTable {
 public:
  void Add(InodeId inode, ClientId process, bool writes);
  // False if the process did not have it open.
  bool Remove(InodeId inode, ClientId process);
  uint32_t CountOf(InodeId inode, ClientId process) const;
  bool WrittenBy(InodeId inode, ClientId process) const;        // F2
  bool WrittenByOthers(InodeId inode, ClientId process) const;  // asks each process that has anything open
  // What a look at a process reads first, on its way; and, once that is here, at an inode of it.
  void Prefetch(ClientId process) const { processes_.prefetch(process); }
  void Prefetch(InodeId inode, ClientId process) const {
    const auto counts = processes_.find(process);
    if (counts != processes_.end()) counts->second.prefetch(inode);
  }
  // What an image says; 0 opens: the process does not have it open.
  void Set(InodeId inode, ClientId process, uint32_t opens, bool writes);
  // Who has anything open, and what, in an order of no meaning.
  std::vector<ClientId> Processes() const;
  std::vector<InodeId> InodesOf(ClientId process) const;
  // All of a process, by inode number, with their counts; the process is forgotten.
  std::vector<std::pair<InodeId, uint32_t>> TakeAll(ClientId process);
  // All of all processes, by inode number.
  std::vector<std::pair<InodeId, uint32_t>> Totals() const;
  uint64_t memory_bytes() const {
    return processes_.capacity() * (sizeof(std::pair<ClientId, Counts>) + 1) + counts_room_ * kCountBytes;
  }

 private:
  struct Count {
    uint32_t opens = 0;
    bool writes = false;
  };
  using Counts = absl::flat_hash_map<InodeId, Count>;
  void Erase(Counts& counts, Counts::iterator at);
  static constexpr uint64_t kCountBytes = sizeof(std::pair<InodeId, Count>) + 1;
  static_assert(kCountBytes == 17);

  uint64_t counts_room_ = 0;  // of all processes together
  absl::flat_hash_map<ClientId, Counts> processes_;
};

}  // namespace mayfly
