#include "inspect/journal_rewrite.h"

#include <utility>

#include "journal/checkpoint_writer.h"
#include "store/chunk_file.h"

namespace mayfly {
namespace {

// All of a journal, once more.
class Nothing final : public JournalVisitor {
 public:
  Status OnCheckpoint(Bytes) override { return {}; }
  Status OnRecord(const JournalRecord&) override { return {}; }
  void OnDamage(Lsn, Lsn) override {}
  void OnCheckpointDamage(uint64_t, uint64_t) override {}
};

}  // namespace

JournalRewrite::JournalRewrite(Executor* executor, Disk* disk, KeptMemory* kept, JournalOptions options)
    : executor_(*executor), disk_(*disk), kept_(*kept), options_(options) {}

JournalRewrite::~JournalRewrite() {
  MAYFLY_CHECK(journal_ == nullptr);
  if (chunks_.value != 0) disk_.Close(chunks_);
}

Task<Status> JournalRewrite::Recover(uint64_t sequence) {
  JournalFailure failure;
  Nothing nothing;
  RecoverFrom from;
  from.disk = &disk_;
  from.kept = &kept_;
  from.identity = options_.identity;
  auto recovered = co_await mayfly::Recover(&executor_, from, &nothing, &failure);
  MAYFLY_CO_TRY(recovered.status());
  if (recovered->superblock.sequence != sequence) co_return Code::kBusy;
  in_memory_ = !recovered->region.empty();
  recovered_ = std::move(*recovered);
  co_return Status();
}

Task<Status> JournalRewrite::BringBytes(UnwrittenSource* source, std::vector<StoredPiece> unwritten) {
  MAYFLY_CHECK(recovered_.has_value());
  brought_ = true;
  if (unwritten.empty()) co_return Status();
  MAYFLY_CHECK(options_.survives_power);
  if (!in_memory_) co_return Code::kBusy;  // it was there when somebody read of them
  ChunkFileState state = ChunkFileState::kGood;
  auto opened = co_await OpenChunkFile(&executor_, &disk_, options_.identity.uuid, options_.identity.shard, &state);
  MAYFLY_CO_TRY(opened.status());
  chunks_ = opened->file;
  co_return co_await WriteUnwritten(&executor_, &disk_, chunks_, source, std::move(unwritten));
}

Task<Status> JournalRewrite::Open() {
  MAYFLY_CHECK(brought_ || !options_.survives_power);  // Q1
  Recovered recovered = std::move(*recovered_);
  recovered_.reset();
  auto opened = co_await Journal::Open(&executor_, &disk_, &kept_, options_, std::move(recovered));
  if (opened.ok()) journal_ = std::move(*opened);
  co_return opened.status();
}

Task<Status> JournalRewrite::Write(Bytes fields, Bytes more_fields) {
  auto writer = journal_->BeginCheckpoint();
  MAYFLY_CO_TRY(writer.status());
  Status status = co_await (*writer)->Put(fields);
  if (status.ok()) status = co_await (*writer)->Put(more_fields);
  if (status.ok()) status = co_await (*writer)->Finish();
  if (!status.ok()) (void)co_await (*writer)->Idle();
  co_return status;
}

Task<Status> JournalRewrite::End() {
  Status status;
  if (in_memory_) {
    co_await journal_->Stop();
  } else {
    status = co_await journal_->Close();
  }
  journal_.reset();
  co_return status;
}

}  // namespace mayfly
