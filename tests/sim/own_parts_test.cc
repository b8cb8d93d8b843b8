// Small files that a process makes and closes without waiting (client/own_parts.h, server/own_parts.cc): what others
// see of them, and what becomes of them when servers die.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <utility>

#include "client/directory.h"
#include "sim/mapped_world.h"

namespace mayfly {
namespace {

struct OwnPartsTest : MappedTest {
  static constexpr uint32_t kMake = kOpenWrite | kOpenCreate | kOpenExclusive;
  static ClientOptions Eager() {
    ClientOptions options;
    options.own_after = 1;
    options.op_timeout = options.unreachable_after = 600 * kSecond;
    return options;
  }
  explicit OwnPartsTest(Durability durability = Durability::kNone)
      : cluster(With(durability)), maker(cluster, Eager(), &cluster.views()), other(cluster, Direct()) {
    EXPECT_TRUE(maker.Wait(maker.lane().Mkdir("/d", 0755)).ok());
    // Small files are what makes a process listen, and then be offered the parts of the directory.
    for (int i = 0; i < 20; ++i) {
      EXPECT_TRUE(Make(maker, "/d/first" + std::to_string(i), Pattern(3901, i)));
      cluster.RunFor(kMillisecond);
    }
    Settle();
  }
  SimClusterOptions With(Durability durability) {
    SimClusterOptions options = Options(2);
    options.durability = durability;
    return options;
  }
  void Settle() { cluster.RunFor(20 * kMillisecond); }
  bool Make(SimClient& client, const std::string& path, const std::string& text) {
    auto fd = client.Wait(client.lane().Open(path, kMake, 0644));
    if (!fd.ok()) return false;
    if (!text.empty()) Write(client, client.Find(*fd), 0, text);
    return client.Wait(client.lane().Close(*fd)).ok();
  }
  // What needs nobody else: false if it waited for an answer.
  template <class T>
  bool Alone(Task<T> task, T* out) {
    for (int i = 0; i < 10 && !task.done(); ++i) (void)maker.Step();
    const bool alone = task.done();
    *out = maker.Wait(std::move(task));
    return alone;
  }
  bool MakeAtOnce(const std::string& path, const std::string& text) {
    Result<int> fd = Code::kIo;
    bool alone = Alone(maker.lane().Open(path, kMake, 0644), &fd);
    EXPECT_TRUE(fd.ok()) << path;
    if (!fd.ok()) return false;
    Result<size_t> wrote = text.size();
    if (!text.empty()) alone &= Alone(maker.lane().Write(maker.Find(*fd), BytesOf(text)), &wrote);
    EXPECT_TRUE(wrote.ok() && *wrote == text.size()) << path;
    Status closed;
    alone &= Alone(maker.lane().Close(*fd), &closed);
    EXPECT_TRUE(closed.ok()) << path;
    return alone;
  }
  // After others have looked into it the directory is theirs as well for a while.
  void Regain(const std::string& dir) {
    cluster.RunFor(1200 * kMillisecond);
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(Make(maker, dir + "/again" + std::to_string(++again), Pattern(3901, i)));
    Settle();
  }
  std::string Content(SimClient& client, const std::string& path) {
    auto fd = client.Wait(client.lane().Open(path, kOpenRead, 0));
    if (!fd.ok()) return std::string(TextOf(fd.code()));
    std::string text = Read(client, client.Find(*fd), 0, 100'000);
    EXPECT_TRUE(client.Wait(client.lane().Close(*fd)).ok());
    return text;
  }
  std::set<std::string> Names(SimClient& client, const std::string& path) {
    std::set<std::string> names;
    auto directory = client.Wait(Directory::Open(&client.lane(), path));
    EXPECT_TRUE(directory.ok());
    for (Directory::Entry entry; directory.ok();) {
      const auto more = client.Wait((*directory)->Next(&client.lane(), &entry));
      EXPECT_TRUE(more.ok());
      if (!more.ok() || !*more) break;
      if (entry.name != "." && entry.name != "..") names.insert(std::string(entry.name));
    }
    return names;
  }
  Result<Attr> Stat(SimClient& client, const std::string& path) { return client.Wait(client.lane().Stat(path, true)); }
  uint64_t made_ahead() { return maker.mount().counters().made_ahead; }

  SimCluster cluster;
  SimClient maker, other;
  int again = 0;
};

TEST_F(OwnPartsTest, FilesAreMadeWrittenAndClosedAtOnce) {
  const uint64_t before = maker.lane().caller().stats().calls, made = made_ahead();
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(MakeAtOnce("/d/f" + std::to_string(i), Pattern(3901, i)));
    Settle();
  }
  EXPECT_EQ(made_ahead() - made, 8u);
  EXPECT_EQ(maker.lane().caller().stats().calls - before, 16u);  // one that makes it, one with its bytes and the close
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(Content(other, "/d/f" + std::to_string(i)), Pattern(3901, i));
    EXPECT_EQ(Content(maker, "/d/f" + std::to_string(i)), Pattern(3901, i));
  }
}

// Many before the server has seen any, empty ones too.
TEST_F(OwnPartsTest, WhoLooksWaitsForThem) {
  for (int i = 0; i < 6; ++i) {
    (void)MakeAtOnce("/d/f" + std::to_string(i), i % 2 == 0 ? Pattern(3901, i) : "");  // a place is asked for, perhaps
  }
  EXPECT_TRUE(MakeAtOnce("/d/last", ""));
  EXPECT_NE(maker.mount().departing(), 0u);
  const auto attr = Stat(other, "/d/f4");
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->size, 3901u);
  for (int i = 6; i < 9; ++i) EXPECT_TRUE(Make(maker, "/d/f" + std::to_string(i), Pattern(10, i)));
  const auto names = Names(other, "/d");
  for (int i = 0; i < 9; ++i) EXPECT_TRUE(names.contains("f" + std::to_string(i))) << i;
  EXPECT_EQ(names.size(), 30u);
  for (int i = 0; i < 9; ++i)
    EXPECT_EQ(Content(other, "/d/f" + std::to_string(i)), i >= 6 ? Pattern(10, i) : i % 2 == 0 ? Pattern(3901, i) : "");
}

