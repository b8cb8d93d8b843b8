// What shards ask of each other: parts of directories and of files, transactions, generations and leases. Part of
// wire/messages.h, which has the table of methods.
#pragma once

#include "wire/types.h"

namespace mayfly {

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

}  // namespace mayfly
