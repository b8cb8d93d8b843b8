// Servers that are killed in the middle of everything and started again on what their nodes kept, under a client that
// goes on by itself: whatever it was told is so afterwards, and each operation happened once (durability `process`).
#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>

#include "sim/client.h"

namespace mayfly {
namespace {

// Unfinished work of servers that were killed: never run again, never destroyed.
template <class T>
void Bury(T thing) {
  static auto* graves = new std::vector<T>;
  graves->push_back(std::move(thing));
}

struct Node {
  FileType type = FileType::kFile;
  std::string data;  // of a file; target of a symlink
};
using NodeRef = std::shared_ptr<Node>;

// One client, one model of what it was told, and somebody with a knife.
class World {
 public:
  World(uint64_t seed, uint32_t members)
      : random_(seed * 7919 + 1), cluster_(std::make_unique<SimCluster>(OptionsOf(seed, members))) {
    ClientOptions options;
    options.op_timeout = 600 * kSecond;  // an operation outlives every restart
    options.unreachable_after = options.op_timeout;
    options.write_behind_bytes = 0;  // what is not sent is not acknowledged by a server
    client_ = std::make_unique<SimClient>(*cluster_, options);
    tree_["/"] = std::make_shared<Node>(Node{FileType::kDirectory, ""});
    restart_at_.resize(members, 0);
    opening_.resize(members);
  }
  ~World() {
    Mend();
    client_.reset();
    cluster_.reset();
  }

  void Run(int operations) {
    for (int i = 0; i < operations && !testing::Test::HasFailure(); ++i) {
      SCOPED_TRACE("operation " + std::to_string(i));
      PlanKill();
      Operate();
      if (i % 16 == 15) CheckSome(8);
    }
    Mend();
    CheckSome(1000);
    for (uint32_t s = 0; s < members(); ++s) EXPECT_EQ(cluster_->shard(s).Check(), "");
  }

  uint64_t kills() const { return kills_; }
  uint64_t damage() const { return damage_; }

 private:
  static SimClusterOptions OptionsOf(uint64_t seed, uint32_t members) {
    SimClusterOptions options;
    options.members = members;
    options.seed = seed;
    options.memory_bytes = 16u << 20;
    options.durability = Durability::kProcess;
    return options;
  }
  uint32_t members() const { return static_cast<uint32_t>(restart_at_.size()); }
  uint64_t Below(uint64_t n) { return random_.U64() % n; }
  bool OneIn(uint64_t n) { return Below(n) == 0; }

  // ---- kills and restarts, between any two turns of the cluster ----
  void PlanKill() { turns_to_kill_ = OneIn(3) ? static_cast<int64_t>(Below(60)) : -1; }
  void Kill() {
    const bool all = OneIn(4);
    for (uint32_t s = 0; s < members(); ++s) {
      if (!all && s != victim_) continue;
      if (cluster_->dead(ShardId(s))) continue;
      if (opening_[s] != nullptr) Bury(std::move(opening_[s]));  // dying in recovery
      cluster_->Kill(ShardId(s));
      Say("kill", s);
      ++kills_;
      restart_at_[s] = cluster_->clock().Now() + Below(3000) * kMillisecond;
    }
  }
  void Say(const char* what, uint32_t s) {
    if (std::getenv("MAYFLY_TRACE") == nullptr) return;
    std::printf("%.6f %s %u\n", static_cast<double>(cluster_->clock().Now()) / 1e9, what, s);
  }
  void Restart(uint32_t s) {
    auto open = std::make_unique<Opening>();
    open->task.emplace(cluster_->Restart(ShardId(s), &open->report));
    opening_[s] = std::move(open);
    Say("start again", s);
  }
  void Turn() {
    if (turns_to_kill_ == 0) {
      victim_ = static_cast<uint32_t>(Below(members()));
      Kill();
      turns_to_kill_ = OneIn(3) ? static_cast<int64_t>(Below(200)) : -1;
    } else if (turns_to_kill_ > 0) {
      --turns_to_kill_;
    }
    bool waiting = false;
    for (uint32_t s = 0; s < members(); ++s) {
      if (cluster_->dead(ShardId(s))) {
        if (cluster_->clock().Now() >= restart_at_[s]) Restart(s);
        waiting = true;
      }
      if (opening_[s] != nullptr && opening_[s]->task->done()) {
        const Status status = opening_[s]->task->Take();
        EXPECT_TRUE(status.ok()) << opening_[s]->report.refusal;
        EXPECT_TRUE(opening_[s]->report.found);
        damage_ += opening_[s]->report.damage.size();
        opening_[s].reset();
      }
      waiting |= opening_[s] != nullptr;
    }
    if (!cluster_->Step()) {
      // Time passes in steps, so that a restart comes between two timers too.
      if (waiting) {
        cluster_->clock().Advance(kMillisecond);
      } else {
        MAYFLY_CHECK(cluster_->Turn());
      }
    }
  }
  void Mend() {
    turns_to_kill_ = -1;
    for (int i = 0; i < 1'000'000; ++i) {
      bool whole = true;
      for (uint32_t s = 0; s < members(); ++s) whole &= !cluster_->dead(ShardId(s)) && opening_[s] == nullptr;
      if (whole) return;
      Turn();
    }
    FAIL() << "the servers do not come back";
  }
  template <class T>
  T Wait(Task<T> task) {
    while (!task.done()) Turn();
    return task.Take();
  }

