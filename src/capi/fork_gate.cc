#include "capi/fork_gate.h"

#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "adapt/posix/poll_until.h"

namespace mayfly {
namespace {

std::mutex list_mutex;  // of the list of all who may be inside; only what others lock for a fork is locked under it
ForkGate::Inside* first = nullptr;
ForkGate::Others others{[] {}, [] {}, [] {}};

bool Membarrier(int command) { return syscall(SYS_membarrier, command, 0, 0) == 0; }
bool MayFence() { return Membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED); }

auto MostFromNow() { return std::chrono::steady_clock::now() + std::chrono::nanoseconds(ForkGate::kWaitMost); }

}  // namespace

const bool ForkGate::forks_fence_ = MayFence();
std::atomic<bool> ForkGate::pending_{false};
thread_local ForkGate::Inside* ForkGate::current_ = nullptr;

ForkGate::Inside::Inside() {
  std::lock_guard lock(list_mutex);
  next_ = first;
  if (first != nullptr) first->previous_ = this;
  first = this;
}

ForkGate::Inside::~Inside() {
  std::lock_guard lock(list_mutex);
  (previous_ != nullptr ? previous_->next_ : first) = next_;
  if (next_ != nullptr) next_->previous_ = previous_;
}

void ForkGate::Inside::WaitFree() {
  while (occupied_.exchange(true, std::memory_order_acquire)) std::this_thread::yield();
}

void ForkGate::Inside::WaitOutside() {
  Leave();
  (void)PollUntil([] { return !pending_.load(std::memory_order_acquire); }, MostFromNow());
}

ForkGate::Visit::Visit(Inside& inside) {
  if (inside.occupied_.exchange(true, std::memory_order_acquire)) return;
  inside.inside_.store(true, std::memory_order_seq_cst);
  if (!pending_.load(std::memory_order_seq_cst)) {
    inside_ = &inside;
    return;
  }
  inside.Leave();
  inside.Vacate();
}

ForkGate::Visit::~Visit() {
  if (inside_ == nullptr) return;
  inside_->Leave();
  inside_->Vacate();
}

std::mutex& ForkGate::making() {
  static std::mutex& mutex = *new std::mutex;  // threads may outlive main
  return mutex;
}

void ForkGate::SetOthers(const Others& what) {
  std::lock_guard lock(making());
  others = what;
}

void ForkGate::Before() {
  making().lock();
  pending_.store(true, std::memory_order_seq_cst);
  if (forks_fence_ && !Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED)) {  // K3
    (void)MayFence();                                                   // a child may have to say so again
    (void)Membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  }
  const auto until = MostFromNow();
  list_mutex.lock();
  for (Inside* inside = first; inside != nullptr; inside = inside->next_) {
    if (inside == current_) continue;
    (void)PollUntil([&] { return !inside->inside_.load(std::memory_order_seq_cst); }, until);
  }
  others.before();
}

void ForkGate::AfterInParent() {
  others.in_parent();
  End();
}

void ForkGate::AfterInChild() {
  others.in_child();
  for (Inside* inside = first; inside != nullptr; inside = inside->next_) {
    inside->Leave();
    if (inside != current_) inside->Vacate();
  }
  End();
}

void ForkGate::End() {
  list_mutex.unlock();
  pending_.store(false, std::memory_order_seq_cst);
  making().unlock();
}

void ForkGate::Forget() {
  if (current_ != nullptr) {
    current_->Leave();
    current_->Vacate();
  }
  current_ = nullptr;
}

void OutsideIdle::Sleep(Nanos until) {
  inside_.Leave();
  idle_.Sleep(until);
  inside_.Enter();
}

}  // namespace mayfly
