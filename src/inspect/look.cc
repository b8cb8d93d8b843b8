#include "inspect/look.h"

#include <algorithm>

#include "inspect/fields.h"
#include "os/block_buffer.h"
#include "task/disk_request.h"

namespace mayfly {
namespace {

class Counter final : public JournalVisitor {
 public:
  Counter(JournalLook* look, LookVisitor* also) : look_(*look), also_(also) {}

  Status OnCheckpoint(Bytes fields) override {
    Count(fields, nullptr, &look_.in_checkpoint);
    if (also_ != nullptr) (void)also_->OnCheckpoint(fields);
    return {};
  }
  Status OnRecord(const JournalRecord& record) override {
    Count(record.payload, &record, &look_.in_records);
    if (also_ != nullptr) (void)also_->OnRecord(record);
    return {};
  }
  void OnDamage(Lsn from, Lsn to) override {
    if (also_ != nullptr) also_->OnDamage(from, to);
  }
  void OnCheckpointDamage(uint64_t from, uint64_t to) override {
    look_.checkpoint_damage.push_back({from, to});
    if (also_ != nullptr) also_->OnCheckpointDamage(from, to);
  }
  void OnPad(const JournalRecord& record) override {
    look_.pad_bytes += record.end.value - record.lsn.value;
    if (also_ != nullptr) also_->OnPad(record);
  }

 private:
  void Count(Bytes fields, const JournalRecord* record, std::map<Tag, TagCount>* counts) {
    TlvReader reader(fields);
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) {
      TagCount& count = (*counts)[tag];
      ++count.fields;
      count.bytes += kTlvHeaderBytes + value.size();
      Note(record, tag, CheckField(tag, value));
    }
    Note(record, 0, reader.Finish());
  }
  void Note(const JournalRecord* record, Tag tag, Status status) {
    if (status.ok()) return;
    ++look_.fault_count;
    if (look_.faults.size() == JournalLook::kFaultsMax) return;  // L1
    look_.faults.push_back({record == nullptr, record == nullptr ? Lsn(0) : record->lsn, tag, status.code()});
  }

  JournalLook& look_;
  LookVisitor* const also_;
};

// Each superblock for itself. What cannot be read stays kUnreadable.
Task<void> LookAtSuperblocks(Executor* executor, Disk* disk, DiskFileId file, JournalLook* look) {
  BlockBuffer block(kJournalBlockBytes);
  DiskRequest request(*executor, *disk);
  for (uint32_t i = 0; i < kSuperblocks; ++i) {
    request.Read(file, uint64_t{i} * kJournalBlockBytes, block.span());
    const Status status = co_await request;
    if (status.ok()) {
      look->states[i] = DecodeSuperblock(block.span(), look->identity, &look->blocks[i]);
    } else {
      look->states[i] = status.code() == Code::kCorrupt ? SuperblockState::kCut : SuperblockState::kUnreadable;
    }
  }
}

// Whose journal it is, if that is not known: the newest superblock's word.
bool TakeIdentity(JournalLook* look) {
  const Superblock* newest = nullptr;
  for (uint32_t i = 0; i < kSuperblocks; ++i) {
    if (look->states[i] != SuperblockState::kOtherSession) continue;
    if (newest == nullptr || look->blocks[i].sequence > newest->sequence) newest = &look->blocks[i];
  }
  if (newest == nullptr) return false;
  look->identity.uuid = newest->uuid;
  return true;
}

TailMemory TailOf(const Recovered& recovered, bool looked_for) {
  if (recovered.clean) return TailMemory::kNotNeeded;
  if (!looked_for) return TailMemory::kElsewhere;
  if (recovered.foreign_region) return TailMemory::kForeign;
  return recovered.no_region ? TailMemory::kGone : TailMemory::kRead;
}

}  // namespace

Verdict JournalLook::verdict() const {
  const auto of_newer = [](const FieldFault& fault) { return fault.code == Code::kNotSupported; };
  if (!read || std::any_of(faults.begin(), faults.end(), of_newer)) return Verdict::kUnreadable;
  if (!recovered.damage.empty() || !checkpoint_damage.empty() || fault_count != 0 || tail == TailMemory::kForeign) {
    return Verdict::kDamaged;
  }
  const bool cut_off = tail == TailMemory::kGone || tail == TailMemory::kElsewhere;
  return cut_off || recovered.torn > recovered.end ? Verdict::kTornTail : Verdict::kWhole;  // L2
}

bool JournalLook::empty() const {
  return read && recovered.records == 0 && recovered.superblock.checkpoint.present == 0 && recovered.damage.empty() &&
         tail != TailMemory::kForeign;
}

std::string_view SentenceOf(const JournalFailure& failure) {
  const Code code = failure.status.code();
  if (code == Code::kAccess || code == Code::kPermission) {
    return "the journal cannot be opened: it is for its owner alone, be that user";
  }
  if (failure.state != SuperblockState::kGood || code == Code::kOk) return SentenceOf(failure.state);
  return TextOf(code);
}

Task<JournalLook> LookAtJournal(Executor* executor, RecoverFrom from, LookVisitor* visitor) {
  JournalLook look;
  look.identity = from.identity;
  auto file = from.disk->Open(kJournalFileName, Disk::OpenHow{.read_only = true});
  if (file.ok()) {
    if (auto bytes = from.disk->BytesOf(*file); bytes.ok()) look.file_bytes = *bytes;
    co_await LookAtSuperblocks(executor, from.disk, *file, &look);
    if (look.identity.uuid == JournalUuid{} && TakeIdentity(&look)) {
      co_await LookAtSuperblocks(executor, from.disk, *file, &look);
    }
    from.disk->Close(*file);
  } else {
    look.states.fill(file.code() == Code::kNoEntry ? SuperblockState::kMissing : SuperblockState::kUnreadable);
  }
  if (visitor != nullptr) visitor->OnSuperblocks(look);
  from.identity = look.identity;
  Counter counter(&look, visitor);
  auto recovered = co_await Recover(executor, from, &counter, &look.failure);
  look.read = recovered.ok();
  if (look.read) {
    look.recovered = std::move(*recovered);
    look.tail = TailOf(look.recovered, from.kept != nullptr);
    look.recovered.region = {};
  } else if (look.failure.status.ok()) {
    look.failure.status = recovered.status();
  }
  co_return look;
}

}  // namespace mayfly
