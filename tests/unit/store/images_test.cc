// The images as bytes: the worked example of share/doc/format/images.md, and what is refused.
#include <cstdio>

#include "fake/worked_example.h"
#include "recording.h"

namespace mayfly {
namespace {

using store_internal::DecodeRange;
using store_internal::RangeImage;
using store_internal::SliceImage;
using store_internal::SliceKind;

// As the page has it.
std::string TextOf(const Record& record) {
  std::string text;
  for (size_t i = 0; i < record.size(); ++i) {
    char byte[8];
    std::snprintf(byte, sizeof byte, "%s%02x", i % 8 == 0 && i % 16 != 0 ? "  " : " ", record[i]);
    text += (i % 16 == 0 ? "\ncommit    " : "") + std::string(byte);
  }
  return text;
}

TEST(StoreImages, TheWorkedExampleIsWhatTheStoreWrites) {
  StoreUnderTest test(64 * kMiB);
  Recording recording(&test);
  const ChunkRange range{.file = InodeId::Make(ShardId(3), 2), .chunk_bits = 22, .offset = 4096, .bytes = 5};
  ASSERT_TRUE(test.Write(range, AsBytes("hello"), true, 10'000).ok());
  recording.Seal();
  const Record example = ReadExample("images.md").at("commit");
  EXPECT_TRUE(recording.records.at(0) == example) << TextOf(recording.records[0]);

  TlvReader reader(example);
  Tag tag = 0;
  Bytes value;
  ASSERT_TRUE(reader.Next(&tag, &value));
  EXPECT_EQ(tag, kTagFileRange);
  EXPECT_TRUE(IsStoreTag(tag));
  EXPECT_TRUE(reader.Finish().ok());
  RangeImage image;
  ASSERT_TRUE(DecodeRange(value, &image).ok());
  EXPECT_EQ(image.file, range.file);
  EXPECT_EQ(image.begin, 4096u);
  EXPECT_EQ(image.end, 4101u);
  EXPECT_EQ(image.high_water, 4101u);
  EXPECT_EQ(image.mtime, 10'000u);
  EXPECT_EQ(image.epoch, 0u);
  EXPECT_EQ(image.changes, 1u);
  ASSERT_EQ(image.extents.size(), 1u);
  EXPECT_EQ(image.extents[0].serial, 1u);
  EXPECT_EQ(image.extents[0].place, (Place{0, 5}));
  EXPECT_EQ(image.extents[0].file_offset, 4096u);
  EXPECT_TRUE(image.extents[0].has_sums);
  ASSERT_EQ(image.slices.size(), 1u);
  EXPECT_EQ(image.slices[0].begin, 4096u);
  EXPECT_EQ(image.slices[0].bytes, 5u);
  EXPECT_EQ(image.slices[0].kind, SliceKind::kData);
}

// A small write is about 100 bytes in the journal, a chunk with its sums little more than the sums.
TEST(StoreImages, AreSmall) {
  StoreUnderTest test(64 * kMiB);
  TlvWriter out;
  test.store.SetRecorder(&out);
  ASSERT_TRUE(test.Write({.file = InodeId(1), .offset = 0, .bytes = 3'901}, 'a').ok());
  EXPECT_LE(out.size(), 120u);
  out.Clear();
  ASSERT_TRUE(test.Write({.file = InodeId(2), .offset = 0, .bytes = 4u << 20}, 'a').ok());
  EXPECT_LE(out.size(), 120u + 63 * 8);
  out.Clear();
  EXPECT_TRUE(test.store.Truncate(InodeId(2), 3u << 20));
  EXPECT_LE(out.size(), 80u);
  test.store.SetRecorder(nullptr);
}

// One image of each kind: data with one sum and with several, without, shared, reserved, in place, zeroed, a mark.
std::vector<Record> Samples() {
  StoreUnderTest test(64 * kMiB);
  Recording recording(&test);
  auto range = [](uint64_t file, uint32_t offset, uint32_t bytes) {
    return ChunkRange{.file = InodeId(file), .chunk_bits = 20, .offset = offset, .bytes = bytes};
  };
  EXPECT_TRUE(test.Write(range(1, 0, 1'000), 'a').ok());
  recording.Seal();
  EXPECT_TRUE(test.Write(range(1, 0, 200'000), 'b').ok());
  recording.Seal();
  EXPECT_TRUE(test.Write(range(1, 100'000, 20'000), 'c', false).ok());
  recording.Seal();
  EXPECT_TRUE(test.store.Punch(range(1, 300, 150'000)).ok());
  recording.Seal();
  EXPECT_TRUE(test.store.ReserveRange(range(2, 0, 100'000)).ok());
  recording.Seal();
  EXPECT_TRUE(test.store.ReserveRange(range(2, 0, 5'000)).ok());
  recording.Seal();
  const Place place = *test.store.StageFor(range(2, 10'000, 2'000));
  EXPECT_TRUE(test.store.Commit(range(2, 10'000, 2'000), place, {}, 1).ok());
  recording.Seal();
  EXPECT_TRUE(test.store.Truncate(InodeId(1), 200));
  recording.Seal();
  recording.records.push_back(WalkOf(test.store));
  EXPECT_TRUE(test.store.SetEpoch(InodeId(3), 1).ok());
  test.store.Drop(InodeId(1));
  recording.Seal();
  recording.Lose();
  return recording.records;
}

TEST(StoreImages, WhatIsCutShortOrTooLongIsRefusedAndChangesNothing) {
  for (const Record& record : Samples()) {
    TlvReader reader(record);
    Tag tag = 0;
    Bytes value;
    while (reader.Next(&tag, &value)) {
      StoreUnderTest test(64 * kMiB);
      const Record state = StateOf(test.store);
      for (size_t bytes = 0; bytes < value.size(); ++bytes) {
        ASSERT_EQ(test.store.Apply(tag, value.first(bytes)).code(), Code::kCorrupt) << tag << " " << bytes;
      }
      std::vector<uint8_t> longer(value.begin(), value.end());
      longer.push_back(0);
      ASSERT_EQ(test.store.Apply(tag, longer).code(), Code::kCorrupt);
      ASSERT_TRUE(StateOf(test.store) == state);
      ASSERT_TRUE(test.store.Apply(tag, value).ok());
    }
    ASSERT_TRUE(reader.Finish().ok());
  }
}

TEST(StoreImages, TagsThatMustBeKnownAreRefused) {
  StoreUnderTest test(64 * kMiB);
  EXPECT_EQ(test.store.Apply(kTagMust | 0x0280, {}).code(), Code::kCorrupt);
  EXPECT_TRUE(test.store.Apply(0x0280, {}).ok());
}

// An image of one data slice, with anything in it.
struct Made {
  uint64_t file = 1, begin = 0, end = 5'000, serial = 1, place = 0, file_offset = 0;
  uint32_t place_bytes = 5'000, bytes = 5'000;
  uint8_t flags = 0, extents = 1, slices = 1, slice_extent = 0, kind = 0;
  uint64_t slice_begin = 0;
  uint32_t slice_bytes = 5'000;

  Status ApplyTo(ChunkStore* store) const {
    uint8_t buffer[200];
    Encoder e(buffer);
    e(file, begin, end, uint64_t{0}, uint64_t{0}, uint64_t{0}, uint64_t{0}, extents, slices);
    e(serial, place, place_bytes, bytes, file_offset, flags);
    if ((flags & 4) != 0) e.Put(uint8_t{0});
    if ((flags & 2) != 0) e.Put(uint64_t{0});
    e(slice_begin, slice_bytes, slice_extent, kind);
    return store->Apply(kTagFileRange, Bytes(buffer, e.size()));
  }
};

TEST(StoreImages, AbsurdValuesAreRefused) {
  StoreUnderTest good(64 * kMiB);
  ASSERT_TRUE(Made().ApplyTo(&good.store).ok());
  const Made bad[] = {
      {.file = 0},
      {.begin = 6'000},
      {.begin = 1},    // the slice begins before
      {.end = 4'999},  // and ends behind
      {.serial = 0},
      {.serial = ~uint64_t{0}},
      {.place = 1ull << 60},          // no such segment
      {.place = (1u << 26) - 4'096},  // out of its segment
      {.place_bytes = 0},
      {.place_bytes = 1u << 27},
      {.place_bytes = 4'999},  // fewer than written
      {.bytes = 0},
      {.bytes = 4'000},    // fewer than the slice shows
      {.file_offset = 1},  // the slice begins before
      {.file_offset = ~uint64_t{0}},
      {.flags = 8},  // its blocks are missing, and what follows is taken for them
      {.flags = 4},  // inside of itself
      {.flags = 3},  // reserved, with sums
      {.flags = 1},  // reserved, and shown as data
      {.kind = 1},   // the other way round
      {.kind = 2},
      {.kind = 3},  // a mark with an extent
      {.kind = 4},
      {.extents = 0},
      {.extents = 200},
      {.slices = 0},
      {.slices = 2},
      {.slice_extent = 1},
      {.slice_extent = 255},
      {.slice_begin = 1},
      {.slice_begin = ~uint64_t{0}},
      {.slice_bytes = 0},
      {.slice_bytes = ~uint32_t{0}},
  };
  for (size_t i = 0; i < std::size(bad); ++i) {
    StoreUnderTest test(64 * kMiB);
    EXPECT_EQ(bad[i].ApplyTo(&test.store).code(), Code::kCorrupt) << i;
    EXPECT_EQ(test.store.stats().extents, 0u) << i;
    EXPECT_EQ(test.store.MemoryUsage(), 0u) << i;
  }
}

TEST(StoreImages, AnExtentThatIsKnownAsAnotherIsRefused) {
  StoreUnderTest test(64 * kMiB);
  ASSERT_TRUE(Made().ApplyTo(&test.store).ok());
  EXPECT_TRUE(Made().ApplyTo(&test.store).ok());
  EXPECT_EQ(Made{.file = 2}.ApplyTo(&test.store).code(), Code::kCorrupt);
  EXPECT_EQ(Made{.place = 8'192}.ApplyTo(&test.store).code(), Code::kCorrupt);
  EXPECT_EQ((Made{.place_bytes = 5'001}.ApplyTo(&test.store).code()), Code::kCorrupt);
  EXPECT_EQ((Made{.flags = 2}.ApplyTo(&test.store).code()), Code::kCorrupt);
  EXPECT_TRUE((Made{.serial = 2, .place = 8'192}.ApplyTo(&test.store).ok()));
  EXPECT_EQ(test.store.stats().extents, 1u) << "the first has no slice any more";
}

// Two halves that fit apart and not together.
TEST(StoreImages, ContradictionsOfPlacesAreFoundAtTheEnd) {
  const struct {
    Made one, other;
  } bad[] = {
      {{}, {.file = 2, .serial = 2}},                                                  // the same place
      {{}, {.file = 2, .serial = 2, .place = 4'096}},                                  // a page of it
      {{.place = 64}, {.file = 2, .serial = 2, .place = 8'192}},                       // a run not on a page
      {{.place = 64, .place_bytes = 5'000, .flags = 0x10}, {.file = 2, .serial = 2}},  // a run in a slab
      {{.place = 2u << 20}, {.file = 2, .serial = 2}},                                 // no such memory
      {{.place = (2u << 20) - 4'096}, {.file = 2, .serial = 2}},                       // behind its end
      {{.place = 1ull << 26}, {.file = 2, .serial = 2}},                               // no such segment
  };
  SimArenaMemory dead;
  ASSERT_TRUE(dead.Map(2 * kMiB).ok());
  for (size_t i = 0; i < std::size(bad); ++i) {
    StoreUnderTest test(64 * kMiB);
    Status status = bad[i].one.ApplyTo(&test.store);
    if (status.ok()) status = bad[i].other.ApplyTo(&test.store);
    if (status.ok()) status = test.store.FinishRecovery(CopySegments(dead, &test.memory));
    EXPECT_EQ(status.code(), Code::kCorrupt) << i;
    EXPECT_EQ(test.arena.stats().segments, 0u);
  }
}

}  // namespace
}  // namespace mayfly
