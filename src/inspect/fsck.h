// Checks the tables of a session's shards against each other: that names have inodes and inodes their names, that each
// is where the ring puts it, that no two extents share blocks, that no bytes are kept for files that are gone; and, if
// asked for, every byte against its checksum. Nothing is written: what a recovery would make of the journals is what is
// checked. One thread, over tables and bytes alone.
// Invariants  K1  what a normal crash leaves is no finding: transactions and intents that are under way, dead inodes
//                 that are not buried yet, open files without a name.
//             K2  what cannot be told without a shard that is missing is not called wrong.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "inspect/salvage.h"

namespace mayfly {

enum class FindingKind : uint8_t {
  kName,    // an entry that leads nowhere, or stands where nobody looks for it
  kLinks,   // a link count that is not the number of names
  kInode,   // nothing leads to it
  kData,    // bytes of a file where nobody looks for them
  kLeaked,  // bytes of a file that is gone
  kBlocks,  // of the chunk file, that two extents have, or that lie outside
  kBytes,   // they do not match their checksums, or cannot be read
};

// By what a repair mends it (mend.h).
enum class MendKind : uint8_t {
  kNone,         // not at all
  kRemoveName,   // `name` in `dir`
  kRemoveNames,  // all of the inode
  kSetType,      // of `name` in `dir`, as its inode's
  kDropPart,     // of the directory at this shard, with its names
  kRevive,       // the directory gets an inode again, in `dir` if that is known
  kJoin,         // the home learns that the shard has a part
  kSetRights,    // the part gets those of the home
  kSetParent,    // of a directory: `dir`
  kSetLinks,     // to `links`
  kAdopt,        // a name in lost+found; nothing is kept of what is empty
  kForgetOpen,   // by `process`
  kDropBytes,    // all that the shard has of the file
  kCutBytes,     // `ranges` of the file at this shard
};

struct Mend {
  MendKind kind = MendKind::kNone;
  InodeId dir;
  std::string name;
  FileType type = FileType::kNone;
  uint32_t links = 0;
  ClientId process;
  std::vector<std::pair<uint64_t, uint64_t>> ranges;
};

struct Finding {
  FindingKind kind = FindingKind::kName;
  ShardId shard;  // where it was found
  InodeId inode;
  std::string text;
  Mend mend;
};

struct FsckCounts {
  uint64_t directories = 0, files = 0, symlinks = 0, names = 0;
  uint64_t extents = 0, bytes_checked = 0;
  uint64_t leaked_bytes = 0;   // in the chunk files and arenas, for files that are gone
  uint64_t nameless_open = 0;  // removed while programs had them open, which a recovery lets go on
  uint64_t to_bury = 0;        // removed, and not taken apart yet: a recovery does
  uint64_t findings[7] = {};   // by kind
  uint64_t all_findings() const;
};

class FsckSink {
 public:
  virtual ~FsckSink() = default;
  virtual void OnFinding(const Finding& finding) = 0;
  virtual void OnProgress(const FsckCounts& counts) = 0;
};

struct FsckInput {
  const Layout* layout = nullptr;
  const Placement* placement = nullptr;
  std::vector<SalvageShard> shards;         // of all of the layout, by number; their tables are settled
  std::vector<uint64_t> chunk_file_blocks;  // likewise; 0: there is none, or it is not known
  bool in_doubt = false;                    // some transactions had no end that is known: link counts may be one off
  bool with_data = false;                   // read all bytes
};

FsckCounts Fsck(const FsckInput& input, FsckSink* sink);

std::string_view Text(FindingKind kind);
std::string LineOf(const Finding& finding);

}  // namespace mayfly
