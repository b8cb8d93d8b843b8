// Checkpoints: images of everything, written beside the traffic so that the journal behind them can be used again. What
// changes while one is written is in the journal, from the checkpoint's start on, so each image may be of another
// moment.
#include <utility>
#include <vector>

#include "base/heap.h"
#include "base/log.h"
#include "journal/checkpoint_writer.h"
#include "meta/namespace_walk.h"
#include "server/images.h"
#include "server/job.h"
#include "store/store_walk.h"

namespace mayfly {
namespace {

// After one that could not be written: a full disk stays full for a while.
constexpr Nanos kAgainAfter = kSecond;

}  // namespace

// What is neither the namespace's nor the store's, a table after the other. Of each the keys are listed when its turn
// comes, and taken one by one: what has gone meanwhile is passed over, what has come is in the journal.
class Shard::RestWalk {
 public:
  explicit RestWalk(const Shard& shard) : shard_(shard) {}

  // As NamespaceWalk::Step; what is single comes first, at once.
  bool Step(TlvWriter* out, size_t bytes_about);

 private:
  enum class Table : uint8_t {
    kBegin,
    kSoles,
    kLoans,
    kOutboxes,
    kAttached,
    kOutcomes,
    kIntents,
    kJobs,
    kAnswers,
    kEnd
  };
  using Key = std::pair<uint64_t, uint64_t>;

  void List();
  void Put(uint64_t key, TlvWriter* out);
  void PutLoan(const Key& key, TlvWriter* out);
  void PutFew(TlvWriter* out) const;
  template <class Map>
  void ListKeys(const Map& map) {
    for (const auto& [key, value] : map) keys_.push_back(ValueOf(key));
  }
  static uint64_t ValueOf(uint64_t key) { return key; }
  template <class Id>
  static uint64_t ValueOf(Id id) {
    return id.value;
  }

