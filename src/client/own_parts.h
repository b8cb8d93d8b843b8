// Parts of directories in which this process alone makes entries (wire/name_messages.h, OwnPart): it knows all names
// there, so it knows without asking that one is new. Any thread.
// Invariants  O1  a file is begun only while its part is this process's, and the part is yielded only once nothing of
//                 it is under way.
//             O2  `names` has every name that may be in the part, and others perhaps: what this process makes there as
//                 anybody does is noted before it is sent, also while the part's becoming its own may be on its way.
//             O3  a name is known to be a small file's only if this process has made it there since the part is its
//                 own, and has asked for nothing since that might change that.
//             O4  what a shard told of a part does not count if it may have been told before the shard heard that the
//                 part is yielded.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/checksum.h"
#include "base/ids.h"
#include "base/spin_lock.h"
#include "wire/messages.h"

namespace mayfly {

class OwnParts {
 public:
  static constexpr Nanos kAgeMax = kSecond;      // unused for so long, they are yielded: a process may be stopped
  static constexpr size_t kNamesMax = 1u << 20;  // of one part, about 32 MiB; then its files are made as anybody's

  struct Number {
    InodeId inode;
    uint64_t tag = 0;
    uint8_t chunk_bits = 0;
    uint64_t hash = 0;  // of the name that Begin gave it to
  };

  // Whether there are any, so that who makes a file looks here.
  bool any() const { return count_.load(std::memory_order_relaxed) != 0; }
  // How often parts were yielded. What a shard tells counts only if that is as it was when it was asked.
  uint64_t revocations() const { return revocations_.load(std::memory_order_acquire); }

  // `chunk_bits`: of new files there; 0: as was told before.
  void Learn(InodeId dir, ShardId shard, uint64_t revocations, uint8_t chunk_bits, const OwnPart& told, Nanos now) {
    const Key_ key = Key(dir, shard);
    std::lock_guard lock(mutex_);
    if (revocations_ != revocations || yielding_.contains(key)) return;  // O4
    auto it = parts_.find(key);
    if (it == parts_.end()) {
      if (!told.begins) return;
      it = parts_.try_emplace(key).first;
      it->second.used = now;
      for (const Asked& asked : asked_) {
        if (asked.key == key) it->second.names.try_emplace(asked.hash, kAnything);
      }
    }
    Part& part = it->second;
    if (chunk_bits != 0) part.chunk_bits = chunk_bits;
    for (uint64_t hash : told.names) part.names.try_emplace(hash, kAnything);
    part.version = ++last_version_;
    for (size_t i = 0; i < told.tags.size(); ++i) {
      part.numbers.push_back({InodeId::Make(shard, told.first + i), told.tags[i], part.chunk_bits});
    }
    count_ = parts_.size();
  }
  bool IsOwn(InodeId dir, ShardId shard) {
    std::lock_guard lock(mutex_);
    return parts_.contains(Key(dir, shard));
  }
  // A number for a file of this name, which is new, and how many numbers are left; none if it is to be made as
  // anybody's. End must follow.
  std::optional<Number> Begin(InodeId dir, ShardId shard, std::string_view name, Nanos now, size_t* left) {
    const uint64_t hash = Checksum(AsBytes(name));
    std::lock_guard lock(mutex_);
    const auto it = parts_.find(Key(dir, shard));
    if (it == parts_.end() || it->second.numbers.empty() || it->second.names.size() >= kNamesMax) return std::nullopt;
    if (!it->second.names.try_emplace(hash, kAnything).second) return std::nullopt;
    Number number = it->second.numbers.back();
    number.hash = hash;
    it->second.numbers.pop_back();
    it->second.version = ++last_version_;
    it->second.used = now;
    *left = it->second.numbers.size();
    ++under_way_[Key(dir, shard)];
    ++all_under_way_;
    return number;
  }
  // What came of names that Begin, or BeginRemoval, was called with.
  struct Outcome {
    InodeId dir;
    uint64_t hash = 0;
    bool ok = false;  // it has become a small file's, which is closed (O3); or it has gone
  };
  void End(ShardId shard, std::span<const Outcome> births, std::span<const Outcome> removals) {
    std::lock_guard lock(mutex_);
    for (const Outcome& birth : births) {
      const auto it = parts_.find(Key(birth.dir, shard));
      if (birth.ok && it != parts_.end()) it->second.names[birth.hash] = smalls_since_;
      EndUnderWay(birth.dir, shard);
    }
    for (const Outcome& removal : removals) {
      const auto it = parts_.find(Key(removal.dir, shard));
      if (removal.ok && it != parts_.end()) it->second.names.erase(removal.hash);  // nobody has begun it anew meanwhile
      EndUnderWay(removal.dir, shard);
    }
  }
  // Whether the name is a file's (O3), which goes. End must follow.
  bool BeginRemoval(InodeId dir, ShardId shard, std::string_view name, Nanos now, uint64_t* hash) {
    *hash = Checksum(AsBytes(name));
    std::lock_guard lock(mutex_);
    const auto it = parts_.find(Key(dir, shard));
    if (it == parts_.end()) return false;
    const auto known = it->second.names.find(*hash);
    if (known == it->second.names.end() || known->second != smalls_since_) return false;
    known->second = kAnything;
    it->second.used = now;
    ++under_way_[Key(dir, shard)];
    ++all_under_way_;
    return true;
  }
  bool IsAnyUnderWay() const { return all_under_way_.load(std::memory_order_relaxed) != 0; }

