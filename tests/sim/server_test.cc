// Shards answering messages, without the client's code: what one request does, across several shards.
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "sim/cluster.h"

namespace mayfly {
namespace {

// Blocking calls of one lane.
class ServerTest : public testing::Test {
 protected:
  void Up(SimClusterOptions options = {}) {
    cluster = std::make_unique<SimCluster>(options);
    lane = cluster->NewLane();
    root = cluster->placement().RootInode();
    // The first answer tells the namespace's generation.
    EXPECT_TRUE((Call<Method::kPing>(cluster->placement().RootShard(), Empty(), nullptr)).ok());
  }
  void TearDown() override {
    if (lane != nullptr) cluster->CloseLane(std::move(lane));
    cluster.reset();
  }
  template <Method M>
  static Task<Status> CallTask(Caller* caller, ShardId to, typename MethodTypes<M>::Request request,
                               typename MethodTypes<M>::Reply* reply, CallOptions options) {
    co_return co_await caller->Call<M>(to, request, reply, options);
  }
  template <Method M>
  Status Call(ShardId to, typename MethodTypes<M>::Request request, typename MethodTypes<M>::Reply* reply,
              CallOptions options = {}) {
    typename MethodTypes<M>::Reply ignored;
    for (;;) {
      if (options.walked_at.value == 0) options.walked_at = lane->caller->generation();
      Status status =
          cluster->Wait(CallTask<M>(lane->caller.get(), to, request, reply != nullptr ? reply : &ignored, options));
      if (status.code() != Code::kGeneration && status.code() != Code::kBusy && status.code() != Code::kConflict) {
        return status;
      }
      options.walked_at = Generation();
    }
  }
  ShardId At(InodeId parent, std::string_view name) { return cluster->placement().DentryShard(parent, name); }

  Result<Attr> Make(InodeId parent, std::string_view name) {
    OpenRequest q;
    q.parent = parent;
    q.name = name;
    q.flags = kOpenRead | kOpenWrite | kOpenCreate | kOpenExclusive | kOpenUnshared;
    q.permissions = 0644;
    OpenReply a;
    Status s = Call<Method::kOpen>(At(parent, name), q, &a);
    if (!s.ok()) return s;
    grants[a.attr.inode] = a.grant;
    return a.attr;
  }
  Result<InodeId> Mkdir(InodeId parent, std::string_view name) {
    MkdirRequest q;
    q.parent = parent;
    q.name = name;
    q.permissions = 0755;
    AttrReply a;
    Status s = Call<Method::kMkdir>(At(parent, name), q, &a);
    if (!s.ok()) return s;
    return a.attr.inode;
  }
  Result<Attr> Look(InodeId parent, std::string_view name) {
    LookupRequest q;
    q.parent = parent;
    q.name = name;
    q.exact_size = true;
    LookupReply a;
    std::string target(kTargetBytesMax, '\0');
    CallOptions o;
    o.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(target.data()), target.size());
    Status s = Call<Method::kLookup>(At(parent, name), q, &a, o);
    if (!s.ok()) return s;
    return a.attr;
  }
  Status Unlink(InodeId parent, std::string_view name) {
    NameRequest q;
    q.parent = parent;
    q.name = name;
    return Call<Method::kUnlink>(At(parent, name), q, nullptr);
  }
  Status Rmdir(InodeId parent, std::string_view name) {
    NameRequest q;
    q.parent = parent;
    q.name = name;
    return Call<Method::kRmdir>(At(parent, name), q, nullptr);
  }
  Status Rename(InodeId p, std::string_view n, InodeId p2, std::string_view n2, uint32_t flags = 0) {
    RenameRequest q;
    q.parent = p;
    q.name = n;
    q.new_parent = p2;
    q.new_name = n2;
    q.flags = flags;
    Status s = Call<Method::kRename>(At(p, n), q, nullptr);
    if (s.code() == Code::kElsewhere) s = Call<Method::kRenameDir>(cluster->placement().RootShard(), q, nullptr);
    return s;
  }
  Status Close(InodeId inode) {
    CloseRequest q;
    q.inodes.push_back(inode);
    return Call<Method::kClose>(inode.home(), q, nullptr);
  }
  Status Write(const Attr& file, uint64_t offset, std::string_view data) {
    const uint64_t chunk_bytes = uint64_t{1} << file.chunk_bits;
    WriteRequest q;
    q.inode = file.inode;
    q.chunk = ChunkIndex(static_cast<uint32_t>(offset >> file.chunk_bits));
    q.offset = static_cast<uint32_t>(offset % chunk_bytes);
    q.chunk_bits = file.chunk_bits;
    q.grant = grants[file.inode];
    for (size_t at = 0; at < data.size(); at += kChecksumBlockBytes) {
      q.sums.push_back(Checksum(AsBytes(data.substr(at, kChecksumBlockBytes))));
    }
    CallOptions o;
    o.payload = AsBytes(data);
    return Call<Method::kWrite>(cluster->placement().ChunkShard(file.inode.home(), q.chunk), q, nullptr, o);
  }
  Result<std::string> Read(const Attr& file, uint64_t offset, uint32_t bytes, ReadReply* a) {
    ReadRequest q;
    q.inode = file.inode;
    q.chunk = ChunkIndex(static_cast<uint32_t>(offset >> file.chunk_bits));
    q.offset = static_cast<uint32_t>(offset % (uint64_t{1} << file.chunk_bits));
    q.bytes = bytes;
    q.chunk_bits = file.chunk_bits;
    q.want_sums = true;
    q.grant = grants[file.inode];
    std::string out(bytes, '\0');
    size_t got = 0;
    CallOptions o;
    o.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(out.data()), out.size());
    o.reply_bytes = &got;
    Status s = Call<Method::kRead>(cluster->placement().ChunkShard(file.inode.home(), q.chunk), q, a, o);
    if (!s.ok()) return s;
    out.resize(got);
    return out;
  }
  Result<Attr> Stat(InodeId inode) {
    GetAttrRequest q;
    q.inode = inode;
    q.exact_size = true;
    AttrReply a;
    Status s = Call<Method::kGetAttr>(inode.home(), q, &a);
    if (!s.ok()) return s;
    return a.attr;
  }
  uint64_t FreeBytes() {
    uint64_t free = 0;
    for (uint32_t s = 0; s < cluster->placement().shard_count(); ++s) {
      StatFsReply a;
      EXPECT_TRUE((Call<Method::kStatFs>(ShardId(s), Empty(), &a)).ok());
      free += a.bytes_free;
    }
    return free;
  }

