// Reads a checkpoint's fields, several frames ahead.
#pragma once

#include <memory>

#include "journal/recover.h"

namespace mayfly {

class CheckpointReader {
 public:
  CheckpointReader(Executor& executor, Disk& disk, const JournalUuid& uuid, const CheckpointRef& ref)
      : executor_(executor), disk_(disk), uuid_(uuid), ref_(ref) {}

  // Gives each frame that holds to OnCheckpoint, each that does not to OnCheckpointDamage.
  Task<Status> Run(JournalVisitor* visitor);
  uint64_t damage_bytes() const { return damage_bytes_; }

 private:
  struct Slot;
  uint64_t BytesOfFrame(uint64_t offset) const;
  Task<Status> ReadAll(DiskFileId file, JournalVisitor* visitor);
  void Damaged(uint64_t from, uint64_t to, JournalVisitor* visitor);

  Executor& executor_;
  Disk& disk_;
  const JournalUuid uuid_;
  const CheckpointRef ref_;
  uint64_t damage_bytes_ = 0;
};

}  // namespace mayfly