TEST_F(OwnPartsTest, TheProcessItselfSeesWhatItMade) {
  EXPECT_TRUE(MakeAtOnce("/d/f", Pattern(3500, 1)));
  EXPECT_EQ(Stat(maker, "/d/f")->size, 3500u);
  EXPECT_TRUE(MakeAtOnce("/d/g", Pattern(3600, 2)));
  EXPECT_EQ(Content(maker, "/d/g"), Pattern(3600, 2));
  EXPECT_TRUE(MakeAtOnce("/d/h", Pattern(3700, 3)));
  EXPECT_TRUE(Names(maker, "/d").contains("h"));
  Regain("/d");
  EXPECT_TRUE(MakeAtOnce("/d/i", Pattern(3700, 3)));
  EXPECT_TRUE(maker.Wait(maker.lane().Rename("/d/i", "/d/j", 0)).ok());
  EXPECT_EQ(Stat(maker, "/d/i").code(), Code::kNoEntry);
  EXPECT_EQ(Content(other, "/d/j"), Pattern(3700, 3));
  EXPECT_TRUE(Make(maker, "/d/k", "x"));
  EXPECT_TRUE(maker.Wait(maker.lane().Unlink("/d/k")).ok());
  EXPECT_EQ(Stat(maker, "/d/k").code(), Code::kNoEntry);
  EXPECT_EQ(Stat(maker, "/d")->nlink, 2u);
}

TEST_F(OwnPartsTest, NamesThatAreThereAreFound) {
  EXPECT_EQ(maker.Wait(maker.lane().Open("/d/first3", kMake, 0644)).code(), Code::kExists);
  EXPECT_TRUE(MakeAtOnce("/d/f", ""));
  EXPECT_EQ(maker.Wait(maker.lane().Open("/d/f", kMake, 0644)).code(), Code::kExists);
  EXPECT_EQ(maker.Wait(maker.lane().Mkdir("/d/f", 0755)).code(), Code::kExists);
  EXPECT_TRUE(maker.Wait(maker.lane().Mkdir("/d/sub", 0755)).ok());
  EXPECT_EQ(maker.Wait(maker.lane().Open("/d/sub", kMake, 0644)).code(), Code::kExists);
  EXPECT_TRUE(maker.Wait(maker.lane().Symlink("x", "/d/link")).ok());
  EXPECT_EQ(maker.Wait(maker.lane().Open("/d/link", kMake, 0644)).code(), Code::kExists);
  EXPECT_TRUE(other.Wait(other.lane().Mkdir("/d/theirs", 0755)).ok());
  EXPECT_EQ(maker.Wait(maker.lane().Open("/d/theirs", kMake, 0644)).code(), Code::kExists);
}

