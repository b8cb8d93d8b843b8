#include "shard_thread.h"

#include "adapt/posix/arena_memory.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/cores.h"
#include "adapt/posix/offload.h"
#include "adapt/posix/pfs_tree.h"
#include "adapt/posix/posix_kept_memory.h"
#include "adapt/posix/random.h"
#include "base/log.h"
#include "signals.h"
#include "task/spinner.h"

namespace mayfly {
namespace {

constexpr Nanos kDrainWithin = 15 * kSecond;
// The same with a journal that is closed in order: data may still have to go to the disk.
constexpr Nanos kCloseWithin = 120 * kSecond;
// After the drain: the last answers are on their way.
constexpr Nanos kLinger = 20 * kMillisecond;

}  // namespace

// In the order of construction; a stuck shard leaves it behind as a whole.
struct ShardThread::Core {
  Core(std::unique_ptr<UcxTransport> network, PosixIdle& idle, const NodeBook& book, Options& options)
      : transport(std::move(network)),
        disk(std::move(options.disk)),
        kept({.directory = options.arena_directory, .prefix = options.kept_prefix, .look_only = options.look_only}),
        arena({.directory = options.arena_directory,
               .prefix = options.arena_prefix,
               .adopt = options.adopt,
               .look_only = options.look_only}),
        offload({.wake = &idle}),
        shard({clock, random, *transport, arena, offload, pfs, disk.get(), disk != nullptr ? &kept : nullptr, &cores},
              book.map().placement(), book, options.shard),
        spinner(shard.executor(), idle, options.spin, options.spin_most) {}

  PosixClock clock;
  PosixRandom random;
  std::unique_ptr<UcxTransport> transport;
  std::unique_ptr<LocalDisk> disk;
  PosixKeptMemory kept;
  PosixArenaMemory arena;
  PosixOffload offload;
  PosixPfsTree pfs;
  PosixCores cores;
  Shard shard;
  Spinner spinner;
  std::optional<Task<Status>> drain;
};

ShardThread::ShardThread(std::unique_ptr<UcxTransport> transport, const NodeBook& book, Options options,
                         std::function<void()> on_leave, std::function<void()> on_end)
    : transport_(std::move(transport)),
      book_(book),
      options_(std::move(options)),
      on_leave_(std::move(on_leave)),
      on_end_(std::move(on_end)),
      keep_arena_(options_.adopt) {
  thread_ = std::thread([this] { Main(); });
}

ShardThread::~ShardThread() { thread_.join(); }

void ShardThread::Post(std::function<void(Shard&)> work) {
  {
    std::lock_guard lock(mutex_);
    mail_.push_back(std::move(work));
  }
  mail_waits_ = true;
  idle_.Wake();
}

std::future<Status> ShardThread::Run(std::function<Task<Status>(Shard&)> start) {
  auto done = std::make_shared<std::promise<Status>>();
  std::future<Status> result = done->get_future();
  Post([this, start = std::move(start), done](Shard& shard) { running_.push_back({start(shard), std::move(*done)}); });
  return result;
}

void ShardThread::Leave() {
  leave_ = true;
  idle_.Wake();
}

void ShardThread::RunMail(Core& core) {
  mail_waits_ = false;
  std::vector<std::function<void(Shard&)>> mail;
  {
    std::lock_guard lock(mutex_);
    mail.swap(mail_);
  }
  for (auto& work : mail) work(core.shard);
}

void ShardThread::Turn(Core& core) {
  // Mail is work: it may have ended all there was to wait for, and nothing would end a sleep after it.
  bool worked = mail_waits_.load(std::memory_order_relaxed);
  if (worked) RunMail(core);
  worked |= core.shard.RunOnce();
  for (size_t i = 0; i < running_.size();) {
    if (!running_[i].task.done()) {
      ++i;
      continue;
    }
    running_[i].done.set_value(running_[i].task.Take());
    running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
  }
  if (worked) {
    core.spinner.Worked();
  } else {
    core.spinner.Empty(core.shard.next_timer());
  }
}

// True if all of the shard has ended.
bool ShardThread::Drain(Core& core) {
  const Nanos until = core.clock.Now() + (core.shard.keeps_storage() ? kCloseWithin : kDrainWithin);
  core.drain.emplace(core.shard.Drain());
  // The shard may have no timer of its own for our bound.
  core.shard.executor().At(
      until, [](void*) {}, nullptr);
  while (!core.drain->done() || !running_.empty()) {
    if (core.clock.Now() >= until) return false;
    Turn(core);
  }
  const bool drained = core.drain->Take().ok();
  const Nanos linger = core.clock.Now() + kLinger;
  while (core.clock.Now() < linger) {
    if (!core.shard.RunOnce()) idle_.Yield();
  }
  return drained;
}

void ShardThread::Main() {
  BlockSignals();
  auto core = std::make_unique<Core>(std::move(transport_), idle_, book_, options_);
  idle_.Add(core->transport.get());
  if (core->disk != nullptr) idle_.Add(core->disk.get());
  core->shard.SetOnLeave([this] { leave_ = true; });
  while (!leave_.load(std::memory_order_relaxed)) Turn(*core);
  on_leave_();
  if (core->shard.is_root()) {
    end_.root = true;
    end_.verdict = core->shard.stop_verdict();
    end_.report = core->shard.stop_report();
  }
  const bool drained = Drain(*core);
  idle_.Remove(core->transport.get());
  if (core->disk != nullptr) idle_.Remove(core->disk.get());
  end_.kept = core->shard.keeps_storage();
  if (keep_arena_ || core->shard.keeps_arena()) core->arena.Keep();
  if (drained) {
    core.reset();
  } else {
    MAYFLY_WARN("shard {} has work that does not end (a file system that hangs?); leaving it behind",
                options_.shard.self.value);
    end_.stuck = true;
    (void)core.release();
  }
  on_end_();
}

}  // namespace mayfly
