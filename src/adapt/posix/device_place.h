// The files of one shard on a raw device: those whose names begin with the place's (device/device.h), each in runs of
// blocks. A file that is made without bytes grows as it is written, by doubling. One thread.
// Invariants  D1 and D2 of disk_directory.h hold here too; the lock is device.h's N2.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "adapt/posix/disk_place.h"
#include "device/device.h"

namespace mayfly {

class DevicePlace final : public DiskPlace {
 public:
  // `where`: what SplitDevicePath made of options.path. Claims the device, unless it is for reading only.
  DiskFailure Open(Options options, DevicePath where);

  Disk::Facts facts() const override;
  Result<File> OpenFile(std::string_view name, Disk::OpenHow how) override;
  void CloseFile(File file) override;
  Result<uint64_t> BytesOf(const File& file) const override { return file.bytes; }
  Status MakeRoom(File* file, uint64_t bytes) override;
  // Only tools of ours take names away, and they look whether a server has them.
  bool IsGone(const File&) const override { return false; }
  Result<bool> InUse(std::string_view name) const override;
  Status Remove(std::string_view name) override;
  Status Rename(std::string_view from, std::string_view to) override;
  Status SyncNames() override { return {}; }  // N1: they are durable
  Result<std::vector<std::string>> List() override;
  const std::string& path() const override { return options_.path; }

 private:
  std::string NameOf(std::string_view name) const { return prefix_ + std::string(name); }
  Status Lock(int fd, const DeviceFile& file) const;

  Options options_;
  std::string prefix_;  // with a slash at its end
  Device device_;
  bool direct_ = false, in_memory_ = false;
};

}  // namespace mayfly
