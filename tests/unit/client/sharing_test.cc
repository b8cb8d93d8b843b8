// Write-behind and readahead: what a sole opener may do, and how it gives it up.
#include "client/helper.h"
#include "client/lane.h"
#include "client/quick_io.h"
#include "unit/client/client_world.h"

namespace mayfly {
namespace {

ClientOptions Small() {
  ClientOptions options;
  options.write_behind_bytes = 64 * 1024;
  options.readahead_bytes = 512 * 1024;
  return options;
}

std::string Text(size_t bytes, char first = 'a') {
  std::string out(bytes, first);
  for (size_t i = 0; i < bytes; ++i) out[i] = static_cast<char>(first + i % 23);
  return out;
}

struct SharingTest : testing::Test {
  ClientWorld world;
  ClientProcess process{world, Small(), 0};
  FakeServer& server = world.server;
  Lane& lane = process.lane();
  std::vector<InodeId> revoked;  // what the next poll is told

  SharingTest() {
    server.On<Method::kRevoked>([this](const Empty&, CountReply* a, FakeCall& call) -> std::optional<Code> {
      for (size_t i = 0; i < revoked.size();) {
        if (revoked[i].home() != call.shard) {
          ++i;
          continue;
        }
        const uint64_t number = revoked[i].value;
        const auto* bytes = reinterpret_cast<const uint8_t*>(&number);
        call.out.insert(call.out.end(), bytes, bytes + 8);
        ++a->count;
        revoked.erase(revoked.begin() + static_cast<ptrdiff_t>(i));
      }
      return a->count != 0 ? std::optional<Code>(Code::kOk) : std::nullopt;
    });
    process.StartHelper();
    // Small writes one behind the other are what makes a process listen.
    FileRef first = Open("/first", kOpenCreate | kOpenWrite);
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(world.Wait(lane.Write(first, AsBytes("x"))).ok());
    EXPECT_FALSE(first->buffered);
    world.RunFor(10 * kMillisecond);
    EXPECT_EQ(world.Wait(lane.Close(FileTable::kBase)).code(), Code::kOk);
    for (uint32_t s = 0; s < server.shard_count(); ++s) process.mount->AskToListen(ShardId(s));
    world.RunFor(10 * kMillisecond);
    server.log.clear();
  }
  FileRef Open(std::string_view path, uint32_t flags) {
    auto fd = world.Wait(lane.Open(path, flags, 0644));
    EXPECT_TRUE(fd.ok());
    last_fd = *fd;
    return process.files.Find(*fd);
  }
  const std::string& Content(const std::string& name) { return server.Find(server.root(), name)->data; }
  int last_fd = 0;
};

TEST_F(SharingTest, SmallSequentialWritesAreOneMessage) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  EXPECT_TRUE(file->sole);
  const std::string text = Text(50'000);
  for (size_t at = 0; at < text.size(); at += 1000) {
    EXPECT_EQ(*world.Wait(lane.Write(file, AsBytes(text.substr(at, 1000)))), 1000u);
  }
  EXPECT_EQ(server.count(Method::kWrite), 0u);
  EXPECT_EQ(world.Wait(lane.Close(last_fd)).code(), Code::kOk);
  EXPECT_EQ(server.count(Method::kWrite), 1u);
  EXPECT_EQ(Content("f"), text);
  EXPECT_EQ(process.mount->buffered(), 0u);
}

TEST_F(SharingTest, AFullBufferIsSentAndTheNextOnesAreAligned) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  const std::string text = Text(300'000);
  size_t at = 0;
  for (size_t n = 1; at < text.size(); n = n * 7 % 4001 + 1) {
    const std::string part = text.substr(at, n);
    EXPECT_EQ(*world.Wait(lane.Write(file, AsBytes(part))), part.size());
    at += part.size();
  }
  world.RunFor(kMillisecond);
  EXPECT_EQ(server.count(Method::kWrite), 4u);
  EXPECT_EQ(world.Wait(lane.Sync(file)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), text);
}

TEST_F(SharingTest, WhatFitsIntoABufferNeedsNoLane) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  const std::string text = Text(200'000);
  const auto part = [&](size_t at, size_t n) { return AsBytes(std::string_view(text).substr(at, n)); };
  EXPECT_FALSE(QuickWrite(*file, part(0, 1000), 0));  // there is no buffer yet
  size_t at = 0, quick = 0;
  while (at < text.size()) {
    const Bytes next = part(at, 1000);
    EXPECT_FALSE(QuickWrite(*file, next, at + 1));  // not where the last one ended
    const bool own_offset = quick % 2 == 0;
    const auto offset = own_offset ? std::nullopt : std::optional<uint64_t>(at);
    if (own_offset) file->offset = at;
    if (const auto n = QuickWrite(*file, next, offset)) {
      EXPECT_EQ(*n, next.size());
      if (own_offset) {
        EXPECT_EQ(file->offset, at + next.size());
      }
      ++quick;
    } else {
      EXPECT_EQ(*world.Wait(lane.WriteAt(file, next, at)), next.size());
    }
    at += next.size();
  }
  EXPECT_EQ(quick, 200u - 4u);  // four buffers begin, three of them with what fills the one before
  EXPECT_FALSE(QuickWrite(*file, part(0, 20'000), at));  // more than a quarter of a buffer
  EXPECT_FALSE(QuickWrite(*file, {}, at));
  world.RunFor(kMillisecond);
  EXPECT_EQ(server.count(Method::kWrite), 3u);
  EXPECT_EQ(world.Wait(lane.Close(last_fd)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), text);
  EXPECT_EQ(process.mount->counters().writes_buffered, 200u);
  EXPECT_FALSE(QuickWrite(*file, part(0, 10), at));  // closed
}

TEST_F(SharingTest, QuickWritesEndWithThePromise) {
  FileRef file = Open("/f", kOpenCreate | kOpenRead | kOpenWrite);
  const auto write = [&](std::string_view text) { return world.Wait(lane.Write(file, AsBytes(text))).ok(); };
  ASSERT_TRUE(write("01"));
  EXPECT_TRUE(QuickWrite(*file, AsBytes("23"), std::nullopt));
  FileGuard busy;
  ASSERT_TRUE(busy.Try(file->lock));
  EXPECT_FALSE(QuickWrite(*file, AsBytes("45"), std::nullopt));  // another thread has it
  busy.Release();
  file->deferred = Code::kNoSpace;
  EXPECT_FALSE(QuickWrite(*file, AsBytes("45"), std::nullopt));  // there is an error to tell
  file->deferred = Code::kOk;
  process.mount->SetListening(file->inode.home(), false);
  EXPECT_FALSE(QuickWrite(*file, AsBytes("45"), std::nullopt));  // a revocation would not be heard
  process.mount->SetListening(file->inode.home(), true);
  revoked.push_back(file->inode);
  server.Kick();
  world.RunFor(5 * kMillisecond);
  EXPECT_FALSE(file->sole);
  EXPECT_EQ(Content("f"), "0123");
  EXPECT_FALSE(QuickWrite(*file, AsBytes("45"), std::nullopt));
  ASSERT_TRUE(write("45"));
  EXPECT_EQ(Content("f"), "012345");
}

TEST_F(SharingTest, WhatIsBufferedIsSeenByEveryOtherWayToLook) {
  FileRef file = Open("/f", kOpenCreate | kOpenRead | kOpenWrite);
  auto write = [&](std::string_view text) { EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes(text))).ok()); };
  write("0123");
  EXPECT_TRUE(file->buffered);
  EXPECT_EQ(world.Wait(lane.Stat(file))->size, 4u);
  write("45");
  EXPECT_EQ(world.Wait(lane.Stat("/f", true))->size, 6u);
  write("67");
  std::vector<uint8_t> to(20);
  EXPECT_EQ(*world.Wait(lane.ReadAt(file, to, 0)), 8u);
  EXPECT_EQ(AsText(Bytes(to).first(8)), "01234567");
  write("89");
  EXPECT_EQ(*world.Wait(lane.Seek(file, 0, Lane::Whence::kEnd)), 10u);
  write("ab");
  EXPECT_EQ(world.Wait(lane.Truncate(file, 11)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), "0123456789a");
  EXPECT_TRUE(world.Wait(lane.Seek(file, 11, Lane::Whence::kSet)).ok());
  write("cd");
  // By path, as by any process.
  Lane::Target target;
  target.path = "/f";
  SetAttrRequest change;
  change.mask = kSetSize;
  EXPECT_EQ(world.Wait(lane.SetAttr(target, change)).code(), Code::kOk);
  EXPECT_EQ(world.Wait(lane.Close(last_fd)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), "");
}

TEST_F(SharingTest, AWriteElsewhereSendsTheBufferFirst) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("aaaaaaaa"))).ok());
  EXPECT_TRUE(world.Wait(lane.WriteAt(file, AsBytes("bb"), 2)).ok());
  EXPECT_EQ(Content("f"), "aabbaaaa");
  const std::string large = Text(40'000);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes(large))).ok());
  EXPECT_EQ(Content("f"), "aabbaaaa" + large);
}

