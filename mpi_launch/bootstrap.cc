#include "bootstrap.h"

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "adapt/posix/clock.h"
#include "adapt/posix/random.h"
#include "base/log.h"
#include "device/device.h"
#include "node_memory.h"
#include "old_session.h"
#include "server_log.h"
#include "session/discover.h"
#include "storage.h"
#include "store/chunk_file.h"

namespace mayfly {
namespace {

constexpr Nanos kMeetWithin = 8 * kSecond,
                kMeetWithinPerRank = 200 * kMillisecond;  // of a node, whose cores they share
constexpr Nanos kFailWithin = 20 * kSecond;
constexpr uint64_t kShardMemoryUnit = uint64_t{2} << 20;
constexpr uint64_t kPrefaultMax = uint64_t{1} << 30;  // a shard: a third of a second of one core at the start

std::string Absolute(const std::string& path) {
  std::error_code error;
  return std::filesystem::absolute(path, error).lexically_normal().string();
}

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::string() : std::string(value);
}

template <class T>
std::string Encoded(const T& value, size_t bytes_max) {
  std::string text(bytes_max, '\0');
  Encoder encoder(MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size()));
  encoder.Put(value);
  MAYFLY_CHECK(encoder.ok());
  text.resize(encoder.size());
  return text;
}

template <class T>
T Decoded(const std::string& text) {
  T value;
  Decoder decoder(AsBytes(text));
  decoder.Get(value);
  MAYFLY_CHECK(decoder.Finish().ok());  // it is our own, of the same program on another rank
  return value;
}

// Sentences of the session room name the cause; where it is room or rights, this is what to do.
Outcome<Done> WithRemedy(Outcome<Done> outcome, const std::string& remedy) {
  if (outcome.ok() || !outcome.failure().sentence.starts_with("cannot ")) return outcome;
  Failure failure = outcome.failure();
  failure.sentence += "; " + remedy;
  return failure;
}

Outcome<Done> WithRemedyForDir(Outcome<Done> outcome) {
  const bool full = !outcome.ok() && outcome.failure().status.code() == Code::kNoSpace;
  return WithRemedy(std::move(outcome),
                    full ? "make room there, or give another --dir" : "give a --dir that you may write");
}

uint32_t CoresOfThisProcess() {
  cpu_set_t cores;
  return sched_getaffinity(0, sizeof cores, &cores) == 0 ? static_cast<uint32_t>(CPU_COUNT(&cores)) : ~0u;
}

}  // namespace

