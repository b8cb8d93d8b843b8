// The descriptors of a process, of all its sessions. Any thread.
// Invariants  D1  a new file gets the lowest free number, as POSIX demands.
//             D2  a descriptor that is being closed is no longer found, but its number is not given out before the
//                 close has returned, and revocations still reach its file until its buffered bytes were sent.
//             D3  no file enters as sole that was revoked since its open was sent.
//             D4  what a thread remembers of its last look counts only as long as no descriptor was closed since.
//             D5  no file is leased while this process has the same one open for writing.
#pragma once

#include <atomic>
#include <mutex>
#include <span>
#include <vector>

#include "base/spin_lock.h"
#include "client/open_file.h"

namespace mayfly {

class FileTable {
 public:
  static constexpr int kBase = 0x40000000;  // MAYFLY_FD_BASE
  static constexpr size_t kFilesMax = 1u << 20;

  // `revocations`: Mount::revocations() before the open was sent (D3). kTooManyFiles. A file that the home gave to this
  // process alone does not enter as sole if the process has it open otherwise; `others` are those, which must give up
  // being sole too; so are files read under a lease, if this one can write (D5). Null: nobody can have it open.
  Result<int> Add(FileRef file, uint64_t revocations, std::vector<FileRef>* others);
  // D5. True: `file` is leased from now on, so that who opens it for writing finds it among the others.
  bool MayLease(OpenFile& file);
  FileRef Find(int fd);  // null: no such descriptor
  // The same, without a lock if this thread asked for the same one last (D4). Good until its next call here.
  const FileRef& FindAgain(int fd);
  // D2. Null: no such descriptor. FinishClose must follow, unless `at_once(file)` said under the lock that nothing is
  // left to do: then *closed, and the descriptor is gone.
  template <class AtOnce>
  FileRef StartClose(int fd, AtOnce&& at_once, bool* closed) {
    const size_t index = static_cast<size_t>(fd) - kBase;
    *closed = false;
    if (fd < kBase) return nullptr;
    std::lock_guard lock(mutex_);
    if (index >= slots_.size() || slots_[index].closing || slots_[index].file == nullptr) return nullptr;
    CountClose();
    *closed = at_once(*slots_[index].file);
    slots_[index].closing = !*closed;
    if (!*closed) return slots_[index].file;
    FileRef file = std::move(slots_[index].file);
    Free(index);
    return file;
  }
  void FinishClose(int fd);
  // D2: the close returns now, what it is about is on its way. EndDeparture must follow.
  void Depart(int fd);
  void EndDeparture(const FileRef& file);

  // Counts a revocation (D3) and gives the files of `mount` with one of these inodes, open or closing.
  std::vector<FileRef> Revoke(Mount& mount, std::span<const InodeId> inodes);
  std::vector<FileRef> Of(const Mount& mount);
  std::vector<FileRef> Of(const Mount& mount, InodeId inode);
  // Whose close is on its way.
  std::vector<FileRef> DepartingOf(const Mount& mount);
  // Forgets the descriptors of a mount that goes.
  std::vector<FileRef> TakeAll(const Mount& mount);

  SpinLock& fork_mutex() { return mutex_; }
  // In a forked child: each descriptor gets an open file of its own, without a lock that another thread of the parent
  // held and without bytes that the parent will send.
  void Renew();

 private:
  struct Slot {
    FileRef file;
    bool closing = false;
  };
  void Free(size_t index);
  // Calls `use(file)` with each file of the mount, open, closing or departing.
  template <class Use>
  void ForEach(const Mount& mount, Use&& use);
  void CountClose() { closes_.fetch_add(1, std::memory_order_release); }

  std::atomic<uint64_t> closes_{0};  // D4
  SpinLock mutex_;
  std::vector<Slot> slots_;
  std::vector<int> free_;           // a heap, the lowest first
  std::vector<FileRef> departing_;  // few
  std::vector<FileRef> left_behind_;
};

}  // namespace mayfly
