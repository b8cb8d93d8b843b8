// A shard's real disk: the files of a directory, or on a device, of this node, by io_uring where that is allowed, else
// by plain calls on a few threads. One thread owns it: whoever first calls Poll with something under way; until then it
// may be handed on. It is also what that thread sleeps on (event_source.h). Invariants  L1  Poll makes no system call
// when nothing is under way.
//             L2  each kind of error of the device is logged once a disk.
//             L3  a flush of a file that somebody else removed fails, and so does a write now and then: what goes there
//                 is gone with this process.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "adapt/event_source.h"
#include "adapt/posix/disk_op.h"
#include "adapt/posix/disk_place.h"
#include "os/disk.h"

namespace mayfly {

struct LocalDiskOptions;
struct LocalDiskOpened;

// What both adapters share: the table of open files and the checks. They add how data moves.
class LocalDisk : public Disk, public EventSource {
 public:
  ~LocalDisk() override;
  Facts facts() const override;
  Result<DiskFileId> Open(std::string_view name, OpenHow how) final;
  void Close(DiskFileId file) final;
  Result<uint64_t> BytesOf(DiskFileId file) final;
  Status Remove(std::string_view name) final { return place_->Remove(name); }
  Status Rename(std::string_view from, std::string_view to) final { return place_->Rename(from, to); }
  Status SyncNames() final { return place_->SyncNames(); }
  Result<std::vector<std::string>> List() final { return place_->List(); }
  // Whether another process has the file open to write, and keeps it so for `lock_wait`.
  Result<bool> InUse(std::string_view name) const { return place_->InUse(name); }

  void Read(DiskFileId file, uint64_t offset, MutableBytes to, Completion* done) final;
  void Write(DiskFileId file, uint64_t offset, Bytes from, Completion* done) final;
  void WriteThrough(DiskFileId file, uint64_t offset, Bytes from, Completion* done) final;
  void Flush(DiskFileId file, Completion* done) final;
  void Discard(DiskFileId file, uint64_t offset, uint64_t bytes, Completion* done) final;
  uint32_t pending() const final { return pending_; }
  MutableBytes Map(DiskFileId file) final;

 protected:
  explicit LocalDisk(std::unique_ptr<DiskPlace> place) : place_(std::move(place)), files_(kFilesMax) {}
  friend LocalDiskOpened OpenLocalDisk(LocalDiskOptions options);

  // To be carried out from the next Poll on, then Ended.
  virtual void Start(const DiskOp& op) = 0;
  // `index` of the table now means `fd`; -1: nothing.
  virtual void OnFile(uint32_t index, int fd) = 0;
  // Whether what a file has may be looked at and changed in place: a write is nothing but a copy.
  virtual bool MayMap() const { return false; }
  // Runs its completion.
  void Ended(const DiskOp& op);
  // Behind the name of an adapter, for a report.
  static const char* HowMoved(const Facts& facts) {
    return facts.in_memory ? "" : facts.direct ? ", O_DIRECT" : ", page cache";
  }
  // What needs no system call to end; true if there was any. In Poll, and asked before a sleep.
  bool EndRefused();
  bool has_refused() const { return !refused_.empty(); }

 private:
  struct Entry {
    DiskPlace::File file;
    std::string name;
    uint32_t under_way = 0;
    uint32_t writes = 0;
    MutableBytes mapped;
    std::vector<std::shared_ptr<const DeviceFile>> before;  // it grew: what is under way may refer to them
  };
  bool IsGone(DiskOp::Kind kind, Entry& entry);
  Status MakeRoom(Entry* entry, uint64_t bytes);
  void Begin(DiskOp::Kind kind, DiskFileId file, uint64_t offset, const uint8_t* data, uint64_t bytes,
             Completion* done);
  Entry& EntryOf(DiskFileId file);
  void LogOnce(const DiskOp& op, Code code);

  std::unique_ptr<DiskPlace> place_;
  const std::atomic<bool>* removed_here_ = nullptr;
  std::vector<Entry> files_;
  std::vector<DiskOp> refused_;  // to be ended by the next Poll
  uint32_t pending_ = 0;
  uint32_t logged_ = 0;  // bits: codes
};

struct LocalDiskOptions {
  DiskPlace::Options directory;
  bool try_uring = true;
  // Where the directory lies in memory everything is done inside Poll, by plain calls: nothing there makes anybody
  // wait, and io_uring hands such writes to threads of the kernel.
  bool at_once_in_memory = false;
  // False: somebody else says it if memory may not be locked (Disk::Register).
  bool warns = true;
  // Once it is true it is this process that removes the files, and goes on with them for a while. It outlives the disk.
  const std::atomic<bool>* removed_here = nullptr;
};

struct [[nodiscard]] LocalDiskOpened {
  std::unique_ptr<LocalDisk> disk;  // null: `failure` says why
  DiskFailure failure;
  std::string warning;  // not empty: why there is no io_uring and what to do about it. The caller says it, once a node
};

LocalDiskOpened OpenLocalDisk(LocalDiskOptions options);

// The warning for `error` of io_uring's set-up; `disabled` is kernel.io_uring_disabled (0 where there is none).
std::string WarningWithoutUring(int error, int disabled);

}  // namespace mayfly