TEST_F(SharingTest, ARevokedFileIsSentThenYieldedAndNeverBufferedAgain) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("abc"))).ok());
  bool sent_first = false;
  std::vector<InodeId> yielded;
  server.On<Method::kYielded>([&](const CloseRequest& q, Empty*, FakeCall&) {
    sent_first = Content("f") == "abc";
    yielded = q.inodes;
    return Code::kOk;
  });
  revoked.push_back(file->inode);
  server.Kick();
  world.RunFor(5 * kMillisecond);
  EXPECT_TRUE(sent_first);
  ASSERT_EQ(yielded.size(), 1u);
  EXPECT_EQ(yielded[0], file->inode);
  EXPECT_FALSE(file->sole);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("def"))).ok());
  EXPECT_EQ(Content("f"), "abcdef");
}

TEST_F(SharingTest, AFileThatIsRevokedWhileItsOpenIsOnTheWayIsNotSole) {
  FakeServer::Node& node = server.nodes[server.Add(server.root(), "f", FileType::kFile).value];
  server.On<Method::kOpen>([&](const OpenRequest&, OpenReply* a, FakeCall&) -> std::optional<Code> {
    if (revoked.empty() && server.count(Method::kYielded) == 0) {
      revoked.push_back(node.attr.inode);
      server.Kick();
      return std::nullopt;  // the reply comes after the revocation
    }
    if (server.count(Method::kYielded) == 0) return std::nullopt;
    a->attr = node.attr;
    a->sole = true;
    return Code::kOk;
  });
  auto open = lane.Open("/f", kOpenWrite, 0);
  for (int i = 0; i < 20; ++i) {
    world.RunFor(kMillisecond);
    server.Kick();
  }
  auto fd = world.Wait(std::move(open));
  ASSERT_TRUE(fd.ok());
  EXPECT_FALSE(process.files.Find(*fd)->sole);
}