Outcome<Done> Bootstrap::Run(const std::function<void()>& serving) {
  Outcome<Done> result = Step("reading the options", [&] { return Understand(); });
  if (!result.ok()) {
    wrong_options_ = true;
    return result;
  }
  const auto then = [&](const char* doing, Outcome<Done> (Bootstrap::*step)()) {
    if (result.ok()) result = Step(doing, [&] { return (this->*step)(); });
  };
  then("agreeing on the session", &Bootstrap::DrawSession);
  if (options_.recover) {
    footprint_.KeepStorage(true);  // until the session is back; for ever, if it is only read
    if (result.ok()) FindOrder();
    then("looking for what the servers left", &Bootstrap::FindStorage);
    if (result.ok()) result = CheckMembers();
  }
  then("looking for memory", &Bootstrap::PlanRoom);
  if (result.ok()) result = CheckOldSession();
  if (options_.recover) then("looking for servers that use what is there", &Bootstrap::CheckUnused);
  if (result.ok() && !options_.dry_run) result = CheckFlushTarget();
  if (result.ok() && !options_.dry_run) {
    result = Step("joining the session on this node", [&]() -> Outcome<Done> {
      const Outcome<std::string> base = StorageOf(agreed_.uuid);
      if (!base.ok()) return base.failure();
      const Trail trail{options_.session, MpiSegments(), MpiLauncherDirectory(), options_.dir.empty() ? "" : *base};
      return WithRemedy(footprint_.Join(agreed_.runtime_path, agreed_.uuid, world_.rank(), trail),
                        "set MAYFLY_RUNTIME_DIR to a node-local directory that you may write");
    });
  }
  if (result.ok()) {
    result = Step("opening the network", [&]() -> Outcome<Done> {
      const std::vector<ShardId> missing = MissingShards();
      for (size_t i = world_.rank(); i < missing.size(); i += world_.size()) stand_ins_.push_back(missing[i]);
      auto shards = LocalShards::Create(options_, static_cast<uint32_t>(stand_ins_.size()));
      if (!shards.ok()) return shards.failure();
      shards_ = std::move(*shards);
      return Done{};
    });
  }
  then("exchanging addresses", &Bootstrap::Exchange);
  if (options_.dry_run) {
    then("reading the journals", &Bootstrap::Replay);
    shards_.reset();
    return result;
  }
  if (result.ok()) {
    result = Step("writing the session's files", [&] { return WriteFiles(SessionState::kStarting); });
  }
  if (keeps()) then("keeping the session's charter", &Bootstrap::KeepCharter);
  then("starting the server threads", &Bootstrap::StartShards);
  if (result.ok() && keeps()) {
    watch_.SetStep(options_.recover ? "bringing the files back" : "making the journals");
    result = world_.Agree(shards_->Open(options_.recover));
  }
  if (result.ok()) {
    // Who cannot be reached is said once, at the end of the step.
    if (!options_.log_level_given) SetLogLevel(LogLevel::kError);
    const Nanos within = kMeetWithin + world_.node_size() * kMeetWithinPerRank;
    result = Step("asking the other servers for a sign of life", [&] { return shards_->MeetOthers(within); });
    if (!options_.log_level_given) SetLogLevel(LogLevel::kWarn);
  }
  if (result.ok()) serving();
  then("declaring the session ready", &Bootstrap::BecomeReady);
  if (result.ok()) {
    footprint_.Keep();
    if (!reads_only()) {
      footprint_.KeepStorage(false);
      shards_->TakeOver();
    }
    if (keeps() && options_.flush_at_end && !options_.flush_to.empty()) footprint_.Withhold();
    if (world_.rank() == root_rank()) footprint_.CareForShared(options_.session, kWireVersion);
  } else {
    watch_.Ending(PosixClock().Now() + kFailWithin, kExitNotStarted, "");
    shards_.reset();
  }
  return result;
}

// ---- what was asked
// ---------------------------------------------------------------------------------------------------

Outcome<Done> Bootstrap::Understand() {
  const std::string here = options_.Common();
  const std::string there = world_.Share(here);
  const std::string there_host = world_.Share(world_.host());
  if (!line_.wrong.empty()) return Fail(Code::kInvalid, "{}", line_.wrong);
  for (size_t at = 0; at < std::min(here.size(), there.size());) {
    const std::string ours = here.substr(at, here.find('\n', at) - at);
    const std::string theirs = there.substr(at, there.find('\n', at) - at);
    if (ours != theirs) {
      return Fail(
          Code::kInvalid,
          "rank {} was started with other options than rank 0 on {} ({} here, {} there); start all ranks with the "
          "same ones",
          world_.rank(), there_host, ours, theirs);
    }
    at += ours.size() + 1;
  }
  return Done{};
}

void Bootstrap::ShareAgreement() {
  constexpr size_t kBytesMax = 64 * 1024;  // four paths and 104 bytes
  agreed_ = Decoded<Agreement>(world_.Share(Encoded(agreed_, kBytesMax)));
}

Outcome<Done> Bootstrap::DrawSession() {
  Outcome<Done> recalled = Done{};
  if (world_.rank() == 0) {
    PosixRandom random;
    PosixClock clock;
    random.Fill(agreed_.uuid);
    random.Fill(agreed_.secret);
    random.Fill(agreed_.server_secret);
    agreed_.created_ns = clock.Wall();
    agreed_.job = Variable("SLURM_JOB_ID").empty() ? Variable("PBS_JOBID") : Variable("SLURM_JOB_ID");
    agreed_.session_path = Absolute(options_.session);
    if (!options_.flush_to.empty()) agreed_.flush_target = Absolute(options_.flush_to);
    agreed_.runtime_path = RuntimeDir::PathFor(Variable("MAYFLY_RUNTIME_DIR"), geteuid());
    if (options_.recover) {
      recalled = RecallSession();
    } else if (const auto old = ReadOldSession(agreed_.session_path); old.ok() && *old) {
      agreed_.old = (*old)->uuid;
    }
  }
  ShareAgreement();
  options_.session = agreed_.session_path;
  options_.flush_to = agreed_.flush_target;
  return recalled;
}

// ---- room
// -------------------------------------------------------------------------------------------------------------

