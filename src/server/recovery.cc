// How a shard comes up: a fresh one makes its journal; one whose server died is brought back from the last checkpoint
// and the records behind it. Redo only: fields are after-images, so applying them again, or ones that are older than
// what is there, ends the same (share/doc/format/images.md). What was begun with other shards is settled afterwards,
// beside the traffic (in_doubt.cc).
#include "server/recovery.h"

#include <algorithm>

#include "base/log.h"
#include "flush/flusher.h"
#include "meta/images.h"
#include "server/images.h"
#include "server/shard.h"

namespace mayfly {
namespace {

// A client that has not come back by then has its files closed. One that only computes does not notice that its server
// was away, and has no reason to ask; whoever may buffer writes listens, so others need not wait long for it.
constexpr Nanos kComeBackWithin = 30 * kSecond;
constexpr Nanos kAskWithin = 600 * kSecond;
constexpr Nanos kLetGoWithin = 3 * kSecond;

template <class Image>
Status Read(Bytes value, Image* image) {
  Decoder d(value);
  d.Get(*image);
  return d.Finish();
}

// What to do about a journal that cannot be made or written.
std::string_view RemedyFor(Code code) {
  if (code == Code::kNoSpace) return "make room there, or give another --dir or a smaller --journal-bytes";
  if (code == Code::kBusy) return "another server uses it: end that one";
  return "look at the kernel's log, or give another --dir";
}

constexpr bool IsOfStore(Tag tag) { return (tag & 0x7f00) == 0x0200; }

}  // namespace

Task<Status> Shard::Open(bool recover, RecoveryReport* report) {
  if (options_.durability == Durability::kNone) co_return Code::kOk;
  MAYFLY_CHECK(doors_.disk != nullptr && doors_.kept != nullptr);
  const Nanos begun = executor_.clock().Now();
  if (reads_only()) {
    MAYFLY_CO_TRY(co_await OpenToRead(report));
    report->took = executor_.clock().Now() - begun;
    recovered_ = *report;
    co_return Code::kOk;
  }
  MAYFLY_CO_TRY(co_await OpenJournal(recover, report));
  log_.SetOnFailure([this] {
    names_.SetRecorder(nullptr);
    Freeze();
    responder_.SetRecorder(nullptr);
    responder_.DistrustAnswers();
    caller_.Disown(AllowedWhileReadOnly);
  });
  names_.SetRecorder(log_.recorder());
  store_.SetRecorder(log_.recorder());
  responder_.SetRecorder(log_.recorder());
  PrefaultIfLow();
  if (!report->found) {
    if (is_root()) CreateRoot();
  } else {
    // Given before the restart, to last over it: whoever has one reads ahead, or serves paths, until it is over.
    co_await executor_.Sleep(ReadLeases::kLease);
    std::fill(leased_until_.begin(), leased_until_.end(), executor_.now() + options_.lease);
    names_.SetCounts(arena_memory_.Changes());  // processes that have the arena mapped watch it still
  }
  if (keeps_data()) MAYFLY_CO_TRY(co_await log_.Durable(kNever));  // the root, and that there is a session
  report->took = executor_.clock().Now() - begun;
  if (report->found) recovered_ = *report;
  if (!options_.takes_up_stops) SetRefusing(false);
  serving_ = true;
  if (!report->found) co_return Code::kOk;
  if (is_root()) TakeUpJobs();
  // Only now: it is recorded.
  if (!to_bury_.empty()) {
    gate_.Spawn(Bury(std::exchange(to_bury_, {}), executor_.now() + options_.peer_deadline),
                "dropping what nobody has");
  }
  settled_ = outcomes_.empty();
  holds_clients_ = !settled_;
  gate_.Spawn(SettleFirst(), "settling what was decided before the restart");
  if (holds_clients_) gate_.Spawn(LetClientsIn(), "holding clients until what was decided has been told");
  co_return Code::kOk;
}

// What the journal holds, given to the shard piece by piece.
struct Shard::Replay final : JournalVisitor {
  Replay(Shard* s, RecoveryReport* r) : shard(s), report(r) {}
  Status OnCheckpoint(Bytes fields) override { return shard->ApplyRecord(fields, false); }
  Status OnRecord(const JournalRecord& record) override { return shard->ApplyRecord(record.payload, record.in_region); }
  void OnDamage(Lsn from, Lsn to) override {
    report->damage.push_back(fmt::format("the journal is damaged from LSN {} to {}", from.value, to.value));
  }
  void OnCheckpointDamage(uint64_t from, uint64_t to) override {
    report->damage.push_back(fmt::format("the checkpoint is damaged from byte {} to {}", from, to));
  }
  Shard* const shard;
  RecoveryReport* const report;
};

Task<Status> Shard::OpenJournal(bool recover, RecoveryReport* report) {
  JournalOptions options = options_.journal;
  options.identity.uuid = options_.uuid;
  options.identity.shard = options_.self;
  options.survives_power = keeps_data();
  if (has_disk()) MAYFLY_CO_TRY(co_await OpenDisk(recover, report));
  if (!recover) {
    auto made = co_await Journal::Create(&executor_, doors_.disk, doors_.kept, options);
    if (!made.ok()) {
      report->refusal = fmt::format("the journal of shard {} cannot be made in {}: {}; {}", options_.self.value,
                                    doors_.disk->facts().directory, TextOf(made.code()), RemedyFor(made.code()));
      co_return made.status();
    }
    journal_ = std::move(*made);
    log_.Begin(journal_.get(), keeps_data() ? write_back_.get() : nullptr);
    co_return Code::kOk;
  }
  Result<Recovered> recovered = Code::kIo;
  TlvWriter first;
  MAYFLY_CO_TRY(co_await ReadJournal(report, &recovered, &first));
  auto opened =
      co_await Journal::Open(&executor_, doors_.disk, doors_.kept, options, std::move(*recovered), first.bytes());
  if (!opened.ok()) {
    report->refusal = fmt::format("the journal of shard {} in {} cannot be written: {}; {}", options_.self.value,
                                  doors_.disk->facts().directory, TextOf(opened.code()), RemedyFor(opened.code()));
    co_return opened.status();
  }
  journal_ = std::move(*opened);
  log_.Begin(journal_.get(), keeps_data() ? write_back_.get() : nullptr);
  co_return Code::kOk;
}

// What the journal holds into the tables, and what they speak of made the shard's own. Nothing is written to it.
// `first`: as in FinishRecovery.
Task<Status> Shard::ReadJournal(RecoveryReport* report, Result<Recovered>* out, TlvWriter* first) {
  Replay replay(this, report);
  JournalFailure failure;
  RecoverFrom from;
  from.disk = doors_.disk;
  from.kept = doors_.kept;
  from.identity.uuid = options_.uuid;
  from.identity.shard = options_.self;
  *out = co_await Recover(&executor_, from, &replay, &failure);
  Status status = out->status();
  if (status.ok()) {
    const Recovered* const recovered = &**out;
    report->found = true;
    report->clean = recovered->clean;
    report->records = recovered->records;
    report->bytes = recovered->checkpoint_bytes + recovered->record_bytes;
    if (recovered->foreign_region) {
      report->damage.push_back("the part of the journal that lay in memory is damaged, and what it held is lost");
    }
    outcomes_damaged_ = !report->damage.empty();
    // A server that was killed leaves the journal's tail in memory; where that is gone, so is all that lay there. One
    // that closed its journal gave the memory back.
    const bool power_lost = keeps_data() && recovered->region.empty();
    if (recovered->no_region && !keeps_data()) {
      report->refusal = MemoryIsGone();
      status = Code::kCorrupt;
    } else {
      status = FinishRecovery(power_lost, first, report);
    }
    if (status.ok() && has_disk()) status = co_await KeepRecovered();
  }
  if (!status.ok()) {
    const bool no_journal = failure.state != SuperblockState::kGood;
    if (report->refusal.empty())
      report->refusal =
          fmt::format("shard {} cannot be brought back from {}: {}", options_.self.value,
                      doors_.disk->facts().directory, no_journal ? SentenceOf(failure.state) : TextOf(status.code()));
  }
  co_return status;
}

Task<Status> Shard::OpenToRead(RecoveryReport* report) {
  Result<Recovered> recovered = Code::kIo;
  TlvWriter first;
  Status status;
  if (has_disk()) status = co_await OpenDisk(true, report);
  if (status.ok()) status = co_await ReadJournal(report, &recovered, &first);
  if (!status.ok()) StandIn();
  refusing_ = false;
  serving_ = true;
  if (options_.role == ShardRole::kLook || !status.ok()) co_return Code::kOk;
  settled_ = false;
  holds_clients_ = true;
  gate_.Spawn(SettleFirst(), "settling what was under way");
  co_return Code::kOk;
}

void Shard::StandIn() {
  stands_in_ = true;
  if (is_root() && names_.FindInode(placement_.RootInode()) == nullptr) CreateRoot();
}

// A change whose end nobody who is there knows: as if it had never been, and said.
Task<Status> Shard::GiveUp(TxnId txn) {
  ++given_up_;
  MAYFLY_WARN(
      "shard {}: a change across several members that shard {} had begun has no end that is known here, and is taken "
      "as not done",
      options_.self.value, txn.value >> 40);
  co_return co_await DecideHere(txn, false, 0, 0, executor_.now() + options_.peer_deadline);
}

std::string Shard::MemoryIsGone() const {
  return fmt::format(
      "shard {} cannot be brought back from {}: part of it was in the node's memory, and the node was started again "
      "since; only --durability node survives that: start a new session (`mayfly clean` removes the old one)",
      options_.self.value, doors_.disk->facts().directory);
}

Status Shard::ApplyRecord(Bytes fields, bool in_region) {
  TlvReader reader(fields);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) MAYFLY_TRY(ApplyField(tag, value, in_region));
  return reader.Finish();
}

