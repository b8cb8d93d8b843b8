// What a start with --recover does besides: it finds the session and the members' storage, and, when that is only to be
// read, goes on without those that are missing, or ends when it has read (--replay dry-run).
#include <unistd.h>

#include <algorithm>

#include "adapt/posix/clock.h"
#include "bootstrap.h"
#include "old_session.h"
#include "storage.h"

namespace mayfly {

// By rank 0: which session is to be brought back, and what its servers knew.
Outcome<Done> Bootstrap::RecallSession() {
  std::vector<Uuid> sessions;
  const Outcome<std::optional<SessionFile>> file = ReadOldSession(agreed_.session_path);
  if (!file.ok()) return file.failure();
  if (*file && !(*file)->durable) {
    return Fail(Code::kNoEntry,
                "--recover: session {} ran at --durability none, which keeps nothing; start a new one, at "
                "--durability process or node if it shall come back",
                UuidText((*file)->uuid));
  }
  if (*file) {
    sessions.push_back((*file)->uuid);
  } else if (!options_.dir.empty()) {
    for (uint32_t r = 0; r < (HasRank(options_.dir) ? world_.size() : 1) && sessions.empty(); ++r) {
      const Outcome<std::string> directory = ExpandDirectory(options_.dir, world_.host(), r);
      if (!directory.ok()) return directory.failure();
      sessions = FindSessions(*directory);
    }
  }
  if (sessions.size() != 1) {
    return Fail(Code::kNoEntry,
                "--recover: there is no session file {}{}; name the session file of the servers that were killed",
                agreed_.session_path,
                sessions.empty() ? std::string() : fmt::format(", and {} sessions in --dir", sessions.size()));
  }
  agreed_.uuid = agreed_.old = sessions.front();
  return Done{};
}

// Where this rank's part of a session keeps what outlives it.
Outcome<std::string> Bootstrap::StorageOf(const Uuid& uuid) const {
  return StorageOf(uuid, old_rank_.value_or(world_.rank()));
}

Outcome<std::string> Bootstrap::StorageOf(const Uuid& uuid, uint32_t rank) const {
  const Outcome<std::string> directory = ExpandDirectory(options_.dir, world_.host(), rank);
  if (!directory.ok()) return directory;
  return StorageBase(*directory, agreed_.runtime_path + "/" + UuidText(uuid), uuid);
}

// With %r in --dir each rank has a directory of its own. Where one finds nothing in it the ranks come in another order
// than at the first start, and each takes its turn among the directories that are on its node.
void Bootstrap::FindOrder() {
  if (!HasRank(options_.dir)) return;
  const auto found_at = [this](uint32_t rank) -> Outcome<std::vector<Charter>> {
    const Outcome<std::string> base = StorageOf(agreed_.uuid, rank);
    if (!base.ok()) return base.failure();
    return FindMembers(*base, agreed_.uuid, world_.host(), geteuid());
  };
  const Outcome<std::vector<Charter>> own = found_at(world_.rank());
  if (world_.Max(own.ok() && own->empty() ? 1 : 0) == 0) return;
  if (!per_rank() && world_.node_size() > 1) return;
  std::vector<uint32_t> ranks;
  uint32_t end = world_.size();
  for (uint32_t r = 0; r < end; ++r) {
    const Outcome<std::vector<Charter>> found = found_at(r);
    if (found.ok() && found->empty()) continue;
    ranks.push_back(r);  // what is damaged, FindStorage names
    if (found.ok()) end = std::max(end, static_cast<uint32_t>(found->front().members.size()));
  }
  // One that is too many has the directory of nobody.
  old_rank_ = world_.node_rank() < ranks.size() ? ranks[world_.node_rank()] : end;
}

// The storage of this rank's member, on every rank.
Outcome<Done> Bootstrap::FindStorage() {
  const Outcome<std::string> base = StorageOf(agreed_.uuid);
  if (!base.ok()) return base.failure();
  Outcome<std::vector<Charter>> found =
      FindMembers(*base, agreed_.uuid, world_.host(), geteuid(), reads_only() ? &damaged_charters_ : nullptr);
  if (!found.ok()) return found.failure();
  // With %r each rank looks into a directory of its own.
  const bool shared = !HasRank(options_.dir);
  const size_t wanted = per_rank() && shared ? world_.node_size() : 1;
  if (found->size() != wanted) {
    return Fail(Code::kNoEntry,
                "--recover: {} holds {} member{} of the session in {}, and {} would be started there; start {} there, "
                "with the --dir and MAYFLY_RUNTIME_DIR of the first start",
                world_.host(), found->size(), found->size() == 1 ? "" : "s", *base, wanted,
                per_rank() ? "as many processes" : "one process a node");
  }
  recalled_ = std::move((*found)[per_rank() && shared ? world_.node_rank() : 0]);
  return Done{};
}

// Every member of the session has found its storage, and the session goes on as it began.
Outcome<Done> Bootstrap::CheckMembers() {
  // What rank 0 found is of the session, so it is what all go on with.
  if (world_.rank() == 0) {
    agreed_.secret = recalled_->secret;
    agreed_.server_secret = recalled_->server_secret;
    agreed_.created_ns = recalled_->created_ns;
    agreed_.job = recalled_->job;
  }
  ShareAgreement();
  options_.chunk_bits = static_cast<uint8_t>(recalled_->chunk_bits);
  options_.checksums = recalled_->checksums;
  options_.journal_bytes = recalled_->journal_bytes;
  options_.commit_interval = recalled_->commit_interval_ns;
  if (options_.flush_to.empty()) options_.flush_to = recalled_->flush_to;
  options_.durability = DurabilityOf(recalled_->durability);
  options_.fsync = FsyncOf(recalled_->fsync);
  options_.capacity_bytes = recalled_->capacity_bytes;
  options_.evict = EvictOf(recalled_->evict);
  const std::vector<std::string> ids = world_.GatherAll(std::to_string(recalled_->self.value));
  for (const Member& member : recalled_->members) {
    if (std::find(ids.begin(), ids.end(), std::to_string(member.id.value)) == ids.end()) {
      missing_members_.push_back(member.id);
    }
  }
  NameTheMissing();
  return Step("looking for every member", [&]() -> Outcome<Done> {
    if (missing_members_.empty() || reads_only()) return Done{};
    const Member& member = recalled_->members[missing_members_.front().value];
    return Fail(Code::kNoEntry,
                "--recover: member {} of the session, on {}, is missing; start a process there too, with the --dir "
                "and MAYFLY_RUNTIME_DIR of the first start, or read what the others hold with --recover degraded",
                member.id.value, member.host);
  });
}

// A sentence for each missing member; of a charter that is damaged, that is the cause.
void Bootstrap::NameTheMissing() {
  std::string causes;
  for (const std::string& cause : damaged_charters_) causes += cause + "\n";
  for (const std::string& text : reads_only() ? world_.GatherAll(causes) : std::vector<std::string>()) {
    for (size_t at = 0; at < text.size();) {
      const size_t end = text.find('\n', at);
      const std::string line = text.substr(at, end - at);
      if (std::find(missing_.begin(), missing_.end(), line) == missing_.end()) missing_.push_back(line);
      at = end + 1;
    }
  }
  for (MemberId id : missing_members_) {
    const std::string& host = recalled_->members[id.value].host;
    // Where its rank was not another one than its number; else it is what it would be.
    const Outcome<std::string> directory = ExpandDirectory(options_.dir, host, id.value);
    const std::string base = StorageBase(directory.ok() ? *directory : options_.dir,
                                         agreed_.runtime_path + "/" + UuidText(agreed_.uuid), agreed_.uuid);
    missing_.push_back(
        fmt::format("member {} on {}: no process has found its {}", id.value, host, MemberStorage(base, id)));
  }
}

bool Bootstrap::IsMissing(MemberId member) const {
  return std::find(missing_members_.begin(), missing_members_.end(), member) != missing_members_.end();
}

std::vector<ShardId> Bootstrap::MissingShards() const {
  std::vector<ShardId> shards;
  if (!recalled_) return shards;
  uint32_t next = 0;
  for (const Member& member : recalled_->members) {
    const bool missing = IsMissing(member.id);
    for (uint32_t i = 0; missing && i < member.shards; ++i) shards.push_back(ShardId(next + i));
    next += member.shards;
  }
  return shards;
}

// A server that lives where this one does not see it (another runtime directory, a container) holds its journals.
Outcome<Done> Bootstrap::CheckUnused() {
  const Outcome<std::string> base = StorageOf(agreed_.uuid);
  if (!base.ok()) return base.failure();
  PosixClock clock;
  for (const Nanos until = clock.Now() + kKilledIsGoneWithin; InUse(*base, *recalled_); usleep(kLookAgainAfterUs)) {
    if (clock.Now() < until) continue;
    return Fail(Code::kBusy,
                "--recover: member {} of the session in {} is in use by a server that lives; end it with `mayfly stop`",
                recalled_->self.value, MemberStorage(*base, recalled_->self));
  }
  return Done{};
}

// Those that the first start fixed, whichever ranks bring them back.
Outcome<Done> Bootstrap::OldMembers(const std::vector<Introduction>& ranks, std::vector<Member>* members,
                                    std::vector<std::vector<uint32_t>>* ranks_of) const {
  *members = recalled_->members;
  ranks_of->resize(members->size());
  for (uint32_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r].member < members->size()) (*ranks_of)[ranks[r].member].push_back(r);
  }
  for (const Member& member : *members) {
    if (IsMissing(member.id)) continue;
    size_t shards = 0;
    for (uint32_t r : (*ranks_of)[member.id.value]) shards += ranks[r].addresses.size();
    if (shards == member.shards) continue;
    return Fail(Code::kInvalid,
                "--recover: member {} on {} had {} server thread{} and would have {}; give the same "
                "number of processes and --shards",
                member.id.value, member.host, member.shards, member.shards == 1 ? "" : "s", shards);
  }
  return Done{};
}

