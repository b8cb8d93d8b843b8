// What a shard keeps of an inode it is the home of. Plain data: Namespace keeps the rules.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "wire/types.h"

namespace mayfly {

// Of changes, by sequences of inodes modulo their number.
using ChangeCounts = std::span<std::atomic<uint32_t>>;

enum class DirState : uint8_t { kLive, kRemoving, kGone };

// What only some inodes have: symlinks, directories, files beyond their first chunk, inodes with xattrs.
struct InodeExtra {
  std::string target;                                       // symlink
  std::vector<std::pair<std::string, std::string>> xattrs;  // in descending order of name
  // Directory:
  InodeId parent;
  DirState state = DirState::kLive;
  uint64_t rights_version = 1;  // of {permissions, uid, gid}
  // Directory: shards with entries. File: shards with chunks, beside the home. In the order they joined.
  std::vector<ShardId> shards;
  // File:
  uint64_t truncate_epoch = 0;
  uint64_t privileged = 1;  // grows when the file gets suid or sgid and has `shards`
  bool truncating = false;  // some shards may have cut it and others not yet: who asks for its size waits
  uint64_t accounted = 0;   // bytes that Namespace::memory_bytes counts for this
};

struct Inode {
  InodeId id;
  FileType type = FileType::kNone;
  uint8_t chunk_bits = 0;
  uint16_t permissions = 0;
  uint32_t nlink = 0;  // of a directory: 2 (the server adds its subdirectories)
  uint32_t uid = 0, gid = 0;
  uint32_t opens = 0;          // registrations of all processes
  uint32_t pins : 31 = 0;      // transactions that will touch it
  uint32_t mtime_set : 1 = 0;  // mtime is what utimens said: what other shards of a file wrote since is newer
  uint64_t size = 0;           // file: the home's part (chunk 0, and what Extend or truncate said); symlink: target's
  Nanos atime = 0, mtime = 0, ctime = 0;
  uint64_t version = 1;  // grows with each change
  std::unique_ptr<InodeExtra> extra;

  InodeExtra& Extra() {
    if (extra == nullptr) extra = std::make_unique<InodeExtra>();
    return *extra;
  }
  // Nothing refers to it any more: its data may go and it may be forgotten.
  bool dead() const { return nlink == 0 && opens == 0 && pins == 0; }
  // Its only link must stay until transactions that were promised it (one more link, say) are decided.
  bool LastLinkHeld() const { return nlink == 1 && pins != 0; }
};

}  // namespace mayfly
