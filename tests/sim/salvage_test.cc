// What is salvaged from the storage of servers that all died: exactly what they had acknowledged, whatever they were
// doing; and where storage is missing or rotten, no wrong byte and no silence. MAYFLY_SEED is the first seed,
// MAYFLY_SEEDS how many.
#include "inspect/salvage.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "base/log.h"
#include "inspect/fsck.h"
#include "inspect/outboxes.h"
#include "inspect/repair.h"
#include "inspect/salvage_report.h"
#include "sim/client.h"
#include "sim/dead_shard.h"

#ifdef MAYFLY_SANITIZED
// What a killed server had is never given back: nothing of it runs again.
extern "C" int __lsan_is_turned_off() { return 1; }
#endif

namespace mayfly {
namespace {

namespace fs = std::filesystem;
using State = std::map<std::string, std::string>;  // path below the root -> content

constexpr uint64_t kFileBytesMax = 600'000;

class Losses final : public SalvageSink {
 public:
  void OnLoss(const Loss& loss) override { all.push_back(loss); }
  void OnWhole(const WholeName& name) override { whole[std::string(name.path)] = name.size; }
  void OnRefusal(const std::string& sentence) override { refusals.push_back(sentence); }
  void OnProgress(const SalvageCounts&) override {}
  std::string Text() const {
    std::string text;
    for (const Loss& loss : all) text += LineOf(loss) + "\n";
    return text;
  }
  std::vector<Loss> all;
  std::map<std::string, uint64_t> whole;  // path -> size
  std::vector<std::string> refusals;
};

class Findings final : public FsckSink {
 public:
  void OnFinding(const Finding& finding) override {
    text += std::to_string(finding.shard.value) + ": " + finding.text + "\n";
    ++count[static_cast<size_t>(finding.kind)];
  }
  void OnProgress(const FsckCounts&) override {}
  std::string text;
  uint64_t count[7] = {};
};

// Salvages to a directory of its own.
class Salvager {
 public:
  // All servers of the cluster are dead; those in `without` are not there at all.
  explicit Salvager(SimCluster& cluster, const std::set<uint32_t>& without = {}, uint64_t mangle = 0) {
    std::string pattern = testing::TempDir() + "mayfly-salvage-XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    directory = pattern;
    SalvageInput input;
    std::vector<SettleShard> settle;
    for (uint32_t s = 0; s < cluster.shard_count(); ++s) {
      const bool there = !without.contains(s);
      shards_.push_back(there ? std::make_unique<DeadShard>(cluster, s, mangle) : nullptr);
      DeadShard* const shard = shards_.back().get();
      settle.push_back(there ? SettleShard{&shard->tables(), shard->look().verdict() != Verdict::kDamaged}
                             : SettleShard());
      input.shards.push_back(there ? SalvageShard{&shard->tables(), shard} : SalvageShard());
      EXPECT_TRUE(!there || mangle != 0 || shard->tables().refused() == 0);
    }
    settled = Settle(settle);
    for (const auto& shard : shards_) EXPECT_TRUE(shard == nullptr || mangle != 0 || shard->tables().finished());
    FsckInput check;
    check.layout = &cluster.layout();
    check.placement = &cluster.placement();
    check.shards = input.shards;
    check.chunk_file_blocks.resize(input.shards.size());
    check.with_data = true;
    checked = Fsck(check, &findings);
    if (without.empty()) Repair(cluster, mangle != 0);
    DoAllWrittenDown(cluster, input);
    if (mangle == 0) Fsck(check, &findings);
    PosixPfsTree tree;
    std::shared_ptr<PfsRoot> root;
    bool made = false;
    EXPECT_TRUE(tree.Open(directory, true, &root, &made).ok());
    input.layout = &cluster.layout();
    input.placement = &cluster.placement();
    input.root = cluster.placement().RootInode();
    input.target = root.get();
    input.number = 1;
    const auto salvaged = Salvage(input, &losses);
    EXPECT_TRUE(salvaged.ok());
    if (salvaged.ok()) counts = *salvaged;
  }
  ~Salvager() { fs::remove_all(directory); }

