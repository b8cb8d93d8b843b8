// A checkpoint's images of a whole namespace, a few at a time, while it changes in between. What was there all the time
// from the construction to the last step is told at least once, as it was at some moment in between; what changed in
// that time is in the records that were written meanwhile, and may be told in an old or a new state, or not at all.
// Replaying these records over the images of the walk, from the one on that was begun and not cut off when the walk was
// constructed, gives the namespace (images.h).
// Lives on the namespace's thread, no longer than it.
// Invariants  W1  two walks of equal namespaces give equal bytes, also if their tables grew differently.
//             W2  a step costs what it writes; the first one of the open files and that of the parts also list which
//                 processes and directories there are (8 bytes each).
#pragma once

#include <vector>

#include "meta/namespace.h"

namespace mayfly {

class NamespaceWalk {
 public:
  explicit NamespaceWalk(const Namespace& names);
  // Writes images until there are `bytes_about` of them, or none are left: then false. One inode's (up to 1 MiB of
  // xattrs) stay together. `bytes_about` at least 1.
  bool Step(TlvWriter* out, size_t bytes_about);

 private:
  enum class Phase : uint8_t { kBegin, kInodes, kOpens, kTransactions, kParts, kEnd };

  void Begin(TlvWriter* out);
  void NextInode(TlvWriter* out);
  void NextOpen(TlvWriter* out);
  void NextTransaction(TlvWriter* out);
  void NextPart(TlvWriter* out, size_t bytes_end);

  Namespace::Impl& impl_;
  Phase phase_ = Phase::kBegin;
  uint64_t sequence_ = 0, sequence_end_;  // of inodes: those born later are in the journal
  // Heaps, the least in front: to sort all at once would take too long.
  std::vector<ClientId> processes_;
  ClientId process_;
  std::vector<InodeId> opened_;  // by process_
  std::vector<TxnId> transactions_;
  std::vector<InodeId> dirs_;
  InodeId dir_;         // whose entries are being told; 0: none
  uint64_t after_ = 0;  // the last of them
};

}  // namespace mayfly
