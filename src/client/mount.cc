#include "client/mount.h"

#include <new>

namespace mayfly {

namespace {
constexpr size_t kBuffersKept = 4;
}

void Mount::AskToListen(ShardId shard) {
  wants_to_listen_ = true;
  uint8_t off = kOff;
  if (!listening_[shard.value].compare_exchange_strong(off, kAsked)) return;
  {
    std::lock_guard lock(mutex_);
    listen_requests_.push_back(shard);
  }
  WakeHelper();
}

std::vector<ShardId> Mount::TakeListenRequests() {
  std::lock_guard lock(mutex_);
  return std::exchange(listen_requests_, {});
}

void Mount::AskAgain(const std::vector<ShardId>& shards) {
  std::lock_guard lock(mutex_);
  listen_requests_.insert(listen_requests_.end(), shards.begin(), shards.end());
}

bool Mount::HasListenRequests() {
  std::lock_guard lock(mutex_);
  return !listen_requests_.empty();
}

std::unique_ptr<uint8_t[]> Mount::TakeBuffer() {
  std::lock_guard lock(mutex_);
  if (!free_buffers_.empty()) {
    auto buffer = std::move(free_buffers_.back());
    free_buffers_.pop_back();
    return buffer;
  }
  if (buffers_ >= kBuffersMax) return nullptr;
  std::unique_ptr<uint8_t[]> buffer(new (std::nothrow) uint8_t[options_.write_behind_bytes]);
  if (buffer != nullptr) ++buffers_;
  return buffer;
}

void Mount::GiveBuffer(std::unique_ptr<uint8_t[]> buffer) {
  if (buffer == nullptr) return;
  std::lock_guard lock(mutex_);
  if (free_buffers_.size() < kBuffersKept) {
    free_buffers_.push_back(std::move(buffer));
  } else {
    --buffers_;
  }
}

void Mount::LockForFork() {
  closes_.fork_mutex().lock();
  places_.fork_mutex().lock();
  own_parts_.fork_mutex().lock();
  outbox_.fork_mutex().lock();
  mutex_.lock();
}

void Mount::UnlockAfterFork() {
  own_parts_.DoubtAll();
  mutex_.unlock();
  outbox_.fork_mutex().unlock();
  own_parts_.fork_mutex().unlock();
  places_.fork_mutex().unlock();
  closes_.fork_mutex().unlock();
}

// With the locks held, in the child's only thread.
void Mount::RenewInChild() {
  ++epoch_;
  closes_.Forget();
  places_.Forget();
  own_parts_.Forget();
  outbox_.Forget();
  arenas_.Forget();  // they are attached as the parent
  listen_requests_.clear();
  for (auto& state : listening_) state = kOff;
  helper_watches_ = drive_ = false;
  buffered_ = departing_ = 0;
  late_ = Code::kOk;
  buffers_ = static_cast<uint32_t>(free_buffers_.size());
}

}  // namespace mayfly
