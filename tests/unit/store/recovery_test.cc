// A store that comes back from its images over the memory of the one before: the cases by hand.
#include "recording.h"

namespace mayfly {
namespace {

class RecoveryTest : public testing::Test {
 protected:
  static constexpr uint8_t kBits = 20;
  static ChunkRange Range(uint64_t file, uint32_t offset, uint32_t bytes) {
    return {.file = InodeId(file), .chunk = ChunkIndex(0), .chunk_bits = kBits, .offset = offset, .bytes = bytes};
  }
  void Write(const ChunkRange& range, char fill) { ASSERT_TRUE(test->Write(range, fill).ok()); }
  std::string ReadAll(uint64_t file) { return test->Read(Range(file, 0, 1u << kBits)); }
  // Dies now; what is not sealed is lost.
  void Die() {
    recording->Lose();
    before = std::exchange(test, Recover(*test, recording->records));
    recording->Follow(test.get());
  }
  // Comes back, and is as it was.
  void DieAndCompare() {
    recording->Seal();
    const Record state = StateOf(test->store);
    const ArenaStats arena = test->arena.stats();
    const ChunkStoreStats stats = test->store.stats();
    Die();
    EXPECT_TRUE(StateOf(test->store) == state);
    EXPECT_EQ(test->arena.stats().bytes_used, arena.bytes_used);
    EXPECT_EQ(test->store.stats().extents, stats.extents);
    EXPECT_EQ(test->store.stats().dead_bytes, stats.dead_bytes);
  }
  // Stages until there is no room; false if one of the places overlaps `place`.
  bool FillAround(Place place, uint32_t bytes) {
    bool apart = true;
    for (;;) {
      const auto staged = test->store.Stage(bytes);
      if (!staged.ok()) break;
      apart &= staged->offset + staged->bytes <= place.offset || place.offset + place.bytes <= staged->offset;
      staged_.push_back(*staged);
    }
    return apart;
  }
  void UnstageAll() {
    for (Place place : staged_) test->store.Unstage(place);
    staged_.clear();
  }
  void ExpectAllGoes() {
    test->store.ReleaseQuarantine();
    for (uint64_t file = 1; file < 10; ++file) test->store.Drop(InodeId(file));
    recording->Seal();
    test->ExpectEmpty();
  }