  // ---- names ----
  std::string SomePath(int depth = 0) {
    static constexpr std::array<const char*, 4> kDirs = {"/a", "/b", "/c", "/d"};
    static constexpr std::array<const char*, 5> kNames = {"/k", "/l", "/m", "/n", "/o"};
    if (depth < 2 && OneIn(2)) return kDirs[Below(kDirs.size())] + SomePath(depth + 1);
    return OneIn(3) ? kDirs[Below(kDirs.size())] : kNames[Below(kNames.size())];
  }
  static std::string ParentOf(const std::string& path) {
    const size_t slash = path.rfind('/');
    return slash == 0 ? "/" : path.substr(0, slash);
  }
  NodeRef Find(const std::string& path) const {
    const auto it = tree_.find(path);
    return it == tree_.end() ? nullptr : it->second;
  }
  // kOk if a name may be in that directory; else what Linux says.
  Code ParentState(const std::string& path) const {
    for (std::string at = ParentOf(path);; at = ParentOf(at)) {
      const NodeRef node = Find(at);
      if (node != nullptr) {
        if (node->type != FileType::kDirectory) return Code::kNotDirectory;
        return at == ParentOf(path) ? Code::kOk : Code::kNoEntry;
      }
    }
  }
  bool HasChildren(const std::string& path) const {
    const auto next = tree_.upper_bound(path + "/");
    return next != tree_.end() && next->first.starts_with(path + "/");
  }

