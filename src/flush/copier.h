// Copier: one shard's part in copying single inodes. Copy is the home's: it decides whether there is anything to do,
// has the data written by all shards that hold some, and puts the result in place. WriteChunks is every shard's.
// Invariants  C1  one name of an inode is copied at a time; so the second of two hard links finds the first in place.
//             C2  a file is put in place only if its version is the same before the first byte was read and after all
//                 were read back.
//             C3  pins are dropped on the shard's thread, after the work that reads their bytes.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <memory>
#include <string>
#include <vector>

#include "flush/flusher.h"
#include "flush/job.h"
#include "flush/steps.h"

namespace mayfly::flush_internal {

class Copier {
 public:
  explicit Copier(FlushContext* context)
      : context_(*context), files_(context->executor, Flusher::kFilesMax), temporaries_(context->first_temporary) {}

  // Makes `path` below the target what the inode is (of this home; a directory's attributes, if it is one) and adds to
  // the work's outcome what came of it. With `sync_directory` the new name is on stable storage afterwards. Always kOk.
  Task<Status> Copy(InodeId id, std::string path, bool sync_directory, std::shared_ptr<FlushWork> work);

  // This shard's data of a file into the temporary file at `path`.
  Task<Status> WriteChunks(InodeId id, std::string path, std::shared_ptr<FlushWork> work);

  // Forgets what it knows of inodes that are gone.
  void ForgetGone();

  uint64_t bytes_written() const { return bytes_written_; }

 private:
  enum class End : uint8_t { kCopied, kSkipped, kFailed, kGone, kStopped, kChanged };

  // An inode at one moment.
  struct Look {
    Attr attr;
    uint64_t changes = 0;  // of the data here
    bool truncating = false;
    std::vector<ShardId> shards;  // others with data
    std::string target;
    Attributes attributes;
    bool Same(const Look& other) const {
      return attr.version == other.attr.version && changes == other.changes && attr.size == other.attr.size &&
             attr.mtime == other.attr.mtime && !truncating && !other.truncating;
    }
  };
  // What this shard saw on the PFS when it last copied the inode.
  struct Known {
    uint64_t target_hash = 0, path_hash = 0;
    uint64_t version = 0, changes = 0;
    uint64_t size = 0;
    Nanos mtime = 0;
    std::string path;  // only of inodes with further names
  };
  // A copy under way, on the frame of Copy.
  struct Copying {
    std::shared_ptr<FlushWork> work;
    InodeId id;
    std::string path;
    bool sync_directory = false;
    Look look;
    uint64_t progress = 0;  // bytes counted for it
    FlushJob& job() const { return *work->job; }
  };
  // Data of a file on its way, with what keeps it in place.
  struct Slice {
    ReadPieces pieces;
    std::vector<Stretch> stretches;
    uint64_t bytes = 0;
  };
  struct Writing;
  struct Written {
    PfsStatus status;
    bool stopped = false;
    uint64_t bytes = 0;
  };

  Task<Status> LookAt(InodeId id, Look* out);
  // Removes what a killed server of this shard left beside the path.
  Task<void> TidyUp(const Copying* c);
  Task<End> CopyOnce(Copying* c);
  Task<End> Reuse(Copying* c, bool* settled);
  Task<End> CopyDirectory(Copying* c);
  Task<End> CopySymlink(Copying* c);
  Task<End> CopySmall(Copying* c, std::unique_ptr<Slice> slice);
  Task<End> CopyLarge(Copying* c);
  Task<End> GatherParts(Copying* c, const std::string& temporary, std::shared_ptr<PfsFile> file, uint64_t* bytes);
  Task<End> Place(Copying* c, std::string temporary, Finished finished, uint64_t bytes);
  Task<Status> WriteHere(InodeId id, std::shared_ptr<PfsFile> file, FlushWork* work, Written* written);
  Task<Status> WriteSlice(Writing* w, std::unique_ptr<Slice> slice);
  Task<Status> CheckSlice(Writing* w, std::shared_ptr<ReadBackParts> parts);
  // Appends data from `from` on; the offset to go on from. kCorrupt.
  Task<Result<uint64_t>> Gather(InodeId id, uint64_t from, Slice* slice);

  End Fail(Copying* c, Code code, std::string why);
  void NoteRefusals(Copying* c, const Refusals& refusals);
  void Remember(Copying* c, const PfsAttr& attr);
  std::string NewTemporary(const Copying& c);
  Task<void> Discard(FlushJob* job, std::string temporary, std::shared_ptr<PfsFile> file);

  FlushContext& context_;
  Semaphore files_;
  absl::flat_hash_map<InodeId, std::unique_ptr<WaitQueue>> locks_;  // C1
  absl::flat_hash_map<InodeId, Known> known_;
  uint32_t temporaries_;
  uint64_t bytes_written_ = 0;
};

}  // namespace mayfly::flush_internal
