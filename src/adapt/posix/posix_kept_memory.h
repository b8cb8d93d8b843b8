// Kept memory as files of a memory file system (usually /dev/shm), mapped shared: `<directory>/<prefix>.<name>`, 0600.
// They stay when this object or its process ends; Remove, or who cleans up by the prefix, unlinks them. One thread.
// Invariants  M1  a file of such a name is whole and backed by pages: it is made under another (`<prefix>.<name>~`).
//             M2  it is locked (flock) while it is mapped here, so that two servers never share a region.
//             M3  who is only to look changes and locks nothing: a server that comes back meanwhile does not notice.
#pragma once

#include <map>
#include <string>

#include "os/kept_memory.h"

namespace mayfly {

class PosixKeptMemory final : public KeptMemory {
 public:
  struct Options {
    std::string directory = "/dev/shm";
    std::string prefix;      // names the session and the shard
    bool look_only = false;  // for tools: Find gives a copy (made as it is read), Create and Remove kReadOnly
  };
  explicit PosixKeptMemory(Options options) : options_(std::move(options)) {}
  PosixKeptMemory(const PosixKeptMemory&) = delete;
  PosixKeptMemory& operator=(const PosixKeptMemory&) = delete;
  // Regions are unmapped and stay.
  ~PosixKeptMemory() override;

  // Errors but kNoEntry and kExists are logged.
  Result<MutableBytes> Create(std::string_view name, size_t bytes) override;
  Result<MutableBytes> Find(std::string_view name) override;
  Status Remove(std::string_view name) override;

  std::string PathOf(std::string_view name) const;

 private:
  struct Region {
    int fd = -1;
    MutableBytes memory;
  };
  Result<MutableBytes> Map(std::string_view name, int fd, size_t bytes);
  void Unmap(const Region& region);

  const Options options_;
  std::map<std::string, Region, std::less<>> regions_;  // mapped here
};

}  // namespace mayfly
