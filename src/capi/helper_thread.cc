#include "capi/helper_thread.h"

#include <chrono>
#include <system_error>

#include "adapt/posix/signals_blocked.h"
#include "base/log.h"
#include "capi/guard.h"
#include "capi/instance.h"
#include "client/helper.h"

namespace mayfly {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(250);
constexpr Nanos kCloseWithin = 2 * kSecond;

}  // namespace

void HelperThread::Wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  if (stop_) return;
  if (!started_) {
    const SignalsBlocked blocked;
    try {
      thread_ = std::thread([this] { Main(); });
      started_ = true;
    } catch (const std::system_error&) {
      // Without a helper nothing is buffered, and closes wait for the next full batch or the disconnect.
      MAYFLY_WARN("no thread for the helper: closed files are reported to the servers late");
    }
    return;
  }
  news_.notify_one();
  if (idle_ != nullptr) idle_->Wake();
}

void HelperThread::Stop() {
  {
    std::lock_guard lock(mutex_);
    if (!started_) return;
    stop_ = true;
    news_.notify_one();
    if (idle_ != nullptr) idle_->Wake();
  }
  thread_.join();
  std::lock_guard lock(mutex_);
  started_ = stop_ = false;
}

bool HelperThread::WaitForWork() {
  Mount& mount = instance_.mount();
  const auto due = [&] {
    if (mount.buffered() != 0 || mount.HasListenRequests()) return true;
    // Closes and places alone are worth an engine only once they are old.
    const Nanos oldest = mount.oldest();
    if (oldest == kNever) return false;
    const auto now = std::chrono::steady_clock::now().time_since_epoch();
    static_assert(CloseQueue::kAgeMax == PlacePool::kAgeMax);
    return static_cast<Nanos>(std::chrono::nanoseconds(now).count()) >= oldest + CloseQueue::kAgeMax;
  };
  std::unique_lock lock(mutex_);
  for (;;) {
    if (stop_) return false;
    if (due()) return true;
    woken_ = false;
    if (mount.oldest() != kNever) {
      news_.wait_for(lock, kLookEvery);
      continue;
    }
    mount.helper_watches() = false;
    if (mount.oldest() != kNever || mount.buffered() != 0) {
      mount.helper_watches() = true;
      continue;
    }
    news_.wait(lock, [&] { return stop_ || woken_; });
  }
}

void HelperThread::Main() {
  Guard guard([](void* mount) { static_cast<Mount*>(mount)->Poison(); }, &instance_.mount());
  guard.Run([this] {
    std::unique_ptr<Engine> engine;
    while (engine == nullptr) {
      if (!WaitForWork()) return;
      std::string why;
      engine = instance_.NewEngine(&why);
      if (engine != nullptr) break;
      MAYFLY_WARN("the helper has no connection ({}); trying again", why);
      std::unique_lock lock(mutex_);
      news_.wait_for(lock, std::chrono::seconds(1), [this] { return stop_; });
    }
    bool closed = false;
    {
      ForkGate::Scope scope(engine->inside());
      engine->Look();
      Drive(*engine);
      closed = engine->Close(engine->now() + kCloseWithin);
    }
    if (!closed) (void)engine.release();  // something is still under way in it
    std::lock_guard making(ForkGate::making());
    engine.reset();
  });
}

void HelperThread::Drive(Engine& engine) {
  Helper helper(engine.lane());
  {
    std::lock_guard lock(mutex_);
    idle_ = &engine.ground().idle();
  }
  while (!instance_.mount().poisoned()) {
    if (woken_.exchange(false)) helper.Poke();
    engine.TurnOrSleep(kNever);
    if (instance_.mount().departing() != 0) instance_.DriveIdle();
    std::lock_guard lock(mutex_);
    if (stop_) break;
  }
  {
    std::lock_guard lock(mutex_);
    idle_ = nullptr;
  }
  helper.Stop();
  const Nanos until = engine.now() + kCloseWithin;
  engine.caller().Shutdown();
  engine.TurnUntilIdle(until);
}

}  // namespace mayfly