  State Found() const {
    State found;
    for (const auto& entry : fs::recursive_directory_iterator(directory)) {
      if (!entry.is_regular_file()) continue;
      std::ostringstream content;
      content << std::ifstream(entry.path(), std::ios::binary).rdbuf();
      found[fs::relative(entry.path(), directory).string()] = content.str();
    }
    return found;
  }

  std::string directory;
  Findings findings;
  FsckCounts checked;
  Losses losses;
  Settled settled;
  WrittenDown written_down;
  SalvageCounts counts;

 private:
  // Twice: what was done is not done again.
  void DoAllWrittenDown(SimCluster& cluster, const SalvageInput& input) {
    const OutboxTimes times{cluster.clock().Now(), cluster.clock().Wall()};
    for (const SalvageShard& shard : input.shards) {
      if (shard.tables == nullptr) continue;
      const WrittenDown here = DoWrittenDown(shard, &cluster.placement(), times);
      written_down.done += here.done;
      written_down.left_out += here.left_out;
      written_down.unread += here.unread;
      EXPECT_EQ(DoWrittenDown(shard, &cluster.placement(), times).done, 0u);
    }
  }
  // What was under way is decided, and then there is nothing to mend; also of what was mangled something can be made.
  void Repair(SimCluster& cluster, bool mangled) {
    std::vector<RepairShard> all(shards_.size());
    for (size_t s = 0; s < all.size(); ++s) {
      all[s].fields = std::move(shards_[s]->fields());
      all[s].whole = !mangled && shards_[s]->look().verdict() != Verdict::kDamaged;
    }
    const auto plan = PlanRepair(cluster.layout(), cluster.placement(), all, cluster.clock().Wall());
    ASSERT_TRUE(plan.ok()) << plan.failure().sentence;
    if (mangled) return;
    EXPECT_EQ(plan->mended, 0u);
    EXPECT_EQ(plan->settled.committed, settled.committed);
    EXPECT_EQ(plan->settled.aborted, settled.aborted);
  }

  std::vector<std::unique_ptr<DeadShard>> shards_;
};

void ExpectSame(const State& found, const State& wanted, const std::string& losses) {
  for (const auto& [path, content] : wanted) {
    const auto it = found.find(path);
    if (it == found.end()) {
      ADD_FAILURE() << path << " is not there\n" << losses;
    } else if (it->second != content) {
      const auto differ = std::mismatch(content.begin(), content.end(), it->second.begin(), it->second.end());
      ADD_FAILURE() << path << ": " << it->second.size() << " bytes, not " << content.size() << ", other from "
                    << differ.first - content.begin() << " on\n"
                    << losses;
    }
  }
  for (const auto& [path, content] : found) EXPECT_TRUE(wanted.contains(path)) << path << " is there";
}

enum class End { kKill, kPower };

SimClusterOptions OptionsFor(uint64_t seed, End end) {
  SimClusterOptions options;
  options.members = 3;
  options.seed = seed;
  // At level `node` without power the newest bytes may be in memory alone.
  options.durability = end == End::kKill && seed % 2 == 0 ? Durability::kProcess : Durability::kNode;
  if (options.durability == Durability::kNode) options.disk_bytes = 256u << 20;
  options.fsync = end == End::kPower ? Fsync::kAlways : Fsync::kCommit;
  options.checksums = seed % 5 != 0;
  if (seed % 3 == 0) {  // with checkpoints
    options.journal_bytes = 512 << 10;
    options.window_bytes = 256 << 10;
  }
  return options;
}

// A session in which one client did this and that, all of it acknowledged.
class World {
 public:
  World(uint64_t seed, End end) : random_(seed * 2862933555777941757u + 5), end_(end), cluster_(OptionsFor(seed, end)) {
    client_options_.syncs = OptionsFor(seed, end).durability == Durability::kNode;
    client_options_.write_behind_bytes = 0;
    client_options_.checksum = true;
    client_ = std::make_unique<SimClient>(cluster_, client_options_);
  }
  SimCluster& cluster() { return cluster_; }
  const State& state() const { return state_; }
  Lane& lane() { return client_->lane(); }
  SimClient& client() { return *client_; }
  void Die() {
    client_.reset();
    for (uint32_t s = 0; s < cluster_.shard_count(); ++s) cluster_.Kill(ShardId(s), end_ == End::kPower);
  }

