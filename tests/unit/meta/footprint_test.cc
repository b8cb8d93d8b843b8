// What an empty file costs, counted at the allocator. Without sanitizers only: they have an allocator of their own.
#include <malloc.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "unit/meta/support.h"

#ifndef MAYFLY_SANITIZED

namespace {
uint64_t allocated = 0, allocations = 0;

void* Take(size_t bytes) {
  void* p = std::malloc(bytes);
  if (p == nullptr) throw std::bad_alloc();
  allocated += malloc_usable_size(p) + 8;  // and the allocator's own word
  ++allocations;
  return p;
}
void Give(void* p) {
  if (p == nullptr) return;
  allocated -= malloc_usable_size(p) + 8;
  std::free(p);
}
}  // namespace

void* operator new(size_t bytes) { return Take(bytes); }
void* operator new[](size_t bytes) { return Take(bytes); }
void operator delete(void* p) noexcept { Give(p); }
void operator delete[](void* p) noexcept { Give(p); }
void operator delete(void* p, size_t) noexcept { Give(p); }
void operator delete[](void* p, size_t) noexcept { Give(p); }

namespace mayfly {
namespace {

std::vector<std::string> Names(size_t count) {
  std::vector<std::string> names;
  for (size_t i = 0; i < count; ++i) names.push_back("file.mdtest.0." + std::to_string(i));
  return names;
}

TEST(Footprint, AnEmptyFileTakesLessThan200Bytes) {
  for (const size_t count : {1000u, 20000u, 100000u, 300000u}) {
    const std::vector<std::string> names = Names(count);
    const uint64_t allocated_before = allocated;
    {
      Shard shard;
      const uint64_t base = allocated, calls = allocations, told_base = shard.ns.memory_bytes();
      for (const std::string& name : names) ASSERT_TRUE(shard.ns.Create({shard.root, name}, kRoot, 1).ok());
      const double bytes = static_cast<double>(allocated - base) / static_cast<double>(count);
      const double told = static_cast<double>(shard.ns.memory_bytes() - told_base) / static_cast<double>(count);
      const double calls_each = static_cast<double>(allocations - calls) / static_cast<double>(count);
      std::printf("%7zu files with names of about 19 bytes: %.1f bytes each, %.1f told, %.3f allocations\n", count,
                  bytes, told, calls_each);
      EXPECT_LT(bytes, 200);
      EXPECT_NEAR(told, bytes, 0.03 * bytes);
      EXPECT_LT(calls_each, 0.2);
      for (const std::string& name : names) ASSERT_EQ(shard.Remove(shard.root, name), Code::kOk);
      EXPECT_LT(allocated - base, 80u * 1024) << "what is empty is given back";
      EXPECT_LT(shard.ns.memory_bytes() - told_base, 80u * 1024);
    }
    EXPECT_EQ(allocated, allocated_before) << "nothing is lost";
  }
}

// Files that come and go for ever, one of a thousand stays: the cost is that of what stays.
TEST(Footprint, ChurnCostsNothing) {
  Shard shard;
  const uint64_t base = shard.ns.memory_bytes();
  size_t kept = 0;
  for (size_t i = 0; i < 400000; ++i) {
    const std::string name = "tmp" + std::to_string(i);
    ASSERT_TRUE(shard.ns.Create({shard.root, name}, kRoot, 1).ok());
    if (i % 1000 == 0) {
      ++kept;
    } else {
      ASSERT_EQ(shard.Remove(shard.root, name), Code::kOk);
    }
  }
  // A leaf of inodes, a page of the order and a share of everything else.
  EXPECT_LT(shard.ns.memory_bytes() - base, kept * 2600);
  EXPECT_EQ(shard.ns.Check(), "");
}

TEST(Footprint, ACreateAndAnUnlinkInTurnAllocateNothing) {
  Shard shard;
  for (int i = 0; i < 300; ++i) {
    ASSERT_TRUE(shard.ns.Create({shard.root, "f"}, kRoot, 1).ok());
    ASSERT_EQ(shard.Remove(shard.root, "f"), Code::kOk);
  }
  const uint64_t calls = allocations;
  for (int i = 0; i < 5000; ++i) {
    ASSERT_TRUE(shard.ns.Create({shard.root, "f"}, kRoot, 1).ok());
    ASSERT_EQ(shard.Remove(shard.root, "f"), Code::kOk);
  }
  EXPECT_EQ(allocations, calls);
}

TEST(Footprint, FindAllocatesNothing) {
  Shard shard;
  ASSERT_TRUE(shard.Make(shard.root, "f").ok());
  const uint64_t calls = allocations;
  for (int i = 0; i < 1000; ++i) {
    EXPECT_TRUE(shard.ns.Find(shard.root, "f").ok());
    EXPECT_FALSE(shard.ns.Find(shard.root, "g").ok());
  }
  EXPECT_EQ(allocations, calls);
}

TEST(Footprint, ManySmallDirectoriesStaySmall) {
  Shard shard;
  const uint64_t base = allocated, told = shard.ns.memory_bytes();
  constexpr size_t kDirs = 20000;
  for (size_t i = 0; i < kDirs; ++i) shard.MakeDir(shard.root, "dir" + std::to_string(i));
  const double empty = static_cast<double>(allocated - base) / kDirs;
  InodeId dir;
  for (size_t i = 0; i < kDirs; ++i) {
    dir = shard.ns.Find(shard.root, "dir" + std::to_string(i))->inode;
    for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(shard.Make(dir, name).ok());
  }
  const double full = static_cast<double>(allocated - base) / kDirs;
  std::printf("a joined directory: %.1f bytes, with three files %.1f, told %.1f\n", empty, full,
              static_cast<double>(shard.ns.memory_bytes() - told) / kDirs);
  EXPECT_LT(empty, 700);
  EXPECT_LT(full, 1200);
}

}  // namespace
}  // namespace mayfly

#endif
