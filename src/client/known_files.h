// Small files of servers on this node that one lane has looked at or opened: (parent, name) -> what it was told. While
// that is so, looking at the file again, or opening it to read, takes no message.
// Invariants  K1  what is in here was told by the shard that has both the entry and the inode. It is so at the moment
//                 at which KnownFile::IsSo says so for a walk to the parent, whoever changes files meanwhile.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <array>
#include <memory>
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

// Names of one shard, one behind the other.
class NameList {
 public:
  size_t size() const { return ones_.size(); }
  bool empty() const { return ones_.empty(); }
  size_t text_bytes() const { return text_.size(); }
  void Reserve(size_t names, size_t bytes) {
    ones_.reserve(names);
    text_.reserve(bytes);
  }
  void Add(const NameView& name, uint64_t hash) {
    ones_.push_back({name.parent, hash, static_cast<uint32_t>(text_.size()), static_cast<uint32_t>(name.name.size())});
    text_ += name.name;
  }
  NameView at(size_t i) const {
    return {ones_[i].parent, std::string_view(text_).substr(ones_[i].begin, ones_[i].bytes)};
  }
  uint64_t hash(size_t i) const { return ones_[i].hash; }
  bool Is(size_t i, const NameView& name, uint64_t hash) const {
    return ones_[i].hash == hash && NameEqual()(at(i), name);
  }
  bool Has(const NameView& name, uint64_t hash) const {
    for (size_t i = 0; i < size(); ++i) {
      if (Is(i, name, hash)) return true;
    }
    return false;
  }

 private:
  struct One {
    InodeId parent;
    uint64_t hash = 0;
    uint32_t begin = 0, bytes = 0;
  };
  std::string text_;
  std::vector<One> ones_;
};

// Each `hash` is that of the name in its directory (Placement::DentryHash), which whoever walks has anyway.
class KnownFiles {
 public:
  static constexpr uint32_t kEntriesMax = 1u << 15;  // about 12 MiB; then it starts again

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
  bool IsSecondLook(uint64_t hash) {
    uint16_t& seen = seen_[hash % seen_.size()];
    return std::exchange(seen, static_cast<uint16_t>(hash >> 48 | 1)) == static_cast<uint16_t>(hash >> 48 | 1);
  }
  void Learn(const NameView& name, uint64_t hash, const WatchedFile& watched, const KnownFile& file) {
    ForgetWithArenas();
    const ShardId shard = file.attr.inode.home();
    ArenaView* const arena = arenas_.Get(shard);
    if (!MayLearn(shard) || watched.counter >= arena->Changes().size()) return;
    Entry& entry = EntryFor(name, hash);
    entry.file = file;
    entry.file.changes = &arena->Changes()[watched.counter];
    entry.file.changes_then = watched.changes;
    entry.file.board = arena->Board();
  }
  // Null if it is not known. Valid until the next call that is not const.
  const KnownFile* Find(const NameView& name, uint64_t hash) {
    if (count_ == 0) return nullptr;
    ForgetWithArenas();
    const Entry* const entry = FindEntry(name, hash);
    return entry != nullptr ? &entry->file : nullptr;
  }

  // A file that this lane has made, or writes. Who looks at one of them often looks at the next ones then. As cheap as
  // can be: most that are made are not looked at.
  void Note(const NameView& name, uint64_t hash) {
    if (noted_.size() >= kEntriesMax) ForgetNoted();
    const auto begin = static_cast<uint32_t>(noted_names_.size());
    noted_.push_back({name.parent, hash, begin, static_cast<uint32_t>(name.name.size())});
    noted_names_ += name.name;
  }
  bool HasNoted() const { return first_noted_ < noted_.size(); }
  // The name, if it is among the next ones that were noted, and those that were noted behind it, as long as
  // `is_wanted(hash)` says so: at most kLookupsMax, and never again.
  template <class IsWanted>
  NameList TakeNoted(const NameView& name, uint64_t hash, IsWanted is_wanted) {
    const size_t end = std::min(noted_.size(), first_noted_ + kNotedRun);
    size_t at = first_noted_;
    while (at < end && !(noted_[at].hash == hash && NameEqual()(NameOf(noted_[at]), name))) ++at;
    if (at == end) {
      if (++noted_in_vain_ >= kNotedRun) ForgetNoted();  // whoever asks asks for others
      return {};
    }
    noted_in_vain_ = 0;
    return TakeNotedFrom(at, is_wanted);
  }
  // Likewise, those that were noted next.
  template <class IsWanted>
  NameList TakeNextNoted(IsWanted is_wanted) {
    return TakeNotedFrom(first_noted_, is_wanted);
  }

