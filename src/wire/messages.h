// Every request and its reply, and the one table they are generated from: the enum of methods, their limits, and the
// dispatch of the server (server/dispatch.cc) all expand MAYFLY_METHODS.
// A message lists its fields once (Fields); views (std::string_view) point into the header that was received.
// Bulk bytes travel as the payload beside the message; the comment of each message says what its payload is.
#pragma once

#include "wire/flush_messages.h"
#include "wire/member_messages.h"
#include "wire/stage_messages.h"
#include "wire/trace_messages.h"
#include "wire/types.h"

namespace mayfly {

struct Empty {
  template <class Io>
  void Fields(Io&) {}
};

// ---- names: sent to the shard of (parent, name) -------------------------------------------------------------------

struct LookupRequest {
  InodeId parent;
  std::string_view name;
  bool exact_size = false;  // ask the other shards of a large file
  bool watch = false;       // tell what is needed to look at a file, and to read it, without a message
  template <class Io>
  void Fields(Io& io) {
    io(parent, name, exact_size, watch);
  }
};
// Payload: the target, if it is a symlink.
struct LookupReply {
  Attr attr;
  WatchedFile watched;  // with `watch`
  Grant grant;          // to read it, if it is watched and the caller may
  PlacedFile placed;    // likewise
  template <class Io>
  void Fields(Io& io) {
    io(attr, watched);
    if (watched.told) io(grant, placed);
  }
};

// Payload of Lookups: names, all of one shard; of its reply: what a Lookup with `watch` says of those that are files
// and may be watched.
struct NameToLookUp {
  InodeId parent;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(parent, name);
  }
};
struct LookedUp {
  uint16_t at = 0;  // in the request
  LookupReply reply;
  template <class Io>
  void Fields(Io& io) {
    io(at, reply);
  }
};
constexpr size_t kLookupsMax = 64, kLookedUpBytesMax = 256;  // names of one request; encoded, of one that is found

struct OpenRequest {
  InodeId parent;
  std::string_view name;
  uint32_t flags = 0;        // OpenFlags
  uint16_t permissions = 0;  // of a new file, umask applied; kAskedGroupExec
  uint8_t chunk_bits = 0;    // of a new file; 0: the session's
  template <class Io>
  void Fields(Io& io) {
    io(parent, name, flags, permissions, chunk_bits);
  }
};
// Payload: the target, if it is a symlink (then nothing was opened).
struct OpenReply {
  Attr attr;
  bool created = false, uncounted = false;  // uncounted: the home forgets of it when it ends, and is told of no close
  bool elsewhere = false;                   // not opened: the inode lives on another shard; send OpenInode to its home
  bool sole = false;                        // nobody else has it open: write-behind is allowed until revoked
  Grant grant;                              // of what was opened
  PlacedFile placed;                        // with kOpenPlaced: where its bytes lie
  WatchedFile watched;                      // likewise
  template <class Io>
  void Fields(Io& io) {
    io(attr, created, uncounted, elsewhere, sole, grant, placed, watched);
  }
};

struct MkdirRequest {
  InodeId parent;
  std::string_view name;
  uint16_t permissions = 0;
  template <class Io>
  void Fields(Io& io) {
    io(parent, name, permissions);
  }
};
struct AttrReply {
  Attr attr;
  template <class Io>
  void Fields(Io& io) {
    io(attr);
  }
};

// Payload: the target.
struct NameRequest {
  InodeId parent;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(parent, name);
  }
};

// To the shard of the new name.
struct LinkRequest {
  InodeId inode;
  FileType type = FileType::kNone;
  InodeId parent;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(inode, type, parent, name);
  }
};

// Rename: to the shard of the old name, which answers kElsewhere if a directory moves; RenameDir: to the root's home.
struct RenameRequest {
  InodeId parent;
  std::string_view name;
  InodeId new_parent;
  std::string_view new_name;
  uint32_t flags = 0;              // 1: no replace, 2: exchange (as renameat2)
  bool must_be_directory = false;  // a path ended in '/'
  template <class Io>
  void Fields(Io& io) {
    io(parent, name, new_parent, new_name, flags, must_be_directory);
  }
};

