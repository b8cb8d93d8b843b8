// A stack of its own for code that is to be killed in the middle of a call: whoever runs on it can be left there for
// good, as a killed process is. Nothing of it runs again, no destructor either; its stack stays as it is, so that what
// it refers to is not leaked.
#pragma once

#include <ucontext.h>

#include <cstddef>
#include <cstdlib>

namespace mayfly {

class SimFiber {
 public:
  static constexpr size_t kStackBytes = size_t{1} << 20;

  SimFiber() = default;
  SimFiber(const SimFiber&) = delete;
  SimFiber& operator=(const SimFiber&) = delete;
  // Of one that was left too: only if nothing on its stack is needed any more.
  ~SimFiber() { std::free(stack_); }

  // Runs fn(context) here to its end: true. False: it has called Leave, and the fiber must not be used again.
  bool Run(void (*fn)(void*), void* context);
  // From inside Run only: ends Run; never returns.
  [[noreturn]] void Leave();
  bool inside() const { return inside_; }

 private:
  static void Main(unsigned high, unsigned low);
  void EnterMain();
  void BackToCaller(bool for_good);

  void* stack_ = nullptr;
  ucontext_t caller_{}, own_{};
  void (*fn_)(void*) = nullptr;
  void* context_ = nullptr;
  bool inside_ = false, ended_ = false, left_ = false;
  // For the address sanitizer.
  void* fake_stack_ = nullptr;
  const void* caller_bottom_ = nullptr;
  size_t caller_bytes_ = 0;
};

}  // namespace mayfly