Outcome<Done> Bootstrap::PlanRoom() {
  MemoryPlan plan;
  plan.members = per_rank() ? world_.node_size() : 1;
  plan.shards = per_rank() ? options_.shards : options_.shards * world_.node_size();
  plan.asked_bytes = options_.memory_bytes;
  Outcome<uint64_t> planned = uint64_t{0};
  if (world_.leads_node()) {
    // What sessions of ours that died left here takes memory that we may need.
    Outcome<RuntimeDir> runtime = RuntimeDir::Open(agreed_.runtime_path, geteuid());
    if (runtime.ok()) {
      const auto leftovers = runtime->Leftovers();
      for (size_t i = 0; leftovers.ok() && i < leftovers->size(); ++i) {
        if (options_.dry_run) break;
        // What can be brought back is brought back, or refused by name.
        if ((*leftovers)[i].kept || ((*leftovers)[i].uuid == agreed_.old && LeftFiles(agreed_.old))) continue;
        MAYFLY_INFO("removing {}, which a dead session left", (*leftovers)[i].path);
        (void)runtime->RemoveLeftover((*leftovers)[i]);
      }
    }
    // What is brought back has its memory already.
    planned = recalled_ ? Outcome<uint64_t>(plan.asked_bytes != 0 ? plan.asked_bytes : recalled_->memory_bytes)
                        : PlanMemory(ReadNodeMemory(agreed_.runtime_path), plan);
  }
  member_bytes_ = world_.ShareOnNode(planned.ok() ? *planned : 0);
  if (!planned.ok()) return planned.failure();
  if (world_.rank() == 0) {
    const std::string warning = MemlockWarning(member_bytes_);
    if (!warning.empty()) MAYFLY_WARN("{}", warning);
    const auto cores = static_cast<uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
    if (CoresOfThisProcess() < std::min(cores, options_.shards)) {
      MAYFLY_WARN(
          "the launcher lets this process use {} cores for {} server threads; give it --bind-to none (mpirun) or "
          "--cpu-bind=none (srun)",
          CoresOfThisProcess(), options_.shards);
    }
  }
  return Done{};
}

Outcome<Done> Bootstrap::CheckOldSession() {
  std::optional<SessionFile> old;
  Outcome<Done> checked = Step("looking at the session file", [&]() -> Outcome<Done> {
    if (world_.rank() != 0) return Done{};
    Outcome<std::optional<SessionFile>> file = ReadOldSession(options_.session);
    if (!file.ok()) return file.failure();
    old = std::move(*file);
    const std::string directory = std::filesystem::path(options_.session).parent_path().string();
    return CheckWritable(directory, "--session", "create it, or give another one");
  });
  if (!checked.ok()) return checked;
  return Step("looking for servers of the session file", [&]() -> Outcome<Done> {
    const std::string text = world_.Share(old ? UuidText(old->uuid) : std::string());
    const auto uuid = ParseUuid(text);
    if (!uuid) return Done{};
    bool lives = world_.Max(world_.leads_node() && LivesHere(agreed_.runtime_path, *uuid) ? 1 : 0) != 0;
    const bool kept = world_.Max(world_.leads_node() && LeftFiles(*uuid) ? 1 : 0) != 0;
    const std::vector<std::string> hosts = world_.GatherAll(world_.host());
    if (!old) return Done{};  // rank 0 judges
    const bool elsewhere = std::any_of(old->hosts.begin(), old->hosts.end(), [&](const std::string& host) {
      return std::find(hosts.begin(), hosts.end(), host) == hosts.end();
    });
    if (!lives && elsewhere) lives = Answers(*old, options_.session, options_.ucx, world_.host());
    if (!lives && (options_.recover || !kept)) {
      if (!options_.recover) {
        MAYFLY_INFO("session file {} is of a session that has ended; it is replaced", options_.session);
      }
      return Done{};
    }
    if (!lives) {
      return Fail(Code::kBusy,
                  "session file {} is of a session whose servers were killed, and its files are still there; start "
                  "with --recover to bring them back, or give them up with `mayfly clean` on each node",
                  options_.session);
    }
    return Fail(
        Code::kBusy,
        "session file {} belongs to a session whose servers live (on {}{}); stop that one with `mayfly stop`, or "
        "give another --session",
        options_.session, old->hosts.front(), old->hosts.size() > 1 ? ", ..." : "");
  });
}

