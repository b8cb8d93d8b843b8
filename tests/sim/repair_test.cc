// A repair of what killed servers of level `node` left, whose newest part is in the node's memory alone: the session
// that starts from it has all that was acknowledged, with the memory and, once the repair is done, after a loss of
// power as well; one that is killed, or loses its power, at any moment of the repair has what it would have had
// without. One shard: its journal is one history. MAYFLY_SEED is the first seed, MAYFLY_SEEDS how many.
#include "inspect/repair.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/log.h"
#include "inspect/journal_rewrite.h"
#include "meta/images.h"
#include "sim/client.h"
#include "sim/dead_shard.h"

#ifdef MAYFLY_SANITIZED
// What a killed server had is never given back: nothing of it runs again.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

namespace mayfly {
namespace {

using State = std::map<std::string, std::string>;  // name -> content

constexpr int kNames = 6;
constexpr uint64_t kFileBytesMax = 300'000;
constexpr std::string_view kPlanted = "planted";
constexpr uint64_t kForever = ~uint64_t{0};

Task<Status> RepairAlone(JournalRewrite* rewrite, uint64_t sequence, UnwrittenSource* source,
                         std::vector<StoredPiece> unwritten, Bytes fields, Bytes images) {
  MAYFLY_CO_TRY(co_await rewrite->Recover(sequence));
  MAYFLY_CO_TRY(co_await rewrite->BringBytes(source, std::move(unwritten)));
  MAYFLY_CO_TRY(co_await rewrite->Open());
  const Status status = co_await rewrite->Write(fields, images);
  const Status ended = co_await rewrite->End();
  co_return status.ok() ? ended : status;
}

// `mayfly fsck --repair` of one dead shard, of which a name leads nowhere.
class Tool {
 public:
  explicit Tool(SimCluster& cluster)
      : clock_(cluster.clock()),
        executor_(clock_),
        disk_(cluster.platter(0), clock_),
        kept_(cluster.kept(0)),
        dead_(cluster, 0),
        rewrite_(&executor_, &disk_, &kept_, OptionsOf(cluster)) {
    RepairShard& shard = shards_.emplace_back();
    shard.before_tail = dead_.tables().accepted_before_tail();
    shard.fields = std::move(dead_.fields());
    PutImage(&shard.fields, EntryImage{cluster.placement().RootInode(), InodeId::Make(ShardId(0), 1u << 20), 1u << 20,
                                       FileType::kFile, 9, kPlanted});
    auto plan = PlanRepair(cluster.layout(), cluster.placement(), shards_, clock_.Wall());
    EXPECT_TRUE(plan.ok() && plan->mended == 1);
    plan_ = std::move(*plan);
    tables_ = TablesWith(ShardId(0), shard, plan_.images[0].bytes());
    unwritten_ = StoreLook(&tables_->store()).Unwritten();
    count_ = CountUnwritten(&dead_, unwritten_);
  }
  const UnwrittenCount& count() const { return count_; }
  const Superblock& superblock() const { return dead_.look().recovered.superblock; }

  // How it ended, or nothing: it was killed after so many turns. Of which it took `turns`. Then the power goes, or not.
  std::optional<Status> Run(uint64_t most, bool power, uint64_t* turns = nullptr) {
    running_.emplace(RepairAlone(&rewrite_, superblock().sequence, &dead_, unwritten_, shards_[0].fields.bytes(),
                                 plan_.images[0].bytes()));
    uint64_t count = 0;
    for (; !running_->done() && count < most; ++count) {
      const bool worked = rewrite_.Turn() | disk_.Poll() | executor_.RunOnce();
      if (!worked && disk_.NextAt() != kNever) clock_.AdvanceTo(disk_.NextAt());
    }
    if (turns != nullptr) *turns = count;
    std::optional<Status> ended;
    if (running_->done()) ended = running_->Take();
    disk_.Crash(power);
    return ended;
  }

 private:
  static JournalOptions OptionsOf(SimCluster& cluster) {
    JournalOptions options;
    options.identity.uuid = cluster.uuid();
    options.identity.shard = ShardId(0);
    options.survives_power = true;
    return options;
  }

