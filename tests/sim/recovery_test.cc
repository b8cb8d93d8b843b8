// Servers that are killed in the middle of everything and started again on what their nodes kept, under clients that go
// on by themselves: whatever these were told is so afterwards, and each operation happened once (durability `process`).
// MAYFLY_SEED is the first seed, MAYFLY_SEEDS how many, MAYFLY_TRACE=1 shows what happens, 2 the messages
// too (tests/sim/run).
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "sim/crashes.h"
#include "sim/dead_shard.h"
#include "sim/disk_faults.h"
#include "sim/modelled_client.h"
#include "sim/network_faults.h"
#include "sim/seeds.h"

namespace mayfly {
namespace {

// kPower: level `node` with --fsync always. kNetwork: at level `process`, besides kills. kDisk: at any level, besides
// kills and, with --fsync always, losses of power. kNone: at level `none`, faults of the network; in half of the worlds
// of several members one of these dies, for good.
enum class Kind { kProcess, kNode, kPower, kNetwork, kDisk, kNone };

uint64_t FigureOf(const std::string& status, std::string_view name) {
  const std::string key = fmt::format("\"{}\":", name);
  return std::stoull(status.substr(status.find(key) + key.size()));
}

// A world that is made by its seed, and ends when all its clients have done what they wanted.
class World {
 public:
  // Without `several` the draws are those of before clients made several files in a row, and were killed.
  World(uint64_t seed, Kind kind, bool several = true)
      : seed_(seed),
        none_(kind == Kind::kNone),
        random_(seed * 6364136223846793005u + 3),
        deaths_(seed * 15485863 + 7) {
    SimClusterOptions options;
    short_ = seed % 16 != 0;
    fills_journal_ = seed % 16 == 8;
    options.members = static_cast<uint32_t>(short_ ? 1 + seed % 3 : 1 + Below(4));
    options.shards_per_member = OneIn(4) ? 2 : 1;
    options.seed = seed;
    options.memory_bytes = (short_ ? 16u : 64u) << 20;
    const bool process = kind == Kind::kProcess || kind == Kind::kNetwork || (kind == Kind::kDisk && OneIn(2));
    const bool power = kind == Kind::kPower || (kind == Kind::kDisk && !process && OneIn(2));
    options.storage_in_memory = process && (seed % 4 == 1 || seed % 4 == 2);
    options.durability = none_ ? Durability::kNone : process ? Durability::kProcess : Durability::kNode;
    options.buries = none_;
    options.fsync = power ? Fsync::kAlways : Fsync::kCommit;
    // With a chunk file, and less memory than there is data.
    if (!none_ && (options.durability == Durability::kNode || OneIn(2))) {
      options.disk_bytes = 128u << 20;
      if (OneIn(2)) options.memory_bytes = 5u << 20;
      if (OneIn(2)) options.evict = ChunkStore::Evict::kLfu;
    }
    options.checksums = !OneIn(4);
    options.eager_bytes_max = OneIn(3) ? 512 : OneIn(2) ? 8192 : 64 << 10;
    small_journal_ = short_ || OneIn(3);
    if (small_journal_) {
      options.journal_bytes = 512 << 10;
      options.window_bytes = 256 << 10;
      if (seed % 2 == 0) options.checkpoint_step_bytes = 256;
    }
    cluster_ = std::make_unique<SimCluster>(options);
    if (OneIn(2)) {
      for (uint32_t s = 0; s < cluster_->shard_count(); ++s) {
        cluster_->platter(s).faults.latency_max = OneIn(2) ? kMillisecond : 30 * kMillisecond;
      }
    }
    const bool delays = OneIn(2);
    const Nanos most = OneIn(3) ? 20 * kMillisecond : kMillisecond;
    if (delays || kind == Kind::kNetwork || none_ || trace_messages_) {
      cluster_->network().SetPolicy([this, delays, most](const SimNetwork::Passing& passing) {
        SimNetwork::Fate fate;
        if (trace_messages_) Show(passing);
        if (network_faults_ != nullptr) fate = network_faults_->Pass(passing);
        if (delays && OneIn(3)) fate.delay += static_cast<Nanos>(Below(static_cast<uint64_t>(most)));
        return fate;
      });
    }
    Crashes::Options crashes;
    crashes.seed = seed;
    crashes.inside = !OneIn(3);
    crashes.power = power;
    if (delays) crashes.turns = 200;
    if (fills_journal_) crashes.one_in = 60;
    if (kind == Kind::kNetwork && OneIn(2)) crashes.one_in = 12;
    if (OneIn(4)) crashes.long_away = 40 * kSecond;
    if (kind == Kind::kDisk) {
      DiskFaults::Options faults;
      faults.seed = seed;
      faults.rot = options.checksums && options.disk_bytes != 0 && OneIn(2);
      disk_faults_ = std::make_unique<DiskFaults>(
          *cluster_, faults, [this] { shared_.faults = true; }, [this] { shared_.rot = true; });
      crashes.one_in = 12;
      crashes.may_fail = [this] { return disk_faults_->active(); };
      crashes.before_restart = [this](uint32_t shard) { disk_faults_->Restarting(shard); };
    }
    crashes_ = std::make_unique<Crashes>(*cluster_, crashes);
    shared_.losses = [this] {
      uint64_t losses = counts().kills + network_counts().lost + network_counts().partitions;
      for (uint32_t s = 0; s < cluster_->shard_count(); ++s) losses += cluster_->dead(ShardId(s)) ? 1 : 0;
      return losses;
    };
    const uint32_t clients = OneIn(3) ? 1 : 2 + OneIn(2);
    if (none_) PlanEnd(options.members);
    mortal_ = several && !fills_journal_ && seed % 7 < 2 &&
              (kind == Kind::kProcess || kind == Kind::kNode || kind == Kind::kNetwork || none_) && victims_.empty();
    if (kind == Kind::kNetwork || none_) {
      NetworkFaults::Options faults;
      faults.seed = seed;
      faults.clients = clients;
      // Who cannot be reached for three seconds is taken for gone where nobody comes back.
      if (none_) faults.servers_most = faults.silent_most = 2 * kSecond;
      network_faults_ = std::make_unique<NetworkFaults>(*cluster_, faults);
    }
    for (uint32_t c = 0; c < clients; ++c) {
      ModelledClient::Options client;
      client.seed = seed;
      client.number = c;
      client.fills_journal = fills_journal_;
      client.disk_faults = kind == Kind::kDisk;
      client.write_behind = OneIn(2) && kind != Kind::kDisk;  // errors would come later than what they are about
      client.mapped = OneIn(2) && !power;                     // it would be on the node that loses its power
      client.host = NetworkFaults::ClientHost(c);
      client.makes_several = several && !fills_journal_;
      // Most of what they need not wait for is by processes that have the arenas mapped.
      if (client.makes_several && seed % 2 == 0 && !power && kind != Kind::kDisk) {
        client.write_behind = client.mapped = true;
      }
      client.mortal = mortal_;
      client.gives_up = end_at_ != 0;
      if (mortal_) {
        if (client.mapped && kind != Kind::kNetwork && deaths_.U64() % 2 == 0)
          client.host = SimCluster::HostOf(MemberId(0));
        client.after_death = [this] {
          if (!none_ && deaths_.U64() % 4 == 0) crashes_->KillAll();
        };
      }
      clients_.push_back(std::make_unique<ModelledClient>(*cluster_, client, &shared_, [this] {
        if (!none_) crashes_->Plan();
        if (mortal_) PlanDeath();
        if (end_at_ != 0 && --end_at_ == 0) cluster_->KillInside(victims_.front(), static_cast<int64_t>(Below(40)));
        if (network_faults_ != nullptr) network_faults_->Plan();
        if (disk_faults_ != nullptr) disk_faults_->Plan();
      }));
    }
  }
  ~World() {
    Calm();
    if (!none_) (void)crashes_->Mend();
    clients_.clear();
    network_faults_.reset();
    disk_faults_.reset();
    cluster_.reset();
  }