// ---- inodes: sent to the inode's home ------------------------------------------------------------------------------

// `opener`, `grant`: what an open of another process gave, which this one has inherited (a fork's child); the inode's
// permissions do not count then, they may have changed since. 0: nothing was inherited.
struct OpenInodeRequest {
  InodeId inode;
  uint32_t flags = 0;
  ClientId opener;
  Grant grant;
  template <class Io>
  void Fields(Io& io) {
    io(inode, flags, opener, grant);
  }
};

struct CloseRequest {
  std::vector<InodeId> inodes;  // one entry a close; at most kClosesMax
  static constexpr uint32_t kClosesMax = 128;
  template <class Io>
  void Fields(Io& io) {
    io(inodes);
  }
};

struct InodeRequest {
  InodeId inode;
  template <class Io>
  void Fields(Io& io) {
    io(inode);
  }
};

struct GetAttrRequest {
  InodeId inode;
  bool exact_size = false;
  template <class Io>
  void Fields(Io& io) {
    io(inode, exact_size);
  }
};

struct SetAttrRequest {
  InodeId inode;
  uint32_t mask = 0;  // AttrMask
  uint16_t permissions = 0;
  uint32_t uid = 0, gid = 0;
  uint64_t size = 0;
  Nanos atime = 0, mtime = 0;
  Grant grant;  // kByHandle
  template <class Io>
  void Fields(Io& io) {
    io(inode, mask, permissions, uid, gid, size, atime, mtime, grant);
  }
};

// GetXattr: reply payload is the value. SetXattr: request payload is the value; flags: 1 create, 2 replace.
struct XattrRequest {
  InodeId inode;
  std::string_view name;
  uint32_t flags = 0;
  template <class Io>
  void Fields(Io& io) {
    io(inode, name, flags);
  }
};

// The beginning of a listing, by whoever may read the directory, or shows the grant that `opener` (itself, or whom it
// inherited it from) got for it; or about a file, with the grant of its open.
struct ShardsRequest {
  InodeId inode;
  ClientId opener;  // 0: no grant of a listing is shown
  Grant grant;
  template <class Io>
  void Fields(Io& io) {
    io(inode, opener, grant);
  }
};
// Reply payload: the shards (u32 each) that hold entries of a directory, or chunks of a file beside its home.
struct ShardsReply {
  Attr attr;
  uint32_t count = 0;
  Grant grant;  // of a directory: to read it, shown to each of the shards
  template <class Io>
  void Fields(Io& io) {
    io(attr, count, grant);
  }
};

// To a shard of the directory's set. Reply payload: entries (ListingEntry), one after the other.
struct ReadDirRequest {
  InodeId dir;
  uint64_t after = 0;      // insertion sequence on this shard; 0: from the start
  uint32_t bytes_max = 0;  // of the payload, at most kPageBytesMax
  Grant grant;
  template <class Io>
  void Fields(Io& io) {
    io(dir, after, bytes_max, grant);
  }
};
struct ReadDirReply {
  uint32_t count = 0;
  bool end = false;
  template <class Io>
  void Fields(Io& io) {
    io(count, end);
  }
};
struct ListingEntry {
  uint64_t sequence = 0;  // insertion sequence on this shard: pass it as `after` to go on behind it
  std::string_view name;
  Attr attr;  // type and inode only when `partial`
  template <class Io>
  void Fields(Io& io) {
    io(sequence, name, attr);
  }
};

// ---- data: sent to the shard of the chunk ---------------------------------------------------------------------------
// Each shows the grant of its open (types.h), but for those of peers.

// Payload: the bytes. `sums`: XXH3 of each 64 KiB block of the payload, or none.
struct WriteRequest {
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;  // within the chunk
  uint8_t chunk_bits = 0;
  Grant grant;  // to write
  // Of a peer that appends, as in FileJoinReply, + 1: stored only while this shard is at it. A home that died in the
  // middle of an append cuts the file back when it is started again, and nothing of it may come after that. 0: any.
  uint64_t epoch = 0;
  absl::InlinedVector<uint64_t, 8> sums;
  template <class Io>
  void Fields(Io& io) {
    io(inode, chunk, offset, chunk_bits, grant, epoch, sums);
  }
};

