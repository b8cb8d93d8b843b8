#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <future>
#include <set>
#include <thread>

#include "adapt/posix/arena_memory.h"
#include "adapt/posix/arena_view.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/cores.h"
#include "adapt/posix/idle.h"
#include "adapt/posix/offload.h"
#include "adapt/posix/process_watch.h"
#include "adapt/posix/random.h"

namespace mayfly {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

// --- clock, random ---------------------------------------------------------------------------------------------------

TEST(PosixClock, NowNeverGoesBackAndWallIsAfter2020) {
  PosixClock clock;
  Nanos last = clock.Now();
  for (int i = 0; i < 10'000; ++i) {
    const Nanos now = clock.Now();
    ASSERT_GE(now, last);
    last = now;
  }
  EXPECT_GT(clock.Wall(), 1'577'836'800 * kSecond);
}

TEST(PosixCores, AThreadLeavesACoreAndMayStillUseAll) {
  std::thread([] {
    PosixCores cores;
    cpu_set_t allowed, after;
    ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
    const int count = CPU_COUNT(&allowed);
    for (int i = 0; i < 20; ++i) {
      const uint32_t core = cores.Current();
      ASSERT_TRUE(CPU_ISSET(core, &allowed));
      cores.Leave(core + 1);  // it is not there
      cores.Leave(Cores::kNone);
      cores.Leave(core);
      ASSERT_EQ(sched_getaffinity(0, sizeof after, &after), 0);
      EXPECT_TRUE(CPU_EQUAL(&after, &allowed));
    }
    // Where it may use one only, it stays.
    CPU_ZERO(&after);
    CPU_SET(cores.Current(), &after);
    ASSERT_EQ(sched_setaffinity(0, sizeof after, &after), 0);
    const uint32_t only = cores.Current();
    cores.Leave(only);
    EXPECT_EQ(cores.Current(), only);
    ASSERT_EQ(sched_setaffinity(0, sizeof allowed, &allowed), 0);
    // Held to one core until the other may be used as well: then it leaves the first at once. The system may bring it
    // back at once, too, but not each time.
    if (count < 2) return;
    bool left = false;
    for (int i = 0; i < 100 && !left; ++i) {
      cores.Leave(only);
      left = cores.Current() != only;
    }
    EXPECT_TRUE(left);
  }).join();
}

TEST(PosixRandom, BytesDoNotRepeatAtAnySize) {
  PosixRandom random;
  std::set<uint64_t> seen;
  for (int i = 0; i < 5000; ++i) EXPECT_TRUE(seen.insert(random.U64()).second);
  for (size_t size : {size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}, size_t{1024}, kMiB}) {
    std::vector<uint8_t> bytes(size + 1, 0);
    random.Fill(MutableBytes(bytes).first(size));
    EXPECT_EQ(bytes.back(), 0);
    EXPECT_TRUE(size < 63 || bytes != std::vector<uint8_t>(size + 1, 0));
  }
}

TEST(PosixRandom, AForkedChildDoesNotRepeatItsParent) {
  PosixRandom random;
  (void)random.U64();  // the buffer is filled now
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const uint64_t theirs = random.U64();
    _exit(write(ends[1], &theirs, sizeof theirs) == sizeof theirs ? 0 : 1);
  }
  const uint64_t mine = random.U64();
  uint64_t theirs = 0;
  ASSERT_EQ(read(ends[0], &theirs, sizeof theirs), static_cast<ssize_t>(sizeof theirs));
  EXPECT_NE(mine, theirs);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  close(ends[0]);
  close(ends[1]);
}

// --- idle ------------------------------------------------------------------------------------------------------------

struct FakeSource final : EventSource {
  FakeSource() : fd(eventfd(0, EFD_CLOEXEC)) {}
  ~FakeSource() { close(fd); }
  std::span<const int> event_fds() override { return {&fd, 1}; }
  bool Arm() override {
    ++arms;
    return !busy;
  }
  int fd;
  int arms = 0;
  bool busy = false;
};

struct PosixIdleTest : testing::Test {
  PosixClock clock;
  PosixIdle idle;
  Nanos Elapsed(Nanos sleep) {
    const Nanos start = clock.Now();
    idle.Sleep(start + sleep);
    return clock.Now() - start;
  }
};

TEST_F(PosixIdleTest, ABusySourceIsNotSleptOn) {
  FakeSource ready, busy;
  busy.busy = true;
  idle.Add(&ready);
  idle.Add(&busy);
  EXPECT_LT(Elapsed(60 * kSecond), 30 * kSecond);
  EXPECT_EQ(busy.arms, 1);
  idle.Remove(&busy);
  EXPECT_GE(Elapsed(2 * kMillisecond), 2 * kMillisecond);
  EXPECT_EQ(ready.arms, 2);
  EXPECT_EQ(busy.arms, 1);
}

