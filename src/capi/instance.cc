#include "capi/instance.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <optional>

#include "base/checksum.h"
#include "base/log.h"
#include "base/of_thread.h"
#include "capi/convert.h"
#include "capi/guard.h"

namespace mayfly {
namespace {

constexpr Nanos kThreadEndWait = 100 * kMillisecond;
constexpr Nanos kCloseWait = 5 * kSecond;

std::atomic<uint64_t> last_serial{0};

}  // namespace

// ---- the engines of one thread ------------------------------------------------------------------------------------

// What a thread keeps: which engine it uses of which instance. Gives them back when the thread ends.
class ThreadEngines {
 public:
  struct Entry {
    uint64_t serial = 0;
    uint64_t epoch = 0;
    Instance* instance = nullptr;
    Engine* engine = nullptr;
  };
  ~ThreadEngines() {
    Registry& registry = Registry::Get();
    for (const Entry& entry : entries) {
      Guard guard(nullptr, nullptr);
      guard.Run([&] {
        std::lock_guard lock(registry.mutex_);
        const bool alive = std::any_of(registry.instances_.begin(), registry.instances_.end(),
                                       [&](Instance* i) { return i->serial() == entry.serial; });  // I2
        if (!alive || entry.instance->mount().epoch() != entry.epoch) return;
        entry.instance->GiveBack(entry.engine);
      });
    }
  }
  std::vector<Entry> entries;
};

Engine* Instance::ThreadEngine(std::string* why) {
  const uint64_t epoch = mount_.epoch();
  auto& entries = OfThread<ThreadEngines>::Get().entries;
  for (const auto& entry : entries) {
    if (entry.serial == serial_ && entry.epoch == epoch) return entry.engine;
  }
  Engine* engine = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      engine = free_.back();
      free_.pop_back();
    }
  }
  if (engine == nullptr) {
    std::unique_ptr<Engine> made = NewEngine(why);
    if (made == nullptr) return nullptr;
    engine = made.get();
    std::lock_guard lock(mutex_);
    engines_.push_back(std::move(made));
  }
  std::erase_if(entries,
                [this](const auto& entry) { return entry.serial == serial_; });  // of the parent, before a fork
  entries.push_back({serial_, epoch, this, engine});
  return engine;
}

std::unique_ptr<Engine> Instance::NewEngine(std::string* why) {
  std::lock_guard making(ForkGate::making());
  std::unique_ptr<Ground> ground = platform_->NewGround(why);
  if (ground == nullptr) return nullptr;
  Identity identity = platform_->identity();
  identity.client = ClientId(ground->random().U64() | 1);
  {
    std::lock_guard lock(mutex_);
    if (process_.value == 0) process_ = ClientId(ground->random().U64() | 1);
    identity.process = process_;
  }
  return std::make_unique<Engine>(std::move(ground), platform_->book(), std::move(identity), mount_);
}

void Instance::GiveBack(Engine* engine) {
  ForkGate::Scope scope(engine->inside());
  engine->TurnUntilIdle(engine->now() + kThreadEndWait);
  std::lock_guard lock(mutex_);
  free_.push_back(engine);
}

// ---- an instance --------------------------------------------------------------------------------------------------

Instance::Instance(std::unique_ptr<Platform> platform, const ClientOptions& options)
    : platform_(std::move(platform)),
      serial_(++last_serial),
      umask_(ProcessUmask()),
      mount_(platform_->placement(), platform_->identity().cred, options, Registry::Get().files(),
             platform_->arena_views()) {
  mount_.instance = this;
  const SessionUuid uuid = platform_->identity().uuid;
  device_ = Checksum(uuid);
  helper_ = std::make_unique<HelperThread>(*this);
  mount_.SetCores(platform_->cores());
  if (platform_->MayStartThreads()) mount_.SetWakeHelper([this] { helper_->Wake(); });
}

Instance::~Instance() {
  // I3: their descriptors are the parent's too. Taking one out of an epoll set here would take it out of the parent's.
  for (auto& engine : left_behind_) (void)engine.release();
}

namespace {

Task<Status> SyncAll(Lane* lane, std::vector<FileRef> files) {
  Status result;
  for (const FileRef& file : files) {
    Status status = co_await lane->Sync(file);
    if (!status.ok() && result.ok()) result = status;
  }
  co_return result;
}

}  // namespace

// The engines stay: the helper's thread, which calls this, ends before they do.
void Instance::DriveIdle() {
  std::vector<Engine*> waiting;
  {
    std::lock_guard lock(mutex_);
    for (auto& engine : engines_) {
      if (engine->lane().departing() != 0) waiting.push_back(engine.get());
    }
  }
  for (Engine* engine : waiting) {
    ForkGate::Visit visit(engine->inside());
    if (!visit) continue;
    engine->Look();
    (void)engine->Turn();
  }
}

Status Instance::FlushFiles(Engine& engine) {
  if (mount_.departing() != 0) {
    Task<Status> settled = engine.lane().Settle();
    engine.Finish(settled);
    (void)settled.Take();  // what failed was noted
  }
  std::vector<FileRef> files = mount_.files().Of(mount_);
  std::erase_if(files, [this](const FileRef& file) {
    return !file->buffered && file->deferred == Code::kOk && !(mount_.options().syncs && file->unsynced);
  });
  if (files.empty()) return mount_.TakeLate();
  Task<Status> task = SyncAll(&engine.lane(), std::move(files));
  engine.Finish(task);
  const Status status = task.Take();
  const Status late = mount_.TakeLate();
  return status.ok() ? late : status;
}