  // ---- operations: what the model says must be what the client is told ----
  void Operate() {
    switch (Below(12)) {
      case 0:
      case 1:
        return Mkdir(SomePath());
      case 2:
        return Rmdir(SomePath());
      case 3:
      case 4:
      case 5:
        return Write(SomePath());
      case 6:
        return Append(SomePath());
      case 7:
        return Truncate(SomePath());
      case 8:
        return Unlink(SomePath());
      case 9:
        return Link(SomePath(), SomePath());
      default:
        return Rename(SomePath(), SomePath());
    }
  }
  void Mkdir(const std::string& path) {
    Code want = ParentState(path);
    if (want == Code::kOk && Find(path) != nullptr) want = Code::kExists;
    const Status got = Wait(client_->lane().Mkdir(path, 0755));
    ASSERT_EQ(got.code(), want) << "mkdir " << path;
    if (got.ok()) tree_[path] = std::make_shared<Node>(Node{FileType::kDirectory, ""});
  }
  void Rmdir(const std::string& path) {
    Code want = ParentState(path);
    const NodeRef node = Find(path);
    if (want == Code::kOk && node == nullptr) want = Code::kNoEntry;
    if (want == Code::kOk && node->type != FileType::kDirectory) want = Code::kNotDirectory;
    if (want == Code::kOk && HasChildren(path)) want = Code::kNotEmpty;
    const Status got = Wait(client_->lane().Rmdir(path));
    ASSERT_EQ(got.code(), want) << "rmdir " << path;
    if (got.ok()) tree_.erase(path);
  }
  std::string Bytes(size_t n) {
    std::string text(n, '\0');
    const uint64_t stamp = random_.U64();
    for (size_t i = 0; i < n; ++i) text[i] = static_cast<char>('a' + (stamp >> (i % 8 * 8)) % 26 + i % 3);
    return text;
  }
  // Opens, or makes; null if the model says that this must fail, and it did.
  FileRef Open(const std::string& path, uint32_t flags, int* fd) {
    Code want = ParentState(path);
    const NodeRef node = Find(path);
    const bool exclusive = (flags & kOpenExclusive) != 0;
    if (want == Code::kOk && node != nullptr && exclusive) want = Code::kExists;
    if (want == Code::kOk && node != nullptr && node->type == FileType::kDirectory) want = Code::kIsDirectory;
    const auto got = Wait(client_->lane().Open(path, flags, 0644));
    EXPECT_EQ(got.code(), want) << "open " << path;
    if (!got.ok()) return nullptr;
    *fd = *got;
    if (node == nullptr) tree_[path] = std::make_shared<Node>();
    return client_->mount().files().Find(*got);
  }
  void Close(int fd) { ASSERT_TRUE(Wait(client_->lane().Close(fd)).ok()); }
  void Write(const std::string& path) {
    int fd = -1;
    const FileRef file = Open(path, kOpenCreate | kOpenWrite | (OneIn(4) ? kOpenExclusive : 0u), &fd);
    if (file == nullptr) return;
    NodeRef node = Find(path);
    for (uint64_t n = Below(3); n > 0; --n) {
      // Chunks are of 64 KiB, so many a write goes to several shards.
      const uint64_t offset = Below(OneIn(2) ? 5000 : 300'000);
      const std::string text = Bytes(1 + Below(OneIn(2) ? 4000 : 150'000));
      const auto wrote = Wait(client_->lane().WriteAt(file, AsBytes(text), offset));
      ASSERT_TRUE(wrote.ok()) << "write " << path << ": " << TextOf(wrote.code());
      ASSERT_EQ(*wrote, text.size());
      if (node->data.size() < offset + text.size()) node->data.resize(offset + text.size());
      node->data.replace(offset, text.size(), text);
    }
    Close(fd);
  }
  void Append(const std::string& path) {
    int fd = -1;
    const FileRef file = Open(path, kOpenCreate | kOpenWrite | kOpenAppend, &fd);
    if (file == nullptr) return;
    const std::string text = Bytes(1 + Below(100'000));
    const auto wrote = Wait(client_->lane().Write(file, AsBytes(text)));
    ASSERT_TRUE(wrote.ok()) << "append " << path << ": " << TextOf(wrote.code());
    ASSERT_EQ(*wrote, text.size());
    Find(path)->data += text;
    Close(fd);
  }
  void Truncate(const std::string& path) {
    const NodeRef node = Find(path);
    if (node == nullptr || node->type != FileType::kFile) return;
    SetAttrRequest change;
    change.mask = kSetSize;
    change.size = Below(OneIn(2) ? 5000 : 300'000);
    Lane::Target target;
    target.path = path;
    const Status got = Wait(client_->lane().SetAttr(target, change));
    ASSERT_TRUE(got.ok()) << "truncate " << path << ": " << TextOf(got.code());
    node->data.resize(change.size);
  }
  void Unlink(const std::string& path) {
    Code want = ParentState(path);
    const NodeRef node = Find(path);
    if (want == Code::kOk && node == nullptr) want = Code::kNoEntry;
    if (want == Code::kOk && node->type == FileType::kDirectory) want = Code::kIsDirectory;
    const Status got = Wait(client_->lane().Unlink(path));
    ASSERT_EQ(got.code(), want) << "unlink " << path;
    if (got.ok()) tree_.erase(path);
  }
  void Link(const std::string& from, const std::string& to) {
    const NodeRef node = Find(from);
    if (node == nullptr || node->type != FileType::kFile) return;
    Code want = ParentState(to);
    if (want == Code::kOk && Find(to) != nullptr) want = Code::kExists;
    const Status got = Wait(client_->lane().Link(from, to));
    ASSERT_EQ(got.code(), want) << "link " << from << " " << to;
    if (got.ok()) tree_[to] = node;
  }
  void Rename(const std::string& from, const std::string& to) {
    const NodeRef node = Find(from);
    if (node == nullptr || ParentState(to) != Code::kOk || (to + "/").starts_with(from + "/") ||
        (from + "/").starts_with(to + "/")) {
      return;
    }
    const NodeRef old = Find(to);
    const bool is_dir = node->type == FileType::kDirectory;
    Code want = Code::kOk;
    if (old != nullptr && old != node) {
      const bool old_dir = old->type == FileType::kDirectory;
      if (is_dir && !old_dir) want = Code::kNotDirectory;
      if (!is_dir && old_dir) want = Code::kIsDirectory;
      if (is_dir && old_dir && HasChildren(to)) want = Code::kNotEmpty;
    }
    Say(("rename " + from + " " + to).c_str(), 0);
    const Status got = Wait(client_->lane().Rename(from, to, 0));
    ASSERT_EQ(got.code(), want) << "rename " << from << " " << to;
    if (!got.ok() || old == node) return;
    std::map<std::string, NodeRef> moved;
    for (auto it = tree_.begin(); it != tree_.end();) {
      if (it->first == from || it->first.starts_with(from + "/")) {
        moved[to + it->first.substr(from.size())] = it->second;
        it = tree_.erase(it);
      } else {
        ++it;
      }
    }
    tree_.erase(to);
    tree_.merge(moved);
  }

  // ---- what is there ----
  void CheckSome(size_t most) {
    for (const auto& [path, node] : tree_) {
      if (most-- == 0) return;
      const auto attr = Wait(client_->lane().Stat(path, false));
      ASSERT_TRUE(attr.ok()) << path << ": " << TextOf(attr.code());
      ASSERT_EQ(attr->type, node->type) << path;
      if (node->type != FileType::kFile) continue;
      ASSERT_EQ(attr->size, node->data.size()) << path;
      uint32_t links = 0;
      for (const auto& [other, other_node] : tree_) links += other_node == node ? 1 : 0;
      ASSERT_EQ(attr->nlink, links) << path;
      const auto fd = Wait(client_->lane().Open(path, kOpenRead, 0));
      ASSERT_TRUE(fd.ok()) << path << ": " << TextOf(fd.code());
      std::string text(node->data.size() + 10, '?');
      const auto read = Wait(client_->lane().ReadAt(client_->mount().files().Find(*fd),
                                                    {reinterpret_cast<uint8_t*>(text.data()), text.size()}, 0));
      ASSERT_TRUE(read.ok()) << path << ": " << TextOf(read.code());
      text.resize(*read);
      ASSERT_TRUE(text == node->data)
          << path << " differs at byte "
          << std::mismatch(text.begin(), text.end(), node->data.begin(), node->data.end()).first - text.begin();
      Close(*fd);
    }
    const std::string absent = SomePath();
    if (Find(absent) == nullptr && ParentState(absent) == Code::kOk) {
      ASSERT_EQ(Wait(client_->lane().Stat(absent, false)).code(), Code::kNoEntry) << absent;
    }
  }

  struct Opening {
    std::optional<Task<Status>> task;
    RecoveryReport report;
  };
  SimRandom random_;
  std::unique_ptr<SimCluster> cluster_;
  std::unique_ptr<SimClient> client_;
  std::map<std::string, NodeRef> tree_;
  std::vector<Nanos> restart_at_;
  std::vector<std::unique_ptr<Opening>> opening_;
  int64_t turns_to_kill_ = -1;
  uint32_t victim_ = 0;
  uint64_t kills_ = 0, damage_ = 0;
};

// A server whose device fails goes read-only: nothing is acknowledged that is not kept, and what there is can be read.
TEST(Recovery, AJournalThatFailsMakesTheShardReadOnly) {
  SimClusterOptions options;
  options.members = 1;
  options.memory_bytes = 16u << 20;
  options.durability = Durability::kProcess;
  SimCluster cluster(options);
  auto client = std::make_unique<SimClient>(cluster);
  Lane& lane = client->lane();
  ASSERT_TRUE(client->Wait(lane.Create("/before", true, 0644)).ok());
  cluster.platter(0).faults.write_errors = 1000;
  Status status;
  int made = 0;
  while (status.ok() && made < 10'000) {
    status = client->Wait(lane.Create("/f" + std::to_string(made), true, 0644));
    if (status.ok()) ++made;
  }
  EXPECT_TRUE(status.code() == Code::kReadOnly || status.code() == Code::kTimedOut) << TextOf(status.code());
  EXPECT_EQ(client->Wait(lane.Mkdir("/after", 0755)).code(), Code::kReadOnly);
  EXPECT_TRUE(client->Wait(lane.Stat("/before", false)).ok());
  for (int i = 0; i < made; ++i) EXPECT_TRUE(client->Wait(lane.Stat("/f" + std::to_string(i), false)).ok()) << i;
  client.reset();
}

// More was changed at once than one record holds.
TEST(Recovery, AProcessWithManyOpenFilesDies) {
  SimClusterOptions options;
  options.members = 1;
  options.memory_bytes = 16u << 20;
  options.durability = Durability::kProcess;
  SimCluster cluster(options);
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
  RecoveryReport report;
  auto open = cluster.Restart(ShardId(0), &report);
  for (int i = 0; i < 1'000'000 && !open.done(); ++i) {
    if (!cluster.Step()) cluster.clock().Advance(kMillisecond);
  }
  ASSERT_TRUE(open.done());
  EXPECT_TRUE(open.Take().ok()) << report.refusal;
  EXPECT_EQ(cluster.shard(0).Check(), "");
  EXPECT_TRUE(other->Wait(other->lane().Unlink("/more")).ok());
  other.reset();
}

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

TEST(Recovery, WhatWasAcknowledgedIsThereAfterKills) {
  const uint64_t first = FromEnvironment("MAYFLY_SEED", 1), count = FromEnvironment("MAYFLY_SEEDS", 20);
  uint64_t kills = 0;
  for (uint64_t seed = first; seed < first + count && !HasFailure(); ++seed) {
    SCOPED_TRACE("MAYFLY_SEED=" + std::to_string(seed));
    World world(seed, 1 + seed % 4);
    world.Run(80);
    kills += world.kills();
    EXPECT_EQ(world.damage(), 0u);
  }
  EXPECT_GT(kills, count);  // else nothing was tried
  std::printf("%llu seeds from %llu on, %llu kills\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(first), static_cast<unsigned long long>(kills));
}

}  // namespace
}  // namespace mayfly