Status Shard::ApplyField(Tag tag, Bytes value, bool in_region) {
  if (IsNamesTag(tag)) return names_.Apply(tag, value);
  if (IsOfStore(tag)) return store_.Apply(tag, value, in_region);
  switch (tag) {
    case kTagAnswer:
      return responder_.ApplyAnswer(value);
    case kTagSole: {
      SoleImage image;
      MAYFLY_TRY(Read(value, &image));
      soles_.erase(image.inode);
      if (image.process.value != 0) soles_[image.inode] = Sole{image.process};
      return {};
    }
    case kTagLoan: {
      LoanImage image;
      MAYFLY_TRY(Read(value, &image));
      if (auto before = loans_.Take(image.process, image.loan.id); before.ok()) lent_slabs_.erase(before->offset);
      if (image.loan.bytes != 0) {
        loans_.Lend(image.process, image.loan.id, Place{image.loan.offset, image.loan.bytes});
        lent_slabs_[image.loan.offset] = image.slab_pages;
      }
      return {};
    }
    case kTagOutbox: {
      OutboxImage image;
      MAYFLY_TRY(Read(value, &image));
      outboxes_.erase(image.process);
      if (image.loan != 0) outboxes_.emplace(image.process, Outbox{image.loan, std::move(image.cred)});
      return {};
    }
    case kTagAttached: {
      AttachedImage image;
      MAYFLY_TRY(Read(value, &image));
      if (image.attached) {
        attached_.insert(image.process);
      } else {
        attached_.erase(image.process);
      }
      return {};
    }
    case kTagGeneration: {
      Generation g;
      MAYFLY_TRY(Read(value, &g));
      LearnGeneration(g);
      return {};
    }
    case kTagNextTxn: {
      uint64_t next = 0;
      MAYFLY_TRY(Read(value, &next));
      txn_sequence_ = txns_reserved_ = std::max(txns_reserved_, next);
      return {};
    }
    case kTagOutcome: {
      auto image = std::make_unique<OutcomeImage>();
      MAYFLY_TRY(Read(value, image.get()));
      const TxnId txn = image->txn;
      outcomes_.erase(txn);
      if (!image->steps.empty()) outcomes_.emplace(txn, std::move(image));
      return {};
    }
    case kTagIntent: {
      IntentImage image;
      MAYFLY_TRY(Read(value, &image));
      intent_number_ = std::max(intent_number_, image.number);
      intents_.erase(image.number);
      if (image.kind != IntentKind::kNone) intents_.emplace(image.number, image);
      return {};
    }
    case kTagJob: {
      JobImage image;
      MAYFLY_TRY(Read(value, &image));
      found_jobs_.erase(image.id);
      if (image.state != JobState::kForgotten) found_jobs_.emplace(image.id, std::move(image));
      return {};
    }
    case kTagRefusing:
      return Read(value, &refusing_);
    default:
      return (tag & kTagMust) != 0 ? Code::kNotSupported : Code::kOk;  // T1
  }
}

