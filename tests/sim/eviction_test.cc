// Data that leaves memory for the chunk file: it is there before memory is short, so that who writes seldom waits for
// the disk; and who does wait is counted.
#include <gtest/gtest.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "base/log.h"
#include "sim/mapped_world.h"

namespace mayfly {
namespace {

constexpr uint64_t kMemory = 64u << 20, kFile = 128u << 20, kPiece = 256u << 10;

struct Eviction : testing::TestWithParam<Durability> {
  Eviction() {
    SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  }
  void Begin(uint64_t memory_bytes) {
    SimClusterOptions options;
    options.members = 1;
    options.memory_bytes = memory_bytes;
    options.durability = GetParam();
    options.disk_bytes = 2 * kFile;
    options.chunk_bits = 22;
    options.checksums = checksums;
    cluster = std::make_unique<SimCluster>(options);
    cluster->platter(0).faults.latency_min = cluster->platter(0).faults.latency_max = 100 * kMicrosecond;
    Connect();
    file = client->Open("/file", MappedTest::kNewFile);
    ASSERT_NE(file, nullptr);
  }
  void Connect() {
    ClientOptions mine = MappedTest::Direct();
    mine.map_arena = false;
    mine.checksum = checksums;
    mine.op_timeout = mine.unreachable_after = 600 * kSecond;
    client = std::make_unique<SimClient>(*cluster, mine);
  }
  ~Eviction() override {
    file.reset();
    client.reset();
    cluster.reset();
    SetLogSink(nullptr, LogLevel::kWarn);
  }
  // Of the shard's data on the disk.
  uint64_t Figure(const char* name) {
    return nlohmann::json::parse(cluster->shard(0).StatusJson())["journal"]["data"][name].get<uint64_t>();
  }
  static std::string Content(uint64_t offset) { return Pattern(kPiece, static_cast<uint32_t>(offset / kPiece)); }
  void Write(uint64_t offset) { MappedTest::Write(*client, file, offset, Content(offset)); }
  void WriteAll() {
    for (uint64_t offset = 0; offset < kFile && !HasFatalFailure(); offset += kPiece) {
      Write(offset);
      cluster->RunFor(kMillisecond);  // what a program does between its writes
    }
  }
  void ReadAll() {
    for (uint64_t offset = 0; offset < kFile && !HasFailure(); offset += kPiece) {
      EXPECT_TRUE(MappedTest::Read(*client, file, offset, kPiece) == Content(offset)) << offset;
    }
  }
  static std::string SmallContent(uint32_t number) { return Pattern(number % 2 == 0 ? 700 : 0, number); }
  void WriteSmall(uint32_t number) {
    const auto fd = client->Wait(client->lane().Open(Name(number), MappedTest::kNewFile, 0640));
    ASSERT_TRUE(fd.ok()) << number << " " << TextOf(fd.code());
    MappedTest::Write(*client, client->Find(*fd), 0, SmallContent(number));
    ASSERT_EQ(client->Wait(client->lane().Close(*fd)), Status());
  }
  // Makes what is not there until there is no room. How many there are.
  uint32_t FillWithNames() {
    for (uint32_t i = 0; i < 200'000; ++i) {
      const Nanos since = cluster->clock().Now();
      const Status made = client->Wait(client->lane().Create(Name(i), true, 0640));
      if (made.code() == Code::kNoSpace) {
        EXPECT_LT(cluster->clock().Now() - since, 5 * kSecond);
        return i;
      }
      if (made.code() == Code::kExists) continue;
      EXPECT_TRUE(made.ok()) << i << " " << TextOf(made.code());
      if (!made.ok()) return i;
    }
    ADD_FAILURE() << "there is always room";
    return 0;
  }
  static std::string Name(uint32_t number) { return "/small-" + std::to_string(number); }