struct ReadRequest {
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;
  uint32_t bytes = 0;  // at most kTransferBytesMax
  uint8_t chunk_bits = 0;
  bool want_sums = false;
  bool mapped = false;  // by a process that has the arena mapped: it wants to know where the bytes lie
  Grant grant;          // to read
  template <class Io>
  void Fields(Io& io) {
    io(inode, chunk, offset, bytes, chunk_bits, want_sums, mapped, grant);
  }
};
// Payload: the bytes of the parts that are no hole, in order; or, if they were asked for `mapped`, `runs` that hold
// them. The parts may cover less than was asked: when `cut`, ask again from there; otherwise this shard knows of
// nothing beyond (a hole or the end: the file's size tells).
struct ReadReply {
  absl::InlinedVector<Part, 4> parts;
  bool cut = false;
  bool size_known = false;  // the home answered for a file whose chunks are all here: `size` is exact
  uint64_t size = 0;
  absl::InlinedVector<PlacedRun, 4> runs;
  uint32_t stamp = 0;  // the sum of the stamps of the runs (os/arena_memory.h)
  template <class Io>
  void Fields(Io& io) {
    io(parts, cut, size_known, size, runs, stamp);
  }
};

// ---- writing into the arena, by a client on the server's node that has it mapped -----------------------------------
// A place is lent to a process until it is committed, returned, or the process is gone. ArenaName's reply payload: the
// name to attach by (os/arena_view.h), empty if nobody can.

struct LoanRequest {
  uint64_t loan = 0;   // its number: the process's choice, never the same twice
  uint32_t bytes = 0;  // at most kTransferBytesMax
  bool ahead = false;  // of need: refused while little memory is free
  template <class Io>
  void Fields(Io& io) {
    io(loan, bytes, ahead);
  }
};
struct LoanReply {
  PlaceLoan loan;
  template <class Io>
  void Fields(Io& io) {
    io(loan);
  }
};
// As Write, for bytes that lie at the front of a lent place. The loan is used up, whatever the answer. The reply's
// loan is the next one, if one was wished for and there is memory enough.
struct CommitRequest {
  uint64_t loan = 0;
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;  // within the chunk
  uint32_t bytes = 0;
  uint8_t chunk_bits = 0;
  uint64_t next = 0;        // number of the next loan
  uint32_t next_bytes = 0;  // 0: none is wanted
  absl::InlinedVector<uint64_t, 8> sums;
  Grant grant;  // to write
  template <class Io>
  void Fields(Io& io) {
    io(loan, inode, chunk, offset, bytes, chunk_bits, next, next_bytes, sums, grant);
  }
};
struct ReturnRequest {
  std::vector<uint64_t> loans;  // at most kLoansMax; unknown ones are passed over
  static constexpr uint32_t kLoansMax = 128;
  template <class Io>
  void Fields(Io& io) {
    io(loans);
  }
};

// To the home, which places the data. Payload and sums as in WriteRequest.
struct AppendRequest {
  InodeId inode;
  Grant grant;  // to write
  absl::InlinedVector<uint64_t, 8> sums;
  template <class Io>
  void Fields(Io& io) {
    io(inode, grant, sums);
  }
};
struct OffsetReply {
  uint64_t offset = 0;
  bool found = false;  // ChunkSeek: there is one on this shard
  template <class Io>
  void Fields(Io& io) {
    io(offset, found);
  }
};

// ChunkReserve, ChunkPunch: to the shard of the chunk. Extend: to the home (chunk and offset unused).
struct RangeRequest {
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;
  uint64_t bytes = 0;  // Extend: the least size the file has afterwards
  uint8_t chunk_bits = 0;
  Grant grant;  // to write
  template <class Io>
  void Fields(Io& io) {
    io(inode, chunk, offset, bytes, chunk_bits, grant);
  }
};
// The next data, or hole, at or after file offset `from` on the asked shard; for a hole within chunk `from` lies in.
struct SeekRequest {
  InodeId inode;
  uint64_t from = 0;
  bool hole = false;
  uint8_t chunk_bits = 0;
  Grant grant;  // any: lseek goes wherever a file is open
  template <class Io>
  void Fields(Io& io) {
    io(inode, from, hole, chunk_bits, grant);
  }
};

