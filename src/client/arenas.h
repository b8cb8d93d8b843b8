// Which shards' arenas this process has mapped: those of servers on its own node. Any thread.
// Invariants  M1  what Get gave stays valid until Forget, which runs when no operation is under way (or, in a forked
//                 child, when there is no other thread).
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <vector>

#include "base/ids.h"
#include "os/arena_view.h"

namespace mayfly {

class Arenas {
 public:
  // `views` may be null: nothing is mapped then.
  Arenas(ArenaViews* views, uint32_t shard_count) : views_(views), shards_(shard_count) { Forget(); }

  ArenaView* Get(ShardId shard) const { return shards_[shard.value].view.load(std::memory_order_acquire); }
  bool IsUnknown(ShardId shard) const { return shards_[shard.value].state.load(std::memory_order_relaxed) == kUnknown; }
  bool MayBeMapped(ShardId shard) const { return shards_[shard.value].state.load(std::memory_order_relaxed) != kNone; }
  // True once for a shard whose arena may be mapped: the caller asks it for its arena's name and then calls Attach or
  // Refuse.
  bool BeginAsking(ShardId shard) {
    uint8_t unknown = kUnknown;
    std::atomic<uint8_t>& state = shards_[shard.value].state;
    return state.load(std::memory_order_relaxed) == kUnknown && state.compare_exchange_strong(unknown, kAsking);
  }
  void Attach(ShardId shard, const std::string& name, ClientId process) {
    One& one = shards_[shard.value];
    one.owned = views_->Attach(name, process.value);
    one.view.store(one.owned.get(), std::memory_order_release);
    one.state = one.owned != nullptr ? kMapped : kNone;
  }
  // It is not to be used (any more): its bytes are sent.
  void Refuse(ShardId shard) {
    shards_[shard.value].view.store(nullptr, std::memory_order_release);
    shards_[shard.value].state = kNone;
  }
  // A free hold of this process on the board of the shard's arena, with the file in it (os/arena_memory.h); null: none.
  // Whoever has nothing more to do with the file stores 0.
  ArenaBoard::Hold* TakeHold(ShardId shard, ClientId process, InodeId file) {
    ArenaBoard* const board = BoardFor(shard, process);
    if (board == nullptr) return nullptr;
    One& one = shards_[shard.value];
    const uint32_t mine = one.holds;
    const uint32_t first = one.next_hold.fetch_add(1, std::memory_order_relaxed);
    for (uint32_t i = 0; i < ArenaBoard::kHolds; ++i) {
      ArenaBoard::Hold& hold = board->holds[mine][(first + i) % ArenaBoard::kHolds];
      uint64_t none = 0;
      if (hold.load(std::memory_order_relaxed) == 0 && hold.compare_exchange_strong(none, file.value)) return &hold;
    }
    return nullptr;
  }
  // This process's bell there (B4); null: none.
  const ArenaBoard::Bell* BellOf(ShardId shard, ClientId process) {
    ArenaBoard* const board = BoardFor(shard, process);
    return board != nullptr ? &board->bells[shards_[shard.value].holds] : nullptr;
  }
  // How often Forget has run.
  uint64_t forgets() const { return forgets_; }
  void Forget() {
    ++forgets_;
    for (uint32_t i = 0; i < shards_.size(); ++i) {
      shards_[i].view = nullptr;
      shards_[i].owned.reset();
      shards_[i].holds = kNoHolds;
      shards_[i].state = views_ != nullptr && views_->MayBeHere(ShardId(i)) ? kUnknown : kNone;
    }
  }

 private:
  enum : uint8_t { kUnknown, kAsking, kMapped, kNone };
  struct One {
    std::atomic<uint8_t> state{kNone};
    std::atomic<ArenaView*> view{nullptr};
    std::unique_ptr<ArenaView> owned;
    std::atomic<uint32_t> holds{kNoHolds};  // which of the board's are this process's; kProcesses: none is free
    std::atomic<uint32_t> next_hold{0};
  };
  static constexpr uint32_t kNoHolds = ~0u;

  // The shard's board, once this process has a row there; null: it has none.
  ArenaBoard* BoardFor(ShardId shard, ClientId process) {
    One& one = shards_[shard.value];
    ArenaView* const view = Get(shard);
    ArenaBoard* const board = view != nullptr ? view->Board() : nullptr;
    if (board == nullptr) return nullptr;
    if (one.holds == kNoHolds) ClaimHolds(&one, board, process);
    return one.holds < ArenaBoard::kProcesses ? board : nullptr;
  }
  void ClaimHolds(One* one, ArenaBoard* board, ClientId process) {
    std::lock_guard lock(claiming_);
    if (one->holds != kNoHolds) return;
    uint32_t i = 0;
    for (uint64_t free = 0; i < ArenaBoard::kProcesses; ++i, free = 0) {
      if (board->processes[i].compare_exchange_strong(free, process.value)) break;
    }
    one->holds = i;
  }

  ArenaViews* const views_;
  std::vector<One> shards_;
  std::mutex claiming_;
  std::atomic<uint64_t> forgets_{0};
};

}  // namespace mayfly