  std::unique_ptr<SimCluster> cluster;
  std::unique_ptr<SimCluster::Lane> lane;
  InodeId root;
  std::map<InodeId, Grant> grants;  // of the files that Make made, to its lane's process
};

TEST_F(ServerTest, FilesOfOneDirectoryLiveOnAllShardsAndAreFoundAgain) {
  Up();
  std::set<uint32_t> homes;
  for (int i = 0; i < 200; ++i) {
    auto made = Make(root, "file" + std::to_string(i));
    ASSERT_TRUE(made.ok()) << i;
    homes.insert(made->inode.home().value);
  }
  EXPECT_EQ(homes.size(), 4u);
  for (int i = 0; i < 200; ++i) ASSERT_TRUE(Look(root, "file" + std::to_string(i)).ok());
  EXPECT_EQ(Make(root, "file7").code(), Code::kExists);
  EXPECT_EQ(Look(root, "none").code(), Code::kNoEntry);
  auto dir = Stat(root);
  ASSERT_TRUE(dir.ok());
  EXPECT_EQ(dir->nlink, 2u);
  EXPECT_EQ(dir->size, 40u + 200 * 20);  // as tmpfs counts
}

TEST_F(ServerTest, ALargeFileIsExactInSizeWhereverItsBytesAre) {
  Up();
  auto file = Make(root, "large");
  ASSERT_TRUE(file.ok());
  const std::string block(70000, 'x');
  uint64_t end = 0;
  for (int i = 0; i < 12; ++i) {
    const uint64_t offset = uint64_t(i) * 65536 + (i % 2 == 0 ? 0 : 100);
    const std::string data(i % 2 == 0 ? 65536 : 30000, static_cast<char>('a' + i));
    ASSERT_TRUE(Write(*file, offset, data).ok()) << i;
    end = std::max(end, offset + data.size());
    EXPECT_EQ(Stat(file->inode)->size, end);
  }
  ReadReply a;
  auto part = Read(*file, 3 * 65536, 65536, &a);
  ASSERT_TRUE(part.ok());
  EXPECT_EQ(*part, std::string(30000, 'd'));
  ASSERT_GE(a.parts.size(), 2u);
  EXPECT_TRUE(a.parts[0].hole);
  EXPECT_EQ(a.parts[0].bytes, 100u);
  EXPECT_EQ(a.parts[1].sum, Checksum(AsBytes(*part)));
}

