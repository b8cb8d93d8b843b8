#include "wire/outbox_records.h"

#include <utility>

namespace mayfly {

OutboxBundle::OutboxBundle(Bytes bytes) : text_(reinterpret_cast<const char*>(bytes.data()), bytes.size()) {
  for (Decoder d(AsBytes(text_)); whole_ && d.left() != 0;) whole_ = records_.size() < kOutboxRecordsMax && ReadOne(d);
}

bool OutboxBundle::ReadOne(Decoder& d) {
  RecordKind kind{};
  d.Get(kind);
  if (!d.ok()) return false;
  switch (kind) {
    case RecordKind::kBirth:
      return Read<BirthRecord>(d);
    case RecordKind::kContent:
      return Read<ContentRecord>(d);
    case RecordKind::kRemoval:
      return Read<RemovalRecord>(d);
  }
  return false;
}

template <class Record>
bool OutboxBundle::Read(Decoder& d) {
  Record record;
  d.Get(record);
  if (d.ok()) records_.emplace_back(std::move(record));
  return d.ok();
}

bool WasDone(const OutboxRecord& record, Code failure) {
  if (std::holds_alternative<ContentRecord>(record)) return failure == Code::kStale;
  return std::holds_alternative<RemovalRecord>(record) && failure == Code::kNoEntry;
}

}  // namespace mayfly