// All that was applied becomes one state, in which every table agrees with every other.
// `first`: what the journal must say before anything else.
Status Shard::FinishRecovery(bool power_lost, TlvWriter* first, RecoveryReport* report) {
  auto found = arena_memory_.Adopt();
  if (!found.ok()) return found.status();
  std::vector<AdoptedPlace> lent;
  if (power_lost) {
    // Nobody is left who had places, and the journal's places are those of an arena that is gone.
    ChunkStore::PutPlacesVoid(first);
    MAYFLY_TRY(ApplyRecord(first->bytes(), false));
    for (const auto& [key, place] : loans_.All()) {
      LoanImage over;
      over.process = ClientId(key.first);
      over.loan.id = key.second;
      first->Put(kTagLoan, over, LoanImage::kBytes);
    }
    for (const auto& [process, outbox] : outboxes_) {
      OutboxImage none;
      none.process = process;
      first->Put(kTagOutbox, none, none.encoded_bytes());
    }
    loans_.Clear();
    outboxes_.clear();
  }
  for (const auto& [key, place] : loans_.All()) lent.push_back({place, lent_slabs_[place.offset]});
  lent_slabs_.clear();
  if (const Status finished = store_.FinishRecovery(*found, lent); !finished.ok()) {
    // A journal that was closed in order says nothing of the memory that goes with it.
    if (found->empty() && !keeps_data()) report->refusal = MemoryIsGone();
    return finished;
  }
  // What may still be written into is lent, and nothing else: transfers to the server that died have ended with it.
  store_.ReleaseQuarantine();
  std::vector<InodeId> orphans;
  MAYFLY_TRY(names_.FinishRecovery(&to_bury_, &orphans));
  for (const auto& [id, sole] : soles_) {
    if (names_.Joined(id)) own_parts_.insert(id);
  }
  ChargeTables();
  const Nanos now = executor_.now();
  absl::flat_hash_set<ClientId> listening;
  for (const auto& [id, sole] : soles_) listening.insert(sole.process);
  // Whoever had places of the arena and has let go of it has ended. Who had none may only have asked where it is.
  const auto within = [this](ClientId process, Nanos longest) {
    return loans_.CountOf(process) != 0 && !arena_memory_.IsAttached(process.value) ? kLetGoWithin : longest;
  };
  for (ClientId process : attached_) responder_.ExpectProcess(process, now + within(process, kComeBackWithin));
  for (ClientId process : names_.Openers()) {
    const Nanos longest = listening.contains(process) ? kComeBackWithin : kAskWithin;
    responder_.ExpectProcess(process, now + within(process, longest));
  }
  // Not kept: whether somebody else's file has suid or sgid is asked at the first write.
  store_.ForEachFile([this](InodeId file) {
    if (!IsHome(file)) privileged_[file] = 0;
  });
  for (TxnId txn : names_.Prepared()) prepared_since_.emplace(txn, 0);
  resuming_ = intents_;
  for (const auto& [number, intent] : intents_) {
    if (ChangesSize(intent) && !size_locks_.contains(intent.inode)) {
      size_locks_[intent.inode] = std::make_unique<WaitQueue>(executor_);
    }
  }
  report->inodes = names_.inodes();
  report->files_with_data = store_.stats().files;
  report->in_doubt = prepared_since_.size() + outcomes_.size() + resuming_.size();
  return {};
}

}  // namespace mayfly
