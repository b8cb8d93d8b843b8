// Places of servers' arenas that were lent to this process ahead of need, so that a write is one message: the commit of
// one place brings the next. Those that nobody used for a while go back. Any thread.
// Invariants  P1  a place is in one pair of hands: Take gives it out once.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/spin_lock.h"
#include "wire/messages.h"

namespace mayfly {

// A lent place in the hands of one operation or buffer.
struct Lent {
  ShardId shard;
  PlaceLoan loan;
  MutableBytes memory;  // the place, mapped here; empty: there is none
  bool valid() const { return !memory.empty(); }
};

class PlacePool {
 public:
  static constexpr Nanos kAgeMax = kSecond;
  static constexpr size_t kOfShardMax = 8, kSmallOfShardMax = 64;  // kept, of large and of all places
  static constexpr uint32_t kSmall = 64 * 1024;
  static constexpr uint64_t kBytesMax = uint64_t{64} << 20;  // of all shards

  // What has to be returned to one shard.
  struct Batch {
    ShardId shard;
    std::vector<uint64_t> loans;  // at most ReturnRequest::kLoansMax
  };

  // For the next loan.
  uint64_t NewNumber() { return ++last_; }
  // A place that holds `bytes`, and is at most twice as long.
  std::optional<PlaceLoan> Take(ShardId shard, uint32_t bytes) {
    std::lock_guard lock(mutex_);
    auto it = shards_.find(shard.value);
    if (it == shards_.end()) return std::nullopt;
    std::vector<Kept>& kept = it->second.kept;
    for (size_t i = kept.size(); i-- > 0;) {
      if (kept[i].loan.bytes < bytes || kept[i].loan.bytes / 2 > bytes) continue;
      const PlaceLoan loan = kept[i].loan;
      kept.erase(kept.begin() + static_cast<ptrdiff_t>(i));
      bytes_ -= loan.bytes;
      return loan;
    }
    return std::nullopt;
  }
  // Whether another place would be kept.
  bool HasRoom(ShardId shard, uint32_t bytes) {
    std::lock_guard lock(mutex_);
    return bytes_ + bytes <= kBytesMax && shards_[shard.value].kept.size() < KeptMax(bytes);
  }
  // Whether none of the shard is left: who needs one next has to ask.
  bool IsEmpty(ShardId shard) {
    std::lock_guard lock(mutex_);
    const auto it = shards_.find(shard.value);
    return it == shards_.end() || it->second.kept.empty();
  }
  void Put(ShardId shard, PlaceLoan loan, Nanos now) {
    std::lock_guard lock(mutex_);
    OfShard& of = shards_[shard.value];
    if (oldest_ == kNever) oldest_ = now;
    if (of.kept.size() >= KeptMax(loan.bytes)) {
      of.returns.push_back(loan.id);
      return;
    }
    of.kept.push_back({loan, now});
    bytes_ += loan.bytes;
  }
  // A loan that may be ours although nothing was heard of it: if it is, it goes back.
  void GiveBack(ShardId shard, uint64_t id, Nanos now) {
    std::lock_guard lock(mutex_);
    shards_[shard.value].returns.push_back(id);
    if (oldest_ == kNever) oldest_ = now;
  }
  // Those that came at `before` or earlier, and all that must go back.
  std::vector<Batch> TakeOlder(Nanos before) {
    std::lock_guard lock(mutex_);
    std::vector<Batch> batches;
    oldest_ = kNever;
    for (auto& [shard, of] : shards_) {
      std::erase_if(of.kept, [&, &of = of](const Kept& kept) {
        if (kept.since > before) {
          oldest_ = std::min(oldest_.load(), kept.since);
          return false;
        }
        of.returns.push_back(kept.loan.id);
        bytes_ -= kept.loan.bytes;
        return true;
      });
      for (size_t at = 0; at < of.returns.size(); at += ReturnRequest::kLoansMax) {
        const size_t end = std::min<size_t>(of.returns.size(), at + ReturnRequest::kLoansMax);
        batches.push_back(
            {ShardId(shard),
             {of.returns.begin() + static_cast<ptrdiff_t>(at), of.returns.begin() + static_cast<ptrdiff_t>(end)}});
      }
      of.returns.clear();
    }
    return batches;
  }
  // kNever if there is nothing. May be too early, never too late.
  Nanos oldest() const { return oldest_; }

  SpinLock& fork_mutex() { return mutex_; }
  // In a forked child: the places are the parent's.
  void Forget() {
    shards_.clear();
    bytes_ = 0;
    oldest_ = kNever;
  }

 private:
  static size_t KeptMax(uint32_t bytes) { return bytes <= kSmall ? kSmallOfShardMax : kOfShardMax; }
  struct Kept {
    PlaceLoan loan;
    Nanos since = 0;
  };
  struct OfShard {
    std::vector<Kept> kept;
    std::vector<uint64_t> returns;
  };
  SpinLock mutex_;
  std::map<uint32_t, OfShard> shards_;  // in order: a run is a function of its inputs
  uint64_t bytes_ = 0;                  // kept
  std::atomic<Nanos> oldest_{kNever};
  std::atomic<uint64_t> last_{0};
};

}  // namespace mayfly
