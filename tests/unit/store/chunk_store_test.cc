#include "store/chunk_store.h"

#include <gtest/gtest.h>

#include <random>

#include "store_fixture.h"

namespace mayfly {
namespace {

constexpr InodeId kFile{77}, kOther{78};

struct ChunkStoreTest : testing::Test, StoreUnderTest {
  ChunkStoreTest() : StoreUnderTest(64 * kMiB) {}
  static ChunkRange At(uint32_t offset, uint32_t bytes, uint32_t chunk = 0) {
    return {.file = kFile, .chunk = ChunkIndex(chunk), .chunk_bits = 22, .offset = offset, .bytes = bytes};
  }
};

TEST_F(ChunkStoreTest, AFileNeverWrittenCostsNothing) {
  EXPECT_EQ(Read(At(0, 100)), "");
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 0u);
  EXPECT_TRUE(store.Truncate(kFile, 0));
  EXPECT_TRUE(store.Punch(At(0, 100)).ok());
  EXPECT_FALSE(store.NextData(kFile, 0).found);
  EXPECT_EQ(store.NextHole(kFile, 5, 22), 5u);
  store.Drop(kFile);
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, ReadsGiveWhatWasWrittenWithHolesBetween) {
  ASSERT_TRUE(Write(At(10, 5), 'a').ok());
  ASSERT_TRUE(Write(At(20, 5), 'b').ok());
  EXPECT_EQ(Read(At(0, 4096)), std::string(10, '\0') + "aaaaa" + std::string(5, '\0') + "bbbbb");
  ASSERT_TRUE(Write(At(12, 10), 'c').ok());
  EXPECT_EQ(Read(At(10, 15)), "aaccccccccccbbb");
  EXPECT_EQ(Read(At(24, 1)), "b");
  EXPECT_EQ(Read(At(25, 1)), "");
}

TEST_F(ChunkStoreTest, AChunkBelowTheHighWaterMarkReadsAsHole) {
  ASSERT_TRUE(Write(At(0, 100, 3), 'x').ok());
  EXPECT_EQ(store.Figures(kFile).high_water, 3 * 4 * kMiB + 100);
  ReadPieces pieces;
  auto covered = store.Read(At(0, 4 * kMiB, 1), &pieces);
  EXPECT_EQ(covered->bytes, 4 * kMiB);
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_TRUE(pieces[0].is_hole());
}

TEST_F(ChunkStoreTest, BadRangesAndPlacesAreInvalidAndChangeNothing) {
  Place place = *store.Stage(100);
  ReadPieces pieces;
  EXPECT_EQ(store.Commit(At(0, 101), place, {}, 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Commit(At(4 * kMiB - 1, 2), place, {}, 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Commit(At(0, 0), place, {}, 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Commit(At(0, 100), {place.offset + 64, 100}, {}, 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Commit(At(0, 100), {place.offset, 99}, {}, 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Commit(At(0, 100), place, std::vector<uint64_t>(2), 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Read(At(4 * kMiB, 1), &pieces).code(), Code::kInvalid);
  ChunkRange odd = At(0, 100);
  odd.chunk_bits = 27;
  EXPECT_EQ(store.Commit(odd, place, {}, 1).code(), Code::kInvalid);
  EXPECT_EQ(store.Stage(0).code(), Code::kInvalid);
  EXPECT_TRUE(store.IsStaged(place));
  EXPECT_EQ(store.stats().files, 0u);
  store.Unstage(place);
  EXPECT_FALSE(store.IsStaged(place));
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, PinnedBytesOutliveOverwriteTruncateAndDrop) {
  ASSERT_TRUE(Write(At(0, 200 * kKiB), 'a').ok());
  ReadPieces pieces;
  ASSERT_EQ(store.Read(At(0, 200 * kKiB), &pieces)->bytes, 200 * kKiB);
  ASSERT_TRUE(Write(At(0, 200 * kKiB), 'b').ok());
  ASSERT_EQ(store.Read(At(70 * kKiB, 10), &pieces)->bytes, 10u);
  EXPECT_TRUE(store.Truncate(kFile, 0));
  store.Drop(kFile);
  ASSERT_TRUE(Write({.file = kOther, .bytes = 400 * kKiB}, 'c').ok());
  ASSERT_EQ(pieces.size(), 2u);
  EXPECT_EQ(TextOf(pieces[0]), std::string(200 * kKiB, 'a'));
  EXPECT_EQ(TextOf(pieces[1]), std::string(10, 'b'));
  EXPECT_EQ(store.stats().pins, 2u);
  store.Drop(kOther);
  EXPECT_EQ(arena.stats().bytes_used, 400u * kKiB);
  ReadPiece moved = std::move(pieces[0]);
  pieces.clear();
  EXPECT_EQ(arena.stats().bytes_used, 200u * kKiB);
  moved.pin.Reset();
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, AFlippedBitIsFoundWhereItIsAndCounted) {
  ASSERT_TRUE(Write(At(0, 300 * kKiB), 'a').ok());
  ReadPieces pieces;
  ASSERT_TRUE(store.Read(At(0, 300 * kKiB), &pieces).ok());
  arena.Data(pieces[0].place)[130 * kKiB] ^= 4;  // block 2
  EXPECT_EQ(store.Verify(pieces[0]).code(), Code::kCorrupt);
  EXPECT_EQ(store.stats().corrupt_blocks, 1u);
  pieces.clear();
  ASSERT_TRUE(store.Read(At(0, 128 * kKiB), &pieces).ok());
  ASSERT_TRUE(store.Read(At(150 * kKiB, 10), &pieces).ok());
  ASSERT_TRUE(store.Read(At(192 * kKiB, 100 * kKiB), &pieces).ok());
  EXPECT_TRUE(store.Verify(pieces[0]).ok());
  EXPECT_EQ(store.Verify(pieces[1]).code(), Code::kCorrupt);  // the block as written, not only the bytes read
  EXPECT_TRUE(store.Verify(pieces[2]).ok());
  SumParts parts;
  EXPECT_EQ(store.PieceSums(pieces[1], &parts).code(), Code::kCorrupt);
}

TEST_F(ChunkStoreTest, SumsFollowTheExtentAsWritten) {
  std::string data(200 * kKiB, '\0');
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<char>(i * 7);
  ASSERT_TRUE(Write(At(1000, 200 * kKiB), AsBytes(data)).ok());
  ReadPieces pieces;
  ASSERT_TRUE(store.Read(At(1000 + 10 * kKiB, 150 * kKiB), &pieces).ok());
  SumParts parts;
  ASSERT_TRUE(store.PieceSums(pieces[0], &parts).ok());
  ASSERT_EQ(parts.size(), 3u);
  EXPECT_EQ(parts[0].bytes, 54u * kKiB);
  EXPECT_EQ(parts[1].bytes, 64u * kKiB);
  EXPECT_EQ(parts[1].sum, Sums(AsBytes(data))[1]);  // the sum as stored: not computed from what may be damaged
  EXPECT_EQ(parts[2].bytes, 32u * kKiB);
}

TEST_F(ChunkStoreTest, WithoutChecksumsNothingIsVerified) {
  ASSERT_TRUE(Write(At(0, 300 * kKiB), 'a', false).ok());
  ReadPieces pieces;
  ASSERT_TRUE(store.Read(At(0, 300 * kKiB), &pieces).ok());
  arena.Data(pieces[0].place)[5] ^= 1;
  EXPECT_TRUE(store.Verify(pieces[0]).ok());
  SumParts parts;
  EXPECT_TRUE(store.PieceSums(pieces[0], &parts).ok());
  EXPECT_TRUE(parts.empty());
}

TEST_F(ChunkStoreTest, TruncatedBytesReadAsZerosWhenTheFileGrowsAgain) {
  ASSERT_TRUE(Write(At(0, 100 * kKiB), 'a').ok());
  ASSERT_TRUE(store.Truncate(kFile, 10));
  EXPECT_EQ(store.Figures(kFile).high_water, 10u);
  EXPECT_EQ(arena.stats().bytes_used, 64u);  // the rest was given up
  ASSERT_TRUE(Write(At(90 * kKiB, 1), 'b').ok());
  EXPECT_EQ(Read(At(0, 100 * kKiB)), std::string(10, 'a') + std::string(90 * kKiB - 10, '\0') + "b");
}

TEST_F(ChunkStoreTest, TruncateAndDropGoInBoundedSteps) {
  for (uint32_t i = 0; i < 100; ++i) ASSERT_TRUE(Write(At(i * 65536 % (4 * kMiB), 40000, i / 64), 'a').ok());
  ASSERT_EQ(store.Figures(kFile).slices, 100u);
  int steps = 1;
  while (!store.Truncate(kFile, 10 * 65536 + 7, 7)) ++steps;
  EXPECT_EQ(steps, 13);  // 89 slices go, one is cut
  EXPECT_EQ(store.Figures(kFile).slices, 11u);
  EXPECT_EQ(store.Figures(kFile).high_water, 10 * 65536u + 7);
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 10 * 40960u + 4096);
  EXPECT_FALSE(store.DropSlice(kFile, 10));
  EXPECT_TRUE(store.DropSlice(kFile, 10));
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, PunchMakesAHoleAndKeepsTheHighWaterMark) {
  ASSERT_TRUE(Write(At(0, 40000), 'a').ok());
  ASSERT_TRUE(store.Punch(At(10000, 30000)).ok());
  EXPECT_EQ(store.Figures(kFile).high_water, 40000u);
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 4u * 4096);  // the last page is not punched as a whole
  EXPECT_EQ(Read(At(0, 50000)), std::string(10000, 'a') + std::string(30000, '\0'));
}

TEST_F(ChunkStoreTest, FiguresCountPagesOnceHoweverTheyAreCut) {
  ASSERT_TRUE(Write(At(0, 100), 'a').ok());
  ASSERT_TRUE(Write(At(200, 100), 'a').ok());
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 4096u);
  ASSERT_TRUE(Write(At(4000, 200), 'a').ok());
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 8192u);
  ASSERT_TRUE(store.Punch(At(0, 300)).ok());
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 8192u);
  ASSERT_TRUE(store.Punch(At(4000, 96)).ok());
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 8192u);
  ASSERT_TRUE(store.Punch(At(0, 4096)).ok());
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 4096u);
  EXPECT_EQ(store.Figures(kFile).changes, 6u);
}