TEST_F(SharingTest, TheHelperSendsWhatIsOld) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("abc"))).ok());
  world.RunFor(300 * kMillisecond);
  EXPECT_TRUE(file->buffered);
  world.RunFor(2 * kSecond);
  EXPECT_FALSE(file->buffered);
  EXPECT_EQ(Content("f"), "abc");
  EXPECT_TRUE(file->sole);
}

TEST_F(SharingTest, AnErrorOfTheBackgroundIsToldOnce) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("abc"))).ok());
  server.Script(Method::kWrite, {Code::kNoSpace});
  world.RunFor(2 * kSecond);
  EXPECT_EQ(world.Wait(lane.Write(file, AsBytes("def"))).code(), Code::kNoSpace);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("def"))).ok());
  server.Script(Method::kWrite, {Code::kNoSpace});
  EXPECT_EQ(world.Wait(lane.Close(last_fd)).code(), Code::kNoSpace);
}

// Answers of writes wait until `held` is false.
struct FullBuffersTest : SharingTest {
  static constexpr size_t kBuffer = 64 * 1024;
  bool held = true;
  std::vector<Code> fail;  // what the next ones come to
  std::string text = Text(6 * kBuffer + 100);
  FileRef file = Open("/f", kOpenCreate | kOpenRead | kOpenWrite);

