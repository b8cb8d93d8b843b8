// After-images of the namespace: what a journal record says of what changed, and a checkpoint of all there is. Each is
// one tagged field (base/tlv.h); share/doc/format/images.md has the byte tables and what a reader owes.
// An image tells a thing as it is afterwards, so writing one twice, or an old one before its successors, does no harm.
// Counts, pins and marks of what is held are in none: they follow from the rest.
// Invariants  A1  all of a state that is not derived is in some image; a mutator of Namespace writes those of what it
//                 changed before it returns.
//             A2  an image of one thing says nothing of another: their order within a record has no meaning, but that
//                 an inode comes before its shards and xattrs.
#pragma once

#include <string_view>
#include <vector>

#include "base/tlv.h"
#include "meta/inode.h"

namespace mayfly {

constexpr Tag kNamesTagFirst = 0x0100, kNamesTagLast = 0x01ff;
constexpr bool IsNamesTag(Tag tag) {
  const Tag plain = tag & static_cast<Tag>(~kTagMust);
  return plain >= kNamesTagFirst && plain <= kNamesTagLast;
}

// All of an inode but its xattrs and shards, which may be long and seldom change. What most inodes have alike is left
// out: `flags` says what is there.
struct InodeImage {
  static constexpr Tag kTag = kTagMust | 0x0101;
  enum Flag : uint8_t {
    kTimes = 1,      // atime and ctime are not the mtime
    kSize = 2,       // not 0
    kLinks = 4,      // nlink is not that of a new inode of this type
    kVersion = 8,    // not 1
    kMtimeSet = 16,  // by utimens
    kDirGone = 32,   // a directory that was removed
    kTruncating = 64,
    kEpochs = 128,  // truncate_epoch and privileged are not 0 and 1
  };

  InodeId id;
  FileType type = FileType::kNone;
  uint8_t flags = 0;
  uint16_t permissions = 0;
  uint32_t uid = 0, gid = 0;
  Nanos mtime = 0;
  Nanos atime = 0, ctime = 0;                   // kTimes
  uint64_t size = 0;                            // kSize
  uint32_t nlink = 0;                           // kLinks
  uint64_t version = 1;                         // kVersion
  uint64_t truncate_epoch = 0, privileged = 1;  // kEpochs
  uint8_t chunk_bits = 0;                       // of a file
  InodeId parent;                               // of a directory
  uint64_t rights_version = 1;                  // of a directory
  std::string_view target;                      // of a symlink
  template <class Io>
  void Fields(Io& io) {
    io(id, type, flags, permissions, uid, gid, mtime);
    if ((flags & kTimes) != 0) io(atime, ctime);
    if ((flags & kSize) != 0) io(size);
    if ((flags & kLinks) != 0) io(nlink);
    if ((flags & kVersion) != 0) io(version);
    if ((flags & kEpochs) != 0) io(truncate_epoch, privileged);
    if (type == FileType::kFile) io(chunk_bits);
    if (type == FileType::kDirectory) io(parent, rights_version);
    if (type == FileType::kSymlink) io(target);
  }
  size_t bytes_max() const { return 112 + target.size(); }

  static InodeImage Of(const Inode& inode);  // a view into its target
  // kCorrupt unless it could be the image of an inode of `self`.
  Status Check(ShardId self) const;
  // Sets what the image has; the rest of *inode (shards, xattrs, opens, pins) stays. Checked; of the inode's type.
  void StoreTo(Inode* inode) const;
};

struct InodeGoneImage {
  static constexpr Tag kTag = kTagMust | 0x0102;
  InodeId id;
  template <class Io>
  void Fields(Io& io) {
    io(id);
  }
  size_t bytes_max() const { return 8; }
};

// A shard is one of an inode's shards; the order in which they joined is that of their images.
struct InodeShardImage {
  static constexpr Tag kTag = kTagMust | 0x0103;
  InodeId inode;
  ShardId shard;
  template <class Io>
  void Fields(Io& io) {
    io(inode, shard);
  }
  size_t bytes_max() const { return 12; }
};

struct XattrImage {
  static constexpr Tag kTag = kTagMust | 0x0104;
  InodeId inode;
  std::string_view name;
  std::string_view value;
  template <class Io>
  void Fields(Io& io) {
    io(inode, name, value);
  }
  size_t bytes_max() const { return 16 + name.size() + value.size(); }
};

struct XattrGoneImage {
  static constexpr Tag kTag = kTagMust | 0x0105;
  InodeId inode;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(inode, name);
  }
  size_t bytes_max() const { return 12 + name.size(); }
};