TEST_F(ChunkStoreTest, MtimeIsTheLatestAndCanBeCleared) {
  std::string a = "a";
  ASSERT_TRUE(Write(At(0, 1), AsBytes(a), true, 50).ok());
  ASSERT_TRUE(Write(At(0, 1), AsBytes(a), true, 40).ok());
  EXPECT_EQ(store.Figures(kFile).mtime, 50u);
  store.ClearMtime(kFile);
  EXPECT_EQ(store.Figures(kFile).mtime, 0u);
}

TEST_F(ChunkStoreTest, AnEpochStaysUntilDrop) {
  ASSERT_TRUE(store.SetEpoch(kFile, 3).ok());
  ASSERT_TRUE(Write(At(0, 10), 'a').ok());
  ASSERT_TRUE(store.Truncate(kFile, 0));
  EXPECT_EQ(store.Figures(kFile).epoch, 3u);
  store.Drop(kFile);
  EXPECT_EQ(store.Figures(kFile).epoch, 0u);
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, ALongReadIsCutAndGoesOn) {
  std::string expected;
  for (uint32_t i = 0; i < 100; ++i) {
    ASSERT_TRUE(Write(At(i * 8192, 4096), static_cast<char>('a' + i % 26)).ok());
    expected += std::string(4096, static_cast<char>('a' + i % 26)) + std::string(4096, '\0');
  }
  ReadPieces pieces;
  auto covered = store.Read(At(0, 4 * kMiB), &pieces);
  EXPECT_TRUE(covered->cut);
  EXPECT_EQ(covered->bytes, 64u * 4096);
  EXPECT_EQ(pieces.size(), 64u);
  expected.resize(expected.size() - 4096);
  EXPECT_EQ(Read(At(0, 4 * kMiB)), expected);
}