  FullBuffersTest() {
    server.On<Method::kWrite>([this](const WriteRequest& q, Empty*, FakeCall& call) -> std::optional<Code> {
      if (held) return std::nullopt;
      if (!fail.empty()) {
        const Code code = fail.front();
        fail.erase(fail.begin());
        return code;
      }
      server.Put(server.nodes[q.inode.value], (uint64_t{q.chunk.value} << q.chunk_bits) + q.offset, call.payload);
      return Code::kOk;
    });
  }
  auto Begin(size_t from, size_t to) {
    return lane.WriteAt(file, AsBytes(std::string_view(text).substr(from, to - from)), from);
  }
  Code Write(size_t from, size_t to) {
    for (size_t at = from; at < to; at += kBuffer / 8) {
      if (auto wrote = world.Wait(Begin(at, std::min(to, at + kBuffer / 8))); !wrote.ok()) return wrote.code();
    }
    return Code::kOk;
  }
  void Answer() {
    held = false;
    server.Kick();
  }
};

TEST_F(FullBuffersTest, AreSentBesideTheFillingOfTheNext) {
  EXPECT_EQ(Write(0, 5 * kBuffer - 1), Code::kOk);
  world.RunFor(kMillisecond);
  EXPECT_EQ(server.count(Method::kWrite), 4u);
  EXPECT_EQ(process.mount->buffered(), 1u);  // files
  // No more than that are under way, and whoever wants to know of them waits.
  auto fifth = Begin(5 * kBuffer - 1, 5 * kBuffer);
  world.RunFor(kMillisecond);
  EXPECT_EQ(server.count(Method::kWrite), 4u);
  EXPECT_FALSE(fifth.done());
  Answer();
  EXPECT_TRUE(world.Wait(std::move(fifth)).ok());
  held = true;
  EXPECT_EQ(Write(5 * kBuffer, text.size()), Code::kOk);
  auto sync = lane.Sync(file);
  world.RunFor(kMillisecond);
  EXPECT_FALSE(sync.done());
  Answer();
  EXPECT_EQ(world.Wait(std::move(sync)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), text);
  EXPECT_FALSE(file->buffered);
  EXPECT_EQ(process.mount->buffered(), 0u);
  EXPECT_EQ(process.mount->departing(), 0u);
}

TEST_F(FullBuffersTest, AreWaitedForByWhoeverLooks) {
  const auto waits = [&](auto task) {
    world.RunFor(kMillisecond);
    EXPECT_FALSE(task.done());
    Answer();
    auto result = world.Wait(std::move(task));
    held = true;
    return result;
  };
  size_t at = 0;
  const auto fill = [&] {
    EXPECT_EQ(Write(at, at + kBuffer), Code::kOk);
    at += kBuffer;
    EXPECT_TRUE(file->buffered);
    EXPECT_EQ(file->buffer.size, 0u);
  };
  fill();
  EXPECT_EQ(waits(lane.Stat(file))->size, at);
  fill();
  EXPECT_EQ(waits(lane.Stat("/f", true))->size, at);
  fill();
  std::vector<uint8_t> to(10);
  EXPECT_EQ(*waits(lane.ReadAt(file, to, 0)), 10u);
  fill();
  EXPECT_EQ(waits(lane.Truncate(file, 100)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), text.substr(0, 100));
  EXPECT_EQ(*waits(Begin(0, 10)), 10u);  // elsewhere
  at = 10;
  EXPECT_EQ(Write(at, 2 * kBuffer), Code::kOk);
  EXPECT_EQ(waits(lane.Close(last_fd)).code(), Code::kOk);
  EXPECT_EQ(Content("f"), text.substr(0, 2 * kBuffer));
}

