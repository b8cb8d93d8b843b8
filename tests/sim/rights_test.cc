// A server of several users, and clients that do not keep to the client library: what an inode's number alone gives.
#include <gtest/gtest.h>

#include <map>

#include "sim/cluster.h"

namespace mayfly {
namespace {

constexpr uint32_t kOwner = 1000, kStranger = 1001;

// One process and its blocking calls. None of them looks at rights itself.
class User {
 public:
  User(SimCluster& cluster, uint32_t uid, ClientId process = ClientId())
      : cluster_(cluster), lane_(cluster.NewLane(process, uid)) {
    EXPECT_TRUE(Call<Method::kPing>(cluster.placement().RootShard(), Empty(), nullptr).ok());
  }
  ~User() { cluster_.CloseLane(std::move(lane_)); }

  ClientId process() const { return lane_->process; }

  template <Method M>
  Status Call(ShardId to, const typename MethodTypes<M>::Request& request, typename MethodTypes<M>::Reply* reply,
              CallOptions options = {}) {
    typename MethodTypes<M>::Reply ignored;
    for (;;) {
      options.walked_at = lane_->caller->generation();
      Status status = cluster_.Wait(Ask<M>(lane_->caller.get(), to, request, reply ? reply : &ignored, options));
      if (status.code() != Code::kGeneration && status.code() != Code::kBusy) return status;
    }
  }
  Status Open(std::string_view name, uint32_t flags, OpenReply* a, uint16_t permissions = 0600) {
    OpenRequest q;
    q.parent = cluster_.placement().RootInode();
    q.name = name;
    q.flags = flags | kOpenUnshared;
    q.permissions = permissions;
    return Call<Method::kOpen>(cluster_.placement().DentryShard(q.parent, name), q, a);
  }
  Status OpenInode(InodeId inode, uint32_t flags, OpenReply* a, ClientId opener = ClientId(), Grant grant = Grant()) {
    OpenInodeRequest q;
    q.inode = inode;
    q.flags = flags | kOpenUnshared;
    q.opener = opener;
    q.grant = grant;
    return Call<Method::kOpenInode>(inode.home(), q, a);
  }
  Status Unlink(std::string_view name) {
    NameRequest q;
    q.parent = cluster_.placement().RootInode();
    q.name = name;
    return Call<Method::kUnlink>(cluster_.placement().DentryShard(q.parent, name), q, nullptr);
  }
  Status Chmod(InodeId inode, uint16_t permissions) {
    SetAttrRequest q;
    q.inode = inode;
    q.mask = kSetMode;
    q.permissions = permissions;
    return Call<Method::kSetAttr>(inode.home(), q, nullptr);
  }
  ShardId Holder(const Attr& file, uint32_t chunk) const {
    return cluster_.placement().ChunkShard(file.inode.home(), ChunkIndex(chunk));
  }
  Status Write(const Attr& file, uint32_t chunk, Grant grant, std::string_view data) {
    WriteRequest q;
    q.inode = file.inode;
    q.chunk = ChunkIndex(chunk);
    q.chunk_bits = file.chunk_bits;
    q.grant = grant;
    CallOptions o;
    o.payload = AsBytes(data);
    return Call<Method::kWrite>(Holder(file, chunk), q, nullptr, o);
  }
  Result<std::string> Read(const Attr& file, uint32_t chunk, Grant grant) {
    ReadRequest q;
    q.inode = file.inode;
    q.chunk = ChunkIndex(chunk);
    q.bytes = 100;
    q.chunk_bits = file.chunk_bits;
    q.grant = grant;
    std::string text(q.bytes, '\0');
    size_t bytes = 0;
    CallOptions o;
    o.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size());
    o.reply_bytes = &bytes;
    ReadReply a;
    Status status = Call<Method::kRead>(Holder(file, chunk), q, &a, o);
    if (!status.ok()) return status;
    text.resize(bytes);
    return text;
  }
  Status Truncate(const Attr& file, Grant grant, uint64_t size) {
    SetAttrRequest q;
    q.inode = file.inode;
    q.mask = kSetSize | kByHandle;
    q.size = size;
    q.grant = grant;
    return Call<Method::kSetAttr>(file.inode.home(), q, nullptr);
  }
  Result<Attr> Stat(InodeId inode) {
    GetAttrRequest q;
    q.inode = inode;
    q.exact_size = true;
    AttrReply a;
    Status status = Call<Method::kGetAttr>(inode.home(), q, &a);
    if (!status.ok()) return status;
    return a.attr;
  }
  // Everything that changes a file through a descriptor, and everything that looks into it, on each of its chunks.
  std::map<std::string, Code> TryAll(const Attr& file, Grant grant, uint32_t chunks) {
    std::map<std::string, Code> codes;
    for (uint32_t chunk = 0; chunk < chunks; ++chunk) {
      const std::string at = " " + std::to_string(chunk);
      codes["write" + at] = Write(file, chunk, grant, "stolen").code();
      codes["read" + at] = Read(file, chunk, grant).code();
      RangeRequest range;
      range.inode = file.inode;
      range.chunk = ChunkIndex(chunk);
      range.bytes = 4096;
      range.chunk_bits = file.chunk_bits;
      range.grant = grant;
      codes["reserve" + at] = Call<Method::kChunkReserve>(Holder(file, chunk), range, nullptr).code();
      codes["punch" + at] = Call<Method::kChunkPunch>(Holder(file, chunk), range, nullptr).code();
      SeekRequest seek;
      seek.inode = file.inode;
      seek.chunk_bits = file.chunk_bits;
      seek.grant = grant;
      codes["seek" + at] = Call<Method::kChunkSeek>(Holder(file, chunk), seek, nullptr).code();
    }
    AppendRequest append;
    append.inode = file.inode;
    append.grant = grant;
    CallOptions o;
    o.payload = AsBytes(std::string_view("stolen"));
    codes["append"] = Call<Method::kAppend>(file.inode.home(), append, nullptr, o).code();
    RangeRequest extend;
    extend.inode = file.inode;
    extend.bytes = 1 << 20;
    extend.chunk_bits = file.chunk_bits;
    extend.grant = grant;
    codes["extend"] = Call<Method::kExtend>(file.inode.home(), extend, nullptr).code();
    codes["truncate"] = Truncate(file, grant, 3).code();
    ShardsRequest shards;
    shards.inode = file.inode;
    shards.grant = grant;
    std::vector<uint8_t> set(64);
    CallOptions room;
    room.reply_payload = set;
    codes["shards"] = Call<Method::kShards>(file.inode.home(), shards, nullptr, room).code();
    return codes;
  }

