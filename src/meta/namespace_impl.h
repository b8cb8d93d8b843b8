// The tables behind a Namespace. Inside the room only.
#pragma once

#include "meta/dentry_store.h"
#include "meta/dentry_table.h"
#include "meta/dir_part.h"
#include "meta/inode_table.h"
#include "meta/namespace.h"
#include "meta/open_table.h"
#include "meta/transaction.h"

namespace mayfly {

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
  // The name is new in the part. False if the store is full, or the part had 2^39 entries.
  bool AddEntry(DirPart& part, std::string_view name, uint32_t hash, InodeId inode, FileType type, Nanos now);
  // `hash` is that of the entry's parent and name.
  void RemoveEntry(DirPart& part, DentryRef ref, uint32_t hash, Nanos now);

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
};

}  // namespace mayfly