TEST_F(PosixIdleTest, AnEventOfASourceEndsTheSleep) {
  FakeSource source;
  idle.Add(&source);
  const uint64_t one = 1;
  std::thread other([&] { EXPECT_EQ(write(source.fd, &one, sizeof one), static_cast<ssize_t>(sizeof one)); });
  EXPECT_LT(Elapsed(60 * kSecond), 30 * kSecond);
  other.join();
}

TEST_F(PosixIdleTest, AWakeEndsTheCurrentOrTheNextSleepOnce) {
  idle.Wake();
  idle.Wake();
  EXPECT_LT(Elapsed(60 * kSecond), 30 * kSecond);
  EXPECT_GE(Elapsed(5 * kMillisecond), 5 * kMillisecond);
  std::thread other([&] { idle.Wake(); });
  EXPECT_LT(Elapsed(60 * kSecond), 30 * kSecond);
  other.join();
}

TEST_F(PosixIdleTest, ShortSleepsAreShortAndPastDeadlinesReturn) {
  const Nanos start = clock.Now();
  idle.Sleep(0);
  idle.Sleep(start);
  for (int i = 0; i < 10; ++i) idle.Sleep(clock.Now() + 50 * kMicrosecond);
  EXPECT_LT(clock.Now() - start, 30 * kSecond);
  idle.Yield();
}

// --- processes ------------------------------------------------------------------------------------------------------

struct ProcessWatchTest : testing::Test {
  ProcessWatchTest() {
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    child = fork();
    if (child == 0) {
      close(ends[1]);
      char c;
      _exit(static_cast<int>(read(ends[0], &c, 1)));  // until the other end is closed
    }
    process = ProcessName::OfSelf();
    process.pid = static_cast<uint32_t>(child);
    process.start = 0;
  }
  ~ProcessWatchTest() override {
    End();
    waitpid(child, nullptr, 0);
    close(ends[0]);
  }
  void End() {
    if (ends[1] >= 0) close(std::exchange(ends[1], -1));
  }
  int ends[2];
  pid_t child;
  ProcessName process;
  ProcessWatch watch;
  std::vector<uint32_t> ended;
};