 private:
  template <Method M>
  static Task<Status> Ask(Caller* caller, ShardId to, typename MethodTypes<M>::Request request,
                          typename MethodTypes<M>::Reply* reply, CallOptions options) {
    co_return co_await caller->Call<M>(to, request, reply, options);
  }

  SimCluster& cluster_;
  std::unique_ptr<SimCluster::Lane> lane_;
};

struct RightsTest : testing::Test {
  static constexpr uint32_t kChunks = 3;

  SimCluster cluster;
  User owner{cluster, kOwner};
  OpenReply opened;  // by the owner: /secret, 0600, for reading and writing

  void SetUp() override {
    ASSERT_TRUE(owner.Open("secret", kOpenRead | kOpenWrite | kOpenCreate, &opened).ok());
    for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      ASSERT_TRUE(owner.Write(file(), chunk, opened.grant, Content(chunk)).ok());
    }
    ASSERT_NE(owner.Holder(file(), 1), file().inode.home());
  }
  const Attr& file() const { return opened.attr; }
  static std::string Content(uint32_t chunk) { return "chunk " + std::to_string(chunk); }
  void ExpectUntouched() {
    for (uint32_t chunk = 0; chunk < kChunks; ++chunk) {
      auto text = owner.Read(file(), chunk, opened.grant);
      ASSERT_TRUE(text.ok());
      EXPECT_EQ(*text, Content(chunk));
    }
    EXPECT_EQ(owner.Stat(file().inode)->size, (kChunks - 1) * (1u << file().chunk_bits) + Content(0).size());
  }
  void ExpectAllRefused(User& user, Grant grant) {
    for (const auto& [what, code] : user.TryAll(file(), grant, kChunks)) EXPECT_EQ(code, Code::kBadHandle) << what;
    ExpectUntouched();
  }
  bool Counts(ShardId shard, uint64_t refused) {
    return cluster.shard(shard.value).StatusJson().find(fmt::format("\"refused_grants\":{},", refused)) !=
           std::string::npos;
  }
};