// ---- between shards
// ---------------------------------------------------------------------------------------------------

struct DirJoinRequest {
  InodeId dir;
  ShardId shard;
  template <class Io>
  void Fields(Io& io) {
    io(dir, shard);
  }
};
// Also pushed to every joined shard when they change (DirUpdate).
struct DirRights {
  InodeId dir;
  uint16_t permissions = 0;
  uint32_t uid = 0, gid = 0;
  uint64_t version = 0;      // grows with each change at the home: an older push is ignored
  bool clear_mtime = false;  // utimens set the directory's times: forget the part's own
  template <class Io>
  void Fields(Io& io) {
    io(dir, permissions, uid, gid, version, clear_mtime);
  }
};
struct DirPartReply {
  uint64_t entries = 0;
  uint32_t subdirectories = 0;
  Nanos mtime = 0, ctime = 0;
  template <class Io>
  void Fields(Io& io) {
    io(entries, subdirectories, mtime, ctime);
  }
};

struct FileJoinRequest {
  InodeId inode;
  ShardId shard;
  template <class Io>
  void Fields(Io& io) {
    io(inode, shard);
  }
};
struct FileJoinReply {
  uint64_t epoch = 0;       // of truncation
  uint64_t privileged = 0;  // as in PrivilegedRequest; 0: it has no such bits
  template <class Io>
  void Fields(Io& io) {
    io(epoch, privileged);
  }
};
// To the home, with a grant to read: may this process read ahead of the file? A yes is good for lease_ms from the
// moment of the request on (server/read_leases.h).
struct ReadLeaseRequest {
  InodeId inode;
  Grant grant;
  template <class Io>
  void Fields(Io& io) {
    io(inode, grant);
  }
};
struct ReadLeaseReply {
  uint32_t lease_ms = 0;  // 0: no, somebody may write to it
  template <class Io>
  void Fields(Io& io) {
    io(lease_ms);
  }
};

// Privileged: the home to a joined shard: the file has got suid or sgid, by the home's `count`th such chmod. From then
// on a write of somebody other than root asks the home by DropPrivileges to take them away, before it is answered.
struct PrivilegedRequest {
  InodeId inode;
  uint64_t count = 0;
  template <class Io>
  void Fields(Io& io) {
    io(inode, count);
  }
};
struct DropPrivilegesRequest {
  InodeId inode;
  Cred cred;  // the writer's
  template <class Io>
  void Fields(Io& io) {
    io(inode, cred);
  }
};
struct DropPrivilegesReply {
  uint64_t count = 0;  // of the last such chmod before
  bool left = false;   // the file still has one of the bits
  template <class Io>
  void Fields(Io& io) {
    io(count, left);
  }
};
struct GlimpseRequest {
  InodeId inode;
  bool clear_mtime = false;
  template <class Io>
  void Fields(Io& io) {
    io(inode, clear_mtime);
  }
};
struct GlimpseReply {
  uint64_t end = 0;  // file offset behind the last byte written here
  uint64_t blocks = 0;
  Nanos mtime = 0;
  uint64_t writes = 0;  // count of changes here: part of the file's version
  template <class Io>
  void Fields(Io& io) {
    io(end, blocks, mtime, writes);
  }
};
struct TruncateRequest {
  InodeId inode;
  uint64_t size = 0;
  uint64_t epoch = 0;  // 0: would it be done? Nothing is changed
  uint8_t chunk_bits = 0;
  bool unanswered = false;  // what it cuts nobody was told of: done by a shard that takes no changes as well
  template <class Io>
  void Fields(Io& io) {
    io(inode, size, epoch, chunk_bits, unanswered);
  }
};

