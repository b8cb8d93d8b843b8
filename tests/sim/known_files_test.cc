// Files that a process on the servers' node knows (client/known_files.h): looked at and opened without a message, and
// never otherwise than they are.
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "sim/mapped_world.h"

namespace mayfly {
namespace {

struct KnownFilesTest : MappedTest {
  explicit KnownFilesTest(Durability durability = Durability::kNone) : cluster(With(durability)) {}
  SimClusterOptions With(Durability durability) {
    SimClusterOptions options = Options(4);
    options.durability = durability;
    return options;
  }
  // Messages that `call` takes.
  uint64_t Calls(const std::function<void()>& call) {
    const uint64_t before = reader.lane().caller().stats().calls;
    call();
    return reader.lane().caller().stats().calls - before;
  }
  Result<Attr> Stat(SimClient& client, const std::string& path) { return client.Wait(client.lane().Stat(path, true)); }
  void New(const std::string& path, const std::string& text) {
    auto fd = writer.Wait(writer.lane().Open(path, kNewFile, 0644));
    ASSERT_TRUE(fd.ok());
    Write(writer, writer.mount().files().Find(*fd), 0, text);
    ASSERT_TRUE(writer.Wait(writer.lane().Close(*fd)).ok());
  }
  // From here on the reader knows it.
  void Know(const std::string& path) {
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(Stat(reader, path).ok());
  }
  Status Close(SimClient& client, int fd) { return client.Wait(client.lane().Close(fd)); }
  // The home hears of all closes.
  void Settle() { cluster.RunFor(3 * kSecond); }
  uint64_t Inodes() {
    uint64_t inodes = 0;
    for (uint32_t s = 0; s < 4; ++s) {
      const std::string status = *writer.Wait(writer.lane().ShardStatus(ShardId(s)));
      const std::string_view key = "\"names\":{\"inodes\":";
      inodes += std::stoull(status.substr(status.find(key) + key.size()));
    }
    return inodes;
  }
  void ExpectSame(const std::string& path) {
    const auto known = Stat(reader, path), asked = Stat(writer, path);
    ASSERT_EQ(known.code(), asked.code());
    if (!known.ok()) return;
    EXPECT_EQ(known->inode, asked->inode);
    EXPECT_EQ(known->size, asked->size);
    EXPECT_EQ(known->blocks, asked->blocks);
    EXPECT_EQ(known->permissions, asked->permissions);
    EXPECT_EQ(known->uid, asked->uid);
    EXPECT_EQ(known->nlink, asked->nlink);
    EXPECT_EQ(known->mtime, asked->mtime);
    EXPECT_EQ(known->ctime, asked->ctime);
    EXPECT_EQ(known->atime, asked->atime);
  }
  std::string Content(SimClient& client, const std::string& path) {
    auto fd = client.Wait(client.lane().Open(path, kOpenRead, 0));
    if (!fd.ok()) return std::string(TextOf(fd.code()));
    std::string text = Read(client, client.mount().files().Find(*fd), 0, 100'000);
    EXPECT_TRUE(Close(client, *fd).ok());
    return text;
  }

  SimCluster cluster;
  SimClient writer{cluster, Direct()};
  SimClient reader{cluster, {}, &cluster.views()};
};

TEST_F(KnownFilesTest, TwoNamesOfOneHashAreTwo) {
  New("/f", "x");
  Know("/f");
  KnownFiles& known = reader.lane().walker().known;
  const InodeId root = cluster.placement().RootInode();
  const KnownFile* const told = known.Find({root, "f"}, Placement::DentryHash(root, "f"));
  ASSERT_NE(told, nullptr);
  KnownFile file = *told;
  const auto learn = [&](std::string_view name, uint64_t size) {
    file.attr.size = size;
    known.Learn({root, name}, 5, WatchedFile(), file);
  };
  const auto size_of = [&](InodeId parent, std::string_view name) {
    const KnownFile* const found = known.Find({parent, name}, 5);
    return found != nullptr ? found->attr.size : 0;
  };
  learn("one", 1);
  learn("two", 2);
  learn("three", 3);
  learn("one", 4);  // it is this now
  EXPECT_EQ(size_of(root, "one"), 4u);
  EXPECT_EQ(size_of(root, "two"), 2u);
  EXPECT_EQ(size_of(root, "three"), 3u);
  EXPECT_EQ(size_of(root, "four"), 0u);
  EXPECT_EQ(size_of(InodeId(root.value + 1), "one"), 0u);
  EXPECT_EQ(known.Find({root, "one"}, 6), nullptr);
}

TEST_F(KnownFilesTest, AreLookedAtAndReadWithoutAMessage) {
  const std::string data = Pattern(3901, 1);
  New("/f", data);
  Know("/f");
  EXPECT_EQ(Calls([&] { ExpectSame("/f"); }), 0u);
  EXPECT_EQ(Calls([&] { EXPECT_EQ(Content(reader, "/f"), data); }), 0u);
  EXPECT_EQ(Calls([&] { EXPECT_TRUE(reader.Wait(reader.lane().Access("/f", 4, true)).ok()); }), 0u);
  // Opened to read once, it is known too.
  New("/g", data);
  EXPECT_EQ(Content(reader, "/g"), data);
  EXPECT_EQ(Content(reader, "/g"), data);
  EXPECT_EQ(Calls([&] { EXPECT_EQ(Content(reader, "/g"), data); }), 0u);
  EXPECT_EQ(Calls([&] { ExpectSame("/g"); }), 0u);
  // What the board says holds for a moment, and again once the shard was asked.
  cluster.RunFor(300 * kMillisecond);
  EXPECT_EQ(Calls([&] { ExpectSame("/f"); }), 1u);
  EXPECT_EQ(Calls([&] { ExpectSame("/f"); }), 0u);
  // With its parent's name another.
  EXPECT_EQ(Stat(reader, "/f/").code(), Code::kNotDirectory);
}

TEST_F(KnownFilesTest, AreThoseThatTheProcessMadeItself) {
  const auto path = [](int i) { return "/made" + std::to_string(i); };
  constexpr int kFiles = 400;
  for (int i = 0; i < kFiles; ++i) {
    auto fd = reader.Wait(reader.lane().Open(path(i), kOpenWrite | kOpenCreate, 0644));
    ASSERT_TRUE(fd.ok());
    Write(reader, reader.mount().files().Find(*fd), 0, Pattern(3901, i));
    ASSERT_TRUE(Close(reader, *fd).ok());
    if (i == kFiles / 2) {
      ASSERT_TRUE(writer.Wait(writer.lane().Rename(path(3), "/other", 0)).ok());
    }
  }
  Settle();
  const uint64_t calls = Calls([&] {
    for (int i = 0; i < kFiles; ++i) ExpectSame(path(i));
    for (int i = 0; i < kFiles; ++i) {
      if (i == 3) continue;
      EXPECT_EQ(Content(reader, path(i)), Pattern(3901, i));
    }
  });
  EXPECT_LT(calls, kFiles / 8);
  EXPECT_EQ(Content(reader, "/other"), Pattern(3901, 3));
}

TEST_F(KnownFilesTest, AreAskedForBeforeTheyAreLookedAt) {
  constexpr size_t kFiles = 4 * kLookupsMax - 5;
  std::vector<std::string> paths;  // of one shard, as each is asked by itself
  for (size_t i = 0; i < kFiles; ++i) paths.push_back(cluster.PathAt(ShardId(1), "made" + std::to_string(i)));
  for (const std::string& path : paths) {
    auto fd = reader.Wait(reader.lane().Open(path, kOpenWrite | kOpenCreate, 0644));
    ASSERT_TRUE(fd.ok());
    ASSERT_TRUE(Close(reader, *fd).ok());
  }
  Settle();
  // Of one message's files the first is asked for; who goes on to a second message's gets those of the third as well.
  std::map<size_t, uint64_t> calls;
  for (size_t i = 0; i < kFiles; ++i) {
    const uint64_t made = Calls([&] { ExpectSame(paths[i]); });
    if (made != 0) calls[i] = made;
  }
  const std::map<size_t, uint64_t> expected{{0, 1}, {kLookupsMax, 2}, {2 * kLookupsMax, 1}};
  EXPECT_EQ(calls, expected);
}

TEST_F(KnownFilesTest, ShowEveryChangeAtOnce) {
  ASSERT_TRUE(writer.Wait(writer.lane().Mkdir("/d", 0755)).ok());
  SimClient other(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 2), mark(300, 'x');
  const auto set = [&](uint32_t mask, auto change) {
    SetAttrRequest request;
    request.mask = mask;
    change(&request);
    EXPECT_TRUE(writer.Wait(writer.lane().SetAttr({"/d/f"}, request)).ok());
  };
  const auto wrote = [&] { return writer.Open("/d/f", kOpenWrite); };
  FileRef buffering;
  const std::vector<std::function<void()>> changes = {
      [&] { Write(writer, wrote(), 0, mark); },
      [&] { Write(writer, wrote(), 9000, mark); },
      [&] { Write(writer, wrote(), (3u << 20) + 5, mark); },  // on another shard
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().Truncate(wrote(), 100)).ok()); },
      [&] { EXPECT_NE(writer.Open("/d/f", kOpenWrite | kOpenTruncate), nullptr); },
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().Fallocate(wrote(), Lane::Allocate::kKeepSize, 0, 90000)).ok()); },
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().Fallocate(wrote(), Lane::Allocate::kPunch, 0, 3901)).ok()); },
      [&] { set(kSetMode, [](SetAttrRequest* r) { r->permissions = 0600; }); },
      [&] { set(kSetMtime, [](SetAttrRequest* r) { r->mtime = 5; }); },
      [&] { set(kSetAtime, [](SetAttrRequest* r) { r->atime = 7; }); },
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().SetXattr({"/d/f"}, "user.a", BytesOf(mark), 0)).ok()); },
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().Link("/d/f", "/d/l")).ok()); },
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().Unlink("/d/f")).ok()); },
      [&] { EXPECT_TRUE(writer.Wait(writer.lane().Rename("/d/f", "/d/g", 0)).ok()); },
      [&] {
        New("/d/h", mark);
        EXPECT_TRUE(writer.Wait(writer.lane().Rename("/d/h", "/d/f", 0)).ok());
      },
      [&] {
        New("/d/h", mark);
        EXPECT_TRUE(writer.Wait(writer.lane().Rename("/d/h", "/d/f", 2)).ok());
      },
      [&] {  // away and another in its place
        EXPECT_TRUE(writer.Wait(writer.lane().Unlink("/d/f")).ok());
        New("/d/f", mark);
      },
      [&] {  // the way there
        EXPECT_TRUE(writer.Wait(writer.lane().Rename("/d", "/e", 0)).ok());
        EXPECT_EQ(Stat(reader, "/d/f").code(), Code::kNoEntry);
        EXPECT_EQ(Content(reader, "/e/f"), Content(writer, "/e/f"));
        EXPECT_TRUE(writer.Wait(writer.lane().Rename("/e", "/d", 0)).ok());
      },
      [&] {  // what another process has written and not sent yet
        buffering = other.Open("/d/f", kOpenWrite);
        cluster.RunFor(100 * kMillisecond);
        Know("/d/f");
        Write(other, buffering, 3901, mark);
      },
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    New("/d/f", data);
    Know("/d/f");
    EXPECT_EQ(Content(reader, "/d/f"), data);
    EXPECT_EQ(Calls([&] { ExpectSame("/d/f"); }), 0u);
    changes[i]();
    EXPECT_EQ(Content(reader, "/d/f").substr(0, 5000), Content(writer, "/d/f").substr(0, 5000));
    ExpectSame("/d/f");
    for (const char* path : {"/d/f", "/d/g", "/d/h", "/d/l"}) (void)writer.Wait(writer.lane().Unlink(path));
    Settle();
  }
}