TEST_F(ServerTest, DamagedDataOnTheWayIsRefusedAndTheFileUnchanged) {
  Up();
  auto file = Make(root, "f");
  ASSERT_TRUE(Write(*file, 0, "good bytes").ok());
  WriteRequest q;
  q.inode = file->inode;
  q.chunk_bits = file->chunk_bits;
  q.grant = grants[file->inode];
  q.sums.push_back(Checksum(AsBytes("what was meant")));
  CallOptions o;
  o.payload = AsBytes("what arrived..");
  EXPECT_EQ((Call<Method::kWrite>(file->inode.home(), q, nullptr, o)).code(), Code::kIo);
  ReadReply a;
  EXPECT_EQ(*Read(*file, 0, 100, &a), "good bytes");
  EXPECT_TRUE(a.size_known);
  EXPECT_EQ(a.size, 10u);
}

TEST_F(ServerTest, TruncationReachesEveryShardAndSpaceComesBack) {
  Up();
  const uint64_t before = FreeBytes();
  auto file = Make(root, "f");
  for (int i = 0; i < 16; ++i) ASSERT_TRUE(Write(*file, uint64_t(i) * 65536, std::string(65536, 'q')).ok());
  EXPECT_LE(FreeBytes(), before - 16 * 65536);
  SetAttrRequest q;
  q.inode = file->inode;
  q.mask = kSetSize;
  q.size = 65536 + 17;
  AttrReply a;
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, &a)).ok());
  EXPECT_EQ(Stat(file->inode)->size, 65536u + 17);
  q.size = 5 * 65536;
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, &a)).ok());
  EXPECT_EQ(Stat(file->inode)->size, 5u * 65536);
  ReadReply reply;
  auto tail = Read(*file, 65536, 65536, &reply);
  ASSERT_TRUE(tail.ok());
  EXPECT_EQ(*tail, std::string(17, 'q'));
  ASSERT_TRUE(Unlink(root, "f").ok());
  EXPECT_EQ(Stat(file->inode)->size, 5u * 65536);  // still open
  ASSERT_TRUE(Close(file->inode).ok());
  EXPECT_EQ(Stat(file->inode).code(), Code::kStale);
  EXPECT_GE(FreeBytes() + (1 << 20), before);
}

// A file of 8 chunks, cut to 100 bytes while messages from its home to another of its shards are lost: all, or all but
// the first, which asks whether it can be done.
TEST_F(ServerTest, ATruncationIsDoneEverywhereOrNowhere) {
  for (const bool asked : {false, true}) {
    SCOPED_TRACE(asked);
    SimClusterOptions options;
    options.durability = Durability::kProcess;
    Up(options);
    auto file = Make(root, "f");
    for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(Write(*file, uint64_t{i} * 65536, std::string(65536, 'q')).ok());
    const auto shard_of = [&](uint32_t chunk) {
      return cluster->placement().ChunkShard(file->inode.home(), ChunkIndex(chunk));
    };
    uint32_t far = 1;
    while (shard_of(far) == file->inode.home()) ++far;
    const uint64_t home_end = cluster->transport(file->inode.home().value).node();
    const uint64_t far_end = cluster->transport(shard_of(far).value).node();
    int passed = 0;
    bool lossy = true;
    cluster->network().SetPolicy([&](const SimNetwork::Passing& passing) {
      SimNetwork::Fate fate;
      Prefix prefix;
      Decoder(passing.header).Get(prefix);
      const bool request = prefix.kind == MessageKind::kRequest && passing.from == home_end && passing.to == far_end;
      fate.drop = lossy && request && ++passed > (asked ? 1 : 0);
      return fate;
    });
    SetAttrRequest q;
    q.inode = file->inode;
    q.mask = kSetSize | kByHandle;
    q.grant = grants[file->inode];
    q.size = 100;
    AttrReply a;
    CallOptions soon;
    soon.deadline = cluster->clock().Now() + 2 * kSecond;
    EXPECT_FALSE((Call<Method::kSetAttr>(file->inode.home(), q, &a, soon)).ok());
    lossy = false;
    cluster->RunFor(20 * kSecond);
    const uint64_t size = asked ? 100 : 8 * 65536;
    EXPECT_EQ(Stat(file->inode)->size, size);
    q.size = 9 * 65536;  // its size is not locked any more
    ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, &a)).ok());
    ReadReply reply;
    EXPECT_TRUE(*Read(*file, uint64_t{far} * 65536, 65536, &reply) == std::string(asked ? 0 : 65536, 'q'));
    TearDown();
  }
}