Status Instance::Sync(Engine& engine) {
  const Status flushed = FlushFiles(engine);
  Task<Status> task = engine.lane().SyncSession();
  engine.Finish(task);
  const Status synced = task.Take();
  return flushed.ok() ? synced : flushed;
}

Status Instance::Close() {
  Registry::Get().Remove(this);
  Status result;
  std::string why;
  Engine* engine = mount_.poisoned() ? nullptr : ThreadEngine(&why);
  std::optional<ForkGate::Scope> scope;
  if (engine != nullptr) {
    scope.emplace(engine->inside());
    engine->Look();
    result = FlushFiles(*engine);
    for (const FileRef& file : mount_.files().TakeAll(mount_)) {
      if (file->epoch != mount_.epoch() || !file->EndHold()) continue;
      CloseQueue::Batch full = mount_.closes().Add(file->inode, engine->now());
      if (!full.empty()) engine->lane().Spawn(engine->lane().SendCloses(std::move(full)), "telling of closed files");
    }
  } else {
    (void)mount_.files().TakeAll(mount_);
    result = Code::kIo;
  }
  if (engine != nullptr && mount_.own_parts().any()) engine->lane().GiveBackParts(kNever);
  helper_->Stop();
  if (engine == nullptr) {
    for (auto& one : engines_) (void)one.release();  // poisoned: whatever is in them stays there
    return result;
  }
  engine->lane().SendClosesOlder(kNever);
  engine->lane().ReturnPlacesOlder(kNever);
  const Nanos until = engine->now() + kCloseWait;
  engine->TurnUntilIdle(until);
  scope.reset();
  for (auto& one : engines_) {
    bool closed = false;
    {
      ForkGate::Scope inside(one->inside());
      closed = one->Close(until);
    }
    if (!closed) (void)one.release();  // something is still under way in it
  }
  std::lock_guard making(ForkGate::making());
  engines_.clear();
  return result;
}

void Instance::AtExit() {
  if (mount_.poisoned()) return;
  Guard guard([](void* mount) { static_cast<Mount*>(mount)->Poison(); }, &mount_);
  guard.Run([this] {
    std::string why;
    bool used = false;
    {
      std::lock_guard lock(mutex_);
      used = !engines_.empty();
    }
    if (used && (mount_.buffered() != 0 || mount_.departing() != 0 || mount_.own_parts().any())) {
      if (Engine* engine = ThreadEngine(&why)) {
        ForkGate::Scope scope(engine->inside());
        engine->Look();
        Status status = FlushFiles(*engine);
        if (!status.ok()) MAYFLY_ERROR("at exit, buffered writes could not be sent: {}", TextOf(status.code()));
        engine->lane().GiveBackParts(kNever);
        engine->TurnUntilIdle(engine->now() + kCloseWait);
      }
    }
    helper_->Stop();
    // Engines that no thread uses say goodbye; those of other threads are left to them.
    std::lock_guard lock(mutex_);
    for (Engine* engine : free_) engine->caller().Shutdown();
  });
}

void Instance::RenewInChild() {
  mount_.RenewInChild();
  for (auto& engine : engines_) {
    engine->Abandon();
    left_behind_.push_back(std::move(engine));  // I3
  }
  engines_.clear();
  free_.clear();
  process_ = ClientId();
  HelperThread::Abandon(std::move(helper_));
  helper_ = std::make_unique<HelperThread>(*this);
}

// ---- all instances ------------------------------------------------------------------------------------------------

Registry& Registry::Get() {
  static Registry& registry = *new Registry;
  return registry;
}

Registry::Registry() {
  Guard::Install();
  pthread_atfork(&Registry::BeforeFork, &Registry::AfterForkInParent, &Registry::AfterForkInChild);
  std::atexit(&Registry::AtExit);
}

void Registry::Add(Instance* instance) {
  std::lock_guard lock(mutex_);
  instances_.push_back(instance);
}

void Registry::Remove(Instance* instance) {
  std::lock_guard lock(mutex_);
  std::erase(instances_, instance);
}

void Registry::BeforeFork() {
  Registry& self = Get();
  ForkGate::Before();  // first: who is inside may want the other locks
  self.mutex_.lock();
  self.files_.fork_mutex().lock();
  for (Instance* instance : self.instances_) {
    instance->mount_.LockForFork();
    instance->mutex_.lock();
  }
}

void Registry::UnlockAll() {
  for (Instance* instance : instances_) {
    instance->mutex_.unlock();
    instance->mount_.UnlockAfterFork();
  }
  files_.fork_mutex().unlock();
  mutex_.unlock();
}

void Registry::AfterForkInParent() {
  Get().UnlockAll();
  ForkGate::AfterInParent();
}

void Registry::AfterForkInChild() {
  Registry& self = Get();
  for (Instance* instance : self.instances_) instance->RenewInChild();
  self.files_.Renew();
  self.UnlockAll();
  ForkGate::AfterInChild();
}

void Registry::AtExit() {
  Registry& self = Get();
  std::vector<Instance*> instances;
  {
    std::lock_guard lock(self.mutex_);
    instances = self.instances_;
  }
  for (Instance* instance : instances) instance->AtExit();
}

}  // namespace mayfly