  void Run() {
    All([](ModelledClient* c) { return c->MakeHome(); });
    const int all = fills_journal_ ? 90 : short_ ? 24 : small_journal_ && OneIn(4) ? 300 : 60;
    const int operations = all / static_cast<int>(clients_.size());
    All([operations](ModelledClient* c) { return c->Live(operations); });
    Look("at the end");
    if (none_) {
      if (!shared_.lost.empty()) return;
      All([](ModelledClient* c) { return c->Leave(); });
      if (!testing::Test::HasFailure()) LookForRemains();
      return;
    }
    crashes_->KillAll();
    if (disk_faults_ != nullptr) {
      ASSERT_TRUE(crashes_->Mend());
      shared_.faults = false;  // nobody is read-only any more
    }
    Look("after a last restart");
    All([](ModelledClient* c) { return c->Leave(); });
    // Not in each: it is most of what such a seed costs.
    if (mortal_ && seed_ % 7 == 0 && !testing::Test::HasFailure()) LookForRemains();
  }
  const Crashes::Counts& counts() const { return crashes_->counts(); }
  NetworkFaults::Counts network_counts() const {
    return network_faults_ == nullptr ? NetworkFaults::Counts() : network_faults_->counts();
  }
  DiskFaults::Counts disk_counts() const {
    return disk_faults_ == nullptr ? DiskFaults::Counts() : disk_faults_->counts();
  }
  const SharedModel& shared() const { return shared_; }
  uint64_t hash() const { return shared_.hash ^ cluster_->network().trace(); }

