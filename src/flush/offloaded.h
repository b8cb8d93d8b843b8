// Blocking work from a coroutine. What the work captured is destroyed on the helper thread (closing a file may block
// too); so pins and whatever else belongs to the shard's thread stay outside.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "os/offload.h"
#include "task/sync.h"

namespace mayfly::flush_internal {

// Shared by the work and those who wait, so that waiting may be given up.
template <class T>
struct OffloadedState {
  explicit OffloadedState(Executor& executor) : changed(executor) {}
  std::optional<T> value;
  bool done = false;  // of the shard's thread
  WaitQueue changed;
};

template <class T>
std::shared_ptr<OffloadedState<T>> StartOffloaded(Executor& executor, Offload& offload, std::function<T()> work) {
  auto state = std::make_shared<OffloadedState<T>>(executor);
  offload.Run(
      [state, work = std::move(work)]() mutable {
        state->value.emplace(work());
        work = nullptr;
      },
      [state] {
        state->done = true;
        state->changed.WakeAll();
      });
  return state;
}

// co_await Offloaded<T>(executor, offload, work): pass `work` as a named local (C5).
template <class T>
Task<T> Offloaded(Executor& executor, Offload& offload, std::function<T()> work) {
  auto state = StartOffloaded<T>(executor, offload, std::move(work));
  while (!state->done) (void)co_await state->changed.Wait(kNever);
  co_return std::move(*state->value);
}

}  // namespace mayfly::flush_internal