  // The same servers go on, with what they kept.
  void Restart() {
    Die();
    std::vector<RecoveryReport> reports(cluster_.shard_count());
    std::vector<Task<Status>> tasks;
    for (uint32_t s = 0; s < cluster_.shard_count(); ++s) tasks.push_back(cluster_.Restart(ShardId(s), &reports[s]));
    for (Task<Status>& task : tasks) Good(cluster_.Wait(std::move(task)), "recovery");
    client_ = std::make_unique<SimClient>(cluster_, client_options_);
  }

  void Steps(int count) {
    if (!state_.empty()) return More(count);
    Good(client_->Wait(lane().Mkdir("/d", 0755)), "mkdir");
    More(count);
  }
  void More(int count) {
    for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) Step();
  }
  void Write(const std::string& path, const std::string& content) {
    const auto fd = client_->Wait(lane().Open("/" + path, kOpenWrite | kOpenCreate, 0644));
    ASSERT_TRUE(fd.ok());
    const FileRef file = client_->mount().files().Find(*fd);
    if (!content.empty()) Good(client_->Wait(lane().WriteAt(file, AsBytes(content), 0)).status(), "write");
    Good(client_->Wait(lane().Close(*fd)), "close");
  }
  std::string Content(size_t bytes) {
    std::string text(bytes, '\0');
    for (size_t i = 0; i < bytes; i += 8) {
      const uint64_t word = random_.U64();
      std::memcpy(text.data() + i, &word, std::min<size_t>(8, bytes - i));
    }
    return text;
  }

 private:
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }
  std::string AnyPath() { return (OneIn(2) ? "d/" : "") + std::to_string(Below(6)); }
  void Good(Status status, const char* what) { ASSERT_TRUE(status.ok()) << what << ": " << TextOf(status.code()); }

  void Step() {
    const std::string path = AnyPath();
    if (state_.contains(path) && OneIn(8)) {
      Good(client_->Wait(lane().Unlink("/" + path)), "unlink");
      state_.erase(path);
      return;
    }
    if (state_.contains(path) && OneIn(6)) {
      const std::string to = AnyPath();
      Good(client_->Wait(lane().Rename("/" + path, "/" + to, 0)), "rename");
      if (to != path) {
        state_[to] = state_[path];
        state_.erase(path);
      }
      return;
    }
    const auto fd = client_->Wait(lane().Open("/" + path, kOpenRead | kOpenWrite | kOpenCreate, 0644));
    ASSERT_TRUE(fd.ok());
    const FileRef file = client_->mount().files().Find(*fd);
    std::string& content = state_[path];
    for (uint64_t writes = 1 + Below(4); writes != 0; --writes) Change(file, &content);
    Good(client_->Wait(lane().Close(*fd)), "close");
  }
  void Change(FileRef file, std::string* content) {
    const uint64_t choice = Below(8);
    if (choice == 0) {
      const uint64_t size = Below(kFileBytesMax);
      Good(client_->Wait(lane().Truncate(file, size)), "truncate");
      content->resize(size);
      return;
    }
    if (choice == 1 && content->size() < kFileBytesMax) {
      const uint64_t more = 1 + Below(kFileBytesMax - content->size());
      Good(client_->Wait(lane().Fallocate(file, Lane::Allocate::kExtend, content->size(), more)), "fallocate");
      content->resize(content->size() + more);
    }
    const uint64_t offset = OneIn(2) ? Below(content->size() + 1) : Below(kFileBytesMax / 2);
    const size_t bytes = std::min<size_t>(1 + Below(OneIn(3) ? 200'000 : 9'000), kFileBytesMax - offset);
    const std::string data = Content(bytes);
    Good(client_->Wait(lane().WriteAt(file, AsBytes(data), offset)).status(), "write");
    if (content->size() < offset + bytes) content->resize(offset + bytes);
    content->replace(offset, bytes, data);
  }

  SimRandom random_;
  const End end_;
  SimCluster cluster_;
  std::unique_ptr<SimClient> client_;
  ClientOptions client_options_;
  State state_;
};

