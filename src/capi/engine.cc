#include "capi/engine.h"

#include <algorithm>

namespace mayfly {

Engine::Engine(std::unique_ptr<Ground> ground, const AddressBook& book, Identity identity, Mount& mount)
    : ground_(std::move(ground)),
      transport_(ground_->transport()),
      idle_(ground_->idle(), inside_),
      executor_(ground_->clock(), kTurnsALook),
      caller_(executor_, transport_, ground_->random(), book, std::move(identity),
              [&] {
                Caller::Timing timing;
                timing.call_default = mount.options().op_timeout;
                timing.unreachable_after = std::min(mount.options().unreachable_after, mount.options().op_timeout);
                return timing;
              }()),
      lane_(executor_, caller_, mount, ground_->random().U64()),
      spinner_(executor_, idle_, kSpin) {
  transport_.SetReceiver(&caller_);
}

Engine::~Engine() { transport_.SetReceiver(nullptr); }

void Engine::TurnOrWait(Nanos until) {
  inside_.Look();
  if (Turn()) {
    spinner_.Worked();
  } else {
    spinner_.Empty(until);
  }
}

void Engine::TurnOrSleep(Nanos until) {
  inside_.Look();
  if (Turn()) return;
  idle_.Sleep(std::min(executor_.next_timer(), until));
  executor_.Look();
}

bool Engine::Close(Nanos until) {
  caller_.Shutdown();
  while (!lane_.idle() || caller_.in_flight() != 0) {
    if (executor_.now() >= until) return false;
    TurnOrWait(until);
  }
  return true;
}

}  // namespace mayfly