// What goes is new again, and may be made at once.
TEST_F(OwnPartsTest, ANameThatWentIsNew) {
  for (int i = 0; i < 5; ++i) {
    EXPECT_TRUE(MakeAtOnce("/d/f", Pattern(3900, i))) << i;
    EXPECT_EQ(Content(maker, "/d/f"), Pattern(3900, i));
    EXPECT_TRUE(maker.Wait(maker.lane().Unlink("/d/f")).ok());
    EXPECT_EQ(Stat(maker, "/d/f").code(), Code::kNoEntry);
  }
}

TEST_F(OwnPartsTest, AnOpenFileThatIsNotBornYetTakesEveryCall) {
  const auto open = [&](const std::string& path) {
    Regain("/d");
    Result<int> fd = Code::kIo;
    EXPECT_TRUE(Alone(maker.lane().Open(path, kOpenRead | kMake, 0644), &fd));
    return fd.ok() ? *fd : -1;
  };
  int fd = open("/d/stat");
  EXPECT_EQ(maker.Wait(maker.lane().Stat(maker.Find(fd)))->size, 0u);
  fd = open("/d/read");
  EXPECT_EQ(Read(maker, maker.Find(fd), 0, 10), "");
  fd = open("/d/large");
  Write(maker, maker.Find(fd), 0, Pattern(2'000'000, 7));
  EXPECT_EQ(Content(other, "/d/large").substr(0, 1000), Pattern(2'000'000, 7).substr(0, 1000));
  fd = open("/d/at");
  Write(maker, maker.Find(fd), 5000, "abc");
  EXPECT_EQ(Stat(other, "/d/at")->size, 5003u);
  fd = open("/d/cut");
  Write(maker, maker.Find(fd), 0, Pattern(3000, 8));
  EXPECT_TRUE(maker.Wait(maker.lane().Truncate(maker.Find(fd), 10)).ok());
  EXPECT_TRUE(maker.Wait(maker.lane().Close(fd)).ok());
  EXPECT_EQ(Content(other, "/d/cut"), Pattern(3000, 8).substr(0, 10));
  fd = open("/d/sync");
  Write(maker, maker.Find(fd), 0, "abc");
  EXPECT_TRUE(maker.Wait(maker.lane().Sync(maker.Find(fd))).ok());
  EXPECT_EQ(Content(other, "/d/sync"), "abc");
  fd = open("/d/gone");
  Write(maker, maker.Find(fd), 0, "abc");
  EXPECT_TRUE(maker.Wait(maker.lane().Unlink("/d/gone")).ok());
  EXPECT_EQ(Read(maker, maker.Find(fd), 0, 10), "abc");
  EXPECT_TRUE(maker.Wait(maker.lane().Close(fd)).ok());
  EXPECT_EQ(Stat(other, "/d/gone").code(), Code::kNoEntry);
}

// A truncating open comes after the bytes that the process still held of the file.
TEST_F(OwnPartsTest, ATruncatingOpenComesAfterWhatWasWritten) {
  const auto fd = maker.Wait(maker.lane().Open("/d/f", kMake, 0644));
  ASSERT_TRUE(fd.ok());
  Write(maker, maker.Find(*fd), 0, "before");
  const auto again = maker.Wait(maker.lane().Open("/d/f", kOpenWrite | kOpenCreate | kOpenTruncate, 0644));
  ASSERT_TRUE(again.ok());
  EXPECT_TRUE(maker.Wait(maker.lane().Sync(maker.Find(*fd))).ok());
  EXPECT_EQ(Stat(other, "/d/f")->size, 0u);
  (void)MakeAtOnce("/d/g", "before");
  const auto cut = maker.Wait(maker.lane().Open("/d/g", kOpenWrite | kOpenCreate | kOpenTruncate, 0644));
  ASSERT_TRUE(cut.ok());
  Write(maker, maker.Find(*cut), 0, "by");
  EXPECT_TRUE(maker.Wait(maker.lane().Close(*cut)).ok());
  EXPECT_EQ(Content(other, "/d/g"), "by");
}

