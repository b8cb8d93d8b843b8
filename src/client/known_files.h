// Small files of servers on this node that one lane has looked at or opened: (parent, name) -> what it was told. While
// that is so, looking at the file again, or opening it to read, takes no message.
// Invariants  K1  what is in here was told by the shard that has both the entry and the inode. It is so at the moment
//                 at which KnownFile::IsSo says so for a walk to the parent, whoever changes files meanwhile.
#pragma once

#include <absl/container/flat_hash_map.h>
#include <absl/container/node_hash_map.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "client/arenas.h"
#include "client/open_file.h"
#include "client/path_cache.h"
#include "wire/messages.h"

namespace mayfly {

struct KnownFile {
  Attr attr;
  Grant grant;      // to read it; without rights: the caller may not
  Content content;  // its `until` aside; none: it is no small file in one piece
  const ArenaStamp* changes = nullptr;
  uint32_t changes_then = 0;
  const ArenaBoard* board = nullptr;

  // `walked`: the generation of the walk to its parent.
  bool IsSo(Generation walked, Nanos now) const {
    return board->generation.load(std::memory_order_acquire) == walked.value &&
           now < board->until.load(std::memory_order_acquire) &&
           changes->load(std::memory_order_acquire) == changes_then;
  }
};

class KnownFiles {
 public:
  static constexpr size_t kEntriesMax = 1u << 15;  // about 8 MiB; then it starts again

  explicit KnownFiles(Arenas& arenas) : arenas_(arenas) {}

  // Whether what the shard tells can be used, and whether it might be.
  bool MightLearn(ShardId shard) const { return MayLearn(shard) || arenas_.IsUnknown(shard); }
  bool MayLearn(ShardId shard) const {
    ArenaView* const arena = arenas_.Get(shard);
    return arena != nullptr && arena->Board() != nullptr && !arena->Changes().empty();
  }
  bool IsUnknown(ShardId shard) const { return arenas_.IsUnknown(shard); }
  // Whether this lane asked about the name before, as far as is remembered: what is looked at once only is not worth
  // its place here.
  bool IsSecondLook(InodeId parent, std::string_view name) {
    const size_t hash = NameHash()({parent, name});
    uint16_t& seen = seen_[hash % seen_.size()];
    return std::exchange(seen, static_cast<uint16_t>(hash >> 48 | 1)) == static_cast<uint16_t>(hash >> 48 | 1);
  }
  void Learn(InodeId parent, std::string_view name, const WatchedFile& watched, KnownFile file) {
    ForgetWithArenas();
    const ShardId shard = file.attr.inode.home();
    ArenaView* const arena = arenas_.Get(shard);
    if (!MayLearn(shard) || watched.counter >= arena->Changes().size()) return;
    file.changes = &arena->Changes()[watched.counter];
    file.changes_then = watched.changes;
    file.board = arena->Board();
    if (files_.size() >= kEntriesMax) files_.clear();
    files_.insert_or_assign(NameKey{parent, std::string(name)}, file);
  }
  // Null if it is not known. Valid until the next call that is not const.
  const KnownFile* Find(InodeId parent, std::string_view name) {
    if (files_.empty()) return nullptr;
    ForgetWithArenas();
    const auto found = files_.find(NameView{parent, name});
    return found == files_.end() ? nullptr : &found->second;
  }

  // A file that this lane has made, or writes. Who looks at one of them often looks at the next ones then.
  void Note(InodeId parent, std::string_view name) {
    if (noted_.size() >= kEntriesMax) {
      noted_.clear();
      noted_at_.clear();
    }
    noted_at_[NameHash()({parent, name})] = static_cast<uint32_t>(noted_.size());
    noted_.push_back({parent, std::string(name)});
  }
  bool HasNoted() const { return !noted_at_.empty(); }
  // The name, if it was noted, and those that were noted behind it, as long as `is_wanted` says so: at most
  // kLookupsMax, and never again.
  template <class IsWanted>
  std::vector<NameKey> TakeNoted(InodeId parent, std::string_view name, IsWanted is_wanted) {
    std::vector<NameKey> names;
    if (noted_at_.empty()) return names;
    const auto found = noted_at_.find(NameHash()({parent, name}));
    if (found == noted_at_.end()) return names;
    const size_t first = found->second, end = std::min(noted_.size(), first + kNotedRun);
    if (noted_[first].parent != parent || noted_[first].name != name) return names;
    for (size_t i = first; i < end && names.size() < kLookupsMax; ++i) {
      NameKey& key = noted_[i];
      if (!key.parent.valid() || !is_wanted(key)) continue;
      noted_at_.erase(NameHash()(key));
      names.push_back(std::exchange(key, NameKey()));
    }
    return names;
  }

 private:
  static constexpr size_t kNotedRun = 256;  // of those behind it, with other shards' between them
  static constexpr size_t kSeen = 1u << 14;

  void ForgetWithArenas() {
    if (forgets_ == arenas_.forgets()) return;
    files_.clear();
    forgets_ = arenas_.forgets();
  }

  Arenas& arenas_;
  uint64_t forgets_ = 0;
  absl::node_hash_map<NameKey, KnownFile, NameHash, NameEqual> files_;
  std::vector<NameKey> noted_;
  absl::flat_hash_map<size_t, uint32_t> noted_at_;  // by hash
  std::vector<uint16_t> seen_ = std::vector<uint16_t>(kSeen);
};

}  // namespace mayfly
