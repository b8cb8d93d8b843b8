// Entries: find, create, unlink. The order of the checks is that of the kernel: search permission, the name, what is
// there, write permission, the sticky rule, the type.
#include "meta/namespace_impl.h"
#include "meta/permissions.h"

namespace mayfly {

Status Namespace::Impl::CheckName(std::string_view name) {
  if (name.empty() || name == "." || name == "..") return Code::kInvalid;
  if (name.size() > kNameBytesMax) return Code::kNameTooLong;
  for (const char c : name) {
    if (c == '/' || c == '\0') return Code::kInvalid;
  }
  return {};
}

Dentry* Namespace::Impl::AddEntry(DirPart& part, std::string_view name, uint32_t hash, InodeId inode, FileType type,
                                  Nanos now) {
  if (part.next_sequence > kCookieMax) return nullptr;
  const DentryRef ref = store.Allocate(name);
  if (ref == DentryRef::kNone) return nullptr;
  Dentry& dentry = store.Get(ref);
  dentry.parent = part.rights.dir;
  dentry.inode = inode;
  dentry.sequence = part.next_sequence++;
  dentry.type = static_cast<uint64_t>(type);
  dentries.Insert(ref, hash);
  part.order.Append(dentry.sequence, ref);
  if (type == FileType::kDirectory) ++part.subdirectories;
  part.Touch(now);
  return &dentry;
}

void Namespace::Impl::RemoveEntry(DirPart& part, DentryRef ref, uint32_t hash, Nanos now) {
  const Dentry& dentry = store.Get(ref);
  if (dentry.is_directory()) --part.subdirectories;
  part.order.Erase(dentry.sequence);
  part.Touch(now);
  dentries.Erase(ref, hash);
  store.Free(ref);
}

Result<Namespace::Entry> Namespace::Find(InodeId parent, std::string_view name) {
  const Dentry* dentry = impl_->FindDentry(parent, name);
  if (dentry == nullptr) return impl_->transactions.NameHeld(parent, name) ? Code::kBusy : Code::kNoEntry;
  return Entry{dentry->inode, dentry->file_type(), dentry->exposed != 0, dentry->busy != 0,
               impl_->FindInode(dentry->inode)};
}

void Namespace::Expose(InodeId parent, std::string_view name) {
  if (Dentry* dentry = impl_->FindDentry(parent, name); dentry != nullptr) dentry->exposed = 1;
}

Result<Inode*> Namespace::Create(const Creation& what, const Cred& cred, Nanos now) {
  DirPart* part = impl_->parts.Find(what.parent);
  if (part == nullptr) return Code::kConflict;  // M1: the caller joins and tries again
  if (what.type == FileType::kNone || what.name.empty()) return Code::kInvalid;
  MAYFLY_TRY(MaySearch(part->rights, cred));
  MAYFLY_TRY(Impl::CheckName(what.name));
  if (what.target.size() > kTargetBytesMax) return Code::kNameTooLong;
  if (part->removing.value != 0 || impl_->transactions.NameHeld(what.parent, what.name)) return Code::kBusy;  // M3
  const uint32_t hash = DentryTable::HashOf(what.parent, what.name);
  if (impl_->dentries.Find(what.parent, what.name, hash) != DentryRef::kNone) return Code::kExists;
  MAYFLY_TRY(MayChange(part->rights, cred));
  const uint64_t sequence = what.inode.valid() ? what.inode.sequence() : impl_->next_sequence;
  if (sequence > InodeId::kSequenceMax) return Code::kNoSpace;
  const InodeId id = InodeId::Make(impl_->options.self, sequence);
  const Dentry* dentry = impl_->AddEntry(*part, what.name, hash, id, what.type, now);
  if (dentry == nullptr) return Code::kNoSpace;
  if (!what.inode.valid()) impl_->next_sequence = sequence + 1;  // M2
  Inode* inode = impl_->NewInode(sequence, what.type, now);
  inode->uid = cred.uid;
  inode->gid = GroupOfNew(part->rights, cred);
  inode->permissions = PermissionsOfNew(what.type, what.permissions, part->rights, cred);
  if (what.type == FileType::kFile) {
    inode->chunk_bits = what.chunk_bits != 0 ? what.chunk_bits : impl_->options.chunk_bits;
  } else if (what.type == FileType::kDirectory) {
    inode->Extra().parent = what.parent;
  } else {
    inode->Extra().target.assign(what.target);
    inode->size = what.target.size();
  }
  impl_->Account(*inode);
  impl_->RecordEntry(*dentry, now);
  impl_->recorder.Changed(*inode);
  return inode;
}

Result<Inode*> Namespace::Unlink(InodeId parent, std::string_view name, const Cred& cred, Nanos now) {
  DirPart* part = impl_->parts.Find(parent);
  if (part == nullptr) return Code::kNoEntry;
  MAYFLY_TRY(MaySearch(part->rights, cred));
  if (name.size() > kNameBytesMax) return Code::kNameTooLong;
  if (impl_->transactions.NameHeld(parent, name)) return Code::kBusy;  // M3
  const uint32_t hash = DentryTable::HashOf(parent, name);
  const DentryRef ref = impl_->dentries.Find(parent, name, hash);
  if (ref == DentryRef::kNone) return Code::kNoEntry;
  // In a large table each of these is a miss: let them overlap.
  impl_->store.PrefetchFree(ref);
  const Dentry& dentry = impl_->store.Get(ref);
  part->order.PrefetchErase(dentry.sequence);
  Inode* inode = impl_->FindInode(dentry.inode);
  if (inode == nullptr) return Code::kElsewhere;
  MAYFLY_TRY(MayRemoveFrom(part->rights, inode->uid, cred));
  if (inode->type == FileType::kDirectory) return Code::kIsDirectory;
  if (inode->LastLinkHeld()) return Code::kBusy;
  impl_->RemoveEntry(*part, ref, hash, now);
  MAYFLY_CHECK(inode->nlink > 0);  // M4
  --inode->nlink;
  inode->ctime = now;
  ++inode->version;
  impl_->RecordEntryGone(parent, name, now);
  impl_->recorder.Changed(*inode);
  impl_->LinkGone(*inode);
  return inode;
}

Status Namespace::MayRemove(InodeId parent, uint32_t inode_uid, const Cred& cred) const {
  const DirRights* rights = Rights(parent);
  if (rights == nullptr) return Code::kNoEntry;
  return MayRemoveFrom(*rights, inode_uid, cred);
}

Status Namespace::MayCreateIn(InodeId parent, const Cred& cred) const {
  const DirRights* rights = Rights(parent);
  if (rights == nullptr) return Code::kConflict;
  return MayChange(*rights, cred);
}

bool Namespace::OwnOnly(InodeId parent, const Cred& cred) const {
  const DirRights* rights = Rights(parent);
  return rights != nullptr && (rights->permissions & kSticky) != 0 && cred.uid != 0 && cred.uid != rights->uid;
}

}  // namespace mayfly
