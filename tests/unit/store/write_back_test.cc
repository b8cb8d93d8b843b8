// What is kept survives a loss of power: a store that writes back onto a simulated disk, and the one that is filled
// from it (WriteBack, DiskReader). What is written into reservations
// shares blocks.
#include "store/write_back.h"

#include <gtest/gtest.h>

#include "recording.h"
#include "store_on_disk.h"

namespace mayfly {
namespace {

constexpr uint8_t kChunkBits = 22;

ChunkRange Range(uint64_t file, uint32_t offset, uint32_t bytes) {
  return {.file = InodeId(file), .chunk_bits = kChunkBits, .offset = offset, .bytes = bytes};
}

struct WriteBackTest : testing::Test {
  // The power goes, and all of `records` is applied to a new store, which is filled from the disk.
  std::unique_ptr<StoreOnDisk> LosePower(std::unique_ptr<StoreOnDisk> before, const std::vector<Record>& records,
                                         SimPlatter* platter) {
    before->disk.Crash(true);
    const uint64_t memory = before->test.budget.bytes_max(), file = before->space.blocks() * DiskSpace::kBlockBytes;
    graves.push_back(before.release());  // its writes never end
    auto after = std::make_unique<StoreOnDisk>(*platter, clock, true, memory, file);
    ChunkStore& store = after->test.store;
    for (const Record& record : records) EXPECT_TRUE(ApplyAll(&store, record).ok());
    TlvWriter gone;
    ChunkStore::PutPlacesVoid(&gone);
    EXPECT_TRUE(ApplyAll(&store, gone.bytes()).ok());
    EXPECT_TRUE(store.FinishRecovery({}).ok());
    store.ReleaseQuarantine();
    return after;
  }
  SimClock clock;
  SimPlatter platter{{.seed = 5}};
  // Never destroyed, as what a dead process had; the list neither, or leak checkers would find what is in it.
  static inline std::vector<StoreOnDisk*>& graves = *new std::vector<StoreOnDisk*>;
};

TEST_F(WriteBackTest, WhatIsKeptIsThereAfterALossOfPower) {
  auto store = std::make_unique<StoreOnDisk>(platter, clock, false);
  Recording recording(&store->test);
  std::string large(3 * kMiB, 'l');
  for (size_t i = 0; i < large.size(); i += 97) large[i] = static_cast<char>(i);
  ASSERT_TRUE(store->test.Write(Range(1, 100, static_cast<uint32_t>(large.size())), AsBytes(large)).ok());
  ASSERT_TRUE(store->test.Write(Range(2, 0, 5), 's').ok());
  ASSERT_TRUE(store->test.Write(Range(2, 70'000, 3'901), 't', false).ok());
  recording.Seal();
  EXPECT_EQ(store->write_back->written(), 3u);
  EXPECT_EQ(store->write_back->kept(), 0u);
  ASSERT_TRUE(store->Keep().ok());
  EXPECT_EQ(store->write_back->kept(), 3u);
  EXPECT_EQ(store->write_back->stats().flushes, 1u);
  store->test.store.SetRecorder(nullptr);
  store = LosePower(std::move(store), recording.records, &platter);
  EXPECT_EQ(store->test.arena.stats().bytes_used, 0u);  // it waits until it is wanted
  EXPECT_EQ(store->Read(Range(1, 100, static_cast<uint32_t>(large.size()))), large);
  EXPECT_EQ(store->Read(Range(2, 0, 5)), "sssss");
  EXPECT_EQ(store->Read(Range(2, 70'000, 4'000)), std::string(3'901, 't'));
  EXPECT_EQ(store->test.store.stats().fetched, 3u);
  EXPECT_EQ(store->Read(Range(2, 0, 5)), "sssss");
  EXPECT_EQ(store->test.store.stats().fetched, 3u);
  EXPECT_EQ(store->test.store.stats().corrupt_blocks, 0u);
}

TEST_F(WriteBackTest, WhatRotsIsFoundAndTheRestIsThere) {
  auto store = std::make_unique<StoreOnDisk>(platter, clock, false);
  Recording recording(&store->test);
  ASSERT_TRUE(store->test.Write(Range(1, 0, 200'000), 'a').ok());
  recording.Seal();
  ASSERT_TRUE(store->Keep().ok());
  platter.Rot(kChunkFileName, DiskSpace::kBlockBytes + 100'000, 100, 1);
  store->test.store.SetRecorder(nullptr);
  store = LosePower(std::move(store), recording.records, &platter);
  EXPECT_EQ(store->Read(Range(1, 0, 65'536)), std::string(65'536, 'a'));
  EXPECT_EQ(store->test.store.stats().corrupt_blocks, 1u);
  ReadPieces pieces;
  ASSERT_TRUE(store->test.store.Read(Range(1, 65'536, 65'536), &pieces).ok());
  EXPECT_EQ(store->test.store.Trust(pieces[0]).code(), Code::kCorrupt);
  EXPECT_EQ(store->test.store.Verify(pieces[0]).code(), Code::kCorrupt);
}

TEST_F(WriteBackTest, AFailedWriteKeepsNothingAnyMore) {
  auto store = std::make_unique<StoreOnDisk>(platter, clock, false);
  platter.faults.write_errors = 1000;
  ASSERT_TRUE(store->test.Write(Range(1, 0, 5'000), 'a').ok());
  EXPECT_EQ(store->Keep().code(), Code::kIo);
  EXPECT_TRUE(store->write_back->failed());
  platter.faults.write_errors = 0;
  EXPECT_EQ(store->Keep().code(), Code::kIo);
  EXPECT_EQ(store->write_back->kept(), 0u);
}

// A store with less memory than data, whose cold extents go to the disk and come back: nothing is lost, what is pinned
// stays where it is, and what nobody wrote back stays too.
TEST_F(WriteBackTest, WhatIsEvictedComesBack) {
  for (const auto policy : {ChunkStore::Evict::kLru, ChunkStore::Evict::kLfu}) {
    SimPlatter mine({.seed = 9});
    StoreOnDisk store(mine, clock, false);
    ChunkStore& chunks = store.test.store;
    chunks.SetEviction(policy);
    Recording recording(&store.test);
    constexpr uint64_t kFiles = 40;
    const auto fill = [](uint64_t file) { return static_cast<char>('A' + file); };
    for (uint64_t file = 1; file <= kFiles; ++file) {
      ASSERT_TRUE(store.test.Write(Range(file, 0, 100'000 + static_cast<uint32_t>(file)), fill(file)).ok());
    }
    recording.Seal();
    EXPECT_EQ(chunks.EvictSome(kMiB), 0u);  // the disk has none of it
    ASSERT_TRUE(store.Keep().ok());
    ReadPieces pinned;
    ASSERT_TRUE(chunks.Read(Range(7, 0, 1'000), &pinned).ok());
    const uint64_t before = store.test.arena.stats().bytes_used;
    EXPECT_GE(chunks.EvictSome(64 * kMiB), 39u * 100'000);
    EXPECT_EQ(store.test.arena.stats().bytes_used, before);  // S9
    recording.Seal();
    EXPECT_EQ(store.test.arena.stats().bytes_used, 102'400u);  // what is pinned
    EXPECT_EQ(store.test.TextOf(pinned[0]), std::string(1'000, fill(7)));
    pinned.clear();
    for (uint64_t file = 1; file <= kFiles; ++file) {
      EXPECT_EQ(store.Read(Range(file, 50, 200'000)), std::string(100'000 + file - 50, fill(file)));
      // And when it is written over, its blocks come free.
      if (file % 2 == 0) ASSERT_TRUE(store.test.Write(Range(file, 0, 200'000), 'z').ok());
    }
    recording.Seal();
    chunks.Kept(0);
    for (uint64_t file = 2; file <= kFiles; file += 2) {
      EXPECT_EQ(store.Read(Range(file, 0, 300'000)), std::string(200'000, 'z'));
    }
    ASSERT_TRUE(store.Keep().ok());
    for (uint64_t file = 1; file <= kFiles; ++file) chunks.Drop(InodeId(file));
    recording.Seal();
    chunks.Kept(0);
    EXPECT_EQ(store.space.blocks_free(), store.space.blocks() - 1);
    store.test.ExpectEmpty();
    chunks.SetRecorder(nullptr);
  }
}

// Tables get a segment of memory once nothing lies in it any more; what somebody looks at keeps it, and so does what is
// to be written into.
TEST_F(WriteBackTest, ASegmentIsDrainedOfAllThatMayLeaveIt) {
  SimPlatter mine({.seed = 10});
  StoreOnDisk store(mine, clock, false);
  ChunkStore& chunks = store.test.store;
  Arena& arena = store.test.arena;
  Recording recording(&store.test);
  const auto fill = [](uint64_t file) { return static_cast<char>('A' + file % 50); };
  constexpr uint64_t kFiles = 300;
  for (uint64_t file = 1; file <= kFiles; ++file) {
    const uint32_t bytes = file % 3 == 0 ? 700 : 40'000;
    ASSERT_TRUE(store.test.Write(Range(file, 0, bytes), fill(file)).ok());
  }
  recording.Seal();
  ASSERT_TRUE(store.Keep().ok());
  ReadPieces pinned;
  ASSERT_TRUE(chunks.Read(Range(7, 0, 1'000), &pinned).ok());
  const uint64_t segments = arena.stats().segments;
  ASSERT_GE(segments, 2u);
  ASSERT_TRUE(chunks.StartDrain(64 * kMiB, {}));  // all of them
  while (!chunks.EvictDraining(16)) recording.Seal();
  recording.Seal();
  EXPECT_TRUE(arena.ReleaseDrained());
  EXPECT_EQ(arena.stats().segments, 1u) << "what is read stays where it is";
  EXPECT_EQ(store.test.TextOf(pinned[0]), std::string(1'000, fill(7)));
  pinned.clear();
  EXPECT_TRUE(chunks.EvictDraining(16));
  recording.Seal();
  EXPECT_TRUE(arena.ReleaseDrained());
  EXPECT_EQ(arena.stats().segments, 0u);
  for (uint64_t file = 1; file <= kFiles; ++file) {
    EXPECT_EQ(store.Read(Range(file, 0, 50'000)), std::string(file % 3 == 0 ? 700 : 40'000, fill(file)));
  }
  for (uint64_t file = 1; file <= kFiles; ++file) chunks.Drop(InodeId(file));
  recording.Seal();
  chunks.Kept(0);
  chunks.SetRecorder(nullptr);
}

// LRU: what was used since the hand came by last stays. LFU: what was used oftener stays longer.
TEST_F(WriteBackTest, WhatIsUsedStaysInMemory) {
  for (const auto policy : {ChunkStore::Evict::kLru, ChunkStore::Evict::kLfu}) {
    SimPlatter mine({.seed = 11});
    StoreOnDisk store(mine, clock, false);
    ChunkStore& chunks = store.test.store;
    chunks.SetEviction(policy);
    Recording recording(&store.test);
    constexpr uint64_t kFiles = 20, kUsed = 5, kOften = 3;
    constexpr uint32_t kBytes = 100'000;
    for (uint64_t file = 1; file <= kFiles; ++file) {
      ASSERT_TRUE(store.test.Write(Range(file, 0, kBytes), 'x').ok());
    }
    recording.Seal();
    ASSERT_TRUE(store.Keep().ok());
    const auto is_absent = [&](uint64_t file) {
      ReadPieces pieces;
      EXPECT_TRUE(chunks.Read(Range(file, 0, 100), &pieces).ok());
      return pieces.at(0).is_absent();
    };
    // All cold, by a hand that found nothing to take; what it took comes back by the reads below.
    const uint64_t cooled = chunks.EvictSome(1);
    ASSERT_GT(cooled, 0u);
    for (uint64_t file = 1; file <= kUsed; ++file) (void)store.Read(Range(file, 0, kBytes));
    ASSERT_GE(chunks.EvictSome(10 * kBytes), 10u * kBytes);
    recording.Seal();
    int absent = 0;
    for (uint64_t file = kUsed + 1; file <= kFiles; ++file) absent += is_absent(file) ? 1 : 0;
    EXPECT_GE(absent, 10);
    for (uint64_t file = 1; file <= kUsed; ++file) EXPECT_FALSE(is_absent(file)) << file;
    if (policy == ChunkStore::Evict::kLfu) {
      for (int i = 0; i < 3; ++i) (void)store.Read(Range(kOften, 0, kBytes));
      const uint64_t here = store.test.arena.stats().bytes_used;
      ASSERT_GT(here, 4u * kBytes);
      ASSERT_GE(chunks.EvictSome(here - 3u * kBytes), here - 3u * kBytes);
      EXPECT_FALSE(is_absent(kOften)) << "used oftener than what is gone";
    }
    recording.Seal();
    for (uint64_t file = 1; file <= kFiles; ++file) chunks.Drop(InodeId(file));
    recording.Seal();
    chunks.Kept(0);
    chunks.SetRecorder(nullptr);
  }
}

// Extents on the disk alone of which most was written over give their blocks back, and what they show stays.
TEST_F(WriteBackTest, WhatShowsLittleOnTheDiskIsGivenUp) {
  auto store = std::make_unique<StoreOnDisk>(platter, clock, false);
  ChunkStore& chunks = store->test.store;
  Recording recording(&store->test);
  constexpr uint32_t kExtents = 4, kPiece = 64 * kKiB, kChunk = 4 * kMiB;
  const auto range = [](uint32_t chunk, uint32_t offset, uint32_t bytes) {
    return ChunkRange{
        .file = InodeId(1), .chunk = ChunkIndex(chunk), .chunk_bits = kChunkBits, .offset = offset, .bytes = bytes};
  };
  for (uint32_t chunk = 0; chunk < kExtents; ++chunk) ASSERT_TRUE(store->test.Write(range(chunk, 0, kChunk), 'a').ok());
  recording.Seal();
  ASSERT_TRUE(store->Keep().ok());
  EXPECT_FALSE(chunks.MayCompact());  // nothing was written over
  ASSERT_EQ(chunks.EvictSome(64 * kMiB), uint64_t{kExtents} * kChunk);
  // The last extent keeps its bytes: it is not worth it.
  std::string expected;
  for (uint32_t chunk = 0; chunk < kExtents; ++chunk) {
    for (uint32_t at = 0; at < kChunk; at += kPiece) {
      const bool over = at / kPiece % 4 != 1 && chunk + 1 != kExtents;
      if (over) ASSERT_TRUE(store->test.Write(range(chunk, at, kPiece), 'b').ok());
      expected.append(kPiece, over ? 'b' : 'a');
    }
  }
  recording.Seal();
  ASSERT_TRUE(store->Keep().ok());
  const uint64_t used = store->blocks_used();
  uint32_t found = 0;
  while (chunks.MayCompact()) {
    InodeId file;
    ReadPieces pieces;
    if (!chunks.FindSparse(&file, &pieces)) continue;
    ++found;
    EXPECT_EQ(file, InodeId(1));
    ASSERT_TRUE(pieces.front().is_absent());
    ASSERT_TRUE(store->Run(store->reader->Fetch(&pieces, true, kNever)).ok());
    EXPECT_TRUE(chunks.GiveUp(file, pieces.front()));
  }
  EXPECT_EQ(found, kExtents - 1);
  recording.Seal(7);
  EXPECT_GT(store->blocks_used(), used);  // S9: the copies, and still what was copied
  chunks.Kept(7);
  constexpr uint64_t kBlocks = uint64_t{kExtents} * kChunk / DiskSpace::kBlockBytes;
  EXPECT_EQ(store->blocks_used(), kBlocks);
  EXPECT_EQ(store->BlocksOfFiles(), kBlocks);
  const auto read = [&] {
    std::string all;
    for (uint32_t chunk = 0; chunk < kExtents; ++chunk) all += store->Read(range(chunk, 0, kChunk));
    return all;
  };
  EXPECT_TRUE(read() == expected);
  ASSERT_TRUE(store->Keep().ok());
  chunks.SetRecorder(nullptr);
  store = LosePower(std::move(store), recording.records, &platter);
  EXPECT_TRUE(read() == expected);
  EXPECT_EQ(store->blocks_used(), kBlocks);
}

// Whoever recovers from the images of a store that evicted finds all of it: in memory or on the disk.
TEST_F(WriteBackTest, WhatWasEvictedIsThereAfterAKill) {
  auto store = std::make_unique<StoreOnDisk>(platter, clock, false);
  Recording recording(&store->test);
  for (uint64_t file = 1; file <= 20; ++file) {
    ASSERT_TRUE(store->test.Write(Range(file, 10, 50'000), static_cast<char>('a' + file)).ok());
  }
  recording.Seal();
  ASSERT_TRUE(store->Keep().ok());
  EXPECT_GE(store->test.store.EvictSome(400'000), 400'000u);
  recording.Seal();
  store->test.store.SetRecorder(nullptr);
  store->disk.Crash(false);
  StoreOnDisk* const before = store.release();
  graves.push_back(before);
  StoreOnDisk after(platter, clock, true);
  for (const Record& record : recording.records) ASSERT_TRUE(ApplyAll(&after.test.store, record).ok());
  ASSERT_TRUE(after.test.store.FinishRecovery(CopySegments(before->test.memory, &after.test.memory)).ok());
  after.test.store.ReleaseQuarantine();
  for (uint64_t file = 1; file <= 20; ++file) {
    EXPECT_EQ(after.Read(Range(file, 10, 60'000)), std::string(50'000, static_cast<char>('a' + file)));
  }
  const uint64_t fetched = after.test.store.stats().fetched;
  EXPECT_GE(fetched, 8u);
  EXPECT_LT(fetched, 20u);
}

// Of a large extent that is read here and there only blocks are read, and checked, until it was worth to have it all.
TEST_F(WriteBackTest, FewBytesOfALargeExtentAreReadAlone) {
  StoreOnDisk store(platter, clock, false);
  ChunkStore& chunks = store.test.store;
  Recording recording(&store.test);
  constexpr uint32_t kBytes = 3 * 1024 * 1024 + 70'000;
  std::string content(kBytes, '\0');
  SimRandom random(3);
  random.Fill({reinterpret_cast<uint8_t*>(content.data()), content.size()});
  ASSERT_TRUE(store.test.Write(Range(1, 1'000, kBytes), AsBytes(content)).ok());
  recording.Seal();
  ASSERT_TRUE(store.Keep().ok());
  EXPECT_GE(chunks.EvictSome(kBytes), kBytes);
  recording.Seal();
  const auto expect = [&](uint32_t at, uint32_t bytes) {
    EXPECT_TRUE(store.Read(Range(1, 1'000 + at, bytes), false) == content.substr(at, bytes)) << at << " " << bytes;
  };
  expect(200'000, 4'096);
  EXPECT_EQ(chunks.stats().fetched_bytes, 65'536u);
  expect(65'530, 10);  // across two blocks of checksums
  EXPECT_EQ(chunks.stats().fetched_bytes, 3u * 65'536);
  expect(kBytes - 7, 7);  // a short last one
  EXPECT_EQ(chunks.stats().fetched_bytes, 3u * 65'536 + kBytes % 65'536);
  EXPECT_EQ(store.test.arena.stats().bytes_used, 0u);
  // A reader that checks sums gets those of what it asked for.
  ReadPieces pieces;
  ASSERT_TRUE(chunks.Read(Range(1, 1'000 + 131'072, 80'000), &pieces).ok());
  ASSERT_TRUE(store.Run(store.reader->Fetch(&pieces, false, kNever)).ok());
  ASSERT_TRUE(pieces[0].copy);
  EXPECT_GT(store.test.arena.stats().bytes_used, 0u);
  SumParts sums;
  ASSERT_TRUE(chunks.PieceSums(pieces[0], &sums).ok());
  ASSERT_EQ(sums.size(), 2u);
  EXPECT_EQ(sums[0].sum, Checksum(AsBytes(content).subspan(131'072, 65'536)));
  EXPECT_EQ(sums[1].sum, Checksum(AsBytes(content).subspan(196'608, 80'000 - 65'536)));
  EXPECT_TRUE(chunks.Verify(pieces[0]).ok());
  pieces.clear();
  EXPECT_EQ(store.test.arena.stats().bytes_used, 0u);
  // What rots is found where it is read, and only there.
  platter.Rot(kChunkFileName, DiskSpace::kBlockBytes + 1'000'000, 8, 1);
  expect(300'000, 5'000);
  ASSERT_TRUE(chunks.Read(Range(1, 1'000 + 1'000'000, 10), &pieces).ok());
  EXPECT_EQ(store.Run(store.reader->Fetch(&pieces, false, kNever)).code(), Code::kCorrupt);
  pieces.clear();
  // Enough of it: it is read as a whole, and is then there.
  for (uint32_t at = 1'310'720; chunks.stats().fetched < 60 && store.test.arena.stats().bytes_used == 0; at += 16'384) {
    expect(at, 16'384);
  }
  EXPECT_GE(store.test.arena.stats().bytes_used, kBytes);
  EXPECT_LE(chunks.stats().fetched_bytes, 2u * kBytes);
  EXPECT_GE(chunks.stats().fetched_bytes, kBytes + kBytes * 3 / 4);
  const uint64_t fetched = chunks.stats().fetched;
  expect(400'000, 3'000);
  EXPECT_EQ(chunks.stats().fetched, fetched);
  chunks.SetRecorder(nullptr);
}

// ---- reservations ----

// Blocks are taken and no memory, so that more can be reserved than memory has; when the file is full it is refused at
// once, with nothing taken; and whatever ends gives its blocks back.
TEST_F(WriteBackTest, AReservationTakesBlocksAndNoMemory) {
  StoreOnDisk store(platter, clock, false, 4 * kMiB, 33 * kMiB);
  ChunkStore& chunks = store.test.store;
  Recording recording(&store.test);
  const auto chunk = [](uint64_t file, uint32_t index) {
    return ChunkRange{.file = InodeId(file), .chunk = ChunkIndex(index), .chunk_bits = kChunkBits, .bytes = 4 << 20};
  };
  for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(chunks.ReserveRange(chunk(1, i)).ok()) << i;
  recording.Seal();
  EXPECT_EQ(store.test.arena.stats().bytes_mapped, 0u);
  EXPECT_EQ(store.blocks_used(), 8u * 1024);
  EXPECT_EQ(chunks.Figures(InodeId(1)).allocated_bytes, 32 * kMiB);
  EXPECT_LT(chunks.MemoryUsage(), 16u * kKiB);
  ASSERT_EQ(chunks.ReserveRange(chunk(2, 0)).code(), Code::kNoSpace);
  EXPECT_EQ(store.blocks_used(), 8u * 1024);
  EXPECT_EQ(chunks.stats().unsettled_bytes + chunks.stats().unkept_bytes, 0u);
  EXPECT_EQ(chunks.stats().files, 1u);
  // Others are not starved: of memory there is all.
  ASSERT_TRUE(store.test.Write(Range(3, 0, 900'000), 'w').ok());
  const auto settled = [&] {
    ASSERT_TRUE(store.Keep().ok());
    recording.Seal();
    chunks.Kept(0);
  };
  settled();
  const uint64_t others = DiskSpace::BlocksFor(900'000);
  ASSERT_TRUE(chunks.Punch(chunk(1, 3)).ok());
  settled();
  EXPECT_EQ(store.blocks_used(), 7u * 1024 + others);
  ASSERT_TRUE(chunks.Truncate(InodeId(1), 8 * kMiB));
  settled();
  EXPECT_EQ(store.blocks_used(), 2u * 1024 + others);
  EXPECT_EQ(chunks.Figures(InodeId(1)).allocated_bytes, 8 * kMiB);
  ASSERT_TRUE(chunks.ReserveRange(chunk(2, 0)).ok());
  for (uint64_t file : {1, 2, 3}) chunks.Drop(InodeId(file));
  settled();
  EXPECT_EQ(store.blocks_used(), 0u);
  store.test.ExpectEmpty();
  chunks.SetRecorder(nullptr);
}

// Eight times the memory is reserved and the file is full; then all of it is written, in pieces of any length, and
// nothing is refused but memory that others have, which comes back when they are written.
TEST_F(WriteBackTest, WhatIsReservedIsWrittenThoughTheFileIsFullAndTheMemorySmall) {
  for (const bool power : {false, true}) {
    SimPlatter mine({.seed = 7});
    auto store = std::make_unique<StoreOnDisk>(mine, clock, false, 4 * kMiB, 33 * kMiB);
    Recording recording(&store->test);
    constexpr uint32_t kChunk = 4 << 20, kChunks = 8;
    ChunkRange range{.file = InodeId(1), .chunk_bits = kChunkBits};
    for (uint32_t i = 0; i < kChunks; ++i) {
      range.chunk = ChunkIndex(i);
      range.bytes = kChunk;
      ASSERT_TRUE(store->test.store.ReserveRange(range).ok());
    }
    uint64_t plain = 0;
    while (store->test.Write(Range(2, static_cast<uint32_t>(plain) * 4096, 4096), 'p').ok()) ++plain;
    EXPECT_EQ(store->space.blocks_free(), 0u);
    SimRandom random(3);
    std::string model(uint64_t{kChunk} * kChunks, '\0');
    random.Fill({reinterpret_cast<uint8_t*>(model.data()), model.size()});
    uint64_t waited = 0;
    for (uint64_t at = 0; at < model.size();) {
      range.chunk = ChunkIndex(static_cast<uint32_t>(at / kChunk));
      range.offset = static_cast<uint32_t>(at % kChunk);
      range.bytes = 1 + static_cast<uint32_t>(random.U64() % 400'000);
      range.bytes = std::min(range.bytes, kChunk - range.offset);
      EXPECT_EQ(store->test.store.ReservedBytes(range), range.bytes);
      auto place = store->test.store.StageFor(range);
      if (!place.ok()) {
        ASSERT_EQ(place.code(), Code::kNoSpace);
        ASSERT_TRUE(store->Keep().ok());
        ASSERT_GE(store->test.store.EvictSome(kMiB), kMiB);
        recording.Seal();
        ++waited;
        place = store->test.store.StageFor(range);
      }
      ASSERT_TRUE(place.ok()) << at;
      range.bytes = std::min(range.bytes, place->bytes);
      const Bytes data = AsBytes(model).subspan(at, range.bytes);
      store->test.Fill(*place, data);
      ASSERT_TRUE(store->test.store.Commit(range, *place, StoreUnderTest::Sums(data), 1).ok());
      at += range.bytes;
    }
    EXPECT_GT(waited, 4u);
    ASSERT_TRUE(store->Keep().ok());
    recording.Seal();
    const auto expect_all = [&](StoreOnDisk& now) {
      for (uint32_t i = 0; i < kChunks; ++i) {
        for (uint32_t at = 0; at < kChunk; at += kMiB) {
          range.chunk = ChunkIndex(i);
          range.offset = at;
          range.bytes = kMiB;
          now.test.store.EvictSome(4 * kMiB);
          recording.Seal();
          ASSERT_TRUE(now.Read(range) == model.substr(range.file_offset(), kMiB)) << i << " " << at;
        }
      }
    };
    ASSERT_NO_FATAL_FAILURE(expect_all(*store));
    recording.Lose();
    StoreOnDisk* const dead = store.get();
    if (power) {
      store = LosePower(std::move(store), recording.records, &mine);
    } else {
      dead->disk.Crash(false);
      graves.push_back(store.release());
      store = std::make_unique<StoreOnDisk>(mine, clock, true, 4 * kMiB, 33 * kMiB);
      for (const Record& record : recording.records) ASSERT_TRUE(ApplyAll(&store->test.store, record).ok());
      ASSERT_TRUE(store->test.store.FinishRecovery(CopySegments(dead->test.memory, &store->test.memory)).ok());
      store->test.store.ReleaseQuarantine();
    }
    recording.Follow(&store->test);
    EXPECT_EQ(store->blocks_used(), store->BlocksOfFiles());
    ASSERT_NO_FATAL_FAILURE(expect_all(*store));
    store->test.store.Drop(InodeId(1));
    store->test.store.Drop(InodeId(2));
    ASSERT_TRUE(store->Keep().ok());
    recording.Seal();
    store->test.store.Kept(0);
    EXPECT_EQ(store->blocks_used(), 0u);
    store->test.ExpectEmpty();
    store->test.store.SetRecorder(nullptr);
  }
}

// Random writes, many of them into reservations, so that neighbours share blocks, some kept at once and some together,
// some evicted before a neighbour is written: whatever is kept is there. B3 and B5 are found here.
TEST_F(WriteBackTest, NeighboursInOneBlockDoNotOverwriteEachOther) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    SimRandom random(seed);
    const auto below = [&](uint64_t n) { return static_cast<uint32_t>(random.U64() % n); };
    SimPlatter mine({.seed = seed});
    mine.faults.latency_max = kMillisecond;
    auto store = std::make_unique<StoreOnDisk>(mine, clock, false);
    Recording recording(&store->test);
    const uint32_t kBytes = seed % 3 == 0 ? 12'000 : seed % 3 == 1 ? 40'000 : 300'000;
    const uint32_t longest = seed % 3 == 2 ? 20'000 : 300;
    const uint32_t first = below(5'000);
    std::string model(kBytes, '\0');
    ASSERT_TRUE(store->test.store.ReserveRange(Range(1, first, kBytes - first)).ok());
    for (int i = 0; i < 100; ++i) {
      ChunkRange range = Range(1, below(kBytes - 1), 1 + below(longest));
      range.bytes = std::min(range.bytes, kBytes - range.offset);
      const std::string data(range.bytes, static_cast<char>('a' + i % 26));
      for (uint32_t at = 0; at < data.size();) {
        ChunkRange part = range;
        part.offset += at;
        part.bytes -= at;
        auto place = store->test.store.StageFor(part);
        ASSERT_TRUE(place.ok());
        part.bytes = std::min(part.bytes, place->bytes);
        const Bytes bytes = AsBytes(data).subspan(at, part.bytes);
        store->test.Fill(*place, bytes);
        ASSERT_TRUE(store->test.store.Commit(part, *place, StoreUnderTest::Sums(bytes), 1).ok());
        at += part.bytes;
      }
      model.replace(range.offset, range.bytes, data);
      recording.Seal();
      for (uint32_t turns = below(4); turns != 0; --turns) store->Turn();
      if (below(10) != 0) continue;
      ASSERT_TRUE(store->Keep().ok());
      (void)store->test.store.EvictSome(below(2 * kBytes));
      recording.Seal();
    }
    ASSERT_TRUE(store->Keep().ok());
    store->test.store.SetRecorder(nullptr);
    const auto after = LosePower(std::move(store), recording.records, &mine);
    std::string found = after->Read(Range(1, 0, kBytes));
    found.resize(kBytes);
    EXPECT_TRUE(found == model);
  }
}

}  // namespace
}  // namespace mayfly
