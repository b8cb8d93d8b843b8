// Outboxes (wire/outbox.h): what a process of this node has written down, done when it says so, or when it has ended
// without.
// Invariants  B1  a bundle that was done in part before the server died, and is done again, ends the same: until it is
//                 done nobody but its process looks into its parts of directories.
#include <algorithm>
#include <new>
#include <variant>

#include "base/log.h"
#include "server/birth.h"
#include "server/images.h"
#include "server/shard.h"
#include "wire/outbox_records.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

constexpr Nanos kTryAgainAfter = kMillisecond;

}  // namespace

void Shard::OpenOutbox(const Party& party, const PlaceLoan& loan) {
  const MutableBytes outbox = arena_.Data(Place{loan.offset, loan.bytes});
  for (uint32_t i = 0; i < kOutboxSlots; ++i) new (OutboxSlotAt(outbox, i)) OutboxSlot{};
  outboxes_[party.process] = Outbox{loan.id, party.cred};
  NoteOutbox(party.process, loan.id, party.cred);
}

void Shard::NoteOutbox(ClientId process, uint64_t loan, const Cred& cred) {
  const OutboxImage image{process, loan, cred};
  log_.Record(kTagOutbox, image, image.encoded_bytes());
}

// Empty if there is none.
MutableBytes Shard::OutboxOf(ClientId process) const {
  const auto outbox = outboxes_.find(process);
  if (outbox == outboxes_.end()) return {};
  const Place place = loans_.Find(process, outbox->second.loan);
  return place.bytes >= kOutboxBytes ? arena_.Data(place) : MutableBytes();
}

Task<Status> Shard::HandleBundle(Request* r, const BundleRequest& q, Empty* a, ReplyPayload* out) {
  const ClientId process = r->party().process;
  StepAside(q.core);
  const MutableBytes outbox = OutboxOf(process);
  if (outbox.empty() || outboxes_.at(process).loan != q.loan) co_return Code::kStale;
  if (q.slot >= kOutboxSlots || q.bytes > OutboxSlot::kRecordsBytes) co_return Code::kInvalid;
  OutboxSlot* const slot = OutboxSlotAt(outbox, q.slot);
  if (slot->serial.load(std::memory_order_acquire) != q.serial) co_return Code::kInvalid;
  const OutboxBundle bundle(Bytes(slot->records).first(q.bytes));
  if (!bundle.whole()) {
    responder_.CountMalformed();
    co_return Code::kCorrupt;
  }
  BundleDone done;
  std::vector<InodeId> died;
  co_await DoBundle(r->party(), bundle, r->deadline(), &done, &died);
  if (q.more.valid()) done.own = OfferPart(*r, q.more, true, &done.part);
  if (done.own || !done.failed.empty() || !done.lent.empty()) {
    out->text = EncodedPayload(done, BundleDone::kBytesMax);
  }
  if (!died.empty()) {
    r->AnswerAhead(*a);
    (void)co_await Bury(std::move(died), r->deadline());  // the names are gone whatever becomes of that
  }
  // The outbox may have gone while this waited.
  const bool is_there = OutboxOf(process).data() == outbox.data();
  ChargeTables();
  auto answered = r->Reply(log_.failed() ? Code::kIo : Code::kOk, *a, out->bytes());
  if (is_there) slot->done.store(q.serial, std::memory_order_release);  // X3
  co_await answered;
  co_return Code::kOk;
}

// A process that writes down and goes on, and the shard that does it, get in each other's way on one core, and as both
// have just run there the system leaves them there for milliseconds. Where that comes again and again there may be no
// free core.
void Shard::StepAside(uint32_t core) {
  constexpr Nanos kPauseFirst = 2 * kMillisecond, kPauseMost = kSecond;
  const Nanos now = executor_.now();
  if (doors_.cores == nullptr || now < aside_again_ || core == Cores::kNone || doors_.cores->Current() != core) return;
  const bool often = now < aside_again_ + 8 * aside_pause_;
  aside_pause_ = often ? std::min(2 * aside_pause_, kPauseMost) : kPauseFirst;
  aside_again_ = now + aside_pause_;
  doors_.cores->Leave(core);
}

// ---- at the end of a process --------------------------------------------------------------------------------------

bool Shard::HasUnfinished(ClientId process) const {
  const MutableBytes outbox = OutboxOf(process);
  if (outbox.empty() || leaving_) return false;
  for (uint32_t i = 0; i < kOutboxSlots; ++i) {
    const OutboxSlot& slot = *OutboxSlotAt(outbox, i);
    if (slot.serial != slot.done && slot.bytes != 0) return true;
  }
  return false;
}

Task<void> Shard::FinishOutbox(ClientId process) {
  const MutableBytes outbox = OutboxOf(process);
  std::vector<OutboxSlot*> slots;
  for (uint32_t i = 0; i < kOutboxSlots && !outbox.empty(); ++i) slots.push_back(OutboxSlotAt(outbox, i));
  std::sort(slots.begin(), slots.end(),
            [](const OutboxSlot* a, const OutboxSlot* b) { return a->serial.load() < b->serial.load(); });
  Party party;
  party.process = process;
  if (!outbox.empty()) party.cred = outboxes_.at(process).cred;
  const Nanos deadline = executor_.now() + options_.peer_deadline;
  for (OutboxSlot* slot : slots) {
    if (slot->serial == slot->done || slot->bytes == 0) continue;
    const OutboxBundle bundle(Bytes(slot->records).first(std::min<size_t>(slot->bytes, OutboxSlot::kRecordsBytes)));
    if (log_.failed() || is_degraded()) {
      MAYFLY_ERROR("{} changes that a process of this node had made just before it ended are not kept: {}",
                   bundle.records().size(), log_.failed() ? "the journal has failed" : "the session is read-only");
      continue;
    }
    BundleDone done;
    std::vector<InodeId> died;
    co_await DoBundle(party, bundle, deadline, &done, &died);
    for (const BundleDone::Failed& failed : done.failed) {
      // As far as it was done before the server died (B1).
      if (WasDone(bundle.records()[failed.at], failed.code)) continue;
      MAYFLY_ERROR("a change that a process of this node had made just before it ended is not kept: {}",
                   TextOf(failed.code));
    }
    (void)log_.Seal();
    slot->done.store(slot->serial);  // X3
    (void)co_await Bury(std::move(died), deadline);
  }
}