  // While this process makes an entry as anybody does (O2). `wishes`: it would like to be alone in the part.
  class Asking {
   public:
    Asking(OwnParts& parts, InodeId dir, ShardId shard, std::string_view name, bool wishes)
        : parts_(parts), wishes_(wishes) {
      const uint64_t hash = Checksum(AsBytes(name));
      std::lock_guard lock(parts_.mutex_);
      number_ = ++parts_.last_asked_;
      parts_.asked_.push_back({number_, Key(dir, shard), hash, false});
      parts_.wishes_ += wishes_ ? 1 : 0;
      const auto it = parts_.parts_.find(Key(dir, shard));
      if (it == parts_.parts_.end()) return;
      it->second.names.try_emplace(hash, kAnything);
      it->second.version = ++parts_.last_version_;
    }
    Asking(const Asking&) = delete;
    ~Asking() {
      std::lock_guard lock(parts_.mutex_);
      if (wishes_ && parts_.wishes_ != 0) --parts_.wishes_;
      // What a wish brings may be older than what was answered meanwhile.
      for (Asked& asked : parts_.asked_) {
        if (asked.number == number_) asked.answered = true;
      }
      if (parts_.wishes_ != 0) return;
      std::erase_if(parts_.asked_, [](const Asked& asked) { return asked.answered; });
    }