uint64_t Number(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

std::map<std::string, uint64_t> SizesOf(const State& state) {
  std::map<std::string, uint64_t> sizes;
  for (const auto& [path, content] : state) sizes[path] = content.size();
  return sizes;
}

void SalvageAll(End end) {
  const uint64_t first = Number("MAYFLY_SEED", 1), count = Number("MAYFLY_SEEDS", 12);
  for (uint64_t seed = first; seed < first + count && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, end);
    world.Steps(60);
    if (seed % 2 == 1) {
      world.Restart();  // after a loss of power all lies in the chunk file alone
      world.Steps(10);
    }
    world.Die();
    const Salvager salvager(world.cluster());
    ExpectSame(salvager.Found(), world.state(), salvager.losses.Text());
    EXPECT_TRUE(salvager.counts.whole()) << salvager.losses.Text();
    EXPECT_EQ(salvager.counts.files, world.state().size());
    EXPECT_EQ(salvager.losses.whole, SizesOf(world.state()));
    EXPECT_EQ(salvager.findings.text, "");
    EXPECT_EQ(salvager.checked.files, world.state().size());
  }
}

TEST(Salvage, WhatKilledServersHadIsAllThere) { SalvageAll(End::kKill); }
TEST(Salvage, WhatSurvivesALossOfPowerIsAllThere) { SalvageAll(End::kPower); }

// Each name is there and right, or is said; what is partial is right but for its gaps.
void ExpectAccounted(const Salvager& salvager, const State& wanted) {
  const State found = salvager.Found();
  std::map<std::string, const Loss*> losses;
  std::set<std::string> incomplete;
  for (const Loss& loss : salvager.losses.all) {
    if (loss.kind == LossKind::kIncomplete) incomplete.insert(loss.path);
    losses[loss.path] = &loss;
  }
  for (const auto& [path, content] : wanted) {
    const std::string parent = path.starts_with("d/") ? "d" : "";
    const auto loss = losses.find(path);
    if (const auto it = found.find(path); it != found.end()) {
      EXPECT_EQ(it->second, content) << path;
      EXPECT_EQ(loss, losses.end()) << path;
    } else if (loss == losses.end()) {
      EXPECT_TRUE(incomplete.contains(parent) || incomplete.contains("")) << path << " is missing in silence";
    } else if (loss->second->kind == LossKind::kPartial) {
      ASSERT_TRUE(found.contains(loss->second->saved_as)) << path;
      const std::string& have = found.at(loss->second->saved_as);
      std::string masked = content.substr(0, have.size());
      EXPECT_TRUE(loss->second->more_behind || have.size() == content.size()) << path;
      for (const Gap& gap : loss->second->gaps) {
        for (uint64_t i = gap.begin; i < std::min<uint64_t>(gap.end, masked.size()); ++i) masked[i] = '\0';
      }
      EXPECT_TRUE(have == masked) << path << " has wrong bytes";
    }
  }
}

TEST(Salvage, OfMissingShardsEverythingIsAccountedFor) {
  uint64_t partial = 0, whole = 0, lost = 0;
  for (uint64_t seed = 1; seed <= 9 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    World world(seed, End::kKill);
    world.Steps(60);
    world.Die();
    const Salvager salvager(world.cluster(), {static_cast<uint32_t>(seed % 3)});
    ExpectAccounted(salvager, world.state());
    EXPECT_FALSE(salvager.counts.whole());
    EXPECT_EQ(salvager.findings.text, "");
    partial += salvager.counts.partial;
    whole += salvager.counts.files;
    lost += salvager.counts.lost;
  }
  EXPECT_GT(partial, 0u);
  EXPECT_GT(whole, 0u);
  EXPECT_GT(lost, 0u);
}

TEST(Salvage, RottenBytesAreGapsAndNoOthers) {
  World world(1, End::kPower);  // with checksums, at level `node`
  world.Steps(60);
  world.Die();
  world.cluster().platter(1).Rot(kChunkFileName, 4096, 1 << 20, 40);
  const Salvager salvager(world.cluster());
  ExpectAccounted(salvager, world.state());
  EXPECT_GT(salvager.counts.partial + salvager.counts.absent, 0u) << "nothing was hit";
  EXPECT_GT(salvager.checked.findings[static_cast<size_t>(FindingKind::kBytes)], 0u);
  EXPECT_EQ(salvager.checked.all_findings(), salvager.checked.findings[static_cast<size_t>(FindingKind::kBytes)]);
  EXPECT_GT(salvager.counts.files, 0u);
  EXPECT_EQ(salvager.counts.incomplete + salvager.counts.lost, 0u);
  for (const Loss& loss : salvager.losses.all) {
    for (const Gap& gap : loss.gaps) EXPECT_EQ(gap.kind, GapKind::kCorrupt);
  }
}