TEST_F(ChunkStoreTest, SeekRoundsDataOutwardToPages) {
  ASSERT_TRUE(Write(At(5000, 100), 'a').ok());
  ASSERT_TRUE(Write(At(8192 + 4095, 2), 'a').ok());
  ASSERT_TRUE(store.ReserveRange(At(65536, 65536)).ok());
  ASSERT_TRUE(Write(At(4 * kMiB - 1, 1), 'a').ok());
  ASSERT_TRUE(Write(At(0, 1, 1), 'a').ok());
  auto data = [&](uint64_t from) { return store.NextData(kFile, from).offset; };
  EXPECT_EQ(data(0), 4096u);
  EXPECT_EQ(data(6000), 6000u);
  EXPECT_EQ(data(16384), 4 * kMiB - 4096);
  EXPECT_EQ(data(4 * kMiB + 4095), 4 * kMiB + 4095);
  EXPECT_FALSE(store.NextData(kFile, 4 * kMiB + 4096).found);
  auto hole = [&](uint64_t from) { return store.NextHole(kFile, from, 22); };
  EXPECT_EQ(hole(0), 0u);
  EXPECT_EQ(hole(4096), 16384u);
  EXPECT_EQ(hole(70000), 70000u);
  EXPECT_EQ(hole(4 * kMiB - 1), 4 * kMiB);  // the next chunk may be another shard's
}

