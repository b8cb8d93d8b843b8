// Arena segments as files in a memory file system (usually /dev/shm), mapped shared. A client of the same user maps
// them by name: `<directory>/<prefix>.<n>`, n = 0, 1, 2 ... in the order of creation.
// One thread owns it, except Prefault, which any thread may call.
// Invariants  A1  a segment is backed by pages before it is given out (fallocate): no SIGBUS later.
//             A2  files are 0600 and new (O_EXCL): nobody's leftover and nobody's trap is mapped, unless it is to be
//                 adopted: then it is this user's, 0600, of one name, and of a size that we make.
//             A3  every file is unlinked by Unmap or the destructor; after a kill `mayfly clean` does it by the prefix.
//             A4  behind the data of each file come its stamps, in pages of their own. Unmap gives the data's pages
//             back
//                 (a hole), so that a client's mapping of an old segment keeps no memory but the stamps' page.
//             A5  `<prefix>.users` is locked (flock) by the owner, so that nobody adopts the segments of a live one.
// `<directory>/<prefix>.users` also holds a lock (of the open file, fcntl) for each process that attached, and the
// counts of changes.
#pragma once

#include <string>
#include <vector>

#include "os/arena_memory.h"

namespace mayfly {

class PosixArenaMemory final : public ArenaMemory {
 public:
  struct Options {
    std::string directory = "/dev/shm";
    std::string prefix;  // names the session and the shard
    size_t bytes_max = ~size_t{0};
    bool adopt = false;  // otherwise Adopt finds nothing, and a leftover is an error of Map
    // With adopt, for who must change nothing: what is there is mapped privately and not locked, new segments are
    // nobody else's, and there is no name to find them by.
    bool look_only = false;
  };
  explicit PosixArenaMemory(Options options) : options_(std::move(options)), keep_(options_.look_only) {}
  PosixArenaMemory(const PosixArenaMemory&) = delete;
  PosixArenaMemory& operator=(const PosixArenaMemory&) = delete;
  ~PosixArenaMemory() override;

  // What can be no segment (its creation or its end was cut short) is removed. Each is backed by pages again (A1).
  // kNoSpace: the node has no room for that; kBusy: A5. Logged.
  Result<std::vector<Found>> Adopt() override;
  // kNoSpace also when `bytes_max` would be passed; kExists when a file of that name is there (a live session, or the
  // remains of one: logged with what to do).
  Result<MutableBytes> Map(size_t bytes) override;
  std::span<ArenaStamp> Stamps(MutableBytes segment) override;
  std::span<ArenaStamp> Changes() override { return changes_; }
  ArenaBoard* Board() override { return board_; }
  void Unmap(MutableBytes segment) override;
  void Keep() override { keep_ = true; }
  void Prefault(MutableBytes range) override;
  std::string Name() const override { return options_.look_only ? std::string() : Path(); }
  bool IsAttached(uint64_t who) override;

  // The file of segment `n`; it exists while the segment is mapped here.
  std::string PathOf(size_t n) const;

 private:
  std::string Path() const { return options_.directory + "/" + options_.prefix; }
  struct Segment {
    size_t number;
    MutableBytes memory;
  };
  void Release(const Segment& segment);
  Status MakeUsersFile();
  Status MapChanges();
  Status AdoptUsersFile();
  Result<std::vector<size_t>> Leftovers() const;
  Result<MutableBytes> AdoptFile(const std::string& path);

  const Options options_;
  std::vector<Segment> segments_;
  int users_fd_ = -1;
  std::span<ArenaStamp> changes_;  // of the users file
  ArenaBoard* board_ = nullptr;    // likewise
  size_t created_ = 0;
  size_t used_ = 0;
  bool keep_;
};

}  // namespace mayfly