 private:
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  template <class What>
  void All(What what) {
    if (testing::Test::HasFailure()) return;
    std::vector<Task<void>> tasks;
    for (auto& client : clients_) tasks.push_back(what(client.get()));
    for (auto& task : tasks) {
      // Thousands of times what a run takes.
      for (uint64_t turns = 0; !task.done(); ++turns) {
        MAYFLY_CHECK(turns < kTurnsMost);
        if (none_) {
          TurnAtNone();
        } else {
          crashes_->Turn();
        }
        if (!mortal_) continue;
        for (auto& client : clients_) client->Turn();
      }
    }
    for (auto& client : clients_) EXPECT_EQ(client->failure(), "");
  }
  void PlanEnd(uint32_t members) {
    if (members == 1 || !OneIn(2)) return;
    const MemberId root = cluster_->layout().MemberOf(cluster_->placement().RootShard());
    MemberId member(static_cast<uint16_t>(Below(members)));
    if (member == root && !OneIn(4)) member = MemberId(static_cast<uint16_t>((root.value + 1) % members));
    for (uint32_t s = 0; s < cluster_->shard_count(); ++s) {
      if (cluster_->layout().MemberOf(ShardId(s)) == member) victims_.push_back(ShardId(s));
    }
    end_at_ = 1 + Below(20);
  }
  void TurnAtNone() {
    MAYFLY_CHECK(cluster_->Turn());
    if (victims_.empty() || !cluster_->dead(victims_.front()) || !shared_.lost.empty()) return;
    shared_.lost_at = cluster_->clock().Now();
    shared_.lost.resize(cluster_->shard_count());
    for (const ShardId victim : victims_) {  // they are of one process
      if (!cluster_->dead(victim)) cluster_->Kill(victim);
      shared_.lost[victim.value] = true;
    }
  }
  void PlanDeath() {
    if (deaths_.U64() % 6 != 0) return;
    const auto& victim = clients_[deaths_.U64() % clients_.size()];
    victim->DieAfter(static_cast<int64_t>(deaths_.U64() % (deaths_.U64() % 4 == 0 ? 200 : 30)));
  }
  static constexpr Nanos kAsked = 700 * kSecond;  // longer than a server that is back waits for who had files open
  // Once all clients have removed what they had: nothing that a killed one had open or was lent is left.
  void LookForRemains() {
    const size_t homes = clients_.size();
    Calm();
    ASSERT_TRUE(none_ || crashes_->Mend());
    clients_.clear();
    const Nanos until = cluster_->clock().Now() + kAsked;
    while (cluster_->clock().Now() < until && cluster_->Turn()) {
    }
    uint64_t inodes = 0;
    for (uint32_t s = 0; s < cluster_->shard_count(); ++s) {
      EXPECT_EQ(cluster_->shard(s).Check(), "");
      const std::string status = cluster_->shard(s).StatusJson();
      inodes += FigureOf(status, "inodes");
      EXPECT_EQ(FigureOf(status, "staged"), 0u) << "of shard " << s;
      EXPECT_EQ(FigureOf(status, "soles"), 0u) << "of shard " << s;
    }
    EXPECT_EQ(inodes, 2 + homes + shared_.names) << "the root, /shared with what is in it, and each client's directory";
  }
  void Look(const char* when) {
    SCOPED_TRACE(when);
    Calm();
    ASSERT_TRUE(none_ || crashes_->Mend()) << "the servers do not come back";
    for (const ShardId victim : victims_) cluster_->KillInside(victim, -1);
    All([](ModelledClient* c) { return c->CheckAll(); });
    All([this](ModelledClient* c) { return c == clients_[0].get() ? c->CheckShared() : Nothing(); });
    for (uint32_t s = 0; s < cluster_->shard_count(); ++s) {
      if (cluster_->dead(ShardId(s))) continue;
      EXPECT_EQ(cluster_->shard(s).Check(), "");
    }
    EXPECT_EQ(counts().damage, 0u);
  }
  void Show(const SimNetwork::Passing& passing) const {
    Decoder d(passing.header);
    Prefix prefix;
    RequestHeader request;
    d.Get(prefix);
    std::string what = std::to_string(static_cast<int>(prefix.kind));
    if (prefix.kind == MessageKind::kRequest) {
      d.Get(request);
      if (const MethodInfo* info = InfoOf(request.method); info != nullptr) what = info->name;
    } else if (prefix.kind == MessageKind::kReply) {
      ReplyHeader reply;
      d.Get(reply);
      what = fmt::format("reply, {}", TextOf(reply.code));
    }
    std::printf("%.6f   %lu to %lu: %s, slot %u:%u\n", static_cast<double>(cluster_->clock().Now()) / 1e9, passing.from,
                passing.to, what.c_str(), prefix.slot, prefix.generation);
  }
  void Calm() {
    if (network_faults_ != nullptr) network_faults_->Mend();
    if (disk_faults_ != nullptr) disk_faults_->Mend();
  }
  static Task<void> Nothing() { co_return; }

