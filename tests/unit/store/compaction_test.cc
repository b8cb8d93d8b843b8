#include <gtest/gtest.h>

#include <random>

#include "store_fixture.h"

namespace mayfly {
namespace {

constexpr InodeId kFile{77};

struct CompactionTest : testing::Test, StoreUnderTest {
  CompactionTest() : StoreUnderTest(64 * kMiB) {}
  static ChunkRange At(uint32_t offset, uint32_t bytes) { return {.file = kFile, .offset = offset, .bytes = bytes}; }
  char CharAt(uint32_t at) { return static_cast<char>('a' + at / 7 % 26); }
  std::string Text(uint32_t from, uint32_t bytes) {
    std::string text(bytes, '\0');
    for (uint32_t i = 0; i < bytes; ++i) text[i] = CharAt(from + i);
    return text;
  }
  Status WriteText(uint32_t offset, uint32_t bytes, bool with_sums = true) {
    std::string text = Text(offset, bytes);
    return Write(At(offset, bytes), AsBytes(text), with_sums);
  }
};

TEST_F(CompactionTest, SmallWritesInOrderEndAsFewExtentsAndAreCopiedFewTimes) {
  constexpr uint32_t kEnd = 1 << 20;
  for (uint32_t at = 0; at < kEnd; at += 100) ASSERT_TRUE(WriteText(at, 100).ok());
  EXPECT_LT(store.Figures(kFile).slices, 128u / 4 + 40);
  EXPECT_LT(store.stats().compacted_bytes, 8u * kEnd);
  EXPECT_EQ(store.stats().dead_bytes, 0u);
  EXPECT_EQ(Read(At(0, kEnd)), Text(0, kEnd));
}

TEST_F(CompactionTest, WritesOf47008AreNeverCopied) {
  for (uint32_t at = 0; at + 47008 <= 4 * kMiB; at += 47008) ASSERT_TRUE(WriteText(at, 47008).ok());
  EXPECT_EQ(store.stats().compacted_bytes, 0u);
}

TEST_F(CompactionTest, PagesWrittenInAnyOrderBecomeFewExtents) {
  std::vector<uint32_t> pages(1024);
  for (uint32_t i = 0; i < 1024; ++i) pages[i] = i;
  std::shuffle(pages.begin(), pages.end(), std::mt19937(3));
  for (uint32_t page : pages) ASSERT_TRUE(WriteText(page * 4096, 4096).ok());
  EXPECT_LE(store.Figures(kFile).slices, 256u);
  EXPECT_LT(store.stats().compacted_bytes, 4 * 4 * kMiB);
  EXPECT_EQ(Read(At(0, 4 * kMiB)), Text(0, 4 * kMiB));
}

TEST_F(CompactionTest, OverwritingInOrderCopiesLittle) {
  ASSERT_TRUE(WriteText(0, 4 * kMiB).ok());
  for (uint32_t at = 0; at < 4 * kMiB; at += 1 << 20) ASSERT_TRUE(Write(At(at, 1 << 20), 'z').ok());
  EXPECT_EQ(store.stats().compacted_bytes, 0u);
  for (uint32_t at = 0; at < 4 * kMiB; at += 65536) ASSERT_TRUE(Write(At(at, 65536), 'y').ok());
  EXPECT_LE(store.stats().compacted_bytes, 4 * kMiB / 6);
}

TEST_F(CompactionTest, AnExtentMostlyCutAwayIsGivenUp) {
  ASSERT_TRUE(WriteText(0, 4 * kMiB).ok());
  ASSERT_TRUE(store.Punch(At(10000, 4 * kMiB - 20000)).ok());
  EXPECT_LE(arena.stats().bytes_used, 6u * 4096);
  EXPECT_EQ(store.stats().dead_bytes, 0u);
  EXPECT_EQ(Read(At(0, 10000)), Text(0, 10000));
  EXPECT_EQ(Read(At(4 * kMiB - 10000, 10000)), Text(4 * kMiB - 10000, 10000));
}

TEST_F(CompactionTest, DamagedBytesAreNotCopiedUnderAFreshSum) {
  for (uint32_t at = 0; at < 3000; at += 100) ASSERT_TRUE(WriteText(at, 100).ok());
  ReadPieces pieces;
  ASSERT_TRUE(store.Read(At(1500, 100), &pieces).ok());
  arena.Data(pieces[0].place)[50] ^= 1;
  pieces.clear();
  for (uint32_t at = 3000; at < 20000; at += 100) ASSERT_TRUE(WriteText(at, 100).ok());
  ASSERT_TRUE(store.Read(At(1500, 100), &pieces).ok());
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(store.Verify(pieces[0]).code(), Code::kCorrupt);
  EXPECT_EQ(Read(At(0, 1500)), Text(0, 1500));
  EXPECT_EQ(Read(At(1600, 18400)), Text(1600, 18400));
  EXPECT_LT(store.Figures(kFile).slices, 100u);  // its neighbours are merged all the same
}

TEST_F(CompactionTest, ExtentsWithoutSumsMergeToOneWithout) {
  for (uint32_t at = 0; at < 3200; at += 100) ASSERT_TRUE(WriteText(at, 100, false).ok());
  EXPECT_EQ(store.Figures(kFile).slices, 1u);
  ReadPieces pieces;
  ASSERT_TRUE(store.Read(At(0, 3200), &pieces).ok());
  SumParts parts;
  ASSERT_TRUE(store.PieceSums(pieces[0], &parts).ok());
  EXPECT_TRUE(parts.empty());
}

TEST_F(CompactionTest, NoMemoryForCompactionIsNoError) {
  std::vector<Place> all;
  for (uint32_t at = 0; at < 3100; at += 100) ASSERT_TRUE(WriteText(at, 100).ok());
  Place place = *store.Stage(100);
  for (uint32_t bytes : {1u << 20, 4096u, 64u, 128u}) {
    for (auto more = store.Stage(bytes); more.ok(); more = store.Stage(bytes)) all.push_back(*more);
  }
  std::string text = Text(3100, 100);
  Fill(place, AsBytes(text));
  ASSERT_TRUE(store.Commit(At(3100, 100), place, Sums(AsBytes(text)), 1).ok());
  EXPECT_EQ(store.Figures(kFile).slices, 32u);
  EXPECT_EQ(Read(At(0, 3200)), Text(0, 3200));
  for (Place p : all) store.Unstage(p);
}

// A file overwritten at random needs more than its size until old extents are given up; with memory for one and a half
// times its size that must never show as ENOSPC.
TEST_F(CompactionTest, DeadBytesAreReclaimedBeforeTheStoreIsFull) {
  constexpr uint32_t kChunks = 10;
  for (uint32_t i = 0; i < kChunks; ++i) {
    ASSERT_TRUE(Write({.file = kFile, .chunk = ChunkIndex(i), .bytes = 4 << 20}, 'a').ok());
  }
  std::mt19937 random(5);
  for (uint32_t i = 0; i < 20000; ++i) {
    ChunkRange page{.file = kFile,
                    .chunk = ChunkIndex(random() % kChunks),
                    .offset = static_cast<uint32_t>(random() % 1024) * 4096};
    page.bytes = 4096;
    ASSERT_TRUE(Write(page, 'b').ok()) << i;
  }
  printf("20,000 random 4 KiB overwrites of 40 MiB in a store of 64: copied %zu MiB, %zu slices\n",
         size_t{store.stats().compacted_bytes >> 20}, size_t{store.Figures(kFile).slices});
  EXPECT_LT(store.stats().compacted_bytes, 20000u * 4096 * 8);
}

}  // namespace
}  // namespace mayfly