   private:
    OwnParts& parts_;
    bool wishes_;
    uint64_t number_ = 0;
  };
  // Before this process removes an entry; and when it has: unless it has made others meanwhile the name is new again.
  uint64_t VersionOf(InodeId dir, ShardId shard, std::string_view name) {
    if (!any()) return 0;
    const uint64_t hash = Checksum(AsBytes(name));
    std::lock_guard lock(mutex_);
    const auto it = parts_.find(Key(dir, shard));
    if (it == parts_.end()) return 0;
    Doubt(it->second, hash);
    return asked_.empty() ? it->second.version : 0;
  }
  void ForgetName(InodeId dir, ShardId shard, std::string_view name, uint64_t version) {
    const uint64_t hash = Checksum(AsBytes(name));
    std::lock_guard lock(mutex_);
    const auto it = parts_.find(Key(dir, shard));
    if (it != parts_.end() && it->second.version == version) it->second.names.erase(hash);
  }
  // The file of this name may get another, or anything else that others see.
  void Doubt(InodeId dir, ShardId shard, std::string_view name) {
    if (!any()) return;
    const uint64_t hash = Checksum(AsBytes(name));
    std::lock_guard lock(mutex_);
    if (const auto it = parts_.find(Key(dir, shard)); it != parts_.end()) Doubt(it->second, hash);
  }
  // All of them, as a child of this process may have them open. Under the lock (fork_mutex).
  void DoubtAll() { ++smalls_since_; }
  // From now on nothing is begun there. To be yielded, because the shard asked for it: EndYield must follow.
  void Revoke(ShardId shard, std::span<const InodeId> dirs) {
    std::lock_guard lock(mutex_);
    ++revocations_;
    Withdraw(shard, dirs);
  }
  // The same of those that were not used since `before`, by shard; or of all of one shard. Nobody asked, so the shard
  // may tell of them anew before it hears of it: EndYield must follow.
  std::map<ShardId, std::vector<InodeId>> BeginYield(Nanos before, std::optional<ShardId> of = std::nullopt) {
    std::map<ShardId, std::vector<InodeId>> yields;
    std::lock_guard lock(mutex_);
    for (const auto& [key, part] : parts_) {
      if (of ? key.second == of->value : part.used <= before) yields[ShardId(key.second)].push_back(InodeId(key.first));
    }
    if (yields.empty()) return yields;
    ++revocations_;
    for (auto& [shard, dirs] : yields) {
      std::sort(dirs.begin(), dirs.end());
      Withdraw(shard, dirs);
    }
    return yields;
  }
  void EndYield(ShardId shard, std::span<const InodeId> dirs) {
    std::lock_guard lock(mutex_);
    ++revocations_;  // O4
    for (InodeId dir : dirs) {
      const auto it = yielding_.find(Key(dir, shard));
      if (it != yielding_.end() && --it->second == 0) yielding_.erase(it);
    }
  }
  bool IsUnderWay(InodeId dir, ShardId shard) {
    std::lock_guard lock(mutex_);
    return under_way_.contains(Key(dir, shard));
  }

  SpinLock& fork_mutex() { return mutex_; }
  // In a forked child: they are the parent's.
  void Forget() {
    parts_.clear();
    under_way_.clear();
    yielding_.clear();
    asked_.clear();
    ++revocations_;
    count_ = 0;
    wishes_ = all_under_way_ = 0;
  }

 private:
  using Key_ = std::pair<uint64_t, uint32_t>;
  static Key_ Key(InodeId dir, ShardId shard) { return {dir.value, shard.value}; }
  static constexpr uint32_t kAnything = 0;
  struct Part {
    absl::flat_hash_map<uint64_t, uint32_t> names;  // of a small file (O3) if it is smalls_since_
    std::vector<Number> numbers;
    uint8_t chunk_bits = 0;  // of its new files
    Nanos used = 0;
    uint64_t version = 0;  // differs after each change of `names` by what this process makes
  };
  // Under the lock.
  void EndUnderWay(InodeId dir, ShardId shard) {
    const auto it = under_way_.find(Key(dir, shard));
    if (it == under_way_.end()) return;
    if (--it->second == 0) under_way_.erase(it);
    --all_under_way_;
  }
  static void Doubt(Part& part, uint64_t hash) {
    if (const auto known = part.names.find(hash); known != part.names.end()) known->second = kAnything;
  }
  void Withdraw(ShardId shard, std::span<const InodeId> dirs) {
    for (InodeId dir : dirs) {
      parts_.erase(Key(dir, shard));
      ++yielding_[Key(dir, shard)];
    }
    count_ = parts_.size();
  }
  struct Asked {
    uint64_t number;
    Key_ key;
    uint64_t hash;
    bool answered;
  };
  SpinLock mutex_;
  std::vector<Asked> asked_;  // few
  uint64_t last_asked_ = 0, last_version_ = 0;
  uint32_t wishes_ = 0;  // of `asked_`
  uint32_t smalls_since_ = 1;
  absl::flat_hash_map<Key_, Part> parts_;
  absl::flat_hash_map<Key_, uint32_t> under_way_, yielding_;
  std::atomic<size_t> count_{0};
  std::atomic<uint32_t> all_under_way_{0};
  std::atomic<uint64_t> revocations_{0};
};

}  // namespace mayfly