Outcome<Done> Bootstrap::CheckFlushTarget() {
  if (options_.flush_to.empty()) return Done{};
  Outcome<Done> made = Step("making the directory of --flush-to", [&]() -> Outcome<Done> {
    if (world_.rank() != 0) return Done{};
    return footprint_.MakeDirectory(options_.flush_to);
  });
  if (!made.ok()) return made;
  return Step("checking the directory of --flush-to", [&]() -> Outcome<Done> {
    if (world_.rank() == 0 || !world_.leads_node()) return Done{};
    return CheckWritable(options_.flush_to, "--flush-to", "give one on a filesystem that all nodes see");
  });
}

// Whether this node holds files of the session, which --recover could bring back.
bool Bootstrap::LeftFiles(const Uuid& uuid) const {
  const Outcome<std::string> base = StorageOf(uuid);
  if (!base.ok()) return false;
  const Outcome<std::vector<Charter>> found = FindMembers(*base, uuid, world_.host(), geteuid());
  return !found.ok() || !found->empty();
}

// ---- members
// ----------------------------------------------------------------------------------------------------------

Outcome<Done> Bootstrap::Exchange() {
  Introduction mine;
  mine.host = world_.host();
  mine.leader = static_cast<uint32_t>(world_.ShareOnNode(world_.rank()));
  mine.member = recalled_ ? recalled_->self.value : 0;
  mine.weight = options_.weight;
  mine.memory_bytes = member_bytes_;
  const std::vector<Bytes> addresses = shards_->addresses();
  for (size_t i = 0; i < addresses.size(); ++i) {
    (i < options_.shards ? mine.addresses : mine.stand_ins).emplace_back(AsText(addresses[i]));
  }
  const size_t bytes_max = 1024 + addresses.size() * (Transport::kAddressBytesMax + 8);
  std::vector<Introduction> ranks;
  for (const std::string& text : world_.GatherAll(Encoded(mine, bytes_max))) {
    ranks.push_back(Decoded<Introduction>(text));
  }
  Outcome<Done> built = BuildLayout(ranks);
  if (!built.ok()) return built;
  const uint64_t ours = placement_->Fingerprint();
  if (recalled_) {
    // Whoever lives through this finds the new addresses in a newer map. The node's own may be gone with its memory.
    uint32_t newest = 1;
    for (const std::string& path : {footprint_.directory() + "/map", options_.session + ".map"}) {
      const Outcome<NodeMap> map = NodeMap::Open(path, geteuid());
      if (map.ok() && map->session() == agreed_.uuid) newest = std::max(newest, map->view().value);
    }
    view_ = View(static_cast<uint32_t>(world_.Max(newest)) + 1);
  }
  const bool equal = world_.Max(ours) == ours && world_.Max(~ours) == ~ours;
  if (equal) return Done{};
  return Fail(Code::kCorrupt, "rank {} computes another placement than others; run the same mayflyd on all nodes",
              world_.rank());
}

// Members by their first rank, and the ranks of a member one after the other, so that all ranks number alike.
Outcome<Done> Bootstrap::NewMembers(const std::vector<Introduction>& ranks, std::vector<Member>* members,
                                    std::vector<std::vector<uint32_t>>* ranks_of) const {
  std::map<uint32_t, uint32_t> member_of;  // by first rank
  for (uint32_t r = 0; r < ranks.size(); ++r) {
    const uint32_t first = per_rank() ? r : ranks[r].leader;
    const auto [at, is_new] = member_of.try_emplace(first, static_cast<uint32_t>(members->size()));
    if (is_new) {
      if (members->size() == Layout::kMembersMax) {
        return Fail(Code::kInvalid, "there are more than {} members; start fewer ranks, or leave out --member-per rank",
                    Layout::kMembersMax);
      }
      members->push_back({MemberId(static_cast<uint16_t>(at->second)), ranks[r].host, ranks[r].weight, 0});
      ranks_of->emplace_back();
    }
    (*members)[at->second].shards += static_cast<uint32_t>(ranks[r].addresses.size());
    (*ranks_of)[at->second].push_back(r);
  }
  return Done{};
}

