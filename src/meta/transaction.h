// Prepared transactions of one shard: their operations and what they hold until they are decided. The rules of each
// operation are in namespace_txn.cc; here is who holds what.
//   kDentry     entry {inode: parent, name} goes from `expect` (0: absent) to `set` (0: removed). Equal ones hold the
//               entry as it is (an absent one also where no part is joined). A replaced entry keeps its place in the
//               listing. Holds the name.
//   kLink       nlink += delta and ctime; delta 0 changes the ctime only. Pins the inode; any number may.
//   kDirRemove  the home of a directory: kRemoving, gone on commit. Holds and pins the directory.
//   kDirEmpty   a shard with entries of it: none may be there, none may come; the part goes on commit.
//   kDirParent  the home of a directory: its parent becomes `set`, and ctime. Holds and pins the directory.
// Owned by one namespace, used by one thread.
// Invariants  L1  each held name and directory belongs to exactly one prepared transaction.
//             L2  names held are views into that transaction's operations, which never move.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "wire/types.h"

namespace mayfly {

constexpr size_t kTxnOpsMax = 64;  // at one shard; more is kInvalid

struct Transaction {
  TxnId id;
  std::vector<TxnOp> ops;
};

// One transaction may not hold a thing twice, nor fill a part that it removes.
bool Contradicts(const TxnOp& a, const TxnOp& b);

class TransactionTable {
 public:
  const Transaction* Find(TxnId id) const;
  // Holds everything that `ops` name. The caller checked that none is held and none is named twice.
  const Transaction& Add(TxnId id, std::span<const TxnOp> ops);
  // Lets go of all.
  std::unique_ptr<Transaction> Take(TxnId id);

  bool NameHeld(InodeId parent, std::string_view name) const {
    return !names_.empty() && names_.contains(NameKey{parent, name});
  }
  bool DirHeld(InodeId dir) const { return !dirs_.empty() && dirs_.contains(dir); }
  TxnId HolderOf(InodeId parent, std::string_view name) const;
  size_t size() const { return transactions_.size(); }
  uint64_t memory_bytes() const { return bytes_; }
  // By number.
  std::vector<const Transaction*> Sorted() const;
  std::string Check() const;  // L1; the first difference as text

 private:
  struct NameKey {
    InodeId parent;
    std::string_view name;
    friend bool operator==(const NameKey&, const NameKey&) = default;
    template <class H>
    friend H AbslHashValue(H h, const NameKey& key) {
      return H::combine(std::move(h), key.parent, key.name);
    }
  };
  uint64_t bytes_ = 0;
  absl::flat_hash_map<TxnId, std::unique_ptr<Transaction>> transactions_;
  absl::flat_hash_map<NameKey, TxnId> names_;
  absl::flat_hash_map<InodeId, TxnId> dirs_;
};

}  // namespace mayfly
