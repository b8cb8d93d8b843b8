// Clients on the servers' own node, that have their arenas mapped: what they write and read without sending it.
#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "client/quick_io.h"
#include "sim/mapped_world.h"

namespace mayfly {
namespace {

TEST_F(MappedTest, LargeWritesAndReadsDoNotTravel) {
  SimCluster cluster(Options(4));
  SimClient here(cluster, Direct(), &cluster.views()), there(cluster, Direct());
  FileRef file = here.Open("/f", kNewFile);
  ASSERT_NE(file, nullptr);
  const std::string data = Pattern((5u << 20) + 777, 1);
  Write(here, file, 0, data);  // the first of each shard asks for its arena
  const uint64_t before = here.mount().counters().written_mapped;
  Write(here, file, 0, data);
  Write(here, file, 3'000'000, std::string(100'000, 'x'));  // over two extents
  std::string expected = data;
  expected.replace(3'000'000, 100'000, 100'000, 'x');
  EXPECT_EQ(here.mount().counters().written_mapped - before, 6u);  // five whole chunks, and the part of one
  EXPECT_EQ(Read(here, file, 0, data.size() + 10), expected);
  EXPECT_EQ(Read(here, file, 2'999'000, 200'000), expected.substr(2'999'000, 200'000));
  EXPECT_GE(here.mount().counters().read_mapped, 6u);
  // Another process, elsewhere, sees the same by messages.
  FileRef other = there.Open("/f", kOpenRead);
  EXPECT_EQ(Read(there, other, 0, data.size() + 10), expected);
  EXPECT_EQ(there.mount().counters().read_mapped, 0u);
  EXPECT_EQ(there.Wait(there.lane().Stat("/f", true))->size, data.size());
}

TEST_F(MappedTest, ATraceShowsWhatIsCopiedAndWhatIsSent) {
  SimCluster cluster(Options(1));
  SimClient here(cluster, Direct(), &cluster.views()), there(cluster, Direct());
  const auto trace = [&](uint32_t for_ms, bool report) {
    TraceRequest request;
    request.trace = 5;
    request.for_ms = for_ms;
    request.report = report;
    auto lines = here.Wait(here.lane().Trace(ShardId(0), request));
    EXPECT_TRUE(lines.ok()) << TextOf(lines.code());
    std::map<std::pair<Method, TraceStage>, uint64_t> counts;
    if (!lines.ok()) return counts;
    for (const TraceLine& line : *lines) {
      for (const TraceBucket& bucket : line.buckets) counts[{line.method, line.stage}] += bucket.count;
    }
    return counts;
  };
  FileRef file = here.Open("/f", kNewFile), sent = there.Open("/g", kNewFile);
  const std::string data = Pattern(100'000, 1);
  Write(here, file, 0, data);  // asks for the arena and a place
  trace(5'000, false);
  for (FileRef* one : {&file, &sent}) {
    SimClient& client = one == &file ? here : there;
    for (int i = 0; i < 3; ++i) Write(client, *one, 0, data);
    EXPECT_EQ(Read(client, *one, 0, data.size()), data);
  }
  for (SimClient* client : {&here, &there}) {  // what is noted goes with a later call
    cluster.RunFor(20 * kMillisecond);
    EXPECT_TRUE(client->Wait(client->lane().Stat("/f", true)).ok());
    cluster.RunFor(kMillisecond);
  }
  auto counts = trace(0, true);
  EXPECT_EQ((counts[{Method::kCommit, TraceStage::kWork}]), 3u);
  EXPECT_EQ((counts[{Method::kCommit, TraceStage::kCopy}]), 2u);  // the first write hears of the trace by its commit
  EXPECT_EQ((counts[{Method::kCommit, TraceStage::kWire}]), 2u);
  EXPECT_EQ((counts[{Method::kWrite, TraceStage::kWork}]), 3u);
  EXPECT_EQ((counts[{Method::kWrite, TraceStage::kPull}]), 3u);
  EXPECT_EQ((counts[{Method::kWrite, TraceStage::kWire}]), 2u);
  EXPECT_EQ((counts[{Method::kRead, TraceStage::kWork}]), 2u);
  EXPECT_EQ((counts[{Method::kRead, TraceStage::kCopy}]), 1u);
  EXPECT_EQ((counts[{Method::kTrace, TraceStage::kWork}]), 0u);
}

TEST_F(MappedTest, HolesAreZerosAndShortReadsEnd) {
  SimCluster cluster(Options(2));
  SimClient client(cluster, Direct(), &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  const std::string data = Pattern(40'000, 2);
  Write(client, file, 100'000, data);
  Write(client, file, 300'000, data);
  const std::string zeros(100'000, '\0');
  EXPECT_EQ(Read(client, file, 0, 1u << 20), zeros + data + std::string(160'000, '\0') + data);
  EXPECT_GE(client.mount().counters().read_mapped, 1u);
}

TEST_F(MappedTest, OneMessageAWriteOnceAPlaceIsLentAhead) {
  SimCluster cluster(Options(1));
  SimClient client(cluster, Direct(), &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  Write(client, file, 0, Pattern(50'000, 3));
  const uint64_t before = client.lane().caller().stats().calls;
  for (uint32_t i = 1; i <= 10; ++i) Write(client, file, i * 50'000, Pattern(50'000, i));
  EXPECT_EQ(client.lane().caller().stats().calls - before, 10u);
  for (uint32_t i = 1; i <= 10; ++i) EXPECT_EQ(Read(client, file, i * 50'000, 50'000), Pattern(50'000, i));
}

// What a process does not use goes back within seconds: idle clients hold no memory.
TEST_F(MappedTest, PlacesThatNobodyUsesGoBack) {
  SimCluster cluster(Options(1));
  SimClient client(cluster, Direct(), &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  Write(client, file, 0, Pattern(50'000, 4));
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":1,"), std::string::npos);
  cluster.RunFor(5 * kSecond);
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":0,"), std::string::npos);
}

TEST_F(MappedTest, AProcessThatIsGoneLeavesNoPlace) {
  SimCluster cluster(Options(1));
  {
    SimClient client(cluster, Direct(), &cluster.views());
    FileRef file = client.Open("/f", kNewFile);
    Write(client, file, 0, Pattern(50'000, 5));
  }
  cluster.RunFor(20 * kSecond);
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":0,"), std::string::npos);
}

// It may only stand still, and go on writing when it wakes: its places stay its own until it has let go of the arena.
TEST_F(MappedTest, PlacesOfAProcessThatIsStillAttachedAreNotUsedAgain) {
  SimCluster cluster(Options(1));
  {
    SimClient client(cluster, Direct(), &cluster.views());
    FileRef file = client.Open("/f", kNewFile);
    Write(client, file, 0, Pattern(50'000, 6));
    cluster.arena(0).attached.insert(client.process().value);  // as a fork that still lives would
  }
  cluster.RunFor(20 * kSecond);
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":1,"), std::string::npos);
  cluster.arena(0).attached.clear();
  cluster.RunFor(3 * kSecond);
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":0,"), std::string::npos);
}

// A loan whose answer never came is given back by its number.
TEST_F(MappedTest, APlaceLentInAnAnswerThatWasLostGoesBack) {
  SimCluster cluster(Options(1));
  ClientOptions options = Direct();
  options.op_timeout = 2 * kSecond;
  SimClient client(cluster, options, &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  Write(client, file, 0, Pattern(50'000, 1));
  cluster.RunFor(5 * kSecond);  // nothing is kept any more
  cluster.network().SetPolicy([&](const SimNetwork::Passing& passing) {
    SimNetwork::Fate fate;
    fate.drop = passing.from == cluster.transport(0).node();  // requests arrive, answers do not
    return fate;
  });
  const std::string data = Pattern(50'000, 2);
  EXPECT_FALSE(client.Wait(client.lane().WriteAt(file, BytesOf(data), 50'000)).ok());
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":1,"), std::string::npos);
  cluster.network().SetPolicy(nullptr);
  cluster.RunFor(10 * kSecond);
  EXPECT_NE(cluster.shard(0).StatusJson().find("\"staged\":0,"), std::string::npos);
  Write(client, file, 50'000, data);
  EXPECT_EQ(Read(client, file, 50'000, 50'000), data);
}

// What is read ahead stays where it is until it is read, and is copied once: where nothing is to be verified.
TEST_F(MappedTest, BytesAreReadAheadWhereTheyLie) {
  SimCluster cluster(Options(1));
  ClientOptions options;
  options.checksum = false;
  SimClient client(cluster, options, &cluster.views());
  client.mount().AskToListen(ShardId(0));
  cluster.RunFor(kSecond);
  FileRef file = client.Open("/f", kOpenRead | kOpenWrite | kOpenCreate);
  ASSERT_TRUE(file->sole);
  const std::string data = Pattern((2u << 20) + 1000, 12);
  Write(client, file, 0, data);
  std::string all;
  size_t quick = 0, placed = 0, at_once = 0;
  const auto next = [&](size_t bytes) {
    std::string part(bytes, '?');
    const MutableBytes to(reinterpret_cast<uint8_t*>(part.data()), part.size());
    if (QuickRead(*file, to, all.size())) {
      ++quick;
    } else {
      part = Read(client, file, all.size(), bytes);
    }
    if (!file->ahead.pieces.empty() && file->ahead.pieces.front()->placed.valid()) ++placed;
    all += part;
    return part.size();
  };
  while (all.size() < data.size() / 2) ASSERT_NE(next(4000), 0u);
  EXPECT_GT(quick, 200u);
  EXPECT_GT(placed, 200u);
  // The place is used again before it was read: the stamps tell.
  at_once = quick;
  for (ArenaStamp& stamp : cluster.arena(0).Stamps(cluster.arena(0).segment(0))) ++stamp;
  std::vector<uint8_t> to(4000);
  EXPECT_FALSE(QuickRead(*file, to, all.size()));
  EXPECT_EQ(quick, at_once);
  while (next(4000) != 0) {
  }
  EXPECT_EQ(all, data);
}

// Bytes that moved between the answer and the copy are asked for again, by message.
TEST_F(MappedTest, AReaderSeesThatItsBytesMoved) {
  SimCluster cluster(Options(1));
  SimClient client(cluster, Direct(), &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  const std::string data = Pattern(50'000, 7);
  Write(client, file, 0, data);
  for (const MutableBytes segment : {cluster.arena(0).segment(0)}) {
    ASSERT_FALSE(segment.empty());
    // The owner counts up in the moment the reader copies: here, before it compares.
    SimArenaMemory& arena = cluster.arena(0);
    arena.on_find = [&] {
      for (ArenaStamp& stamp : arena.Stamps(segment)) ++stamp;
    };
    EXPECT_EQ(Read(client, file, 0, 50'000), data);
    arena.on_find = nullptr;
  }
  EXPECT_EQ(client.mount().counters().moved_meanwhile, 1u);
  EXPECT_EQ(Read(client, file, 0, 50'000), data);
  EXPECT_EQ(client.mount().counters().moved_meanwhile, 1u);
}

TEST_F(MappedTest, DamageInTheArenaIsAnErrorNotWrongBytes) {
  SimCluster cluster(Options(1));
  SimClient client(cluster, Direct(), &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  const std::string data = Pattern(50'000, 8);
  Write(client, file, 0, data);
  const MutableBytes segment = cluster.arena(0).segment(0);
  const Bytes bytes = BytesOf(data);
  const auto at = std::search(segment.begin(), segment.end(), bytes.begin(), bytes.end());
  ASSERT_NE(at, segment.end());
  at[20'000] ^= 1;
  std::string text(data.size(), '?');
  auto read =
      client.Wait(client.lane().ReadAt(file, MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size()), 0));
  EXPECT_EQ(read.code(), Code::kIo);
}

TEST_F(MappedTest, AFullArenaIsNoSpaceAndRoomComesBack) {
  SimClusterOptions options = Options(1);
  options.memory_bytes = 16u << 20;
  SimCluster cluster(options);
  SimClient client(cluster, Direct(), &cluster.views());
  FileRef file = client.Open("/f", kNewFile);
  const std::string piece = Pattern(1u << 20, 9);
  uint64_t at = 0;
  for (;; at += piece.size()) {
    auto wrote = client.Wait(client.lane().WriteAt(file, BytesOf(piece), at));
    if (!wrote.ok()) {
      EXPECT_EQ(wrote.code(), Code::kNoSpace);
      break;
    }
    ASSERT_EQ(*wrote, piece.size());
    ASSERT_LT(at, uint64_t{32} << 20);
  }
  EXPECT_GE(at, uint64_t{12} << 20);
  for (uint64_t back = 0; back < at; back += piece.size()) EXPECT_EQ(Read(client, file, back, piece.size()), piece);
  EXPECT_TRUE(client.Wait(client.lane().Truncate(file, 0)).ok());
  Write(client, file, 0, piece);
  EXPECT_EQ(Read(client, file, 0, piece.size()), piece);
}

// A place that another process was lent cannot be committed, nor returned.
TEST_F(MappedTest, ALoanIsOneProcesssOwn) {
  SimCluster cluster(Options(1));
  SimClient client(cluster, Direct(), &cluster.views()), thief(cluster, Direct(), &cluster.views());
  FileRef file = thief.Open("/g", kNewFile);
  Write(thief, file, 0, Pattern(50'000, 10));  // it has asked for the arena
  LoanRequest ask;
  ask.loan = uint64_t{1} << 40;
  ask.bytes = 50'000;
  LoanReply loan;
  FileRef mine = client.Open("/f", kNewFile);
  Write(client, mine, 0, Pattern(50'000, 11));
  struct Calls {
    static Task<Status> Loan(Caller* caller, LoanRequest q, LoanReply* a) {
      CallOptions options;
      co_return co_await caller->Call<Method::kLoan>(ShardId(0), q, a, options);
    }
    static Task<Status> Commit(Caller* caller, CommitRequest q, LoanReply* a) {
      CallOptions options;
      co_return co_await caller->Call<Method::kCommit>(ShardId(0), q, a, options);
    }
    static Task<Status> Return(Caller* caller, ReturnRequest q) {
      CallOptions options;
      Empty a;
      co_return co_await caller->Call<Method::kReturn>(ShardId(0), q, &a, options);
    }
  };
  ASSERT_TRUE(client.Wait(Calls::Loan(&client.lane().caller(), ask, &loan)).ok());
  EXPECT_EQ(client.Wait(Calls::Loan(&client.lane().caller(), ask, &loan)).code(), Code::kInvalid);  // twice the same
  CommitRequest commit;
  commit.loan = loan.loan.id;
  commit.inode = file->inode;
  commit.grant = file->grant();
  commit.bytes = 50'000;
  commit.chunk_bits = file->chunk_bits;
  LoanReply reply;
  EXPECT_EQ(thief.Wait(Calls::Commit(&thief.lane().caller(), commit, &reply)).code(), Code::kStale);
  ReturnRequest back;
  back.loans = {loan.loan.id};
  EXPECT_TRUE(thief.Wait(Calls::Return(&thief.lane().caller(), back)).ok());  // passed over
  commit.inode = mine->inode;
  commit.grant = mine->grant();
  EXPECT_TRUE(client.Wait(Calls::Commit(&client.lane().caller(), commit, &reply)).ok());
  EXPECT_EQ(client.Wait(Calls::Commit(&client.lane().caller(), commit, &reply)).code(), Code::kStale);  // used up
  // Without having asked for the arena nothing is lent.
  SimClient stranger(cluster, Direct());
  ASSERT_NE(stranger.Open("/f", kOpenRead), nullptr);
  EXPECT_EQ(stranger.Wait(Calls::Loan(&stranger.lane().caller(), ask, &loan)).code(), Code::kInvalid);
}

// ---- small files, whose place the open tells ------------------------------------------------------------------------

struct ContentTest : MappedTest {
  // A file of `bytes`, and the reader's descriptor of it.
  FileRef NewFile(SimClient& reader, const std::string& text) {
    FileRef file = writer.Open("/f", kNewFile | kOpenTruncate);
    EXPECT_TRUE(file != nullptr);
    Write(writer, file, 0, text);
    wrote = file;
    return reader.Open("/f", kOpenRead);
  }
  // What a read gives, and how many messages it took.
  static std::pair<std::string, uint64_t> ReadCounted(SimClient& client, FileRef file, uint64_t offset, size_t bytes) {
    const uint64_t before = client.lane().caller().stats().calls;
    std::string text = Read(client, std::move(file), offset, bytes);
    return {std::move(text), client.lane().caller().stats().calls - before};
  }
  using Counted = std::pair<std::string, uint64_t>;

  SimCluster cluster{Options(4)};
  SimClient writer{cluster, Direct()};
  FileRef wrote;
};

TEST_F(ContentTest, IsReadWithoutAMessage) {
  SimClient reader(cluster, {}, &cluster.views());
  for (size_t bytes : {size_t{1}, size_t{3901}, size_t{65536}}) {
    const std::string data = Pattern(bytes, 20);
    FileRef file = NewFile(reader, data);
    EXPECT_EQ(ReadCounted(reader, file, 0, bytes), Counted(data, 0));
    EXPECT_EQ(ReadCounted(reader, file, 0, 100'000), Counted(data, 0));
    EXPECT_EQ(ReadCounted(reader, file, bytes, 10), Counted("", 0));
    EXPECT_EQ(ReadCounted(reader, file, bytes + 5, 10), Counted("", 0));
  }
  // Of a part the sum is not known.
  const std::string data = Pattern(3901, 21);
  FileRef file = NewFile(reader, data);
  EXPECT_EQ(ReadCounted(reader, file, 100, 50), Counted(data.substr(100, 50), 1));
  ClientOptions unchecked;
  unchecked.checksum = false;
  SimClient other(cluster, unchecked, &cluster.views());
  file = other.Open("/f", kOpenRead);
  EXPECT_EQ(ReadCounted(other, file, 100, 50), Counted(data.substr(100, 50), 0));
}

TEST_F(ContentTest, IsToldOnlyWhereItHelps) {
  SimClient reader(cluster, {}, &cluster.views()), far(cluster), direct(cluster, Direct(), &cluster.views());
  NewFile(reader, Pattern(3901, 22));
  EXPECT_TRUE(reader.Open("/f", kOpenRead)->content.valid());
  EXPECT_FALSE(reader.Open("/f", kOpenRead | kOpenWrite)->content.valid());
  EXPECT_FALSE(far.Open("/f", kOpenRead)->content.valid());     // has no arena mapped
  EXPECT_FALSE(direct.Open("/f", kOpenRead)->content.valid());  // wants to be told by the servers
  NewFile(reader, Pattern(65537, 22));
  EXPECT_FALSE(reader.Open("/f", kOpenRead)->content.valid());
  NewFile(reader, "");
  EXPECT_FALSE(reader.Open("/f", kOpenRead)->content.valid());
  NewFile(reader, Pattern(1000, 23));
  Write(writer, wrote, 2000, Pattern(1000, 24));  // a hole
  EXPECT_FALSE(reader.Open("/f", kOpenRead)->content.valid());
}

// Whoever changes the file in whatever way: a read that begins after that shows it.
TEST_F(ContentTest, IsAskedForAgainAfterAnyChange) {
  SimClient reader(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 25);
  using Change = std::function<void()>;
  const auto with = [&](size_t at, const std::string& text) {
    std::string changed = data;
    if (at > changed.size()) changed.resize(at, '\0');
    return changed.replace(at, std::min(text.size(), changed.size() - at), text);
  };
  const std::string mark(300, 'x');
  FileRef appending;
  const std::vector<std::pair<Change, std::string>> changes = {
      {[&] { Write(writer, wrote, 0, mark); }, with(0, mark)},
      {[&] { Write(writer, wrote, 3601, mark); }, with(3601, mark)},
      {[&] { Write(writer, wrote, 3901, mark); }, data + mark},
      {[&] { Write(writer, wrote, 5000, mark); }, with(5000, "") + mark},
      {[&] { Write(writer, writer.Open("/f", kOpenWrite | kOpenAppend), 0, mark); }, data + mark},
      {[&] { EXPECT_TRUE(writer.Wait(writer.lane().Truncate(wrote, 100)).ok()); }, data.substr(0, 100)},
      {[&] { EXPECT_TRUE(writer.Wait(writer.lane().Truncate(wrote, 0)).ok()); }, ""},
      {[&] { EXPECT_TRUE(writer.Wait(writer.lane().Truncate(wrote, 4000)).ok()); }, with(4000, "")},
      {[&] { EXPECT_NE(writer.Open("/f", kOpenWrite | kOpenTruncate), nullptr); }, ""},
      {[&] { EXPECT_TRUE(writer.Wait(writer.lane().Fallocate(wrote, Lane::Allocate::kExtend, 0, 4000)).ok()); },
       with(4000, "")},
      {[&] { EXPECT_TRUE(writer.Wait(writer.lane().Fallocate(wrote, Lane::Allocate::kPunch, 10, 300)).ok()); },
       with(10, std::string(300, '\0'))},
      {[&] { Write(writer, wrote, (3u << 20) + 5, mark); }, with(5000, "")},  // on a shard that had nothing of it
  };
  for (size_t i = 0; i < changes.size(); ++i) {
    SCOPED_TRACE(i);
    FileRef file = NewFile(reader, data);
    ASSERT_EQ(ReadCounted(reader, file, 0, 5000), Counted(data, 0));
    changes[i].first();
    auto [text, calls] = ReadCounted(reader, file, 0, changes[i].second.size() + (i + 1 == changes.size() ? 0 : 10));
    EXPECT_EQ(text, changes[i].second);
    EXPECT_GE(calls, 1u);
    EXPECT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
  }
}

TEST_F(ContentTest, OfAnUnlinkedOrReplacedFileStays) {
  SimClient reader(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 26);
  FileRef file = NewFile(reader, data);
  EXPECT_TRUE(writer.Wait(writer.lane().Unlink("/f")).ok());
  cluster.RunFor(10 * kMillisecond);
  EXPECT_EQ(ReadCounted(reader, file, 0, 4000), Counted(data, 1));  // the last name's end is a change
  FileRef other = NewFile(reader, Pattern(3901, 27));
  EXPECT_EQ(Read(reader, file, 0, 4000), data);
  EXPECT_EQ(Read(reader, other, 0, 4000), Pattern(3901, 27));
}

// A home that died and is there again may have another arena, of which this process knows nothing: what was told is
// good for a moment only, and a home that is started again waits for that long before it takes changes.
TEST_F(ContentTest, IsAskedForAfterAMoment) {
  SimClient reader(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 28);
  FileRef file = NewFile(reader, data);
  cluster.RunFor(150 * kMillisecond);
  EXPECT_EQ(ReadCounted(reader, file, 0, 4000), Counted(data, 0));
  cluster.RunFor(100 * kMillisecond);
  EXPECT_EQ(ReadCounted(reader, file, 0, 4000), Counted(data, 1));
}

TEST_F(ContentTest, WhosePlaceWasGivenOutAnewIsAskedFor) {
  SimClient reader(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 29);
  FileRef file = NewFile(reader, data);
  SimArenaMemory& arena = cluster.arena(file->inode.home().value);
  for (ArenaStamp& stamp : arena.Stamps(arena.segment(0))) ++stamp;
  EXPECT_EQ(ReadCounted(reader, file, 0, 4000), Counted(data, 1));
}

TEST_F(ContentTest, ThatIsDamagedIsAnError) {
  SimClient reader(cluster, {}, &cluster.views());
  const std::string data = Pattern(3901, 30);
  FileRef file = NewFile(reader, data);
  const MutableBytes segment = cluster.arena(file->inode.home().value).segment(0);
  const Bytes bytes = BytesOf(data);
  const auto at = std::search(segment.begin(), segment.end(), bytes.begin(), bytes.end());
  ASSERT_NE(at, segment.end());
  at[2000] ^= 1;
  std::string text(4000, '?');
  auto read =
      reader.Wait(reader.lane().ReadAt(file, MutableBytes(reinterpret_cast<uint8_t*>(text.data()), text.size()), 0));
  EXPECT_EQ(read.code(), Code::kIo);
}

}  // namespace
}  // namespace mayfly
