// What is kept survives a loss of power: a store that writes back onto a simulated disk, and the one that is filled
// from it (WriteBack, DiskReader). Writes in place, in reservations, share blocks.
#include "store/write_back.h"

#include <gtest/gtest.h>

#include "fake/sim_clock.h"
#include "fake/sim_disk.h"
#include "recording.h"
#include "store/chunk_file.h"
#include "store/disk_reader.h"

namespace mayfly {
namespace {

constexpr uint64_t kFileBytes = 64 * kMiB;
constexpr uint8_t kChunkBits = 22;

// A store with its chunk file. The platter is the test's: it outlives a loss of power.
struct StoreOnDisk {
  StoreOnDisk(SimPlatter& platter, SimClock& clock, bool there) : clock(clock), executor(clock), disk(platter, clock) {
    ChunkFileState state;
    ChunkFileHeader header;
    header.bytes = kFileBytes;
    auto opened = there ? OpenChunkFile(&executor, &disk, header.uuid, header.shard, &state)
                        : CreateChunkFile(&executor, &disk, header);
    file = Run(std::move(opened))->file;
    test.store.SetDisk(&space, true);
    write_back = std::make_unique<WriteBack>(&executor, &disk, file, &test.store, true);
    reader = std::make_unique<DiskReader>(&executor, &disk, file, &test.store, kFileBytes, NoRoom);
  }
  template <class T>
  T Run(Task<T> task) {
    while (!task.done()) Turn();
    return task.Take();
  }
  void Turn() {
    bool worked = executor.RunOnce();
    if (write_back != nullptr) worked |= write_back->Turn();
    worked |= disk.Poll();
    if (!worked && disk.NextAt() != kNever) clock.AdvanceTo(std::max(clock.Now(), disk.NextAt()));
  }
  // As StoreUnderTest::Read, with what is on the disk alone read back.
  std::string Read(ChunkRange range, bool in_order = true) {
    std::string text;
    for (;;) {
      ReadPieces pieces;
      const auto covered = test.store.Read(range, &pieces);
      EXPECT_TRUE(covered.ok());
      EXPECT_EQ(Run(reader->Fetch(&pieces, in_order, kNever)), Status());
      for (const ReadPiece& piece : pieces) text += test.TextOf(piece);
      if (!covered->cut) return text;
      range.offset += covered->bytes;
      range.bytes -= covered->bytes;
    }
  }
  static Task<Status> NoRoom(uint32_t, Nanos) { co_return Code::kNoSpace; }
  Status Keep() { return Run(Kept(this)); }
  static Task<Status> Kept(StoreOnDisk* s) { co_return co_await s->write_back->Kept(s->write_back->written(), kNever); }
  static Task<Status> Stopped(StoreOnDisk* s) {
    co_await s->write_back->Stop();
    co_return Status();
  }
  ~StoreOnDisk() { (void)Run(Stopped(this)); }

  SimClock& clock;
  Executor executor;
  SimDisk disk;
  DiskFileId file;
  DiskSpace space{kFileBytes};
  StoreUnderTest test{64 * kMiB};
  std::unique_ptr<WriteBack> write_back;
  std::unique_ptr<DiskReader> reader;
};

ChunkRange Range(uint64_t file, uint32_t offset, uint32_t bytes) {
  return {.file = InodeId(file), .chunk_bits = kChunkBits, .offset = offset, .bytes = bytes};
}

struct WriteBackTest : testing::Test {
  // The power goes, and all of `records` is applied to a new store, which is filled from the disk.
  std::unique_ptr<StoreOnDisk> LosePower(std::unique_ptr<StoreOnDisk> before, const std::vector<Record>& records,
                                         DiskReader::Filled* report) {
    before->disk.Crash(true);
    graves.push_back(before.release());  // its writes never end
    auto after = std::make_unique<StoreOnDisk>(platter, clock, true);
    ChunkStore& store = after->test.store;
    for (const Record& record : records) EXPECT_TRUE(ApplyAll(&store, record).ok());
    TlvWriter gone;
    ChunkStore::PutPlacesVoid(&gone);
    EXPECT_TRUE(ApplyAll(&store, gone.bytes()).ok());
    EXPECT_TRUE(store.FinishRecovery({}).ok());
    store.ReleaseQuarantine();
    EXPECT_TRUE(store.PlaceAbsent().ok());
    EXPECT_TRUE(after->Run(after->reader->FillPlaced(report)).ok());
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
  DiskReader::Filled report;
  store->test.store.SetRecorder(nullptr);
  store = LosePower(std::move(store), recording.records, &report);
  EXPECT_EQ(report.extents, 0u);  // nothing was reserved: it waits until it is wanted
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
  DiskReader::Filled report;
  store->test.store.SetRecorder(nullptr);
  store = LosePower(std::move(store), recording.records, &report);
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

// Random writes, many of them in place into reservations, so that neighbours share blocks, some kept at once and some
// together: whatever is kept is there. B3 is found here.
TEST_F(WriteBackTest, NeighboursInOneBlockDoNotOverwriteEachOther) {
  for (uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    SimRandom random(seed);
    const auto below = [&](uint64_t n) { return static_cast<uint32_t>(random.U64() % n); };
    SimPlatter mine({.seed = seed});
    mine.faults.latency_max = kMillisecond;
    auto store = std::make_unique<StoreOnDisk>(mine, clock, false);
    Recording recording(&store->test);
    // Short reservations are copied together, long ones written from where they lie.
    const uint32_t kBytes = seed % 2 == 0 ? 12'000 : 40'000;
    std::string model(kBytes, '\0');
    ASSERT_TRUE(store->test.store.ReserveRange(Range(1, 0, kBytes)).ok());
    for (int i = 0; i < 100; ++i) {
      ChunkRange range = Range(1, below(kBytes - 1), 1 + below(300));
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
      if (below(10) == 0) ASSERT_TRUE(store->Keep().ok());
    }
    ASSERT_TRUE(store->Keep().ok());
    DiskReader::Filled report;
    store->test.store.SetRecorder(nullptr);
    store->disk.Crash(true);
    graves.push_back(store.release());
    auto after = std::make_unique<StoreOnDisk>(mine, clock, true);
    for (const Record& record : recording.records) ASSERT_TRUE(ApplyAll(&after->test.store, record).ok());
    TlvWriter gone;
    ChunkStore::PutPlacesVoid(&gone);
    ASSERT_TRUE(ApplyAll(&after->test.store, gone.bytes()).ok());
    ASSERT_TRUE(after->test.store.FinishRecovery({}).ok());
    after->test.store.ReleaseQuarantine();
    ASSERT_TRUE(after->test.store.PlaceAbsent().ok());
    ASSERT_TRUE(after->Run(after->reader->FillPlaced(&report)).ok());
    EXPECT_EQ(report.corrupt_blocks, 0u);
    std::string found = after->Read(Range(1, 0, kBytes));
    found.resize(kBytes);
    EXPECT_TRUE(found == model);
  }
}

}  // namespace
}  // namespace mayfly
