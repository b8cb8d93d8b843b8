#include "inspect/journal_door.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <string>

#include "adapt/posix/posix_kept_memory.h"
#include "inspect/storage_sources.h"
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

}  // namespace

JournalDoor::JournalDoor(const StoredShard& shard, const PlacesOptions& user, bool survives_power)
    : shard_(shard), survives_power_(survives_power) {
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
  if (disk_ == nullptr) return;
  JournalOptions journal;
  journal.identity.uuid = shard.superblock.uuid;
  journal.identity.shard = shard.superblock.shard;
  journal.survives_power = survives_power;
  rewrite_ = std::make_unique<JournalRewrite>(&loop_.executor(), disk_.get(), kept_.get(), journal);
  loop_.Add(disk_.get());
  loop_.SetAlso([this] { return rewrite_->Turn(); });
}

JournalDoor::~JournalDoor() {
  if (rewrite_ != nullptr && rewrite_->is_open()) (void)loop_.Run(rewrite_->End());
  rewrite_.reset();
  loop_.SetAlso({});
  loop_.Remove(disk_.get());
}

Outcome<Done> JournalDoor::Open(const ShardTables& tables) {
  const std::string name = NameOf(shard_.member, shard_.place.shard);
  if (rewrite_ == nullptr) return Fail(Code::kAccess, "{}: {}", name, refusal_);
  Status status = loop_.Run(rewrite_->Recover(shard_.superblock.sequence));
  if (status.code() == Code::kBusy) {
    return Fail(Code::kBusy, "{}: a server had the journal open meanwhile; look again", name);
  }
  if (status.ok() && survives_power_) {
    StoredSource source(&shard_);
    const Status brought = loop_.Run(rewrite_->BringBytes(&source, StoreLook(&tables.store()).Unwritten()));
    if (!brought.ok()) {
      return Fail(
          brought.code(),
          "{}: what its memory in {} has cannot be written to {}/{} ({}); look at the kernel's log, or save what "
          "is there with `mayfly salvage`",
          name, shard_.member.session_directory, shard_.place.directory, kChunkFileName, TextOf(brought.code()));
    }
  }
  if (status.ok()) status = loop_.Run(rewrite_->Open());
  if (status.ok()) return Done{};
  return Fail(status.code(), "{}: the journal cannot be opened to be written ({})", name, TextOf(status.code()));
}

Outcome<Done> JournalDoor::Write(Bytes fields, Bytes more_fields) {
  Status status = loop_.Run(rewrite_->Write(fields, more_fields));
  if (status.ok()) status = loop_.Run(rewrite_->End());
  if (status.ok()) return Done{};
  return Fail(status.code(), "{}: its new checkpoint cannot be written in {} ({}); make room there, and do it again",
              NameOf(shard_.member, shard_.place.shard), shard_.place.directory, TextOf(status.code()));
}

}  // namespace mayfly
