#include "inspect/journal_door.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>

#include "adapt/posix/posix_kept_memory.h"
#include "journal/checkpoint_writer.h"
#include "os/block_buffer.h"
#include "session/storage_layout.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

// Of a journal that leaves nothing in memory. A region that goes with this process is what a loss of power leaves.
class OwnMemory final : public KeptMemory {
 public:
  Result<MutableBytes> Create(std::string_view name, size_t bytes) override {
    BlockBuffer& region = regions_.try_emplace(std::string(name), bytes).first->second;
    std::fill(region.span().begin(), region.span().end(), 0);
    return region.span();
  }
  Result<MutableBytes> Find(std::string_view) override { return Code::kNoEntry; }
  Status Remove(std::string_view name) override {
    regions_.erase(std::string(name));
    return {};
  }

 private:
  std::map<std::string, BlockBuffer, std::less<>> regions_;
};

// All of a journal, once more.
class Nothing final : public JournalVisitor {
 public:
  Status OnCheckpoint(Bytes) override { return {}; }
  Status OnRecord(const JournalRecord&) override { return {}; }
  void OnDamage(Lsn, Lsn) override {}
  void OnCheckpointDamage(uint64_t, uint64_t) override {}
};

}  // namespace

JournalDoor::JournalDoor(const StoredShard& shard, const PlacesOptions& user) : shard_(shard) {
  LocalDiskOptions options;
  options.directory.path = shard.place.directory;
  options.directory.lock_wait = user.lock_wait;
  options.try_uring = false;
  options.at_once_in_memory = true;
  LocalDiskOpened opened = OpenLocalDisk(std::move(options));
  disk_ = std::move(opened.disk);
  if (disk_ == nullptr) refusal_ = std::move(opened.failure.sentence);
  const std::string& memory = shard.member.session_directory;
  std::error_code error;
  if (shard.member.here && !memory.empty() && fs::exists(memory, error)) {
    kept_ = std::make_unique<PosixKeptMemory>(
        PosixKeptMemory::Options{.directory = memory, .prefix = KeptPrefix(shard.place.shard)});
  } else {
    kept_ = std::make_unique<OwnMemory>();
  }
  loop_.Add(disk_.get());
  loop_.SetAlso([this] { return journal_ != nullptr && journal_->Turn(); });
}

JournalDoor::~JournalDoor() {
  if (journal_ != nullptr) (void)End();
  loop_.Remove(disk_.get());
}

Outcome<Done> JournalDoor::Open(bool survives_power) {
  const std::string name = NameOf(shard_.member, shard_.place.shard);
  if (disk_ == nullptr) return Fail(Code::kAccess, "{}: {}", name, refusal_);
  JournalOptions options;
  options.identity.uuid = shard_.superblock.uuid;
  options.identity.shard = shard_.superblock.shard;
  options.survives_power = survives_power;
  JournalFailure failure;
  Nothing nothing;
  auto recovered =
      loop_.Run(Recover(&loop_.executor(), {disk_.get(), kept_.get(), options.identity}, &nothing, &failure));
  if (recovered.ok() && recovered->superblock.sequence != shard_.superblock.sequence) {
    return Fail(Code::kBusy, "{}: a server had the journal open meanwhile; look again", name);
  }
  Status status = recovered.status();
  if (status.ok()) {
    clean_ = recovered->region.empty();
    auto opened = loop_.Run(Journal::Open(&loop_.executor(), disk_.get(), kept_.get(), options, std::move(*recovered)));
    status = opened.status();
    if (opened.ok()) journal_ = std::move(*opened);
  }
  if (status.ok()) return Done{};
  return Fail(status.code(), "{}: the journal cannot be opened to be written ({})", name, TextOf(status.code()));
}

Outcome<Done> JournalDoor::Write(Bytes fields, Bytes more_fields) {
  Status status = loop_.Run(Checkpoint(journal_.get(), fields, more_fields));
  if (status.ok()) status = End();
  if (status.ok()) return Done{};
  return Fail(status.code(), "{}: its new checkpoint cannot be written in {} ({}); make room there, and do it again",
              NameOf(shard_.member, shard_.place.shard), shard_.place.directory, TextOf(status.code()));
}

Task<Status> JournalDoor::Checkpoint(Journal* journal, Bytes fields, Bytes more_fields) {
  auto writer = journal->BeginCheckpoint();
  MAYFLY_CO_TRY(writer.status());
  Status status = co_await (*writer)->Put(fields);
  if (status.ok()) status = co_await (*writer)->Put(more_fields);
  if (status.ok()) status = co_await (*writer)->Finish();
  if (!status.ok()) (void)co_await (*writer)->Idle();
  co_return status;
}

// J2.
Status JournalDoor::End() {
  Status status;
  if (clean_) {
    status = loop_.Run(journal_->Close());
  } else {
    loop_.Run(journal_->Stop());
  }
  journal_.reset();
  return status;
}

}  // namespace mayfly
