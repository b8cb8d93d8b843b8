#include "meta/namespace_walk.h"

#include "base/heap.h"
#include "meta/namespace_impl.h"

namespace mayfly {
NamespaceWalk::NamespaceWalk(const Namespace& names) : impl_(*names.impl_), sequence_end_(names.impl_->next_sequence) {}

bool NamespaceWalk::Step(TlvWriter* out, size_t bytes_about) {
  const size_t bytes_end = out->size() + bytes_about;
  while (out->size() < bytes_end) {
    switch (phase_) {
      case Phase::kBegin:
        Begin(out);
        break;
      case Phase::kInodes:
        NextInode(out);
        break;
      case Phase::kOpens:
        NextOpen(out);
        break;
      case Phase::kTransactions:
        NextTransaction(out);
        break;
      case Phase::kParts:
        NextPart(out, bytes_end);
        break;
      case Phase::kEnd:
        return false;
    }
  }
  return phase_ != Phase::kEnd;
}

void NamespaceWalk::Begin(TlvWriter* out) {
  PutImage(out, NextSequenceImage{sequence_end_});
  phase_ = Phase::kInodes;
}

void NamespaceWalk::NextInode(TlvWriter* out) {
  const Inode* inode = impl_.inodes.FirstFrom(sequence_);
  if (inode == nullptr || inode->id.sequence() >= sequence_end_) {
    processes_ = impl_.opens.Processes();
    MakeHeap(&processes_);
    phase_ = Phase::kOpens;
    return;
  }
  sequence_ = inode->id.sequence() + 1;
  PutImage(out, InodeImage::Of(*inode));
  if (inode->extra == nullptr) return;
  for (const ShardId shard : inode->extra->shards) PutImage(out, InodeShardImage{inode->id, shard});
  for (const auto& [name, value] : inode->extra->xattrs) PutImage(out, XattrImage{inode->id, name, value});
}

void NamespaceWalk::NextOpen(TlvWriter* out) {
  if (!opened_.empty()) {
    const OpenImage image = impl_.ImageOf(TakeLeast(&opened_), process_);
    if (image.opens != 0) PutImage(out, image);
  } else if (!processes_.empty()) {
    process_ = TakeLeast(&processes_);
    opened_ = impl_.opens.InodesOf(process_);
    MakeHeap(&opened_);
  } else {
    for (const Transaction* txn : impl_.transactions.Sorted()) transactions_.push_back(txn->id);
    MakeHeap(&transactions_);
    phase_ = Phase::kTransactions;
  }
}

void NamespaceWalk::NextTransaction(TlvWriter* out) {
  if (!transactions_.empty()) {
    const Transaction* txn = impl_.transactions.Find(TakeLeast(&transactions_));
    if (txn != nullptr) PutImage(out, PreparedImage{txn->id, txn->ops});
    return;
  }
  dirs_ = impl_.parts.Directories();
  MakeHeap(&dirs_);
  phase_ = Phase::kParts;
}

void NamespaceWalk::NextPart(TlvWriter* out, size_t bytes_end) {
  if (!dir_.valid()) {
    if (dirs_.empty()) {
      phase_ = Phase::kEnd;
      return;
    }
    dir_ = TakeLeast(&dirs_);
    after_ = 0;
    if (const DirPart* part = impl_.parts.Find(dir_); part != nullptr) PutImage(out, Namespace::Impl::ImageOf(*part));
    return;
  }
  const DirPart* part = impl_.parts.Find(dir_);
  const bool all = part == nullptr || part->order.ForEachAfter(after_, [&](DentryRef ref) {
    if (out->size() >= bytes_end) return false;
    const Dentry& dentry = impl_.store.Get(ref);
    PutImage(out, Namespace::Impl::ImageOf(dentry, 0));
    after_ = dentry.sequence;
    return true;
  });
  if (all) dir_ = InodeId();
}

}  // namespace mayfly
