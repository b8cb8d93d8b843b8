// The values that several messages share, and the limits of what travels. All integers are little-endian on the wire;
// share/doc/format/wire.md has the byte tables.
#pragma once

#include <absl/container/inlined_vector.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/coding.h"
#include "base/ids.h"

namespace mayfly {

constexpr uint32_t kNameBytesMax = 255;
constexpr uint32_t kTargetBytesMax = 4095;  // of a symlink
constexpr uint32_t kXattrNameBytesMax = 255;
constexpr uint32_t kXattrValueBytesMax = 64 * 1024;
constexpr uint32_t kTransferBytesMax = 4u << 20;  // payload of one read or write message
constexpr uint32_t kPageBytesMax = 64 * 1024;     // payload of one page of a listing
constexpr uint32_t kPartsMax = 128;               // checksum parts in one read reply
constexpr uint32_t kRunsMax = 16;                 // places in one read reply
constexpr uint32_t kArenaNameBytesMax = 4096;
constexpr uint32_t kGroupsMax = 64;
constexpr uint8_t kChunkBitsMin = 16, kChunkBitsMax = 26, kChunkBitsDefault = 22;

enum class FileType : uint8_t { kNone = 0, kFile = 1, kDirectory = 2, kSymlink = 3 };
constexpr bool IsKnown(FileType t) { return t <= FileType::kSymlink; }

// What stat shows. Sizes in bytes, times in nanoseconds since 1970.
struct Attr {
  InodeId inode;
  FileType type = FileType::kNone;
  uint8_t chunk_bits = 0;    // files only
  uint16_t permissions = 0;  // mode & 07777
  uint32_t nlink = 0;
  uint32_t uid = 0;
  uint32_t gid = 0;
  uint64_t size = 0;
  uint64_t blocks = 0;  // of 512 bytes
  Nanos atime = 0, mtime = 0, ctime = 0;
  uint64_t version = 0;  // of a file's content and attributes: differs whenever either changed at the home
  bool partial = false;  // size, blocks and mtime are the home's part only: ask GetAttr for the exact ones
  template <class Io>
  void Fields(Io& io) {
    io(inode, type, chunk_bits, permissions, nlink, uid, gid, size, blocks, atime, mtime, ctime, version, partial);
  }
};

// Whose rights an operation has. Bound to a connection in its handshake; peers pass on the one they act for.
struct Cred {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<uint32_t> groups;
  template <class Io>
  void Fields(Io& io) {
    io(uid, gid, groups);
  }
  bool HasGroup(uint32_t g) const {
    if (g == gid) return true;
    for (uint32_t other : groups) {
      if (other == g) return true;
    }
    return false;
  }
};

// Flags of open (bits of our own: the kernel's differ by architecture).
enum OpenFlags : uint32_t {
  kOpenRead = 1,
  kOpenWrite = 2,
  kOpenCreate = 4,
  kOpenExclusive = 8,
  kOpenTruncate = 16,
  kOpenAppend = 32,
  kOpenDirectory = 64,
  kOpenNoFollow = 128,
  kOpenUnshared = 256,  // does not want write-behind (direct or strict)
  kOpenBrief = 512,     // opened and closed in one: registers nothing, grants nothing; not with kOpenTruncate
  kOpenSync = 1024,     // the client's own: each write is synced before it returns
  kOpenPlaced = 2048,   // has the home's arena mapped: wants to know where the bytes of a small file lie
  kOpenHolding =
      4096,  // with kOpenTruncate: the process holds bytes back, of this file perhaps: it is asked for them first
  kOpenOwn = 8192,  // would like to be alone in the part of the directory, and to be lent numbers (OwnPart)
};

// What an open gave its process: every request about the file's bytes shows it, and any shard can tell that it is
// genuine (header.h, GrantTag). Good for one inode, process and uid, for as long as the session lives.
enum GrantRights : uint8_t {
  kGrantRead = 1,
  kGrantWrite = 2,  // append, truncate and allocate too
  kGrantBirth = 4,  // to make a file of this number (OwnPart)
};
constexpr uint8_t kBirthRights = kGrantRead | kGrantWrite | kGrantBirth;
struct Grant {
  uint8_t rights = 0;  // GrantRights; none: opened for neither
  uint64_t tag = 0;
  template <class Io>
  void Fields(Io& io) {
    io(rights, tag);
  }
};

// Beside the permissions of a file to be created, from which the umask has taken what it forbids: group x was asked
// for. Linux looks at that when it decides whether a set-group-id bit may stay.
constexpr uint16_t kAskedGroupExec = 010000;

// What SetAttr changes.
enum AttrMask : uint32_t {
  kSetMode = 1,
  kSetUid = 2,
  kSetGid = 4,
  kSetSize = 8,
  kSetAtime = 16,
  kSetMtime = 32,
  kSetAtimeNow = 64,  // the server's clock
  kSetMtimeNow = 128,
  kByHandle = 256,  // size through a descriptor: its grant to write takes the place of the permission check
  kSetOwner = 512,  // a chown, also one of neither id: ctime, and suid and sgid of what is not a directory
};

// One step of a transaction at one shard (meta/transaction.h says what each does).
enum class TxnKind : uint8_t {
  kDentry = 1,     // entry {inode: parent, name}: from `expect` (0: absent) to `set` (0: removed)
  kLink = 2,       // inode: nlink += delta, ctime
  kDirRemove = 3,  // inode: the home of a directory: no more joins; gone on commit
  kDirEmpty = 4,   // inode: a shard with entries of it: votes yes only if it has none
  kDirParent = 5,  // inode: the home of a directory: its parent becomes `set`
};
constexpr bool IsKnown(TxnKind k) { return k >= TxnKind::kDentry && k <= TxnKind::kDirParent; }

struct TxnOp {
  TxnKind kind = TxnKind::kDentry;
  InodeId inode;
  std::string name;
  InodeId expect;
  InodeId set;
  FileType expect_type = FileType::kNone;
  FileType set_type = FileType::kNone;
  int8_t delta = 0;
  bool check = false;         // check the permissions of the transaction's cred on the parent
  bool sticky_check = false;  // and the sticky rule, with `expect_uid` as the owner of the inode that goes
  uint32_t expect_uid = 0;
  template <class Io>
  void Fields(Io& io) {
    io(kind, inode, name, expect, set, expect_type, set_type, delta, check, sticky_check, expect_uid);
  }
};

// A stretch of a transfer and the XXH3 of its bytes (0 when checksums are off: `sum_known` is false).
struct Part {
  uint32_t bytes = 0;
  bool hole = false;  // `bytes` zeros that do not travel
  bool sum_known = false;
  uint64_t sum = 0;
  template <class Io>
  void Fields(Io& io) {
    io(bytes, hole, sum_known, sum);
  }
};

// Bytes in a shard's arena; offset as in store/place.h: number of the segment << 26 | byte within it.
struct PlacedRun {
  uint64_t offset = 0;
  uint32_t bytes = 0;
  template <class Io>
  void Fields(Io& io) {
    io(offset, bytes);
  }
};
constexpr int kPlaceSegmentBits = 26;

// Where all bytes of a small file lie in its home's arena, as a PlacedRun. They are the file's as long as the arena's
// count of changes number `counter` is `changes` (os/arena_memory.h), but no longer than `lease_ms` from when the
// request was sent: for so long a home that is started again takes no changes.
struct PlacedFile {
  bool told = false;  // else it is not known, and nothing else travels
  uint64_t offset = 0;
  uint32_t stamp = 0;  // the sum of the stamps of the run
  uint32_t changes = 0;
  uint16_t counter = 0;
  uint16_t lease_ms = 0;
  bool sum_known = false;
  uint64_t sum = 0;  // XXH3 of all of it
  template <class Io>
  void Fields(Io& io) {
    io(told);
    if (told) io(offset, stamp, changes, counter, lease_ms, sum_known, sum);
  }
};

// What a shard told of a file is so while its count of changes (server/mapped.cc) is `changes`.
struct WatchedFile {
  bool told = false;  // else nothing else travels
  uint16_t counter = 0;
  uint32_t changes = 0;
  template <class Io>
  void Fields(Io& io) {
    io(told);
    if (told) io(counter, changes);
  }
};

// A place that a shard lent to a process to write into. bytes 0: none.
struct PlaceLoan {
  uint64_t id = 0;
  uint64_t offset = 0;
  uint32_t bytes = 0;
  template <class Io>
  void Fields(Io& io) {
    io(id, offset, bytes);
  }
};

}  // namespace mayfly
