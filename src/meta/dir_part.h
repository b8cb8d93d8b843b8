// This shard's part of a directory: the rights its home pushed, times, and the entries in the order they came.
// Owned by one namespace's table of parts, used by one thread.
// Invariants  P1  subdirectories counts the entries of type directory; order holds every entry of the part once.
//             P2  times of a part never go back, but for an mtime that utimens at the home made it forget: entries may
//                 be decided by another shard's clock.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <memory>
#include <vector>

#include "meta/order_index.h"
#include "wire/messages.h"

namespace mayfly {

inline void Advance(Nanos* time, Nanos now) {
  if (now > *time) *time = now;
}

struct DirPart {
  explicit DirPart(uint64_t* order_bytes) : order(order_bytes) {}

  DirRights rights;
  uint32_t subdirectories = 0;
  uint32_t pending_adds = 0;  // entries that prepared transactions will add
  Nanos mtime = 0, ctime = 0;
  uint64_t next_sequence = 1;  // of insertion
  TxnId removing;              // the transaction that may remove the part: no new entries
  OrderIndex order;

  uint64_t entries() const { return order.size(); }
  void Touch(Nanos now) {
    Advance(&mtime, now);  // P2
    Advance(&ctime, now);
  }
};

class PartTable {
 public:
  // Null if not joined. The last one asked for is remembered: a burst of creates goes to one directory.
  DirPart* Find(InodeId dir) const {
    if (last_ != nullptr && last_->rights.dir == dir) return last_;
    const auto it = parts_.find(dir);
    if (it == parts_.end()) return nullptr;
    return last_ = it->second.get();
  }
  // What Find reads first, on its way; and, once that is here, the part. Neither is remembered as asked for.
  void Prefetch(InodeId dir) const {
    if (last_ == nullptr || last_->rights.dir != dir) parts_.prefetch(dir);
  }
  void PrefetchPart(InodeId dir) const {
    if (last_ != nullptr && last_->rights.dir == dir) return;
    const auto it = parts_.find(dir);
    if (it == parts_.end()) return;
    const auto* line = reinterpret_cast<const char*>(it->second.get());
    for (size_t at = 0; at < sizeof(DirPart); at += 64) __builtin_prefetch(line + at, 1);
  }
  // Joins, or takes newer rights; the part if it changed.
  DirPart* Join(const DirRights& rights);
  // Newer rights of a joined part; nothing otherwise.
  DirPart* Update(const DirRights& rights);
  // For recovery: the part of `dir`, joined without rights (version 0) if it was not.
  DirPart& FindOrAdd(InodeId dir);
  void Erase(InodeId dir);
  // By inode number.
  std::vector<const DirPart*> Sorted() const;
  // In an order of no meaning.
  std::vector<InodeId> Directories() const;
  uint64_t memory_bytes() const {
    return parts_.capacity() * (sizeof(std::pair<InodeId, std::unique_ptr<DirPart>>) + 1) +
           parts_.size() * sizeof(DirPart) + order_bytes_;
  }

 private:
  uint64_t order_bytes_ = 0;
  absl::flat_hash_map<InodeId, std::unique_ptr<DirPart>> parts_;
  mutable DirPart* last_ = nullptr;
};

}  // namespace mayfly
