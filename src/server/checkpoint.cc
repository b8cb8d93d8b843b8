// Checkpoints: images of everything, written beside the traffic so that the journal behind them can be used again. What
// changes while one is written is in the journal, from the checkpoint's start on, so each image may be of another
// moment.
#include <utility>

#include "base/log.h"
#include "journal/checkpoint_writer.h"
#include "meta/namespace_walk.h"
#include "server/images.h"
#include "server/job.h"
#include "store/store_walk.h"

namespace mayfly {
namespace {

// Written at once, between two turns of the loop.
constexpr size_t kStepBytes = 64 << 10;
// After one that could not be written: a full disk stays full for a while.
constexpr Nanos kAgainAfter = kSecond;

}  // namespace

// What is neither the namespace's nor the store's.
void Shard::RecordRest(TlvWriter* out) const {
  for (const auto& [id, sole] : soles_) {
    SoleImage image;
    image.inode = id;
    image.process = sole.process;
    out->Put(kTagSole, image, SoleImage::kBytes);
  }
  for (const auto& [key, place] : loans_.All()) {
    LoanImage image;
    image.process = ClientId(key.first);
    image.loan.id = key.second;
    image.loan.offset = place.offset;
    image.loan.bytes = place.bytes;
    image.slab_pages = arena_.SlabPagesOf(place);
    out->Put(kTagLoan, image, LoanImage::kBytes);
  }
  for (const auto& [process, outbox] : outboxes_) {
    const OutboxImage image{process, outbox.loan, outbox.cred};
    out->Put(kTagOutbox, image, image.encoded_bytes());
  }
  for (ClientId process : attached_) {
    AttachedImage image;
    image.process = process;
    image.attached = true;
    out->Put(kTagAttached, image, AttachedImage::kBytes);
  }
  if (is_root()) out->Put(kTagGeneration, generation_, sizeof generation_);
  out->Put(kTagNextTxn, txns_reserved_, sizeof txns_reserved_);
  for (const auto& [id, outcome] : outcomes_) out->Put(kTagOutcome, *outcome, outcome->encoded_bytes());
  for (const auto& [number, intent] : intents_) out->Put(kTagIntent, intent, intent.encoded_bytes());
  if (closing_) return;  // what is started from it is started to be used
  if (refusing_) out->Put(kTagRefusing, refusing_, sizeof refusing_);
  for (const auto& job : jobs_) {
    JobImage image = job->image;
    if (image.report.size() > JobImage::kReportBytesMax) image.report.clear();
    out->Put(kTagJob, image, image.encoded_bytes());
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
  RecordRest(&fields);
  for (ClientId lane : responder_.Lanes()) {
    responder_.RecordAnswers(lane, &fields);
    if (fields.size() < kStepBytes) continue;
    MAYFLY_CO_TRY(co_await writer->Put(fields.bytes()));
    fields.Clear();
  }
  NamespaceWalk names(names_);
  StoreWalk store(&store_);
  for (bool more = true; more;) {
    more = names.Step(&fields, kStepBytes);
    if (!more) more = store.Step(&fields, kStepBytes);
    MAYFLY_CO_TRY(co_await writer->Put(fields.bytes()));
    fields.Clear();
    if (leaving_ && !closing_) co_return Code::kShutdown;
    co_await executor_.Yield();  // beside the traffic, not before it
  }
  (void)log_.Seal();
  co_return Code::kOk;
}

}  // namespace mayfly
