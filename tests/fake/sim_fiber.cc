#include "fake/sim_fiber.h"

#include <cstdint>

#include "base/check.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace mayfly {
namespace {

// The sanitizer has to be told of each change of stacks, before and after it.
void Before([[maybe_unused]] void** fake, [[maybe_unused]] const void* bottom, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(fake, bottom, bytes);
#endif
}
void After([[maybe_unused]] void* fake, [[maybe_unused]] const void** bottom, [[maybe_unused]] size_t* bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fake, bottom, bytes);
#endif
}

}  // namespace

bool SimFiber::Run(void (*fn)(void*), void* context) {
  MAYFLY_CHECK(!inside_ && !left_);
  if (stack_ == nullptr) stack_ = std::malloc(kStackBytes);
  MAYFLY_CHECK(stack_ != nullptr && getcontext(&own_) == 0);
  fn_ = fn;
  context_ = context;
  ended_ = false;
  own_.uc_stack.ss_sp = stack_;
  own_.uc_stack.ss_size = kStackBytes;
  own_.uc_link = nullptr;
  const uint64_t self = reinterpret_cast<uintptr_t>(this);
  makecontext(&own_, reinterpret_cast<void (*)()>(&SimFiber::Main), 2, static_cast<unsigned>(self >> 32),
              static_cast<unsigned>(self));
  inside_ = true;
  void* fake = nullptr;
  Before(&fake, stack_, kStackBytes);
  MAYFLY_CHECK(swapcontext(&caller_, &own_) == 0);
  After(fake, nullptr, nullptr);
  inside_ = false;
  return ended_;
}

void SimFiber::Main(unsigned high, unsigned low) {
  reinterpret_cast<SimFiber*>((uint64_t{high} << 32) | low)->EnterMain();
}

void SimFiber::EnterMain() {
  After(nullptr, &caller_bottom_, &caller_bytes_);
  fn_(context_);
  ended_ = true;
  BackToCaller(true);
}

void SimFiber::Leave() {
  MAYFLY_CHECK(inside_);
  left_ = true;
  BackToCaller(false);
  std::abort();
}

void SimFiber::BackToCaller(bool for_good) {
  Before(for_good ? nullptr : &fake_stack_, caller_bottom_, caller_bytes_);
  // The registers are kept with the stack: what only they refer to is not leaked either.
  (void)swapcontext(&own_, &caller_);
}

}  // namespace mayfly
