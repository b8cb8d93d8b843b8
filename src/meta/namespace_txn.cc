// What each operation of a transaction asks before it votes yes, and does once the outcome is known. See transaction.h.
#include <algorithm>

#include "meta/namespace_impl.h"
#include "meta/permissions.h"

namespace mayfly {
namespace {

constexpr uint32_t kLinksMax = 1u << 31;  // far beyond what anyone makes, far below a wrap

bool Pins(const TxnOp& op) { return op.kind != TxnKind::kDentry && op.kind != TxnKind::kDirEmpty; }

}  // namespace

bool Contradicts(const TxnOp& a, const TxnOp& b) {
  if (a.inode != b.inode) return false;
  const bool a_dir = a.kind == TxnKind::kDirRemove || a.kind == TxnKind::kDirParent;
  const bool b_dir = b.kind == TxnKind::kDirRemove || b.kind == TxnKind::kDirParent;
  if (a_dir && b_dir) return true;
  if (a.kind == TxnKind::kDentry && b.kind == TxnKind::kDentry) return a.name == b.name;
  if (a.kind == TxnKind::kDirEmpty) return b.kind == TxnKind::kDentry || b.kind == TxnKind::kDirEmpty;
  return b.kind == TxnKind::kDirEmpty && a.kind == TxnKind::kDentry;
}

Status Namespace::Impl::CheckDentry(const TxnOp& op, const Cred& cred) {
  MAYFLY_TRY(CheckName(op.name));
  if (op.set.valid() && op.set_type == FileType::kNone) return Code::kInvalid;
  const DirPart* part = parts.Find(op.inode);
  if (part == nullptr) {
    if (op.expect.valid() || op.set.valid()) return Code::kConflict;
    return transactions.NameHeld(op.inode, op.name) ? Code::kBusy : Code::kOk;  // what is not there is held so
  }
  if (op.check) MAYFLY_TRY(MayChange(part->rights, cred));
  if (transactions.NameHeld(op.inode, op.name)) return Code::kBusy;
  const Dentry* dentry = FindDentry(op.inode, op.name);
  if (op.expect != (dentry != nullptr ? dentry->inode : InodeId())) return Code::kConflict;
  if (dentry != nullptr && op.expect_type != FileType::kNone && op.expect_type != dentry->file_type()) {
    return Code::kConflict;
  }
  if (dentry != nullptr && op.sticky_check) MAYFLY_TRY(MayRemoveFrom(part->rights, op.expect_uid, cred));
  if (dentry == nullptr && op.set.valid() && part->removing.value != 0) return Code::kBusy;
  return {};
}

Status Namespace::Impl::CheckLink(const TxnOp& op, const Cred& cred) {
  const Inode* inode = FindInode(op.inode);
  if (inode == nullptr) return Code::kConflict;
  if (inode->type == FileType::kDirectory && op.delta != 0) {
    return op.delta > 0 ? Code::kPermission : Code::kIsDirectory;
  }
  if (op.expect_type != FileType::kNone && op.expect_type != inode->type) return Code::kInvalid;
  if (op.delta > 0) {
    if (op.check) MAYFLY_TRY(MayLink(*inode, cred));
    if (inode->nlink == 0) return Code::kNoEntry;
    if (inode->nlink + static_cast<uint32_t>(op.delta) + inode->pins > kLinksMax) return Code::kTooManyLinks;
  } else if (inode->nlink < static_cast<uint32_t>(-op.delta)) {
    return Code::kConflict;
  } else if (op.delta < 0 && inode->LastLinkHeld()) {
    return Code::kBusy;
  }
  return {};
}

Status Namespace::Impl::CheckDirRemove(const TxnOp& op) {
  const Inode* dir = FindInode(op.inode);
  if (dir == nullptr) return Code::kConflict;
  if (dir->type != FileType::kDirectory) return Code::kNotDirectory;
  if (dir->extra->state == DirState::kGone) return Code::kConflict;
  const bool root = dir->extra->parent == dir->id;
  return root || dir->extra->state != DirState::kLive || transactions.DirHeld(op.inode) ? Code::kBusy : Code::kOk;
}

Status Namespace::Impl::CheckDirEmpty(const TxnOp& op) {
  const DirPart* part = parts.Find(op.inode);
  if (part == nullptr) return {};
  if (part->entries() > 0) return Code::kNotEmpty;
  return part->pending_adds > 0 || part->removing.value != 0 ? Code::kBusy : Code::kOk;
}

Status Namespace::Impl::CheckDirParent(const TxnOp& op, const Cred& cred) {
  const Inode* dir = FindInode(op.inode);
  if (dir == nullptr) return Code::kConflict;
  if (dir->type != FileType::kDirectory) return Code::kNotDirectory;
  if (dir->extra->state == DirState::kGone) return Code::kConflict;
  if (op.check && !MayAccess(dir->type, dir->permissions, dir->uid, dir->gid, cred, kMayWrite)) return Code::kAccess;
  return dir->extra->state != DirState::kLive || transactions.DirHeld(op.inode) ? Code::kBusy : Code::kOk;
}

Status Namespace::Impl::CheckOp(const TxnOp& op, const Cred& cred) {
  switch (op.kind) {
    case TxnKind::kDentry:
      return CheckDentry(op, cred);
    case TxnKind::kLink:
      return CheckLink(op, cred);
    case TxnKind::kDirRemove:
      return CheckDirRemove(op);
    case TxnKind::kDirEmpty:
      return CheckDirEmpty(op);
    case TxnKind::kDirParent:
      return CheckDirParent(op, cred);
  }
  return Code::kInvalid;
}

void Namespace::Impl::Hold(TxnId txn, const TxnOp& op) {
  if (Pins(op)) ++FindInode(op.inode)->pins;
  if (op.kind == TxnKind::kDirRemove) FindInode(op.inode)->extra->state = DirState::kRemoving;
  if (op.kind == TxnKind::kDirEmpty) {
    if (DirPart* part = parts.Find(op.inode); part != nullptr) part->removing = txn;
  }
  if (op.kind == TxnKind::kDentry) {
    if (Dentry* dentry = FindDentry(op.inode, op.name); dentry != nullptr) {
      dentry->busy = 1;
    } else if (op.set.valid()) {
      ++parts.Find(op.inode)->pending_adds;
    }
  }
}

// Undoes Hold, but for the pins.
void Namespace::Impl::LetGo(const TxnOp& op) {
  if (op.kind == TxnKind::kDirRemove) FindInode(op.inode)->extra->state = DirState::kLive;
  if (op.kind == TxnKind::kDirEmpty) {
    if (DirPart* part = parts.Find(op.inode); part != nullptr) part->removing = TxnId();
  }
  if (op.kind == TxnKind::kDentry) {
    if (Dentry* dentry = FindDentry(op.inode, op.name); dentry != nullptr) {
      dentry->busy = 0;
    } else if (op.set.valid()) {
      --parts.Find(op.inode)->pending_adds;
    }
  }
}

void Namespace::Impl::CommitDentry(const TxnOp& op, Nanos now) {
  if (op.set == op.expect) return;
  if (op.expect.valid()) recorder.Count(op.expect);
  DirPart& part = *parts.Find(op.inode);
  const uint32_t hash = DentryTable::HashOf(op.inode, op.name);
  if (!op.set.valid()) {
    RemoveEntry(part, dentries.Find(op.inode, op.name, hash), hash, now);
    RecordEntryGone(op.inode, op.name, now);
  } else if (!op.expect.valid()) {
    const Dentry* dentry = AddEntry(part, op.name, hash, op.set, op.set_type, now);
    MAYFLY_CHECK(dentry != nullptr);
    RecordEntry(*dentry, now);
  } else {
    Dentry& dentry = store.Get(dentries.Find(op.inode, op.name, hash));
    if (dentry.is_directory()) --part.subdirectories;
    dentry.inode = op.set;
    dentry.type = static_cast<uint64_t>(op.set_type);
    dentry.exposed = 0;
    if (dentry.is_directory()) ++part.subdirectories;
    part.Touch(now);
    RecordEntry(dentry, now);
  }
}

void Namespace::Impl::Commit(const TxnOp& op, Nanos now) {
  if (op.kind == TxnKind::kDentry) return CommitDentry(op, now);
  if (op.kind == TxnKind::kDirEmpty) {
    const DirPart* part = parts.Find(op.inode);
    if (part == nullptr) return;
    MAYFLY_CHECK(part->entries() == 0);  // M1
    parts.Erase(op.inode);
    return recorder.Put(PartGoneImage{op.inode});
  }
  Inode& inode = *FindInode(op.inode);
  Advance(&inode.ctime, now);
  ++inode.version;
  if (op.kind == TxnKind::kLink) inode.nlink += static_cast<uint32_t>(int32_t{op.delta});
  if (op.kind == TxnKind::kDirParent) inode.extra->parent = op.set;
  if (op.kind == TxnKind::kDirRemove) {
    inode.extra->state = DirState::kGone;
    inode.nlink = 0;
  }
}

Status Namespace::Prepare(TxnId txn, std::span<const TxnOp> ops, const Cred& cred, std::vector<ShardId>* set) {
  if (set != nullptr) set->clear();
  const Transaction* held = impl_->transactions.Find(txn);
  if (held == nullptr) {
    if (ops.size() > kTxnOpsMax || txn.value == 0) return Code::kInvalid;
    for (size_t i = 0; i < ops.size(); ++i) {
      for (size_t k = 0; k < i; ++k) {
        if (Contradicts(ops[i], ops[k])) return Code::kInvalid;
      }
      MAYFLY_TRY(impl_->CheckOp(ops[i], cred));
    }
    held = &impl_->transactions.Add(txn, ops);
    for (const TxnOp& op : held->ops) impl_->Hold(txn, op);
    if (impl_->recorder.on()) impl_->recorder.Put(PreparedImage{txn, held->ops});
  }
  for (const TxnOp& op : held->ops) {
    if (op.kind != TxnKind::kDirRemove || set == nullptr) continue;
    const auto& shards = impl_->FindInode(op.inode)->extra->shards;
    set->insert(set->end(), shards.begin(), shards.end());
  }
  return {};
}

Status Namespace::Decide(TxnId txn, bool commit, Nanos now, std::vector<InodeId>* died, Nanos dir_mtime) {
  const std::unique_ptr<Transaction> decided = impl_->transactions.Take(txn);
  if (decided == nullptr) return {};
  impl_->recorder.Put(DecidedImage{txn});
  for (const TxnOp& op : decided->ops) {
    impl_->LetGo(op);
    if (commit) impl_->Commit(op, now);
    if (commit && op.kind == TxnKind::kDirRemove && dir_mtime != 0) impl_->FindInode(op.inode)->mtime = dir_mtime;
  }
  for (const TxnOp& op : decided->ops) {
    if (!Pins(op)) continue;
    Inode& inode = *impl_->FindInode(op.inode);
    --inode.pins;
    if (commit) impl_->recorder.Changed(inode);
    if (commit && op.kind == TxnKind::kLink && op.delta < 0) impl_->LinkGone(inode);
    if (inode.dead()) died->push_back(inode.id);
  }
  return {};
}

size_t Namespace::prepared() const { return impl_->transactions.size(); }

bool Namespace::IsHeldBy(const absl::flat_hash_set<TxnId>& those, InodeId inode, std::string_view name) const {
  const TransactionTable& all = impl_->transactions;
  InodeId pinned = inode;
  if (!name.empty()) {
    if (all.NameHeld(inode, name)) return those.contains(all.HolderOf(inode, name));
    const DirPart* part = impl_->parts.Find(inode);
    if (part != nullptr && part->removing.value != 0) return those.contains(part->removing);
    const Dentry* dentry = impl_->FindDentry(inode, name);
    pinned = dentry != nullptr ? dentry->inode : InodeId();
  }
  return std::any_of(those.begin(), those.end(), [&](TxnId id) {
    const Transaction* txn = all.Find(id);
    const auto pins = [pinned](const TxnOp& op) { return Pins(op) && op.inode == pinned; };
    return txn != nullptr && std::any_of(txn->ops.begin(), txn->ops.end(), pins);
  });
}

}  // namespace mayfly