// A file that ends in a hole, so that only its home knows how far it goes, is cut while others look at it.
TEST_F(ServerTest, AStatDuringATruncationSeesTheSizeBeforeOrAfterIt) {
  Up();
  auto file = Make(root, "f");
  ASSERT_TRUE(file.ok());
  SetAttrRequest cut;
  cut.inode = file->inode;
  cut.mask = kSetSize;
  CallOptions options;
  options.walked_at = lane->caller->generation();
  GetAttrRequest look;
  look.inode = file->inode;
  look.exact_size = true;
  constexpr uint64_t kBefore = 20 * 65536, kAfter = 100;
  for (size_t delay = 0; delay < 40; ++delay) {
    cut.size = kBefore;
    ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), cut, nullptr)).ok());
    for (uint64_t chunk = 1; chunk < 8; ++chunk) ASSERT_TRUE(Write(*file, chunk * 65536, "data").ok());
    cut.size = kAfter;
    std::vector<AttrReply> seen(8);
    std::vector<Task<Status>> looks;
    AttrReply ignored;
    for (size_t i = 0; i < 4; ++i) {
      looks.push_back(CallTask<Method::kGetAttr>(lane->caller.get(), file->inode.home(), look, &seen[i], options));
    }
    for (size_t turn = 0; turn < delay; ++turn) cluster->Turn();
    auto truncation = CallTask<Method::kSetAttr>(lane->caller.get(), file->inode.home(), cut, &ignored, options);
    for (size_t i = 4; i < seen.size(); ++i) {
      cluster->Turn();
      looks.push_back(CallTask<Method::kGetAttr>(lane->caller.get(), file->inode.home(), look, &seen[i], options));
    }
    ASSERT_TRUE(cluster->Wait(std::move(truncation)).ok());
    for (size_t i = 0; i < looks.size(); ++i) {
      ASSERT_TRUE(cluster->Wait(std::move(looks[i])).ok());
      EXPECT_TRUE(seen[i].attr.size == kBefore || seen[i].attr.size == kAfter) << seen[i].attr.size;
    }
  }
}

TEST_F(ServerTest, AWriteToAnotherShardIsNewerThanATimeThatWasSet) {
  Up();
  auto file = Make(root, "f");
  ASSERT_TRUE(Write(*file, 65536, "data").ok());
  const Nanos written = Stat(file->inode)->mtime;
  SetAttrRequest q;
  q.inode = file->inode;
  q.mask = kSetMtime;
  for (const Nanos set : {Nanos{5}, written + 1'000'000 * kSecond, ~Nanos{0} - 5 * kSecond}) {  // the last before 1970
    q.mtime = set;
    ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, nullptr)).ok());
    EXPECT_EQ(Stat(file->inode)->mtime, set);
    ASSERT_TRUE(Write(*file, 65536, "more").ok());
    const Nanos now = Stat(file->inode)->mtime;
    EXPECT_GE(now, written);
    EXPECT_LT(now, written + 1000 * kSecond);
  }
}

