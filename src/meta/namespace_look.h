// Reads what a shard's namespace holds as its tables have it, for tools that look at what a dead server left: also when
// images are missing, so that names have no inodes and parts no home. Nothing is derived or changed.
// Lives on the namespace's thread, no longer than it.
#pragma once

#include <string_view>
#include <vector>

#include "meta/namespace.h"

namespace mayfly {

class NamespaceLook {
 public:
  explicit NamespaceLook(const Namespace& names);

  // The directories of which entries may be here, by number.
  std::vector<InodeId> Parts() const;
  // In the order of a listing. `visit` changes nothing here; the view lives until it returns.
  using Visit = std::function<void(std::string_view name, InodeId inode, FileType type)>;
  void ForEachEntry(InodeId dir, const Visit& visit) const;
  // Above those of all entries of the part, so that a new one may have it.
  uint64_t NextSequence(InodeId dir) const;
  // Who has what open.
  void ForEachOpen(const std::function<void(InodeId inode, ClientId process)>& visit) const;
  // Prepared and not decided, before or after FinishRecovery; by number.
  std::vector<TxnId> Prepared() const;

 private:
  Namespace::Impl& impl_;
};

}  // namespace mayfly
