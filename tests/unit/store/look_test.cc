// Where bytes lie, told out of images alone: in the arena that was, and in the chunk file.
#include "recording.h"
#include "store/store_look.h"

namespace mayfly {
namespace {

constexpr InodeId kFile{0x30000000002};
ChunkRange Range(uint32_t offset, uint32_t bytes) {
  return {.file = kFile, .chunk_bits = 22, .offset = offset, .bytes = bytes};
}

struct LookTest : testing::Test {
  LookTest() { test.store.SetDisk(&space, true); }
  void SetUp() override { test.store.SetRecorder(&out); }
  // What was recorded, in a store that has nothing else; perhaps after a loss of power.
  void Apply(bool places_void) {
    if (places_void) ChunkStore::PutPlacesVoid(&out);
    ASSERT_TRUE(ApplyAll(&again.store, out.bytes()).ok());
  }
  std::vector<StoredPiece> Pieces() const {
    std::vector<StoredPiece> pieces;
    StoredPiece piece;
    for (uint64_t at = 0; StoreLook(&again.store).Next(kFile, at, &piece); at = piece.end()) pieces.push_back(piece);
    return pieces;
  }

  DiskSpace space{16 * kMiB};
  StoreUnderTest test{64 * kMiB};
  TlvWriter out;
  StoreUnderTest again{64 * kMiB};
};

TEST_F(LookTest, APieceIsWhereItsExtentIs) {
  ASSERT_TRUE(test.Write(Range(0, 200'000), 'a').ok());
  ASSERT_TRUE(test.Write(Range(100'000, 10), 'b').ok());
  Apply(false);
  const auto pieces = Pieces();
  ASSERT_EQ(pieces.size(), 3u);
  EXPECT_EQ(pieces[0].begin, 0u);
  EXPECT_EQ(pieces[0].bytes, 100'000u);
  EXPECT_EQ(pieces[2].begin, 100'010u);
  EXPECT_EQ(pieces[2].end(), 200'000u);
  for (const StoredPiece& piece : {pieces[0], pieces[2]}) {
    EXPECT_EQ(piece.extent_begin, 0u);
    EXPECT_EQ(piece.extent_bytes, 200'000u);
    EXPECT_EQ(piece.sums.size(), 4u);
    EXPECT_EQ(piece.disk_offset, 4096u);
    EXPECT_TRUE(piece.place.valid());
    EXPECT_EQ(test.arena.Data(piece.place)[5], 'a');
  }
  EXPECT_EQ(pieces[1].extent_begin, 100'000u);
  EXPECT_EQ(pieces[1].disk_offset, 4096u * (1 + 49));
  EXPECT_EQ(test.arena.Data(pieces[1].place)[5], 'b');
}

// By its distance in the file: after a loss of power there are no places to go by.
TEST_F(LookTest, WhatLiesInAReservationLiesInItsBlocks) {
  ASSERT_TRUE(test.store.ReserveRange(Range(0, 1 << 20)).ok());
  const ChunkRange range = Range(70'000, 5'000);
  const auto place = test.store.StageFor(range);
  ASSERT_TRUE(place.ok());
  const std::string data(range.bytes, 'c');
  test.Fill(*place, AsBytes(data));
  ASSERT_TRUE(test.store.Commit(range, *place, StoreUnderTest::Sums(AsBytes(data)), 1).ok());
  Apply(true);
  const auto pieces = Pieces();
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].begin, 70'000u);
  EXPECT_EQ(pieces[0].disk_offset, 4096u + 70'000u);
  EXPECT_FALSE(pieces[0].place.valid());
}

TEST_F(LookTest, HolesAndReservationsAreNoPieces) {
  ASSERT_TRUE(test.store.ReserveRange(Range(0, 1 << 20)).ok());
  ASSERT_TRUE(test.Write(Range(2 << 20, 100), 'd').ok());
  Apply(false);
  const auto pieces = Pieces();
  ASSERT_EQ(pieces.size(), 1u);
  EXPECT_EQ(pieces[0].begin, uint64_t{2} << 20);
}

}  // namespace
}  // namespace mayfly