TEST_F(ServerTest, ATruncationByPathToTheSameSizeChangesNoTimesOfAFileWithoutSpace) {
  Up();
  auto file = Make(root, "f");
  ASSERT_TRUE(Write(*file, 65536, "data").ok());
  SetAttrRequest q;
  q.inode = file->inode;
  q.mask = kSetSize;
  q.size = 65536 + 4;
  const Attr full = *Stat(file->inode);
  cluster->RunFor(kSecond);
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, nullptr)).ok());
  EXPECT_GT(Stat(file->inode)->mtime, full.mtime);  // as tmpfs, which gives back what may lie behind the end
  q.size = 0;
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, nullptr)).ok());
  q.size = 65536 + 4;
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, nullptr)).ok());
  const Attr before = *Stat(file->inode);
  cluster->RunFor(kSecond);
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, nullptr)).ok());
  EXPECT_EQ(Stat(file->inode)->mtime, before.mtime);
  EXPECT_EQ(Stat(file->inode)->ctime, before.ctime);
  q.mask |= kByHandle;  // ftruncate(2) does
  q.grant = grants[file->inode];
  ASSERT_TRUE((Call<Method::kSetAttr>(file->inode.home(), q, nullptr)).ok());
  EXPECT_GT(Stat(file->inode)->mtime, before.mtime);
  EXPECT_GT(Stat(file->inode)->ctime, before.ctime);
}

TEST_F(ServerTest, RenameMovesNamesAcrossShardsAndReplaces) {
  Up();
  auto d1 = Mkdir(root, "d1"), d2 = Mkdir(root, "d2");
  ASSERT_TRUE(d1.ok() && d2.ok());
  std::map<std::string, InodeId> want;
  for (int i = 0; i < 40; ++i) {
    auto f = Make(*d1, "f" + std::to_string(i));
    ASSERT_TRUE(f.ok());
    ASSERT_TRUE(Close(f->inode).ok());
    ASSERT_TRUE(Rename(*d1, "f" + std::to_string(i), *d2, "g" + std::to_string(i % 20)).ok()) << i;
    want["g" + std::to_string(i % 20)] = f->inode;
  }
  for (const auto& [name, inode] : want) EXPECT_EQ(Look(*d2, name)->inode, inode) << name;
  EXPECT_EQ(Stat(*d1)->size, 40u);
  EXPECT_EQ(Stat(*d2)->size, 40u + 20 * 20);
  EXPECT_EQ(Rename(*d2, "g1", *d2, "g2", 1).code(), Code::kExists);
  const InodeId g1 = want["g1"], g2 = want["g2"];
  ASSERT_TRUE(Rename(*d2, "g1", *d2, "g2", 2).ok());
  EXPECT_EQ(Look(*d2, "g1")->inode, g2);
  EXPECT_EQ(Look(*d2, "g2")->inode, g1);
  EXPECT_EQ(Rename(*d1, "none", *d1, "x").code(), Code::kNoEntry);
}

TEST_F(ServerTest, DirectoryRenamesKeepTheTreeATree) {
  Up();
  auto a = Mkdir(root, "a");
  auto b = Mkdir(*a, "b");
  auto c = Mkdir(*b, "c");
  ASSERT_TRUE(a.ok() && b.ok() && c.ok());
  EXPECT_EQ(Rename(root, "a", *c, "x").code(), Code::kInvalid);
  EXPECT_EQ(Rename(*a, "b", root, "a").code(), Code::kNotEmpty);
  EXPECT_TRUE(Rename(*b, "c", root, "c2").ok());
  EXPECT_TRUE(Rename(root, "a", *c, "x").ok());
  EXPECT_EQ(Look(*c, "x")->inode, *a);
  EXPECT_EQ(Stat(*c)->nlink, 3u);
  EXPECT_EQ(Stat(root)->nlink, 3u);
  auto e = Mkdir(root, "e");
  EXPECT_TRUE(Rename(*c, "x", root, "e").ok());  // onto an empty directory
  EXPECT_EQ(Look(root, "e")->inode, *a);
  EXPECT_EQ(Stat(*e).code(), Code::kStale);
  auto f = Make(root, "file");
  EXPECT_EQ(Rename(root, "e", root, "file").code(), Code::kNotDirectory);
  EXPECT_EQ(Rename(root, "file", root, "e").code(), Code::kIsDirectory);
  EXPECT_TRUE(Rename(root, "file", root, "e", 2).ok());
  EXPECT_EQ(Look(root, "file")->inode, *a);
}

