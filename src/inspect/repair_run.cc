#include "inspect/repair_run.h"

#include <algorithm>
#include <filesystem>

#include "inspect/journal_door.h"
#include "inspect/storage_sources.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

// Why a shard's journal cannot get a checkpoint by anybody but its server; empty if it can.
std::string Refusal(const StoredShard& shard, const std::string& durability) {
  const std::string name = NameOf(shard.member, shard.place.shard);
  const bool keeps_data = durability == "node";
  std::error_code error;
  const bool memory = !shard.member.session_directory.empty() && fs::exists(shard.member.session_directory, error);
  switch (shard.tail) {
    case TailMemory::kNotNeeded:
      if (keeps_data || (shard.member.here && memory)) return {};
      break;
    case TailMemory::kRead:
      return {};
    case TailMemory::kGone:
      if (keeps_data) return {};
      break;
    case TailMemory::kElsewhere:
      return fmt::format(
          "{}: the last part of its journal lies in the memory of {}: repair it there, or, where servers ran on "
          "several hosts, start the session with mayflyd --recover and end it with `mayfly stop --keep` first",
          name, shard.member.host);
    case TailMemory::kForeign:
      return fmt::format(
          "{}: the last part of its journal is damaged in memory; save what there is with `mayfly "
          "salvage`",
          name);
  }
  return fmt::format(
      "{}: a part of it was in the memory of {}, which is not here, and without it the session cannot be "
      "started again; save what there is with `mayfly salvage`",
      name, shard.member.host);
}

}  // namespace

Outcome<std::unique_ptr<Repair>> Repair::Prepare(const std::vector<std::string>& directories,
                                                 const PlacesOptions& user) {
  Outcome<Storage> opened = OpenStorage(directories, {.user = user, .keep_fields = true});
  if (!opened.ok()) return opened.failure();
  std::unique_ptr<Repair> repair(new Repair(std::move(*opened), user));
  Storage& storage = repair->storage_;
  if (!storage.absent.empty()) {
    return Fail(Code::kInvalid, "--repair takes the directories of all members: {}", storage.absent.front());
  }
  for (const auto& shard : storage.shards) {
    if (shard == nullptr) {
      return Fail(Code::kInvalid,
                  "--repair takes the journals of all members: {}; save what there is with `mayfly "
                  "salvage`",
                  storage.problems.empty() ? "one is missing" : storage.problems.front());
    }
    if (std::string refusal = Refusal(*shard, storage.durability); !refusal.empty()) {
      return Fail(Code::kInvalid, "{}", refusal);
    }
    RepairShard& one = repair->shards_.emplace_back();
    one.before_tail = shard->tables->accepted_before_tail();
    one.fields = std::move(shard->fields);
    one.whole = shard->whole;
    one.chunk_file_blocks = shard->bytes->chunk_file_bytes() / Disk::kBlockBytes;
  }
  repair->tables_.resize(storage.shards.size());
  Outcome<RepairPlan> plan =
      PlanRepair(storage.layout, *storage.placement, repair->shards_, static_cast<Nanos>(PosixClock().Wall()));
  if (!plan.ok()) return plan.failure();
  repair->plan_ = std::move(*plan);
  if (const Outcome<Done> all = repair->FindUnwritten(); !all.ok()) return all.failure();
  return repair;
}

// W3.
Outcome<Done> Repair::FindUnwritten() {
  for (const auto& shard : storage_.shards) {
    if (!IsOpened(*shard)) continue;
    const uint32_t number = shard->place.shard.value;
    tables_[number] = TablesWith(shard->place.shard, shards_[number], plan_.images[number].bytes());
    if (!keeps_data()) continue;
    StoredSource source(shard.get());
    const UnwrittenCount count = CountUnwritten(&source, StoreLook(&tables_[number]->store()).Unwritten());
    unwritten_bytes_ += count.bytes;
    if (count.missing_bytes == 0) continue;
    return Fail(
        Code::kInvalid,
        "{}: {} bytes of files are neither on the disk nor in its memory in {} any more, of which a part is gone; "
        "save what there is with `mayfly salvage`",
        NameOf(shard->member, shard->place.shard), count.missing_bytes, shard->member.session_directory);
  }
  return Done{};
}

bool Repair::IsNeeded() const {
  const auto damaged = [](const RepairShard& shard) { return !shard.whole; };
  return plan_.mended != 0 || std::any_of(shards_.begin(), shards_.end(), damaged);
}

bool Repair::Changes(ShardId shard) const {
  return IsNeeded() && (!plan_.images[shard.value].empty() || !shards_[shard.value].whole);
}

// W2.
bool Repair::IsOpened(const StoredShard& shard) const {
  return Changes(shard.place.shard) || (IsNeeded() && keeps_data() && shard.tail == TailMemory::kRead);
}

std::vector<std::string> Repair::Changed() const {
  std::vector<std::string> names;
  for (const auto& shard : storage_.shards) {
    if (Changes(shard->place.shard)) names.push_back(NameOf(shard->member, shard->place.shard));
  }
  return names;
}

Outcome<Done> Repair::Write() {
  if (const Outcome<Done> unchanged = Unchanged(storage_); !unchanged.ok()) return unchanged;
  std::vector<std::unique_ptr<JournalDoor>> doors(storage_.shards.size());
  for (const auto& shard : storage_.shards) {
    const Outcome<Done> dead = CheckDead(shard->member, user_);
    if (!dead.ok()) return dead;
    if (!IsOpened(*shard)) continue;
    const uint32_t number = shard->place.shard.value;
    doors[number] = std::make_unique<JournalDoor>(*shard, user_, keeps_data());
    const Outcome<Done> opened = doors[number]->Open(*tables_[number]);
    if (!opened.ok()) return opened;  // W1, W2
  }
  for (const auto& shard : storage_.shards) {
    if (!Changes(shard->place.shard)) continue;
    const uint32_t number = shard->place.shard.value;
    const Outcome<Done> written = doors[number]->Write(shards_[number].fields.bytes(), plan_.images[number].bytes());
    if (!written.ok()) return written;
  }
  return Done{};
}

}  // namespace mayfly