  SimClock& clock_;
  Executor executor_;
  SimDisk disk_;
  SimKeptMemory kept_;
  DeadShard dead_;
  std::vector<RepairShard> shards_;
  RepairPlan plan_;
  std::unique_ptr<ShardTables> tables_;
  std::vector<StoredPiece> unwritten_;
  UnwrittenCount count_;
  JournalRewrite rewrite_;
  std::optional<Task<Status>> running_;
};

// Nothing of a killed one runs again, not even a destructor.
void Bury(std::unique_ptr<Tool> tool) {
  static auto* const graves = new std::vector<Tool*>;
  graves->push_back(tool.release());
}

class World {
 public:
  explicit World(uint64_t seed) : random_(seed * 2862933555777941757u + 17) {
    SimClusterOptions options;
    options.members = 1;
    options.seed = seed;
    options.chunk_bits = OneIn(2) ? kChunkBitsMin : kChunkBitsDefault;
    options.durability = Durability::kNode;
    options.checksums = !OneIn(3);
    options.journal_bytes = 512 << 10;
    options.window_bytes = 256 << 10;
    if (OneIn(3)) options.memory_bytes = 5u << 20;
    options.disk_bytes = OneIn(2) ? 16u << 20 : 128u << 20;
    cluster_ = std::make_unique<SimCluster>(options);
    Connect();
    states_.push_back({});
    const uint64_t steps = Below(30);
    for (uint64_t i = 0; i < steps; ++i) Step(OneIn(4));
    // From now on little reaches the disk in time.
    cluster_->platter(0).faults.latency_max = OneIn(4) ? 20 * kMillisecond : kSecond;
    for (uint64_t i = 1 + Below(12); i != 0; --i) Step(false);
    client_.reset();
    cluster_->Kill(ShardId(0));
    cluster_->platter(0).faults.latency_max = OneIn(2) ? 0 : kMillisecond;
  }
  ~World() { client_.reset(); }
  SimCluster& cluster() { return *cluster_; }

  void LosePower() {
    cluster_->arena(0).CutPower();
    cluster_->kept(0).CutPower();
  }
  // The session goes on, and has what it must.
  void RestartAndCompare(bool all) {
    RecoveryReport report;
    auto open = cluster_->Restart(ShardId(0), &report);
    while (!open.done()) {
      if (!cluster_->Step()) cluster_->clock().Advance(kMillisecond);
    }
    ASSERT_TRUE(open.Take().ok()) << report.refusal;
    EXPECT_TRUE(report.damage.empty()) << report.damage[0];
    EXPECT_EQ(cluster_->shard(0).Check(), "");
    Connect();
    const State found = Found();
    size_t state = states_.size();
    while (state-- > (all ? states_.size() - 1 : synced_)) {
      if (states_[state] == found) break;
    }
    EXPECT_TRUE(state + 1 > (all ? states_.size() - 1 : synced_)) << "not what must be there: " << Differences(found);
    EXPECT_EQ(client_->Wait(client_->lane().Open("/" + std::string(kPlanted), kOpenRead, 0)).code(), Code::kNoEntry);
    // And may be changed.
    EXPECT_TRUE(client_->Wait(client_->lane().Open("/new", kOpenCreate | kOpenWrite, 0644)).ok());
  }

 private:
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  Lane& lane() { return client_->lane(); }
  void Connect() {
    ClientOptions options;
    options.syncs = true;
    options.write_behind_bytes = 0;
    options.checksum = true;
    client_ = std::make_unique<SimClient>(*cluster_, options);
  }
  std::string Content(size_t bytes) {
    std::string text(bytes, '\0');
    for (char& c : text) c = static_cast<char>('a' + Below(26));
    return text;
  }
  void Note(bool synced) {
    states_.push_back(now_);
    if (synced) synced_ = states_.size() - 1;
  }
  void Good(Status status, const char* what) { ASSERT_TRUE(status.ok()) << what << ": " << TextOf(status.code()); }

  void Step(bool sync) {
    const std::string name = std::to_string(Below(kNames));
    if (now_.contains(name) && OneIn(10)) {
      Good(client_->Wait(lane().Unlink("/" + name)), "unlink");
      now_.erase(name);
      return Note(false);
    }
    const auto fd = client_->Wait(lane().Open("/" + name, kOpenRead | kOpenWrite | kOpenCreate, 0644));
    Good(fd.status(), "open");
    if (!now_.contains(name)) {
      now_[name] = "";
      Note(false);
    }
    const FileRef file = client_->mount().files().Find(*fd);
    for (uint64_t i = 1 + Below(5); i != 0; --i) Change(file, &now_[name]);
    if (!sync) return;
    Good(client_->Wait(lane().Sync(file)), "fsync");
    Note(true);
  }
  void Change(FileRef file, std::string* content) {
    if (OneIn(6)) {
      const uint64_t size = Below(kFileBytesMax);
      Good(client_->Wait(lane().Truncate(file, size)), "truncate");
      content->resize(size);
      return Note(false);
    }
    if (OneIn(5) && content->size() < kFileBytesMax) {
      const uint64_t more = 1 + Below(kFileBytesMax - content->size());
      const Status had = client_->Wait(lane().Fallocate(file, Lane::Allocate::kExtend, content->size(), more));
      if (had.code() == Code::kNoSpace) return;
      Good(had, "fallocate");
      content->resize(content->size() + more);
      Note(false);
    }
    const uint64_t offset = OneIn(2) ? Below(content->size() + 1) : Below(kFileBytesMax / 2);
    const size_t bytes = 1 + Below(OneIn(3) ? 100'000 : OneIn(2) ? 9'000 : 300);
    if (offset + bytes > kFileBytesMax) return;
    const std::string data = Content(bytes);
    const uint64_t chunk = uint64_t{1} << file->chunk_bits;
    for (uint64_t at = 0; at < bytes;) {  // across chunks it is several requests, and each of them a state
      const uint64_t part = std::min<uint64_t>(bytes - at, chunk - (offset + at) % chunk);
      const auto written = client_->Wait(lane().WriteAt(file, AsBytes(data).subspan(at, part), offset + at));
      if (written.code() == Code::kNoSpace) return;
      Good(written.status(), "write");
      if (content->size() < offset + at + part) content->resize(offset + at + part);
      content->replace(offset + at, part, data, at, part);
      at += part;
      Note(false);
    }
  }

