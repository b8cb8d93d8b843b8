#include "meta/namespace_look.h"

#include <algorithm>

#include "meta/namespace_impl.h"

namespace mayfly {

NamespaceLook::NamespaceLook(const Namespace& names) : impl_(*names.impl_) {}

std::vector<InodeId> NamespaceLook::Parts() const {
  std::vector<InodeId> parts = impl_.parts.Directories();
  std::sort(parts.begin(), parts.end());
  return parts;
}

void NamespaceLook::ForEachEntry(InodeId dir, const Visit& visit) const {
  const DirPart* part = impl_.parts.Find(dir);
  if (part == nullptr) return;
  part->order.ForEachAfter(0, [&](DentryRef ref) {
    const Dentry& dentry = impl_.store.Get(ref);
    visit(dentry.name(), dentry.inode, dentry.file_type());
    return true;
  });
}

uint64_t NamespaceLook::NextSequence(InodeId dir) const {
  const DirPart* part = impl_.parts.Find(dir);
  return part == nullptr ? 1 : part->next_sequence;
}

void NamespaceLook::ForEachOpen(const std::function<void(InodeId, ClientId)>& visit) const {
  std::vector<ClientId> processes = impl_.opens.Processes();
  std::sort(processes.begin(), processes.end());
  for (const ClientId process : processes) {
    std::vector<InodeId> inodes = impl_.opens.InodesOf(process);
    std::sort(inodes.begin(), inodes.end());
    for (const InodeId inode : inodes) visit(inode, process);
  }
}

std::vector<TxnId> NamespaceLook::Prepared() const {
  std::vector<TxnId> all;
  for (const auto& [id, ops] : impl_.recovered) all.push_back(id);
  for (const Transaction* txn : impl_.transactions.Sorted()) all.push_back(txn->id);
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace mayfly
