// The walk over the records of a stream, from the superblock's tail to the stream's end: recover.h's second half.
#pragma once

#include "journal/recover.h"
#include "journal/stream_source.h"

namespace mayfly {

class RecordWalk {
 public:
  // All outlive the walk. Fills in recovered->end, damage and counts.
  RecordWalk(StreamSource* source, const JournalIdentity& identity, JournalVisitor* visitor, Recovered* recovered);

  Task<Status> Run();

 private:
  // The record at `at`, if a valid one is there; its payload is a view into the source.
  Task<bool> Look(uint64_t at);
  // The first valid record in [from, to); 0 if there is none.
  Task<uint64_t> Find(uint64_t from, uint64_t to);
  // No valid record is at `at`: 0 if the stream ends there, else where it goes on.
  Task<uint64_t> Behind(uint64_t at);
  // Up to where the valid records in [from, to) show that all had been whole, once it is `from`.
  Task<uint64_t> KnownFrom(uint64_t from, uint64_t to);
  bool HeaderFits(uint64_t at, const RecordHeader& header) const;
  Status Deliver();
  // Where the stream goes on if the incarnation of `at` ends there.
  uint64_t OverJoint(uint64_t at) const;

  StreamSource& source_;
  const JournalUuid& uuid_;
  const uint32_t session_;
  JournalVisitor& visitor_;
  Recovered& recovered_;
  const Superblock& superblock_;
  uint64_t window_low_;  // kNone if there is no window
  uint64_t proven_ = 0;  // all before it was whole once
  RecordHeader header_;  // of the record that Look found
  uint64_t reach_ = 0;   // where that ended, if it did not hold: behind its header, unless that tells
  bool begun_ = false;   // it had a header that fits
  Bytes payload_;
  static constexpr uint64_t kNone = ~uint64_t{0};
};

}  // namespace mayfly
