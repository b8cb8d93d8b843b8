// What files cost in tables: the figures of extents.h and files.h, checked against the heap itself.
#include <gtest/gtest.h>
#include <malloc.h>

#include <cstdio>
#include <cstdlib>
#include <new>

#include "store_fixture.h"

#ifndef MAYFLY_SANITIZED
namespace {

uint64_t heap_bytes = 0;  // of live blocks from operator new, with malloc's 8 bytes before each

void* Counted(size_t bytes) {
  void* block = std::malloc(bytes);
  if (block == nullptr) throw std::bad_alloc();
  heap_bytes += malloc_usable_size(block) + 8;
  return block;
}
void Uncounted(void* block) {
  if (block != nullptr) heap_bytes -= malloc_usable_size(block) + 8;
  std::free(block);
}

}  // namespace

void* operator new(size_t bytes) { return Counted(bytes); }
void operator delete(void* block) noexcept { Uncounted(block); }
void operator delete(void* block, size_t) noexcept { Uncounted(block); }
#endif

namespace mayfly {
namespace {

struct BookkeepingTest : testing::Test, StoreUnderTest {
  BookkeepingTest() : StoreUnderTest(1024 * kMiB) { EXPECT_TRUE(arena.Grow().ok()); }
  // As Write, without filling the place: only the tables matter.
  void WriteUnfilled(const ChunkRange& range) {
    auto place = store.Stage(range.bytes);
    ASSERT_TRUE(place.ok());
    ASSERT_TRUE(store.Commit(range, *place, {sums, BlocksOf(range.bytes)}, 1).ok());
  }
  static double Each(uint64_t bytes, uint32_t count) { return static_cast<double>(bytes) / count; }

  uint64_t sums[64] = {};
};

TEST_F(BookkeepingTest, AChunkOfOneExtentTakesUnder200BytesBesideItsSums) {
  constexpr uint32_t kCount = 200;
  for (uint32_t i = 0; i < kCount; ++i) WriteUnfilled({.file = InodeId(1), .chunk = ChunkIndex(i), .bytes = 4 << 20});
  double sum_bytes = store_internal::HeapBytes(64 * 8);
  double rest = Each(store.MemoryUsage(), kCount) - sum_bytes;
  printf("4 MiB chunk, one extent: %.0f bytes = extent 64 + slice 24 in its node + share of the file; and sums %.0f\n",
         rest, sum_bytes);
  EXPECT_LE(rest, 200);
}

TEST_F(BookkeepingTest, AChunkOfFourExtentsTakesUnder100BytesAnExtent) {
  constexpr uint32_t kCount = 400;
  for (uint32_t i = 0; i < kCount; ++i) {
    WriteUnfilled({.file = InodeId(1), .chunk = ChunkIndex(i / 4), .offset = i % 4 << 20, .bytes = 1 << 20});
  }
  double sum_bytes = store_internal::HeapBytes(16 * 8);
  double rest = Each(store.MemoryUsage(), kCount) - sum_bytes;
  printf("1 MiB extent of a 4 MiB chunk: %.0f bytes; and sums %.0f\n", rest, sum_bytes);
  EXPECT_LE(rest, 100);
}

TEST_F(BookkeepingTest, ASmallFileTakesUnder240BytesWithItsSum) {
  constexpr uint32_t kCount = 20000;
  for (uint32_t i = 0; i < kCount; ++i) WriteUnfilled({.file = InodeId(1 + i), .bytes = 3901});
  double each = Each(store.MemoryUsage(), kCount);
  printf("3901-byte file: %.0f bytes = file %zu + extent %zu + its only slice %zu + hash bucket 8\n", each,
         size_t{store_internal::HeapBytes(sizeof(store_internal::File))},
         size_t{store_internal::HeapBytes(sizeof(store_internal::Extent))}, size_t{store_internal::HeapBytes(16 + 24)});
  EXPECT_LE(each, 240);
}

#ifndef MAYFLY_SANITIZED  // whose heap has other sizes
TEST_F(BookkeepingTest, MemoryUsageIsWhatTheHeapGave) {
  uint64_t slabs = arena.stats().bytes_tables;
  uint64_t heap = heap_bytes, used = store.MemoryUsage();
  EXPECT_EQ(used, 0u);
  for (uint32_t i = 0; i < 3000; ++i) {
    uint32_t bytes = 4097 + i * 977 % 200000;  // runs only: the arena's slabs have tables of their own
    WriteUnfilled(
        {.file = InodeId(1 + i % 50), .chunk = ChunkIndex(i % 7), .offset = i * 4099 % 3900000, .bytes = bytes});
    if (i % 300 == 0) store.Drop(InodeId(1 + i % 7));
  }
  // The arena may have mapped more segments meanwhile: their page tables are on the heap too.
  uint64_t arena_grew = arena.stats().bytes_tables - slabs;
  uint64_t grew = heap_bytes - heap;
  printf("heap %zu, of which the arena's %zu; MemoryUsage %zu\n", size_t{grew}, size_t{arena_grew},
         size_t{store.MemoryUsage()});
  EXPECT_NEAR(static_cast<double>(grew - arena_grew), static_cast<double>(store.MemoryUsage()),
              0.08 * static_cast<double>(store.MemoryUsage()));  // what the allocator adds differs by build
  for (uint32_t i = 0; i < 50; ++i) store.Drop(InodeId(1 + i));
  EXPECT_EQ(store.MemoryUsage(), 0u);
}
#endif

}  // namespace
}  // namespace mayfly
