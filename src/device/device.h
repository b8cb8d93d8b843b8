// A raw block device (or a regular file that stands for one) that a user gives as --dir: the files on it by name, and
// who may have it. One-shot calls that block, for start, end and tools; how data moves is the disk door's
// (adapt/posix/device_place.h). One thread an object; objects of any number of threads and processes share a device.
// Invariants  N1  the table changes under a lock of its first byte and is durable before Change returns; of its two
//                 places the older is written, so that a loss of power leaves one of the two.
//             N2  a file that is open to write is locked (its first byte, by the open file that its data moves
//                 through). Locks are those of open files (F_OFD_SETLK): they end with the last transfer of a process
//                 that died.
//             N3  nothing is written to a device that carries anything else, or that somebody has mounted.
//             N4  what is removed cannot be read any more where the device can discard; where it cannot, the beginning
//                 of each file is zeros, and all of a small one. When the last is forgotten the tables are zeros too.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "device/table.h"

namespace mayfly {

// "/dev/nvme0n1p3/mayfly-UUID/member-0": the device, and a name on it or the beginning of names; it may be empty.
struct DevicePath {
  std::string device, name;
};
// None: the path's parts are directories, as far as they are there.
std::optional<DevicePath> SplitDevicePath(const std::string& path);

// For the program, and for the user: after "cannot keep data in DEV: ", with the remedy.
struct [[nodiscard]] DeviceFailure {
  Code code = Code::kOk;
  std::string sentence;
  bool ok() const { return code == Code::kOk; }
};

// What else is on the device, as its magic numbers say: "an ext4 file system"; empty if nothing that is known.
std::string ForeignSignature(int fd, uint64_t device_bytes);

class Device {
 public:
  Device() = default;
  Device(Device&& other) noexcept : path_(std::move(other.path_)), fd_(std::exchange(other.fd_, -1)) {
    claim_ = std::exchange(other.claim_, -1);
    regular_ = other.regular_;
    read_only_ = other.read_only_;
    bytes_ = other.bytes_;
  }
  Device& operator=(Device&&) = delete;
  ~Device();

  DeviceFailure Open(const std::string& path, bool read_only);
  // Makes it ours, if it is not: N3. While this object lives nobody can mount it, or make a file system on it.
  DeviceFailure Claim();
  // kNoEntry: it is not ours. kCorrupt, kNotSupported: of a later version. Without a lock: N1.
  Result<DeviceTable> Load() const;
  // Changes the table under its lock. A status of `change` is handed on, and nothing is written then. kBusy: the lock
  // was not to be had for some seconds.
  Status Change(const std::function<Status(DeviceTable*)>& change);

  // A new file, its first MiB zeros. kExists, kNoSpace.
  Status Create(std::string_view name, uint64_t bytes);
  // Replaces the file of that name, if there is one, and is durable.
  Status WriteFile(std::string_view name, Bytes content);
  Result<std::vector<uint8_t>> ReadFile(std::string_view name, uint64_t bytes_max) const;
  // N4. The file of that name, and all below it; how many. `forget`: with the last file goes the table.
  Result<uint64_t> Remove(std::string_view name, bool forget);

  // An open file of its own for the data of one file.
  Result<int> OpenData(int flags) const;
  // N2. `wait`: so long it is tried. An errno, 0.
  static int LockFile(int fd, const DeviceFile& file, Nanos wait);
  static void UnlockFile(int fd, const DeviceFile& file);
  Result<bool> InUse(const DeviceFile& file, Nanos wait) const;

  const std::string& path() const { return path_; }
  uint64_t bytes() const { return bytes_; }
  bool is_regular() const { return regular_; }

 private:
  DeviceFailure LooksForeign() const;
  DeviceFailure ClaimLocked();
  Result<DeviceTable> LoadPlaces(bool* any_damaged) const;
  Status Store(const DeviceTable& table);
  void ZeroHead(const DeviceFile& file);
  void Discard(const DeviceFile& file);

  std::string path_;
  int fd_ = -1;
  int claim_ = -1;  // opened O_EXCL
  bool regular_ = false, read_only_ = false;
  uint64_t bytes_ = 0;
};

}  // namespace mayfly
