// One shard's part of the namespace: the dentries it holds, the inodes it is the home of, and the rules of POSIX that
// can be decided from them. Plain and synchronous: no clock (times are passed in), no network, no suspension; what
// needs another shard (joining a directory, asking for sizes, two-phase commit) is the server's part.
//
// A directory has two faces. At its *home* it is an inode with the set of shards that hold entries of it. At each of
// those shards it is a *part*: rights pushed by the home, counts, times, and the entries in the order they came.
// Reading changes no atime (as with noatime); utimens sets it.
// Invariants  M1  an entry exists only in a part that is joined (a shard joins at the home before its first entry).
//             M2  an inode born here has this shard in its number; sequences are never reused.
//             M3  an entry that a prepared transaction holds is neither changed nor removed by anything else: such
//             calls
//                 give kBusy. A part that a transaction may remove takes no new entries (kBusy).
//             M4  nlink, entry and subdirectory counts equal what a scan of the tables gives (Check(), used by tests).
#pragma once

#include <absl/container/flat_hash_set.h>

#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/tlv.h"
#include "meta/inode.h"
#include "wire/messages.h"

namespace mayfly {

// Access bits, as in access(2).
constexpr uint32_t kMayRead = 4, kMayWrite = 2, kMayExec = 1;
// The owner, group, other rule; uid 0 may everything but execute a file without any x bit.
bool MayAccess(FileType type, uint16_t permissions, uint32_t uid, uint32_t gid, const Cred& cred, uint32_t want);

// Of an encoded ListingEntry, beside its name.
constexpr size_t kListingEntryBytes = 8 + 4 + 73;

struct Dentry;

class Namespace {
 public:
  struct Options {
    ShardId self;
    uint8_t chunk_bits = kChunkBitsDefault;
  };
  explicit Namespace(Options options);
  ~Namespace();

  // ---- inodes of this home ----
  Inode* FindInode(InodeId id);
  // The root, at its home: uid and gid of the server, permissions 0755 | sticky as given, its own part joined.
  Inode* CreateRoot(uint32_t uid, uint32_t gid, uint16_t permissions, Nanos now);
  Attr AttrOf(const Inode& inode) const;  // of a directory: without what its parts add
  // With it: nlink 2 + subdirectories, size as on tmpfs, ctime the newest. The mtime is the newest of the parts; only
  // when none has one (nothing came or went since utimens or mkdir) it is the home's, which may be greater.
  Attr AttrOfDirectory(const Inode& dir, std::span<const DirPartReply> parts) const;
  // Inodes born from now on have a sequence of at least `next`: a recovered shard never gives one twice (M2).
  void ReserveSequences(uint64_t next);
  uint64_t next_sequence() const;
  // chmod, chown, utimens by the rules of Linux for `cred` (owner or root; group membership; suid and sgid bits cleared
  // by chown, sgid by chmod of a non-member; EPERM or EACCES as utimensat says). kSetSize is the server's: here only
  // its permission (unless kByHandle), mtime, ctime and privileges. *rights_changed: a directory's
  // rights differ from before. Its parts must be told then, and with clear_mtime when the mask sets an mtime; the part
  // beside the home was told already.
  Status SetAttr(Inode& inode, const SetAttrRequest& request, const Cred& cred, Nanos now, bool* rights_changed);
  // After a write by `cred`: suid goes, and sgid of executables and foreign groups; nothing for uid 0.
  void ClearPrivileges(Inode& inode, const Cred& cred);
  static bool HasPrivileges(const Inode& inode);  // suid or sgid
  // The rights of a directory, for its parts.
  DirRights RightsOf(const Inode& dir) const;
  // A dead inode's last step: out of the table. Its data was the caller's to drop.
  void Forget(Inode& inode);
  // `shard` has entries of the directory, or chunks of the file: one of its shards from now on. Idempotent.
  void AddShard(Inode& inode, ShardId shard);
  // After a change of the fields of *inode by the caller itself, before it suspends: for the journal. Its xattrs and
  // shards are not the caller's to change.
  void Changed(const Inode& inode);
  // From now on each change of an inode of this home, and of an entry that leads to it, adds one to the count at its
  // sequence modulo their number, before the call returns. Empty: not any more.
  void SetCounts(ChangeCounts counts);
  // Called when the last name of a file goes, before it may be dead: who has it open without a message may be
  // registered now.
  void SetOnLastLink(std::function<void(Inode&)> called);