Outcome<Done> Bootstrap::BuildLayout(const std::vector<Introduction>& ranks) {
  std::vector<Member> members;
  std::vector<std::vector<uint32_t>> ranks_of;
  Outcome<Done> found = recalled_ ? OldMembers(ranks, &members, &ranks_of) : NewMembers(ranks, &members, &ranks_of);
  if (!found.ok()) return found;
  Result<Layout> layout = Layout::Build(std::move(members));
  if (!layout.ok()) return Fail(layout.code(), "no layout for these members; start fewer ranks or --shards");
  layout_ = std::move(*layout);
  const std::vector<ShardId> missing = MissingShards();
  for (const auto& of_member : ranks_of) {
    // As Run deals them out.
    for (auto it = missing.begin(); it != missing.end(); ++it) {
      if (it->value != addresses_.size()) continue;
      const auto number = static_cast<uint32_t>(it - missing.begin());
      addresses_.push_back(ranks[number % ranks.size()].stand_ins[number / ranks.size()]);
      rank_of_shard_.push_back(number % static_cast<uint32_t>(ranks.size()));
    }
    for (uint32_t r : of_member) {
      if (r == world_.rank()) first_shard_ = ShardId(static_cast<uint32_t>(addresses_.size()));
      for (const std::string& address : ranks[r].addresses) {
        addresses_.push_back(address);
        rank_of_shard_.push_back(r);
      }
    }
  }
  MAYFLY_CHECK(addresses_.size() == layout_->shard_count());
  if (options_.supervise && layout_->member(member()).shards != options_.shards) {
    return Fail(Code::kInvalid,
                "--supervise: member {} has several processes, none of which can be started again alone; start one a "
                "node, with --shards, or give --member-per rank",
                member().value);
  }
  Result<Placement> placement = Placement::Build(*layout_);
  if (!placement.ok()) return Fail(placement.code(), "no placement for these members; start fewer ranks or --shards");
  placement_ = std::move(*placement);
  return Done{};
}

// The directories of this rank's shards, and by the member's first rank its charter.
Outcome<Done> Bootstrap::KeepCharter() {
  const Outcome<std::string> base = StorageOf(agreed_.uuid);
  if (!base.ok()) return base.failure();
  base_ = *base;
  std::vector<ShardId> shards;
  for (uint32_t i = 0; i < options_.shards; ++i) shards.push_back(ShardId(first_shard_.value + i));
  const auto device = SplitDevicePath(base_);
  const auto with_remedy = [&](Outcome<Done> outcome) {
    return device ? std::move(outcome) : WithRemedyForDir(std::move(outcome));
  };
  Outcome<Done> made = reads_only() ? Outcome<Done>(Done{}) : with_remedy(MakeStorage(base_, member(), shards));
  const uint32_t shards_of_member = layout_->member(member()).shards;
  options_.journal_bytes = JournalBytes(options_.journal_bytes, member_bytes_ / shards_of_member, options_.dir.empty());
  const bool leads = layout_->FirstShardOf(member()) == first_shard_;
  if (made.ok() && leads && !reads_only()) footprint_.CareForStorage(base_, member());
  if (made.ok() && device && !recalled_) made = ShareDevice(device->device, shards_of_member);
  if (options_.capacity_bytes == 0 && options_.durability == Durability::kNode) {
    options_.capacity_bytes = 2 * member_bytes_;
  }
  if (!made.ok() || !leads || recalled_) return made;
  Charter charter;
  charter.uuid = agreed_.uuid;
  charter.secret = agreed_.secret;
  charter.server_secret = agreed_.server_secret;
  charter.uid = geteuid();
  charter.created_ns = agreed_.created_ns;
  charter.job = agreed_.job;
  charter.member_per_rank = per_rank();
  charter.chunk_bits = options_.chunk_bits;
  charter.checksums = options_.checksums;
  charter.durability = TextOf(options_.durability);
  charter.fsync = TextOf(options_.fsync);
  charter.journal_bytes = options_.journal_bytes;
  charter.commit_interval_ns = options_.commit_interval;
  charter.memory_bytes = member_bytes_;
  charter.capacity_bytes = options_.capacity_bytes;
  charter.evict = TextOf(options_.evict);
  charter.flush_to = options_.flush_to;
  charter.members.assign(layout_->members().begin(), layout_->members().end());
  charter.self = member();
  return with_remedy(WriteCharter(MemberStorage(base_, member()), charter));
}

