// Everything that a journal holds, in order, as JSON values: superblocks, the checkpoint's fields, records and padding,
// damage where it lies among them. Each value is given as it is read, and gone after the call: however long the
// journal, a dump takes no more memory. One thread.
#pragma once

#include <nlohmann/json.hpp>

#include "inspect/look.h"

namespace mayfly {

class DumpSink {
 public:
  using Json = nlohmann::ordered_json;
  virtual ~DumpSink() = default;
  virtual void OnSuperblocks(const Json& both) = 0;
  // A field, or {"damage": ...}.
  virtual void OnCheckpointItem(const Json& item) = 0;
  // A record; its "type" may be "damage", too: of the bytes from "lsn" on nothing holds.
  virtual void OnItem(const Json& item) = 0;
};

struct DumpRange {
  Lsn from, to = Lsn(~uint64_t{0});  // of what begins in [from, to)
  // Without a range, the checkpoint is dumped too.
  bool all() const { return from == Lsn(0) && to == Lsn(~uint64_t{0}); }
};

class Dump final : public LookVisitor {
 public:
  Dump(DumpRange range, DumpSink* sink) : range_(range), sink_(*sink) {}

  void OnSuperblocks(const JournalLook& look) override;
  Status OnCheckpoint(Bytes fields) override;
  Status OnRecord(const JournalRecord& record) override;
  void OnDamage(Lsn from, Lsn to) override;
  void OnCheckpointDamage(uint64_t from, uint64_t to) override;
  void OnPad(const JournalRecord& record) override;

 private:
  bool Within(Lsn lsn) const { return range_.from <= lsn && lsn < range_.to; }

  const DumpRange range_;
  DumpSink& sink_;
};

}  // namespace mayfly
