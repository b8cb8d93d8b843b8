#include "capi/helper_thread.h"

#include <algorithm>
#include <chrono>
#include <system_error>
#include <utility>

#include "adapt/posix/signals_blocked.h"
#include "base/log.h"
#include "capi/guard.h"
#include "capi/instance.h"
#include "client/helper.h"

namespace mayfly {
namespace {

constexpr auto kLookEvery = std::chrono::milliseconds(250);
constexpr Nanos kCloseWithin = 2 * kSecond;
constexpr auto kBellsFor = std::chrono::milliseconds(400);  // nothing need be sent that soon
constexpr auto kBellsEvery = std::chrono::milliseconds(1);

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

bool HelperThread::ListenByBells() {
  Mount& mount = instance_.mount();
  const std::vector<ShardId> asked = mount.TakeListenRequests();
  for (ShardId shard : asked) {
    const ArenaBoard::Bell* const bell = mount.arenas().BellOf(shard, instance_.process());
    if (bell == nullptr) {
      mount.AskAgain(asked);
      return false;
    }
    bells_.push_back({shard, bell, bell->load(std::memory_order_acquire)});
    mount.SetListening(shard, true);  // the helper's H1: the shard knows this process, which has the arena mapped
  }
  return true;
}

bool HelperThread::HasRung() const {
  return std::any_of(bells_.begin(), bells_.end(),
                     [](const Listened& one) { return one.bell->load(std::memory_order_acquire) != one.then; });
}

bool HelperThread::WaitForWork() {
  Mount& mount = instance_.mount();
  std::chrono::steady_clock::time_point bells_until;
  const auto due = [&] {
    if (mount.HasListenRequests()) {
      if (bells_.empty()) bells_until = std::chrono::steady_clock::now() + kBellsFor;
      if (!ListenByBells()) return true;
    }
    if (!bells_.empty()) return mount.drive() || HasRung() || std::chrono::steady_clock::now() >= bells_until;
    if (mount.buffered() != 0) return true;
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
    if (due()) break;
    if (!bells_.empty()) {
      news_.wait_for(lock, kBellsEvery, [this] { return stop_; });
      continue;
    }
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
  std::vector<ShardId> shards;
  for (const Listened& one : std::exchange(bells_, {})) shards.push_back(one.shard);
  mount.AskAgain(shards);  // from now on by messages
  mount.drive() = false;
  return true;
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