 private:
  static constexpr size_t kNotedRun = 256;  // with other shards' among them
  static constexpr size_t kSeen = 1u << 14;
  static constexpr uint32_t kBlock = 64, kNone = ~0u;

  struct Entry {
    InodeId parent;
    uint32_t name_begin = 0, name_bytes = 0;
    uint32_t next = kNone;  // another name of the same hash
    KnownFile file;
  };
  struct Noted {
    InodeId parent;  // none: it was taken
    uint64_t hash = 0;
    uint32_t begin = 0, bytes = 0;
  };
  Entry& At(uint32_t index) { return (*blocks_[index / kBlock])[index % kBlock]; }
  Entry* FindEntry(const NameView& name, uint64_t hash) {
    const auto found = by_hash_.find(hash);
    for (uint32_t i = found == by_hash_.end() ? kNone : found->second; i != kNone; i = At(i).next) {
      Entry& entry = At(i);
      const auto text = std::string_view(names_).substr(entry.name_begin, entry.name_bytes);
      if (NameEqual()({entry.parent, text}, name)) return &entry;
    }
    return nullptr;
  }
  Entry& EntryFor(const NameView& name, uint64_t hash) {
    if (Entry* const there = FindEntry(name, hash)) return *there;
    if (count_ >= kEntriesMax) Clear();
    if (count_ / kBlock == blocks_.size()) blocks_.push_back(std::make_unique<std::array<Entry, kBlock>>());
    const auto [first, is_first] = by_hash_.try_emplace(hash, count_);
    Entry& entry = At(count_);
    entry.parent = name.parent;
    entry.name_begin = static_cast<uint32_t>(names_.size());
    entry.name_bytes = static_cast<uint32_t>(name.name.size());
    entry.next = is_first ? kNone : std::exchange(first->second, count_);
    names_ += name.name;
    ++count_;
    return entry;
  }
  void Clear() {
    by_hash_.clear();
    names_.clear();
    count_ = 0;
  }
  template <class IsWanted>
  NameList TakeNotedFrom(size_t at, IsWanted is_wanted) {
    NameList names;
    if (at < noted_.size()) names.Reserve(kLookupsMax, kLookupsMax * (noted_[at].bytes + size_t{2}));
    for (; at < std::min(noted_.size(), first_noted_ + 2 * kNotedRun) && names.size() < kLookupsMax; ++at) {
      Noted& one = noted_[at];
      if (!one.parent.valid() || !is_wanted(one.hash)) continue;
      names.Add(NameOf(one), one.hash);
      one = Noted();
    }
    while (first_noted_ < noted_.size() && !noted_[first_noted_].parent.valid()) ++first_noted_;
    if (!HasNoted()) ForgetNoted();
    return names;
  }
  NameView NameOf(const Noted& one) const {
    return {one.parent, std::string_view(noted_names_).substr(one.begin, one.bytes)};
  }
  void ForgetNoted() {
    noted_.clear();
    noted_names_.clear();
    first_noted_ = noted_in_vain_ = 0;
  }
  void ForgetWithArenas() {
    if (forgets_ == arenas_.forgets()) return;
    Clear();
    forgets_ = arenas_.forgets();
  }

  Arenas& arenas_;
  uint64_t forgets_ = 0;
  absl::flat_hash_map<uint64_t, uint32_t> by_hash_;  // the newest entry of each hash
  std::vector<std::unique_ptr<std::array<Entry, kBlock>>> blocks_;
  std::string names_;
  uint32_t count_ = 0;  // of entries
  std::vector<Noted> noted_;
  std::string noted_names_;
  size_t first_noted_ = 0;  // those before it were taken
  size_t noted_in_vain_ = 0;
  std::vector<uint16_t> seen_ = std::vector<uint16_t>(kSeen);
};

}  // namespace mayfly
