#include "inspect/dump.h"

#include "inspect/fields.h"
#include "inspect/report.h"

namespace mayfly {

void Dump::OnSuperblocks(const JournalLook& look) { sink_.OnSuperblocks(DescribeSuperblocks(look)); }

Status Dump::OnCheckpoint(Bytes fields) {
  if (!range_.all()) return {};
  TlvReader reader(fields);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) sink_.OnCheckpointItem(DescribeField(tag, value));
  if (!reader.Finish().ok()) sink_.OnCheckpointItem({{"problem", "the fields of a frame do not follow each other"}});
  return {};
}

Status Dump::OnRecord(const JournalRecord& record) {
  if (Within(record.lsn)) sink_.OnItem(DescribeRecord(record));
  return {};
}

void Dump::OnPad(const JournalRecord& record) { (void)OnRecord(record); }

void Dump::OnDamage(Lsn from, Lsn to) {
  if (to <= range_.from || from >= range_.to) return;
  sink_.OnItem({{"lsn", from.value}, {"type", "damage"}, {"bytes", to.value - from.value}});
}

void Dump::OnCheckpointDamage(uint64_t from, uint64_t to) {
  DumpSink::Json range = {{"from", from}, {"to", to}, {"bytes", to - from}};
  sink_.OnCheckpointItem({{"damage", std::move(range)}});
}

}  // namespace mayfly
