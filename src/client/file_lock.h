// The lock of one open file, among lanes of several threads. It is held across messages, so whoever finds it taken must
// go on serving its own lane: it looks again after a short sleep (Lane::LockSlow) and gives up at its deadline.
#pragma once

#include <utility>

#include "base/spin_lock.h"

namespace mayfly {

class FileLock {
 public:
  bool Try() { return lock_.try_lock(); }
  void Unlock() { lock_.unlock(); }

 private:
  SpinLock lock_;
};

// Unlocks what it holds when it goes.
class FileGuard {
 public:
  FileGuard() = default;
  FileGuard(const FileGuard&) = delete;
  ~FileGuard() { Release(); }
  bool Try(FileLock& lock) {
    if (!lock.Try()) return false;
    lock_ = &lock;
    return true;
  }
  void Release() {
    if (lock_ != nullptr) std::exchange(lock_, nullptr)->Unlock();
  }
  bool holds() const { return lock_ != nullptr; }
  // It stays locked, for another guard to adopt.
  void HandOver() { lock_ = nullptr; }
  void Adopt(FileLock& lock) { lock_ = &lock; }

 private:
  FileLock* lock_ = nullptr;
};

}  // namespace mayfly