  bool checksums = true;
  std::unique_ptr<SimCluster> cluster;
  std::unique_ptr<SimClient> client;
  FileRef file;
};

TEST_P(Eviction, WhoWritesDoesNotWaitForADiskThatKeepsUp) {
  Begin(kMemory);
  WriteAll();
  EXPECT_GE(Figure("evicted_bytes"), kFile - kMemory) << "all of it found room: this tries nothing";
  EXPECT_EQ(Figure("eviction_waits"), 0u);
  ReadAll();
}

TEST_P(Eviction, WhoWaitsForADiskThatStandsStillIsCounted) {
  Begin(kMemory);
  cluster->platter(0).faults.latency_min = cluster->platter(0).faults.latency_max = 20 * kSecond;
  uint64_t offset = 0;
  std::string content;
  // Until a write stands still with the disk.
  for (bool waits = false; !waits && offset < 2 * kMemory; offset += waits ? 0 : kPiece) {
    content = Content(offset);
    Task<Result<size_t>> write = client->lane().WriteAt(file, BytesOf(content), offset);
    const Nanos since = cluster->clock().Now();
    while (!write.done() && cluster->clock().Now() - since < kSecond) cluster->RunFor(kMillisecond);
    waits = !write.done();
    EXPECT_EQ(Figure("eviction_waits") != 0, waits) << offset;
    const auto wrote = client->Wait(std::move(write));
    ASSERT_TRUE(wrote.ok()) << offset;
    ASSERT_EQ(*wrote, kPiece);
  }
  EXPECT_GE(offset, kMemory / 2);
  EXPECT_LT(offset, kMemory);
  EXPECT_GT(Figure("eviction_waits"), 0u);
  cluster->platter(0).faults.latency_min = cluster->platter(0).faults.latency_max = 100 * kMicrosecond;
  WriteAll();
  ReadAll();
}

// The disk works while the reader looks at what it got, and not for who has stopped.
TEST_P(Eviction, WhoReadsInOrderFindsItInMemory) {
  constexpr uint64_t kRead = kFile / 4, kAhead = kMemory / 8;
  Begin(kMemory);
  WriteAll();
  cluster->platter(0).faults.latency_min = cluster->platter(0).faults.latency_max = 4 * kMillisecond;
  const uint64_t hits = Figure("hits"), read_back = Figure("read_back_bytes");
  for (uint64_t offset = 0; offset < kRead && !HasFailure(); offset += kPiece) {
    EXPECT_TRUE(MappedTest::Read(*client, file, offset, kPiece) == Content(offset)) << offset;
    cluster->RunFor(2 * kMillisecond);  // half as long as the disk takes for any of it
  }
  EXPECT_GE(Figure("hits") - hits, kRead / kPiece - 8);
  cluster->RunFor(kSecond);
  EXPECT_GE(Figure("read_back_bytes") - read_back, kRead);
  EXPECT_LE(Figure("read_back_bytes") - read_back, kRead + kAhead + kAhead / 2);
  ReadAll();
}

// What it can no longer record it must not give away either: the journal says where in memory what lies.
TEST_P(Eviction, WhatIsOnTheDiskCanBeReadAfterTheJournalFailedAndIsThereAfterARestart) {
  checksums = false;  // nothing but the places says what is right
  Begin(16u << 20);
  WriteAll();
  for (uint32_t i = 0; i < 8; ++i) WriteSmall(i);
  SimPlatter& platter = cluster->platter(0);
  platter.faults.write_errors = 1000;
  Status status;
  for (int i = 0; i < 10'000 && status.code() != Code::kReadOnly; ++i) {
    status = client->Wait(client->lane().Mkdir("/d" + std::to_string(i), 0755)).code();
  }
  ASSERT_EQ(status.code(), Code::kReadOnly);
  ReadAll();
  ReadAll();
  ASSERT_FALSE(HasFailure()) << "while it is read-only";
  file.reset();
  client.reset();
  cluster->Kill(ShardId(0));
  platter.faults.write_errors = 0;
  ASSERT_EQ(cluster->BringBack({ShardId(0)}).front(), Status());
  Connect();
  file = client->Open("/file", kOpenRead);
  ASSERT_NE(file, nullptr);
  ReadAll();
  EXPECT_EQ(cluster->shard(0).Check(), "");
}

// Names have most of the memory, whatever lay in it before and comes after: data makes way for them.
TEST_P(Eviction, NamesAndDataThatBothWantAllMemoryGetOn) {
  for (const bool data_first : {true, false}) {
    SCOPED_TRACE(data_first);
    Begin(16u << 20);
    if (data_first) WriteAll();
    const uint32_t made = FillWithNames();
    const auto memory = nlohmann::json::parse(cluster->shard(0).StatusJson())["memory"];
    EXPECT_GT(memory["tables"].get<uint64_t>(), 7u << 20);
    EXPECT_LE(memory["used"].get<uint64_t>(), 16u << 20);
    WriteAll();
    ReadAll();
    // What is given back can be had again, and no more than that.
    for (uint32_t i = 0; i < made / 8; ++i) ASSERT_EQ(client->Wait(client->lane().Unlink(Name(i))), Status()) << i;
    const uint32_t again = FillWithNames();
    EXPECT_GT(again, made / 16);
    file.reset();
    client.reset();
    cluster->Kill(ShardId(0));
    ASSERT_EQ(cluster->BringBack({ShardId(0)}).front(), Status());
    Connect();
    file = client->Open("/file", kOpenRead | kOpenWrite);
    ASSERT_NE(file, nullptr);
    ReadAll();
    WriteAll();
    for (uint32_t i = 0; i < made; ++i) {
      const bool there = client->Wait(client->lane().Stat(Name(i), false)).ok();
      ASSERT_EQ(there, i < again || i >= made / 8) << i;
    }
    EXPECT_EQ(cluster->shard(0).Check(), "");
    file.reset();
    client.reset();
    cluster.reset();
  }
}

// Each extent that leaves memory takes room in the journal, and small files have many.
TEST_P(Eviction, ManySmallFilesLeaveMemoryWithoutFillingTheJournal) {
  constexpr uint32_t kFiles = 30'000;
  Begin(16u << 20);
  for (uint32_t i = 0; i < kFiles && !HasFatalFailure(); ++i) WriteSmall(i);
  const auto memory = nlohmann::json::parse(cluster->shard(0).StatusJson())["memory"];
  EXPECT_GT(memory["tables"].get<uint64_t>(), 5u << 20);
  EXPECT_GT(Figure("evicted"), kFiles / 10);
  const auto all_is_there = [&] {
    for (uint32_t i = 0; i < kFiles && !HasFailure(); ++i) {
      const FileRef small = client->Open(Name(i), kOpenRead);
      ASSERT_NE(small, nullptr) << i;
      EXPECT_TRUE(MappedTest::Read(*client, small, 0, 1000) == SmallContent(i)) << i;
    }
  };
  all_is_there();
  file.reset();
  client.reset();
  cluster->Kill(ShardId(0));
  ASSERT_EQ(cluster->BringBack({ShardId(0)}).front(), Status());
  Connect();
  all_is_there();
  EXPECT_EQ(cluster->shard(0).Check(), "");
}

INSTANTIATE_TEST_SUITE_P(Levels, Eviction, testing::Values(Durability::kProcess, Durability::kNode),
                         [](const auto& level) { return level.param == Durability::kNode ? "node" : "process"; });

}  // namespace
}  // namespace mayfly
