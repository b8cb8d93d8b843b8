// Writes one checkpoint: the whole state as tagged fields, in frames, into that of two files which the last good one is
// not in. It is fuzzy: the state may change while it is written, as the journal is replayed from start() on.
// Invariants  P1  nothing of it counts until Finish has written the superblock that names it. A crash before, a
// failure,
//                 or dropping the writer leave the last checkpoint and the journal's tail as they were.
//             P2  Finish names it only after all that was appended while it was written is flushed: the images that it
//                 took of later changes are never without the records that complete them.
#pragma once

#include "journal/journal.h"

namespace mayfly {

class CheckpointWriter {
 public:
  // After Finish, or after Idle where it is given up.
  ~CheckpointWriter();

  // Recovery replays from here on.
  Lsn start() const { return ref_.start; }

  // Adds whole fields (base/tlv.h) of at most FrameHeader::kFieldsMax each, headers included. `fields` must stay until
  // it returns. The caller bounds the rate: a Put that filled a frame waits for the one before it. An error is final.
  Task<Status> Put(Bytes fields);
  // The rest, flushes, the superblock. After kOk the ring's tail is at start().
  Task<Status> Finish();
  // Waits for what is under way.
  Task<Status> Idle();

  // Of the file, so far.
  uint64_t bytes() const { return ref_.bytes; }

 private:
  friend class Journal;
  CheckpointWriter(Journal& journal, const CheckpointRef& ref);

  // Moves from *fields as many whole ones as the open frame takes; false if none.
  bool Fill(Bytes* fields);
  // The outcome so far; a failure is said and counted.
  void Note(Status status);
  Task<Status> WriteFrame();
  Task<Status> FinishAlone();

  Journal& journal_;
  const DiskFileId file_;
  CheckpointRef ref_;
  Status status_;
  BlockBuffer frames_[2];
  uint64_t frame_count_ = 0;
  uint32_t open_ = 0;       // of frames_
  size_t field_bytes_ = 0;  // in it
  DiskRequest request_;     // of the other one
};

}  // namespace mayfly
