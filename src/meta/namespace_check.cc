// Walks every table and compares them with each other.
#include <fmt/format.h>

#include <map>

#include "meta/namespace_impl.h"

namespace mayfly {

// The table, the store and the order of each part hold the same entries; counts follow (M1, M4, P1).
std::string Namespace::Impl::CheckEntries() {
  if (std::string text = dentries.Check(); !text.empty()) return text;
  if (store.live() != dentries.size())
    return fmt::format("{} dentries, {} in the table", store.live(), dentries.size());
  std::map<InodeId, std::pair<uint64_t, uint32_t>> counts;
  std::string text;
  dentries.ForEach([&](DentryRef ref) {
    const Dentry& dentry = store.Get(ref);
    auto& [entries, subdirectories] = counts[dentry.parent];
    ++entries;
    subdirectories += dentry.is_directory() ? 1 : 0;
    const DirPart* part = parts.Find(dentry.parent);
    if (part == nullptr || part->order.At(dentry.sequence) != ref || dentry.sequence >= part->next_sequence) {
      text = fmt::format("M1, P1: \"{}\" in {:x} is not in its part", dentry.name(), dentry.parent.value);
    }
  });
  if (!text.empty()) return text;
  for (const DirPart* part : parts.Sorted()) {
    const auto [entries, subdirectories] = counts[part->rights.dir];
    uint64_t last = 0, listed = 0;
    part->order.ForEachAfter(0, [&](DentryRef ref) {
      const Dentry& dentry = store.Get(ref);
      if (dentry.sequence <= last || dentry.parent != part->rights.dir) text = "O1: a listing is out of order";
      last = dentry.sequence;
      ++listed;
      return true;
    });
    if (!text.empty()) return text;
    if (entries != part->entries() || listed != entries || subdirectories != part->subdirectories) {
      return fmt::format("M4: the part of {:x} counts {} entries and has {}", part->rights.dir.value, part->entries(),
                         entries);
    }
    if (Inode* home = FindInode(part->rights.dir); home != nullptr) {
      if (home->permissions != part->rights.permissions || home->uid != part->rights.uid ||
          home->gid != part->rights.gid) {
        return fmt::format("the part of {:x} has other rights than its home", part->rights.dir.value);
      }
    }
  }
  return {};
}

// Links and opens of every inode cover what refers to it here (M2, M4).
std::string Namespace::Impl::CheckInodes() {
  std::map<InodeId, uint32_t> links;
  std::string text;
  dentries.ForEach([&](DentryRef ref) {
    const Dentry& dentry = store.Get(ref);
    // Each shard's step of a transaction is decided by itself: what is held may name an inode that just went.
    if (dentry.inode.home() != options.self || dentry.busy) return;
    const Inode* inode = FindInode(dentry.inode);
    if (inode == nullptr || inode->type != dentry.file_type()) {
      text = fmt::format("M4: \"{}\" names {:x}, which is not there", dentry.name(), dentry.inode.value);
    }
    ++links[dentry.inode];
  });
  std::map<InodeId, uint32_t> opened;
  for (const auto& [id, count] : opens.Totals()) opened[id] = count;
  uint64_t count = 0, extra = 0;
  inodes.ForEach([&](Inode& inode) {
    ++count;
    if (inode.extra != nullptr) extra += inode.extra->accounted;
    if (FindInode(inode.id) != &inode || inode.id.sequence() >= next_sequence) text = "M2: an inode is out of place";
    const auto link = links.find(inode.id);
    const uint32_t names = link == links.end() ? 0 : link->second;
    if (names > (inode.type == FileType::kDirectory ? 1 : inode.nlink) || (names > 0 && inode.nlink == 0)) {
      text = fmt::format("M4: {:x} has {} links and {} names here", inode.id.value, inode.nlink, names);
    }
    const auto open = opened.find(inode.id);
    if (inode.opens != (open == opened.end() ? 0 : open->second)) {
      text = fmt::format("M4: {:x} counts {} opens", inode.id.value, inode.opens);
    }
    if (open != opened.end()) opened.erase(open);
  });
  if (!text.empty()) return text;
  if (count != inodes.size() || extra != extra_bytes) return "N1: inodes are miscounted";
  if (!opened.empty()) return fmt::format("M4: {:x} is open and not there", opened.begin()->first.value);
  return {};
}

// What transactions hold is marked where it lies, and nothing else is (M3).
std::string Namespace::Impl::CheckHeld() {
  if (std::string text = transactions.Check(); !text.empty()) return text;
  std::map<InodeId, uint32_t> pins, adds;
  std::map<InodeId, TxnId> removing;
  uint64_t busy = 0, marked = 0;
  for (const Transaction* txn : transactions.Sorted()) {
    for (const TxnOp& op : txn->ops) {
      const bool entry = op.kind == TxnKind::kDentry;
      if (op.kind == TxnKind::kDirEmpty) removing[op.inode] = txn->id;
      if (!entry && op.kind != TxnKind::kDirEmpty) ++pins[op.inode];
      if (!entry) continue;
      const Dentry* dentry = FindDentry(op.inode, op.name);
      if (op.expect != (dentry != nullptr ? dentry->inode : InodeId())) return "M3: a held entry changed";
      if (dentry != nullptr) ++busy;
      if (dentry == nullptr && op.set.valid()) ++adds[op.inode];
    }
  }
  dentries.ForEach([&](DentryRef ref) { marked += store.Get(ref).busy; });
  if (busy != marked) return fmt::format("M3: {} entries are held, {} marked", busy, marked);
  for (const DirPart* part : parts.Sorted()) {
    if (part->pending_adds != adds[part->rights.dir] || part->removing != removing[part->rights.dir]) {
      return fmt::format("M3: the part of {:x} does not know who holds it", part->rights.dir.value);
    }
  }
  std::string text;
  inodes.ForEach([&](Inode& inode) {
    if (inode.pins != pins[inode.id])
      text = fmt::format("M3: {:x} counts {} pins", inode.id.value, uint32_t{inode.pins});
  });
  return text;
}

std::string Namespace::Check() const {
  if (std::string text = impl_->CheckEntries(); !text.empty()) return text;
  if (std::string text = impl_->CheckInodes(); !text.empty()) return text;
  return impl_->CheckHeld();
}

}  // namespace mayfly