// An entry, new or changed. `touched`: its part's mtime and ctime are no older, and the part's next sequence is above
// `sequence`, so that a creation needs no image of the part.
struct EntryImage {
  static constexpr Tag kTag = kTagMust | 0x0106;
  InodeId parent;
  InodeId inode;
  uint64_t sequence = 0;
  FileType type = FileType::kNone;
  Nanos touched = 0;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(parent, inode, sequence, type, touched, name);
  }
  size_t bytes_max() const { return 37 + name.size(); }
};

struct EntryGoneImage {
  static constexpr Tag kTag = kTagMust | 0x0107;
  InodeId parent;
  Nanos touched = 0;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(parent, touched, name);
  }
  size_t bytes_max() const { return 20 + name.size(); }
};

// This shard's part of a directory, without its entries.
struct PartImage {
  static constexpr Tag kTag = kTagMust | 0x0108;
  InodeId dir;
  uint16_t permissions = 0;
  uint32_t uid = 0, gid = 0;
  uint64_t version = 0;
  Nanos mtime = 0, ctime = 0;
  uint64_t next_sequence = 0;
  template <class Io>
  void Fields(Io& io) {
    io(dir, permissions, uid, gid, version, mtime, ctime, next_sequence);
  }
  size_t bytes_max() const { return 50; }
};

// The part, and with it whatever entries it has.
struct PartGoneImage {
  static constexpr Tag kTag = kTagMust | 0x0109;
  InodeId dir;
  template <class Io>
  void Fields(Io& io) {
    io(dir);
  }
  size_t bytes_max() const { return 8; }
};

// How often a process has an inode open; 0: not any more.
struct OpenImage {
  static constexpr Tag kTag = kTagMust | 0x010a;
  InodeId inode;
  ClientId process;
  uint32_t opens = 0;
  bool writes = false;
  template <class Io>
  void Fields(Io& io) {
    io(inode, process, opens, writes);
  }
  size_t bytes_max() const { return 21; }
};

// A process has nothing open.
struct ProcessGoneImage {
  static constexpr Tag kTag = kTagMust | 0x010b;
  ClientId process;
  template <class Io>
  void Fields(Io& io) {
    io(process);
  }
  size_t bytes_max() const { return 8; }
};

struct PreparedImage {
  static constexpr Tag kTag = kTagMust | 0x010c;
  TxnId txn;
  std::vector<TxnOp> ops;
  template <class Io>
  void Fields(Io& io) {
    io(txn, ops);
  }
  size_t bytes_max() const;
};

struct DecidedImage {
  static constexpr Tag kTag = kTagMust | 0x010d;
  TxnId txn;
  template <class Io>
  void Fields(Io& io) {
    io(txn);
  }
  size_t bytes_max() const { return 8; }
};

// No inode born from now on has a sequence below this one. (An inode's image says so of its own; so does that of one
// that is gone.)
struct NextSequenceImage {
  static constexpr Tag kTag = kTagMust | 0x010e;
  uint64_t next = 0;
  template <class Io>
  void Fields(Io& io) {
    io(next);
  }
  size_t bytes_max() const { return 8; }
};

template <class T>
void PutImage(TlvWriter* out, const T& image) {
  out->Put(T::kTag, image, image.bytes_max());
}

// Where Namespace writes what it changes; nowhere until it is told where. Of several images of one inode within a
// record the later takes the place of the earlier, where it is as long and the earlier is not forgotten.
class Recorder {
 public:
  void SetOut(TlvWriter* out) {
    out_ = out;
    for (Place& place : recent_) place = Place();
  }
  bool on() const { return out_ != nullptr; }
  void SetCounts(ChangeCounts counts) { counts_ = counts; }

  template <class T>
  void Put(const T& image) {
    if (on()) PutImage(out_, image);
  }
  void Changed(const Inode& inode) {
    Count(inode.id);
    if (on()) PutInode(inode);
  }
  void Count(InodeId id) {
    if (counts_.empty()) return;
    std::atomic<uint32_t>& count = counts_[id.sequence() % counts_.size()];
    count.store(count.load(std::memory_order_relaxed) + 1, std::memory_order_release);  // nobody else writes
  }
  void Gone(InodeId id) {
    if (on()) PutGone(id);
  }

 private:
  struct Place {
    InodeId id;
    size_t at = 0, bytes = 0;
    uint64_t clears = 0;
  };
  Place& PlaceOf(InodeId id) { return recent_[id.value % std::size(recent_)]; }
  // The image that `place` tells of is in the record that is being written.
  bool Holds(const Place& place, InodeId id) const { return place.id == id && place.clears == out_->clears(); }
  void PutInode(const Inode& inode);
  void PutGone(InodeId id);

  TlvWriter* out_ = nullptr;
  ChangeCounts counts_;
  Place recent_[8];
};

}  // namespace mayfly