// Two that make files in one directory: none is lost, and neither waits for long.
TEST_F(OwnPartsTest, TwoProcessesShareADirectory) {
  SimClient second(cluster, Eager(), &cluster.views());
  for (int i = 0; i < 60; ++i) {
    SimClient& client = i % 3 == 0 ? second : maker;
    EXPECT_TRUE(Make(client, "/d/f" + std::to_string(i), Pattern(50, i))) << i;
    EXPECT_EQ(client.Wait(client.lane().Open("/d/f" + std::to_string(i / 2), kMake, 0644)).code(), Code::kExists);
    if (i % 20 == 19) cluster.RunFor(1500 * kMillisecond);
  }
  for (int i = 0; i < 60; ++i) EXPECT_EQ(Content(other, "/d/f" + std::to_string(i)), Pattern(50, i));
  EXPECT_EQ(Names(other, "/d").size(), 80u);
}

// rmdir, rename and chmod of the directory by another.
TEST_F(OwnPartsTest, TheDirectoryIsAnybodys) {
  EXPECT_TRUE(MakeAtOnce("/d/f", ""));
  EXPECT_EQ(other.Wait(other.lane().Rmdir("/d")).code(), Code::kNotEmpty);
  EXPECT_TRUE(maker.Wait(maker.lane().Mkdir("/e", 0755)).ok());
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(Make(maker, "/e/" + std::to_string(i), ""));
  Settle();
  EXPECT_TRUE(MakeAtOnce("/e/f", ""));
  EXPECT_TRUE(other.Wait(other.lane().Rename("/e", "/g", 0)).ok());
  EXPECT_FALSE(Make(maker, "/e/h", "1"));
  EXPECT_TRUE(Make(maker, "/g/h", "1"));
  EXPECT_EQ(Content(other, "/g/f"), "");
  EXPECT_EQ(Names(other, "/g").size(), 22u);
}

// A process that is gone leaves what it has sent, and its parts are anybody's.
TEST_F(OwnPartsTest, WhatWasSentStaysWhenTheProcessIsGone) {
  {
    SimClient gone(cluster, Eager(), &cluster.views());
    EXPECT_TRUE(gone.Wait(gone.lane().Mkdir("/e", 0755)).ok());
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(Make(gone, "/e/" + std::to_string(i), Pattern(30, i)));
  }
  EXPECT_EQ(Names(other, "/e").size(), 20u);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Content(other, "/e/" + std::to_string(i)), Pattern(30, i));
}

struct OwnPartsOverRestarts : OwnPartsTest {
  OwnPartsOverRestarts() : OwnPartsTest(Durability::kProcess) {}
};

TEST_F(OwnPartsOverRestarts, WhatWasMadeAtOnceIsThere) {
  for (int round = 0; round < 4; ++round) {
    const auto path = [round](int i) { return "/d/r" + std::to_string(round) + "." + std::to_string(i); };
    Regain("/d");
    for (int i = 0; i < 6; ++i) (void)MakeAtOnce(path(i), i % 2 == 0 ? Pattern(3901, i) : "");
    if (round == 1) cluster.RunFor(50 * kMicrosecond);
    if (round == 2) cluster.RunFor(kMillisecond);
    const ShardId shard(round % 2);
    cluster.Kill(shard);
    ASSERT_TRUE(cluster.BringBack({shard}).front().ok());
    for (int i = 0; i < 6; ++i)
      EXPECT_EQ(Content(other, path(i)), i % 2 == 0 ? Pattern(3901, i) : "") << round << "." << i;
    EXPECT_TRUE(Make(maker, path(6), "more"));
    EXPECT_EQ(Content(other, path(6)), "more");
  }
}

// A process that ends while the shard is away is known to have ended: its arena is nobody's. It is not waited for as
// one that may come back is, for longer than others' deadlines.
TEST_F(OwnPartsOverRestarts, WhoEndedMeanwhileIsNotWaitedFor) {
  auto gone = std::make_unique<SimClient>(cluster, Eager(), &cluster.views());
  EXPECT_TRUE(gone->Wait(gone->lane().Mkdir("/e", 0755)).ok());
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(Make(*gone, "/e/" + std::to_string(i), Pattern(30, i)));
  cluster.RunFor(kMillisecond);
  for (ShardId shard : {ShardId(0), ShardId(1)}) cluster.Kill(shard);
  gone.reset();
  for (const auto& back : cluster.BringBack({ShardId(0), ShardId(1)})) ASSERT_TRUE(back.ok());
  const Nanos begun = cluster.clock().Now();
  EXPECT_EQ(Names(other, "/e").size(), 40u);
  EXPECT_LT(cluster.clock().Now() - begun, 10 * kSecond);
  for (int i = 0; i < 40; ++i) EXPECT_EQ(Content(other, "/e/" + std::to_string(i)), Pattern(30, i));
}

}  // namespace
}  // namespace mayfly