TEST_F(FullBuffersTest, WhatFailsIsToldOnce) {
  Answer();
  fail = {Code::kNoSpace};
  EXPECT_EQ(Write(0, kBuffer), Code::kOk);
  world.RunFor(kMillisecond);
  EXPECT_EQ(Write(kBuffer, kBuffer + 10), Code::kNoSpace);  // a write of a call
  EXPECT_EQ(Write(kBuffer, 2 * kBuffer), Code::kOk);
  EXPECT_EQ(world.Wait(lane.Sync(file)).code(), Code::kOk);
  held = true;
  EXPECT_EQ(Write(2 * kBuffer, 3 * kBuffer), Code::kOk);
  fail = {Code::kIo};
  Answer();
  EXPECT_EQ(world.Wait(lane.Sync(file)).code(), Code::kIo);
  EXPECT_EQ(world.Wait(lane.Sync(file)).code(), Code::kOk);
  held = true;
  EXPECT_EQ(Write(3 * kBuffer, 4 * kBuffer), Code::kOk);
  fail = {Code::kIo};
  Answer();
  EXPECT_EQ(world.Wait(lane.Close(last_fd)).code(), Code::kIo);
}

TEST_F(FullBuffersTest, ThatHaveArrivedAreForgottenInTime) {
  Answer();
  EXPECT_EQ(Write(0, kBuffer), Code::kOk);
  EXPECT_TRUE(file->buffered);
  world.RunFor(3 * kSecond);
  EXPECT_FALSE(file->buffered);
  EXPECT_EQ(process.mount->buffered(), 0u);
}

TEST_F(SharingTest, AFileOfAShardThatIsNotHeardAnyMoreIsWrittenThrough) {
  FileRef file = Open("/f", kOpenCreate | kOpenWrite);
  EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("abc"))).ok());
  EXPECT_TRUE(file->buffered);
  server.Script(Method::kRevoked, std::vector<Code>(8, Code::kIo));
  revoked.push_back(InodeId::Make(file->inode.home(), 999));  // ends the present poll; the next one fails
  server.Kick();
  world.RunFor(20 * kMillisecond);
  EXPECT_FALSE(process.mount->Listening(file->inode.home()));
  EXPECT_FALSE(file->sole);
  EXPECT_EQ(Content("f"), "abc");
}

TEST_F(SharingTest, OtherKindsOfFilesAreNotBuffered) {
  for (uint32_t flags : {kOpenWrite | kOpenAppend, kOpenWrite | kOpenUnshared}) {
    FileRef file = Open("/g", kOpenCreate | flags);
    EXPECT_FALSE(file->sole);
    EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("a"))).ok());
    EXPECT_TRUE(world.Wait(lane.Write(file, AsBytes("b"))).ok());
    EXPECT_FALSE(file->buffered);
  }
}

// ---- readahead ----------------------------------------------------------------------------------------------------

struct ReadaheadTest : SharingTest {
  std::string text = Text(1'000'000);
  FileRef file;
  ReadaheadTest() {
    FakeServer::Node& node = server.nodes[server.Add(server.root(), "r", FileType::kFile).value];
    server.Put(node, 0, AsBytes(text));
    file = Open("/r", kOpenRead | kOpenWrite);
    server.log.clear();
  }
  std::string Read(size_t bytes) {
    std::string to(bytes, '?');
    auto read = world.Wait(lane.Read(file, {reinterpret_cast<uint8_t*>(to.data()), to.size()}));
    EXPECT_TRUE(read.ok());
    to.resize(read.ok() ? *read : 0);
    return to;
  }
};