  State Found() {
    State found;
    for (int i = 0; i < kNames; ++i) {
      const std::string name = std::to_string(i);
      const auto fd = client_->Wait(lane().Open("/" + name, kOpenRead, 0));
      if (fd.code() == Code::kNoEntry) continue;
      EXPECT_TRUE(fd.ok()) << name;
      if (!fd.ok()) continue;
      std::string content(kFileBytesMax + 1, '\0');
      const MutableBytes to(reinterpret_cast<uint8_t*>(content.data()), content.size());
      const auto read = client_->Wait(lane().ReadAt(client_->mount().files().Find(*fd), to, 0));
      EXPECT_TRUE(read.ok()) << name << ": " << TextOf(read.code());
      content.resize(read.ok() ? *read : 0);
      found[name] = content;
    }
    return found;
  }
  std::string Differences(const State& found) const {
    std::string text;
    for (const auto& [name, content] : now_) {
      const auto it = found.find(name);
      if (it == found.end()) {
        text += name + " is gone; ";
      } else if (it->second != content) {
        text += name + " has " + std::to_string(it->second.size()) + " bytes, and had " +
                std::to_string(content.size()) + "; ";
      }
    }
    return text;
  }

  SimRandom random_;
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<SimClient> client_;
  State now_;
  std::vector<State> states_;
  size_t synced_ = 0;
};

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

template <class Each>
void ForEachSeed(Each each) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // dead servers are the test's
  const uint64_t first = Number("MAYFLY_SEED", 1), count = Number("MAYFLY_SEEDS", 6);
  for (uint64_t seed = first; seed < first + count && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    each(seed);
  }
  SetLogSink(nullptr, LogLevel::kWarn);
}

TEST(Repair, OfLevelNodeKeepsWhatWasInMemoryAlone) {
  uint64_t unwritten = 0;
  ForEachSeed([&](uint64_t seed) {
    for (const bool power : {false, true}) {
      World world(seed);
      auto tool = std::make_unique<Tool>(world.cluster());
      EXPECT_EQ(tool->count().missing_bytes + tool->count().corrupt_bytes, 0u);
      unwritten += tool->count().bytes;
      ASSERT_TRUE(tool->Run(kForever, power)->ok());
      tool.reset();
      if (power) world.LosePower();
      world.RestartAndCompare(true);
    }
  });
  EXPECT_GT(unwritten, 0u);
}

TEST(Repair, OfLevelNodeThatIsKilledLeavesWhatThereWas) {
  uint64_t again = 0;
  ForEachSeed([&](uint64_t seed) {
    uint64_t turns = 0;
    {
      World world(seed);
      Tool tool(world.cluster());
      ASSERT_TRUE(tool.Run(kForever, false, &turns)->ok());
    }
    SimRandom random(seed);
    for (int i = 0; i < 6 && !testing::Test::HasFailure(); ++i) {
      const uint64_t most = random.U64() % turns;
      const bool power = random.U64() % 2 == 0, repeat = random.U64() % 2 == 0;
      SCOPED_TRACE(std::to_string(most) + " of " + std::to_string(turns) + " turns" + (power ? ", power" : ""));
      World world(seed);
      auto tool = std::make_unique<Tool>(world.cluster());
      ASSERT_FALSE(tool->Run(most, power).has_value());
      Bury(std::move(tool));
      if (power) world.LosePower();
      if (repeat) {
        tool = std::make_unique<Tool>(world.cluster());
        ASSERT_TRUE(tool->Run(kForever, false)->ok());
        tool.reset();
        ++again;
      }
      world.RestartAndCompare(!power);
    }
  });
  EXPECT_GT(again, 0u);
}

TEST(Repair, OfLevelNodeChangesNoJournalWhereAPartOfTheMemoryIsGone) {
  uint64_t refused = 0;
  ForEachSeed([&](uint64_t seed) {
    World world(seed);
    world.cluster().arena(0).CutPower();  // and the journal's part is there
    auto tool = std::make_unique<Tool>(world.cluster());
    if (tool->count().missing_bytes == 0) return;  // it is about names alone
    const Superblock before = tool->superblock();
    EXPECT_EQ(tool->Run(kForever, false)->code(), Code::kCorrupt);
    tool = std::make_unique<Tool>(world.cluster());
    EXPECT_EQ(tool->superblock().sequence, before.sequence);
    ++refused;
  });
  EXPECT_GT(refused, 0u);
}

}  // namespace
}  // namespace mayfly
