#include "rejoin.h"

#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <utility>
#include <vector>

#include "base/log.h"
#include "footprint.h"
#include "local_shards.h"
#include "node_book.h"
#include "old_session.h"
#include "server_log.h"
#include "session/discover.h"
#include "signals.h"
#include "stop_report.h"
#include "storage.h"
#include "view_keeper.h"
#include "watch.h"
#include "world.h"

namespace mayfly {
namespace {

constexpr Nanos kEndWithin = 8 * kSecond;
constexpr Nanos kAnnounceWithin = 60 * kSecond, kAnnounceAgainAfter = 500 * kMillisecond;
// Of the mark of a process that is no rank: behind all ranks.
constexpr uint32_t kFirstMark = 1u << 24;

class Rejoin {
 public:
  // `here`: this node, as a client sees it.
  Rejoin(CommandLine line, const DiscoverOptions& here, Watch& watch, Footprint& footprint)
      : options_(std::move(line.options)),
        watch_(watch),
        footprint_(footprint),
        host_(here.host),
        runtime_path_(here.runtime_path) {}

  Outcome<Done> Run() {
    watch_.SetStep("looking for the session");
    Outcome<Done> done = Find();
    if (!done.ok()) return done;
    footprint_.KeepStorage(true);  // until it is back
    Trail trail;
    if (!options_.dir.empty()) trail.storage = base_;
    done = footprint_.Join(runtime_path_, charter_.uuid, kFirstMark + charter_.self.value, trail);
    if (!done.ok()) return done;
    watch_.SetStep("opening the network");
    auto shards = LocalShards::Create(options_);
    if (!shards.ok()) return shards.failure();
    shards_ = std::move(*shards);
    std::vector<Shard::NewAddress> moved;
    const ShardId first = book_->map().layout().FirstShardOf(charter_.self);
    for (Bytes address : shards_->addresses()) {
      moved.push_back({ShardId(first.value + static_cast<uint32_t>(moved.size())), std::string(AsText(address))});
    }
    watch_.SetStep("bringing the files back");
    done = shards_->Start(SetupOf(first));
    if (done.ok()) done = shards_->Open(true);
    if (!done.ok()) return done;
    watch_.SetStep("telling the other servers");
    done = Announce(moved);
    if (!done.ok()) return done;
    shards_->TakeOver();
    footprint_.KeepStorage(false);
    footprint_.CareForStorage(base_, charter_.self);
    if (shards_->has_root()) footprint_.CareForShared(options_.session, kWireVersion);
    if (options_.flush_at_end && !options_.flush_to.empty()) footprint_.Withhold();
    return done;
  }

  LocalShards& shards() { return *shards_; }
  ParentLine::Mending AsMending() const { return {charter_.self, options_.session, runtime_path_}; }
  const ServerOptions& options() const { return options_; }
  std::string Sentence() const {
    return fmt::format("member {} of the session is back on {}", charter_.self.value, host_);
  }

 private:
  // Again and again: the root may come back meanwhile, on another node and under another address.
  Outcome<Done> Announce(const std::vector<Shard::NewAddress>& moved) {
    PosixClock clock;
    for (const Nanos until = clock.Now() + kAnnounceWithin;;) {
      keeper_->Follow();
      Outcome<Done> done = shards_->Announce(moved, keeper_->newest(), kAnnounceAgainAfter);
      if (done.ok() || clock.Now() >= until) return done;
    }
  }

  Outcome<Done> Find() {
    std::error_code error;
    options_.session = std::filesystem::absolute(options_.session, error).lexically_normal().string();
    Outcome<std::optional<SessionFile>> file = ReadOldSession(options_.session);
    if (!file.ok()) return file.failure();
    if (!*file) {
      return Fail(Code::kNoEntry, "--rejoin: there is no session file {}; name that of the living session",
                  options_.session);
    }
    const Uuid uuid = (*file)->uuid;
    if (!(*file)->durable) {
      return Fail(Code::kNoEntry,
                  "--rejoin: session {} runs at --durability none, which keeps nothing of a server that dies; end it "
                  "with `mayfly stop`, and start a new one",
                  UuidText(uuid));
    }
    const std::string session_directory = runtime_path_ + "/" + UuidText(uuid);
    // Before anything of the member is opened: it comes back with all others, from what it is now.
    const Outcome<std::optional<SessionFile>> here = ReadOldSession(session_directory + "/session.json");
    if ((*file)->degraded || (here.ok() && *here && (*here)->degraded)) {
      return Fail(
          Code::kReadOnly,
          "--rejoin: session {} is degraded, which nobody joins; end it with `mayfly stop`, and start all members "
          "with --recover",
          UuidText(uuid));
    }
    // With %r in it: who starts a member again, and a server after a recovery in another order, has another rank.
    std::vector<uint32_t> ranks{RankOfEnvironment()};
    for (uint32_t r = 0; HasRank(options_.dir) && r < (*file)->member_count; ++r) {
      if (r != ranks.front()) ranks.push_back(r);
    }
    std::vector<std::pair<std::string, Charter>> members;
    for (uint32_t rank : ranks) {
      const Outcome<std::string> directory = ExpandDirectory(options_.dir, host_, rank);
      if (!directory.ok()) return directory.failure();
      const std::string base = StorageBase(*directory, session_directory, uuid);
      if (base_.empty()) base_ = base;
      Outcome<std::vector<Charter>> found = FindMembers(base, uuid, host_, geteuid());
      if (!found.ok() && rank == ranks.front()) return found.failure();
      if (!found.ok()) continue;
      for (Charter& one : *found) members.emplace_back(base, std::move(one));
    }
    // A process that was just killed holds its locks until its memory is taken down.
    PosixClock clock;
    for (const Nanos until = clock.Now() + kKilledIsGoneWithin;; usleep(kLookAgainAfterUs)) {
      for (auto& [base, one] : members) {
        if (options_.rejoin_member && one.self != *options_.rejoin_member) continue;
        if (InUse(base, one)) continue;
        base_ = base;
        charter_ = std::move(one);
        return Describe(session_directory + "/map");
      }
      if (clock.Now() >= until) break;
    }
    return Fail(Code::kNoEntry,
                "--rejoin: no member of the session is dead on {} and has its files in {}{}; see `mayfly status`, and "
                "give the --dir and MAYFLY_RUNTIME_DIR of its start",
                host_, base_,
                options_.rejoin_member ? fmt::format(" (asked for member {})", options_.rejoin_member->value) : "");
  }