TEST_F(ReadaheadTest, SmallSequentialReadsComeInLargePieces) {
  std::string all;
  for (;;) {
    std::string part = Read(4000);
    if (part.empty()) break;
    all += part;
  }
  EXPECT_EQ(all, text);
  EXPECT_LT(server.count(Method::kRead), 60u);  // 250 reads; chunks are 64 KiB here
  EXPECT_GT(process.mount->counters().read_ahead_hits, 200u);
}

TEST_F(ReadaheadTest, WhatIsHereNeedsNoLane) {
  std::string all;
  size_t quick = 0;
  for (;;) {
    std::string part(4000, '?');
    const MutableBytes to(reinterpret_cast<uint8_t*>(part.data()), part.size());
    EXPECT_FALSE(QuickRead(*file, to, all.size() + 1));  // not where the last one ended
    const bool own_offset = quick % 2 == 0;
    if (own_offset) file->offset = all.size();
    if (const auto n = QuickRead(*file, to, own_offset ? std::nullopt : std::optional<uint64_t>(all.size()))) {
      EXPECT_EQ(*n, part.size());
      if (own_offset) {
        EXPECT_EQ(file->offset, all.size() + *n);
      }
      ++quick;
    } else {
      part.resize(*world.Wait(lane.ReadAt(file, to, all.size())));
    }
    if (part.empty()) break;
    all += part;
  }
  EXPECT_EQ(all, text);
  EXPECT_GT(quick, 200u);
  EXPECT_LT(server.count(Method::kRead), 60u);
  EXPECT_GT(process.mount->counters().read_ahead_hits, 200u);
}

TEST_F(ReadaheadTest, QuickReadsEndWithThePromiseAndWithEveryChange) {
  std::vector<uint8_t> to(1000);
  uint64_t at = 0;
  const auto warm = [&] {
    for (int i = 0; i < 4; ++i, at += to.size()) EXPECT_TRUE(world.Wait(lane.ReadAt(file, to, at)).ok());
  };
  warm();
  EXPECT_TRUE(QuickRead(*file, to, at));
  at += to.size();
  EXPECT_TRUE(world.Wait(lane.WriteAt(file, AsBytes(std::string(2000, '!')), at)).ok());
  EXPECT_FALSE(QuickRead(*file, to, at));
  EXPECT_TRUE(world.Wait(lane.ReadAt(file, to, at)).ok());
  EXPECT_EQ(AsText(to), std::string(1000, '!'));
  at += to.size();
  warm();
  EXPECT_TRUE(QuickRead(*file, to, at));
  at += to.size();
  revoked.push_back(file->inode);
  server.Kick();
  world.RunFor(5 * kMillisecond);
  EXPECT_FALSE(QuickRead(*file, to, at));
}

TEST_F(ReadaheadTest, AWriteOfThisProcessMakesItForget) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Read(1000), text.substr(static_cast<size_t>(i) * 1000, 1000));
  EXPECT_TRUE(world.Wait(lane.WriteAt(file, AsBytes(std::string(3000, '!')), 5000)).ok());
  EXPECT_EQ(Read(1000), std::string(1000, '!'));
}

TEST_F(ReadaheadTest, ARevokedFileIsReadFromTheServer) {
  for (int i = 0; i < 5; ++i) EXPECT_EQ(Read(1000), text.substr(static_cast<size_t>(i) * 1000, 1000));
  revoked.push_back(file->inode);
  server.Kick();
  world.RunFor(5 * kMillisecond);
  EXPECT_FALSE(file->sole);
  server.Put(*server.Find(server.root(), "r"), 5000, AsBytes(std::string(1000, '#')));
  EXPECT_EQ(Read(1000), std::string(1000, '#'));
}

