#include "client/data_path.h"

#include "client/lane.h"
#include "unit/client/client_world.h"

namespace mayfly {
namespace {

constexpr uint64_t kChunk = 1u << 16;

std::vector<uint8_t> Pattern(size_t bytes, uint64_t seed = 1) {
  std::vector<uint8_t> out(bytes);
  SimRandom(seed).Fill(out);
  return out;
}

struct DataPathTest : testing::Test {
  ClientWorld world;
  ClientProcess process{world, {}, 0};
  FakeServer& server = world.server;
  DataPath& data = process.lane().data();
  const InodeId inode = server.Add(server.root(), "f", FileType::kFile);
  const FileId file{inode, 16, FakeServer::GrantFor(inode, process.identity.process, kOpenRead | kOpenWrite)};
  FakeServer::Node& node = server.nodes[inode.value];

  std::vector<uint8_t> ReadBack(uint64_t offset, size_t bytes, uint64_t hint = kNever) {
    std::vector<uint8_t> to(bytes, 0xaa);
    auto read = world.Wait(data.Read(file, offset, to, hint));
    EXPECT_TRUE(read.ok());
    to.resize(read.ok() ? *read : 0);
    return to;
  }
  std::vector<uint8_t> Expected(uint64_t offset, size_t bytes) const {
    const size_t end = std::min<size_t>(offset + bytes, node.data.size());
    if (offset >= end) return {};
    return {node.data.begin() + static_cast<ptrdiff_t>(offset), node.data.begin() + static_cast<ptrdiff_t>(end)};
  }
};

TEST_F(DataPathTest, APieceNeverCrossesAChunkAndGoesToItsShard) {
  const auto bytes = Pattern(3 * kChunk);
  EXPECT_EQ(*world.Wait(data.Write(file, kChunk - 100, bytes)), bytes.size());
  EXPECT_EQ(server.count(Method::kWrite), 4u);  // the server checks shard and length of each
  EXPECT_EQ(ReadBack(kChunk - 100, bytes.size()), bytes);
}

TEST_F(DataPathTest, ManyPiecesKeepTheirOrderInTheBuffer) {
  const auto bytes = Pattern(40 * kChunk + 17);
  EXPECT_EQ(*world.Wait(data.Write(file, 5, bytes)), bytes.size());
  EXPECT_EQ(ReadBack(5, bytes.size() + 1000), bytes);
  EXPECT_EQ(ReadBack(5, bytes.size() + 1000, 0), bytes);  // whatever the hint says
}

TEST_F(DataPathTest, APieceDoesNotWaitForTheAnswerToTheOneBefore) {
  const auto bytes = Pattern(DataPath::kInFlight * kChunk);
  bool answers = false;
  server.On<Method::kWrite>([&](const WriteRequest& q, Empty*, FakeCall& call) -> std::optional<Code> {
    if (!answers) return std::nullopt;
    server.Put(node, uint64_t{q.chunk.value} * kChunk + q.offset, call.payload);
    return Code::kOk;
  });
  auto write = data.Write(file, 0, bytes);
  world.RunFor(kMillisecond);
  EXPECT_EQ(server.count(Method::kWrite), DataPath::kInFlight);
  answers = true;
  server.Kick();
  EXPECT_EQ(*world.Wait(std::move(write)), bytes.size());
  EXPECT_EQ(ReadBack(0, bytes.size()), bytes);
  answers = false;
  server.log.clear();
  server.On<Method::kRead>([&](const ReadRequest&, ReadReply*, FakeCall&) -> std::optional<Code> {
    return answers ? std::optional(Code::kIo) : std::nullopt;
  });
  std::vector<uint8_t> to(bytes.size());
  auto read = data.Read(file, 0, to, kNever);
  world.RunFor(kMillisecond);
  EXPECT_EQ(server.count(Method::kRead), DataPath::kInFlight);
  answers = true;
  server.Kick();
  EXPECT_EQ(world.Wait(std::move(read)).code(), Code::kIo);
}

TEST_F(DataPathTest, HolesAreZerosInTheirPlaces) {
  server.Put(node, 1000, Pattern(500, 2));
  server.Put(node, 5000, Pattern(70'000, 3));        // into the second chunk
  server.Put(node, 3 * kChunk + 9, Pattern(10, 4));  // the third chunk is a hole
  for (uint64_t offset : {0ul, 1ul, 999ul, 1200ul, 4999ul, kChunk - 1, 2 * kChunk, 3 * kChunk, 3 * kChunk + 18}) {
    for (size_t length : {1ul, 600ul, 5000ul, 80'000ul, 300'000ul}) {
      EXPECT_EQ(ReadBack(offset, length), Expected(offset, length)) << offset << " " << length;
    }
  }
  EXPECT_TRUE(ReadBack(node.data.size(), 10).empty());
  EXPECT_TRUE(ReadBack(uint64_t{1} << 61, 10).empty());
}

TEST_F(DataPathTest, ATrailingHoleIsAskedForAgainAfterTheSize) {
  server.Put(node, 0, Pattern(100));
  node.attr.size = 1000;
  node.data.resize(1000);
  node.written.resize(1000);
  // Between the short answer and the size another client writes there.
  server.On<Method::kGetAttr>([&](const GetAttrRequest&, AttrReply* a, FakeCall&) {
    if (!node.written[500]) server.Put(node, 500, Pattern(20, 9));
    a->attr = node.attr;
    return Code::kOk;
  });
  const auto read = ReadBack(0, 1000);
  EXPECT_EQ(read, Expected(0, 1000));
}

TEST_F(DataPathTest, ACutReplyIsContinued) {
  server.Put(node, 0, Pattern(50'000));
  server.read_cut = 7000;
  EXPECT_EQ(ReadBack(100, 49'000), Expected(100, 49'000));
  EXPECT_GE(server.count(Method::kRead), 7u);
}

TEST_F(DataPathTest, AFailedChecksumIsReadOnceMore) {
  server.Put(node, 0, Pattern(1000));
  int damaged = 0;
  auto serve = [&](const ReadRequest& q, ReadReply* a, FakeCall& call) {
    call.out.assign(node.data.begin(), node.data.begin() + q.bytes);
    Part part;
    part.bytes = q.bytes;
    part.sum_known = true;
    part.sum = Checksum(call.out) + (damaged-- > 0 ? 1 : 0);
    a->parts.push_back(part);
    return Code::kOk;
  };
  server.On<Method::kRead>(serve);
  damaged = 1;
  EXPECT_EQ(ReadBack(0, 1000), Expected(0, 1000));
  EXPECT_EQ(process.mount->counters().checksum_mismatches, 1u);
  damaged = 2;
  std::vector<uint8_t> to(1000);
  EXPECT_EQ(world.Wait(data.Read(file, 0, to, kNever)).code(), Code::kIo);
}

TEST_F(DataPathTest, AReplyThatDoesNotAddUpIsRefused) {
  server.On<Method::kRead>([&](const ReadRequest&, ReadReply* a, FakeCall& call) {
    call.out.resize(10);
    Part part;
    part.bytes = 20;
    a->parts.push_back(part);
    return Code::kOk;
  });
  std::vector<uint8_t> to(100);
  EXPECT_EQ(world.Wait(data.Read(file, 0, to, kNever)).code(), Code::kCorrupt);
  server.On<Method::kRead>([&](const ReadRequest&, ReadReply* a, FakeCall&) {
    a->cut = true;
    return Code::kOk;
  });
  EXPECT_EQ(world.Wait(data.Read(file, 0, to, kNever)).code(), Code::kCorrupt);
}

TEST_F(DataPathTest, AFailedPieceLeavesThePrefixThatWasWritten) {
  const auto bytes = Pattern(5 * kChunk);
  server.Script(Method::kWrite, {});
  int n = 0;
  server.On<Method::kWrite>([&](const WriteRequest& q, Empty*, FakeCall&) {
    ++n;
    return q.chunk.value == 2 ? Code::kNoSpace : Code::kOk;
  });
  EXPECT_EQ(*world.Wait(data.Write(file, 0, bytes)), 2 * kChunk);
  EXPECT_EQ(world.Wait(data.Write(file, 2 * kChunk, bytes)).code(), Code::kNoSpace);
}

TEST_F(DataPathTest, TheLimitOfAFile) {
  const uint64_t max = DataPath::SizeMax(16);
  EXPECT_EQ(max, uint64_t{1} << 48);
  EXPECT_EQ(DataPath::SizeMax(26), uint64_t{1} << 58);
  const auto bytes = Pattern(100);
  EXPECT_EQ(world.Wait(data.Write(file, max, bytes)).code(), Code::kFileTooBig);
  server.On<Method::kWrite>([&](const WriteRequest& q, Empty*, FakeCall& call) {
    EXPECT_EQ(q.chunk.value, ~uint32_t{0});
    EXPECT_EQ(call.payload.size(), 40u);
    return Code::kOk;
  });
  EXPECT_EQ(*world.Wait(data.Write(file, max - 40, bytes)), 40u);
}

TEST_F(DataPathTest, AnAppendIsOneMessageUpToFourMebibytes) {
  uint64_t end = 0;
  const auto bytes = Pattern(kTransferBytesMax + 10);
  EXPECT_EQ(*world.Wait(data.Append(file, Bytes(bytes).first(kTransferBytesMax), &end)), kTransferBytesMax);
  EXPECT_EQ(server.count(Method::kAppend), 1u);
  EXPECT_EQ(*world.Wait(data.Append(file, bytes, &end)), bytes.size());
  EXPECT_EQ(server.count(Method::kAppend), 3u);
  EXPECT_EQ(end, node.data.size());
}

TEST_F(DataPathTest, ADeadShardIsAnErrorInTime) {
  const auto bytes = Pattern(4 * kChunk);
  world.network.Kill(server.transport(server.placement().ChunkShard(inode.home(), ChunkIndex(1)).value));
  const Nanos before = world.clock.Now();
  auto written = world.Wait(data.Write(file, kChunk, Bytes(bytes).first(kChunk)));
  EXPECT_EQ(written.code(), Code::kUnavailable);
  EXPECT_LE(world.clock.Now() - before, 31 * kSecond);
}

}  // namespace
}  // namespace mayfly
