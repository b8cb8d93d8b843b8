#include "client/outbox.h"

namespace mayfly {

size_t Outbox::Reserve(Box* box, ShardId shard, bool names, Nanos now, Added* added) {
  if (box->open != nullptr) {
    const Bundle& open = *box->open;
    const bool full = (names && open.births.size() + open.removals.size() >= kNamesFull) ||
                      open.records >= kOutboxRecordsMax || open.bytes + kRecordBytesMax > OutboxSlot::kRecordsBytes;
    if (full) *added = Added::kFull;
    return full ? kNoRoom : open.bytes;
  }
  if (box->state.load(std::memory_order_relaxed) != kReady) {
    *added = Added::kGone;
    return kNoRoom;
  }
  uint32_t slot = 0;
  while (slot < kOutboxSlots && (box->used >> slot & 1) != 0) ++slot;
  if (slot == kOutboxSlots) {
    *added = Added::kWait;
    return kNoRoom;
  }
  auto bundle = std::make_shared<Bundle>();
  bundle->shard = shard;
  bundle->loan = box->loan;
  bundle->slot = slot;
  bundle->serial = ++box->last_serial;
  bundle->memory = OutboxSlotAt(box->memory, slot);
  bundle->since = now;
  bundle->births.reserve(kNamesFull);
  bundle->memory->bytes.store(0, std::memory_order_relaxed);
  bundle->memory->serial.store(bundle->serial, std::memory_order_release);
  box->used |= 1u << slot;
  box->open = std::move(bundle);
  ++open_;
  *added = Added::kBegun;
  return 0;
}

// The end of the record, in bytes of the bundle.
template <class Record>
size_t Outbox::Write(Bundle* bundle, const Record& record) {
  Encoder e(MutableBytes(bundle->memory->records).subspan(bundle->bytes));
  e.Put(Record::kKind);
  e.Put(record);
  MAYFLY_CHECK(e.ok());
  bundle->bytes += static_cast<uint32_t>(e.size());
  ++bundle->records;
  bundle->memory->bytes.store(bundle->bytes, std::memory_order_release);  // the shard's X2
  return bundle->bytes;
}
template size_t Outbox::Write(Bundle*, const BirthRecord&);
template size_t Outbox::Write(Bundle*, const ContentRecord&);
template size_t Outbox::Write(Bundle*, const RemovalRecord&);

bool Outbox::CloseBirth(const OpenFile& file) {
  const BundleRef& open = boxes_[file.inode.home().value].open;
  if (open == nullptr || file.written_down != open->serial) return false;
  for (size_t i = open->births.size(); i-- > 0;) {  // mostly the last
    Birth& birth = open->births[i];
    if (birth.file.get() != &file) continue;
    birth.closed = true;
    open->memory->records[file.record_at + BirthRecord::kClosedAt] = 1;
    return true;
  }
  return false;
}

}  // namespace mayfly