TEST_F(ReadaheadTest, RandomReadsFetchNothingAhead) {
  std::vector<uint8_t> to(1000);
  for (uint64_t offset : {500'000ul, 3ul, 700'000ul, 100'000ul, 5ul}) {
    EXPECT_EQ(*world.Wait(lane.ReadAt(file, to, offset)), 1000u);
    EXPECT_EQ(AsText(to), text.substr(offset, 1000));
  }
  EXPECT_EQ(server.count(Method::kRead), 5u);
}

// ---- under a lease --------------------------------------------------------------------------------------------------

struct LeaseTest : ReadaheadTest {
  LeaseTest() {
    server.lease_ms = 200;
    EXPECT_TRUE(world.Wait(lane.Close(last_fd)).ok());
    file = Open("/r", kOpenRead);
    EXPECT_FALSE(file->sole);
    server.log.clear();
  }
  void Put(uint64_t offset, size_t bytes, char with) {
    server.Put(*server.Find(server.root(), "r"), offset, AsBytes(std::string(bytes, with)));
  }
};

TEST_F(LeaseTest, AReaderAsksOnceAndGoesOnAskingWhileItReads) {
  std::string all;
  for (int i = 0; i < 200; ++i) all += Read(1000);
  EXPECT_EQ(all, text.substr(0, 200'000));
  EXPECT_EQ(server.count(Method::kReadLease), 1u);
  EXPECT_LT(server.count(Method::kRead), 30u);
  world.RunFor(150 * kMillisecond);
  const size_t reads = server.count(Method::kRead);
  Read(1000);
  EXPECT_EQ(server.count(Method::kReadLease), 2u);
  EXPECT_EQ(server.count(Method::kRead), reads);  // what was fetched is good still
}

TEST_F(LeaseTest, WhenItIsOverNothingIsServedThatWasFetchedUnderIt) {
  for (int i = 0; i < 10; ++i) Read(1000);
  Put(10'000, 1000, '#');
  EXPECT_EQ(Read(1000), text.substr(10'000, 1000));  // the server would not have let anybody write
  Put(11'000, 1000, '#');
  world.RunFor(200 * kMillisecond);
  EXPECT_EQ(Read(1000), std::string(1000, '#'));
  Put(12'000, 1000, '#');
  world.RunFor(200 * kMillisecond);
  server.lease_ms = 0;
  EXPECT_EQ(Read(1000), std::string(1000, '#'));
}

TEST_F(LeaseTest, ARefusalIsNotAskedForAgainAtOnce) {
  server.lease_ms = 0;
  for (int i = 0; i < 100; ++i) EXPECT_EQ(Read(1000), text.substr(static_cast<size_t>(i) * 1000, 1000));
  EXPECT_EQ(server.count(Method::kReadLease), 1u);
  world.RunFor(100 * kMillisecond);
  server.lease_ms = 200;
  for (int i = 100; i < 200; ++i) EXPECT_EQ(Read(1000), text.substr(static_cast<size_t>(i) * 1000, 1000));
  EXPECT_EQ(server.count(Method::kReadLease), 2u);
  EXPECT_LT(server.count(Method::kRead), 150u);
}

TEST_F(LeaseTest, FilesThatAreOpenDirectlyOrToWriteHereAreReadFromTheServer) {
  FileRef direct = Open("/r", kOpenRead | kOpenUnshared);
  for (int i = 0; i < 20; ++i) {
    std::vector<uint8_t> to(1000);
    EXPECT_EQ(*world.Wait(lane.Read(direct, to)), 1000u);
  }
  EXPECT_EQ(server.count(Method::kReadLease), 0u);
  server.grant_sole = false;
  Open("/r", kOpenWrite);
  for (int i = 0; i < 20; ++i) Read(1000);
  EXPECT_EQ(server.count(Method::kReadLease), 0u);
  EXPECT_FALSE(file->leased);
}

TEST_F(LeaseTest, AnOpenToWriteInThisProcessEndsItHere) {
  for (int i = 0; i < 10; ++i) Read(1000);
  EXPECT_TRUE(file->leased);
  server.grant_sole = false;
  Open("/r", kOpenWrite);
  EXPECT_FALSE(file->leased);
  Put(10'000, 1000, '#');
  EXPECT_EQ(Read(1000), std::string(1000, '#'));
}

}  // namespace
}  // namespace mayfly