TEST_F(RightsTest, AnInodesNumberAloneOpensNoByteOnAnyShard) {
  EXPECT_TRUE(Counts(owner.Holder(file(), 1), 0));
  User stranger(cluster, kStranger);
  ExpectAllRefused(stranger, Grant());
  User another(cluster, kOwner);  // nor for the owner's other processes, which have not opened it
  ExpectAllRefused(another, Grant());
  Grant all;
  all.rights = kGrantRead | kGrantWrite;
  for (uint64_t tag : {uint64_t{0}, uint64_t{1}, ~uint64_t{0}}) {
    all.tag = tag;
    ExpectAllRefused(stranger, all);
  }
  EXPECT_TRUE(Counts(owner.Holder(file(), 1), 25));  // five tries of five requests
}

TEST_F(RightsTest, AWriteToAnotherShardTakesSuidAndSgidAway) {
  const auto bits = [&] { return owner.Stat(file().inode)->permissions & 07000; };
  // The first write to chunk 3's shard comes after the chmod, those to the others' before.
  for (uint32_t chunk : {1u, 2u, 3u}) {
    for (uint16_t with : {04755, 02755, 06755}) {
      ASSERT_TRUE(owner.Chmod(file().inode, with).ok());
      ASSERT_EQ(bits(), with & 07000);
      ASSERT_TRUE(owner.Write(file(), chunk, opened.grant, "x").ok());
      EXPECT_EQ(bits(), 0) << chunk;
    }
  }
  // sgid without x for the group stays for its members, at each write.
  ASSERT_TRUE(owner.Chmod(file().inode, 06744).ok());
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(owner.Write(file(), 1, opened.grant, "x").ok());
    EXPECT_EQ(bits(), 02000);
  }
  User root(cluster, 0);
  OpenReply writing;
  ASSERT_TRUE(root.Open("secret", kOpenWrite, &writing).ok());
  ASSERT_TRUE(root.Chmod(file().inode, 06755).ok());
  for (uint32_t chunk : {1u, 2u, 3u}) ASSERT_TRUE(root.Write(file(), chunk, writing.grant, "x").ok());
  EXPECT_EQ(bits(), 06000);
}

TEST_F(RightsTest, AWriteCostsTheHomeAMessageOnlyWhileTheFileIsPrivileged) {
  const auto served = [&] {
    const std::string json = cluster.shard(file().inode.home().value).StatusJson();
    const size_t at = json.find("\"served\":");
    EXPECT_NE(at, std::string::npos);
    return std::stoull(json.substr(at + 9));
  };
  const auto cost = [&](uint32_t chunk) {
    const uint64_t before = served();
    EXPECT_TRUE(owner.Write(file(), chunk, opened.grant, "x").ok());
    return served() - before;
  };
  EXPECT_EQ(cost(1), 0u);
  ASSERT_TRUE(owner.Chmod(file().inode, 04755).ok());
  EXPECT_EQ(cost(1), 1u);
  EXPECT_EQ(cost(1), 0u);
  EXPECT_EQ(cost(2), 1u);  // told as well; the home has nothing left to take away
  EXPECT_EQ(cost(2), 0u);
}

TEST_F(RightsTest, AnothersGrantIsNone) {
  User stranger(cluster, kStranger);
  ExpectAllRefused(stranger, opened.grant);
  User another(cluster, kOwner);
  ExpectAllRefused(another, opened.grant);
  User posing(cluster, kStranger, owner.process());  // process numbers are the clients' own choice
  ExpectAllRefused(posing, opened.grant);
}

TEST_F(RightsTest, AGrantIsForOneInode) {
  User stranger(cluster, kStranger);
  OpenReply own;
  ASSERT_TRUE(stranger.Open("own", kOpenRead | kOpenWrite | kOpenCreate, &own).ok());
  EXPECT_TRUE(stranger.Write(own.attr, 0, own.grant, "x").ok());
  ExpectAllRefused(stranger, own.grant);
}