TEST_F(ProcessWatchTest, TheEndIsToldOnceToEachWatcherWhileItIsAZombie) {
  for (uint32_t token : {1u, 2u, 3u}) EXPECT_EQ(watch.Add(process, token), ProcessWatch::Added::kWatched);
  watch.Remove(process, 2);
  watch.Poll(&ended);
  EXPECT_TRUE(ended.empty());
  End();
  pollfd readable{watch.fd(), POLLIN, 0};
  ASSERT_EQ(poll(&readable, 1, 20'000), 1);
  watch.Poll(&ended);
  EXPECT_EQ(ended, (std::vector<uint32_t>{1, 3}));
  watch.Poll(&ended);
  EXPECT_EQ(ended.size(), 2u);
  EXPECT_EQ(poll(&readable, 1, 0), 0);
  watch.Remove(process, 1);
}

TEST_F(ProcessWatchTest, TheDeadTheStrangeAndOurselvesAreNotWatched) {
  EXPECT_EQ(watch.Add(ProcessName::OfSelf(), 1), ProcessWatch::Added::kBlind);
  ProcessName elsewhere = process;
  elsewhere.host ^= 1;
  EXPECT_EQ(watch.Add(elsewhere, 1), ProcessWatch::Added::kBlind);
  ProcessName former = process;
  former.start = 1;  // the id belongs to somebody else now
  EXPECT_EQ(watch.Add(former, 1), ProcessWatch::Added::kGone);
  EXPECT_TRUE(ProcessWatch::IsTaken(former.pid));
  End();
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(ProcessWatch::IsTaken(process.pid));
  EXPECT_EQ(watch.Add(process, 1), ProcessWatch::Added::kGone);
}

TEST(ProcessName, AForkedChildIsAnother) {
  const ProcessName mine = ProcessName::OfSelf();
  EXPECT_NE(mine.start, 0u);
  const pid_t child = fork();
  if (child == 0) _exit(ProcessName::OfSelf().pid == static_cast<uint32_t>(getpid()) ? 0 : 1);
  int status = -1;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
}

// --- offload ---------------------------------------------------------------------------------------------------------

struct PosixOffloadTest : testing::Test {
  PosixClock clock;
  PosixIdle idle;
  // Sleeps until `holds`, woken by the offload.
  bool WaitFor(PosixOffload& offload, const std::function<bool()>& holds) {
    const Nanos deadline = clock.Now() + 20 * kSecond;
    while (!holds() && clock.Now() < deadline) {
      if (!offload.Poll()) idle.Sleep(deadline);
    }
    return holds();
  }
};

TEST_F(PosixOffloadTest, DoneRunsInPollOnTheOwnersThread) {
  PosixOffload offload({.threads_max = 3, .wake = &idle});
  std::atomic<int> worked = 0;
  int done = 0;
  const auto me = std::this_thread::get_id();
  for (int i = 0; i < 200; ++i) {
    offload.Run(
        [&] {
          EXPECT_NE(std::this_thread::get_id(), me);
          ++worked;
        },
        [&] {
          EXPECT_EQ(std::this_thread::get_id(), me);
          ++done;
        });
  }
  EXPECT_EQ(done, 0);
  EXPECT_TRUE(WaitFor(offload, [&] { return done == 200; }));
  EXPECT_EQ(worked, 200);
}

TEST_F(PosixOffloadTest, SignalsAreBlockedInTheThreads) {
  PosixOffload offload({.wake = &idle});
  sigset_t mask;
  sigemptyset(&mask);
  bool done = false;
  offload.Run([&] { pthread_sigmask(SIG_BLOCK, nullptr, &mask); }, [&] { done = true; });
  ASSERT_TRUE(WaitFor(offload, [&] { return done; }));
  EXPECT_EQ(sigismember(&mask, SIGTERM), 1);
  sigset_t mine;
  pthread_sigmask(SIG_BLOCK, nullptr, &mine);
  EXPECT_EQ(sigismember(&mine, SIGTERM), 0);
}

TEST_F(PosixOffloadTest, AHungCallDoesNotHangTheEnd) {
  auto release = std::make_shared<std::promise<void>>();
  auto hung = std::make_shared<std::shared_future<void>>(release->get_future());
  auto entered = std::make_shared<std::promise<void>>();
  auto left = std::make_shared<std::promise<void>>();
  std::future<void> is_left = left->get_future();
  bool done = false;
  {
    PosixOffload offload({.threads_max = 1, .wake = &idle, .close_wait = kMillisecond});
    offload.Run(
        [=] {
          entered->set_value();
          hung->wait();
          left->set_value();
        },
        [&] { done = true; });
    offload.Run([] { ADD_FAILURE() << "not started, so dropped"; }, [] {});
    entered->get_future().wait();
  }
  release->set_value();
  EXPECT_EQ(is_left.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_FALSE(done);
}

// --- arena -----------------------------------------------------------------------------------------------------------

struct PosixArenaTest : testing::Test {
  PosixArenaTest() {
    std::string name = (std::filesystem::temp_directory_path() / "mayfly_arena_XXXXXX").string();
    directory = mkdtemp(name.data());
  }
  ~PosixArenaTest() override { std::filesystem::remove_all(directory); }
  bool Exists(const std::string& name) const { return std::filesystem::exists(directory + "/" + name); }
  std::string directory;
};

TEST_F(PosixArenaTest, SegmentsAreNumberedPrivateSharedAndUnlinked) {
  {
    PosixArenaMemory arena({.directory = directory, .prefix = "s"});
    MutableBytes first = *arena.Map(2 * kMiB), second = *arena.Map(4 * kMiB);
    EXPECT_EQ(first.size(), 2 * kMiB);
    struct stat info {};
    ASSERT_EQ(stat(arena.PathOf(1).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    EXPECT_EQ(static_cast<size_t>(info.st_size), 4 * kMiB + 4096) << "its stamps lie behind it";
    EXPECT_GE(static_cast<size_t>(info.st_blocks) * 512, 4 * kMiB) << "backed by pages";
    arena.Prefault(second.subspan(100, kMiB));
    EXPECT_EQ(second[4 * kMiB - 1], 0);
    second[5] = 42;
    const int fd = open((directory + "/s.1").c_str(), O_RDONLY);
    ASSERT_GE(fd, 0);
    auto* theirs = static_cast<uint8_t*>(mmap(nullptr, 4096, PROT_READ, MAP_SHARED, fd, 0));
    close(fd);
    EXPECT_EQ(theirs[5], 42);
    munmap(theirs, 4096);
    arena.Unmap(first);
    EXPECT_FALSE(Exists("s.0"));
    EXPECT_TRUE(arena.Map(2 * kMiB).ok());
    EXPECT_TRUE(Exists("s.2"));
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory));
}

// In the memory file system, where a segment's pages were never used at first. (Others let a first write fault anyway.)
TEST(PosixArena, WhatWasPrefaultedDoesNotFault) {
  char directory[] = "/dev/shm/mayfly_arena_XXXXXX";
  ASSERT_NE(mkdtemp(directory), nullptr);
  {
    PosixArenaMemory arena({.directory = directory, .prefix = "s"});
    const MutableBytes memory = *arena.Map(8 * kMiB);
    const auto faults = [] {
      rusage usage{};
      getrusage(RUSAGE_THREAD, &usage);
      return usage.ru_minflt;
    };
    arena.Prefault(memory.first(4 * kMiB));
    arena.Prefault(memory.subspan(4 * kMiB));
    constexpr size_t kPage = 4096;
    const long before = faults();
    for (size_t at = 0; at < memory.size(); at += kPage) memory[at] = 1;
    EXPECT_LT(static_cast<size_t>(faults() - before), memory.size() / kPage / 4);  // a sanitizer's own are an eighth
  }
  std::filesystem::remove_all(directory);
}

TEST_F(PosixArenaTest, ALeftoverOrALinkIsNotMapped) {
  ASSERT_EQ(symlink("/etc/passwd", (directory + "/s.0").c_str()), 0);
  PosixArenaMemory arena({.directory = directory, .prefix = "s"});
  EXPECT_EQ(arena.Map(2 * kMiB).code(), Code::kExists);
  EXPECT_TRUE(std::filesystem::is_symlink(directory + "/s.0")) << "not ours to remove";
}

TEST_F(PosixArenaTest, TheLimitAndAFullFileSystemAreNoSpace) {
  PosixArenaMemory arena({.directory = directory, .prefix = "s", .bytes_max = 4 * kMiB});
  EXPECT_EQ(arena.Map(6 * kMiB).code(), Code::kNoSpace);
  EXPECT_TRUE(arena.Map(4 * kMiB).ok());
  EXPECT_EQ(arena.Map(2 * kMiB).code(), Code::kNoSpace);
  PosixArenaMemory huge({.directory = directory, .prefix = "huge"});
  Result<MutableBytes> mapped = huge.Map(size_t{1} << 55);
  EXPECT_TRUE(mapped.code() == Code::kNoSpace || mapped.code() == Code::kFileTooBig);
  EXPECT_FALSE(Exists("huge.0"));
}

TEST_F(PosixArenaTest, AViewIsTheOwnersMemory) {
  auto arena = std::make_unique<PosixArenaMemory>(PosixArenaMemory::Options{.directory = directory, .prefix = "s"});
  EXPECT_EQ(PosixArenaView::Attach(arena->Name(), 77), nullptr) << "there is none yet";
  MutableBytes first = *arena->Map(2 * kMiB), second = *arena->Map(4 * kMiB);
  auto view = PosixArenaView::Attach(arena->Name(), 77);
  ASSERT_NE(view, nullptr);
  EXPECT_TRUE(arena->IsAttached(77));
  EXPECT_FALSE(arena->IsAttached(79));
  ArenaView::Segment theirs = view->Find(1);
  ASSERT_EQ(theirs.data.size(), second.size());
  view->Touch(1, 3 * kMiB, kMiB);
  theirs.data[3 * kMiB] = 9;
  EXPECT_EQ(second[3 * kMiB], 9);
  second[1] = 7;
  EXPECT_EQ(theirs.data[1], 7);
  ASSERT_EQ(theirs.stamps.size(), 4 * kMiB / kStampBytes);
  ++arena->Stamps(second)[5];
  EXPECT_EQ(theirs.stamps[5], 1u);
  ASSERT_EQ(view->Changes().size(), kChangeCounts);
  ++arena->Changes()[100];
  EXPECT_EQ(view->Changes()[100], 1u);
  EXPECT_EQ(view->Find(0).data.size(), first.size());
  EXPECT_TRUE(view->Find(2).data.empty());
  EXPECT_TRUE(view->Find(1u << 20).data.empty());
  // What the owner gives up is the node's again, although the view has it mapped.
  arena->Unmap(second);
  EXPECT_EQ(theirs.data[1], 0);
  EXPECT_EQ(view->Find(1).data.data(), theirs.data.data());
  view.reset();
  EXPECT_FALSE(arena->IsAttached(77));
  arena.reset();
  EXPECT_TRUE(std::filesystem::is_empty(directory));
}

TEST_F(PosixArenaTest, AForeignOrOpenFileIsNoArena) {
  std::ofstream(directory + "/s.users") << "";
  ASSERT_EQ(chmod((directory + "/s.users").c_str(), 0644), 0);
  EXPECT_EQ(PosixArenaView::Attach(directory + "/s", 1), nullptr);
  std::filesystem::remove(directory + "/s.users");
  ASSERT_EQ(symlink("/etc/passwd", (directory + "/s.users").c_str()), 0);
  EXPECT_EQ(PosixArenaView::Attach(directory + "/s", 1), nullptr);
}

}  // namespace
}  // namespace mayfly