TEST_F(ServerTest, RmdirWantsEveryPartEmptyAndNothingLandsInARemovedDirectory) {
  Up();
  auto d = Mkdir(root, "d");
  std::vector<std::string> names;
  for (int i = 0; i < 30; ++i) {
    ASSERT_TRUE(Make(*d, "f" + std::to_string(i)).ok());
  }
  for (int i = 0; i < 30; ++i) {
    EXPECT_EQ(Rmdir(root, "d").code(), Code::kNotEmpty);
    ASSERT_TRUE(Unlink(*d, "f" + std::to_string(i)).ok());
  }
  EXPECT_EQ(Unlink(root, "d").code(), Code::kIsDirectory);
  EXPECT_TRUE(Rmdir(root, "d").ok());
  EXPECT_EQ(Look(root, "d").code(), Code::kNoEntry);
  for (int i = 0; i < 30; ++i) EXPECT_EQ(Make(*d, "g" + std::to_string(i)).code(), Code::kNoEntry);
}

// Messages between each two shards take their own time, so that a shard may be asked whether its part of a directory is
// empty before it hears that it has joined.
TEST_F(ServerTest, ADirectoryThatIsBeingFilledIsNotRemovedHoweverLateMessagesAre) {
  Up();
  SimRandom random(7);
  std::map<std::pair<uint64_t, uint64_t>, Nanos> delays;
  cluster->network().SetPolicy([&](const SimNetwork::Passing& passing) {
    Nanos& delay = delays.try_emplace({passing.from, passing.to}, random.U64() % 100 * kMicrosecond).first->second;
    return SimNetwork::Fate{false, false, delay};
  });
  int removed = 0, filled = 0;
  for (int round = 0; round < 300; ++round) {
    delays.clear();
    const std::string name = "d" + std::to_string(round);
    auto dir = Mkdir(root, name);
    ASSERT_TRUE(dir.ok());
    CallOptions options;
    options.walked_at = lane->caller->generation();
    OpenRequest create;
    create.parent = *dir;
    create.name = name;
    create.flags = kOpenWrite | kOpenCreate | kOpenUnshared;
    create.permissions = 0644;
    NameRequest remove;
    remove.parent = root;
    remove.name = name;
    OpenReply opened;
    Empty nothing;
    auto creation = CallTask<Method::kOpen>(lane->caller.get(), At(*dir, name), create, &opened, options);
    auto removal = CallTask<Method::kRmdir>(lane->caller.get(), At(root, name), remove, &nothing, options);
    const bool made = cluster->Wait(std::move(creation)).ok(), gone = cluster->Wait(std::move(removal)).ok();
    EXPECT_FALSE(made && gone) << round;
    if (gone) ++removed;
    if (made) ++filled;
  }
  EXPECT_GT(removed, 0);
  EXPECT_GT(filled, 0);
}

TEST_F(ServerTest, ABriefOpenLeavesNothingOpen) {
  Up();
  OpenRequest q;
  q.parent = root;
  q.name = "f";
  q.flags = kOpenWrite | kOpenCreate | kOpenUnshared | kOpenBrief;
  q.permissions = 0444;
  OpenReply a;
  ASSERT_TRUE((Call<Method::kOpen>(At(root, "f"), q, &a)).ok());
  EXPECT_TRUE(a.created);
  EXPECT_EQ(a.grant.rights, 0u);
  auto look = Look(root, "f");
  ASSERT_TRUE(look.ok());
  EXPECT_EQ(look->inode, a.attr.inode);
  EXPECT_EQ(look->permissions, 0444);
  a = OpenReply();
  ASSERT_TRUE((Call<Method::kOpen>(At(root, "f"), q, &a)).ok());  // of what is there, too
  EXPECT_FALSE(a.created);
  EXPECT_EQ(a.grant.rights, 0u);
  q.flags |= kOpenTruncate;
  EXPECT_EQ((Call<Method::kOpen>(At(root, "f"), q, &a)).code(), Code::kInvalid);
  q.flags = kOpenWrite | kOpenCreate | kOpenExclusive | kOpenBrief;
  EXPECT_EQ((Call<Method::kOpen>(At(root, "f"), q, &a)).code(), Code::kExists);
  // Nobody has it open: with its name the inode goes too.
  ASSERT_TRUE(Unlink(root, "f").ok());
  EXPECT_EQ(Stat(look->inode).code(), Code::kStale);
}

