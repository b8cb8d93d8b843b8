// A directory being listed: pages from the shards that hold its entries, several shards at a time, in the order of
// shard numbers. It is used with one lane at a time, but not always the same one (the caller's thread may change).
// Invariants  R1  a cookie names a position that others' creating and unlinking does not move:
//                 0 start, 1 behind ".", 2 behind "..", then (shard + 1):24 | insertion sequence there:39.
//             R2  an entry that exists all the time is given exactly once: each shard lists in insertion order.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "client/lane.h"

namespace mayfly {

class Directory {
 public:
  struct Entry {
    std::string_view name;  // until the next call
    uint64_t cookie = 0;    // the position behind it
    Attr attr;  // type and inode only, as getdents(2) tells them, where the directory may be read but not searched
  };

  // kNotDirectory, kAccess without the right to read it.
  static Task<Result<std::unique_ptr<Directory>>> Open(Lane* lane, std::string_view path);

  // False at the end. An error there, behind all that can be had (kIo, kUnavailable, kTimedOut): a server cannot give
  // its part, or an entry's attributes (of which only type and inode were given then).
  Task<Result<bool>> Next(Lane* lane, Entry* out);
  // Where a cookie says; 0 looks at the directory anew.
  void SeekTo(uint64_t cookie);

 private:
  static constexpr size_t kShardsAtOnce = 16;
  static constexpr uint64_t kSequenceBits = 39;

  // One shard's part.
  struct Part {
    ShardId shard;
    uint64_t after = 0;  // of the last entry that was fetched
    bool ended = false;  // nothing behind the page
    std::unique_ptr<uint8_t[]> page;
    std::vector<ListingEntry> entries;  // views into the page
    size_t at = 0;
  };

  // Which shards have entries, and the right to list them.
  Task<Status> Ask(Lane* lane, ShardsReply* reply, std::vector<uint32_t>* shards);
  Task<Status> Begin(Lane* lane);
  Task<Status> Fill(Lane* lane);
  static Task<Status> FetchPage(Lane* lane, InodeId dir, Grant grant, Part* part, Status* lacking);
  static Task<Status> FetchAttr(Lane* lane, ListingEntry* entry, Status* lacking);
  void GoTo(uint64_t cookie);
  Attr Shown(const Attr& attr) const;

  InodeId inode_;
  InodeId parent_;
  Granted granted_;  // to read it, since Open
  Attr self_;
  Attr above_;
  bool searchable_ = false;
  bool begun_ = false;
  uint32_t dots_ = 0;  // of "." and ".." that were given
  uint64_t wanted_ = 0;
  std::vector<Part> parts_;
  size_t at_ = 0;
  Status lacking_;  // some of it cannot be had: said behind all that can
};

}  // namespace mayfly