  static constexpr uint64_t kTurnsMost = 20'000'000;
  const uint64_t seed_;
  const bool none_;
  const bool trace_messages_ = FromEnvironment("MAYFLY_TRACE", 0) > 1;
  SimRandom random_;
  SimRandom deaths_;              // of clients
  bool mortal_ = false;           // they are
  std::vector<ShardId> victims_;  // of the end of a member
  uint64_t end_at_ = 0;           // operations until then; 0: no more
  bool short_ = false;            // most are, for many cost as much as a long one
  bool small_journal_ = false;
  bool fills_journal_ = false;  // so that its ring goes round between two kills
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<Crashes> crashes_;
  std::unique_ptr<NetworkFaults> network_faults_;  // null: none
  std::unique_ptr<DiskFaults> disk_faults_;        // null: none
  SharedModel shared_;
  std::vector<std::unique_ptr<ModelledClient>> clients_;
};

SimClusterOptions OneServer() {
  SimClusterOptions options;
  options.members = 1;
  options.memory_bytes = 16u << 20;
  options.durability = Durability::kProcess;
  return options;
}

void BringBack(SimCluster& cluster, ShardId shard) {
  RecoveryReport report;
  auto open = cluster.Restart(shard, &report);
  for (int i = 0; i < 1'000'000 && !open.done(); ++i) {
    if (!cluster.Step()) cluster.clock().Advance(kMillisecond);
  }
  ASSERT_TRUE(open.done());
  EXPECT_TRUE(open.Take().ok()) << report.refusal;
}

// A server whose device fails goes read-only: nothing is acknowledged that is not kept, and what there is can be read.
TEST(Recovery, AJournalThatFailsMakesTheShardReadOnly) {
  SimCluster cluster(OneServer());
  auto client = std::make_unique<SimClient>(cluster);
  Lane& lane = client->lane();
  ASSERT_TRUE(client->Wait(lane.Create("/before", true, 0644)).ok());
  cluster.platter(0).faults.write_errors = 1000;
  Status status;
  int made = 0;
  const Nanos begun = cluster.clock().Now();
  while (status.ok() && made < 10'000) {
    status = client->Wait(lane.Create("/f" + std::to_string(made), true, 0644));
    if (status.ok()) ++made;
  }
  // kIo: it was done, and is not kept; the answer that said so was held back, and its repetition is not believed.
  EXPECT_TRUE(status.code() == Code::kReadOnly || status.code() == Code::kIo) << TextOf(status.code());
  EXPECT_LT(cluster.clock().Now() - begun, kSecond);
  EXPECT_EQ(client->Wait(lane.Mkdir("/after", 0755)).code(), Code::kReadOnly);
  EXPECT_TRUE(client->Wait(lane.Stat("/before", false)).ok());
  EXPECT_TRUE(client->Wait(lane.Open("/before", kOpenRead, 0)).ok());
  EXPECT_EQ(client->Wait(lane.Open("/before", kOpenWrite, 0)).code(), Code::kReadOnly);
  for (int i = 0; i < made; ++i) EXPECT_TRUE(client->Wait(lane.Stat("/f" + std::to_string(i), false)).ok()) << i;
  client.reset();
}

// It would take the count of a later open of the same process, and what that one has open would go with its last name.
TEST(Recovery, TheCloseOfAnOpenThatNoJournalKeptTakesNothing) {
  SimCluster cluster(OneServer());
  auto client = std::make_unique<SimClient>(cluster);
  Lane& lane = client->lane();
  const std::string text = "what is read while it is open";
  const auto made = client->Wait(lane.Open("/file", kOpenCreate | kOpenWrite, 0644));
  ASSERT_TRUE(made.ok());
  ASSERT_TRUE(client->Wait(lane.WriteAt(client->Find(*made), AsBytes(text), 0)).ok());
  ASSERT_TRUE(client->Wait(lane.Close(*made)).ok());
  cluster.RunFor(3 * CloseQueue::kAgeMax);
  cluster.platter(0).faults.write_errors = 1000;
  Status status;
  for (int i = 0; i < 10'000 && status.code() != Code::kReadOnly; ++i) {
    status = client->Wait(lane.Create("/f" + std::to_string(i), true, 0644));
  }
  ASSERT_EQ(status.code(), Code::kReadOnly);
  const auto unkept = client->Wait(lane.Open("/file", kOpenRead, 0));
  ASSERT_TRUE(unkept.ok());
  cluster.Kill(ShardId(0));
  cluster.platter(0).faults.write_errors = 0;
  ASSERT_NO_FATAL_FAILURE(BringBack(cluster, ShardId(0)));
  const auto kept = client->Wait(lane.Open("/file", kOpenRead, 0));
  ASSERT_TRUE(kept.ok());
  ASSERT_TRUE(client->Wait(lane.Unlink("/file")).ok());
  ASSERT_TRUE(client->Wait(lane.Close(*unkept)).ok());
  cluster.RunFor(3 * CloseQueue::kAgeMax);
  std::string read(text.size(), '?');
  const MutableBytes room(reinterpret_cast<uint8_t*>(read.data()), read.size());
  const auto bytes = client->Wait(lane.ReadAt(client->Find(*kept), room, 0));
  ASSERT_TRUE(bytes.ok()) << TextOf(bytes.code());
  EXPECT_EQ(read, text);
  client.reset();
}

// What another server would have it remember it would forget: that one's client is refused as well.
TEST(Recovery, AJournalThatFailsMakesNoPromisesToOtherServers) {
  SimClusterOptions options = OneServer();
  options.members = 2;
  SimCluster cluster(options);
  auto client = std::make_unique<SimClient>(cluster);
  Lane& lane = client->lane();
  std::string dir;  // its home is shard 1
  for (int i = 0; dir.empty(); ++i) {
    const std::string path = "/d" + std::to_string(i);
    ASSERT_TRUE(client->Wait(lane.Mkdir(path, 0755)).ok());
    auto attr = client->Wait(lane.Stat(path, false));
    ASSERT_TRUE(attr.ok());
    if (attr->inode.home() == ShardId(1)) dir = path;
  }
  cluster.platter(1).faults.write_errors = 1000;
  bool failed = false;
  for (int i = 0; i < 10'000 && !failed; ++i) {
    failed = client->Wait(lane.Mkdir("/e" + std::to_string(i), 0755)).code() == Code::kReadOnly;
  }
  ASSERT_TRUE(failed);
  for (int i = 0; i < 20; ++i) {  // entries on either shard
    EXPECT_EQ(client->Wait(lane.Create(dir + "/" + std::to_string(i), true, 0644)).code(), Code::kReadOnly) << i;
  }
  client.reset();
}

// Nothing else is changed that would find out that the journal takes no more.
TEST(Recovery, AnAnswerThatWaitsForAJournalThatFailsComes) {
  SimClusterOptions options = OneServer();
  options.durability = Durability::kNode;
  options.fsync = Fsync::kAlways;
  options.disk_bytes = 16u << 20;
  SimCluster cluster(options);
  auto client = std::make_unique<SimClient>(cluster);
  ASSERT_TRUE(client->Wait(client->lane().Mkdir("/before", 0755)).ok());
  cluster.platter(0).faults.flush_errors = 1000;
  const Nanos begun = cluster.clock().Now();
  EXPECT_EQ(client->Wait(client->lane().Mkdir("/d", 0755)).code(), Code::kIo);  // and not kTimedOut
  EXPECT_LT(cluster.clock().Now() - begun, kSecond);  // nobody waits until it is time to ask again
  EXPECT_EQ(client->Wait(client->lane().Mkdir("/after", 0755)).code(), Code::kReadOnly);
  EXPECT_TRUE(client->Wait(client->lane().Stat("/before", false)).ok());
  client.reset();
}

// What it had decided cannot be told: the other holds what that touched there, and only that.
TEST(Recovery, AShardThatIsBackServesWhileAnotherIsGone) {
  SimClusterOptions options = OneServer();
  options.members = 2;
  SimCluster cluster(options);
  const ShardId back = cluster.placement().RootInode().home();  // walks begin at the root
  const ShardId gone(1 - back.value);
  const std::string from = cluster.PathAt(back, "from"), to = cluster.PathAt(gone, "to");
  const std::string here = cluster.PathAt(back, "here");
  auto client = std::make_unique<SimClient>(cluster), other = std::make_unique<SimClient>(cluster);
  for (const std::string& path : {from, here}) {
    ASSERT_TRUE(client->Wait(client->lane().Create(path, true, 0644)).ok());
  }
  bool decided = false;
  cluster.network().SetPolicy([&](const SimNetwork::Passing& passing) {
    SimNetwork::Fate fate;
    if (MethodOf(passing) != Method::kDecide) return fate;
    decided = true;
    fate.delay = kSecond;
    return fate;
  });
  Task<Status> rename = client->lane().Rename(from, to, 0);
  while (!decided) ASSERT_TRUE(cluster.Turn());
  cluster.network().SetPolicy(nullptr);
  for (const uint32_t shard : {0, 1}) cluster.Kill(ShardId(shard));
  ASSERT_NO_FATAL_FAILURE(BringBack(cluster, back));
  EXPECT_FALSE(rename.done());
  EXPECT_EQ(other->Wait(other->lane().Stat(here, true)).code(), Code::kOk);
  EXPECT_EQ(other->Wait(other->lane().Create(cluster.PathAt(back, "new"), true, 0644)).code(), Code::kOk);
  ASSERT_NO_FATAL_FAILURE(BringBack(cluster, gone));
  EXPECT_TRUE(client->Wait(std::move(rename)).ok());
  EXPECT_TRUE(other->Wait(other->lane().Stat(to, true)).ok());
  EXPECT_EQ(other->Wait(other->lane().Stat(from, true)).code(), Code::kNoEntry);
  client.reset();
  other.reset();
}

// Where nobody comes back, and it went while the directory was open: what is on the others is listed, and then it is
// said that there was more.
TEST(Recovery, AListingGoesOnWithoutAServerThatIsGone) {
  SimClusterOptions options;
  options.members = 3;
  SimCluster cluster(options);
  const uint32_t root = cluster.placement().RootInode().home().value;
  const ShardId gone((root + 1) % 3);
  auto client = std::make_unique<SimClient>(cluster);
  Lane& lane = client->lane();
  std::multiset<std::string> living = {".", ".."};
  for (uint32_t i = 0; i < 24; ++i) {
    const std::string path = cluster.PathAt(ShardId(i % 3), "f" + std::to_string(i));
    ASSERT_TRUE(client->Wait(lane.Create(path, true, 0644)).ok());
    if (ShardId(i % 3) != gone) living.insert(path.substr(1));
  }
  const auto listing = client->Wait(Directory::Open(&lane, "/"));
  ASSERT_TRUE(listing.ok());
  cluster.Kill(gone);
  std::multiset<std::string> names;
  Directory::Entry entry;
  Result<bool> more = true;
  while (more.ok() && *more) {
    more = client->Wait((*listing)->Next(&lane, &entry));
    if (more.ok() && *more) names.insert(std::string(entry.name));
  }
  EXPECT_EQ(ErrnoOf(more.code()), EIO);
  EXPECT_EQ(names, living);
  client.reset();
}

// More was changed at once than one record holds.
TEST(Recovery, AProcessWithManyOpenFilesDies) {
  SimCluster cluster(OneServer());
  auto client = std::make_unique<SimClient>(cluster);
  constexpr int kFiles = 6000;
  for (int i = 0; i < kFiles; ++i) {
    ASSERT_TRUE(client->Wait(client->lane().Open("/f" + std::to_string(i), kOpenCreate | kOpenWrite, 0644)).ok());
  }
  client.reset();
  cluster.RunFor(60 * kSecond);
  auto other = std::make_unique<SimClient>(cluster);
  EXPECT_TRUE(other->Wait(other->lane().Create("/more", true, 0644)).ok());
  cluster.Kill(ShardId(0));
  ASSERT_NO_FATAL_FAILURE(BringBack(cluster, ShardId(0)));
  EXPECT_EQ(cluster.shard(0).Check(), "");
  EXPECT_TRUE(other->Wait(other->lane().Unlink("/more")).ok());
  other.reset();
}

uint64_t FigureOf(SimCluster& cluster, std::string_view name) { return FigureOf(cluster.shard(0).StatusJson(), name); }

// Of a checkpoint a turn of the loop makes a bounded part, however much there is, and requests are served between two.
// `change` asks one server for one change after the other.
void ExpectBesideTheTraffic(SimClusterOptions options, Task<Status> (*change)(Lane* lane, int number)) {
  SimCluster cluster(options);
  auto client = std::make_unique<SimClient>(cluster);
  const auto figure = [&](std::string_view name) { return FigureOf(cluster.shard(0).StatusJson(), name); };
  client->mount().AskToListen(ShardId(0));  // to be alone with what it opens
  cluster.RunFor(20 * kMillisecond);
  int made = 0;
  const auto next = [&] { return change(&client->lane(), made++); };
  const uint64_t half = figure("ring_bytes") / 2;  // one is due when so much is in use
  while (figure("live_bytes") + 2048 < half) ASSERT_TRUE(client->Wait(next()).ok());
  ASSERT_EQ(figure("checkpoints"), 0u);
  uint64_t turns = 0, served = 0;
  std::optional<Task<Status>> request(next());
  while (figure("checkpoints") == 0) {
    if (figure("live_bytes") > half) ++turns;
    ASSERT_LT(turns, 100'000u);
    (void)cluster.Step();
    cluster.clock().Advance(kMillisecond);  // no turn is spent on waiting for the disk
    if (!request->done()) continue;
    ASSERT_TRUE(request->Take().ok());
    if (turns != 0) ++served;
    request.emplace(next());
  }
  cluster.Run(*request);
  const uint64_t steps = figure("checkpoint_bytes") / options.checkpoint_step_bytes;
  EXPECT_GE(steps, 30u) << "too little to tell anything";
  EXPECT_GE(turns, steps);
  EXPECT_GE(served * 4, steps);
  std::printf("%d files, %ju of them open: %ju steps in %ju turns, and %ju requests meanwhile\n", made,
              uintmax_t{figure("soles")}, uintmax_t{steps}, uintmax_t{turns}, uintmax_t{served});
  client.reset();
}

Task<Status> MakeFile(Lane* lane, int number) {
  const std::string path = "/f" + std::to_string(number);
  co_return co_await lane->Create(path, true, 0644);
}
Task<Status> MakeOpenFile(Lane* lane, int number) {
  const std::string path = "/f" + std::to_string(number);
  const auto fd = co_await lane->Open(path, kOpenCreate | kOpenWrite, 0644);
  co_return fd.status();
}

TEST(Recovery, ACheckpointOfManyFilesIsWrittenBesideTheTraffic) {
  SimClusterOptions options = OneServer();
  options.journal_bytes = 16u << 20;  // many files until it is half full
  ExpectBesideTheTraffic(options, MakeFile);
}

// Of which the shard keeps, beside their names, who may hold back what.
TEST(Recovery, ACheckpointOfManyOpenFilesIsWrittenBesideTheTraffic) {
  SimClusterOptions options = OneServer();
  options.checkpoint_step_bytes = 4096;
  ExpectBesideTheTraffic(options, MakeOpenFile);
}

// What comes and goes while a checkpoint is written, of what is neither names nor bytes.
TEST(Recovery, WhatChangesDuringACheckpointIsInItOrBehindIt) {
  SimClusterOptions options = OneServer();
  options.memory_bytes = 64u << 20;
  options.journal_bytes = 2u << 20;
  options.checkpoint_step_bytes = 64;
  SimCluster cluster(options);
  auto client = std::make_unique<SimClient>(cluster, ClientOptions(), &cluster.views());
  Lane& lane = client->lane();
  client->mount().AskToListen(ShardId(0));
  cluster.RunFor(20 * kMillisecond);
  const std::string text = "held back";
  std::deque<int> open;
  int made = 0;
  const auto add = [&] {
    const auto fd = client->Wait(lane.Open("/f" + std::to_string(made++), kOpenCreate | kOpenWrite, 0644));
    ASSERT_TRUE(fd.ok()) << TextOf(fd.code());
    ASSERT_TRUE(client->Wait(lane.Write(client->Find(*fd), AsBytes(text))).ok());
    open.push_back(*fd);
  };
  const auto end = [&](size_t which) {
    ASSERT_TRUE(client->Wait(lane.Close(open[which])).ok());
    open.erase(open.begin() + static_cast<ptrdiff_t>(which));
  };
  for (int i = 0; i < 1000; ++i) add();
  const uint64_t half = FigureOf(cluster, "ring_bytes") / 2;
  uint64_t ended = 0;
  while (FigureOf(cluster, "checkpoints") == 0 && !testing::Test::HasFailure()) {
    ASSERT_LT(made, 20'000);
    if (FigureOf(cluster, "live_bytes") > half) ++ended;
    add();
    end(static_cast<size_t>(made) * 7919 % open.size());
  }
  EXPECT_GE(ended, 100u);
  const uint64_t soles = FigureOf(cluster, "soles"), lent = FigureOf(cluster, "staged");
  EXPECT_GE(soles, 1000u);
  EXPECT_GE(lent, 30u);
  cluster.Kill(ShardId(0));
  EXPECT_EQ(DeadShard(cluster, 0).tables().loans().size(), lent);
  ASSERT_NO_FATAL_FAILURE(BringBack(cluster, ShardId(0)));
  EXPECT_EQ(FigureOf(cluster, "soles"), soles);
  EXPECT_EQ(cluster.shard(0).Check(), "");
  while (!open.empty()) ASSERT_NO_FATAL_FAILURE(end(0));
  client.reset();
}

void RunKind(Kind kind, uint64_t in_ci) {
  enum Count : size_t {
    kKills,
    kInside,
    kInRecovery,
    kPowerLosses,
    kPartitions,
    kLate,
    kTwice,
    kLost,
    kFailed,
    kSlow,
    kRotten,
    kRefused,
    kDeadlines,
    kRottenReads,
    kNotStarted,
    kDeaths,
    kEnds,
    kHash,
    kCounts
  };
  const SeedRange range(in_ci);
  const bool each = std::getenv("MAYFLY_TRACE") != nullptr;
  std::array<uint64_t, kCounts> all{};
  RunSeeds(range, all, [kind, each](uint64_t seed, std::span<uint64_t> counts) {
    World world(seed, kind);
    world.Run();
    counts[kKills] += world.counts().kills;
    counts[kInside] += world.counts().inside;
    counts[kInRecovery] += world.counts().in_recovery;
    counts[kPowerLosses] += world.counts().power;
    counts[kPartitions] += world.network_counts().partitions;
    counts[kLate] += world.network_counts().late;
    counts[kTwice] += world.network_counts().twice;
    counts[kLost] += world.network_counts().lost;
    counts[kFailed] += world.disk_counts().failed;
    counts[kSlow] += world.disk_counts().slow;
    counts[kRotten] += world.disk_counts().rotten;
    counts[kRefused] += world.shared().refused;
    counts[kDeadlines] += world.shared().timed_out;
    counts[kRottenReads] += world.shared().rotten;
    counts[kNotStarted] += world.counts().refused;
    counts[kDeaths] += world.shared().deaths;
    counts[kEnds] += world.shared().lost.empty() ? 0 : 1;
    counts[kHash] += world.hash() * (2 * seed + 1);
    if (each) std::printf("seed %lu: hash %016lx\n", seed, world.hash());
  });
  if (kind == Kind::kNone) {
    EXPECT_GT(all[kEnds] * 6 + 20, range.count);
    EXPECT_GT(all[kRefused] * 4 + 20, range.count);
    std::printf("%lu members died for good, %lu operations that needed them were refused\n", all[kEnds], all[kRefused]);
  } else {
    EXPECT_GT(all[kKills] + 20, range.count);  // else nothing was tried
  }
  if (kind == Kind::kProcess || kind == Kind::kNode || kind == Kind::kNetwork || kind == Kind::kNone) {
    EXPECT_GT(all[kDeaths] * 4 + 20, range.count);
    std::printf("%lu clients were killed\n", all[kDeaths]);
  }
  if (kind == Kind::kPower) {
    EXPECT_GT(all[kPowerLosses] * 8 + 20, range.count);
  }
  if (kind == Kind::kNetwork || kind == Kind::kNone) {
    EXPECT_GT(all[kPartitions] + 20, range.count);
    std::printf("the network: %lu partitions, %lu messages late, %lu twice, %lu lost\n", all[kPartitions], all[kLate],
                all[kTwice], all[kLost]);
  }
  if (kind == Kind::kDisk) {
    EXPECT_GT(all[kFailed] + 20, range.count);
    EXPECT_GT(all[kRefused] * 4 + 20, range.count);
    EXPECT_LT(all[kDeadlines], 8 + range.count / 50);  // it is seldom that a file waits for a failed server
    std::printf(
        "disks: %lu failed, %lu slow, %lu rotten places; %lu operations (%lu at the deadline) and %lu starts refused, "
        "%lu "
        "reads found rot\n",
        all[kFailed], all[kSlow], all[kRotten], all[kRefused], all[kDeadlines], all[kNotStarted], all[kRottenReads]);
  }
  std::printf("%lu seeds from %lu on: %lu kills, %lu of them inside a turn, %lu during a recovery; hash %016lx\n",
              range.count, range.first, all[kKills], all[kInside], all[kInRecovery], all[kHash]);
}

TEST(Recovery, WhatWasAcknowledgedIsThereAfterKills) { RunKind(Kind::kProcess, 600); }
TEST(Recovery, WhatWasAcknowledgedIsThereAfterKillsAtLevelNode) { RunKind(Kind::kNode, 400); }
TEST(Recovery, WhatWasAcknowledgedIsThereAfterLossesOfPower) { RunKind(Kind::kPower, 400); }
TEST(Recovery, WhatWasAcknowledgedIsThereAfterFaultsOfDisks) { RunKind(Kind::kDisk, 300); }
TEST(Recovery, WhatWasAcknowledgedIsThereAfterFaultsOfTheNetwork) { RunKind(Kind::kNetwork, 300); }

TEST(Recovery, WhatWasAcknowledgedIsThereAtLevelNone) { RunKind(Kind::kNone, 200); }

// Each found a fault, which is named; they find it as long as the draws before it stay the same.
TEST(Recovery, SeedsThatOnceFailed) {
  struct Once {
    Kind kind;
    uint64_t seed;
    bool several = false;  // files made side by side: a choice that most of them are older than
  };
  constexpr Once kSeeds[] = {
      {Kind::kNode, 1008672},          // a checkpoint without the answer that a decided transaction would have had
      {Kind::kDisk, 1000415},          // part of an append that was taken back, at a shard whose journal had failed
      {Kind::kNetwork, 1016232},       // a text whose connection broke was answered, and its repetition got that
      {Kind::kDisk, 1001944},          // a file's size was waited for at a shard that would never settle it
      {Kind::kDisk, 1016832},          // likewise
      {Kind::kDisk, 7007312},          // a close of what was opened when no journal kept it
      {Kind::kNetwork, 970060, true},  // a file opened for a process that had been called gone while its request waited
      {Kind::kNone, 960140,
       true},  // a server that nobody had tried to reach for a while was called unreachable at once
  };
  for (const auto& [kind, seed, several] : kSeeds) {
    SCOPED_TRACE(seed);
    World world(seed, kind, several);
    world.Run();
  }
}

TEST(Recovery, OneSeedIsOneRun) {
  const uint64_t first = FromEnvironment("MAYFLY_SEED", 1);
  for (uint64_t seed = first; seed < first + 12; ++seed) {
    uint64_t hashes[2] = {};
    for (uint64_t& hash : hashes) {
      World world(seed, static_cast<Kind>(seed % 6));
      world.Run();
      hash = world.hash();
    }
    EXPECT_EQ(hashes[0], hashes[1]) << "seed " << seed;
  }
}

}  // namespace
}  // namespace mayfly