// What of a device is this member's, and how much of that its chunk files may take.
Outcome<Done> Bootstrap::ShareDevice(const std::string& path, uint32_t shards) {
  constexpr uint64_t kMiB = uint64_t{1} << 20;
  constexpr uint64_t kBesideJournal = 33 * kMiB;  // two checkpoints as they begin, and a share of the charter
  Device device;
  const DeviceFailure opened = device.Open(path, true);
  if (!opened.ok()) return Fail(opened.code, "cannot keep data in {}: {}", path, opened.sentence);
  const uint64_t members = per_rank() && !HasRank(options_.dir) ? world_.node_size() : 1;
  const uint64_t bytes = (device.bytes() - DeviceTable::kDataOffset) / members;
  const uint64_t journals = shards * (options_.journal_bytes + kBesideJournal);
  const uint64_t data = bytes > journals ? (bytes - journals) / shards / kMiB * kMiB * shards : 0;
  if (options_.capacity_bytes != 0 && options_.capacity_bytes > data) {
    return Fail(Code::kNoSpace,
                "--capacity {}: beside its journals {} has room for {}{}; give no more, or leave it out",
                SizeText(options_.capacity_bytes), path, SizeText(data), members == 1 ? "" : " a member");
  }
  if (options_.capacity_bytes != 0 || options_.durability != Durability::kNode) return Done{};
  // All of it but for what checkpoints may grow to: about as large as the tables in memory are.
  const uint64_t tables = std::min(2 * member_bytes_, data / 8);
  options_.capacity_bytes = (data - tables) / shards / kMiB * kMiB * shards;
  if (options_.capacity_bytes >= shards * kMiB) return Done{};
  return Fail(Code::kNoSpace,
              "cannot keep data in {}: beside its journals there is no room; give a smaller "
              "--journal-bytes, or a larger device",
              path);
}

uint32_t Bootstrap::root_rank() const { return rank_of_shard_[book_->map().placement().RootShard().value]; }

// ---- files
// ------------------------------------------------------------------------------------------------------------

SessionFile Bootstrap::DescribeSession(SessionState state) const {
  SessionFile file;
  file.uuid = agreed_.uuid;
  file.secret = agreed_.secret;
  file.protocol = kWireVersion;
  file.state = state;
  file.durable = keeps();
  file.degraded = options_.degraded;
  file.syncs = options_.durability == Durability::kNode && options_.fsync == Fsync::kCommit;
  file.job = agreed_.job;
  file.uid = geteuid();
  file.created_ns = agreed_.created_ns;
  file.member_count = layout_->member_count();
  file.shard_count = layout_->shard_count();
  file.map_path = footprint_.directory() + "/map";
  file.hosts = HostsOf(*layout_);
  return file;
}

Outcome<Done> Bootstrap::WriteFiles(SessionState state) {
  const SessionFile file = DescribeSession(state);
  std::vector<Bytes> addresses;
  for (const std::string& address : addresses_) addresses.push_back(AsBytes(address));
  Outcome<Done> written = Done{};
  const std::string node_remedy = "make room in the runtime directory (`mayfly clean`), or set MAYFLY_RUNTIME_DIR";
  const std::string shared_remedy = "give a --session that can be written";
  const auto with_map = [&](auto write) {
    write(NodeMapSource{agreed_.uuid, view_, *layout_, RingOptions(), *placement_, addresses});
  };
  const bool starting = state == SessionState::kStarting;
  if (world_.leads_node()) {
    if (starting) {
      with_map([&](const NodeMapSource& map) { written = WithRemedy(footprint_.WriteNodeMap(map), node_remedy); });
    }
    if (written.ok()) written = WithRemedy(footprint_.WriteNodeFile(file), node_remedy);
  }
  if (world_.rank() != 0 || !written.ok()) return written;
  if (starting) {
    with_map([&](const NodeMapSource& map) {
      written = WithRemedy(footprint_.WriteShared(options_.session, file, &map), shared_remedy);
    });
    return written;
  }
  return WithRemedy(footprint_.WriteShared(options_.session, file, nullptr), shared_remedy);
}

// ---- ready
// ------------------------------------------------------------------------------------------------------------

