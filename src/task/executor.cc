#include "task/executor.h"

namespace mayfly {

bool Executor::RunOnce() {
  bool worked = false;
  if (++turns_ >= turns_a_look_) {
    turns_ = 0;
    Look();  // E4
    while (!timers_.empty() && timers_.begin()->first.first <= now_) {
      Timer timer = timers_.begin()->second;
      timers_.erase(timers_.begin());
      timer.fn(timer.context);
      worked = true;
    }
  }
  for (size_t left = size_; left > 0; --left) {  // E1
    std::coroutine_handle<> handle = ring_[head_];
    head_ = (head_ + 1) & (ring_.size() - 1);
    --size_;
    handle.resume();
    worked = true;
  }
  return worked;
}

Executor::TimerId Executor::At(Nanos deadline, TimerFn fn, void* context) {
  TimerId id{deadline, ++sequence_};
  timers_.emplace(std::pair(id.deadline, id.sequence), Timer{fn, context});
  return id;
}

void Executor::Grow() {
  std::vector<std::coroutine_handle<>> larger(ring_.size() * 2);
  for (size_t i = 0; i < size_; ++i) larger[i] = ring_[(head_ + i) & (ring_.size() - 1)];
  ring_ = std::move(larger);
  head_ = 0;
}

}  // namespace mayfly