TEST_F(RightsTest, AGrantHasTheRightsOfItsOpenAndNoMore) {
  OpenReply reading;
  ASSERT_TRUE(owner.Open("secret", kOpenRead, &reading).ok());
  Grant more = reading.grant;
  more.rights |= kGrantWrite;
  ExpectAllRefused(owner, more);
  std::map<std::string, Code> codes = owner.TryAll(file(), reading.grant, kChunks);
  for (const auto& [what, code] : codes) {
    const bool looks = what.starts_with("read") || what.starts_with("seek") || what == "shards";
    EXPECT_EQ(code, looks ? Code::kOk : Code::kBadHandle) << what;
  }
  ExpectUntouched();
  OpenReply writing;
  ASSERT_TRUE(owner.Open("secret", kOpenWrite, &writing).ok());
  EXPECT_EQ(owner.Read(file(), 1, writing.grant).code(), Code::kBadHandle);
  for (const auto& [what, code] : owner.TryAll(file(), writing.grant, 1)) {
    EXPECT_EQ(code, what == "read 0" ? Code::kBadHandle : Code::kOk) << what;
  }
}

TEST_F(RightsTest, WhoMayNotOpenGetsNoGrant) {
  User stranger(cluster, kStranger);
  OpenReply a;
  for (uint32_t flags : {kOpenRead, kOpenWrite, kOpenTruncate}) {
    EXPECT_EQ(stranger.Open("secret", flags, &a).code(), Code::kAccess);
    EXPECT_EQ(stranger.OpenInode(file().inode, flags, &a).code(), Code::kAccess);
  }
  // Opening for nothing is nobody's business, and gives nothing.
  ASSERT_TRUE(stranger.OpenInode(file().inode, 0, &a).ok());
  EXPECT_EQ(stranger.Read(file(), 0, a.grant).code(), Code::kBadHandle);
  EXPECT_EQ(stranger.Truncate(file(), a.grant, 0).code(), Code::kBadHandle);
  ExpectUntouched();
}

TEST_F(RightsTest, AnOpenFileStaysUsableWhenItsModeChanges) {
  ASSERT_TRUE(owner.Chmod(file().inode, 0).ok());
  OpenReply a;
  EXPECT_EQ(owner.Open("secret", kOpenRead, &a).code(), Code::kAccess);
  ExpectUntouched();
  for (const auto& [what, code] : owner.TryAll(file(), opened.grant, kChunks)) EXPECT_EQ(code, Code::kOk) << what;
  // What is made with a mode that forbids it is open for writing all the same.
  ASSERT_TRUE(owner.Open("new", kOpenWrite | kOpenCreate | kOpenExclusive, &a, 0400).ok());
  EXPECT_TRUE(owner.Write(a.attr, 1, a.grant, "x").ok());
}

TEST_F(RightsTest, AForkedChildGetsAGrantOfItsOwnForWhatItInherited) {
  ASSERT_TRUE(owner.Chmod(file().inode, 0).ok());
  ASSERT_TRUE(owner.Unlink("secret").ok());
  User child(cluster, kOwner);
  OpenReply a;
  EXPECT_EQ(child.OpenInode(file().inode, kOpenRead, &a).code(), Code::kStale);  // inherited by nothing that it shows
  ASSERT_TRUE(child.OpenInode(file().inode, kOpenRead | kOpenWrite, &a, owner.process(), opened.grant).ok());
  EXPECT_EQ(*child.Read(file(), 2, a.grant), Content(2));
  EXPECT_TRUE(child.Write(file(), 2, a.grant, Content(2)).ok());
  ExpectUntouched();

  User stranger(cluster, kStranger);
  EXPECT_EQ(stranger.OpenInode(file().inode, kOpenRead, &a, owner.process(), opened.grant).code(), Code::kBadHandle);
  User another(cluster, kOwner);
  Grant forged = opened.grant;
  forged.tag ^= 1;
  EXPECT_EQ(another.OpenInode(file().inode, kOpenRead, &a, owner.process(), forged).code(), Code::kBadHandle);
  EXPECT_EQ(another.OpenInode(file().inode, kOpenRead, &a, child.process(), opened.grant).code(), Code::kBadHandle);
}

