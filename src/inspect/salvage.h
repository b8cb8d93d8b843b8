// Writes what is there of a session's files below a directory, out of the tables of the shards that were found: what
// can be had of each file, every byte checked against its checksum, and a line about each that is not whole. Shards may
// be missing: what they held is named where anything that is there speaks of it, else the directory is named in which
// it was. What has no way from the root any more goes to lost+found. One thread, over the doors: tables, bytes, PFS.
// Invariants  S1  a final name shows a whole file, of which every byte was read back; what is partial has a name of its
//                 own (NAME.partial).
//             S2  each name that the tables hold is written or has a line; each directory that may have had more has
//                 one.
//             S3  memory goes by the tables, never by the data.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "inspect/gaps.h"
#include "inspect/settle.h"
#include "os/pfs_tree.h"
#include "ring/layout.h"
#include "ring/placement.h"
#include "session/outcome.h"
#include "store/store_look.h"

namespace mayfly {

// Where the bytes of a shard's files are.
class PieceSource {
 public:
  virtual ~PieceSource() = default;
  // As PieceReader::Read, and as much at a time.
  virtual void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) = 0;
};

struct SalvageShard {
  ShardTables* tables = nullptr;  // null: it is not there
  PieceSource* bytes = nullptr;
};

enum class LossKind : uint8_t {
  kPartial,     // a file: saved as NAME.partial, with holes for what is not there
  kAbsent,      // nothing of it, or of all in it, could be saved
  kIncomplete,  // a directory: there may have been names in it that are not known
  kLost,        // it is there, in lost+found: it has no way from the root
};

// What is not as it was.
struct Loss {
  LossKind kind = LossKind::kPartial;
  InodeId inode;
  std::string path;          // below the root of the session, or lost+found/NUMBER
  std::string saved_as;      // below the target; empty: not at all
  Gaps gaps;                 // kPartial, in order
  bool more_behind = false;  // the file may have been longer
  std::string why;
};

// A name that is as it was: a file, of which every byte is there, or a symbolic link.
struct WholeName {
  InodeId inode;
  FileType type = FileType::kFile;
  std::string_view path;  // below the root and the target, or lost+found/NUMBER; valid during the call
  uint64_t size = 0;
};

struct SalvageCounts {
  uint64_t files = 0, bytes = 0;  // whole files (names of them), and bytes of data written
  uint64_t directories = 0, symlinks = 0;
  uint64_t linked = 0;  // further names, among the files and symlinks
  uint64_t partial = 0, absent = 0, incomplete = 0, lost = 0;
  uint64_t refused = 0;  // attributes that the target did not take
  bool whole() const { return partial == 0 && absent == 0 && incomplete == 0 && lost == 0; }
};

class SalvageSink {
 public:
  virtual ~SalvageSink() = default;
  virtual void OnLoss(const Loss& loss) = 0;
  virtual void OnWhole(const WholeName& name) = 0;
  virtual void OnRefusal(const std::string& sentence) = 0;  // an attribute
  virtual void OnProgress(const SalvageCounts& counts) = 0;
};

struct SalvageInput {
  const Layout* layout = nullptr;
  const Placement* placement = nullptr;  // null: not known
  InodeId root;
  std::vector<SalvageShard> shards;  // of all of the layout, by number; their tables are settled
  PfsRoot* target = nullptr;         // empty
  bool target_made = false;          // just now: it gets the root's attributes
  uint64_t number = 0;               // of this run, for temporary names
};

// Fails if the target cannot take more: full, broken; what was written stays.
Outcome<SalvageCounts> Salvage(const SalvageInput& input, SalvageSink* sink);

}  // namespace mayfly
