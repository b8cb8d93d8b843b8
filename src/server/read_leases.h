// Who may read ahead of which file of this home. A lease is for a moment; while it lasts nobody else changes the file:
// it is given only when no other process has the file open for writing, and an open for writing, or a truncation by
// path, ends the giving (Break) and waits until all leases but its own process's are over (Until).
// It is never taken back by a message, so a reader that stands still delays a writer by one lease at most, and a server
// needs no way to its clients. Belongs to a shard.
// Invariants  L1  the holder counts from before it asked, the shard from its answer on: the holder's end comes first.
//             L2  while a file is not broken and a lease of it lasts, nobody has it open for writing.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <deque>
#include <utility>

#include "base/ids.h"

namespace mayfly {

class ReadLeases {
 public:
  static constexpr Nanos kLease = 200 * kMillisecond;

  // No other process has `inode` open for writing; `itself`: `process` may have.
  void Give(InodeId inode, ClientId process, bool itself, Nanos now) {
    ForgetOlder(now);
    Entry& entry = entries_[inode];
    if (entry.holder != process) {
      entry.others_until = std::max(entry.others_until, entry.until);
      entry.holder = process;
    }
    entry.until = now + kLease;
    entry.broken = itself;
    given_.emplace_back(entry.until, inode);
  }
  // Somebody other than `process` holds one and L2 says that nobody writes: no need to look.
  bool OthersHold(InodeId inode, ClientId process, Nanos now) const {
    const auto it = entries_.find(inode);
    return it != entries_.end() && !it->second.broken && Until(inode, process) > now;
  }
  // When the last lease of a process other than `except` ends. May be one of its own when several have held some.
  Nanos Until(InodeId inode, ClientId except) const {
    const auto it = entries_.find(inode);
    if (it == entries_.end()) return 0;
    return it->second.holder == except ? it->second.others_until : std::max(it->second.until, it->second.others_until);
  }
  void Break(InodeId inode) {
    if (entries_.empty()) return;
    if (const auto it = entries_.find(inode); it != entries_.end()) it->second.broken = true;
  }
  bool empty() const { return entries_.empty(); }

 private:
  struct Entry {
    ClientId holder;         // of the latest
    Nanos until = 0;         // its end
    Nanos others_until = 0;  // the end of all others'
    bool broken = false;
  };
  // All leases are of one length, so they end in the order in which they were given.
  void ForgetOlder(Nanos now) {
    for (; !given_.empty() && given_.front().first <= now; given_.pop_front()) {
      const auto it = entries_.find(given_.front().second);
      if (it != entries_.end() && std::max(it->second.until, it->second.others_until) <= now) entries_.erase(it);
    }
  }

  absl::flat_hash_map<InodeId, Entry> entries_;
  std::deque<std::pair<Nanos, InodeId>> given_;  // end, file
};

}  // namespace mayfly
