#include "meta/transaction.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/check.h"

namespace mayfly {
namespace {

bool HoldsDir(const TxnOp& op) { return op.kind == TxnKind::kDirRemove || op.kind == TxnKind::kDirParent; }

uint64_t BytesOf(const Transaction& txn) {
  uint64_t bytes = sizeof txn + txn.ops.capacity() * sizeof(TxnOp);
  for (const TxnOp& op : txn.ops) bytes += op.name.capacity();
  return bytes;
}

}  // namespace

const Transaction* TransactionTable::Find(TxnId id) const {
  const auto it = transactions_.find(id);
  return it == transactions_.end() ? nullptr : it->second.get();
}

const Transaction& TransactionTable::Add(TxnId id, std::span<const TxnOp> ops) {
  auto owned = std::make_unique<Transaction>();
  owned->id = id;
  owned->ops.assign(ops.begin(), ops.end());
  const Transaction& txn = *owned;
  bytes_ += BytesOf(txn);
  for (const TxnOp& op : txn.ops) {
    bool fresh = true;
    if (op.kind == TxnKind::kDentry) fresh = names_.emplace(NameKey{op.inode, op.name}, id).second;
    if (HoldsDir(op)) fresh = dirs_.emplace(op.inode, id).second;
    MAYFLY_CHECK(fresh);  // L1
  }
  MAYFLY_CHECK(transactions_.emplace(id, std::move(owned)).second);
  return txn;
}

TxnId TransactionTable::HolderOf(InodeId parent, std::string_view name) const {
  const auto it = names_.find(NameKey{parent, name});
  return it == names_.end() ? TxnId() : it->second;
}

std::unique_ptr<Transaction> TransactionTable::Take(TxnId id) {
  const auto it = transactions_.find(id);
  if (it == transactions_.end()) return nullptr;
  std::unique_ptr<Transaction> txn = std::move(it->second);
  transactions_.erase(it);
  bytes_ -= BytesOf(*txn);
  for (const TxnOp& op : txn->ops) {
    if (op.kind == TxnKind::kDentry) names_.erase(NameKey{op.inode, op.name});  // L2: before the operations go
    if (HoldsDir(op)) dirs_.erase(op.inode);
  }
  return txn;
}

std::vector<const Transaction*> TransactionTable::Sorted() const {
  std::vector<const Transaction*> all;
  for (const auto& [id, txn] : transactions_) all.push_back(txn.get());
  std::sort(all.begin(), all.end(), [](const Transaction* a, const Transaction* b) { return a->id < b->id; });
  return all;
}

std::string TransactionTable::Check() const {
  size_t names = 0, dirs = 0;
  for (const Transaction* txn : Sorted()) {
    for (const TxnOp& op : txn->ops) {
      if (op.kind == TxnKind::kDentry) {
        const auto it = names_.find(NameKey{op.inode, op.name});
        if (it == names_.end() || it->second != txn->id) return fmt::format("L1: \"{}\" is not held", op.name);
        ++names;
      }
      if (HoldsDir(op)) {
        const auto it = dirs_.find(op.inode);
        if (it == dirs_.end() || it->second != txn->id) return fmt::format("L1: {:x} is not held", op.inode.value);
        ++dirs;
      }
    }
  }
  if (names != names_.size() || dirs != dirs_.size()) return "L1: something is held by no transaction";
  return {};
}

}  // namespace mayfly