TEST_F(ChunkStoreTest, APageOfWhichACutLeavesOnlyZerosStaysData) {
  const auto data = [&](uint64_t from) { return store.NextData(kFile, from); };
  ASSERT_TRUE(Write(At(4096 + 2000, 10), 'a').ok());
  ASSERT_TRUE(store.Truncate(kFile, 4096 + 1000));
  EXPECT_EQ(data(0).offset, 4096u);
  EXPECT_EQ(store.NextHole(kFile, 4096, 22), 8192u);
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 4096u);
  ASSERT_TRUE(store.Truncate(kFile, 4096 + 500));
  EXPECT_EQ(data(0).offset, 4096u);
  ASSERT_TRUE(Write(At(20000, 1), 'b').ok());
  EXPECT_EQ(Read(At(0, 20001)), std::string(20000, '\0') + "b");
  ASSERT_TRUE(store.Punch(At(4096, 4096)).ok());
  EXPECT_EQ(data(0).offset, 16384u);
  ASSERT_TRUE(Write(At(8192, 3 * 4096), 'c').ok());
  ASSERT_TRUE(
      store.Punch(At(8192 + 5, 2 * 4096)).ok());  // two bytes of the first page, none of the middle, some of the last
  EXPECT_EQ(data(8192 + 4096).offset, 16384u);
  ASSERT_TRUE(store.Punch(At(0, 16384 + 100)).ok());
  EXPECT_EQ(data(0).offset, 16384u);
  ASSERT_TRUE(store.Truncate(kFile, 0));
  EXPECT_FALSE(data(0).found);
  store.Drop(kFile);
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, WhatIsReservedAgainIsDataOfZeros) {
  const auto data = [&](uint64_t from) { return store.NextData(kFile, from); };
  ASSERT_TRUE(store.ReserveRange(At(10 * 4096 - 1, 6 * 4096)).ok());
  EXPECT_FALSE(data(0).found);
  const uint64_t used = arena.stats().bytes_used;
  ASSERT_TRUE(store.ReserveRange(At(5 * 4096, 7 * 4096 + 10)).ok());
  EXPECT_EQ(data(0).offset, 9u * 4096);
  EXPECT_EQ(store.NextHole(kFile, 9 * 4096, 22), 13u * 4096);
  EXPECT_GT(arena.stats().bytes_used, used);
  EXPECT_EQ(Read(At(0, 100)), "");
  // A page of zeros that is reserved is data still, and reserved as a whole.
  ASSERT_TRUE(store.Truncate(kFile, 0));
  ASSERT_TRUE(Write(At(100, 10), 'a').ok());
  ASSERT_TRUE(store.Truncate(kFile, 50));
  ASSERT_TRUE(store.ReserveRange(At(0, 8192)).ok());
  EXPECT_EQ(data(0).offset, 0u);
  EXPECT_EQ(store.NextHole(kFile, 0, 22), 4096u);
  std::vector<Place> all;
  for (auto staged = store.Stage(8192); staged.ok(); staged = store.Stage(8192)) all.push_back(*staged);
  auto place = store.StageFor(At(0, 8192));
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(place->bytes, 4096u);  // of zeros, and a stretch of its own
  store.Unstage(*place);
  for (Place staged : all) store.Unstage(staged);
  store.Drop(kFile);
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, WhatIsReservedLosesNoPartOfAPage) {
  for (const bool truncates : {false, true}) {
    ASSERT_TRUE(store.ReserveRange(At(4096 + 4000, 8192)).ok());
    if (truncates) {
      ASSERT_TRUE(store.Truncate(kFile, 4097));
    } else {
      ASSERT_TRUE(store.Punch(At(4097, 8192)).ok());
    }
    EXPECT_FALSE(store.NextData(kFile, 0).found);
    ASSERT_TRUE(store.ReserveRange(At(0, 3 * 4096)).ok());
    EXPECT_EQ(store.NextData(kFile, 0).offset, 4096u) << "its page was reserved before";
    EXPECT_EQ(store.NextHole(kFile, 4096, 22), 8192u);
    store.Drop(kFile);
    ExpectEmpty();
  }
}