  const Shard& shard_;
  Table table_ = Table::kBegin;
  std::vector<uint64_t> keys_;  // a heap, of what is left of the table
  std::vector<Key> loans_;      // likewise
  size_t place_ = 0;            // of the first lane's answers
};

bool Shard::RestWalk::Step(TlvWriter* out, size_t bytes_about) {
  const size_t bytes_end = out->size() + bytes_about;
  while (table_ != Table::kEnd && out->size() < bytes_end) {
    if (table_ == Table::kAnswers && !keys_.empty()) {
      if (shard_.responder_.RecordAnswers(ClientId(keys_.front()), &place_, out, bytes_end)) break;
      place_ = 0;
      (void)TakeLeast(&keys_);
    } else if (!keys_.empty()) {
      Put(TakeLeast(&keys_), out);
    } else if (!loans_.empty()) {
      PutLoan(TakeLeast(&loans_), out);
    } else {
      if (table_ == Table::kBegin) PutFew(out);
      table_ = static_cast<Table>(static_cast<uint8_t>(table_) + 1);
      List();
    }
  }
  return table_ != Table::kEnd;
}

// 8 bytes each, and 16 of a loan.
void Shard::RestWalk::List() {
  switch (table_) {
    case Table::kSoles:
      ListKeys(shard_.soles_);
      break;
    case Table::kLoans:
      loans_ = shard_.loans_.Keys();
      break;
    case Table::kOutboxes:
      ListKeys(shard_.outboxes_);
      break;
    case Table::kAttached:
      for (const ClientId process : shard_.attached_) keys_.push_back(process.value);
      break;
    case Table::kOutcomes:
      ListKeys(shard_.outcomes_);
      break;
    case Table::kIntents:
      ListKeys(shard_.intents_);
      break;
    case Table::kJobs:
      if (shard_.closing_) break;  // what is started from it is started to be used
      for (const auto& job : shard_.jobs_) keys_.push_back(job->image.id);
      break;
    case Table::kAnswers:
      for (const ClientId lane : shard_.responder_.Lanes()) keys_.push_back(lane.value);
      break;
    case Table::kBegin:
    case Table::kEnd:
      break;
  }
  MakeHeap(&keys_);
  MakeHeap(&loans_);
}

void Shard::RestWalk::PutFew(TlvWriter* out) const {
  if (shard_.is_root()) out->Put(kTagGeneration, shard_.generation_, sizeof shard_.generation_);
  out->Put(kTagNextTxn, shard_.txns_reserved_, sizeof shard_.txns_reserved_);
  if (shard_.refusing_ && !shard_.closing_) out->Put(kTagRefusing, shard_.refusing_, sizeof shard_.refusing_);
}

void Shard::RestWalk::PutLoan(const Key& key, TlvWriter* out) {
  const Place place = shard_.loans_.Find(ClientId(key.first), key.second);
  if (!place.valid()) return;
  LoanImage image;
  image.process = ClientId(key.first);
  image.loan.id = key.second;
  image.loan.offset = place.offset;
  image.loan.bytes = place.bytes;
  image.slab_pages = shard_.arena_.SlabPagesOf(place);
  out->Put(kTagLoan, image, LoanImage::kBytes);
}

void Shard::RestWalk::Put(uint64_t key, TlvWriter* out) {
  switch (table_) {
    case Table::kSoles:
      if (const auto it = shard_.soles_.find(InodeId(key)); it != shard_.soles_.end()) {
        out->Put(kTagSole, SoleImage{it->first, it->second.process}, SoleImage::kBytes);
      }
      break;
    case Table::kOutboxes:
      if (const auto it = shard_.outboxes_.find(ClientId(key)); it != shard_.outboxes_.end()) {
        const OutboxImage image{it->first, it->second.loan, it->second.cred};
        out->Put(kTagOutbox, image, image.encoded_bytes());
      }
      break;
    case Table::kAttached:
      if (shard_.attached_.contains(ClientId(key))) {
        out->Put(kTagAttached, AttachedImage{ClientId(key), true}, AttachedImage::kBytes);
      }
      break;
    case Table::kOutcomes:
      if (const auto it = shard_.outcomes_.find(TxnId(key)); it != shard_.outcomes_.end()) {
        out->Put(kTagOutcome, *it->second, it->second->encoded_bytes());
      }
      break;
    case Table::kIntents:
      if (const auto it = shard_.intents_.find(key); it != shard_.intents_.end()) {
        out->Put(kTagIntent, it->second, it->second.encoded_bytes());
      }
      break;
    case Table::kJobs:
      for (const auto& job : shard_.jobs_) {
        if (job->image.id != key) continue;
        JobImage image = job->image;
        if (image.report.size() > JobImage::kReportBytesMax) image.report.clear();
        out->Put(kTagJob, image, image.encoded_bytes());
      }
      break;
    case Table::kBegin:
    case Table::kLoans:
    case Table::kAnswers:
    case Table::kEnd:
      break;
  }
}

void Shard::CheckpointIfDue() {
  if (checkpointing_ || leaving_ || !serving_ || log_.failed() || !journal_->WantsCheckpoint()) return;
  checkpointing_ = true;
  gate_.Spawn(WriteCheckpoint(), "a checkpoint of the journal");
}

Task<Status> Shard::WriteCheckpoint() {
  const Nanos begun = executor_.now();
  Status status = Code::kIo;
  // What was changed before the first image is taken is in the journal before the checkpoint's start.
  if (log_.Seal()) {
    auto writer = journal_->BeginCheckpoint();
    status = writer.status();
    if (writer.ok()) {
      status = co_await FillCheckpoint(writer->get());
      if (status.ok()) {
        status = co_await (*writer)->Finish();
      } else {
        (void)co_await (*writer)->Idle();
      }
    }
  }
  if (status.ok()) {
    checkpoint_took_ = executor_.now() - begun;
    checkpoints_fail_ = false;
  } else if (!leaving_ || closing_) {
    if (!std::exchange(checkpoints_fail_, true) || closing_) {
      MAYFLY_ERROR("a checkpoint could not be written ({}){}", TextOf(status.code()),
                   closing_ ? "" : "; it is tried again every second");
    }
    if (!closing_ && !log_.failed()) co_await executor_.Sleep(kAgainAfter);
  }
  checkpointing_ = false;
  co_return status;
}

// Nothing changes any more. All of it into a checkpoint, so that the next start reads that and nothing else; what the
// checkpoint speaks of is on the disk before, if it is to be there.
Task<Status> Shard::CloseJournal() {
  closing_ = true;
  MAYFLY_CO_TRY(co_await log_.Durable(kNever));
  MAYFLY_CO_TRY(co_await WriteCheckpoint());
  MAYFLY_CO_TRY(co_await log_.Durable(kNever));
  log_.End();
  co_return co_await journal_->Close();
}

Task<Status> Shard::FillCheckpoint(CheckpointWriter* writer) {
  TlvWriter fields;
  RestWalk rest(*this);
  NamespaceWalk names(names_);
  StoreWalk store(&store_);
  const size_t step = options_.checkpoint_step_bytes;
  for (bool more = true; more;) {
    more = rest.Step(&fields, step);
    if (!more) more = names.Step(&fields, step);
    if (!more) more = store.Step(&fields, step);
    MAYFLY_CO_TRY(co_await writer->Put(fields.bytes()));
    fields.Clear();
    if (leaving_ && !closing_) co_return Code::kShutdown;
    co_await executor_.Yield();  // beside the traffic, not before it
  }
  (void)log_.Seal();
  co_return Code::kOk;
}

}  // namespace mayfly