  // ---- what requests are about to look at ----
  // With many clients and files each table is a cache miss or two, and the second needs what the first brought. So
  // requests that wait are announced, all of them once and then all of them again; when they are served the lines are
  // there. That changes nothing, and a wrong guess costs a little time.
  struct Foreseen {
    InodeId parent, born;  // born: what a create will make
    uint32_t hash = 0;
    ClientId process;
  };
  // `births`: how many of those announced before will make an inode.
  Foreseen Foresee(InodeId parent, std::string_view name, ClientId process, uint64_t births) const;
  void Foresee(const Foreseen& again) const;

  // ---- parts of directories ----
  bool Joined(InodeId dir) const;
  void Join(const DirRights& rights);          // idempotent; an older version is ignored
  void UpdateRights(const DirRights& rights);  // likewise; clear_mtime forgets the part's mtime
  void LeavePart(InodeId dir);                 // the directory is gone; the part is empty
  const DirRights* Rights(InodeId dir) const;  // null if not joined
  DirPartReply PartOf(InodeId dir) const;      // zeros if not joined
  std::vector<uint64_t> NamesOf(InodeId dir);  // XXH3 of each name of the part
  // As much of the listing as fits: ListingEntry after ListingEntry. Entries whose inode lives elsewhere, and files
  // whose size other shards know, are `partial`; so are files of this home that `unsettled` names.
  using Unsettled = std::function<bool(InodeId)>;
  ReadDirReply List(InodeId dir, uint64_t after, Encoder& out, const Unsettled& unsettled = nullptr);

  // ---- entries ----
  struct Entry {
    InodeId inode;
    FileType type = FileType::kNone;
    bool exposed = false;    // went out in a reply that a client may cache (directories)
    bool busy = false;       // held by a prepared transaction
    Inode* local = nullptr;  // if this is the inode's home
  };
  // kNoEntry; kBusy if there is none but a prepared transaction holds the name: it may be about to come, and elsewhere
  // what goes for it may be gone already. No permission is checked. O(1), no allocation.
  Result<Entry> Find(InodeId parent, std::string_view name);
  void Expose(InodeId parent, std::string_view name);

  struct Creation {
    InodeId parent;
    std::string_view name;
    FileType type = FileType::kFile;
    uint16_t permissions = 0;
    uint8_t chunk_bits = 0;   // 0: the option's
    std::string_view target;  // symlink
    InodeId inode;            // a number of this home that was reserved; 0: the next
  };
  // A new inode with its entry, by the parent's rights (w and x; sgid parents give their group, and to directories the
  // bit). The parent's part must be joined (kConflict). kExists, kAccess, kBusy, kNameTooLong, kInvalid ("", ".",
  // "..", '/' or NUL), kNoSpace (32 GiB of names).
  Result<Inode*> Create(const Creation& what, const Cred& cred, Nanos now);
  // unlink(2) of an entry whose inode is local. kIsDirectory, kAccess, kPermission (sticky), kBusy, kNoEntry;
  // kElsewhere if the inode is not local. It may be dead() afterwards: the caller drops data and calls Forget.
  Result<Inode*> Unlink(InodeId parent, std::string_view name, const Cred& cred, Nanos now);
  // May `cred` remove or replace this entry (w and x on the parent, sticky rule with the inode's owner)?
  Status MayRemove(InodeId parent, uint32_t inode_uid, const Cred& cred) const;
  // w and x on a joined parent.
  Status MayCreateIn(InodeId parent, const Cred& cred) const;
  // The directory is sticky, and neither it is `cred`'s nor is `cred` root.
  bool OwnOnly(InodeId parent, const Cred& cred) const;

  // ---- xattrs (by inode of this home) ----
  // Rules of tmpfs: user.* needs read or write permission and a regular file or directory (EPERM otherwise; sticky
  // directories of others EPERM), trusted.* only uid 0 (EPERM to set, ENODATA to get), security.* only uid 0 to
  // set; system.* and other prefixes EOPNOTSUPP. Empty or long names ERANGE, long values E2BIG, a bare prefix EINVAL.
  // Views live until the next change of the inode.
  Result<std::string_view> GetXattr(const Inode& inode, std::string_view name, const Cred& cred) const;
  Status SetXattr(Inode& inode, std::string_view name, std::string_view value, uint32_t flags, const Cred& cred,
                  Nanos now);
  Status RemoveXattr(Inode& inode, std::string_view name, const Cred& cred, Nanos now);
  std::string ListXattr(const Inode& inode, const Cred& cred) const;  // names, each with its NUL

