// Saving one file of a session whose servers are dead: what of its bytes can be had goes under a temporary name, is
// read back, and gets the name that it deserves. One thread.
#pragma once

#include "flush/steps.h"
#include "inspect/salvage.h"

namespace mayfly::salvage_internal {

struct SavedFile {
  PfsStatus status;      // the target's failure; nothing was written then
  std::string saved_as;  // empty: not at all
  Gaps gaps;
  bool more_behind = false;
  std::string why;
  uint64_t bytes = 0;  // of data
  uint64_t size = 0;
  flush_internal::Refusals refusals;
  bool whole() const { return status.ok() && !saved_as.empty() && gaps.empty() && !more_behind; }
};

// The target is full or broken: there is no use in trying the next file.
bool EndsAll(Code code);

class FileSaver {
 public:
  explicit FileSaver(const SalvageInput* input);

  // As `path` if all is there, else as `partial`. `inode`: null if the file's home is not there.
  SavedFile Save(InodeId file, const Inode* inode, const std::string& path, const std::string& partial);
  // kOk, or why `from` has no second name now.
  PfsStatus Link(const std::string& from, const std::string& to) { return input_.target->Link(from, to); }
  SavedFile SaveSymlink(const Inode& inode, const std::string& path);

  // "member 2 (node7)", or several.
  std::string MembersOf(const std::vector<ShardId>& shards) const;
  bool Has(ShardId shard) const {
    return shard.value < input_.shards.size() && input_.shards[shard.value].tables != nullptr;
  }

 private:
  // What is known of a file before its bytes are looked at.
  struct Known {
    uint64_t size = 0;
    std::vector<ShardId> shards;   // with bytes of it, that are there
    std::vector<ShardId> missing;  // likewise, that are not
    std::optional<ShardTables::SizeBegun> begun;
    Nanos mtime = 0;
  };
  Known KnownOf(InodeId file, const Inode* inode) const;
  uint64_t LimitAt(const Known& known, const ShardTables& tables, InodeId file) const;
  void AddMissingChunks(const Inode& inode, const Known& known, Gaps* gaps) const;
  void AddNotFound(uint64_t size, Gaps* gaps);
  void WriteAll(InodeId file, const Known& known, PfsFile& out, bool note_found, SavedFile* saved);
  bool WritePiece(const StoredPiece& piece, uint64_t end, const SalvageShard& shard, PfsFile& out, SavedFile* saved);
  void ReadBack(PfsFile& out, SavedFile* saved);
  void Finish(const Inode* inode, const Known& known, PfsFile& out, const std::string& name, SavedFile* saved);

  const SalvageInput& input_;
  uint32_t temporaries_ = 0;
  std::vector<uint8_t> buffer_;
  flush_internal::ReadBackParts parts_;
  std::vector<std::pair<uint64_t, uint64_t>> found_;  // of a file of which nobody knows what there was
};

flush_internal::Attributes AttributesOf(const Inode& inode, Nanos mtime);

}  // namespace mayfly::salvage_internal