TEST_F(KnownFilesTest, OfAnotherUserAreNotRead) {
  const std::string data = Pattern(3901, 3);
  New("/f", data);
  Know("/f");
  // The cluster's clients are root; what they may not do is what no right was told for.
  SetAttrRequest request;
  request.mask = kSetMode;
  ASSERT_TRUE(writer.Wait(writer.lane().SetAttr({"/f"}, request)).ok());
  EXPECT_GE(Calls([&] { ExpectSame("/f"); }), 1u);
}

// B2, B3
TEST_F(KnownFilesTest, ThatAreOpenStayWhenTheirNameGoes) {
  const std::string data = Pattern(3901, 4);
  const uint64_t before = Inodes();
  for (const bool replaced : {false, true}) {
    New("/f", data);
    Know("/f");
    int first = -1, second = -1;
    EXPECT_EQ(Calls([&] { first = *reader.Wait(reader.lane().Open("/f", kOpenRead, 0)); }), 0u);
    EXPECT_EQ(Calls([&] { second = *reader.Wait(reader.lane().Open("/f", kOpenRead, 0)); }), 0u);
    if (replaced) New("/g", "other");
    Settle();
    if (replaced) {
      ASSERT_TRUE(writer.Wait(writer.lane().Rename("/g", "/f", 0)).ok());
    } else {
      ASSERT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
    }
    Settle();
    EXPECT_EQ(Inodes(), before + (replaced ? 2 : 1));
    for (uint32_t i = 0; i < 20; ++i) New("/n" + std::to_string(i), Pattern(3901, 100 + i));  // what was freed is used
    for (uint32_t i = 0; i < 20; ++i) ASSERT_TRUE(writer.Wait(writer.lane().Unlink("/n" + std::to_string(i))).ok());
    EXPECT_EQ(Read(reader, reader.mount().files().Find(first), 0, 5000), data);
    EXPECT_TRUE(Close(reader, first).ok());
    Settle();
    EXPECT_EQ(Read(reader, reader.mount().files().Find(second), 0, 5000), data);
    EXPECT_TRUE(Close(reader, second).ok());
    if (replaced) {
      ASSERT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
    }
    Settle();
    EXPECT_EQ(Inodes(), before);
  }
  // Of a process that is gone nothing stays.
  New("/f", data);
  {
    SimClient gone(cluster, {}, &cluster.views());
    for (int i = 0; i < 4; ++i) ASSERT_TRUE(Stat(gone, "/f").ok());
    const uint64_t calls = gone.lane().caller().stats().calls;
    ASSERT_NE(gone.Open("/f", kOpenRead), nullptr);
    ASSERT_EQ(gone.lane().caller().stats().calls, calls);
    ASSERT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
  }
  cluster.RunFor(60 * kSecond);
  EXPECT_EQ(Inodes(), before);
}

