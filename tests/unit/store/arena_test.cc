#include "store/arena.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <random>
#include <vector>

#include "fake/sim_arena.h"

namespace mayfly {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;

struct ArenaTest : testing::Test {
  SimArenaMemory memory;
  MemoryBudget budget{64 * kMiB};
  Arena arena{&memory, &budget};

  // Allocates until kNoSpace.
  std::vector<Place> Fill(uint32_t bytes) {
    std::vector<Place> places;
    for (;;) {
      auto place = arena.Allocate(bytes);
      if (!place.ok()) {
        EXPECT_EQ(place.code(), Code::kNoSpace);
        return places;
      }
      places.push_back(*place);
    }
  }
};

TEST_F(ArenaTest, SegmentsAreASixteenthOfTheBudget) {
  EXPECT_EQ(arena.segment_bytes(), 4 * kMiB);
  MemoryBudget small(5 * kMiB), large(64ull << 30);
  EXPECT_EQ(Arena(&memory, &small).segment_bytes(), 2 * kMiB);
  EXPECT_EQ(Arena(&memory, &large).segment_bytes(), 64 * kMiB);
  EXPECT_EQ(arena.stats().segments, 0u);
}

// A8
TEST_F(ArenaTest, NothingIsGivenOutOfASegmentThatIsBeingDrained) {
  std::vector<Place> places = Fill(100'000);
  std::vector<Place> cells;
  for (int i = 0; i < 600; ++i) {  // of every segment something comes free, and slabs lie there
    if (i % 3 != 0) continue;
    arena.Free(places.back());
    places.pop_back();
    for (int cell = 0; cell < 10; ++cell) cells.push_back(*arena.Allocate(3000));
  }
  const uint64_t mapped = arena.stats().bytes_mapped, free = arena.bytes_free();
  const uint32_t chosen = cells.front().segment();
  ASSERT_EQ(arena.StartDrain(1, 64 * kMiB, [&](uint32_t s) { return s == chosen; }), 1u);
  EXPECT_EQ(arena.StartDrain(1, 64 * kMiB, [&](uint32_t s) { return s == chosen; }), 0u);
  EXPECT_EQ(arena.StartDrain(1, kMiB, [&](uint32_t) { return true; }), 0u) << "more than may go";
  ASSERT_LE(arena.bytes_free(), free);
  // What comes free there stays there.
  std::erase_if(cells, [&](Place place) {
    if (place.segment() == chosen && place.within() % 128 == 0) return false;
    arena.Free(place);
    return true;
  });
  for (uint32_t bytes : {3000u, 5000u, 70'000u}) {
    for (Place place : Fill(bytes)) {
      EXPECT_NE(place.segment(), chosen);
      (bytes == 3000 ? cells : places).push_back(place);
    }
  }
  EXPECT_FALSE(arena.ReleaseDrained());
  // Given up: all of it may be had again, and is, in one piece where it is free.
  arena.EndDrain();
  bool there = false;
  for (uint32_t bytes : {70'000u, 3000u}) {
    for (Place place : Fill(bytes)) {
      there |= place.segment() == chosen;
      places.push_back(place);
    }
  }
  EXPECT_TRUE(there);
  // And once it is empty it goes.
  ASSERT_EQ(arena.StartDrain(1, 64 * kMiB, [&](uint32_t s) { return s == chosen; }), 1u);
  places.insert(places.end(), cells.begin(), cells.end());
  std::erase_if(places, [&](Place place) {
    if (place.segment() != chosen) return false;
    arena.Free(place);
    return true;
  });
  EXPECT_TRUE(arena.ReleaseDrained());
  EXPECT_TRUE(arena.draining().empty());
  EXPECT_LT(arena.stats().bytes_mapped, mapped);
  for (Place place : places) arena.Free(place);
  while (arena.ReleaseFreeSegment()) {
  }
  EXPECT_EQ(memory.used(), 0u);
}

// A6
TEST_F(ArenaTest, TheStampOfAPlaceGrowsBeforeItIsGivenOutAgain) {
  const Place large = *arena.Allocate(300'000), cell = *arena.Allocate(100), other = *arena.Allocate(300'000);
  const uint32_t large_stamp = arena.StampOf(large), cell_stamp = arena.StampOf(cell);
  arena.Free(large);
  EXPECT_EQ(arena.StampOf(large), large_stamp) << "its bytes are still there";
  const Place again = *arena.Allocate(200'000);
  ASSERT_EQ(again.segment(), large.segment());
  ASSERT_LT(again.within(), large.within() + large.bytes) << "the run freed last first";
  EXPECT_NE(arena.StampOf(large), large_stamp);
  arena.Free(cell);
  std::vector<Place> places{again, other};
  do places.push_back(*arena.Allocate(100));
  while (places.back() != cell && places.size() < 2000);
  ASSERT_EQ(places.back(), cell);
  EXPECT_GT(arena.StampOf(cell), cell_stamp);
  for (Place place : places) arena.Free(place);
}

TEST_F(ArenaTest, BadSizesAreInvalid) {
  EXPECT_EQ(arena.Allocate(0).code(), Code::kInvalid);
  EXPECT_EQ(arena.Allocate(Place::kBytesMax + 1).code(), Code::kInvalid);
}

// 47,008 bytes (IO500) are 12 pages, 49,152; 3,901 (mdtest) are one page.
TEST_F(ArenaTest, FullArenaWastesLittleAt47008) {
  auto places = Fill(47008);
  double data = 47008.0 * static_cast<double>(places.size());
  EXPECT_LT(1 - data / static_cast<double>(arena.stats().bytes_mapped), 0.05);
  EXPECT_GT(arena.stats().bytes_mapped, budget.bytes_max() * 9 / 10);
  for (Place p : places) arena.Free(p);
}

TEST_F(ArenaTest, FullArenaWastesLittleAt3901) {
  auto places = Fill(3901);
  double data = 3901.0 * static_cast<double>(places.size());
  EXPECT_LT(1 - data / static_cast<double>(arena.stats().bytes_mapped), 0.06);
  for (Place p : places) arena.Free(p);
}

TEST_F(ArenaTest, CellsAreAtMostAnEighthTooLarge) {
  for (uint32_t bytes = 1; bytes <= Slabs::kCellBytesMax; ++bytes) {
    uint32_t cell = Slabs::CellBytes(bytes);
    ASSERT_GE(cell, bytes);
    ASSERT_EQ(cell % 64, 0u);
    ASSERT_LE(cell, std::max(bytes + 63, bytes * 9 / 8 + 64)) << bytes;
  }
}

TEST_F(ArenaTest, WhereNoSlabCanBeHadACellIsAPage) {
  std::vector<Place> pages = Fill(4096);
  const uint64_t full = arena.stats().bytes_used;
  std::vector<Place> small;
  for (size_t i = 0; i < pages.size(); i += 2) arena.Free(pages[i]);
  for (size_t i = 0; i < pages.size(); i += 2) {
    small.push_back(*arena.Allocate(100));
    ASSERT_GE(small.back().bytes, 100u);
    std::memset(arena.Data(small.back()).data(), 1, small.back().bytes);
  }
  EXPECT_EQ(arena.stats().bytes_used, full);
  EXPECT_EQ(arena.bytes_free(), 0u);
  EXPECT_EQ(arena.Allocate(100).code(), Code::kNoSpace);
  small.back() = arena.Shrink(small.back(), 7);
  for (Place place : small) arena.Free(place);
  for (size_t i = 1; i < pages.size(); i += 2) arena.Free(pages[i]);
  EXPECT_EQ(arena.stats().bytes_used, 0u);
}

TEST_F(ArenaTest, LastFreedIsFirstGiven) {
  std::vector<Place> places;
  for (int i = 0; i < 9; ++i) places.push_back(*arena.Allocate(47008));
  for (int i : {1, 5, 3, 7}) arena.Free(places[i]);
  for (int i : {7, 3, 5, 1}) EXPECT_EQ(*arena.Allocate(47008), places[i]);
}

TEST_F(ArenaTest, WarmPagesGoBeforeColdOnes) {
  Place large = *arena.Allocate(1 * kMiB);
  arena.Free(large);
  uint64_t cold = arena.stats().bytes_free_cold;
  for (int i = 0; i < 256; ++i) ASSERT_EQ((*arena.Allocate(4096)).segment(), large.segment());
  EXPECT_EQ(arena.stats().bytes_free_cold, cold);
  ASSERT_TRUE(arena.Allocate(4096).ok());
  EXPECT_EQ(arena.stats().bytes_free_cold, cold - 4096);
}

TEST_F(ArenaTest, FreeNeighboursBecomeOneRunAndJoinTheColdOnes) {
  std::vector<Place> places;
  for (int i = 0; i < 100; ++i) places.push_back(*arena.Allocate(10000));
  for (int i = 0; i < 100; i += 2) arena.Free(places[i]);
  for (int i = 1; i < 100; i += 2) arena.Free(places[i]);
  // The whole segment in one piece: its warm run and what lies behind the mark.
  auto all = arena.Allocate(arena.segment_bytes());
  ASSERT_TRUE(all.ok());
  EXPECT_EQ(arena.stats().segments, 1u);
  EXPECT_EQ(all->within(), 0u);
}

TEST_F(ArenaTest, APlaceLongerThanASegmentGetsOneOfItsOwn) {
  auto place = arena.Allocate(9 * kMiB + 1);
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(arena.stats().bytes_mapped, 10 * kMiB);
  EXPECT_EQ(arena.Data(*place).size(), 9 * kMiB + 1);
}

TEST_F(ArenaTest, FreeSegmentsMakeRoomForALongerOne) {
  for (Place p : Fill(2 * kMiB)) arena.Free(p);
  auto place = arena.Allocate(40 * kMiB);
  ASSERT_TRUE(place.ok());
  EXPECT_EQ(arena.Allocate(40 * kMiB).code(), Code::kNoSpace);
  arena.Free(*place);
}

TEST_F(ArenaTest, TheLongestPlaceNeedsAWholeSegment) {
  MemoryBudget large(190 * kMiB);
  Arena wide(&memory, &large, {.segment_bytes = 64 * kMiB});
  auto a = wide.Allocate(64 * kMiB), b = wide.Allocate(64 * kMiB);
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_EQ(wide.Allocate(64 * kMiB).code(), Code::kNoSpace);
  wide.Free(*a);
  EXPECT_EQ(*wide.Allocate(64 * kMiB), *a);
}

TEST_F(ArenaTest, NodeWithoutRoomIsNoSpaceAndCostsNothing) {
  memory.set_bytes_max(6 * kMiB);
  Fill(1 * kMiB);
  EXPECT_EQ(arena.stats().bytes_mapped, 6 * kMiB);  // a whole segment, and a short one
  EXPECT_EQ(budget.arena_used(), 6 * kMiB);
}

TEST_F(ArenaTest, ShrinkGivesTheEndBack) {
  Place place = *arena.Allocate(1 * kMiB);
  memset(arena.Data(place).data(), 7, place.bytes);
  place = arena.Shrink(place, 47008);
  EXPECT_EQ(place.bytes, 47008u);
  EXPECT_EQ(arena.stats().bytes_used, 12u * 4096);
  EXPECT_EQ(arena.Data(place)[47007], 7);
  Place tiny = arena.Shrink(*arena.Allocate(1 * kMiB), 1);
  EXPECT_EQ(arena.stats().bytes_used, 13u * 4096);
  arena.Free(tiny);
  arena.Free(place);
  Place cell = *arena.Allocate(1000);
  EXPECT_EQ(arena.Shrink(cell, 10), cell);
  arena.Free(cell);
  EXPECT_EQ(arena.stats().bytes_used, 0u);
}

TEST_F(ArenaTest, PrefaultRunsAheadOfTheColdMark) {
  ASSERT_TRUE(arena.Grow().ok());
  MutableBytes first = arena.NextCold(1 * kMiB);
  EXPECT_EQ(first.size(), 1 * kMiB);
  EXPECT_EQ(arena.stats().bytes_prefaulted, 1 * kMiB);
  Place place = *arena.Allocate(2 * kMiB);
  EXPECT_EQ(arena.Data(place).data(), first.data());
  EXPECT_EQ(arena.stats().bytes_prefaulted, 0u);
  MutableBytes second = arena.NextCold(~size_t{0});
  EXPECT_EQ(second.data(), arena.Data(place).data() + 2 * kMiB);
  EXPECT_EQ(second.size(), 2 * kMiB);
  EXPECT_TRUE(arena.NextCold(kMiB).empty());
  arena.Free(place);
  EXPECT_FALSE(arena.ReleaseFreeSegment());  // A5: still prefaulting
  arena.ColdDone(first);
  arena.ColdDone(second);
  EXPECT_TRUE(arena.ReleaseFreeSegment());
  EXPECT_FALSE(arena.ReleaseFreeSegment());
}

TEST_F(ArenaTest, ReleasedSegmentsGoBackToTheBudget) {
  auto places = Fill(47008);
  uint64_t used = budget.used();
  EXPECT_FALSE(arena.ReleaseFreeSegment());
  for (Place p : places) arena.Free(p);
  while (arena.ReleaseFreeSegment()) {
  }
  EXPECT_EQ(arena.stats().segments, 0u);
  EXPECT_EQ(budget.used(), 0u);
  EXPECT_EQ(memory.used(), 0u);
  auto again = Fill(47008);
  EXPECT_EQ(again.size(), places.size());
  EXPECT_EQ(budget.used(), used);
  EXPECT_GT(again[0].segment(), places.back().segment());  // numbers are not reused
}

// ---- adoption ----

TEST_F(ArenaTest, AnAdoptedArenaKnowsWhatWasGivenOut) {
  std::mt19937 random(3);
  std::vector<Place> places;
  for (int i = 0; i < 6'000; ++i) {
    if (random() % 3 == 0 && !places.empty()) {
      std::swap(places[random() % places.size()], places.back());
      arena.Free(places.back());
      places.pop_back();
      continue;
    }
    const uint32_t bytes = 1 + random() % (random() % 2 == 0 ? 4'000 : 60'000);
    if (auto place = arena.Allocate(bytes); place.ok()) places.push_back(*place);
  }
  std::vector<AdoptedPlace> adopted;
  for (Place place : places) adopted.push_back({place, arena.SlabPagesOf(place)});
  SimArenaMemory other_memory;
  std::vector<ArenaMemory::Found> segments;
  for (uint32_t i = 0; !memory.segment(i).empty(); ++i) {
    segments.push_back({i, *other_memory.Map(memory.segment(i).size())});
  }
  std::reverse(segments.begin(), segments.end());
  std::shuffle(adopted.begin(), adopted.end(), random);
  MemoryBudget other_budget(64 * kMiB);
  Arena other(&other_memory, &other_budget);
  ASSERT_TRUE(other.Adopt(segments, adopted).ok());
  EXPECT_EQ(other.stats().bytes_used, arena.stats().bytes_used);
  EXPECT_EQ(other.stats().bytes_mapped, arena.stats().bytes_mapped);
  EXPECT_EQ(other_budget.arena_used(), budget.arena_used());
  for (Place place : places) EXPECT_EQ(other.SlabPagesOf(place), arena.SlabPagesOf(place));
  // Half goes back before the quarantine ends, half afterwards; in between new ones come.
  for (size_t i = 0; i < places.size() / 2; ++i) other.Free(places[i]);
  std::vector<Place> fresh;
  for (int i = 0; i < 500; ++i) {
    if (auto place = other.Allocate(1 + random() % 6'000); place.ok()) fresh.push_back(*place);
  }
  other.ReleaseQuarantine();
  EXPECT_EQ(other.stats().bytes_quarantined, 0u);
  for (size_t i = places.size() / 2; i < places.size(); ++i) other.Free(places[i]);
  for (Place place : fresh) other.Free(place);
  EXPECT_EQ(other.stats().bytes_used, 0u);
  while (other.ReleaseFreeSegment()) {
  }
  EXPECT_EQ(other.stats().segments, 0u);
  EXPECT_EQ(other_budget.arena_used(), 0u);
}

TEST_F(ArenaTest, WhatCannotHaveBeenGivenOutIsNotAdopted) {
  const MutableBytes segment = *memory.Map(2 * kMiB);
  using Places = std::vector<AdoptedPlace>;
  const Places bad[] = {
      {{{4'096, 5'000}}, {{4'096, 5'000}}},  // twice
      {{{4'096, 5'000}}, {{8'192, 5'000}}},  // overlapping runs
      {{{4'160, 5'000}}},                    // a run beside its page
      {{{4'096, 5'000}, 1}},                 // a run in a slab
      {{{0, 100}}, {{128, 300}}},            // cells of two classes in one slab
      {{{64, 100}}},                         // between two cells
      {{{0, 100}}, {{32'768, 5'000}}},       // a run on a slab
      {{{0, 100}}, {{32'768, 100}, 0}},      // a slab on a slab
      {{{0, 100}, 1}},                       // a slab before the segment
      {{{8 * 4'096, 4'000}, 16}},            // behind the end of its slab
      {{{2 * kMiB - 4'096, 100}}},           // a slab that ends behind the segment
      {{{2 * kMiB - 4'096, 5'000}}},         // a run likewise
      {{{1ull << 26, 5'000}}},               // no such segment
      {{{0, 0}}},
  };
  for (size_t i = 0; i < std::size(bad); ++i) {
    EXPECT_EQ(arena.Adopt(std::vector<ArenaMemory::Found>{{0, segment}}, bad[i]).code(), Code::kCorrupt) << i;
  }
  const std::vector<ArenaMemory::Found> segments[] = {
      {{0, segment}, {0, segment}},
      {{1u << 18, segment}},
      {{0, {}}},
      {{0, segment.first(kMiB)}},
  };
  for (const auto& list : segments) EXPECT_EQ(arena.Adopt(list, {}).code(), Code::kCorrupt);
  EXPECT_EQ(budget.used(), 0u);
  EXPECT_EQ(arena.stats().segments, 0u);
  ASSERT_TRUE(arena.Adopt(std::vector<ArenaMemory::Found>{{3, segment}}, {{{3ull << 26 | 128, 100}}}).ok());
  EXPECT_EQ(arena.stats().bytes_used, 128u);
  arena.ReleaseQuarantine();
  EXPECT_EQ(arena.Allocate(5'000)->segment(), 3u);
}

using ArenaDeathTest = ArenaTest;
TEST_F(ArenaDeathTest, FreeingTwiceOrOtherwiseThanGivenAborts) {
  Place run = *arena.Allocate(20000), next = *arena.Allocate(20000), cell = *arena.Allocate(100);
  EXPECT_DEATH(arena.Free({run.offset, 40000}), "");
  EXPECT_DEATH(arena.Free({run.offset + 4096, 16000}), "");
  EXPECT_DEATH(arena.Free({cell.offset, 200}), "");
  EXPECT_DEATH(arena.Free({cell.offset + 64, 100}), "");
  arena.Free(run);
  EXPECT_DEATH(arena.Free(run), "");
  arena.Free(next);
  EXPECT_DEATH(arena.Free(next), "");
  arena.Free(cell);
  EXPECT_DEATH(arena.Free(cell), "");
}

// Random sizes and orders: places never overlap (each holds its pattern to the end), nothing is lost, and the counters
// agree with what is out.
class ArenaRandomTest : public testing::TestWithParam<uint32_t> {};

TEST_P(ArenaRandomTest, PlacesKeepTheirBytes) {
  SimArenaMemory memory;
  MemoryBudget budget(48 * kMiB);
  Arena arena(&memory, &budget);
  std::mt19937_64 random(GetParam());
  struct Held {
    Place place;
    uint8_t fill;
  };
  std::vector<Held> held;
  auto size = [&]() -> uint32_t {
    switch (random() % 8) {
      case 0:
        return 1 + random() % 64;
      case 1:
      case 2:
        return 1 + random() % 4096;
      case 3:
        return 3901;
      case 4:
        return 47008;
      case 5:
        return 4096 << random() % 9;
      case 6:
        return 1 + random() % (3 * kMiB);
      default:
        return 1 + random() % 65536;
    }
  };
  auto check_and_free = [&](size_t i) {
    MutableBytes data = arena.Data(held[i].place);
    ASSERT_EQ(data[0], held[i].fill);
    ASSERT_EQ(memcmp(data.data(), data.data() + 1, data.size() - 1), 0);
    memset(data.data(), 0xDD, data.size());  // poison
    arena.Free(held[i].place);
    held[i] = held.back();
    held.pop_back();
  };
  for (int step = 0; step < 20000; ++step) {
    bool filling = (step / 2000) % 2 == 0;
    if (held.empty() || random() % 100 < (filling ? 65 : 35)) {
      auto place = arena.Allocate(size());
      if (!place.ok()) {
        ASSERT_EQ(place.code(), Code::kNoSpace);
        continue;
      }
      ASSERT_EQ(place->offset % 64, 0u);
      ASSERT_FALSE(arena.IsDraining(*place));  // A8
      uint8_t fill = static_cast<uint8_t>(random());
      memset(arena.Data(*place).data(), fill, place->bytes);
      held.push_back({*place, fill});
    } else if (random() % 10 == 0) {
      Held& h = held[random() % held.size()];
      h.place = arena.Shrink(h.place, 1 + random() % h.place.bytes);
    } else {
      ASSERT_NO_FATAL_FAILURE(check_and_free(random() % held.size()));
    }
    if (step % 500 != 0) continue;
    uint64_t used = 0;
    for (const Held& h : held) {
      used += h.place.bytes <= Slabs::kCellBytesMax ? Slabs::CellBytes(h.place.bytes)
                                                    : (h.place.bytes + 4095) / 4096 * 4096;
    }
    ArenaStats s = arena.stats();
    ASSERT_EQ(s.bytes_used, used);
    ASSERT_EQ(s.bytes_mapped, memory.used());
    ASSERT_EQ(s.bytes_used + s.bytes_free_warm + s.bytes_free_cold, s.bytes_mapped);
    ASSERT_EQ(budget.arena_used(), s.bytes_mapped);
    ASSERT_EQ(budget.table_used(), s.bytes_tables);
    if (random() % 4 == 0) arena.ReleaseFreeSegment();
    if (random() % 3 == 0) {
      arena.EndDrain();
    } else if (random() % 2 == 0) {
      (void)arena.StartDrain(2 * kMiB, 16 * kMiB, [&](uint32_t) { return random() % 2 == 0; });
    } else {
      (void)arena.ReleaseDrained();
    }
  }
  while (!held.empty()) ASSERT_NO_FATAL_FAILURE(check_and_free(held.size() - 1));
  EXPECT_EQ(arena.stats().bytes_used, 0u);
  while (arena.ReleaseFreeSegment()) {
  }
  EXPECT_EQ(memory.used(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, ArenaRandomTest, testing::Range(1u, 9u));

}  // namespace
}  // namespace mayfly
