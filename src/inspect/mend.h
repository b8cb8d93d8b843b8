// Mends what fsck found, in images: what each shard's journal has to say so that the tables fit together. Names and
// bytes are let go only where nothing leads to them or nothing is behind them; what has something in it and no name
// gets one in /lost+found. Works on the tables that the findings are of and changes nothing; what its images make of
// them is looked at anew by who asks (repair.h). One thread.
// Invariants  M1  no image gives out a number or a place that something has.
//             M2  bytes of files are never moved or written: images alone say that a range is nobody's any more.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "inspect/fsck.h"

namespace mayfly {

// "the name is removed": for people.
std::string_view TextOf(MendKind kind);

class Mender {
 public:
  // All shards of `input` are there. `images`: by shard, what is appended to. `now`: the time of changes.
  Mender(const FsckInput* input, Nanos now, std::vector<TlvWriter>* images);

  void Add(const Finding& finding);
  // The images of all that was added. False: there were none.
  bool Finish();

 private:
  struct Change {
    std::optional<uint32_t> links;
    std::optional<InodeId> parent;
  };
  Namespace& names(ShardId shard) const { return input_.shards[shard.value].tables->names(); }
  const ChunkStore& store(ShardId shard) const { return input_.shards[shard.value].tables->store(); }
  const Inode* Find(InodeId id) const { return names(id.home()).FindInode(id); }
  TlvWriter* Out(ShardId shard) {
    mended_ = true;
    return &images_[shard.value];
  }
  uint32_t shard_count() const { return static_cast<uint32_t>(input_.shards.size()); }

  void PutEntry(ShardId shard, InodeId dir, std::string_view name, InodeId inode, FileType type, uint64_t sequence);
  void PutPart(ShardId shard, const DirRights& rights);
  void Join(InodeId inode, ShardId shard);
  void SetType(const Finding& finding);
  void RemoveNames();
  void ReviveAll();
  void Revive(InodeId dir, InodeId parent);
  void AdoptAll();
  bool RemoveIfEmpty(InodeId id);
  bool FindLostAndFound();
  void Adopt(InodeId id);
  uint64_t NextSequence(ShardId shard, InodeId dir);
  void PutChanges();

  const FsckInput& input_;
  const Nanos now_;
  std::vector<TlvWriter>& images_;
  bool mended_ = false;
  std::set<InodeId> unnamed_, adopted_;
  std::map<InodeId, std::optional<InodeId>> revived_;  // directories, and their parents if those are known
  std::map<InodeId, Change> changes_;
  std::set<std::pair<InodeId, ShardId>> joined_;
  std::map<std::pair<ShardId, InodeId>, uint64_t> next_sequences_;  // of parts
  DirRights lost_and_found_;                                        // its number is void as long as it is not known
};

}  // namespace mayfly