// The node map as the file has it; of a start that writes nothing, out of memory.
Outcome<NodeMap> Bootstrap::MapOfThisStart() const {
  const std::string path = footprint_.directory() + "/map";
  if (!options_.dry_run) return NodeMap::Open(path, geteuid());
  std::vector<Bytes> addresses;
  for (const std::string& address : addresses_) addresses.push_back(AsBytes(address));
  Outcome<std::vector<uint8_t>> encoded =
      EncodeNodeMap({agreed_.uuid, view_, *layout_, RingOptions(), *placement_, addresses});
  if (!encoded.ok()) return encoded.failure();
  const auto bytes = std::make_shared<std::vector<uint8_t>>(std::move(*encoded));
  return NodeMap::Parse(*bytes, "the node map", bytes);
}

// --replay dry-run: everything but a session.
Outcome<Done> Bootstrap::Replay() {
  Outcome<Done> done = KeepCharter();
  if (done.ok()) done = StartShards();
  if (done.ok()) done = shards_->Open(true);
  std::string text;
  Replayed mine = Replayed::kWhole;
  if (done.ok()) {
    const LocalShards::Lacks& lacks = shards_->lacks();
    for (const std::string& line : shards_->brought_back()) text += line + "\n";
    for (const std::string& line : lacks.damage) text += "damaged: " + line + "\n";
    for (const std::string& line : lacks.refusals) text += "lost: " + line + "\n";
    if (lacks.in_doubt != 0) {
      text += fmt::format("member {}: {} changes wait for another member to say how they end\n", member().value,
                          lacks.in_doubt);
    }
    if (!lacks.damage.empty()) mine = Replayed::kDamaged;
    if (!lacks.refusals.empty()) mine = Replayed::kRefused;
  }
  for (const std::string& one : world_.GatherAll(text)) replay_report_ += one;
  for (const std::string& line : missing_) replay_report_ += "missing: " + line + "\n";
  replayed_ = static_cast<Replayed>(world_.Max(static_cast<uint64_t>(mine)));
  if (!missing_members_.empty()) replayed_ = Replayed::kRefused;
  return done;
}

}  // namespace mayfly