TEST_F(KnownFilesTest, ThatAreOpenAreNotWrittenAlone) {
  SimClient other(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 5), mark(300, 'x');
  New("/f", data);
  for (const bool listens : {false, true}) {  // small writes make it want to
    const int fd = *other.Wait(other.lane().Open("/f", kOpenWrite, 0));
    EXPECT_EQ(other.mount().files().Find(fd)->sole, listens);
    for (int i = 0; i < 3; ++i) Write(other, other.mount().files().Find(fd), i * 10, "0123456789");
    ASSERT_TRUE(Close(other, fd).ok());
    Settle();
  }
  New("/f", data);
  Settle();
  Know("/f");
  FileRef read;
  EXPECT_EQ(Calls([&] { read = reader.Open("/f", kOpenRead); }), 0u);
  FileRef written = other.Open("/f", kOpenWrite);
  EXPECT_FALSE(written->sole);
  Write(other, written, 0, mark);
  EXPECT_EQ(Read(reader, read, 0, 300), mark);
}

TEST_F(KnownFilesTest, MoreAreOpenThanThereAreHolds) {
  const std::string data = Pattern(3901, 6);
  New("/f", data);
  Know("/f");
  std::vector<int> open;
  for (size_t i = 0; i < ArenaBoard::kHolds; ++i) {
    EXPECT_EQ(Calls([&] { open.push_back(*reader.Wait(reader.lane().Open("/f", kOpenRead, 0))); }), 0u);
  }
  EXPECT_EQ(Calls([&] { open.push_back(*reader.Wait(reader.lane().Open("/f", kOpenRead, 0))); }), 1u);
  EXPECT_TRUE(Close(reader, open[3]).ok());
  EXPECT_EQ(Calls([&] { open[3] = *reader.Wait(reader.lane().Open("/f", kOpenRead, 0)); }), 0u);
  ASSERT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
  for (int fd : open) {
    EXPECT_EQ(Read(reader, reader.mount().files().Find(fd), 0, 5000), data);
    EXPECT_TRUE(Close(reader, fd).ok());
  }
  Settle();
  EXPECT_EQ(Inodes(), 1u);  // the root
}

