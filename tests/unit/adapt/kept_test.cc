// Memory that outlives its process: kept regions, and arena segments that the next server adopts.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>

#include "adapt/posix/arena_memory.h"
#include "adapt/posix/arena_view.h"
#include "adapt/posix/posix_kept_memory.h"
#include "disk_testing.h"
#include "fake/sim_arena.h"
#include "fake/sim_kept_memory.h"

namespace mayfly {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

struct KeptTest : testing::Test {
  bool Exists(const std::string& name) const { return std::filesystem::exists(directory.path + "/" + name); }
  bool IsEmpty() const { return std::filesystem::is_empty(directory.path); }
  PosixKeptMemory Kept() { return PosixKeptMemory({.directory = directory.path, .prefix = "s"}); }
  PosixArenaMemory::Options Arena(bool adopt) { return {.directory = directory.path, .prefix = "s", .adopt = adopt}; }
  TemporaryDirectory directory{std::filesystem::exists("/dev/shm") ? "/dev/shm" : "/tmp"};
};

// --- kept regions ---------------------------------------------------------------------------------------------------

using PosixKeptMemoryTest = KeptTest;

TEST_F(PosixKeptMemoryTest, ARegionIsZeroedPrivateAndStays) {
  {
    PosixKeptMemory memory = Kept();
    MutableBytes tail = *memory.Create("tail", 100'000);
    ASSERT_EQ(tail.size(), 100'000u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tail.data()) % 4096, 0u);
    for (uint8_t byte : tail) ASSERT_EQ(byte, 0);
    struct stat info {};
    ASSERT_EQ(stat(memory.PathOf("tail").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_GE(static_cast<size_t>(info.st_blocks) * 512, tail.size()) << "backed by pages (R2)";
    EXPECT_EQ(memory.Create("tail", 1).code(), Code::kExists);
    tail[99'999] = 42;
  }
  PosixKeptMemory memory = Kept();
  EXPECT_EQ(memory.Find("other").code(), Code::kNoEntry);
  EXPECT_EQ(memory.Create("tail", 1).code(), Code::kExists);
  MutableBytes tail = *memory.Find("tail");
  ASSERT_EQ(tail.size(), 100'000u);
  EXPECT_EQ(tail[99'999], 42);
  EXPECT_TRUE(memory.Remove("tail").ok());
  EXPECT_EQ(memory.Remove("tail").code(), Code::kNoEntry);
  EXPECT_EQ(memory.Find("tail").code(), Code::kNoEntry);
  EXPECT_TRUE(IsEmpty());
}

TEST_F(PosixKeptMemoryTest, AKilledProcessLeavesItsLastStore) {
  StandingChild child([&] {
    static PosixKeptMemory memory = Kept();
    MutableBytes region = *memory.Create("counter", 8192);
    for (uint64_t i = 1; i <= 1'000'000; ++i) std::memcpy(region.data() + 4096, &i, sizeof i);
  });
  ASSERT_TRUE(child.ready());
  {
    PosixKeptMemory memory = Kept();
    EXPECT_EQ(memory.Find("counter").code(), Code::kBusy) << "its owner is alive (M2)";
  }
  child.Kill();
  PosixKeptMemory memory = Kept();
  uint64_t value = 0;
  std::memcpy(&value, memory.Find("counter")->data() + 4096, sizeof value);
  EXPECT_EQ(value, 1'000'000u);
}

// M3
TEST_F(PosixKeptMemoryTest, WhoOnlyLooksHasACopyAndDisturbsNobody) {
  PosixKeptMemory looker({.directory = directory.path, .prefix = "s", .look_only = true});
  EXPECT_EQ(looker.Find("tail").code(), Code::kNoEntry);
  EXPECT_EQ(looker.Create("tail", 4096).code(), Code::kReadOnly);
  {
    PosixKeptMemory memory = Kept();
    (*memory.Create("tail", 4096))[5] = 42;
    MutableBytes seen = *looker.Find("tail");  // though a process has it
    EXPECT_EQ(seen[5], 42);
    seen[5] = 1;
  }
  PosixKeptMemory memory = Kept();
  auto found = memory.Find("tail");  // though it is being looked at
  ASSERT_TRUE(found.ok());
  EXPECT_EQ((*found)[5], 42);
  EXPECT_EQ(looker.Remove("tail").code(), Code::kReadOnly);
  EXPECT_FALSE(IsEmpty());
}

TEST_F(PosixKeptMemoryTest, WhatWasNotFinishedIsNotThere) {
  std::ofstream(directory.path + "/s.tail~") << "half";
  PosixKeptMemory memory = Kept();
  EXPECT_EQ(memory.Find("tail").code(), Code::kNoEntry);
  EXPECT_EQ(memory.Create("tail", 4096)->size(), 4096u);
  EXPECT_FALSE(Exists("s.tail~"));
}

TEST_F(PosixKeptMemoryTest, NoRoomAndStrangeFilesAreRefused) {
  PosixKeptMemory memory = Kept();
  const Code code = memory.Create("huge", size_t{1} << 55).code();
  EXPECT_TRUE(code == Code::kNoSpace || code == Code::kFileTooBig) << TextOf(code);
  EXPECT_TRUE(IsEmpty());
  ASSERT_EQ(symlink("/etc/passwd", (directory.path + "/s.link").c_str()), 0);
  EXPECT_EQ(memory.Find("link").code(), Code::kLoop);
  std::ofstream(directory.path + "/s.open") << "for all";
  ASSERT_EQ(chmod((directory.path + "/s.open").c_str(), 0644), 0);
  EXPECT_EQ(memory.Find("open").code(), Code::kAccess);
}

TEST(SimKeptMemory, OutlivesTheProcessButNotThePower) {
  SimKeptNode node(8192);
  {
    SimKeptMemory memory(node);
    EXPECT_EQ(memory.Find("tail").code(), Code::kNoEntry);
    MutableBytes tail = *memory.Create("tail", 8192);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tail.data()) % 4096, 0u);
    EXPECT_EQ(memory.Create("tail", 1).code(), Code::kExists);
    EXPECT_EQ(memory.Create("more", 1).code(), Code::kNoSpace);
    tail[8191] = 9;
  }
  {
    SimKeptMemory memory(node);
    MutableBytes tail = *memory.Find("tail");
    EXPECT_EQ(tail.size(), 8192u);
    EXPECT_EQ(tail[8191], 9);
  }
  node.CutPower();
  SimKeptMemory memory(node);
  EXPECT_EQ(memory.Find("tail").code(), Code::kNoEntry);
  EXPECT_EQ(memory.Remove("tail").code(), Code::kNoEntry);
  EXPECT_EQ(node.used(), 0u);
}

// --- arena segments -------------------------------------------------------------------------------------------------

using PosixArenaAdoptTest = KeptTest;

TEST_F(PosixArenaAdoptTest, TheNextServerFindsSegmentsStampsAndClients) {
  StandingChild child([&] {
    static PosixArenaMemory arena(Arena(true));
    if (!arena.Adopt()->empty()) _exit(1);
    MutableBytes first = *arena.Map(2 * kMiB), second = *arena.Map(4 * kMiB), third = *arena.Map(2 * kMiB);
    first[2 * kMiB - 1] = 1;
    third[7] = 3;
    arena.Stamps(third)[31] = 33;
    arena.Changes()[kChangeCounts - 1] = 55;
    arena.Unmap(second);
  });
  ASSERT_TRUE(child.ready());
  auto view = PosixArenaView::Attach(PosixArenaMemory(Arena(false)).Name(), 77);
  ASSERT_NE(view, nullptr);
  {
    PosixArenaMemory early(Arena(true));
    EXPECT_EQ(early.Adopt().code(), Code::kBusy) << "its owner is alive (A5)";
  }
  child.Kill();
  {
    PosixArenaMemory without(Arena(false));
    EXPECT_TRUE(without.Adopt()->empty());
    EXPECT_EQ(without.Map(2 * kMiB).code(), Code::kExists);
  }
  PosixArenaMemory arena(Arena(true));
  Result<std::vector<ArenaMemory::Found>> found = arena.Adopt();
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].number, 0u);
  EXPECT_EQ((*found)[1].number, 2u);
  const MutableBytes first = (*found)[0].segment, third = (*found)[1].segment;
  ASSERT_EQ(first.size(), 2 * kMiB);
  EXPECT_EQ(first[2 * kMiB - 1], 1);
  EXPECT_EQ(third[7], 3);
  EXPECT_EQ(arena.Stamps(third)[31], 33u);
  EXPECT_TRUE(arena.IsAttached(77)) << "who attached to the dead still has its memory";
  ASSERT_EQ(arena.Changes().size(), kChangeCounts);
  EXPECT_EQ(arena.Changes()[kChangeCounts - 1]++, 55u);
  EXPECT_EQ(view->Changes()[kChangeCounts - 1], 56u);
  view->Find(2).data[8] = 4;
  EXPECT_EQ(third[8], 4);
  view.reset();
  EXPECT_FALSE(arena.IsAttached(77));
  ASSERT_TRUE(arena.Map(2 * kMiB).ok());
  EXPECT_TRUE(Exists("s.3")) << "numbers go on";
  arena.Unmap(first);
  EXPECT_FALSE(Exists("s.0"));
}

TEST_F(PosixArenaAdoptTest, WhatIsKeptIsForTheNext) {
  {
    PosixArenaMemory arena(Arena(true));
    ASSERT_TRUE(arena.Adopt().ok());
    MutableBytes segment = *arena.Map(2 * kMiB);
    segment[0] = 5;
    arena.Keep();
    arena.Unmap(segment);
  }
  {
    PosixArenaMemory arena(Arena(true));
    ASSERT_EQ(arena.Adopt()->size(), 1u);
  }
  EXPECT_TRUE(IsEmpty()) << "this one kept nothing";
}

TEST_F(PosixArenaAdoptTest, WhoOnlyLooksSeesItAllAndChangesNothing) {
  {
    PosixArenaMemory arena(Arena(false));
    MutableBytes segment = *arena.Map(2 * kMiB);
    segment[7] = 7;
    arena.Keep();
  }
  const auto cut_short = [&] {
    std::ofstream(directory.path + "/s.9") << "cut short";
    ASSERT_EQ(chmod((directory.path + "/s.9").c_str(), 0600), 0);
  };
  cut_short();
  PosixArenaMemory next(Arena(true));
  ASSERT_EQ(next.Adopt()->size(), 1u);  // locks it, and takes away what is no segment
  EXPECT_FALSE(Exists("s.9"));
  next.Keep();
  cut_short();
  PosixArenaMemory::Options options = Arena(true);
  options.look_only = true;
  {
    PosixArenaMemory look(options);
    const auto found = look.Adopt();
    ASSERT_TRUE(found.ok()) << "a lock stands in the way";
    ASSERT_EQ(found->size(), 1u);
    const MutableBytes segment = found->front().segment;
    EXPECT_EQ(segment[7], 7);
    segment[7] = 8;
    look.Stamps(segment)[0] = 5;
    const auto more = look.Map(2 * kMiB);
    ASSERT_TRUE(more.ok());
    EXPECT_EQ((*more)[0], 0);
    EXPECT_EQ(look.Name(), "");
    EXPECT_FALSE(look.IsAttached(1));
    look.Unmap(segment);
  }
  EXPECT_TRUE(Exists("s.0") && Exists("s.9") && Exists("s.users"));
  EXPECT_FALSE(Exists("s.10"));
  PosixArenaMemory again(options);
  EXPECT_EQ(again.Adopt()->front().segment[7], 7) << "it was written";
  options.directory += "/none";
  PosixArenaMemory nothing(options);
  EXPECT_TRUE(nothing.Adopt()->empty());
}

TEST_F(PosixArenaAdoptTest, WhatIsNoSegmentIsRemovedAndHolesAreFilled) {
  {
    PosixArenaMemory arena(Arena(true));
    ASSERT_TRUE(arena.Map(2 * kMiB).ok());
    arena.Keep();
  }
  const std::string path = directory.path + "/s.";
  const auto make = [&](const char* name, uintmax_t bytes) {
    std::ofstream(path + name) << "";
    std::filesystem::resize_file(path + name, bytes);
    ASSERT_EQ(chmod((path + name).c_str(), 0600), 0);
  };
  make("1", 0);                 // killed while it was made
  make("5", kMiB);              // likewise
  make("07", 2 * kMiB + 4096);  // not a name of ours
  make("x", 2 * kMiB + 4096);
  make("3", 4 * kMiB + 4096);  // killed while it was given back: no page of it is there
  PosixArenaMemory arena(Arena(true));
  const Result<std::vector<ArenaMemory::Found>> found = arena.Adopt();
  ASSERT_TRUE(found.ok());
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[1].number, 3u);
  struct stat info {};
  ASSERT_EQ(stat(arena.PathOf(3).c_str(), &info), 0);
  EXPECT_GE(static_cast<size_t>(info.st_blocks) * 512, 4 * kMiB) << "backed by pages (A1)";
  EXPECT_FALSE(Exists("s.1"));
  EXPECT_FALSE(Exists("s.5"));
  EXPECT_TRUE(Exists("s.07"));
  EXPECT_TRUE(Exists("s.x"));
  ASSERT_TRUE(arena.Map(2 * kMiB).ok());
  EXPECT_TRUE(Exists("s.6"));
}

TEST_F(PosixArenaAdoptTest, AFileThatAnybodyMayWriteOrALinkIsNotAdopted) {
  ASSERT_EQ(symlink("/etc/passwd", (directory.path + "/s.0").c_str()), 0);
  EXPECT_EQ(PosixArenaMemory(Arena(true)).Adopt().code(), Code::kLoop);
  std::filesystem::remove(directory.path + "/s.0");
  std::ofstream(directory.path + "/s.0") << "";
  std::filesystem::resize_file(directory.path + "/s.0", 2 * kMiB + 4096);
  ASSERT_EQ(chmod((directory.path + "/s.0").c_str(), 0666), 0);
  EXPECT_EQ(PosixArenaMemory(Arena(true)).Adopt().code(), Code::kAccess);
  EXPECT_TRUE(Exists("s.0"));
}

TEST(SimArenaAdopt, TheNextServerFindsWhatTheNodeHas) {
  SimArenaMemory arena;
  MutableBytes first = *arena.Map(2 * kMiB), second = *arena.Map(2 * kMiB);
  arena.Stamps(second)[3] = 9;
  second[4] = 5;
  arena.Unmap(first);
  arena.Died();
  EXPECT_EQ(arena.Map(2 * kMiB).code(), Code::kExists);
  const Result<std::vector<ArenaMemory::Found>> found = arena.Adopt();
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ((*found)[0].number, 1u);
  EXPECT_EQ((*found)[0].segment[4], 5);
  EXPECT_EQ(arena.Stamps((*found)[0].segment)[3], 9u);
  const MutableBytes third = *arena.Map(2 * kMiB);
  EXPECT_EQ(arena.segment(2).data(), third.data()) << "numbers go on";
  arena.Keep();
  arena.Unmap(second);
  arena.Died();
  EXPECT_EQ(arena.Adopt()->size(), 2u);
}

}  // namespace
}  // namespace mayfly