// What an entry holds now, for a coordinator that forms a transaction. Never waits for its lock.
struct PeekRequest {
  InodeId parent;
  std::string_view name;
  Cred cred;
  template <class Io>
  void Fields(Io& io) {
    io(parent, name, cred);
  }
};
struct PeekReply {
  InodeId inode;  // 0: absent
  FileType type = FileType::kNone;
  bool exposed = false;     // a client may have it in its path cache
  bool busy = false;        // a transaction holds it
  Code rights = Code::kOk;  // of `cred` to put something here: w and x on the parent, as far as this shard knows it
  bool sticky = false;      // likewise: `cred` may take away only what is its own
  template <class Io>
  void Fields(Io& io) {
    io(inode, type, exposed, busy, rights, sticky);
  }
};
// Payload of the request: the operations (vector<TxnOp>), as they may be long. Reply payload: for kDirRemove the shards
// of the directory's set (u32 each).
struct PrepareRequest {
  TxnId txn;
  Cred cred;
  template <class Io>
  void Fields(Io& io) {
    io(txn, cred);
  }
};
struct PrepareReply {
  uint32_t set_count = 0;
  Nanos mtime = 0;  // of a part that kDirEmpty holds
  template <class Io>
  void Fields(Io& io) {
    io(set_count, mtime);
  }
};
struct DecideRequest {
  TxnId txn;
  bool commit = false;
  Nanos time = 0;
  Nanos mtime = 0;  // the newest of the parts of a directory that goes: who has it open still sees it; 0: none had one
  template <class Io>
  void Fields(Io& io) {
    io(txn, commit, time, mtime);
  }
};
struct ParentReply {
  InodeId parent;  // 0: the directory is gone
  template <class Io>
  void Fields(Io& io) {
    io(parent);
  }
};

struct GenerationRequest {
  Generation generation;
  template <class Io>
  void Fields(Io& io) {
    io(generation);
  }
};
struct LeaseReply {
  Generation generation;
  uint32_t lease_ms = 0;
  template <class Io>
  void Fields(Io& io) {
    io(generation, lease_ms);
  }
};

// ---- session
// ------------------------------------------------------------------------------------------------------------

struct StatFsReply {
  uint64_t bytes = 0, bytes_free = 0, inodes = 0, inodes_free = 0;
  uint32_t chunk_bytes = 0;
  template <class Io>
  void Fields(Io& io) {
    io(bytes, bytes_free, inodes, inodes_free, chunk_bytes);
  }
};

// Reply payload: JSON of one shard.
struct StatusRequest {
  bool counters = true;
  template <class Io>
  void Fields(Io& io) {
    io(counters);
  }
};

// To the root's home. Request payload: FlushSpec. A flush runs by itself; FlushStatus follows it.
struct FlushSpec {
  std::string source, target, pattern;
  uint32_t budget_ms = 0;
  template <class Io>
  void Fields(Io& io) {
    io(source, target, pattern, budget_ms);
  }
};
struct FlushRequest {
  bool stop = false;  // refuse new work first, and end the session when all is verified
  bool flush = true;  // false: stop without
  bool keep = false;  // with stop: what outlives the servers stays, closed in order, for mayflyd --recover
  template <class Io>
  void Fields(Io& io) {
    io(stop, flush, keep);
  }
};
struct FlushReply {
  uint64_t job = 0;
  template <class Io>
  void Fields(Io& io) {
    io(job);
  }
};
// To every shard when the session stops (or goes on after all): clients are refused from then on. Their unsent writes
// are asked for first; reply payload: a line for each process that did not send them (text).
struct RefuseRequest {
  bool refuse = true;
  template <class Io>
  void Fields(Io& io) {
    io(refuse);
  }
};
// To every shard at the end. `keep`: as in FlushRequest.
struct LeaveRequest {
  bool keep = false;
  template <class Io>
  void Fields(Io& io) {
    io(keep);
  }
};
struct FlushStatusRequest {
  uint64_t job = 0;
  bool cancel = false;
  template <class Io>
  void Fields(Io& io) {
    io(job, cancel);
  }
};
// Payload, once `done`: the report (JSON).
struct FlushStatusReply {
  uint64_t files_done = 0, files_total = 0, bytes_done = 0, bytes_total = 0;
  bool done = false;
  Code result = Code::kOk;
  template <class Io>
  void Fields(Io& io) {
    io(files_done, files_total, bytes_done, bytes_total, done, result);
  }
};