TEST_F(ChunkStoreTest, LiveDataIsTheFileInOrderInBatches) {
  for (uint32_t i = 0; i < 10; ++i) ASSERT_TRUE(Write(At(i * 100000, 50000, i % 2), static_cast<char>('0' + i)).ok());
  ASSERT_TRUE(store.ReserveRange(At(60000, 1000)).ok());
  uint64_t from = 10, last = 0;
  std::string text;
  while (from != ChunkStore::kDone) {
    ReadPieces pieces;
    from = store.LiveData(kFile, from, 3, &pieces);
    EXPECT_LE(pieces.size(), 3u);
    for (const ReadPiece& piece : pieces) {
      EXPECT_GE(piece.file_offset, last);
      last = piece.file_offset + piece.bytes;
      text += TextOf(piece).substr(0, 1);
    }
  }
  EXPECT_EQ(text, "0246813579");
}

TEST_F(ChunkStoreTest, ReservedRangesReadAsHolesAndCount) {
  ASSERT_TRUE(Write(At(4096, 4096), 'a').ok());
  ASSERT_TRUE(store.ReserveRange(At(0, 4 * kMiB)).ok());
  EXPECT_EQ(store.Figures(kFile).allocated_bytes, 4 * kMiB);
  EXPECT_EQ(store.Figures(kFile).high_water, 8192u);
  uint64_t used = arena.stats().bytes_used;
  ASSERT_TRUE(store.ReserveRange(At(0, 4 * kMiB)).ok());  // nothing is left to reserve
  EXPECT_EQ(arena.stats().bytes_used, used);
  EXPECT_EQ(Read(At(0, 4 * kMiB)), std::string(4096, '\0') + std::string(4096, 'a'));
  ASSERT_TRUE(store.Punch(At(0, 4 * kMiB)).ok());
  EXPECT_EQ(arena.stats().bytes_used, 0u);
}

TEST_F(ChunkStoreTest, AReservationIsAllOrNothing) {
  for (uint32_t i = 0; store.ReserveRange(At(0, 4 * kMiB, i)).ok(); ++i) {
  }
  uint64_t used = arena.stats().bytes_used, tables = store.MemoryUsage();
  ASSERT_EQ(store.ReserveRange({.file = kOther, .bytes = 4 * kMiB}).code(), Code::kNoSpace);
  EXPECT_EQ(arena.stats().bytes_used, used);
  EXPECT_EQ(store.MemoryUsage(), tables);
}

