// The tables behind a Namespace. Inside the room only.
#pragma once

#include <map>

#include "meta/dentry_store.h"
#include "meta/dentry_table.h"
#include "meta/dir_part.h"
#include "meta/images.h"
#include "meta/inode_table.h"
#include "meta/namespace.h"
#include "meta/open_table.h"
#include "meta/transaction.h"

namespace mayfly {

constexpr uint64_t kCookieMax = (uint64_t{1} << 39) - 1;  // of a listing, beside the shard's 24 bits

struct Namespace::Impl {
  explicit Impl(Options o) : options(o), dentries(&store) {}

  Options options;
  uint64_t next_sequence = 2;  // of inodes; 1 is the root's, 0 would make the number 0 on shard 0
  uint64_t extra_bytes = 0;    // sum of InodeExtra::accounted
  InodeTable inodes;
  DentryStore store;
  DentryTable dentries;
  PartTable parts;
  OpenTable opens;
  TransactionTable transactions;
  Recorder recorder;
  std::function<void(Inode&)> on_last_link;
  std::map<TxnId, std::vector<TxnOp>> recovered;  // between Apply and FinishRecovery

  Inode* FindInode(InodeId id) { return id.home() == options.self ? inodes.Find(id.sequence()) : nullptr; }
  Inode* NewInode(uint64_t sequence, FileType type, Nanos now);
  // Counts the memory of `inode.extra` again, after it changed.
  void Account(Inode& inode);

  Dentry* FindDentry(InodeId parent, std::string_view name) {
    const DentryRef ref = dentries.Find(parent, name, DentryTable::HashOf(parent, name));
    return ref == DentryRef::kNone ? nullptr : &store.Get(ref);
  }
  // kOk, or why no entry can be called `name`.
  static Status CheckName(std::string_view name);
  // The name is new in the part. Null if the store is full, or the part had 2^39 entries.
  Dentry* AddEntry(DirPart& part, std::string_view name, uint32_t hash, InodeId inode, FileType type, Nanos now);
  // `hash` is that of the entry's parent and name.
  void RemoveEntry(DirPart& part, DentryRef ref, uint32_t hash, Nanos now);

  // To the recorder, after a change.
  void RecordEntry(const Dentry& dentry, Nanos touched) {
    if (recorder.on()) recorder.Put(ImageOf(dentry, touched));
  }
  void RecordEntryGone(InodeId parent, std::string_view name, Nanos touched) {
    if (recorder.on()) recorder.Put(EntryGoneImage{parent, touched, name});
  }
  void RecordPart(const DirPart* part) {
    if (recorder.on() && part != nullptr) recorder.Put(ImageOf(*part));
  }
  void RecordOpen(InodeId inode, ClientId process) {
    if (recorder.on()) recorder.Put(ImageOf(inode, process));
  }
  void LinkGone(Inode& inode) {
    if (inode.nlink == 0 && inode.type == FileType::kFile && on_last_link) on_last_link(inode);
  }
  static EntryImage ImageOf(const Dentry& dentry, Nanos touched) {
    return {dentry.parent, dentry.inode, dentry.sequence, dentry.file_type(), touched, dentry.name()};
  }
  static PartImage ImageOf(const DirPart& part);
  OpenImage ImageOf(InodeId inode, ClientId process) const {
    return {inode, process, opens.CountOf(inode, process), opens.WrittenBy(inode, process)};
  }

  // namespace_apply.cc: each is idempotent, and takes whatever contradicts the state as it is.
  Status Apply(const InodeImage& image);
  Status Apply(const InodeGoneImage& image);
  Status Apply(const InodeShardImage& image);
  Status Apply(const XattrImage& image);
  Status Apply(const XattrGoneImage& image);
  Status Apply(const EntryImage& image);
  Status Apply(const EntryGoneImage& image);
  Status Apply(const PartImage& image);
  Status Apply(const PartGoneImage& image);
  Status Apply(const OpenImage& image);
  Status Apply(const ProcessGoneImage& image);
  Status Apply(PreparedImage& image);
  Status Apply(const DecidedImage& image);
  Status Apply(const NextSequenceImage& image);
  // The number was given out.
  Status Born(InodeId id);

  // namespace_finish.cc: the first contradiction as text.
  std::string FinishParts();
  std::string FinishTransactions();
  bool MayHold(const TxnOp& op);
  std::map<InodeId, uint64_t> NamesToCome();
  std::string FinishNames();
  std::string FinishOpens();

  Status CheckOp(const TxnOp& op, const Cred& cred);
  Status CheckDentry(const TxnOp& op, const Cred& cred);
  Status CheckLink(const TxnOp& op, const Cred& cred);
  Status CheckDirRemove(const TxnOp& op);
  Status CheckDirEmpty(const TxnOp& op);
  Status CheckDirParent(const TxnOp& op, const Cred& cred);
  void Hold(TxnId txn, const TxnOp& op);
  void LetGo(const TxnOp& op);
  void Commit(const TxnOp& op, Nanos now);
  void CommitDentry(const TxnOp& op, Nanos now);

  std::string CheckEntries();
  std::string CheckInodes();
  std::string CheckHeld();

  static bool AddShard(Inode& inode, ShardId shard);
};

}  // namespace mayfly