// A long poll by a process's service lane: answered when another open or stat wants write-behind of some of the
// process's files given up, or empty after kRevokePollMs. Reply payload: the inodes (u64 each). The process sends what
// it holds of them and then names them in Yielded.
struct CountReply {
  uint32_t count = 0;
  template <class Io>
  void Fields(Io& io) {
    io(count);
  }
};
constexpr uint32_t kRevokePollMs = 20'000;

// ---- the table ------------------------------------------------------------------------------------------------------
// X(Name, number, Request, Reply, once, who): `once`: executes once (kept in the duplicate table). who: kAny, kPeer
// (another server only). Numbers travel: append only.
// Sync, to a file's home: at level `node`, answered when all that was acknowledged of it is durable, on all its shards.
#define MAYFLY_METHODS(X)                                                        \
  X(Ping, 1, Empty, Empty, false, kAny)                                          \
  X(Lookup, 2, LookupRequest, LookupReply, false, kAny)                          \
  X(Open, 3, OpenRequest, OpenReply, true, kAny)                                 \
  X(Mkdir, 4, MkdirRequest, AttrReply, true, kAny)                               \
  X(Symlink, 5, NameRequest, AttrReply, true, kAny)                              \
  X(Unlink, 6, NameRequest, Empty, true, kAny)                                   \
  X(Rmdir, 7, NameRequest, Empty, true, kAny)                                    \
  X(Link, 8, LinkRequest, AttrReply, true, kAny)                                 \
  X(Rename, 9, RenameRequest, Empty, true, kAny)                                 \
  X(RenameDir, 10, RenameRequest, Empty, true, kAny)                             \
  X(OpenInode, 11, OpenInodeRequest, OpenReply, true, kAny)                      \
  X(Close, 12, CloseRequest, Empty, true, kAny)                                  \
  X(GetAttr, 13, GetAttrRequest, AttrReply, false, kAny)                         \
  X(SetAttr, 14, SetAttrRequest, AttrReply, true, kAny)                          \
  X(ReadLink, 15, InodeRequest, Empty, false, kPeer)                             \
  X(GetXattr, 16, XattrRequest, Empty, false, kAny)                              \
  X(SetXattr, 17, XattrRequest, Empty, true, kAny)                               \
  X(ListXattr, 18, InodeRequest, Empty, false, kAny)                             \
  X(RemoveXattr, 19, XattrRequest, Empty, true, kAny)                            \
  X(Shards, 20, ShardsRequest, ShardsReply, false, kAny)                         \
  X(ReadDir, 21, ReadDirRequest, ReadDirReply, false, kAny)                      \
  X(Write, 22, WriteRequest, Empty, true, kAny)                                  \
  X(Read, 23, ReadRequest, ReadReply, false, kAny)                               \
  X(Append, 24, AppendRequest, OffsetReply, true, kAny)                          \
  X(ChunkReserve, 25, RangeRequest, Empty, true, kAny)                           \
  X(ChunkPunch, 26, RangeRequest, Empty, true, kAny)                             \
  X(Extend, 27, RangeRequest, Empty, true, kAny)                                 \
  X(ChunkSeek, 28, SeekRequest, OffsetReply, false, kAny)                        \
  X(DirJoin, 29, DirJoinRequest, DirRights, true, kPeer)                         \
  X(DirUpdate, 30, DirRights, Empty, true, kPeer)                                \
  X(DirPart, 31, InodeRequest, DirPartReply, false, kPeer)                       \
  X(DirParent, 32, InodeRequest, ParentReply, false, kPeer)                      \
  X(FileJoin, 33, FileJoinRequest, FileJoinReply, true, kPeer)                   \
  X(Glimpse, 34, GlimpseRequest, GlimpseReply, false, kPeer)                     \
  X(ChunkTruncate, 35, TruncateRequest, Empty, true, kPeer)                      \
  X(DropFile, 36, InodeRequest, Empty, true, kPeer)                              \
  X(Peek, 37, PeekRequest, PeekReply, false, kPeer)                              \
  X(Prepare, 38, PrepareRequest, PrepareReply, true, kPeer)                      \
  X(Decide, 39, DecideRequest, Empty, true, kPeer)                               \
  X(Bump, 40, Empty, LeaseReply, false, kPeer)                                   \
  X(SetGeneration, 41, GenerationRequest, Empty, false, kPeer)                   \
  X(Lease, 42, Empty, LeaseReply, false, kPeer)                                  \
  X(StatFs, 43, Empty, StatFsReply, false, kAny)                                 \
  X(GetStatus, 44, StatusRequest, Empty, false, kAny)                            \
  X(Flush, 45, FlushRequest, FlushReply, true, kAny)                             \
  X(FlushStatus, 46, FlushStatusRequest, FlushStatusReply, false, kAny)          \
  X(FlushDir, 47, FlushDirRequest, FlushWorkReply, false, kPeer)                 \
  X(FlushFile, 48, FlushFileRequest, FlushWorkReply, false, kPeer)               \
  X(FlushChunks, 49, FlushFileRequest, FlushWorkReply, false, kPeer)             \
  X(Refuse, 50, RefuseRequest, Empty, true, kPeer)                               \
  X(Leave, 51, LeaveRequest, Empty, true, kPeer)                                 \
  X(Revoked, 52, Empty, CountReply, false, kAny)                                 \
  X(Yielded, 53, CloseRequest, Empty, true, kAny)                                \
  X(ArenaName, 54, Empty, Empty, false, kAny)                                    \
  X(Loan, 55, LoanRequest, LoanReply, true, kAny)                                \
  X(Commit, 56, CommitRequest, LoanReply, true, kAny)                            \
  X(Return, 57, ReturnRequest, Empty, true, kAny)                                \
  X(StageStart, 58, Empty, StageStartReply, true, kAny)                          \
  X(StageInvite, 59, StageInviteRequest, Empty, true, kPeer)                     \
  X(StageWork, 60, StageWorkRequest, StageWorkReply, true, kAny)                 \
  X(StageStatus, 61, StageStatusRequest, StageStatusReply, false, kAny)          \
  X(Privileged, 62, PrivilegedRequest, Empty, true, kPeer)                       \
  X(DropPrivileges, 63, DropPrivilegesRequest, DropPrivilegesReply, true, kPeer) \
  X(ReadLease, 64, ReadLeaseRequest, ReadLeaseReply, false, kAny)                \
  X(Outcome, 65, OutcomeRequest, OutcomeReply, false, kPeer)                     \
  X(Rejoin, 66, Empty, ViewReply, false, kPeer)                                  \
  X(SetView, 67, ViewRequest, ViewReply, false, kPeer)                           \
  X(Sync, 68, InodeRequest, Empty, false, kAny)                                  \
  X(Trace, 69, TraceRequest, Empty, false, kAny)                                 \
  X(Lookups, 70, Empty, Empty, false, kAny)

enum class Method : uint16_t {
#define MAYFLY_ENUM(name, number, request, reply, once, who) k##name = number,
  MAYFLY_METHODS(MAYFLY_ENUM)
#undef MAYFLY_ENUM
};

enum class Who : uint8_t { kAny, kPeer };

struct MethodInfo {
  std::string_view name;
  bool once = false;
  Who who = Who::kAny;
};
// Null for a number that is no method.
const MethodInfo* InfoOf(Method method);
inline bool IsKnown(Method method) { return InfoOf(method) != nullptr; }

// Request and reply type of a method at compile time: MethodTypes<Method::kOpen>::Request.
template <Method M>
struct MethodTypes;
#define MAYFLY_TYPES(name, number, request, reply, once_, who) \
  template <>                                                  \
  struct MethodTypes<Method::k##name> {                        \
    using Request = request;                                   \
    using Reply = reply;                                       \
    static constexpr bool kOnce = once_;                       \
  };
MAYFLY_METHODS(MAYFLY_TYPES)
#undef MAYFLY_TYPES

}  // namespace mayfly
