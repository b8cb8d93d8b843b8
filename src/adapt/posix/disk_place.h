// Where a local disk has its files: a directory (disk_directory.h) or a raw device (device_place.h). What of os/disk.h
// is done by plain system calls, whatever moves the data. One thread.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "device/table.h"
#include "os/disk.h"

namespace mayfly {

// Why a place cannot be used: for the program and, in a sentence that also says what to do, for the user.
struct [[nodiscard]] DiskFailure {
  Code code = Code::kOk;
  std::string sentence;
  bool ok() const { return code == Code::kOk; }
};

class DiskPlace {
 public:
  struct Options {
    std::string path;
    bool read_only = false;         // for tools: nothing is tried out, every file is open to read
    bool direct = true;             // false: through the page cache even where O_DIRECT works
    Nanos lock_wait = 5 * kSecond;  // how long Open and InUse wait for a process that died to be gone
  };
  struct File {
    int fd = -1;
    bool writable = false;
    // Where its bytes lie in `fd`; null: it is a file of its own. What was taken stays as it is when the file grows.
    std::shared_ptr<const DeviceFile> on_device;
    uint64_t bytes = 0;  // of a file on a device, as far as it is known: what has been written, or was there at Open
  };

  virtual ~DiskPlace() = default;
  // `how` is left to the adapter.
  virtual Disk::Facts facts() const = 0;
  // As in os/disk.h. What opens unexpectedly badly is logged here.
  virtual Result<File> OpenFile(std::string_view name, Disk::OpenHow how) = 0;
  // Gives up the lock at once, whoever still refers to the open file.
  virtual void CloseFile(File file) = 0;
  virtual Result<uint64_t> BytesOf(const File& file) const = 0;
  // Before a write that ends at `bytes`: the file is so long then. Seldom a slow call.
  virtual Status MakeRoom(File* file, uint64_t bytes) = 0;
  // Somebody removed it.
  virtual bool IsGone(const File& file) const = 0;
  // Whether another process has the file open to write, and goes on having it for as long as Open would wait. It is
  // found out by taking the lock for a moment.
  virtual Result<bool> InUse(std::string_view name) const = 0;
  virtual Status Remove(std::string_view name) = 0;
  virtual Status Rename(std::string_view from, std::string_view to) = 0;
  virtual Status SyncNames() = 0;
  virtual Result<std::vector<std::string>> List() = 0;
  virtual const std::string& path() const = 0;
};

// The sentence for `error`, met when local storage in `path` was tried.
DiskFailure DirectoryFailure(const std::string& path, int error);

// Opens what is at `options.path`: tries it out, unless it is for reading only.
DiskFailure OpenDiskPlace(DiskPlace::Options options, std::unique_ptr<DiskPlace>* place);

}  // namespace mayfly
