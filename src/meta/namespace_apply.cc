// Recovery: one after-image at a time onto the tables. Images may be older than the state they meet (the checkpoint was
// walked while the journal was written), so each overwrites what it finds, makes what it misses, and removes what may
// not be there. Whether all of it fits together is asked once, at the end (namespace_finish.cc).
#include <algorithm>

#include "meta/namespace_impl.h"
#include "meta/xattrs.h"

namespace mayfly {
namespace {

// Numbers are given out one by one, and damaged records may be missing; beyond this it is no number of ours, and the
// table would grow by 8 bytes for each 8192 that were skipped.
constexpr uint64_t kSequenceJumpMax = uint64_t{1} << 32;

template <class T, class Fn>
Status Decoded(Bytes value, Fn&& apply) {
  T image;
  Decoder d(value);
  d.Get(image);
  MAYFLY_TRY(d.Finish());
  return apply(image);
}

}  // namespace

Status Namespace::Apply(Tag tag, Bytes value) {
  MAYFLY_CHECK(!impl_->recorder.on());
  const auto apply = [this](auto& image) { return impl_->Apply(image); };
  switch (tag) {
    case InodeImage::kTag:
      return Decoded<InodeImage>(value, apply);
    case InodeGoneImage::kTag:
      return Decoded<InodeGoneImage>(value, apply);
    case InodeShardImage::kTag:
      return Decoded<InodeShardImage>(value, apply);
    case XattrImage::kTag:
      return Decoded<XattrImage>(value, apply);
    case XattrGoneImage::kTag:
      return Decoded<XattrGoneImage>(value, apply);
    case EntryImage::kTag:
      return Decoded<EntryImage>(value, apply);
    case EntryGoneImage::kTag:
      return Decoded<EntryGoneImage>(value, apply);
    case PartImage::kTag:
      return Decoded<PartImage>(value, apply);
    case PartGoneImage::kTag:
      return Decoded<PartGoneImage>(value, apply);
    case OpenImage::kTag:
      return Decoded<OpenImage>(value, apply);
    case ProcessGoneImage::kTag:
      return Decoded<ProcessGoneImage>(value, apply);
    case PreparedImage::kTag:
      return Decoded<PreparedImage>(value, apply);
    case DecidedImage::kTag:
      return Decoded<DecidedImage>(value, apply);
    case NextSequenceImage::kTag:
      return Decoded<NextSequenceImage>(value, apply);
  }
  return (tag & kTagMust) != 0 ? Code::kNotSupported : Code::kOk;
}

// ---- inodes ----

Status Namespace::Impl::Born(InodeId id) {
  const uint64_t sequence = id.sequence();
  if (id.home() != options.self || sequence == 0) return Code::kCorrupt;
  if (sequence < next_sequence) return {};
  if (sequence - next_sequence > kSequenceJumpMax) return Code::kCorrupt;
  next_sequence = sequence + 1;  // M2
  return {};
}

Status Namespace::Impl::Apply(const InodeImage& image) {
  MAYFLY_TRY(image.Check(options.self));
  MAYFLY_TRY(Born(image.id));
  Inode* inode = FindInode(image.id);
  if (inode == nullptr) inode = NewInode(image.id.sequence(), image.type, 0);
  if (inode->type != image.type) return Code::kCorrupt;
  image.StoreTo(inode);
  Account(*inode);
  return {};
}

Status Namespace::Impl::Apply(const InodeGoneImage& image) {
  MAYFLY_TRY(Born(image.id));
  const Inode* inode = FindInode(image.id);
  if (inode == nullptr) return {};
  if (inode->extra != nullptr) extra_bytes -= inode->extra->accounted;
  inodes.Erase(image.id.sequence());
  return {};
}

// Of an inode that is not there, shards and xattrs tell nothing: it will be gone when all is read, or its own image
// would have come before (A2).
Status Namespace::Impl::Apply(const InodeShardImage& image) {
  if (image.inode.home() != options.self) return Code::kCorrupt;
  Inode* inode = FindInode(image.inode);
  if (inode == nullptr) return {};
  if (inode->type == FileType::kSymlink) return Code::kCorrupt;
  if (AddShard(*inode, image.shard)) Account(*inode);
  return {};
}

Status Namespace::Impl::Apply(const XattrImage& image) {
  if (image.inode.home() != options.self || image.name.empty() || image.name.size() > kXattrNameBytesMax ||
      image.value.size() > kXattrValueBytesMax) {
    return Code::kCorrupt;
  }
  Inode* inode = FindInode(image.inode);
  if (inode == nullptr) return {};
  StoreXattr(*inode, image.name, image.value);
  Account(*inode);
  return {};
}

Status Namespace::Impl::Apply(const XattrGoneImage& image) {
  if (image.inode.home() != options.self) return Code::kCorrupt;
  Inode* inode = FindInode(image.inode);
  if (inode == nullptr) return {};
  EraseXattr(*inode, image.name);
  Account(*inode);
  return {};
}

Status Namespace::Impl::Apply(const NextSequenceImage& image) {
  if (image.next > InodeId::kSequenceMax + 1) return Code::kCorrupt;
  next_sequence = std::max(next_sequence, image.next);
  return {};
}

// ---- parts and entries ----

Status Namespace::Impl::Apply(const EntryImage& image) {
  if (!image.parent.valid() || !image.inode.valid() || image.type == FileType::kNone || image.sequence == 0 ||
      image.sequence > kCookieMax || !CheckName(image.name).ok()) {
    return Code::kCorrupt;
  }
  DirPart& part = parts.FindOrAdd(image.parent);
  const uint32_t hash = DentryTable::HashOf(image.parent, image.name);
  DentryRef ref = dentries.Find(image.parent, image.name, hash);
  const bool fresh = ref == DentryRef::kNone;
  if (fresh) ref = store.Allocate(image.name);
  if (ref == DentryRef::kNone) return Code::kNoSpace;
  Dentry& dentry = store.Get(ref);
  if (dentry.sequence != image.sequence) {  // 0 if it is fresh
    if (!part.order.Insert(image.sequence, ref)) {
      if (fresh) store.Free(ref);
      return Code::kCorrupt;  // two names that came at once
    }
    if (!fresh) part.order.Erase(dentry.sequence);
  }
  if (!fresh && dentry.is_directory()) --part.subdirectories;
  dentry.parent = image.parent;
  dentry.inode = image.inode;
  dentry.sequence = image.sequence;
  dentry.type = static_cast<uint64_t>(image.type);
  dentry.exposed = dentry.is_directory() ? 1 : 0;
  if (dentry.is_directory()) ++part.subdirectories;
  if (fresh) dentries.Insert(ref, hash);
  part.next_sequence = std::max(part.next_sequence, image.sequence + 1);
  part.Touch(image.touched);
  return {};
}

Status Namespace::Impl::Apply(const EntryGoneImage& image) {
  if (!image.parent.valid() || !CheckName(image.name).ok()) return Code::kCorrupt;
  DirPart* part = parts.Find(image.parent);
  if (part == nullptr) return {};
  part->Touch(image.touched);
  const uint32_t hash = DentryTable::HashOf(image.parent, image.name);
  const DentryRef ref = dentries.Find(image.parent, image.name, hash);
  if (ref != DentryRef::kNone) RemoveEntry(*part, ref, hash, image.touched);
  return {};
}

Status Namespace::Impl::Apply(const PartImage& image) {
  if (!image.dir.valid() || image.version == 0 || image.permissions > 07777 || image.next_sequence == 0 ||
      image.next_sequence > kCookieMax + 1) {
    return Code::kCorrupt;
  }
  DirPart& part = parts.FindOrAdd(image.dir);
  part.rights.permissions = image.permissions;
  part.rights.uid = image.uid;
  part.rights.gid = image.gid;
  part.rights.version = image.version;
  part.mtime = image.mtime;
  part.ctime = image.ctime;
  part.next_sequence = image.next_sequence;
  return {};
}

Status Namespace::Impl::Apply(const PartGoneImage& image) {
  DirPart* part = parts.Find(image.dir);
  if (part == nullptr) return {};
  std::vector<DentryRef> left;
  part->order.ForEachAfter(0, [&left](DentryRef ref) {
    left.push_back(ref);
    return true;
  });
  for (const DentryRef ref : left) {
    RemoveEntry(*part, ref, DentryTable::HashOf(image.dir, store.Get(ref).name()), 0);
  }
  parts.Erase(image.dir);
  return {};
}

// ---- open files and transactions ----

Status Namespace::Impl::Apply(const OpenImage& image) {
  if (image.inode.home() != options.self || (image.writes && image.opens == 0)) return Code::kCorrupt;
  opens.Set(image.inode, image.process, image.opens, image.writes);
  return {};
}

Status Namespace::Impl::Apply(const ProcessGoneImage& image) {
  (void)opens.TakeAll(image.process);
  return {};
}

Status Namespace::Impl::Apply(PreparedImage& image) {
  if (image.txn.value == 0 || image.ops.size() > kTxnOpsMax) return Code::kCorrupt;
  recovered[image.txn] = std::move(image.ops);
  return {};
}

Status Namespace::Impl::Apply(const DecidedImage& image) {
  recovered.erase(image.txn);
  return {};
}

}  // namespace mayfly