TEST_F(ServerTest, HardLinksCountAndKeepTheFile) {
  Up();
  auto f = Make(root, "f");
  ASSERT_TRUE(Write(*f, 0, "content").ok());
  ASSERT_TRUE(Close(f->inode).ok());
  for (int i = 0; i < 10; ++i) {
    LinkRequest q;
    q.inode = f->inode;
    q.type = FileType::kFile;
    q.parent = root;
    const std::string name = "l" + std::to_string(i);
    q.name = name;
    ASSERT_TRUE((Call<Method::kLink>(At(root, name), q, nullptr)).ok());
    EXPECT_EQ((Call<Method::kLink>(At(root, name), q, nullptr)).code(), Code::kExists);
    EXPECT_EQ(Look(root, name)->inode, f->inode);
  }
  EXPECT_EQ(Stat(f->inode)->nlink, 11u);
  ASSERT_TRUE(Unlink(root, "f").ok());
  for (int i = 0; i < 10; ++i) {
    ReadReply a;
    EXPECT_EQ(*Read(*f, 0, 100, &a), "content");
    ASSERT_TRUE(Unlink(root, "l" + std::to_string(i)).ok());
  }
  EXPECT_EQ(Stat(f->inode).code(), Code::kStale);
}

TEST_F(ServerTest, AChangeOfDirectoriesEndsOlderWalksOnEveryShard) {
  Up();
  auto d = Mkdir(root, "d");
  ASSERT_TRUE(Look(root, "d").ok());  // cacheable from here on
  const Generation before = lane->caller->generation();
  auto other = cluster->NewLane();
  std::swap(lane, other);
  ASSERT_TRUE((Call<Method::kPing>(cluster->placement().RootShard(), Empty(), nullptr)).ok());
  ASSERT_TRUE(Rename(root, "d", root, "e").ok());
  std::swap(lane, other);
  for (int i = 0; i < 20; ++i) {
    const std::string name = "f" + std::to_string(i);
    MkdirRequest q;
    q.parent = *d;
    q.name = name;
    CallOptions o;
    o.walked_at = before;
    AttrReply a;
    EXPECT_EQ(cluster->Wait(CallTask<Method::kMkdir>(lane->caller.get(), At(*d, name), q, &a, o)).code(),
              Code::kGeneration);
  }
  EXPECT_GT(lane->caller->generation(), before);
  cluster->CloseLane(std::move(other));
}

TEST_F(ServerTest, AppendsOfManyLanesNeitherOverlapNorLeaveHoles) {
  Up();
  auto f = Make(root, "log");
  std::vector<std::unique_ptr<SimCluster::Lane>> lanes;
  std::vector<Task<Status>> tasks;
  std::vector<OffsetReply> replies(40);
  std::vector<std::string> texts;
  for (int i = 0; i < 40; ++i) texts.push_back(std::string(3000 + i * 997, static_cast<char>('A' + i)));
  for (int i = 0; i < 4; ++i) lanes.push_back(cluster->NewLane(lane->process));
  for (int i = 0; i < 40; ++i) {
    AppendRequest q;
    q.inode = f->inode;
    q.grant = grants[f->inode];
    q.sums.push_back(Checksum(AsBytes(texts[i])));
    CallOptions o;
    o.payload = AsBytes(texts[i]);
    tasks.push_back(CallTask<Method::kAppend>(lanes[i % 4]->caller.get(), f->inode.home(), q, &replies[i], o));
  }
  uint64_t total = 0;
  std::map<uint64_t, int> by_offset;
  for (int i = 0; i < 40; ++i) {
    cluster->Run(tasks[i]);
    ASSERT_TRUE(tasks[i].Take().ok());
    by_offset[replies[i].offset] = i;
    total += texts[i].size();
  }
  EXPECT_EQ(Stat(f->inode)->size, total);
  uint64_t at = 0;
  for (auto [offset, i] : by_offset) {
    EXPECT_EQ(offset, at);
    at += texts[i].size();
  }
  for (auto& one : lanes) cluster->CloseLane(std::move(one));
}

