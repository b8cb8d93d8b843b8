// The chunk file's header: the worked example of share/doc/format/chunks.md, and what is refused.
#include "store/chunk_file.h"

#include <gtest/gtest.h>

#include <cstring>

#include "fake/sim_clock.h"
#include "fake/sim_disk.h"
#include "fake/worked_example.h"

namespace mayfly {
namespace {

constexpr std::array<uint8_t, 16> kUuid = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
                                           0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
using Block = std::array<uint8_t, Disk::kBlockBytes>;

Block Example() {
  ChunkFileHeader header;
  header.shard = ShardId(3);
  header.uuid = kUuid;
  header.bytes = 1 << 20;
  Block block;
  block.fill(0xff);
  EncodeChunkFileHeader(header, MutableBytes(block));
  return block;
}

TEST(ChunkFile, TheWorkedExampleIsWhatIsWritten) {
  const Block block = Example();
  const std::vector<uint8_t> page = ReadExample("chunks.md").at("header");
  ASSERT_EQ(page.size(), ChunkFileHeader::kBytes);
  EXPECT_TRUE(std::equal(page.begin(), page.end(), block.begin()));
  EXPECT_EQ(std::count(block.begin() + ChunkFileHeader::kBytes, block.end(), 0),
            static_cast<ptrdiff_t>(block.size() - ChunkFileHeader::kBytes));
  ChunkFileHeader header;
  ASSERT_EQ(DecodeChunkFileHeader(page, kUuid, ShardId(3), &header), ChunkFileState::kGood);
  EXPECT_EQ(header.bytes, uint64_t{1} << 20);
}

TEST(ChunkFile, WhatIsNotThisShardsFileIsRefused) {
  ChunkFileHeader header;
  Block block = Example();
  EXPECT_EQ(DecodeChunkFileHeader(block, kUuid, ShardId(4), &header), ChunkFileState::kOther);
  EXPECT_EQ(DecodeChunkFileHeader(block, {}, ShardId(3), &header), ChunkFileState::kOther);
  EXPECT_EQ(DecodeChunkFileHeader(Bytes(block).first(40), kUuid, ShardId(3), &header), ChunkFileState::kForeign);
  for (size_t byte = 0; byte < ChunkFileHeader::kBytes; ++byte) {
    block = Example();
    block[byte] ^= 0x40;
    const ChunkFileState state = DecodeChunkFileHeader(block, kUuid, ShardId(3), &header);
    // Another version is not asked for more.
    EXPECT_EQ(state, byte >= 16 && byte < 20 ? ChunkFileState::kOtherVersion : ChunkFileState::kForeign) << byte;
  }
  block.fill(0);
  EXPECT_EQ(DecodeChunkFileHeader(block, kUuid, ShardId(3), &header), ChunkFileState::kForeign);
}

struct ChunkFileOnDisk : testing::Test {
  Result<ChunkFile> Make(uint64_t bytes) {
    ChunkFileHeader header;
    header.shard = ShardId(3);
    header.uuid = kUuid;
    header.bytes = bytes;
    return Run(CreateChunkFile(&executor, disk.get(), header));
  }
  Result<ChunkFile> Open(ChunkFileState* state) {
    disk = std::make_unique<SimDisk>(platter, clock);
    return Run(OpenChunkFile(&executor, disk.get(), kUuid, ShardId(3), state));
  }
  Result<ChunkFile> Run(Task<Result<ChunkFile>> task) {
    while (!task.done()) {
      executor.RunOnce();
      disk->Poll();
    }
    return task.Take();
  }
  SimClock clock;
  Executor executor{clock};
  SimPlatter platter{{.seed = 1, .bytes = 8u << 20}};
  std::unique_ptr<SimDisk> disk = std::make_unique<SimDisk>(platter, clock);
};

TEST_F(ChunkFileOnDisk, IsThereAfterALossOfPower) {
  ASSERT_TRUE(Make(2 << 20).ok());
  disk->Crash(true);
  ChunkFileState state;
  auto opened = Open(&state);
  ASSERT_TRUE(opened.ok()) << SentenceOf(state);
  EXPECT_EQ(opened->bytes, uint64_t{2} << 20);
}

TEST_F(ChunkFileOnDisk, SaysWhatIsWrong) {
  EXPECT_EQ(Make(16 << 20).code(), Code::kNoSpace);
  platter.Remove(kChunkFileName);  // what a start that failed removes
  ChunkFileState state = ChunkFileState::kGood;
  EXPECT_EQ(Open(&state).code(), Code::kNoEntry);
  EXPECT_EQ(state, ChunkFileState::kMissing);
  ASSERT_TRUE(Make(2 << 20).ok());
  disk.reset();
  platter.Truncate(kChunkFileName, 1 << 20);
  EXPECT_EQ(Open(&state).code(), Code::kCorrupt);
  EXPECT_EQ(state, ChunkFileState::kCut);
  disk.reset();
  platter.Rot(kChunkFileName, 8, 8, 1);
  EXPECT_EQ(Open(&state).code(), Code::kCorrupt);
  EXPECT_EQ(state, ChunkFileState::kForeign);
  disk.reset();
  platter.faults.read_errors = 1000;
  EXPECT_EQ(Open(&state).code(), Code::kIo);
  EXPECT_EQ(state, ChunkFileState::kUnreadable);
}

}  // namespace
}  // namespace mayfly
