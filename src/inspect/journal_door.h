// A dead server's journal, open to be written as by the server: for a new checkpoint, and nothing else
// (journal_rewrite.h over the real doors). One thread.
// Invariants  J1  it has the new checkpoint or is as it was, but that at level `node` the disk has what before lay in
//                 the node's memory alone: the superblock that names the checkpoint is the last word. The one before,
//                 and the records that it was made of, stay in their places until a server writes there.
//             J2  it ends as it was found: closed in order, or with its last part in the node's memory, so that what
//                 killed servers left there is still of use.
#pragma once

#include <memory>
#include <string>

#include "adapt/local_disk.h"
#include "inspect/disk_loop.h"
#include "inspect/journal_rewrite.h"
#include "inspect/storage.h"
#include "os/kept_memory.h"

namespace mayfly {

class JournalDoor {
 public:
  // `shard` outlives it. `survives_power`: the session is of level `node`.
  JournalDoor(const StoredShard& shard, const PlacesOptions& user, bool survives_power);
  JournalDoor(const JournalDoor&) = delete;
  JournalDoor& operator=(const JournalDoor&) = delete;
  ~JournalDoor();

  // kBusy if a server had it open since the shard was read; kAccess and others with a sentence. Locked from now on.
  // What level `node` has in memory alone is on the disk afterwards, as far as `tables` (the shard's, or what a repair
  // makes of them) show it.
  Outcome<Done> Open(const ShardTables& tables);
  // Once. Fields of all that there is, whole ones (J1).
  Outcome<Done> Write(Bytes fields, Bytes more_fields);

 private:
  const StoredShard& shard_;
  const bool survives_power_;
  DiskLoop loop_;
  std::unique_ptr<LocalDisk> disk_;  // null: it cannot be written, and why
  std::string refusal_;
  std::unique_ptr<KeptMemory> kept_;
  std::unique_ptr<JournalRewrite> rewrite_;  // null as disk_
};

}  // namespace mayfly