  Outcome<Done> Describe(const std::string& map_path) {
    Outcome<NodeMap> map = NodeMap::Open(map_path, geteuid());
    if (!map.ok()) return map.failure();
    options_.shards = charter_.members[charter_.self.value].shards;
    options_.chunk_bits = static_cast<uint8_t>(charter_.chunk_bits);
    options_.checksums = charter_.checksums;
    options_.flush_to = charter_.flush_to;
    ViewKeeper::Options views{map_path, options_.session + ".map", false, geteuid()};
    views.has_root = map->layout().MemberOf(map->placement().RootShard()) == charter_.self;
    keeper_ = std::make_unique<ViewKeeper>(std::move(views), map->view());
    book_ = std::make_unique<NodeBook>(std::move(*map), map_path, geteuid());
    return Done{};
  }

  LocalShards::Setup SetupOf(ShardId first) {
    LocalShards::Setup setup;
    setup.book = book_.get();
    setup.keeper = keeper_.get();
    setup.first = first;
    setup.arena_directory = footprint_.directory();
    setup.session = options_.session;
    setup.oversubscribed = true;
    setup.storage = base_;
    setup.recover = true;
    ShardOptions& shard = setup.shard;
    shard = OptionsOfThisProcess(host_);
    shard.secret = charter_.secret;
    shard.uuid = charter_.uuid;
    shard.server_secret = charter_.server_secret;
    shard.memory_bytes = charter_.memory_bytes / options_.shards;
    const JournalPlan plan{charter_.journal_bytes, charter_.commit_interval_ns, options_.dir.empty()};
    KeepJournal(&shard, DurabilityOf(charter_.durability), FsyncOf(charter_.fsync), plan);
    shard.disk_bytes = charter_.capacity_bytes / options_.shards;
    shard.evict = EvictOf(charter_.evict);
    shard.chunk_bits = options_.chunk_bits;
    shard.checksums = options_.checksums;
    shard.flush_target = charter_.flush_to;
    for (const Member& member : book_->map().layout().members()) {
      shard.stage_shards.push_back(book_->map().layout().FirstShardOf(member.id));
    }
    for (uint32_t i = 0; i < options_.shards; ++i) footprint_.AddShard(ShardId(first.value + i));
    return setup;
  }

  ServerOptions options_;
  Watch& watch_;
  Footprint& footprint_;
  const std::string host_;
  const std::string runtime_path_;
  std::string base_;
  Charter charter_;
  std::unique_ptr<ViewKeeper> keeper_;
  std::unique_ptr<NodeBook> book_;
  std::unique_ptr<LocalShards> shards_;
};

}  // namespace

int RunRejoin(CommandLine line, const ParentLine& parent) {
  PosixClock clock;
  Footprint footprint;
  const DiscoverOptions here = DiscoverOptions::FromEnvironment("", {kWireVersion, kWireVersion});
  Watch watch(footprint, here.host, true);
  watch.Starting(clock.Now() + line.options.start_timeout_s * kSecond);
  SetLogLevel(line.options.log_level);
  Rejoin rejoin(std::move(line), here, watch, footprint);
  const Outcome<Done> start = rejoin.Run();
  if (!start.ok()) {
    watch.Ending(clock.Now() + kEndWithin, kExitNotStarted, "");
    footprint.Remove();
    SayFailure(start.failure().sentence);
    return kExitNotStarted;
  }
  std::atomic<bool> warned{false};
  watch.Serving([&](const std::string& signal, bool warning) {
    MAYFLY_INFO("{}: ending the session", signal);
    warned = warning;
    rejoin.shards().RequestStop(rejoin.options());
  });
  watch.Ready();
  parent.Serving(rejoin.AsMending());
  for (const std::string& line : rejoin.shards().brought_back()) MAYFLY_INFO("{}", line);
  MAYFLY_INFO("{}", rejoin.Sentence());
  const LocalShards::End end = rejoin.shards().Wait();
  parent.Ending();
  if (end.kept) footprint.KeepSession();
  footprint.Remove();
  int code = kExitDone;
  std::string sentence;
  if (!end.complete) sentence = end.sentence;
  if (!end.request_failure.empty()) sentence = end.request_failure;
  if (end.root && (warned || end.resumed_of_signal)) {
    KeepVerdict(rejoin.options().session, {sentence.empty(), sentence.empty() ? end.sentence : sentence, end.missing});
  }
  if (!sentence.empty()) {
    code = kExitNotFlushed;
    SayFailure(sentence);
  }
  watch.Ending(clock.Now() + kEndWithin, code, "");
  if (end.stuck) _exit(code);
  return code;
}

}  // namespace mayfly
