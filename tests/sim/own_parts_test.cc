// Small files that a process makes and closes without waiting (client/own_parts.h, server/own_parts.cc): what others
// see of them, and what becomes of them when servers die.
#include <gmock/gmock.h>

#include <functional>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "client/directory.h"
#include "sim/mapped_world.h"
#include "wire/payload.h"

namespace mayfly {
namespace {

struct FixedCores : Cores {
  uint32_t here = kNone;
  std::vector<uint32_t> left;
  uint32_t Current() override { return here; }
  void Leave(uint32_t core) override { left.push_back(core); }
};

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
    options.cores = &cores;
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
    for (int i = 0; i < 16; ++i) EXPECT_TRUE(Make(maker, dir + "/again" + std::to_string(++again), Pattern(3901, i)));
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
  uint64_t made_ahead() { return maker.mount().outbox().made(); }

  FixedCores cores;  // of the servers
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
  EXPECT_EQ(maker.lane().caller().stats().calls - before, 8u);  // each brings the place for the next
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(Content(other, "/d/f" + std::to_string(i)), Pattern(3901, i));
    EXPECT_EQ(Content(maker, "/d/f" + std::to_string(i)), Pattern(3901, i));
  }
}

TEST_F(OwnPartsTest, AShardStepsAsideFromTheCoreOfWhoWritesDown) {
  FixedCores own;
  maker.mount().SetCores(&own);
  const InodeId dir = Stat(maker, "/d")->inode;
  Regain("/d");
  int made = 0;
  const auto tell = [&](Nanos wait) {
    cores.left.clear();
    for (const uint64_t before = made_ahead(); made_ahead() == before;) {  // where numbers run out it is a message
      const std::string name = "empty" + std::to_string(++made);
      if (cluster.placement().DentryShard(dir, name).value != 0) continue;  // always the same shard
      EXPECT_TRUE(Make(maker, "/d/" + name, ""));
    }
    maker.lane().SendWrittenDown();
    cluster.RunFor(wait);
    return cores.left;
  };
  using testing::ElementsAre;
  using testing::IsEmpty;
  EXPECT_THAT(tell(100 * kMillisecond), IsEmpty());  // neither says where it is
  own.here = 3;
  EXPECT_THAT(tell(100 * kMillisecond), IsEmpty());
  cores.here = 4;
  EXPECT_THAT(tell(100 * kMillisecond), IsEmpty());
  cores.here = 3;
  EXPECT_THAT(tell(kMillisecond), ElementsAre(3));
  EXPECT_THAT(tell(100 * kMillisecond), IsEmpty());  // not at once again
  EXPECT_THAT(tell(5 * kMillisecond), ElementsAre(3));
  // It does not help: less and less often.
  size_t often = 0;
  for (int i = 0; i < 200; ++i) often += tell(5 * kMillisecond).size();
  EXPECT_GE(often, 2u);
  EXPECT_LE(often, 12u);
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

// ---- what is written down (wire/outbox.h) --------------------------------------------------------------------------

TEST_F(OwnPartsTest, OneMessageTellsOfMany) {
  Regain("/d");
  const uint64_t before = maker.lane().caller().stats().calls;
  for (int i = 0; i < 4 * 16; ++i) EXPECT_TRUE(MakeAtOnce("/d/f" + std::to_string(i), ""));
  const uint64_t told = maker.lane().caller().stats().calls - before;
  EXPECT_GE(told, 1u);
  EXPECT_LE(told, 4u);
  EXPECT_NE(maker.mount().departing(), 0u);
  cluster.RunFor(Outbox::kAgeMax + kSecond);  // the helper tells of the last
  EXPECT_EQ(maker.mount().departing(), 0u);
  for (int i = 0; i < 4 * 16; ++i) EXPECT_EQ(Content(other, "/d/f" + std::to_string(i)), "");
}

TEST_F(OwnPartsTest, FilesAreRemovedAtOnce) {
  for (int i = 0; i < 8; ++i) (void)MakeAtOnce("/d/f" + std::to_string(i), i < 4 ? Pattern(50, i) : "");
  EXPECT_TRUE(maker.Wait(maker.lane().Settle()).ok());
  Status status;
  for (int i = 0; i < 8; ++i) {
    EXPECT_TRUE(Alone(maker.lane().Unlink("/d/f" + std::to_string(i)), &status)) << i;
    EXPECT_TRUE(status.ok());
  }
  EXPECT_EQ(maker.mount().outbox().removed(), 8u);
  EXPECT_EQ(maker.Wait(maker.lane().Unlink("/d/f3")).code(), Code::kNoEntry);
  EXPECT_EQ(Stat(maker, "/d/f4").code(), Code::kNoEntry);
  EXPECT_EQ(maker.Wait(maker.lane().Unlink("/d/first3")), Status());  // it was there before
  EXPECT_EQ(maker.mount().outbox().removed(), 8u);
  EXPECT_TRUE(Make(maker, "/d/f3", "anew"));
  EXPECT_EQ(Names(other, "/d").size(), 20u);
  EXPECT_EQ(Content(other, "/d/f3"), "anew");
}

// Removed by one process, looked at by all.
TEST_F(OwnPartsTest, WhatWasRemovedAtOnceIsThereForNobody) {
  for (int i = 0; i < 4; ++i) (void)MakeAtOnce("/d/f" + std::to_string(i), Pattern(500, i));
  EXPECT_TRUE(maker.Wait(maker.lane().Settle()).ok());
  const int fd = *maker.Wait(maker.lane().Open("/d/f0", kOpenRead, 0));
  Status status;
  EXPECT_TRUE(Alone(maker.lane().Unlink("/d/f0"), &status));
  EXPECT_EQ(maker.Wait(maker.lane().Stat(maker.Find(fd)))->nlink, 0u);
  EXPECT_EQ(Read(maker, maker.Find(fd), 0, 1000), Pattern(500, 0));
  EXPECT_TRUE(maker.Wait(maker.lane().Close(fd)).ok());
  EXPECT_TRUE(Alone(maker.lane().Unlink("/d/f1"), &status));
  EXPECT_EQ(Stat(other, "/d/f1").code(), Code::kNoEntry);
  // Others know the file by another name, or may have it open.
  Regain("/d");
  (void)MakeAtOnce("/d/g", Pattern(500, 7));
  EXPECT_TRUE(maker.Wait(maker.lane().Link("/d/g", "/h")).ok());
  EXPECT_EQ(Stat(other, "/h")->nlink, 2u);
  EXPECT_TRUE(maker.Wait(maker.lane().Unlink("/d/g")).ok());
  EXPECT_EQ(Stat(other, "/h")->nlink, 1u);
}

TEST_F(OwnPartsTest, AChildMayHaveOpenWhatIsRemoved) {
  EXPECT_TRUE(MakeAtOnce("/d/f", ""));
  EXPECT_TRUE(maker.Wait(maker.lane().Settle()).ok());
  maker.mount().LockForFork();
  maker.mount().UnlockAfterFork();
  Status status;
  EXPECT_FALSE(Alone(maker.lane().Unlink("/d/f"), &status));
  EXPECT_TRUE(status.ok());
}

// Who makes no more files needs none.
TEST_F(OwnPartsTest, AnOutboxThatIsNotUsedIsGivenBack) {
  EXPECT_TRUE(MakeAtOnce("/d/f", ""));
  EXPECT_TRUE(maker.mount().outbox().IsReady(ShardId(0)) || maker.mount().outbox().IsReady(ShardId(1)));
  cluster.RunFor(5 * kSecond);
  for (ShardId shard : {ShardId(0), ShardId(1)}) {
    EXPECT_FALSE(maker.mount().outbox().IsReady(shard));
    EXPECT_EQ(cluster.shard(shard.value).store_stats().staged, 0u);
  }
  Regain("/d");
  EXPECT_TRUE(MakeAtOnce("/d/g", ""));
  EXPECT_EQ(Content(other, "/d/f") + Content(other, "/d/g"), "");
}

// Who does not poll by messages hears by its bell in shared memory that it is to yield something.
TEST_F(OwnPartsTest, TheBellRingsWhenOthersWantIn) {
  Regain("/d");
  std::vector<const ArenaBoard::Bell*> bells;
  uint32_t before = 0;
  for (ShardId shard : {ShardId(0), ShardId(1)}) {
    bells.push_back(maker.mount().arenas().BellOf(shard, maker.process()));
    ASSERT_NE(bells.back(), nullptr);
    before += *bells.back();
  }
  EXPECT_TRUE(MakeAtOnce("/d/f", ""));
  EXPECT_EQ(*bells[0] + *bells[1], before);
  EXPECT_TRUE(Names(other, "/d").contains("f"));
  EXPECT_GT(*bells[0] + *bells[1], before);
}

// By the times of its files nobody sees that they were told of later.
TEST_F(OwnPartsTest, TimesAreThoseOfTheCalls) {
  EXPECT_TRUE(MakeAtOnce("/d/f", ""));
  const Nanos made = cluster.clock().Wall();
  cluster.RunFor(100 * kMillisecond);
  EXPECT_TRUE(Make(maker, "/elsewhere", "x"));
  EXPECT_LE(Stat(other, "/d/f")->mtime, made);
  EXPECT_LE(Stat(other, "/d")->mtime, made);
  EXPECT_GT(Stat(other, "/elsewhere")->mtime, made);
}

// What others write there is not believed.
TEST_F(OwnPartsTest, BundlesThatAreNoneAreRefused) {
  const auto send = [&](auto change) {
    Regain("/d");
    EXPECT_TRUE(maker.Wait(maker.lane().Settle()).ok());
    const std::string path = "/d/f" + std::to_string(++again);
    EXPECT_TRUE(MakeAtOnce(path, ""));
    auto bundles = maker.mount().outbox().Take(std::nullopt);
    EXPECT_EQ(bundles.size(), 1u);
    if (bundles.empty()) return std::pair{Status(), path};
    Outbox::Bundle& bundle = *bundles.front();
    BundleRequest request;
    request.loan = bundle.loan;
    request.slot = bundle.slot;
    request.serial = bundle.serial;
    request.bytes = bundle.bytes;
    change(&request, bundle.memory->records);
    struct Local {
      static Task<Status> Ask(Lane* lane, ShardId shard, BundleRequest q, std::string* payload) {
        Empty reply;
        size_t bytes = 0;
        CallOptions options = lane->ByHandle(lane->Deadline());
        options.reply_payload = MutableBytes(reinterpret_cast<uint8_t*>(payload->data()), payload->size());
        options.reply_bytes = &bytes;
        Status status = co_await lane->caller().Call<Method::kBundle>(shard, q, &reply, options);
        payload->resize(status.ok() ? bytes : 0);
        co_return status;
      }
    };
    std::string payload(BundleDone::kBytesMax, 0);
    Status status = maker.Wait(Local::Ask(&maker.lane(), bundle.shard, request, &payload));
    BundleDone done;
    if (status.ok() && !payload.empty()) {
      EXPECT_TRUE(DecodePayload(payload, &done).ok());
      if (!done.failed.empty()) status = done.failed.front().code;
    }
    maker.mount().outbox().End(bundles.front(), false);
    --maker.mount().departing();
    for (const Outbox::Birth& birth : bundle.births) {
      const OwnParts::Outcome outcome{birth.name.dir, birth.name.hash, false};
      maker.mount().own_parts().End(bundle.shard, {&outcome, 1}, {});
      birth.file->birth = OpenFile::kBorn;
    }
    return std::pair{status, path};
  };
  constexpr size_t kTagAt = 1 + 1 + 8 + 8;
  EXPECT_EQ(send([](BundleRequest*, uint8_t*) {}).first, Status());
  const std::vector<std::function<void(BundleRequest*, uint8_t*)>> changes = {
      [](BundleRequest* q, uint8_t*) { ++q->loan; },
      [](BundleRequest* q, uint8_t*) { q->slot = kOutboxSlots; },
      [](BundleRequest* q, uint8_t*) { q->bytes = OutboxSlot::kBytes; },
      [](BundleRequest* q, uint8_t*) { ++q->serial; },
      [](BundleRequest* q, uint8_t*) { --q->bytes; },
      [](BundleRequest* q, uint8_t*) { ++q->bytes; },
      [](BundleRequest*, uint8_t* records) { records[0] = 77; },
      [](BundleRequest*, uint8_t* records) { records[kTagAt] ^= 1; },           // nobody lent that number
      [](BundleRequest*, uint8_t* records) { records[1 + 1 + 8 + 5] ^= 1; },    // another home
      [](BundleRequest* q, uint8_t* records) { records[q->bytes - 1] = '/'; },  // a name that is none
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    const auto [status, path] = send(changes[i]);
    EXPECT_FALSE(status.ok()) << i;
    EXPECT_EQ(Stat(other, path).code(), Code::kNoEntry) << i;
  }
}

// A process that is killed says nothing of what it has written down.
TEST_F(OwnPartsTest, WhatWasWrittenDownIsDoneWhenTheProcessIsGone) {
  auto gone = std::make_unique<SimClient>(cluster, Eager(), &cluster.views());
  EXPECT_TRUE(gone->Wait(gone->lane().Mkdir("/e", 0755)).ok());
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(Make(*gone, "/e/first" + std::to_string(i), Pattern(30, i)));
    cluster.RunFor(kMillisecond);
  }
  EXPECT_TRUE(gone->Wait(gone->lane().Settle()).ok());
  const uint64_t calls = gone->lane().caller().stats().calls;
  const auto at_once = [&](auto task) {
    for (int i = 0; i < 10 && !task.done(); ++i) (void)gone->Step();
    EXPECT_TRUE(task.done());
    return gone->Wait(std::move(task));
  };
  for (int i = 16; i < 20; ++i) EXPECT_TRUE(at_once(gone->lane().Unlink("/e/first" + std::to_string(i))).ok());
  for (int i = 0; i < 3; ++i) {
    const auto fd = at_once(gone->lane().Open("/e/f" + std::to_string(i), kMake, 0644));
    ASSERT_TRUE(fd.ok());
    if (i == 2) break;
    EXPECT_TRUE(gone->Wait(gone->lane().Write(gone->Find(*fd), BytesOf(Pattern(30, i)))).ok());
    EXPECT_TRUE(at_once(gone->lane().Close(*fd)).ok());
  }
  EXPECT_LE(gone->lane().caller().stats().calls, calls + 4);  // for places, and to get more of them
  gone.reset();
  EXPECT_EQ(Names(other, "/e").size(), 16u + 3u);
  EXPECT_EQ(Content(other, "/e/f0"), Pattern(30, 0));
  EXPECT_EQ(Content(other, "/e/f1"), Pattern(30, 1));
  EXPECT_EQ(Stat(other, "/e/f2")->size, 0u);
  EXPECT_EQ(Stat(other, "/e/first17").code(), Code::kNoEntry);
  EXPECT_TRUE(Make(other, "/e/first17", "anew"));
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