Outcome<Done> Bootstrap::StartShards() {
  Outcome<NodeMap> map = MapOfThisStart();
  if (!map.ok()) return map.failure();
  if (map->placement().Fingerprint() != placement_->Fingerprint()) {
    return Fail(Code::kCorrupt, "the node map of {} has another placement; run the same mayflyd on all nodes",
                world_.host());
  }
  book_ = std::make_unique<NodeBook>(std::move(*map), footprint_.directory() + "/map", geteuid());
  placement_.reset();  // from now on the one that the whole node shares
  addresses_.clear();

  LocalShards::Setup setup;
  setup.book = book_.get();
  ViewKeeper::Options views{footprint_.directory() + "/map", options_.session + ".map", false, geteuid()};
  views.has_root = root_rank() == world_.rank();
  keeper_ = std::make_unique<ViewKeeper>(std::move(views), view_);
  setup.keeper = keeper_.get();
  setup.first = first_shard_;
  setup.arena_directory = agreed_.runtime_path + "/" + UuidText(agreed_.uuid);
  setup.session = options_.session;
  setup.oversubscribed = uint64_t{options_.shards} * world_.node_size() >
                         static_cast<uint64_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
  ShardOptions& shard = setup.shard;
  shard = OptionsOfThisProcess(world_.host());
  shard.secret = agreed_.secret;
  shard.uuid = agreed_.uuid;
  shard.server_secret = agreed_.server_secret;
  const uint32_t shards_of_member = layout_->member(layout_->MemberOf(first_shard_)).shards;
  shard.memory_bytes = member_bytes_ / shards_of_member / kShardMemoryUnit * kShardMemoryUnit;
  if (keeps()) {
    KeepJournal(&shard, options_.durability, options_.fsync,
                {options_.journal_bytes, options_.commit_interval, options_.dir.empty()});
    if (options_.capacity_bytes != 0) {
      shard.disk_bytes = std::max(options_.capacity_bytes / shards_of_member, kChunkFileBytesMin);
    }
    shard.evict = options_.evict;
    setup.storage = base_;
    setup.recover = options_.recover;
    shard.takes_up_stops = false;
  }
  if (reads_only()) {
    shard.role = options_.dry_run ? ShardRole::kLook : ShardRole::kReadOnly;
    shard.root_permissions = 0700;  // of a root that is missing, whose own are not known
    setup.look_only = true;
    setup.stand_ins = stand_ins_;
  }
  if (!reads_only()) shard.prefault_ahead_bytes = std::min(shard.memory_bytes / 4, kPrefaultMax);
  shard.chunk_bits = options_.chunk_bits;
  shard.checksums = options_.checksums;
  shard.flush_target = options_.flush_to;
  shard.flush_budget_ms = static_cast<uint32_t>(options_.flush_by_s * 1000);
  for (const Member& member : layout_->members()) shard.stage_shards.push_back(layout_->FirstShardOf(member.id));
  for (uint32_t i = 0; i < options_.shards && !reads_only(); ++i) {
    footprint_.AddShard(ShardId(first_shard_.value + i));
  }
  return shards_->Start(std::move(setup));
}

Outcome<Done> Bootstrap::BecomeReady() {
  if (world_.rank() == 0) {
    // Two starts at once: the file names the later one.
    const Outcome<std::optional<SessionFile>> file = ReadOldSession(options_.session);
    if (!file.ok() || !*file || (*file)->uuid != agreed_.uuid) {
      return Fail(Code::kBusy, "another server took the session file {} meanwhile; give another --session",
                  options_.session);
    }
  }
  return WriteFiles(SessionState::kReady);
}

std::string Bootstrap::ReadySentence() const {
  const size_t hosts = HostsOf(*layout_).size();
  const auto several = [](uint64_t count, const char* what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
  };
  const std::string end = options_.flush_to.empty() ? "nothing is kept at the end (no --flush-to)"
                          : options_.flush_at_end   ? "at the end everything is flushed to " + options_.flush_to
                                                  : "`mayfly stop` flushes to " + options_.flush_to + ", a signal not";
  if (options_.degraded) {
    return fmt::format("ready: degraded, {} of {} missing; session file {}; {}; what lies in the storage stays",
                       missing_members_.size(), several(layout_->member_count(), "member"), options_.session, end);
  }
  return fmt::format("ready: {} with {} on {}, {} each; session file {}; {}",
                     several(layout_->member_count(), "member"), several(layout_->shard_count(), "shard"),
                     several(hosts, "host"), SizeText(member_bytes_), options_.session, end);
}

}  // namespace mayfly