  std::unique_ptr<StoreUnderTest> test = std::make_unique<StoreUnderTest>(32 * kMiB);
  std::unique_ptr<StoreUnderTest> before;
  std::unique_ptr<Recording> recording = std::make_unique<Recording>(test.get());
  std::vector<Place> staged_;
};

TEST_F(RecoveryTest, AnExtentCutInTheMiddleIsOneExtentWithTwoSlices) {
  Write(Range(1, 0, 300'000), 'a');
  Write(Range(1, 100'000, 5'000), 'b');
  EXPECT_EQ(test->store.stats().extents, 2u);
  DieAndCompare();
  EXPECT_EQ(test->store.Figures(InodeId(1)).slices, 3u);
  EXPECT_EQ(ReadAll(1), std::string(100'000, 'a') + std::string(5'000, 'b') + std::string(195'000, 'a'));
  ExpectAllGoes();
}

TEST_F(RecoveryTest, ReservationsKeepTheirPromiseAndWhatWasWrittenInThem) {
  ASSERT_TRUE(test->store.ReserveRange(Range(1, 0, 1u << kBits)).ok());
  const auto place = test->store.StageFor(Range(1, 40'000, 10'000));
  ASSERT_TRUE(place.ok());
  const std::string data(10'000, 'x');
  test->Fill(*place, AsBytes(data));
  ASSERT_TRUE(test->store.Commit(Range(1, 40'000, 10'000), *place, StoreUnderTest::Sums(AsBytes(data)), 5).ok());
  DieAndCompare();
  EXPECT_EQ(ReadAll(1).substr(40'000), data);
  EXPECT_EQ(test->store.Figures(InodeId(1)).allocated_bytes, 1u << kBits);
  FillAround({}, 200'000);  // no room for anybody else
  const auto again = test->store.StageFor(Range(1, 500'000, 100'000));
  ASSERT_TRUE(again.ok()) << "what is reserved can be written";
  EXPECT_EQ(again->bytes, 100'000u);
  test->store.Unstage(*again);
  UnstageAll();
  ExpectAllGoes();
}

TEST_F(RecoveryTest, MarksAndZeroedReservationsStayData) {
  Write(Range(1, 0, 10'000), 'a');
  ASSERT_TRUE(test->store.Punch(Range(1, 100, 9'900)).ok());
  ASSERT_TRUE(test->store.ReserveRange(Range(2, 0, 100'000)).ok());
  ASSERT_TRUE(test->store.ReserveRange(Range(2, 20'000, 5'000)).ok());
  while (!test->store.Truncate(InodeId(1), 50, 1)) {
  }
  ASSERT_TRUE(test->store.SetEpoch(InodeId(3), 7).ok());
  DieAndCompare();
  EXPECT_EQ(test->store.NextHole(InodeId(1), 0, kBits), 4096u);
  const ChunkStore::Found zeroed = test->store.NextData(InodeId(2), 0);
  EXPECT_TRUE(zeroed.found);
  EXPECT_EQ(zeroed.offset, 16'384u);
  EXPECT_EQ(test->store.Figures(InodeId(3)).epoch, 7u);
  ExpectAllGoes();
}

TEST_F(RecoveryTest, AnUnfinishedDropIsWhatItsStepsLeft) {
  for (uint32_t i = 0; i < 20; ++i) Write(Range(1, i * 20'000, 100), 'a');
  EXPECT_FALSE(test->store.DropSlice(InodeId(1), 5));
  recording->Seal();
  Write(Range(2, 0, 100), 'b');  // perhaps on a place that the drop gave back
  DieAndCompare();
  EXPECT_EQ(test->store.Figures(InodeId(1)).slices, 15u);
  ExpectAllGoes();
}

TEST_F(RecoveryTest, ChangesThatWereNotSealedAreNotThereAndHarmedNothing) {
  Write(Range(1, 0, 200'000), 'a');
  Write(Range(2, 0, 3'000), 'b');
  recording->Seal();
  const uint64_t used = test->arena.stats().bytes_used;
  Write(Range(1, 0, 200'000), 'c');
  test->store.Drop(InodeId(2));
  EXPECT_GE(test->store.stats().unsettled_bytes, 203'000u);
  for (uint32_t i = 0; i < 5; ++i) Write(Range(3, i * 3'000, 3'000), 'd');
  Write(Range(4, 0, 200'000), 'e');
  Die();
  EXPECT_EQ(ReadAll(1), std::string(200'000, 'a'));
  EXPECT_EQ(ReadAll(2), std::string(3'000, 'b'));
  EXPECT_EQ(test->store.stats().files, 2u);
  EXPECT_EQ(test->arena.stats().bytes_used, used);
  ExpectAllGoes();
}

TEST_F(RecoveryTest, WithoutARecorderPlacesComeBackAtOnce) {
  recording->Lose();
  Write(Range(1, 0, 200'000), 'a');
  test->store.Drop(InodeId(1));
  EXPECT_EQ(test->store.stats().unsettled_bytes, 0u);
  test->ExpectEmpty();
}

// A7
TEST_F(RecoveryTest, PlacesThatWereStagedStayOutOfUseUntilTheQuarantineEnds) {
  Write(Range(1, 0, 100'000), 'a');
  Write(Range(2, 0, 1'000), 'b');
  recording->Seal();
  const Place run = *test->store.Stage(100'000), cell = *test->store.Stage(1'000);
  Die();
  EXPECT_FALSE(test->store.IsStaged(run));
  EXPECT_GT(test->arena.stats().bytes_quarantined, 0u);
  EXPECT_TRUE(FillAround(run, 100'000));
  EXPECT_TRUE(FillAround(cell, 1'000));
  EXPECT_EQ(test->store.Stage(1'000).code(), Code::kNoSpace);
  // Whoever had them still copies.
  for (Place place : {run, cell}) std::memset(test->arena.Data(place).data(), 'z', place.bytes);
  EXPECT_EQ(ReadAll(1), std::string(100'000, 'a'));
  EXPECT_EQ(ReadAll(2), std::string(1'000, 'b'));
  test->store.ReleaseQuarantine();
  EXPECT_EQ(test->arena.stats().bytes_quarantined, 0u);
  EXPECT_FALSE(FillAround(cell, 1'000) && FillAround(run, 50'000)) << "now they are free";
  UnstageAll();
  ExpectAllGoes();
}

TEST_F(RecoveryTest, AReservationThatIsDroppedKeepsItsPlacesUntilTheQuarantineEnds) {
  ASSERT_TRUE(test->store.ReserveRange(Range(1, 0, 200'000)).ok());
  const auto place = test->store.StageFor(Range(1, 50'000, 50'000));
  ASSERT_TRUE(place.ok());
  recording->Seal();
  Die();
  test->store.Drop(InodeId(1));
  recording->Seal();
  EXPECT_TRUE(FillAround(*place, 50'000));
  test->store.ReleaseQuarantine();
  recording->Seal();
  EXPECT_FALSE(FillAround(*place, 50'000));
  UnstageAll();
  ExpectAllGoes();
}

TEST_F(RecoveryTest, SmallFilesComeBackInPlaceHoweverFullTheStoreIs) {
  test = std::make_unique<StoreUnderTest>(8 * kMiB);
  recording = std::make_unique<Recording>(test.get());
  uint64_t files = 0;
  while (test->Write(Range(files + 1, 0, 2'000 + files % 1'900), 'f').ok()) ++files;
  ASSERT_GT(files, 1'000u);
  DieAndCompare();
  for (uint64_t file = 1; file <= files; ++file) {
    ASSERT_EQ(ReadAll(file), std::string(2'000 + (file - 1) % 1'900, 'f'));
  }
  // In quarantine, too, what is dropped makes room for what is written.
  test->store.ReleaseQuarantine();
  for (uint64_t file = 1; file <= files; ++file) test->store.Drop(InodeId(file));
  recording->Seal();
  test->ExpectEmpty();
}

TEST_F(RecoveryTest, SmallerBudgetsRefuseNewDataAndKeepWhatIsThere) {
  for (uint64_t file = 1; file < 10; ++file) Write(Range(file, 0, 1'000'000), 'a');
  recording->Seal();
  recording->Lose();
  StoreUnderTest small(4 * kMiB);
  for (const Record& record : recording->records) ASSERT_TRUE(ApplyAll(&small.store, record).ok());
  ASSERT_TRUE(small.store.FinishRecovery(CopySegments(test->memory, &small.memory)).ok());
  EXPECT_EQ(small.Read(Range(9, 0, 1'000'000)), std::string(1'000'000, 'a'));
  EXPECT_EQ(small.store.Stage(100'000).code(), Code::kNoSpace);
}

TEST_F(RecoveryTest, SerialsGoOnWhereTheyEnded) {
  Write(Range(1, 0, 100), 'a');
  test->store.Drop(InodeId(1));
  recording->Seal();
  // A checkpoint of a store in which nothing is left still says which serials were used.
  recording->records = {WalkOf(test->store)};
  Die();
  Write(Range(2, 0, 100), 'b');
  TlvReader reader(recording->writer().bytes());
  Tag tag = 0;
  Bytes value;
  ASSERT_TRUE(reader.Next(&tag, &value));
  store_internal::RangeImage image;
  ASSERT_TRUE(store_internal::DecodeRange(value, &image).ok());
  ASSERT_EQ(image.extents.size(), 1u);
  EXPECT_EQ(image.extents[0].serial, 2u);
}

TEST_F(RecoveryTest, AFlippedBitOfTheMemoryIsFoundByItsSum) {
  Write(Range(1, 0, 200'000), 'a');
  recording->Seal();
  Die();
  ReadPieces pieces;
  ASSERT_TRUE(test->store.Read(Range(1, 0, 200'000), &pieces).ok());
  test->arena.Data(pieces[0].place)[150'000] ^= 1;
  EXPECT_EQ(test->store.Verify(pieces[0]).code(), Code::kCorrupt);
}

// ---- what FinishRecovery refuses, and then leaves the segments alone ----

TEST_F(RecoveryTest, PlacesOutsideTheSegmentsAreCorrupt) {
  Write(Range(1, 0, 100'000), 'a');
  recording->Seal();
  StoreUnderTest other(32 * kMiB);
  ASSERT_TRUE(ApplyAll(&other.store, recording->records[0]).ok());
  EXPECT_EQ(other.store.FinishRecovery({}).code(), Code::kCorrupt);
  EXPECT_EQ(other.budget.arena_used(), 0u);
}

TEST_F(RecoveryTest, OverlappingPlacesAreCorrupt) {
  Write(Range(1, 0, 5'000), 'a');
  recording->Seal();
  test->store.Drop(InodeId(1));
  recording->Seal();
  Write(Range(2, 0, 5'000), 'b');  // on the same place
  recording->Seal();
  recording->Lose();
  recording->records.erase(recording->records.begin() + 1);  // as if the second record were missing
  StoreUnderTest other(32 * kMiB);
  for (const Record& record : recording->records) ASSERT_TRUE(ApplyAll(&other.store, record).ok());
  EXPECT_EQ(other.store.FinishRecovery(CopySegments(test->memory, &other.memory)).code(), Code::kCorrupt);
  EXPECT_EQ(other.arena.stats().segments, 0u);
}

}  // namespace
}  // namespace mayfly
