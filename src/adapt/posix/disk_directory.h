// The directory that a disk keeps its files in: what of os/disk.h is done by plain system calls whatever moves the
// data. One thread.
// Invariants  D1  a file that is open to write is locked (flock) through the very descriptor that the data moves
//                 through: a process that died keeps it until the last of its transfers has ended, so that none of them
//                 lands in what its successor has begun to write. Open waits a bounded time for that.
//             D2  whether O_DIRECT works was found out by a write and a read, not by what the file system says.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "os/disk.h"

namespace mayfly {

// Why a directory cannot be used: for the program and, in a sentence that also says what to do, for the user.
struct [[nodiscard]] DiskFailure {
  Code code = Code::kOk;
  std::string sentence;
  bool ok() const { return code == Code::kOk; }
};

class DiskDirectory {
 public:
  struct Options {
    std::string path;
    bool read_only = false;         // for tools: nothing is tried out, every file is open to read
    bool direct = true;             // false: through the page cache even where O_DIRECT works
    Nanos lock_wait = 5 * kSecond;  // D1
  };
  struct File {
    int fd = -1;
    bool writable = false;
  };

  DiskDirectory() = default;
  DiskDirectory(DiskDirectory&& other) noexcept;
  DiskDirectory& operator=(DiskDirectory&&) = delete;
  ~DiskDirectory();

  // Once, before all else. Tries a write there.
  DiskFailure Open(Options options);

  // `how` is left to the adapter.
  Disk::Facts facts() const;

  // As in os/disk.h. What opens unexpectedly badly is logged here.
  Result<File> OpenFile(std::string_view name, Disk::OpenHow how);
  // Gives up the lock at once, whoever still refers to the open file.
  void CloseFile(File file);
  // Whether another process has the file open to write, and goes on having it for as long as Open would wait (D1). It
  // is found out by taking the lock for a moment.
  Result<bool> InUse(std::string_view name) const;
  Status Remove(std::string_view name);
  Status Rename(std::string_view from, std::string_view to);
  Status SyncNames();
  Result<std::vector<std::string>> List();

  const std::string& path() const { return options_.path; }

 private:
  DiskFailure TryOut();
  // Tries until `lock_wait` is over; 0 or an errno.
  int TryLock(int fd, int how) const;
  Status Lock(int fd, const std::string& name);
  Status Allocate(int fd, uint64_t bytes);

  Options options_;
  int fd_ = -1;
  bool direct_ = false;
  bool in_memory_ = false;
};

// The sentence for `error`, met when local storage in `path` was tried.
DiskFailure DirectoryFailure(const std::string& path, int error);

}  // namespace mayfly
