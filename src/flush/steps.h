// The blocking steps of a copy, run by helper threads: they touch nothing but what they are given.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "os/pfs_tree.h"
#include "store/chunk_store.h"

namespace mayfly::flush_internal {

// Some bytes of a file in memory, pinned by whoever made it. The sums cover all of it, or there are none.
struct Stretch {
  uint64_t offset = 0;
  Bytes data;
  SumParts sums;
};
// What must be read back.
struct ReadBackPart {
  uint64_t offset = 0;
  uint32_t bytes = 0;
  uint64_t sum = 0;
};
using ReadBackParts = std::vector<ReadBackPart>;

// Why bytes of a file, from `from` on, cannot be had: kCorrupt, in memory or as the chunk file gave them, or the code
// of a read that failed.
std::string WhyLost(Code code, uint64_t from);
// Checks each stretch in memory (kCorrupt), writes it, and says what must be read back.
PfsStatus WriteStretches(PfsFile& file, const std::vector<Stretch>& stretches, ReadBackParts* parts);
// kIo if the storage gives other bytes than were written.
PfsStatus ReadBack(PfsFile& file, const ReadBackParts& parts);

struct Attributes {
  uint16_t permissions = 0;
  uint32_t uid = 0, gid = 0;
  Nanos atime = 0, mtime = 0;
  std::vector<std::pair<std::string, std::string>> xattrs;
};
// What the PFS did not want.
struct Refusals {
  uint64_t count = 0;
  std::vector<std::string> sentences;
  void Add(PfsStatus status);
};
// Owner, xattrs, mode, times, in the order in which none undoes another. What the PFS refuses is noted; other failures
// end it. Set-id bits are only for the owner they were meant for.
PfsStatus ApplyAttributes(PfsFile& file, const Attributes& attributes, Refusals* refusals);

// The end of a file under its temporary name: exact size, attributes, stable storage.
struct Finished {
  PfsStatus status;
  PfsAttr attr;  // as the PFS shows it
  Refusals refusals;
};
Finished FinishFile(PfsFile& file, uint64_t size, const Attributes& attributes, const std::string& name);

// All of a small file, whose data is all here: made, written, finished and read back. Removed again if that failed.
Finished WriteSmallFile(PfsRoot& root, const std::string& temporary, const std::string& name,
                        const std::vector<Stretch>& stretches, uint64_t size, const Attributes& attributes);
// A symlink at `temporary` that is to become `path`.
Finished MakeSymlink(PfsRoot& root, const std::string& temporary, const std::string& path, const std::string& target,
                     const Attributes& attributes);
Finished FinishDirectory(PfsRoot& root, const std::string& path, const Attributes& attributes);

// The last step: `temporary` becomes `path`, or is removed. With `sync` the directory is on stable storage afterwards.
PfsStatus PutInPlace(PfsRoot& root, const std::string& temporary, const std::string& path, bool sync);
PfsStatus SyncDirectory(PfsRoot& root, const std::string& path);

// A further name of a file that is at `from` with this size and mtime.
enum class Linked : uint8_t { kMade, kThere, kNot };
struct LinkOutcome {
  Linked linked = Linked::kNot;
  bool refused = false;  // the file system makes no (more) hard links
  PfsStatus status;      // another failure
};
LinkOutcome LinkName(PfsRoot& root, const std::string& from, uint64_t size, Nanos mtime, const std::string& temporary,
                     const std::string& path);

// Removes temporaries in a directory: of the jobs listed, and anybody's if nothing happened to them since `before`.
void RemoveTemporaries(PfsRoot& root, const std::string& directory, const std::vector<uint64_t>& jobs, Nanos before);
// Those of one job, of inodes that live on one shard.
void RemoveTemporariesOf(PfsRoot& root, const std::string& directory, uint64_t job, ShardId home);

}  // namespace mayfly::flush_internal
