#include "adapt/posix/posix_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "adapt/posix/signals_blocked.h"
#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

void CarryOut(DiskOp& op) {
  int64_t result = 0;
  do {
    switch (op.kind) {
      case DiskOp::Kind::kRead:
        result = pread(op.fd, op.data, op.call_bytes(), static_cast<off_t>(op.call_offset()));
        break;
      case DiskOp::Kind::kWrite:
        result = pwrite(op.fd, op.data, op.call_bytes(), static_cast<off_t>(op.call_offset()));
        break;
      case DiskOp::Kind::kWriteThrough: {
        const iovec from{op.data, op.call_bytes()};
        result = pwritev2(op.fd, &from, 1, static_cast<off_t>(op.call_offset()), RWF_DSYNC);
        break;
      }
      case DiskOp::Kind::kFlush:
        result = fdatasync(op.fd);
        break;
      case DiskOp::Kind::kDiscard:
        result = fallocate(op.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(op.call_offset()),
                           static_cast<off_t>(op.discard_bytes()));
        break;
    }
    if (result < 0) result = -errno;
  } while (op.Advance(result));
}

}  // namespace

struct PosixDisk::Shared {
  std::mutex mutex;
  std::condition_variable wanted;  // by the threads: requests, or the end
  std::deque<DiskOp> asked;
  std::vector<DiskOp> ended;
  bool closing = false;
  std::atomic<bool> any_ended{false};
  std::atomic<bool> armed{false};  // the owner sleeps, or is about to
  int event = -1;
  std::vector<std::thread> threads;
};

PosixDisk::PosixDisk(std::unique_ptr<DiskPlace> place, size_t threads)
    : LocalDisk(std::move(place)),
      threads_(threads),
      event_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      shared_(std::make_unique<Shared>()) {
  MAYFLY_CHECK(event_ >= 0);
  shared_->event = event_;
}

PosixDisk::~PosixDisk() {
  {
    std::lock_guard lock(shared_->mutex);
    shared_->closing = true;
  }
  shared_->wanted.notify_all();
  for (std::thread& thread : shared_->threads) thread.join();
  close(event_);
}

Disk::Facts PosixDisk::facts() const {
  Facts facts = LocalDisk::facts();
  facts.how = std::string("posix") + HowMoved(facts);
  return facts;
}

void PosixDisk::StartThreads() {
  started_ = true;
  const SignalsBlocked blocked;
  try {
    for (size_t i = 0; i < threads_; ++i) {
      shared_->threads.emplace_back([shared = shared_.get()] { Serve(*shared); });
    }
  } catch (const std::system_error&) {
    if (shared_->threads.empty()) {
      MAYFLY_WARN("no thread for local storage: the server waits for its device; raise the process limit (ulimit -u)");
    }
  }
}

void PosixDisk::Submit() {
  if (!started_ && threads_ != 0) StartThreads();
  if (shared_->threads.empty()) {
    for (DiskOp& op : asked_) CarryOut(op);
    std::lock_guard lock(shared_->mutex);
    shared_->ended.insert(shared_->ended.end(), asked_.begin(), asked_.end());
    shared_->any_ended = true;
  } else {
    {
      std::lock_guard lock(shared_->mutex);
      shared_->asked.insert(shared_->asked.end(), asked_.begin(), asked_.end());
    }
    if (asked_.size() == 1) shared_->wanted.notify_one();
    if (asked_.size() > 1) shared_->wanted.notify_all();
  }
  asked_.clear();
}

bool PosixDisk::Poll() {
  if (armed_) {
    armed_ = false;
    shared_->armed = false;
    uint64_t count = 0;
    if (read(event_, &count, sizeof count) < 0) MAYFLY_CHECK(errno == EAGAIN || errno == EINTR);
  }
  if (pending() == 0) return false;  // L1
  const bool submitted = EndRefused() | !asked_.empty();
  if (!asked_.empty()) Submit();
  if (!shared_->any_ended.load(std::memory_order_acquire)) return submitted;
  {
    std::lock_guard lock(shared_->mutex);
    ended_.swap(shared_->ended);
    shared_->any_ended = false;
  }
  for (const DiskOp& op : ended_) Ended(op);
  ended_.clear();
  return true;
}

bool PosixDisk::Arm() {
  if (!asked_.empty() || has_refused()) return false;
  if (pending() == 0) return true;
  armed_ = true;
  shared_->armed = true;
  return !shared_->any_ended;  // both sides: first their own flag, then the other's
}

void PosixDisk::Serve(Shared& shared) {
  std::unique_lock lock(shared.mutex);
  while (true) {
    shared.wanted.wait(lock, [&] { return shared.closing || !shared.asked.empty(); });
    if (shared.closing) return;
    DiskOp op = shared.asked.front();
    shared.asked.pop_front();
    lock.unlock();
    CarryOut(op);
    lock.lock();
    shared.ended.push_back(op);
    shared.any_ended = true;
    if (!shared.armed.exchange(false)) continue;
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = write(shared.event, &one, sizeof one);
  }
}

}  // namespace mayfly
