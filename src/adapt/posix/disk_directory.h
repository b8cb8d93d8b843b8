// The directory that a disk keeps its files in. One thread.
// Invariants  D1  a file that is open to write is locked (flock) through the very descriptor that the data moves
//                 through: a process that died keeps it until the last of its transfers has ended, so that none of them
//                 lands in what its successor has begun to write. Open waits a bounded time for that.
//             D2  whether O_DIRECT works was found out by a write and a read, not by what the file system says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "adapt/posix/disk_place.h"

namespace mayfly {

class DiskDirectory final : public DiskPlace {
 public:
  DiskDirectory() = default;
  DiskDirectory(const DiskDirectory&) = delete;
  DiskDirectory& operator=(const DiskDirectory&) = delete;
  ~DiskDirectory() override;

  // Once, before all else. Tries a write there.
  DiskFailure Open(Options options);

  Disk::Facts facts() const override;
  Result<File> OpenFile(std::string_view name, Disk::OpenHow how) override;
  void CloseFile(File file) override;
  Result<uint64_t> BytesOf(const File& file) const override;
  Status MakeRoom(File*, uint64_t) override { return {}; }
  bool IsGone(const File& file) const override;
  Result<bool> InUse(std::string_view name) const override;
  Status Remove(std::string_view name) override;
  Status Rename(std::string_view from, std::string_view to) override;
  Status SyncNames() override;
  Result<std::vector<std::string>> List() override;
  const std::string& path() const override { return options_.path; }

 private:
  DiskFailure TryOut();
  // Tries until `lock_wait` is over; 0 or an errno.
  int TryLock(int fd, int how) const;
  Status Lock(int fd, const std::string& name);
  Status Allocate(int fd, const Disk::OpenHow& how) const;

  Options options_;
  int fd_ = -1;
  bool direct_ = false;
  bool in_memory_ = false;
  bool writes_through_ = false;
};

}  // namespace mayfly
