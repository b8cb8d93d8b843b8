// Which shards' arenas this process has mapped: those of servers on its own node. Any thread.
// Invariants  M1  what Get gave stays valid until Forget, which runs when no operation is under way (or, in a forked
//                 child, when there is no other thread).
#pragma once

#include <atomic>
#include <memory>
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
  void Forget() {
    for (uint32_t i = 0; i < shards_.size(); ++i) {
      shards_[i].view = nullptr;
      shards_[i].owned.reset();
      shards_[i].state = views_ != nullptr && views_->MayBeHere(ShardId(i)) ? kUnknown : kNone;
    }
  }

 private:
  enum : uint8_t { kUnknown, kAsking, kMapped, kNone };
  struct One {
    std::atomic<uint8_t> state{kNone};
    std::atomic<ArenaView*> view{nullptr};
    std::unique_ptr<ArenaView> owned;
  };
  ArenaViews* const views_;
  std::vector<One> shards_;
};

}  // namespace mayfly
