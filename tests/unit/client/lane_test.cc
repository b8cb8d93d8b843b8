#include "client/lane.h"

#include "client/directory.h"
#include "unit/client/client_world.h"

namespace mayfly {
namespace {

struct LaneTest : testing::Test {
  ClientWorld world;
  ClientProcess process{world, {}, 0};
  FakeServer& server = world.server;
  Lane& lane = process.lane();

  Result<int> Open(std::string_view path, uint32_t flags) { return world.Wait(lane.Open(path, flags, 0644)); }
  FileRef File(int fd) { return process.files.Find(fd); }
};

constexpr uint32_t kCreate = kOpenCreate | kOpenWrite;

TEST_F(LaneTest, CreateAndCloseCostOneRoundTrip) {
  ASSERT_TRUE(Open("/warm", kCreate).ok());
  server.log.clear();
  auto fd = Open("/f", kCreate);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(world.Wait(lane.Close(*fd)).code(), Code::kOk);
  ASSERT_EQ(server.log.size(), 1u);
  EXPECT_EQ(server.log[0].method, Method::kOpen);
}

TEST_F(LaneTest, AFileThatIsOnlyCreatedHasNothingToClose) {
  server.log.clear();
  EXPECT_EQ(world.Wait(lane.Create("/f", true, 0644)).code(), Code::kOk);
  EXPECT_NE(server.Find(server.root(), "f"), nullptr);
  world.RunFor(2 * kSecond);
  EXPECT_EQ(server.count(Method::kOpen), 1u);
  EXPECT_EQ(server.count(Method::kClose), 0u);
}

TEST_F(LaneTest, ClosesAreToldThirtyTwoAtATime) {
  std::map<uint32_t, size_t> told;
  server.On<Method::kClose>([&](const CloseRequest& q, Empty*, FakeCall& call) {
    EXPECT_EQ(q.inodes.size(), CloseQueue::kBatch);
    for (InodeId inode : q.inodes) EXPECT_EQ(inode.home(), call.shard);
    told[call.shard.value] += q.inodes.size();
    return Code::kOk;
  });
  for (int i = 0; i < 400; ++i) {
    auto fd = Open("/f" + std::to_string(i), kCreate);
    ASSERT_TRUE(fd.ok());
    EXPECT_EQ(world.Wait(lane.Close(*fd)).code(), Code::kOk);
  }
  world.RunFor(10 * kMillisecond);
  size_t sum = 0;
  for (auto& [shard, count] : told) sum += count;
  EXPECT_GT(sum, 400 - 4 * CloseQueue::kBatch);
}

TEST_F(LaneTest, TheHelperTellsOldCloses) {
  process.StartHelper();
  EXPECT_EQ(world.Wait(lane.Close(*Open("/f", kCreate))).code(), Code::kOk);
  world.RunFor(500 * kMillisecond);
  EXPECT_EQ(server.count(Method::kClose), 0u);
  world.RunFor(1500 * kMillisecond);
  EXPECT_EQ(server.count(Method::kClose), 1u);
}

TEST_F(LaneTest, OpenGoesAlongSymlinks) {
  const InodeId d = server.Add(server.root(), "d", FileType::kDirectory);
  server.AddLink(server.root(), "dangling", "d/new");
  server.AddLink(server.root(), "slashed", "d/other/");
  server.AddLink(server.root(), "to_d", "d");
  EXPECT_EQ(Open("/dangling", kOpenRead).code(), Code::kNoEntry);
  EXPECT_EQ(Open("/dangling", kOpenRead | kOpenNoFollow).code(), Code::kLoop);
  EXPECT_EQ(Open("/dangling", kOpenRead | kOpenNoFollow | kOpenDirectory).code(), Code::kNotDirectory);
  EXPECT_EQ(Open("/dangling", kCreate | kOpenExclusive).code(), Code::kExists);
  EXPECT_EQ(Open("/slashed", kCreate).code(), Code::kIsDirectory);
  ASSERT_TRUE(Open("/dangling", kCreate).ok());
  EXPECT_NE(server.Find(d, "new"), nullptr);
}

TEST_F(LaneTest, OpenOfWhatIsNoName) {
  EXPECT_EQ(Open("/", kCreate).code(), Code::kIsDirectory);
  EXPECT_EQ(Open("/.", kCreate | kOpenExclusive).code(), Code::kExists);
  EXPECT_EQ(Open("/new/", kCreate).code(), Code::kIsDirectory);
}

TEST_F(LaneTest, AnInodeThatLivesElsewhereIsOpenedAtItsHome) {
  const InodeId inode = InodeId::Make(ShardId(2), 77);
  int opened = 0;
  server.On<Method::kOpen>([&](const OpenRequest&, OpenReply* a, FakeCall&) {
    a->attr.inode = inode;
    a->attr.type = FileType::kFile;
    a->elsewhere = true;
    return Code::kOk;
  });
  server.On<Method::kOpenInode>([&](const OpenInodeRequest& q, OpenReply* a, FakeCall& call) {
    EXPECT_EQ(call.shard, inode.home());
    EXPECT_EQ(q.flags & kOpenTruncate, uint32_t{kOpenTruncate});
    a->attr.inode = q.inode;
    a->attr.type = FileType::kFile;
    a->attr.chunk_bits = 16;
    return opened++ == 0 ? Code::kStale : Code::kOk;  // the first time it has just been replaced
  });
  auto fd = Open("/f", kOpenWrite | kOpenTruncate);
  ASSERT_TRUE(fd.ok());
  EXPECT_EQ(File(*fd)->inode, inode);
  EXPECT_EQ(server.count(Method::kOpen), 2u);
}

TEST_F(LaneTest, ADirectoryRenameGoesToTheRootsShard) {
  server.On<Method::kRename>([&](const RenameRequest&, Empty*, FakeCall&) { return Code::kElsewhere; });
  server.On<Method::kRenameDir>([&](const RenameRequest& q, Empty*, FakeCall& call) {
    EXPECT_EQ(call.shard, server.placement().RootShard());
    EXPECT_EQ(q.name, "a");
    EXPECT_EQ(q.new_name, "b");
    EXPECT_TRUE(q.must_be_directory);
    return Code::kOk;
  });
  EXPECT_EQ(world.Wait(lane.Rename("/a", "/b/", 0)).code(), Code::kOk);
}

TEST_F(LaneTest, RenameOfWhatIsNoName) {
  server.Add(server.root(), "a", FileType::kDirectory);
  EXPECT_EQ(world.Wait(lane.Rename("/a/.", "/b", 0)).code(), Code::kBusy);
  EXPECT_EQ(world.Wait(lane.Rename("/a", "/a/..", 0)).code(), Code::kBusy);
  EXPECT_EQ(world.Wait(lane.Rename("/a", "/", 1)).code(), Code::kExists);
  EXPECT_EQ(world.Wait(lane.Rename("/a", "/b", 3)).code(), Code::kInvalid);
  EXPECT_EQ(world.Wait(lane.Rename("/a", "/b", 4)).code(), Code::kInvalid);
  EXPECT_EQ(world.Wait(lane.Rename("/a", std::string(256, 'x'), 0)).code(), Code::kNameTooLong);
  EXPECT_EQ(world.Wait(lane.Rename("/none", std::string(256, 'x'), 0)).code(), Code::kNoEntry);
  EXPECT_EQ(world.Wait(lane.Rmdir("/")).code(), Code::kBusy);
  EXPECT_EQ(world.Wait(lane.Rmdir("/a/.")).code(), Code::kInvalid);
  EXPECT_EQ(world.Wait(lane.Rmdir("/a/..")).code(), Code::kNotEmpty);
  EXPECT_EQ(world.Wait(lane.Unlink("/..")).code(), Code::kIsDirectory);
}

TEST_F(LaneTest, OffsetsMoveAndModesCount) {
  auto fd = Open("/f", kOpenCreate | kOpenWrite);
  ASSERT_TRUE(fd.ok());
  FileRef file = File(*fd);
  EXPECT_EQ(*world.Wait(lane.Write(file, AsBytes("hello "))), 6u);
  EXPECT_EQ(*world.Wait(lane.Write(file, AsBytes("world"))), 5u);
  std::vector<uint8_t> to(20);
  EXPECT_EQ(world.Wait(lane.Read(file, to)).code(), Code::kBadHandle);
  auto reader = File(*Open("/f", kOpenRead));
  EXPECT_EQ(*world.Wait(lane.Read(reader, MutableBytes(to).first(8))), 8u);
  EXPECT_EQ(*world.Wait(lane.Read(reader, MutableBytes(to).subspan(8))), 3u);
  EXPECT_EQ(AsText(Bytes(to).first(11)), "hello world");
  EXPECT_EQ(*world.Wait(lane.Read(reader, to)), 0u);
  EXPECT_EQ(world.Wait(lane.Write(reader, AsBytes("x"))).code(), Code::kBadHandle);
  EXPECT_EQ(*world.Wait(lane.Seek(reader, -5, Lane::Whence::kEnd)), 6u);
  EXPECT_EQ(*world.Wait(lane.Seek(reader, 1, Lane::Whence::kCurrent)), 7u);
  EXPECT_EQ(world.Wait(lane.Seek(reader, -8, Lane::Whence::kCurrent)).code(), Code::kInvalid);
  EXPECT_EQ(world.Wait(lane.Seek(reader, INT64_MAX, Lane::Whence::kCurrent)).code(), Code::kInvalid);
}

TEST_F(LaneTest, AnAppendIgnoresTheOffsetAndMovesIt) {
  server.Put(server.nodes[server.Add(server.root(), "log", FileType::kFile).value], 0, AsBytes("0123"));
  FileRef file = File(*Open("/log", kOpenWrite | kOpenAppend));
  EXPECT_EQ(*world.Wait(lane.WriteAt(file, AsBytes("45"), 0)), 2u);
  EXPECT_EQ(file->offset, 0u);
  EXPECT_EQ(*world.Wait(lane.Write(file, AsBytes("67"))), 2u);
  EXPECT_EQ(file->offset, 8u);
  EXPECT_EQ(server.Find(server.root(), "log")->data, "01234567");
}

TEST_F(LaneTest, AForkedChildOpensAgainWhatItInherited) {
  FileRef file = File(*Open("/f", kCreate));
  int opened = 0;
  const ClientId parent = process.identity.process;
  server.On<Method::kOpenInode>([&](const OpenInodeRequest& q, OpenReply* a, FakeCall& call) {
    ++opened;
    EXPECT_EQ(q.flags, kOpenWrite | kOpenUnshared);
    EXPECT_EQ(q.opener, parent);
    EXPECT_EQ(q.grant.tag, FakeServer::GrantFor(q.inode, parent, kOpenWrite).tag);
    a->attr = server.nodes[q.inode.value].attr;
    a->grant = FakeServer::GrantFor(q.inode, call.process, q.flags);
    return Code::kOk;
  });
  // Twice: a child of a child shows what the first of them was given.
  for (uint64_t i = 1; i <= 2; ++i) {
    process.mount->RenewInChild();
    process.files.Renew();
    process.identity.process = ClientId(parent.value + i);
  }
  Lane& lane = *process.NewEngine().lane;
  FileRef mine = File(FileTable::kBase);
  EXPECT_NE(mine, file);
  EXPECT_EQ(*world.Wait(lane.Write(mine, AsBytes("x"))), 1u);
  EXPECT_EQ(*world.Wait(lane.Write(mine, AsBytes("y"))), 1u);
  EXPECT_EQ(opened, 1);
  file.reset();
}

// ---- descriptors --------------------------------------------------------------------------------------------------

TEST_F(LaneTest, DescriptorsAreTheLowestFree) {
  std::vector<int> fds;
  for (int i = 0; i < 5; ++i) fds.push_back(*Open("/f" + std::to_string(i), kCreate));
  EXPECT_EQ(fds[0], FileTable::kBase);
  EXPECT_EQ(fds[4], FileTable::kBase + 4);
  EXPECT_EQ(world.Wait(lane.Close(fds[3])).code(), Code::kOk);
  EXPECT_EQ(world.Wait(lane.Close(fds[1])).code(), Code::kOk);
  EXPECT_EQ(world.Wait(lane.Close(fds[1])).code(), Code::kBadHandle);
  EXPECT_EQ(process.files.Find(fds[1]), nullptr);
  EXPECT_EQ(process.files.Find(3), nullptr);
  EXPECT_EQ(*Open("/g", kCreate), fds[1]);
  EXPECT_EQ(*Open("/h", kCreate), fds[3]);
  EXPECT_EQ(*Open("/i", kCreate), FileTable::kBase + 5);
}

TEST_F(LaneTest, ADescriptorThatAThreadRemembersIsForgottenWithItsClose) {
  const int fd = *Open("/f", kCreate), other = *Open("/g", kCreate);
  FileTable& files = process.files;
  const FileRef file = files.FindAgain(fd);
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(files.FindAgain(fd), file);
  EXPECT_EQ(files.FindAgain(other), files.Find(other));
  EXPECT_EQ(files.FindAgain(fd), file);
  EXPECT_EQ(world.Wait(lane.Close(fd)).code(), Code::kOk);
  EXPECT_EQ(files.FindAgain(fd), nullptr);
  ASSERT_EQ(*Open("/h", kCreate), fd);
  EXPECT_EQ(files.FindAgain(fd), files.Find(fd));
  EXPECT_NE(files.FindAgain(fd), file);
  FileTable another;
  EXPECT_EQ(another.FindAgain(fd), nullptr);
  files.Renew();  // in a forked child
  EXPECT_EQ(files.FindAgain(fd), files.Find(fd));
  (void)files.TakeAll(*process.mount);
  EXPECT_EQ(files.FindAgain(fd), nullptr);
}

// ---- listing ------------------------------------------------------------------------------------------------------

struct ListingTest : LaneTest {
  // Shard -> names by insertion sequence.
  std::map<uint32_t, std::map<uint64_t, std::string>> parts;
  size_t page = 3;  // entries
  std::set<std::string> partial;
  std::vector<ClientId> openers;  // that Shards was asked with