// Whatever is missing or wrong in journals: what comes of it is some tree, and lines about it.
TEST(Salvage, OfMangledTablesSomethingIsSaved) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // contradictions are the test's
  const uint64_t first = Number("MAYFLY_SEED", 1), count = Number("MAYFLY_SEEDS", 12);
  uint64_t files = 0, findings = 0;
  for (uint64_t seed = first; seed < first + count; ++seed) {
    World world(seed, End::kKill);
    world.Steps(60);
    world.Die();
    for (uint64_t mangle = 1; mangle <= 8; ++mangle) {
      const Salvager salvager(world.cluster(), {}, seed * 8 + mangle);
      files += salvager.counts.files;
      findings += salvager.checked.all_findings();
    }
  }
  SetLogSink(nullptr, LogLevel::kWarn);
  EXPECT_GT(files, 0u);
  EXPECT_GT(findings, 0u);
}

// A session whose servers die, one in the middle of an operation and the others then.
struct Moment {
  uint32_t victim = 0;
  int64_t number = 0;
};
// For each moment of an operation that `begin` begins in a world which it has prepared; `check` gets whether it was
// said to be done before anybody died. Until nobody dies any more.
template <class Begin, class Check>
void KillAtEachMoment(Begin begin, Check check) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // dead servers are the test's
  for (Moment moment; moment.victim < 3 && !testing::Test::HasFailure(); ++moment.number) {
    SCOPED_TRACE("moment " + std::to_string(moment.number) + " of shard " + std::to_string(moment.victim));
    World world(2, End::kKill);
    SimCluster& cluster = world.cluster();
    Task<Status> operation = begin(world);
    cluster.KillInside(ShardId(moment.victim), moment.number);
    while (!operation.done() && !cluster.dead(ShardId(moment.victim))) ASSERT_TRUE(cluster.Turn());
    const bool said = operation.done();
    if (!cluster.dead(ShardId(moment.victim))) moment = {moment.victim + 1, -1};
    for (uint32_t s = 0; s < 3; ++s) {
      if (!cluster.dead(ShardId(s))) cluster.Kill(ShardId(s));
    }
    while (!operation.done()) ASSERT_TRUE(cluster.Turn());
    const bool good = operation.Take().ok();
    const Salvager salvager(cluster);
    EXPECT_TRUE(salvager.counts.whole()) << salvager.losses.Text();
    EXPECT_EQ(salvager.settled.unknown, 0u);
    EXPECT_EQ(salvager.findings.text, "");
    check(salvager, said && good);
  }
  SetLogSink(nullptr, LogLevel::kWarn);
}

// Between two shards: the file is there by one of its names, by the new one once that was said, and never by both.
TEST(Salvage, ARenameHappenedOrNot) {
  uint64_t committed = 0, aborted = 0;
  std::string from, to, content;
  KillAtEachMoment(
      [&](World& world) {
        const InodeId root = world.cluster().placement().RootInode();
        from = world.cluster().NameAt(ShardId(1), "from", root);
        to = world.cluster().NameAt(ShardId(2), "to", root);
        content = world.Content(3000);
        world.Write(from, content);
        world.Write(world.cluster().NameAt(ShardId(2), "other", root), "");  // it is joined
        return world.lane().Rename("/" + from, "/" + to, 0);
      },
      [&](const Salvager& salvager, bool said) {
        const State found = salvager.Found();
        EXPECT_EQ(found.size(), 2u) << salvager.losses.Text();
        EXPECT_TRUE(found.contains(to) || (!said && found.contains(from)));
        EXPECT_TRUE(!found.contains(to) || found.at(to) == content);
        EXPECT_TRUE(!found.contains(from) || found.at(from) == content);
        committed += salvager.settled.committed;
        aborted += salvager.settled.aborted;
      });
  EXPECT_GT(committed, 0u);
  EXPECT_GT(aborted, 0u);
}

