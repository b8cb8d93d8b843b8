// The records of one bundle in an outbox (outbox.h), for whoever does them: the shard, and a tool that brings to an end
// what a dead one was told of. Nothing in them is to be trusted.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "wire/outbox.h"

namespace mayfly {

using OutboxRecord = std::variant<BirthRecord, ContentRecord, RemovalRecord>;

class OutboxBundle {
 public:
  // A copy of `bytes` is taken first: the process may go on writing there.
  explicit OutboxBundle(Bytes bytes);
  OutboxBundle(const OutboxBundle&) = delete;  // the records' names lie in its text
  OutboxBundle& operator=(const OutboxBundle&) = delete;

  const std::vector<OutboxRecord>& records() const { return records_; }
  bool whole() const { return whole_; }  // else there is something behind them that is none

 private:
  bool ReadOne(Decoder& d);
  template <class Record>
  bool Read(Decoder& d);

  const std::string text_;
  std::vector<OutboxRecord> records_;
  bool whole_ = true;
};

// Whether a record failed as one does that was done already: its place is used up, its name gone.
bool WasDone(const OutboxRecord& record, Code failure);

}  // namespace mayfly