// ---- the records --------------------------------------------------------------------------------------------------

Task<void> Shard::DoBundle(const Party& party, const OutboxBundle& bundle, Nanos deadline, BundleDone* done,
                           std::vector<InodeId>* died) {
  // As in Foresee.
  std::array<Namespace::Foreseen, kForeseenMax> seen;
  size_t count = 0;
  uint64_t births = 0;
  for (const auto& record : bundle.records()) {
    if (count == seen.size()) break;
    if (const auto* birth = std::get_if<BirthRecord>(&record)) {
      seen[count++] = names_.Foresee(birth->parent, birth->name, party.process, births++);
    } else if (const auto* removal = std::get_if<RemovalRecord>(&record)) {
      seen[count++] = names_.Foresee(removal->parent, removal->name, party.process, births);
    }
  }
  for (size_t i = 0; i < count; ++i) names_.Foresee(seen[i]);

  InodeId dir;  // may be changed
  for (size_t i = 0; i < bundle.records().size(); ++i) {
    const auto& record = bundle.records()[i];
    Status status;
    if (const auto* content = std::get_if<ContentRecord>(&record)) {
      status = co_await StoreContent(party, *content, deadline, done, died);
    } else {
      const auto* birth = std::get_if<BirthRecord>(&record);
      const InodeId parent = birth != nullptr ? birth->parent : std::get<RemovalRecord>(record).parent;
      for (;;) {
        if (dir != parent) status = co_await MayChangePart(parent, party.process, deadline);
        dir = parent;
        if (!status.ok()) break;
        status = birth != nullptr ? GiveBirth(party, *birth) : Remove(party, std::get<RemovalRecord>(record), died);
        if (status.code() != Code::kBusy || executor_.now() >= deadline) break;
        dir = InodeId();  // a transaction holds the name, which cannot be in a part that is still its own
        co_await executor_.Sleep(kTryAgainAfter);
      }
      if (!status.ok()) dir = InodeId();
    }
    if (!status.ok()) done->failed.push_back({static_cast<uint16_t>(i), status.code()});
  }
}

// Mostly it is the process's own.
Task<Status> Shard::MayChangePart(InodeId dir, ClientId process, Nanos deadline) {
  while (!names_.Joined(dir)) {
    MAYFLY_CO_TRY(co_await JoinDir(dir, deadline));
    if (executor_.now() >= deadline) co_return Code::kTimedOut;
  }
  while (IsOwnedByOther(dir, process)) MAYFLY_CO_TRY(co_await EndOwner(dir, process, deadline));
  co_return Code::kOk;
}

// The time of day at which a process wrote something down: for whoever compares times it was done then.
Nanos Shard::WallAt(Nanos at) {
  constexpr Nanos kLongAgo = 60 * kSecond;  // and no longer: who stood still for hours has not done it then
  const Nanos now = executor_.now();
  return wall() - std::min(now - std::min(now, at), kLongAgo);
}

Status Shard::GiveBirth(const Party& party, const BirthRecord& record) {
  if (!IsHome(record.inode)) return Code::kInvalid;
  MAYFLY_TRY(grants_.Check(party, record.inode, Grant{kBirthRights, record.tag}, kGrantBirth));
  if (names_.FindInode(record.inode) != nullptr) {  // B1
    return IsBorn(names_, record) ? Code::kOk : Code::kExists;
  }
  const auto what = CreationOf(record);
  if (!what.ok()) return what.status();
  // Not RoomForTables: who was lent a number was told yes already, and there are few.
  const auto inode = names_.Create(*what, party.cred, WallAt(record.at));
  if (!inode.ok() || record.closed) return inode.status();
  names_.RegisterOpen(**inode, party.process, (record.flags & kOpenWrite) != 0);
  soles_[record.inode] = Sole{party.process, false};
  SetSole(record.inode, party.process);
  return Code::kOk;
}

Task<Status> Shard::StoreContent(const Party& party, const ContentRecord& record, Nanos deadline, BundleDone* done,
                                 std::vector<InodeId>* died) {
  if (names_.FindInode(record.commit.inode) == nullptr) co_return Code::kConflict;  // the place stays lent
  PlaceLoan next;
  const Status status = co_await StoreLent(party, record.commit, deadline, WallAt(record.at), &next, died);
  if (next.bytes != 0) done->lent.push_back(next);
  co_return status;
}

Status Shard::Remove(const Party& party, const RemovalRecord& record, std::vector<InodeId>* died) {
  const auto inode = names_.Unlink(record.parent, record.name, party.cred, WallAt(record.at));
  if (inode.ok() && (*inode)->dead()) died->push_back((*inode)->id);
  return inode.status();
}

}  // namespace mayfly
