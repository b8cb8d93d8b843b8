#include "inspect/outboxes.h"

#include <algorithm>
#include <memory>
#include <vector>

#include "server/birth.h"
#include "wire/outbox_records.h"

namespace mayfly {
namespace {

class Doer {
 public:
  Doer(const SalvageShard& shard, const Placement* placement, const OutboxTimes& times)
      : tables_(*shard.tables), bytes_(*shard.bytes), placement_(placement), times_(times) {}

  WrittenDown Run() {
    for (const auto& [process, outbox] : tables_.outboxes()) Do(process, outbox);
    return written_down_;
  }

 private:
  struct Slot {
    uint64_t serial = 0, done = 0;
    uint32_t bytes = 0;
    Bytes records;
  };

  void Do(ClientId process, const OutboxImage& outbox);
  bool ReadOutbox(Place place, MutableBytes to);
  static std::vector<Slot> UndoneIn(Bytes outbox);
  Status Do(const OutboxRecord& record, ClientId process, const Cred& cred, bool* again);
  Status GiveBirth(const BirthRecord& record, const Cred& cred, bool* again);
  Status StoreContent(const ContentRecord& record, ClientId process, const Cred& cred);
  Nanos WallAt(Nanos at) const { return times_.wall - (times_.now - std::clamp<Nanos>(at, 0, times_.now)); }

  ShardTables& tables_;
  PieceSource& bytes_;
  const Placement* const placement_;
  const OutboxTimes times_;
  WrittenDown written_down_;
};

void Doer::Do(ClientId process, const OutboxImage& outbox) {
  const Place place = tables_.loans().Find(process, outbox.loan);
  if (!place.valid()) return;  // it was given back
  std::vector<uint8_t> copy(kOutboxBytes);
  if (place.bytes < kOutboxBytes || !tables_.finished() || !ReadOutbox(place, copy)) {
    ++written_down_.unread;
    return;
  }
  for (const Slot& slot : UndoneIn(copy)) {
    const OutboxBundle bundle(slot.records.first(std::min<size_t>(slot.bytes, slot.records.size())));
    if (!bundle.whole()) ++written_down_.left_out;
    for (const OutboxRecord& record : bundle.records()) {
      bool again = false;
      const Status status = Do(record, process, outbox.cred, &again);
      if (again || (!status.ok() && WasDone(record, status.code()))) continue;  // U1
      ++(status.ok() ? written_down_.done : written_down_.left_out);
    }
  }
}

bool Doer::ReadOutbox(Place place, MutableBytes to) {
  StoredPiece piece;
  piece.bytes = piece.extent_bytes = kOutboxBytes;
  piece.place = place;
  Gaps gaps;
  bytes_.Read(piece, 0, to, &gaps);
  return gaps.empty();
}

// In the order in which the process filled them.
std::vector<Doer::Slot> Doer::UndoneIn(Bytes outbox) {
  std::vector<Slot> undone;
  for (uint32_t i = 0; i < kOutboxSlots; ++i) {
    Decoder d(outbox.subspan(i * OutboxSlot::kBytes, OutboxSlot::kBytes));
    Slot slot;
    d(slot.serial, slot.done, slot.bytes);
    d.Skip(OutboxSlot::kBytes - OutboxSlot::kRecordsBytes - (8 + 8 + 4));
    slot.records = d.rest();
    if (slot.serial != slot.done && slot.bytes != 0) undone.push_back(slot);
  }
  std::sort(undone.begin(), undone.end(), [](const Slot& a, const Slot& b) { return a.serial < b.serial; });
  return undone;
}

// *again: it had been done.
Status Doer::Do(const OutboxRecord& record, ClientId process, const Cred& cred, bool* again) {
  if (const auto* birth = std::get_if<BirthRecord>(&record)) return GiveBirth(*birth, cred, again);
  if (const auto* content = std::get_if<ContentRecord>(&record)) return StoreContent(*content, process, cred);
  const auto& removal = std::get<RemovalRecord>(record);
  return tables_.names().Unlink(removal.parent, removal.name, cred, WallAt(removal.at)).status();
}

Status Doer::GiveBirth(const BirthRecord& record, const Cred& cred, bool* again) {
  Namespace& names = tables_.names();
  // A number that was lent to nobody belongs to no file to come.
  if (record.inode.home() != tables_.self() || record.inode.sequence() >= names.next_sequence()) return Code::kInvalid;
  if (names.FindInode(record.inode) != nullptr) {
    *again = IsBorn(names, record);
    return *again ? Code::kOk : Code::kExists;
  }
  if (names.Joined(record.inode)) return Code::kExists;  // a directory, whose inode is lost
  const auto what = CreationOf(record);
  if (!what.ok()) return what.status();
  return names.Create(*what, cred, WallAt(record.at)).status();
}

Status Doer::StoreContent(const ContentRecord& record, ClientId process, const Cred& cred) {
  const CommitRequest& commit = record.commit;
  Inode* const inode = tables_.names().FindInode(commit.inode);
  const Place place = tables_.loans().Find(process, commit.loan);
  if (!place.valid()) return Code::kStale;
  if (inode == nullptr) return Code::kConflict;
  if (inode->type != FileType::kFile || inode->chunk_bits != commit.chunk_bits) return Code::kInvalid;
  if (placement_ != nullptr && placement_->ChunkShard(commit.inode.home(), commit.chunk) != tables_.self()) {
    return Code::kInvalid;
  }
  ChunkRange range;
  range.file = commit.inode;
  range.chunk = commit.chunk;
  range.chunk_bits = commit.chunk_bits;
  range.offset = commit.offset;
  range.bytes = commit.bytes;
  const Nanos when = WallAt(record.at);
  MAYFLY_TRY(tables_.store().ApplyCommit(range, place, commit.sums, when));
  (void)tables_.loans().Take(process, commit.loan);
  inode->size = std::max(inode->size, range.file_offset() + range.bytes);
  inode->mtime = inode->ctime = when;
  inode->mtime_set = 0;
  ++inode->version;
  tables_.names().ClearPrivileges(*inode, cred);
  tables_.names().Changed(*inode);
  return {};
}

}  // namespace

WrittenDown DoWrittenDown(const SalvageShard& shard, const Placement* placement, const OutboxTimes& times) {
  return Doer(shard, placement, times).Run();
}

}  // namespace mayfly
