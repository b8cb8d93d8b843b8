// One pass over a shard's journal: what recovery would read, checksums and fields, by recovery's own reader, so that
// the two cannot differ; what it found, and whether it is whole, torn or damaged. Over the doors alone: disk, kept
// memory, clock. Nothing is written or locked. Invariants  L1  it costs what is live (recover.h, V3), and memory by
// tags and by faults only, however long the journal.
//             L2  a torn tail (a normal crash) is never called damage, nor the other way round (recover.h, V2).
#pragma once

#include <array>
#include <map>
#include <string>
#include <vector>

#include "base/tlv.h"
#include "journal/recover.h"

namespace mayfly {

// A field that recovery would refuse.
struct FieldFault {
  bool in_checkpoint = false;
  Lsn at;                      // of its record
  Tag tag = 0;                 // 0: the fields of the record or frame do not follow each other
  Code code = Code::kCorrupt;  // or kNotSupported: of a newer Mayfly
};

enum class Verdict : uint8_t {
  kWhole,       // closed in order, or nothing had been begun behind its end
  kTornTail,    // a normal crash: what stood behind the end was never acknowledged, or lay in memory that is gone
  kDamaged,     // something that was whole once is not any more
  kUnreadable,  // recovery would refuse it
};

// Where the stream's last part is, which a killed server leaves in kept memory.
enum class TailMemory : uint8_t {
  kNotNeeded,  // closed in order
  kRead,
  kGone,       // with the node's memory
  kForeign,    // damaged, or another journal's
  kElsewhere,  // on another host, or not looked for
};

struct TagCount {
  uint64_t fields = 0, bytes = 0;  // values and their headers
};

struct JournalLook {
  static constexpr size_t kFaultsMax = 64;  // that are remembered

  JournalIdentity identity;
  // The superblocks, each for itself; its content is of use if it is good.
  std::array<SuperblockState, kSuperblocks> states{};
  std::array<Superblock, kSuperblocks> blocks;
  uint64_t file_bytes = 0;

  bool read = false;  // else `failure` says why not, and what follows is incomplete
  JournalFailure failure;
  Recovered recovered;  // but for its region, which is gone with the door
  TailMemory tail = TailMemory::kNotNeeded;
  std::vector<std::pair<uint64_t, uint64_t>> checkpoint_damage;  // bytes of its file
  std::map<Tag, TagCount> in_checkpoint, in_records;
  uint64_t pad_bytes = 0;
  std::vector<FieldFault> faults;
  uint64_t fault_count = 0;

  Verdict verdict() const;
  uint64_t live_bytes() const { return recovered.end.value - recovered.superblock.tail.value; }
  // Where the next start goes on: behind the end, at a fresh block.
  Lsn next() const { return Lsn(recovered.clean ? recovered.superblock.next.value : BlockCeil(recovered.end.value)); }
  // There is nothing in it: no checkpoint, no record, no damage.
  bool empty() const;
};

// Who wants to see more than the sum of it, as it is read.
class LookVisitor : public JournalVisitor {
 public:
  // First of all, also if then nothing else can be read.
  virtual void OnSuperblocks(const JournalLook& look) = 0;
};

// `from` as for Recover; a uuid of zeros in its identity: of whatever session the superblocks are. `visitor` may be
// null; its errors are not looked at: nothing ends a look but the journal.
Task<JournalLook> LookAtJournal(Executor* executor, RecoverFrom from, LookVisitor* visitor);

// For people. "the journal is good" if it was read.
std::string_view SentenceOf(const JournalFailure& failure);

}  // namespace mayfly
