// A dead server's journal, open to be written as by the server: for a new checkpoint, and nothing else. One thread.
// Invariants  J1  it has the new checkpoint or is as it was: the superblock that names it is the last word. The one
//                 before, and the records that it was made of, stay in their places until a server writes there.
//             J2  it ends as it was found: closed in order, or with its last part in the node's memory, so that what
//                 killed servers left there is still of use.
#pragma once

#include <memory>
#include <string>

#include "adapt/local_disk.h"
#include "inspect/disk_loop.h"
#include "inspect/storage.h"
#include "journal/journal.h"
#include "os/kept_memory.h"

namespace mayfly {

class JournalDoor {
 public:
  // `shard` outlives it.
  JournalDoor(const StoredShard& shard, const PlacesOptions& user);
  JournalDoor(const JournalDoor&) = delete;
  JournalDoor& operator=(const JournalDoor&) = delete;
  ~JournalDoor();

  // kBusy if a server had it open since the shard was read; kAccess and others with a sentence. Locked from now on.
  // `survives_power`: as JournalOptions.
  Outcome<Done> Open(bool survives_power);
  // Once. Fields of all that there is, whole ones (J1).
  Outcome<Done> Write(Bytes fields, Bytes more_fields);

 private:
  static Task<Status> Checkpoint(Journal* journal, Bytes fields, Bytes more_fields);
  Status End();

  const StoredShard& shard_;
  DiskLoop loop_;
  std::unique_ptr<LocalDisk> disk_;  // null: it cannot be written, and why
  std::string refusal_;
  std::unique_ptr<KeptMemory> kept_;
  std::unique_ptr<Journal> journal_;
  bool clean_ = false;  // it leaves nothing in memory
};

}  // namespace mayfly