TEST_F(ServerTest, AFullShardSaysSoAtOnceAndGoesOn) {
  SimClusterOptions o;
  o.members = 1;
  o.memory_bytes = 8u << 20;
  Up(o);
  auto f = Make(root, "f");
  uint64_t offset = 0;
  Status status;
  const std::string block(65536, 'b');
  for (; offset < (64u << 20) && status.ok(); offset += block.size()) status = Write(*f, offset, block);
  EXPECT_EQ(status.code(), Code::kNoSpace);
  EXPECT_EQ(Stat(f->inode)->size, offset - block.size());
  ASSERT_TRUE(Close(f->inode).ok());
  ASSERT_TRUE(Unlink(root, "f").ok());
  auto g = Make(root, "g");
  ASSERT_TRUE(g.ok());
  EXPECT_TRUE(Write(*g, 0, block).ok());
}

// While a lease holds, a shard asks nobody before it looks at a name: the request and its answer are all that travels.
TEST_F(ServerTest, ALookUpIsOneMessageAndItsAnswer) {
  Up();
  std::set<ShardId> shards;
  for (int round = 0; round < 2; ++round) {
    const uint64_t before = cluster->network().messages_sent();
    for (int i = 0; i < 40; ++i) {
      const std::string name(1 + i, 'n');
      shards.insert(At(root, name));
      EXPECT_EQ(Look(root, name).code(), Code::kNoEntry);
    }
    if (round == 0) continue;  // shakes hands, and takes leases
    EXPECT_EQ(cluster->network().messages_sent() - before, 80u);
  }
  EXPECT_EQ(shards.size(), 4u);
}

TEST_F(ServerTest, AProcessThatDiesReleasesItsOpenFiles) {
  Up();
  auto f = Make(root, "f");
  ASSERT_TRUE(Write(*f, 0, "x").ok());
  auto other = cluster->NewLane();
  std::swap(lane, other);
  ASSERT_TRUE((Call<Method::kPing>(cluster->placement().RootShard(), Empty(), nullptr)).ok());
  ASSERT_TRUE(Unlink(root, "f").ok());
  EXPECT_TRUE(Stat(f->inode).ok());
  cluster->network().Kill(*other->transport);
  cluster->RunFor(10 * kSecond);
  EXPECT_EQ(Stat(f->inode).code(), Code::kStale);
  std::swap(lane, other);
  cluster->CloseLane(std::move(lane));
  lane = std::move(other);
}

// A server that lives but could not be reached when others moved hears of all of them once it can be.
TEST_F(ServerTest, AShardThatCouldNotBeToldWhoMovedIsToldLater) {
  Up();
  std::vector<ShardId> others;
  std::map<ShardId, std::vector<std::pair<View, std::map<ShardId, std::string>>>> heard;
  for (uint32_t s = 0; s < cluster->shard_count(); ++s) {
    if (!cluster->shard(s).is_root()) others.push_back(ShardId(s));
    cluster->shard(s).SetOnView([&heard, s](View view, const std::vector<Shard::NewAddress>& moved) {
      std::map<ShardId, std::string> where;
      for (const auto& one : moved) where[one.shard] = one.address;
      heard[ShardId(s)].push_back({view, where});
      return true;
    });
  }
  SimTransport& root_end = cluster->transport(cluster->placement().RootShard().value);
  SimTransport& far_end = cluster->transport(others[2].value);
  cluster->network().Cut(root_end, far_end);
  const auto announce = [&](ShardId shard, std::string where, View known) {
    const Nanos deadline = cluster->clock().Now() + 5 * kSecond;
    return cluster->Wait(cluster->shard(shard.value).Announce({{shard, std::move(where)}}, known, deadline));
  };
  ASSERT_TRUE(announce(others[0], "first", View(1)).ok());
  ASSERT_TRUE(announce(others[1], "second", View(2)).ok());
  ASSERT_TRUE(announce(others[0], "third", View(3)).ok());
  cluster->RunFor(30 * kSecond);
  EXPECT_TRUE(heard[others[2]].empty());
  EXPECT_EQ(heard[others[1]].back().first, View(4));
  cluster->network().Mend(root_end, far_end);
  cluster->RunFor(20 * kSecond);
  ASSERT_EQ(heard[others[2]].size(), 1u);
  EXPECT_EQ(heard[others[2]][0].first, View(4));
  EXPECT_EQ(heard[others[2]][0].second, (std::map<ShardId, std::string>{{others[0], "third"}, {others[1], "second"}}));
}

}  // namespace
}  // namespace mayfly