TEST_F(RightsTest, AnInheritedGrantGivesNoMoreThanItself) {
  OpenReply reading, a;
  ASSERT_TRUE(owner.Open("secret", kOpenRead, &reading).ok());
  User child(cluster, kOwner);
  for (uint32_t flags : {uint32_t{kOpenWrite}, uint32_t{kOpenTruncate}, kOpenRead | kOpenWrite}) {
    EXPECT_EQ(child.OpenInode(file().inode, flags, &a, owner.process(), reading.grant).code(), Code::kBadHandle);
  }
  EXPECT_TRUE(child.OpenInode(file().inode, kOpenRead, &a, owner.process(), reading.grant).ok());
  ExpectUntouched();
}

TEST_F(RightsTest, ADirectoryIsListedByWhoMayReadItOnEveryShard) {
  MkdirRequest mkdir;
  mkdir.parent = cluster.placement().RootInode();
  mkdir.name = "private";
  mkdir.permissions = 0700;
  AttrReply made;
  ASSERT_TRUE(owner.Call<Method::kMkdir>(cluster.placement().DentryShard(mkdir.parent, mkdir.name), mkdir, &made).ok());
  const InodeId dir = made.attr.inode;
  for (int i = 0; i < 40; ++i) {
    const std::string name = "f" + std::to_string(i);
    mkdir.parent = dir;
    mkdir.name = name;
    ASSERT_TRUE(owner.Call<Method::kMkdir>(cluster.placement().DentryShard(dir, name), mkdir, nullptr).ok());
  }
  auto list = [&](User& user, Grant grant) {
    std::map<Code, uint32_t> entries;
    for (uint32_t s = 0; s < cluster.placement().shard_count(); ++s) {
      ReadDirRequest q;
      q.dir = dir;
      q.bytes_max = kPageBytesMax;
      q.grant = grant;
      ReadDirReply a;
      std::vector<uint8_t> page(kPageBytesMax);
      CallOptions o;
      o.reply_payload = page;
      const Code code = user.Call<Method::kReadDir>(ShardId(s), q, &a, o).code();
      entries[code] += code == Code::kOk ? a.count : 1;
    }
    return entries;
  };
  auto begin = [&](User& user, ClientId opener, Grant* grant) {
    ShardsRequest q;
    q.inode = dir;
    q.opener = opener;
    q.grant = *grant;
    ShardsReply a;
    std::vector<uint8_t> shards(64);
    CallOptions o;
    o.reply_payload = shards;
    const Code code = user.Call<Method::kShards>(dir.home(), q, &a, o).code();
    *grant = a.grant;
    return code;
  };
  using Listed = std::map<Code, uint32_t>;
  Grant mine;
  ASSERT_EQ(begin(owner, ClientId(), &mine), Code::kOk);
  EXPECT_EQ(list(owner, mine), (Listed{{Code::kOk, 40}}));

  User stranger(cluster, kStranger);
  Grant none;
  EXPECT_EQ(begin(stranger, ClientId(), &none), Code::kAccess);
  Grant taken = mine;
  EXPECT_EQ(begin(stranger, owner.process(), &taken), Code::kBadHandle);
  EXPECT_EQ(list(stranger, Grant()), (Listed{{Code::kBadHandle, 4}}));
  EXPECT_EQ(list(stranger, mine), (Listed{{Code::kBadHandle, 4}}));
  EXPECT_EQ(list(stranger, opened.grant), (Listed{{Code::kBadHandle, 4}}));

  // A listing goes on, is begun again, and is inherited, whatever the mode is meanwhile.
  ASSERT_TRUE(owner.Chmod(dir, 0).ok());
  EXPECT_EQ(list(owner, mine), (Listed{{Code::kOk, 40}}));
  Grant again;
  EXPECT_EQ(begin(owner, ClientId(), &again), Code::kAccess);
  again = mine;
  EXPECT_EQ(begin(owner, owner.process(), &again), Code::kOk);
  User child(cluster, kOwner);
  Grant inherited = mine;
  ASSERT_EQ(begin(child, owner.process(), &inherited), Code::kOk);
  EXPECT_EQ(list(child, inherited), (Listed{{Code::kOk, 40}}));
}