Task<Status> Appended(Lane* lane, FileRef file, Bytes data) {
  auto written = co_await lane->Write(file, data);
  co_return written.status();
}

// Over all shards: nothing of it is there, or all.
TEST(Salvage, AnAppendHappenedOrNot) {
  std::string before, more;
  uint64_t all = 0, nothing = 0;
  KillAtEachMoment(
      [&](World& world) {
        before = world.Content(100'000);
        more = world.Content(300'000);
        world.Write("file", before);
        const auto fd = world.client().Wait(world.lane().Open("/file", kOpenWrite | kOpenAppend, 0));
        EXPECT_TRUE(fd.ok());
        return Appended(&world.lane(), world.client().mount().files().Find(*fd), AsBytes(more));
      },
      [&](const Salvager& salvager, bool said) {
        const State found = salvager.Found();
        ASSERT_TRUE(found.contains("file"));
        EXPECT_TRUE(found.at("file") == before + more || (!said && found.at("file") == before))
            << found.at("file").size();
        ++(found.at("file").size() == before.size() ? nothing : all);
      });
  EXPECT_GT(all, 0u);
  EXPECT_GT(nothing, 0u);
}

TEST(Salvage, ATruncationHappenedOrNot) {
  std::string before;
  uint64_t cut = 0, not_cut = 0;
  KillAtEachMoment(
      [&](World& world) {
        before = world.Content(400'000);
        world.Write("file", before);
        const auto fd = world.client().Wait(world.lane().Open("/file", kOpenWrite, 0));
        EXPECT_TRUE(fd.ok());
        return world.lane().Truncate(world.client().mount().files().Find(*fd), 70'000);
      },
      [&](const Salvager& salvager, bool said) {
        const State found = salvager.Found();
        ASSERT_TRUE(found.contains("file"));
        EXPECT_TRUE(found.at("file") == before.substr(0, 70'000) || (!said && found.at("file") == before))
            << found.at("file").size();
        ++(found.at("file").size() == before.size() ? not_cut : cut);
      });
  EXPECT_GT(cut, 0u);
  EXPECT_GT(not_cut, 0u);
}

// ---- what processes had written down ----

// A session whose one client makes and removes small files in a directory that is its own.
class WritingDown {
 public:
  explicit WritingDown(uint64_t seed) : random_(seed * 40503 + 9), cluster_(Options(seed)) {
    ClientOptions eager;
    eager.own_after = 1;
    client_ = std::make_unique<SimClient>(cluster_, eager, &cluster_.views());
    EXPECT_TRUE(client_->Wait(lane().Mkdir("/d", 0755)).ok());
    const auto attr = client_->Wait(lane().Stat("/d", true));
    EXPECT_TRUE(attr.ok());
    if (attr.ok()) directory_ = attr->inode;
    // It is told of the parts.
    for (int i = 0; i < 20; ++i) {
      Make(2000);
      cluster_.RunFor(kMillisecond);
    }
    cluster_.RunFor(20 * kMillisecond);
  }
  SimCluster& cluster() { return cluster_; }
  Lane& lane() { return client_->lane(); }
  Mount& mount() { return client_->mount(); }
  const State& state() const { return state_; }
  InodeId directory() const { return directory_; }
  uint64_t ahead() { return mount().outbox().made() + mount().outbox().removed(); }
  void Steps(int count) {
    for (int i = 0; i < count && !testing::Test::HasFailure(); ++i) {
      if (Below(3) == 0) {
        Remove();
      } else {
        Make(Below(3) == 0 ? 0 : 1 + Below(5000));
      }
    }
  }
  void Die() {
    for (uint32_t s = 0; s < cluster_.shard_count(); ++s) {
      if (!cluster_.dead(ShardId(s))) cluster_.Kill(ShardId(s));
    }
  }

 private:
  static SimClusterOptions Options(uint64_t seed) {
    SimClusterOptions options;
    options.members = 2;
    options.seed = seed;
    options.durability = Durability::kProcess;
    options.checksums = seed % 3 != 0;
    return options;
  }
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  void Make(size_t bytes) {
    const std::string path = "d/" + std::to_string(made_++);
    const auto fd = client_->Wait(lane().Open("/" + path, kOpenWrite | kOpenCreate | kOpenExclusive, 0640));
    ASSERT_TRUE(fd.ok());
    std::string content(bytes, '\0');
    for (char& c : content) c = static_cast<char>(random_.U64());
    if (bytes != 0) {
      ASSERT_TRUE(client_->Wait(lane().Write(client_->Find(*fd), AsBytes(content))).ok());
    }
    ASSERT_TRUE(client_->Wait(lane().Close(*fd)).ok());
    state_[path] = content;
  }
  void Remove() {
    if (state_.empty()) return;
    const auto victim = std::next(state_.begin(), static_cast<ptrdiff_t>(Below(state_.size())));
    ASSERT_TRUE(client_->Wait(lane().Unlink("/" + victim->first)).ok());
    state_.erase(victim);
  }

  SimRandom random_;
  SimCluster cluster_;
  std::unique_ptr<SimClient> client_;
  State state_;
  InodeId directory_;
  int made_ = 0;
};

void ExpectAll(const Salvager& salvager, const WritingDown& world) {
  ExpectSame(salvager.Found(), world.state(), salvager.losses.Text());
  EXPECT_TRUE(salvager.counts.whole()) << salvager.losses.Text();
  EXPECT_EQ(salvager.counts.files, world.state().size());
  EXPECT_EQ(salvager.written_down.left_out + salvager.written_down.unread, 0u);
  EXPECT_EQ(salvager.findings.text, "");
}

TEST(Salvage, WhatWasWrittenDownForKilledServersIsDone) {
  const uint64_t first = Number("MAYFLY_SEED", 1), count = Number("MAYFLY_SEEDS", 12);
  uint64_t done = 0;
  for (uint64_t seed = first; seed < first + count && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    WritingDown world(seed);
    const uint64_t before = world.ahead();
    world.Steps(40);
    EXPECT_GT(world.ahead(), before);
    world.Die();
    const Salvager salvager(world.cluster());
    ExpectAll(salvager, world);
    done += salvager.written_down.done;
  }
  EXPECT_GT(done, count);
}

// The server may just have done it, and nobody heard of that.
TEST(Salvage, WhatWasWrittenDownAndDoneIsNotDoneAgain) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);  // dead servers are the test's
  std::set<uint64_t> left;
  for (Moment moment; moment.victim < 2 && !testing::Test::HasFailure(); ++moment.number) {
    SCOPED_TRACE("moment " + std::to_string(moment.number) + " of shard " + std::to_string(moment.victim));
    WritingDown world(3);
    world.Steps(12);
    SimCluster& cluster = world.cluster();
    cluster.KillInside(ShardId(moment.victim), moment.number);
    world.lane().SendWrittenDown();
    while (world.mount().departing() != 0 && !cluster.dead(ShardId(moment.victim))) ASSERT_TRUE(cluster.Turn());
    if (!cluster.dead(ShardId(moment.victim))) moment = {moment.victim + 1, -1};
    world.Die();
    const Salvager salvager(cluster);
    ExpectAll(salvager, world);
    left.insert(salvager.written_down.done);
  }
  SetLogSink(nullptr, LogLevel::kWarn);
  EXPECT_GE(left.size(), 2u) << "nobody had done anything";
}

// Or a part of it.
TEST(Salvage, WhatWasWrittenDownAndDoneInPartIsDoneOnce) {
  // Cuts off what stands in each slot.
  struct Cut final : PieceSource {
    Cut(PieceSource* source, uint32_t most) : from(*source), bytes(most) {}
    void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
      from.Read(piece, begin, to, gaps);
      for (uint32_t i = 0; i < kOutboxSlots; ++i) {
        auto* const slot = OutboxSlotAt(to, i);
        slot->bytes = std::min<uint32_t>(slot->bytes, bytes);
      }
    }
    PieceSource& from;
    const uint32_t bytes;
  };
  WritingDown world(5);
  world.Steps(14);
  world.Die();
  const OutboxTimes times{world.cluster().clock().Now(), world.cluster().clock().Wall()};
  uint64_t parts = 0;
  for (uint32_t s = 0; s < 2; ++s) {
    DeadShard at_once(world.cluster(), s);
    ASSERT_TRUE(at_once.tables().Finish());
    const uint64_t all = DoWrittenDown({&at_once.tables(), &at_once}, &world.cluster().placement(), times).done;
    for (uint32_t bytes = 50; bytes < 2000; bytes += 70) {
      DeadShard shard(world.cluster(), s);
      ASSERT_TRUE(shard.tables().Finish());
      Cut cut(&shard, bytes);
      const uint64_t some = DoWrittenDown({&shard.tables(), &cut}, &world.cluster().placement(), times).done;
      const WrittenDown rest = DoWrittenDown({&shard.tables(), &shard}, &world.cluster().placement(), times);
      EXPECT_EQ(some + rest.done, all) << bytes;
      EXPECT_EQ(rest.left_out, 0u) << bytes;
      EXPECT_EQ(shard.tables().names().Check(), "");
      parts += some != 0 && rest.done != 0;
    }
  }
  EXPECT_GT(parts, 10u);
}

// Where the arena is not there it is said; whatever stands there instead is left out.
TEST(Salvage, OutboxesThatCannotBeReadAreCounted) {
  WritingDown world(1);
  world.Steps(30);
  world.Die();
  uint64_t done = 0, left_out = 0;
  for (uint32_t s = 0; s < 2; ++s) {
    const OutboxTimes times{world.cluster().clock().Now(), world.cluster().clock().Wall()};
    DeadShard shard(world.cluster(), s);
    ASSERT_TRUE(shard.tables().Finish());
    const size_t outboxes = shard.tables().outboxes().size();
    EXPECT_EQ(outboxes, 1u);
    struct Nothing final : PieceSource {
      void Read(const StoredPiece&, uint64_t begin, MutableBytes to, Gaps* gaps) override {
        gaps->push_back({begin, begin + to.size(), GapKind::kMissing});
      }
    } nothing;
    const WrittenDown unread = DoWrittenDown({&shard.tables(), &nothing}, &world.cluster().placement(), times);
    EXPECT_EQ(unread.unread, outboxes);
    EXPECT_EQ(unread.done, 0u);
    struct Noise final : PieceSource {
      explicit Noise(PieceSource* source) : from(*source) {}
      void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
        from.Read(piece, begin, to, gaps);
        for (size_t i = 64; i < to.size(); i += 101) to[i] ^= 0x5a;
      }
      PieceSource& from;
    } noise(&shard);
    const WrittenDown wrong = DoWrittenDown({&shard.tables(), &noise}, &world.cluster().placement(), times);
    left_out += wrong.left_out;
    // A file by a number that nobody was lent.
    struct Stranger final : PieceSource {
      explicit Stranger(ShardTables* tables) : of(*tables) {}
      void Read(const StoredPiece&, uint64_t, MutableBytes to, Gaps*) override {
        std::fill(to.begin(), to.end(), 0);
        auto* const slot = OutboxSlotAt(to, 0);
        BirthRecord birth;
        birth.parent = dir;
        birth.inode = InodeId::Make(of.self(), of.names().next_sequence());
        birth.name = "stranger";
        Encoder e(MutableBytes(slot->records));
        e.Put(BirthRecord::kKind);
        e.Put(birth);
        slot->serial = 1;
        slot->bytes = static_cast<uint32_t>(e.size());
      }
      ShardTables& of;
      InodeId dir;
    } stranger(&shard.tables());
    stranger.dir = world.directory();
    const WrittenDown none = DoWrittenDown({&shard.tables(), &stranger}, &world.cluster().placement(), times);
    EXPECT_EQ(none.done, 0u);
    EXPECT_EQ(none.left_out, 1u);
    EXPECT_EQ(shard.tables().names().Check(), "");
    done += DoWrittenDown({&shard.tables(), &shard}, &world.cluster().placement(), times).done;
    EXPECT_EQ(shard.tables().names().Check(), "");
  }
  EXPECT_GT(done, 0u);
  EXPECT_GT(left_out, 0u);
}

}  // namespace
}  // namespace mayfly