TEST_F(ChunkStoreTest, AWriteToAReservedRangeNeverLacksSpace) {
  ASSERT_TRUE(store.ReserveRange(At(0, 4 * kMiB)).ok());
  std::vector<Place> all;
  for (uint32_t bytes : {1u << 20, 4096u, 64u}) {
    for (auto place = store.Stage(bytes); place.ok(); place = store.Stage(bytes)) all.push_back(*place);
  }
  std::string expected(4 * kMiB, '\0');
  std::mt19937 random(1);
  for (uint32_t at = 0; at < 4 * kMiB;) {  // odd lengths, across the reservation's extents
    uint32_t bytes = std::min<uint32_t>(1 + random() % 100000, static_cast<uint32_t>(4 * kMiB) - at);
    ASSERT_EQ(store.Stage(bytes).code(), Code::kNoSpace);
    auto place = store.StageFor(At(at, bytes));
    ASSERT_TRUE(place.ok());
    ASSERT_LE(place->bytes, bytes);
    std::string data(place->bytes, static_cast<char>(random()));
    Fill(*place, AsBytes(data));
    ASSERT_TRUE(store.Commit(At(at, place->bytes), *place, Sums(AsBytes(data)), 1).ok());
    expected.replace(at, data.size(), data);
    at += place->bytes;
  }
  EXPECT_EQ(Read(At(0, 4 * kMiB)), expected);
  EXPECT_EQ(store.StageFor(At(0, 100)).code(), Code::kNoSpace);  // live bytes have no such promise
  for (Place place : all) store.Unstage(place);
  store.Drop(kFile);
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, StageForStopsBeforeAReservationAndUsesIt) {
  ASSERT_TRUE(store.ReserveRange(At(1000, 1000)).ok());
  Place before = *store.StageFor(At(500, 2000));
  EXPECT_EQ(before.bytes, 500u);
  Place inside = *store.StageFor(At(1500, 2000));
  EXPECT_EQ(inside.bytes, 500u);
  Place other = *store.StageFor(At(1400, 2000));
  EXPECT_EQ(other.bytes, 100u);  // what is staged is not given again
  Place behind = *store.StageFor(At(1600, 2000));
  EXPECT_EQ(behind.bytes, 2000u);
  store.Unstage(inside);
  store.Drop(kFile);  // what is staged inside the reservation holds it
  EXPECT_EQ(arena.Data(other).size(), 100u);
  for (Place place : {before, other, behind}) store.Unstage(place);
  ExpectEmpty();
}

TEST_F(ChunkStoreTest, FullIsNoSpaceAndDroppingMakesRoom) {
  uint32_t files = 0;
  while (Write({.file = InodeId(1000 + files), .bytes = 3901}, 'x').ok()) ++files;
  EXPECT_GT(files * 3901.0, 0.85 * 64 * kMiB);
  EXPECT_LE(budget.used(), budget.bytes_max());
  store.Drop(InodeId(1000));
  EXPECT_TRUE(Write({.file = InodeId(1000), .bytes = 3901}, 'x').ok());
  for (uint32_t i = 0; i < files; ++i) store.Drop(InodeId(1000 + i));
  ExpectEmpty();
}

// Large files leave the arena all the budget; small ones need tables then.
TEST_F(ChunkStoreTest, FreeSegmentsGiveWayToTables) {
  uint32_t chunks = 0;
  while (Write(At(0, 1 << 20, chunks), 'x').ok()) ++chunks;
  store.Drop(kFile);
  uint32_t files = 0;
  while (Write({.file = InodeId(1000 + files), .bytes = 64}, 'x').ok()) ++files;
  EXPECT_GT(files, 150'000u);  // 320 bytes each, where the tables' part alone would hold 8,000
}

TEST_F(ChunkStoreTest, TheStoreMayEndWithFilesAndStagedPlaces) {
  ASSERT_TRUE(Write(At(0, 1 << 20), 'x').ok());
  ASSERT_TRUE(store.ReserveRange(At(1 << 20, 1 << 20)).ok());
  ASSERT_TRUE(store.StageFor(At(1 << 20, 100)).ok());
  ASSERT_TRUE(store.Stage(100).ok());
  {
    MemoryBudget own_budget(64 * kMiB);
    Arena own_arena(&memory, &own_budget);
    auto own = std::make_unique<ChunkStore>(&own_arena, &own_budget);
    Place place = *own->Stage(5);
    ASSERT_TRUE(own->Commit(At(0, 5), place, {}, 0).ok());
    ASSERT_TRUE(own->Stage(5).ok());
    ASSERT_TRUE(own->ReserveRange(At(100, 5)).ok());
    ASSERT_TRUE(own->StageFor(At(102, 2)).ok());
    own.reset();
    EXPECT_EQ(own_arena.stats().bytes_used, 0u);
    EXPECT_EQ(own_budget.table_used(), own_arena.stats().bytes_tables);
  }
}

}  // namespace
}  // namespace mayfly
