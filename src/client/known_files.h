// Small files of servers on this node that one lane has looked at or opened: (parent, name) -> what it was told. While
// that is so, looking at the file again, or opening it to read, takes no message.
// Invariants  K1  what is in here was told by the shard that has both the entry and the inode. It is so at the moment
//                 at which KnownFile::IsSo says so for a walk to the parent, whoever changes files meanwhile.
#pragma once

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

  // A file that this lane has made, or writes. Who looks at one of them often looks at the next ones then. As cheap as
  // can be: most that are made are not looked at.
  void Note(InodeId parent, std::string_view name) {
    if (noted_.size() >= kEntriesMax) ForgetNoted();
    noted_.push_back(
        {parent, HashOf(parent, name), static_cast<uint32_t>(noted_names_.size()), static_cast<uint32_t>(name.size())});
    noted_names_ += name;
  }
  bool HasNoted() const { return first_noted_ < noted_.size(); }
  // The name, if it is among the next ones that were noted, and those that were noted behind it, as long as `is_wanted`
  // says so: at most kLookupsMax, and never again.
  template <class IsWanted>
  std::vector<NameKey> TakeNoted(InodeId parent, std::string_view name, IsWanted is_wanted) {
    const uint32_t hash = HashOf(parent, name);
    const size_t end = std::min(noted_.size(), first_noted_ + kNotedRun);
    size_t at = first_noted_;
    while (at < end && !(noted_[at].hash == hash && noted_[at].parent == parent && NameOf(noted_[at]) == name)) ++at;
    if (at == end) {
      if (++noted_in_vain_ >= kNotedRun) ForgetNoted();  // whoever asks asks for others
      return {};
    }
    noted_in_vain_ = 0;
    return TakeNotedFrom(at, is_wanted);
  }
  // Likewise, those that were noted next.
  template <class IsWanted>
  std::vector<NameKey> TakeNextNoted(IsWanted is_wanted) {
    return TakeNotedFrom(first_noted_, is_wanted);
  }

 private:
  static constexpr size_t kNotedRun = 256;  // with other shards' among them
  static constexpr size_t kSeen = 1u << 14;

  struct Noted {
    InodeId parent;  // none: it was taken
    uint32_t hash = 0, begin = 0, bytes = 0;
  };
  static uint32_t HashOf(InodeId parent, std::string_view name) {
    return static_cast<uint32_t>(NameHash()({parent, name}));
  }
  template <class IsWanted>
  std::vector<NameKey> TakeNotedFrom(size_t at, IsWanted is_wanted) {
    std::vector<NameKey> names;
    for (; at < std::min(noted_.size(), first_noted_ + 2 * kNotedRun) && names.size() < kLookupsMax; ++at) {
      Noted& one = noted_[at];
      if (!one.parent.valid()) continue;
      NameKey key{one.parent, std::string(NameOf(one))};
      if (!is_wanted(key)) continue;
      names.push_back(std::move(key));
      one = Noted();
    }
    while (first_noted_ < noted_.size() && !noted_[first_noted_].parent.valid()) ++first_noted_;
    if (!HasNoted()) ForgetNoted();
    return names;
  }
  std::string_view NameOf(const Noted& one) const {
    return std::string_view(noted_names_).substr(one.begin, one.bytes);
  }
  void ForgetNoted() {
    noted_.clear();
    noted_names_.clear();
    first_noted_ = noted_in_vain_ = 0;
  }
  void ForgetWithArenas() {
    if (forgets_ == arenas_.forgets()) return;
    files_.clear();
    forgets_ = arenas_.forgets();
  }

  Arenas& arenas_;
  uint64_t forgets_ = 0;
  absl::node_hash_map<NameKey, KnownFile, NameHash, NameEqual> files_;
  std::vector<Noted> noted_;
  std::string noted_names_;
  size_t first_noted_ = 0;  // those before it were taken
  size_t noted_in_vain_ = 0;
  std::vector<uint16_t> seen_ = std::vector<uint16_t>(kSeen);
};

}  // namespace mayfly