  // ---- open files ----
  // `process` has it open once more. Closing (one, or all of a process that died) lists the inodes that died by it.
  void RegisterOpen(Inode& inode, ClientId process, bool writes = false);
  // Whether the process (others than it) opened the inode to write, and has not closed all that it opened of it.
  bool WrittenBy(InodeId inode, ClientId process) const;
  bool WrittenByOthers(const Inode& inode, ClientId process) const;
  void ReleaseOpen(InodeId inode, ClientId process, std::vector<InodeId>* died);
  void ReleaseAll(ClientId process, std::vector<InodeId>* died);
  bool OpenBy(InodeId inode, ClientId process) const;
  // Opens by processes other than `process`.
  uint32_t OpensByOthers(const Inode& inode, ClientId process) const;

  // ---- transactions (two-phase, presumed abort) ----
  // Checks every operation and takes all locks, or none: kBusy if another transaction holds something (never waits),
  // kConflict if `expect` no longer holds or the inode is gone, or the error that POSIX gives (kAccess, kPermission,
  // kNotEmpty for kDirEmpty, kTooManyLinks). Preparing the same transaction twice is kOk. A kDentry that adds an entry
  // needs the part joined (the caller saw to it). For kDirRemove, `set` receives the directory's shards.
  //   kDentry:    `check`: w and x on the parent; `sticky_check`: the sticky rule with `expect_uid`. `set` equal to
  //               `expect` holds the entry as it is. A replaced entry keeps its place in the listing.
  //   kLink:      a positive delta on an inode with nlink 0 is kNoEntry, on a directory kPermission; delta 0 sets
  //               only the ctime; `check`: the rule of protected hard links (kPermission); `expect_type`: kInvalid if
  //               the inode is of another. Pins the inode: until then its last link stays, kBusy (also of Unlink).
  //   kDirRemove: kBusy for the root.
  //   kDirParent: `check`: w on the directory itself (moving it to another parent).
  // kInvalid: more than 64 operations, two of them on one name or directory, or no transaction number.
  Status Prepare(TxnId txn, std::span<const TxnOp> ops, const Cred& cred, std::vector<ShardId>* set);
  // Applies or undoes; an unknown transaction is kOk (already decided). `died`: inodes to drop. Idempotent.
  // `dir_mtime`: what a directory that goes keeps, if it is not 0.
  Status Decide(TxnId txn, bool commit, Nanos now, std::vector<InodeId>* died, Nanos dir_mtime = 0);
  size_t prepared() const;
  // Where kBusy was said about the name, or without one about the inode: whether one of these prepared transactions is
  // why. What holds the name, lets none come into the part, holds the directory, or pins the inode.
  bool IsHeldBy(const absl::flat_hash_set<TxnId>& those, InodeId inode, std::string_view name) const;

  // ---- after-images (meta/images.h), for journal and checkpoint ----
  // From now on each change writes to *out (not owned; null: nowhere, as at the start) what is different afterwards,
  // before the call returns. A call that changes nothing writes nothing. Who reads the entries of a directory
  // (Expose) is not written: after a recovery every directory counts as exposed.
  void SetRecorder(TlvWriter* out);
  // Recovery, of a fresh namespace without a recorder: the images of a checkpoint, then those of all records since
  // the one at which its walk began, in their order; then FinishRecovery. Nothing else may be called in between.
  // kCorrupt: this is no image that Namespace writes. A tag of this room (IsNamesTag) that is not known does nothing,
  // or is kNotSupported if it has kTagMust. kNoSpace: 32 GiB of names.
  Status Apply(Tag tag, Bytes value);
  // Derives what no image has, and holds what prepared transactions hold. kCorrupt, said in the log, if the images
  // contradict each other: the namespace must not be used then. `dead`: inodes that nothing refers to any more, for
  // the caller to bury; `orphans`: those without a name that some process has open.
  Status FinishRecovery(std::vector<InodeId>* dead, std::vector<InodeId>* orphans);
  // Who has anything open, by number; and the transactions that are prepared, by number.
  std::vector<ClientId> Openers() const;
  std::vector<TxnId> Prepared() const;

  // ---- figures ----
  uint64_t inodes() const;
  uint64_t memory_bytes() const;  // of tables and entries, truthfully: about 150 bytes an empty file. O(1).
  // Walks every table and compares (M4); the first difference as text, empty if none. For tests and `mayfly status`.
  std::string Check() const;
  // Every local inode, in the order of sequence. `visit` may forget the one it is given; it creates and forgets no
  // other.
  void ForEachInode(const std::function<void(Inode&)>& visit);

 private:
  friend class NamespaceLook;
  friend class NamespaceWalk;
  struct Impl;
  Attr ListedAttr(const Dentry& dentry) const;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mayfly
