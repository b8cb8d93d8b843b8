// Blocking work without a thread: `work` and then `done` run inside Poll, in the order of Run. What one of them adds
// waits for the next Poll.
#pragma once

#include <deque>
#include <utility>

#include "os/offload.h"

namespace mayfly {

class SimOffload : public Offload {
 public:
  void Run(std::function<void()> work, std::function<void()> done) override {
    queue_.emplace_back(std::move(work), std::move(done));
  }
  bool Poll() override {
    const size_t count = queue_.size();
    for (size_t i = 0; i < count; ++i) {
      auto [work, done] = std::move(queue_.front());
      queue_.pop_front();
      work();
      done();
    }
    return count != 0;
  }
  size_t queued() const { return queue_.size(); }

 private:
  std::deque<std::pair<std::function<void()>, std::function<void()>>> queue_;
};

}  // namespace mayfly