TEST_F(RightsTest, ADirectoryThatMayNotBeSearchedIsClosedWhereItsEntriesAre) {
  MkdirRequest mkdir;
  mkdir.parent = cluster.placement().RootInode();
  mkdir.name = "closed";
  mkdir.permissions = 0700;
  AttrReply made;
  auto at = [&](InodeId parent, std::string_view name) { return cluster.placement().DentryShard(parent, name); };
  ASSERT_TRUE(owner.Call<Method::kMkdir>(at(mkdir.parent, mkdir.name), mkdir, &made).ok());
  const InodeId dir = made.attr.inode;
  User stranger(cluster, kStranger);
  auto look = [&](User& user, const std::string& name) {
    LookupRequest q;
    q.parent = dir;
    q.name = name;
    return user.Call<Method::kLookup>(at(dir, name), q, nullptr).code();
  };
  auto open = [&](User& user, const std::string& name, uint32_t flags) {
    OpenRequest q;
    q.parent = dir;
    q.name = name;
    q.flags = flags | kOpenUnshared;
    q.permissions = 0666;
    return user.Call<Method::kOpen>(at(dir, name), q, nullptr).code();
  };
  std::vector<std::string> names;
  for (int i = 0; i < 20; ++i) names.push_back("f" + std::to_string(i));
  for (const std::string& name : names) {
    ASSERT_EQ(open(owner, name, kOpenWrite | kOpenCreate), Code::kOk);
    EXPECT_EQ(look(stranger, name), Code::kAccess);
    EXPECT_EQ(open(stranger, name, kOpenRead), Code::kAccess);
    EXPECT_EQ(open(stranger, name, kOpenWrite | kOpenCreate), Code::kAccess);
  }
  ASSERT_TRUE(owner.Chmod(dir, 0711).ok());
  for (const std::string& name : names) {
    EXPECT_EQ(look(stranger, name), Code::kOk);
    EXPECT_EQ(open(stranger, name, kOpenRead), Code::kOk);
  }
  ASSERT_TRUE(owner.Chmod(dir, 0766).ok());
  for (const std::string& name : names) EXPECT_EQ(look(stranger, name), Code::kAccess);
}

TEST_F(RightsTest, OnlyTheServersUserFlushesAndStops) {
  User stranger(cluster, kStranger);
  for (bool stop : {false, true}) {
    FlushRequest q;
    q.stop = stop;
    q.flush = false;
    EXPECT_EQ(stranger.Call<Method::kFlush>(cluster.placement().RootShard(), q, nullptr).code(), Code::kPermission);
  }
  FlushRequest q;
  q.flush = false;
  User root(cluster, 0);
  FlushReply started;
  ASSERT_TRUE(root.Call<Method::kFlush>(cluster.placement().RootShard(), q, &started).ok());
  FlushStatusRequest follow;
  follow.job = started.job;
  EXPECT_EQ(stranger.Call<Method::kFlushStatus>(cluster.placement().RootShard(), follow, nullptr).code(),
            Code::kPermission);
  ExpectUntouched();
}

TEST_F(RightsTest, ALinkIsOfTheTypeThatItsInodeHas) {
  LinkRequest q;
  q.inode = file().inode;
  q.parent = cluster.placement().RootInode();
  q.name = "link";
  const ShardId at = cluster.placement().DentryShard(q.parent, q.name);
  for (FileType type : {FileType::kNone, FileType::kSymlink}) {
    q.type = type;
    EXPECT_EQ(owner.Call<Method::kLink>(at, q, nullptr).code(), Code::kInvalid);
  }
  q.type = FileType::kFile;
  EXPECT_TRUE(owner.Call<Method::kLink>(at, q, nullptr).ok());
  User stranger(cluster, kStranger);
  q.name = "mine";
  EXPECT_EQ(stranger.Call<Method::kLink>(cluster.placement().DentryShard(q.parent, q.name), q, nullptr).code(),
            Code::kPermission);
}

}  // namespace
}  // namespace mayfly
