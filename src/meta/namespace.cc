#include "meta/namespace.h"

#include <algorithm>

#include "base/checksum.h"
#include "meta/namespace_impl.h"
#include "meta/permissions.h"
#include "meta/xattrs.h"

namespace mayfly {

// What an empty directory and each of its entries add to st_size on tmpfs.
constexpr uint64_t kDirBytes = 40, kDirEntryBytes = 20;

Namespace::Namespace(Options options) : impl_(std::make_unique<Impl>(options)) {}
Namespace::~Namespace() = default;

// ---- inodes ----

Inode* Namespace::Impl::NewInode(uint64_t sequence, FileType type, Nanos now) {
  Inode* inode = inodes.Insert(sequence);
  inode->id = InodeId::Make(options.self, sequence);
  inode->type = type;
  inode->nlink = type == FileType::kDirectory ? 2 : 1;
  inode->atime = inode->mtime = inode->ctime = now;
  return inode;
}

void Namespace::Impl::Account(Inode& inode) {
  if (inode.extra == nullptr) return;
  InodeExtra& extra = *inode.extra;
  uint64_t bytes = sizeof extra + extra.target.capacity() + extra.shards.capacity() * sizeof(ShardId);
  for (const auto& [name, value] : extra.xattrs)
    bytes += sizeof(std::pair<std::string, std::string>) + name.capacity() + value.capacity();
  extra_bytes += bytes - extra.accounted;
  extra.accounted = bytes;
}

Inode* Namespace::FindInode(InodeId id) { return impl_->FindInode(id); }

Inode* Namespace::CreateRoot(uint32_t uid, uint32_t gid, uint16_t permissions, Nanos now) {
  Inode* root = impl_->NewInode(1, FileType::kDirectory, now);
  root->uid = uid;
  root->gid = gid;
  root->permissions = permissions & kPermissionBits;
  root->Extra().parent = root->id;
  impl_->recorder.Changed(*root);
  AddShard(*root, impl_->options.self);
  Join(RightsOf(*root));
  return root;
}

uint64_t Namespace::next_sequence() const { return impl_->next_sequence; }
void Namespace::ReserveSequences(uint64_t next) {
  if (next <= impl_->next_sequence) return;
  impl_->next_sequence = next;
  impl_->recorder.Put(NextSequenceImage{next});
}

Attr Namespace::AttrOf(const Inode& inode) const {
  Attr attr;
  attr.inode = inode.id;
  attr.type = inode.type;
  attr.permissions = inode.permissions;
  attr.nlink = inode.nlink;
  attr.uid = inode.uid;
  attr.gid = inode.gid;
  attr.size = inode.type == FileType::kDirectory ? kDirBytes : inode.size;
  attr.atime = inode.atime;
  attr.mtime = inode.mtime;
  attr.ctime = inode.ctime;
  attr.version = inode.version;
  if (inode.type == FileType::kFile) {
    attr.chunk_bits = inode.chunk_bits;
    attr.blocks = (inode.size + 511) / 512;
    attr.partial = inode.extra != nullptr && !inode.extra->shards.empty();
  }
  return attr;
}

Attr Namespace::AttrOfDirectory(const Inode& dir, std::span<const DirPartReply> parts) const {
  Attr attr = AttrOf(dir);
  Nanos mtime = 0;
  for (const DirPartReply& part : parts) {
    attr.nlink += part.subdirectories;
    attr.size += part.entries * kDirEntryBytes;
    Advance(&mtime, part.mtime);
    Advance(&attr.ctime, part.ctime);
  }
  if (mtime != 0) attr.mtime = mtime;
  return attr;
}

Status Namespace::SetAttr(Inode& inode, const SetAttrRequest& request, const Cred& cred, Nanos now,
                          bool* rights_changed) {
  *rights_changed = false;
  constexpr uint32_t kTimes = kSetAtime | kSetMtime | kSetAtimeNow | kSetMtimeNow;
  const uint32_t mask = request.mask;
  if ((mask & (kSetMode | kSetUid | kSetGid | kSetOwner | kSetSize | kTimes)) == 0) return {};
  MAYFLY_TRY(MaySetAttr(inode, request, cred));
  const uint16_t permissions = PermissionsAfter(inode, request, cred);
  const uint32_t uid = (mask & kSetUid) != 0 ? request.uid : inode.uid;
  const uint32_t gid = (mask & kSetGid) != 0 ? request.gid : inode.gid;
  const bool changed = permissions != inode.permissions || uid != inode.uid || gid != inode.gid;
  inode.permissions = permissions;
  inode.uid = uid;
  inode.gid = gid;
  if ((mask & kSetSize) != 0) {
    inode.mtime = now;
    inode.mtime_set = 0;
  }
  if ((mask & kSetAtime) != 0) inode.atime = request.atime;
  if ((mask & kSetMtime) != 0) inode.mtime = request.mtime;
  if ((mask & kSetAtimeNow) != 0) inode.atime = now;
  if ((mask & kSetMtimeNow) != 0) inode.mtime = now;
  if ((mask & (kSetMtime | kSetMtimeNow)) != 0) inode.mtime_set = 1;
  inode.ctime = now;
  ++inode.version;
  const bool sets_mtime = (mask & (kSetMtime | kSetMtimeNow)) != 0;
  if (inode.type == FileType::kDirectory && (changed || sets_mtime)) {
    ++inode.Extra().rights_version;
    *rights_changed = changed;
    DirRights rights = RightsOf(inode);
    rights.clear_mtime = sets_mtime;
    UpdateRights(rights);  // the part beside the home, at once
  }
  impl_->recorder.Changed(inode);
  return {};
}

void Namespace::ClearPrivileges(Inode& inode, const Cred& cred) {
  const uint16_t permissions = PermissionsAfterWrite(inode, cred);
  if (permissions == inode.permissions) return;
  inode.permissions = permissions;
  ++inode.version;
  impl_->recorder.Changed(inode);
}

bool Namespace::HasPrivileges(const Inode& inode) { return (inode.permissions & (kSuid | kSgid)) != 0; }

DirRights Namespace::RightsOf(const Inode& dir) const {
  MAYFLY_CHECK(dir.type == FileType::kDirectory && dir.extra != nullptr);
  DirRights rights;
  rights.dir = dir.id;
  rights.permissions = dir.permissions;
  rights.uid = dir.uid;
  rights.gid = dir.gid;
  rights.version = dir.extra->rights_version;
  return rights;
}

void Namespace::Forget(Inode& inode) {
  MAYFLY_CHECK(inode.dead());
  const InodeId id = inode.id;
  if (inode.extra != nullptr) impl_->extra_bytes -= inode.extra->accounted;
  impl_->inodes.Erase(id.sequence());
  impl_->recorder.Gone(id);
}

bool Namespace::Impl::AddShard(Inode& inode, ShardId shard) {
  std::vector<ShardId>& shards = inode.Extra().shards;
  if (std::find(shards.begin(), shards.end(), shard) != shards.end()) return false;
  shards.push_back(shard);
  return true;
}

void Namespace::AddShard(Inode& inode, ShardId shard) {
  if (!Impl::AddShard(inode, shard)) return;
  impl_->Account(inode);
  impl_->recorder.Put(InodeShardImage{inode.id, shard});
}

void Namespace::Changed(const Inode& inode) { impl_->recorder.Changed(inode); }
void Namespace::SetCounts(ChangeCounts counts) { impl_->recorder.SetCounts(counts); }
void Namespace::SetOnLastLink(std::function<void(Inode&)> called) { impl_->on_last_link = std::move(called); }

// ---- parts ----

bool Namespace::Joined(InodeId dir) const { return impl_->parts.Find(dir) != nullptr; }
void Namespace::Join(const DirRights& rights) { impl_->RecordPart(impl_->parts.Join(rights)); }
void Namespace::UpdateRights(const DirRights& rights) { impl_->RecordPart(impl_->parts.Update(rights)); }

void Namespace::LeavePart(InodeId dir) {
  const DirPart* part = impl_->parts.Find(dir);
  if (part == nullptr) return;
  MAYFLY_CHECK(part->entries() == 0 && part->pending_adds == 0);  // M1
  impl_->parts.Erase(dir);
  impl_->recorder.Put(PartGoneImage{dir});
}

const DirRights* Namespace::Rights(InodeId dir) const {
  const DirPart* part = impl_->parts.Find(dir);
  return part == nullptr ? nullptr : &part->rights;
}

DirPartReply Namespace::PartOf(InodeId dir) const {
  const DirPart* part = impl_->parts.Find(dir);
  if (part == nullptr) return {};
  return {part->entries(), part->subdirectories, part->mtime, part->ctime};
}

// Exact where this shard knows all of it: the inode is local, and nobody else adds to it.
Attr Namespace::ListedAttr(const Dentry& dentry) const {
  const Inode* inode = impl_->FindInode(dentry.inode);
  if (inode == nullptr) {
    Attr attr;
    attr.inode = dentry.inode;
    attr.type = dentry.file_type();
    attr.partial = true;
    return attr;
  }
  if (inode->type != FileType::kDirectory) return AttrOf(*inode);
  const auto& shards = inode->extra->shards;
  const bool alone = shards.empty() || (shards.size() == 1 && shards[0] == impl_->options.self);
  const DirPartReply part = PartOf(inode->id);
  Attr attr = AttrOfDirectory(*inode, {&part, 1});
  attr.partial = !alone;
  return attr;
}

ReadDirReply Namespace::List(InodeId dir, uint64_t after, Encoder& out, const Unsettled& unsettled) {
  ReadDirReply reply;
  reply.end = true;
  const DirPart* part = impl_->parts.Find(dir);
  if (part == nullptr) return reply;
  reply.end = part->order.ForEachAfter(after, [&](DentryRef ref) {
    const Dentry& dentry = impl_->store.Get(ref);
    if (out.room() < kListingEntryBytes + dentry.name_bytes) return false;
    ListingEntry entry{dentry.sequence, dentry.name(), ListedAttr(dentry)};
    if (unsettled != nullptr && unsettled(dentry.inode)) entry.attr.partial = true;
    out.Put(entry);
    ++reply.count;
    return true;
  });
  return reply;
}

std::vector<uint64_t> Namespace::NamesOf(InodeId dir) {
  std::vector<uint64_t> names;
  if (const DirPart* part = impl_->parts.Find(dir)) {
    part->order.ForEachAfter(0, [&](DentryRef ref) {
      names.push_back(Checksum(AsBytes(impl_->store.Get(ref).name())));
      return true;
    });
  }
  return names;
}

// ---- what requests are about to look at ----

Namespace::Foreseen Namespace::Foresee(InodeId parent, std::string_view name, ClientId process, uint64_t births) const {
  Foreseen seen;
  seen.parent = parent;
  seen.born = InodeId::Make(impl_->options.self, impl_->next_sequence + births);
  seen.hash = DentryTable::HashOf(parent, name);
  seen.process = process;
  impl_->dentries.PrefetchPlace(seen.hash);
  impl_->parts.Prefetch(parent);
  impl_->opens.Prefetch(process);
  return seen;
}

void Namespace::Foresee(const Foreseen& again) const {
  impl_->dentries.PrefetchSlot(again.hash);
  impl_->parts.PrefetchPart(again.parent);
  impl_->opens.Prefetch(again.born, again.process);
}

// ---- open files ----

void Namespace::RegisterOpen(Inode& inode, ClientId process, bool writes) {
  impl_->opens.Add(inode.id, process, writes);
  ++inode.opens;
  impl_->RecordOpen(inode.id, process);
}

bool Namespace::WrittenBy(InodeId inode, ClientId process) const { return impl_->opens.WrittenBy(inode, process); }

bool Namespace::WrittenByOthers(const Inode& inode, ClientId process) const {
  return OpensByOthers(inode, process) != 0 && impl_->opens.WrittenByOthers(inode.id, process);
}

void Namespace::ReleaseOpen(InodeId id, ClientId process, std::vector<InodeId>* died) {
  if (!impl_->opens.Remove(id, process)) return;
  Inode* inode = impl_->FindInode(id);
  MAYFLY_CHECK(inode != nullptr && inode->opens > 0);
  --inode->opens;
  impl_->RecordOpen(id, process);
  if (inode->dead()) died->push_back(id);
}

void Namespace::ReleaseAll(ClientId process, std::vector<InodeId>* died) {
  const auto all = impl_->opens.TakeAll(process);
  if (!all.empty()) impl_->recorder.Put(ProcessGoneImage{process});
  for (const auto& [id, count] : all) {
    Inode* inode = impl_->FindInode(id);
    MAYFLY_CHECK(inode != nullptr && inode->opens >= count);
    inode->opens -= count;
    if (inode->dead()) died->push_back(id);
  }
}

bool Namespace::OpenBy(InodeId inode, ClientId process) const { return impl_->opens.CountOf(inode, process) > 0; }

uint32_t Namespace::OpensByOthers(const Inode& inode, ClientId process) const {
  return inode.opens - impl_->opens.CountOf(inode.id, process);
}

// ---- xattrs ----

Result<std::string_view> Namespace::GetXattr(const Inode& inode, std::string_view name, const Cred& cred) const {
  return FindXattr(inode, name, cred);
}

Status Namespace::SetXattr(Inode& inode, std::string_view name, std::string_view value, uint32_t flags,
                           const Cred& cred, Nanos now) {
  MAYFLY_TRY(PutXattr(inode, name, value, flags, cred));
  impl_->Account(inode);
  inode.ctime = now;
  ++inode.version;
  impl_->recorder.Changed(inode);
  impl_->recorder.Put(XattrImage{inode.id, name, value});
  return {};
}

Status Namespace::RemoveXattr(Inode& inode, std::string_view name, const Cred& cred, Nanos now) {
  MAYFLY_TRY(DropXattr(inode, name, cred));
  impl_->Account(inode);
  inode.ctime = now;
  ++inode.version;
  impl_->recorder.Changed(inode);
  impl_->recorder.Put(XattrGoneImage{inode.id, name});
  return {};
}

std::string Namespace::ListXattr(const Inode& inode, const Cred& cred) const { return XattrNames(inode, cred); }

// ---- after-images ----

void Namespace::SetRecorder(TlvWriter* out) { impl_->recorder.SetOut(out); }

PartImage Namespace::Impl::ImageOf(const DirPart& part) {
  const DirRights& rights = part.rights;
  return {rights.dir,     rights.permissions, rights.uid, rights.gid,
          rights.version, part.mtime,         part.ctime, part.next_sequence};
}

std::vector<ClientId> Namespace::Openers() const {
  std::vector<ClientId> all = impl_->opens.Processes();
  std::sort(all.begin(), all.end());
  return all;
}

std::vector<TxnId> Namespace::Prepared() const {
  std::vector<TxnId> all;
  for (const Transaction* txn : impl_->transactions.Sorted()) all.push_back(txn->id);
  return all;
}

// ---- figures ----

uint64_t Namespace::inodes() const { return impl_->inodes.size(); }

uint64_t Namespace::memory_bytes() const {
  return sizeof(Impl) + impl_->inodes.memory_bytes() + impl_->extra_bytes + impl_->store.memory_bytes() +
         impl_->dentries.memory_bytes() + impl_->parts.memory_bytes() + impl_->opens.memory_bytes() +
         impl_->transactions.memory_bytes();
}

void Namespace::ForEachInode(const std::function<void(Inode&)>& visit) { impl_->inodes.ForEach(visit); }

}  // namespace mayfly