struct KnownFilesRestartTest : KnownFilesTest {
  KnownFilesRestartTest() : KnownFilesTest(Durability::kProcess) {}
};

// Its server is killed and started again: what was open stays open, and nothing old is shown.
TEST_F(KnownFilesRestartTest, OutliveTheirServer) {
  const std::string data = Pattern(3901, 7);
  New("/f", data);
  Settle();
  Know("/f");
  const ShardId home = Stat(reader, "/f")->inode.home();
  int fd = -1;
  EXPECT_EQ(Calls([&] { fd = *reader.Wait(reader.lane().Open("/f", kOpenRead, 0)); }), 0u);
  cluster.Kill(home);
  ASSERT_TRUE(cluster.BringBack({home}).front().ok());
  ASSERT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
  EXPECT_EQ(Stat(reader, "/f").code(), Code::kNoEntry);
  for (uint32_t i = 0; i < 20; ++i) New("/n" + std::to_string(i), Pattern(3901, 100 + i));
  EXPECT_EQ(Read(reader, reader.mount().files().Find(fd), 0, 5000), data);
  const uint64_t before = Inodes();
  EXPECT_TRUE(Close(reader, fd).ok());
  Settle();
  EXPECT_EQ(Inodes(), before - 1);
  // What is known from now on is watched as before.
  for (int i = 0; i < 20; ++i) {
    const std::string path = "/n" + std::to_string(i);
    Know(path);
    SetAttrRequest request;
    request.mask = kSetMode;
    request.permissions = 0600;
    ASSERT_TRUE(writer.Wait(writer.lane().SetAttr({path}, request)).ok());
    ExpectSame(path);
  }
}

}  // namespace
}  // namespace mayfly
