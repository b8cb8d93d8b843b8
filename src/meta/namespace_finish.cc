// The end of a recovery: what no image has is derived, and what the calls of Namespace rely on (their checks would end
// the server) is asked of the tables. Without a map a name: a million files are looked at in a fraction of a second.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "meta/namespace_impl.h"
#include "meta/permissions.h"
#include "meta/xattrs.h"

namespace mayfly {

// Every part has rights, the ones of its home if that is here (M1).
std::string Namespace::Impl::FinishParts() {
  std::string text;
  for (const InodeId dir : parts.Directories()) {
    const DirPart& part = *parts.Find(dir);
    if (part.rights.version == 0) text = fmt::format("M1: entries of {:x}, which was not joined", dir.value);
    if (part.next_sequence < part.order.append_from()) text = fmt::format("the part of {:x} ends too early", dir.value);
    const Inode* home = FindInode(dir);
    if (home == nullptr) continue;
    if (home->type != FileType::kDirectory) {
      text = fmt::format("entries of {:x}, which is no directory", dir.value);
    } else if (home->permissions != part.rights.permissions || home->uid != part.rights.uid ||
               home->gid != part.rights.gid) {
      text = fmt::format("the part of {:x} has other rights than its home", dir.value);
    }
  }
  return text;
}

// Whether a transaction that was prepared can have found what is there now. Rights and link counts were asked then.
bool Namespace::Impl::MayHold(const TxnOp& op) {
  switch (op.kind) {
    case TxnKind::kDentry: {
      const Cred root;
      const DirPart* part = parts.Find(op.inode);
      const bool adds = op.set.valid() && !op.expect.valid();
      // The commit must find a sequence for it, and give the name to what it says.
      if (adds && part != nullptr && part->next_sequence + part->pending_adds > kCookieMax) return false;
      const Inode* inode = FindInode(op.set);
      if (inode != nullptr && inode->type != op.set_type) return false;
      return CheckDentry(op, root).ok();
    }
    case TxnKind::kLink: {
      const Inode* inode = FindInode(op.inode);
      return inode != nullptr && (inode->type != FileType::kDirectory || op.delta == 0);
    }
    case TxnKind::kDirRemove:
      return CheckDirRemove(op).ok();
    case TxnKind::kDirEmpty:
      return CheckDirEmpty(op).ok();
    case TxnKind::kDirParent:
      return op.set.valid() && CheckDirParent(op, Cred()).ok();
  }
  return false;
}

// M3, L1.
std::string Namespace::Impl::FinishTransactions() {
  for (const auto& [id, ops] : recovered) {
    for (size_t i = 0; i < ops.size(); ++i) {
      bool good = MayHold(ops[i]);
      for (size_t k = 0; k < i; ++k) good = good && !Contradicts(ops[i], ops[k]);
      if (!good) return fmt::format("M3: transaction {:x} cannot hold {:x}", id.value, ops[i].inode.value);
    }
    for (const TxnOp& op : transactions.Add(id, ops).ops) Hold(id, op);
  }
  recovered.clear();
  return {};
}

// How many names that nobody holds now, less links, prepared transactions may bring to inodes of this shard. Whoever
// adds a name adds a link, too, or holds another name. Who takes a link holds a name, but perhaps not any more: a
// coordinator that died lets go of its own part when it is back, and the link is in doubt until this shard has asked.
std::map<InodeId, uint64_t> Namespace::Impl::NamesToCome() {
  std::map<InodeId, uint64_t> all;
  for (const Transaction* txn : transactions.Sorted()) {
    std::map<InodeId, int64_t> more;
    for (const TxnOp& op : txn->ops) {
      if (op.kind == TxnKind::kLink && op.delta > 0) more[op.inode] -= op.delta;
      if (op.kind == TxnKind::kDentry && op.set.valid() && op.set.home() == options.self) ++more[op.set];
    }
    for (const auto& [inode, names] : more) all[inode] += static_cast<uint64_t>(std::max<int64_t>(names, 0));
  }
  return all;
}

// Names have their inodes, and inodes as many links as names at least (M4). Inode::opens is not derived yet: until then
// it counts the names.
std::string Namespace::Impl::FinishNames() {
  std::string text;
  dentries.ForEach([&](DentryRef ref) {
    const Dentry& dentry = store.Get(ref);
    if (dentry.inode.home() != options.self || dentry.busy) return;  // as Check says
    Inode* inode = FindInode(dentry.inode);
    if (inode == nullptr || inode->type != dentry.file_type()) {
      text = fmt::format("M4: \"{}\" in {:x} names {:x}, which is not there", dentry.name(), dentry.parent.value,
                         dentry.inode.value);
    } else {
      ++inode->opens;
    }
  });
  for (const auto& [id, names] : NamesToCome()) {
    const Inode* inode = FindInode(id);
    if (inode == nullptr || (inode->type != FileType::kDirectory && inode->opens + names > inode->nlink)) {
      text = fmt::format("M4: {:x} would have fewer links than names", id.value);
    }
  }
  inodes.ForEach([&](Inode& inode) {
    const uint32_t names = inode.opens;
    inode.opens = 0;
    if (names > (inode.type == FileType::kDirectory ? 1 : inode.nlink) || (names > 0 && inode.nlink == 0)) {
      text = fmt::format("M4: {:x} has {} links and {} names here", inode.id.value, inode.nlink, names);
    }
    if (XattrBytes(inode) > kXattrsBytesMax) text = fmt::format("X2: {:x} has too many xattrs", inode.id.value);
  });
  return text;
}

std::string Namespace::Impl::FinishOpens() {
  for (const ClientId process : opens.Processes()) {
    for (const InodeId id : opens.InodesOf(process)) {
      Inode* inode = FindInode(id);
      if (inode == nullptr) return fmt::format("M4: {:x} is open and not there", id.value);
      const uint64_t total = uint64_t{inode->opens} + opens.CountOf(id, process);
      if (total > UINT32_MAX) return fmt::format("M4: {:x} is open too often", id.value);
      inode->opens = static_cast<uint32_t>(total);
    }
  }
  return {};
}

Status Namespace::FinishRecovery(std::vector<InodeId>* dead, std::vector<InodeId>* orphans) {
  std::string text = impl_->FinishParts();
  if (text.empty()) text = impl_->FinishTransactions();
  if (text.empty()) text = impl_->FinishNames();
  if (text.empty()) text = impl_->FinishOpens();
  if (!text.empty()) {
    MAYFLY_ERROR("what was recovered of the namespace contradicts itself: {}", text);
    return Code::kCorrupt;
  }
  impl_->inodes.ForEach([&](Inode& inode) {
    if (inode.nlink != 0) return;
    if (inode.dead()) dead->push_back(inode.id);
    if (inode.opens != 0) orphans->push_back(inode.id);
  });
  return {};
}

}  // namespace mayfly