  ListingTest() {
    server.On<Method::kShards>([this](const ShardsRequest& q, ShardsReply* a, FakeCall& call) {
      a->attr = server.nodes[q.inode.value].attr;
      openers.push_back(q.opener);
      if (q.opener.value != 0) {
        EXPECT_EQ(q.grant.tag, FakeServer::GrantFor(q.inode, q.opener, kOpenRead).tag);
      }
      a->grant = FakeServer::GrantFor(q.inode, call.process, kOpenRead);
      for (auto& [shard, names] : parts) {
        call.out.insert(call.out.end(), reinterpret_cast<const uint8_t*>(&shard),
                        reinterpret_cast<const uint8_t*>(&shard) + 4);
        ++a->count;
      }
      return Code::kOk;
    });
    server.On<Method::kReadDir>([this](const ReadDirRequest& q, ReadDirReply* a, FakeCall& call) {
      FakeServer::ExpectGrant(call, q.dir, q.grant, kGrantRead);
      call.out.resize(4000);
      Encoder e{MutableBytes(call.out)};
      const auto& names = parts[call.shard.value];
      auto at = names.upper_bound(q.after);
      for (; at != names.end() && a->count < page; ++at, ++a->count) {
        ListingEntry entry;
        entry.sequence = at->first;
        entry.name = at->second;
        entry.attr.type = FileType::kFile;
        entry.attr.inode = server.Find(server.root(), at->second)->attr.inode;
        entry.attr.partial = partial.contains(at->second);
        e.Put(entry);
      }
      a->end = at == names.end();
      call.out.resize(e.size());
      return Code::kOk;
    });
  }
  void Fill(uint32_t shard, int count) {
    for (int i = 0; i < count; ++i) {
      std::string name = fmt::format("s{}n{}", shard, i);
      server.Add(server.root(), name, FileType::kFile);
      parts[shard][10 + static_cast<uint64_t>(i) * 3] = name;
    }
  }
  std::vector<std::string> All(Directory* dir, std::vector<uint64_t>* cookies = nullptr) {
    return All(lane, dir, cookies);
  }
  std::vector<std::string> All(Lane& by, Directory* dir, std::vector<uint64_t>* cookies = nullptr) {
    std::vector<std::string> names;
    Directory::Entry entry;
    for (;;) {
      auto more = world.Wait(dir->Next(&by, &entry));
      EXPECT_TRUE(more.ok());
      if (!more.ok() || !*more) return names;
      names.emplace_back(entry.name);
      if (cookies != nullptr) cookies->push_back(entry.cookie);
    }
  }
};

TEST_F(ListingTest, EveryEntryOnceInTheOrderOfCookies) {
  Fill(0, 10);
  Fill(2, 1);
  Fill(3, 7);
  auto dir = world.Wait(Directory::Open(&lane, "/"));
  ASSERT_TRUE(dir.ok());
  std::vector<uint64_t> cookies;
  auto names = All(dir->get(), &cookies);
  ASSERT_EQ(names.size(), 20u);
  EXPECT_EQ(names[0], ".");
  EXPECT_EQ(names[1], "..");
  EXPECT_TRUE(std::is_sorted(cookies.begin(), cookies.end()));
  // From any cookie on come exactly the entries behind it, also those that were added meanwhile.
  for (size_t i = 0; i < cookies.size(); ++i) {
    (*dir)->SeekTo(cookies[i]);
    auto rest = All(dir->get());
    EXPECT_EQ(rest, std::vector<std::string>(names.begin() + static_cast<ptrdiff_t>(i) + 1, names.end())) << i;
  }
  Fill(1, 2);  // a shard that had none
  (*dir)->SeekTo(0);
  EXPECT_EQ(All(dir->get()).size(), 22u);
}

TEST_F(ListingTest, PartialAttributesAreFetchedAndTheRemovedLeftOut) {
  Fill(1, 4);
  partial = {"s1n1", "s1n2"};
  server.Find(server.root(), "s1n1")->attr.size = 4711;
  server.nodes.erase(server.entries[{server.root().value, "s1n2"}].value);
  server.On<Method::kReadDir>([this](const ReadDirRequest&, ReadDirReply* a, FakeCall& call) {
    call.out.resize(4000);
    Encoder e{MutableBytes(call.out)};
    for (auto& [sequence, name] : parts[1]) {
      ListingEntry entry;
      entry.sequence = sequence;
      entry.name = name;
      entry.attr.inode = server.entries[{server.root().value, name}];
      entry.attr.partial = partial.contains(name);
      e.Put(entry);
      ++a->count;
    }
    a->end = true;
    call.out.resize(e.size());
    return Code::kOk;
  });
  auto dir = world.Wait(Directory::Open(&lane, "/"));
  ASSERT_TRUE(dir.ok());
  Directory::Entry entry;
  std::map<std::string, uint64_t> sizes;
  while (*world.Wait((*dir)->Next(&lane, &entry))) sizes[std::string(entry.name)] = entry.attr.size;
  EXPECT_EQ(sizes.size(), 5u);
  EXPECT_EQ(sizes["s1n1"], 4711u);
  EXPECT_FALSE(sizes.contains("s1n2"));
}

TEST_F(ListingTest, ARightToReadIsKeptByRewindingAndHandedToAForkedChild) {
  Fill(0, 7);
  Fill(1, 2);
  auto dir = world.Wait(Directory::Open(&lane, "/"));
  ASSERT_TRUE(dir.ok());
  Directory::Entry entry;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(*world.Wait((*dir)->Next(&lane, &entry)));
  const ClientId parent = process.identity.process;
  process.identity.process = ClientId(parent.value + 1);
  EXPECT_EQ(All(*process.NewEngine().lane, dir->get()).size(), 7u);
  EXPECT_EQ(openers, (std::vector<ClientId>{ClientId(), parent}));
  (*dir)->SeekTo(0);
  EXPECT_EQ(All(*process.engines.back()->lane, dir->get()).size(), 11u);
  EXPECT_EQ(openers.back(), process.identity.process);
}

TEST_F(ListingTest, OnlyDirectoriesThatMayBeRead) {
  ClientProcess user(world, {}, 1000);
  server.Add(server.root(), "d", FileType::kDirectory, 0711);
  server.Add(server.root(), "f", FileType::kFile);
  EXPECT_EQ(world.Wait(Directory::Open(&user.lane(), "/d")).code(), Code::kAccess);
  EXPECT_EQ(world.Wait(Directory::Open(&user.lane(), "/f")).code(), Code::kNotDirectory);
  EXPECT_EQ(world.Wait(Directory::Open(&lane, "/none")).code(), Code::kNoEntry);
}

}  // namespace
}  // namespace mayfly
