// Names, inodes and listings: what clients ask of the namespace. Part of wire/messages.h, which has the table of
// methods.
#pragma once

#include "wire/types.h"

namespace mayfly {

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
// Payload of an Open's reply with `own`: from now on, until it is asked to yield the directory as if it were a file
// (Revoked, Yielded), the process alone makes entries in the shard's part of it. What is in there it knows by `names`,
// and by what it has made itself, so it need not ask before it makes a file, with a number that was lent: it writes
// that down (wire/outbox.h).
struct OwnPart {
  uint64_t first = 0;           // sequence of the first number; the others follow it
  std::vector<uint64_t> tags;   // of a grant of all rights to each
  bool begins = false;          // it may not know what there is: `names` says it
  std::vector<uint64_t> names;  // XXH3 of each
  static constexpr size_t kNumbers = 128, kNamesMax = 4096;
  static constexpr size_t kBytesMax = 8 + 4 + 8 * kNumbers + 1 + 4 + 8 * kNamesMax;
  template <class Io>
  void Fields(Io& io) {
    io(first, tags, begins, names);
  }
};
// Payload: the target, if it is a symlink (then nothing was opened); or with `own` an OwnPart.
struct OpenReply {
  Attr attr;
  bool created = false;
  bool uncounted = false;  // the home forgets of it when it ends, and is told of no close
  bool elsewhere = false;  // not opened: the inode lives on another shard; send OpenInode to its home
  bool own = false;        // with kOpenOwn, of a file that was made
  bool sole = false;       // nobody else has it open: write-behind is allowed until revoked
  Grant grant;             // of what was opened
  PlacedFile placed;       // with kOpenPlaced: where its bytes lie
  WatchedFile watched;     // likewise
  template <class Io>
  void Fields(Io& io) {
    io(attr, created, uncounted, elsewhere, own, sole, grant, placed, watched);
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

}  // namespace mayfly
