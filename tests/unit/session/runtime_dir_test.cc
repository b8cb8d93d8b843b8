#include "session/runtime_dir.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <thread>

#include "scratch.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

ProcessMark MarkOfADeadProcess() {
  ProcessMark mark = MarkOfThisProcess();
  ++mark.start_ticks;  // this number was another process's
  return mark;
}

class RuntimeDirTest : public Scratch {
 protected:
  RuntimeDirTest() : runtime_(RuntimeDir::Create(At("run"), Uid()).value()) {}

  void MarkAs(const Uuid& uuid, uint32_t rank, const ProcessMark& mark) {
    Write(runtime_.SessionPath(uuid) + "/rank-" + std::to_string(rank) + ".pid", EncodeMark(mark));
  }
  std::vector<LocalSession> Sessions() { return runtime_.Sessions(kSpoken).value(); }

  RuntimeDir runtime_;
  const Uuid a_ = UuidOf(0xa), b_ = UuidOf(0xb);
};

TEST(ProcessMark, TextAndBack) {
  const ProcessMark mark = MarkOfThisProcess();
  EXPECT_EQ(mark.pid, static_cast<uint32_t>(getpid()));
  EXPECT_GT(mark.start_ticks, 0u);
  EXPECT_EQ(ParseMark(EncodeMark(mark)), mark);
  for (const char* bad : {"", "\n", "12", "12 34 b", "0 1 b p h", "x 1 b p h", "12 y b p h"}) {
    EXPECT_FALSE(ParseMark(bad)) << bad;
  }
}

TEST(ProcessMark, LivenessIsOfTheProcessNotOfItsNumber) {
  const ProcessMark mark = MarkOfThisProcess();
  EXPECT_EQ(LivenessOf(mark), Liveness::kAlive);
  EXPECT_EQ(LivenessOf(MarkOfADeadProcess()), Liveness::kDead);
  ProcessMark elsewhere = mark;
  elsewhere.pid_namespace = "pid:[1]";
  EXPECT_EQ(LivenessOf(elsewhere), Liveness::kUnknown);  // another container
  elsewhere = mark;
  elsewhere.boot = "before";
  EXPECT_EQ(LivenessOf(elsewhere), Liveness::kDead);  // this host was booted since
  elsewhere.host = "another";
  EXPECT_EQ(LivenessOf(elsewhere), Liveness::kUnknown);  // another node, on a directory that should be local
  elsewhere = mark;
  elsewhere.boot = elsewhere.pid_namespace = elsewhere.host = "-";
  EXPECT_EQ(LivenessOf(elsewhere), Liveness::kAlive);
}

TEST(ProcessMark, AZombieIsDead) {
  int tell[2];
  ASSERT_EQ(pipe(tell), 0);
  const pid_t child = fork();
  if (child == 0) {
    const std::string mark = EncodeMark(MarkOfThisProcess());
    _exit(write(tell[1], mark.data(), mark.size()) == static_cast<ssize_t>(mark.size()) ? 0 : 1);
  }
  char text[512] = {};
  ASSERT_GT(read(tell[0], text, sizeof text - 1), 0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  const auto mark = ParseMark(text);
  ASSERT_TRUE(mark);
  EXPECT_EQ(mark->pid, static_cast<uint32_t>(child));
  EXPECT_EQ(LivenessOf(*mark), Liveness::kDead);
  waitpid(child, nullptr, 0);
  EXPECT_EQ(LivenessOf(*mark), Liveness::kDead);
  close(tell[0]);
  close(tell[1]);
}

TEST_F(RuntimeDirTest, IsPrivate) {
  EXPECT_EQ(ModeOf(At("run")), 0700u);
  EXPECT_TRUE(RuntimeDir::Create(At("run"), Uid()).ok());  // once more
  EXPECT_EQ(RuntimeDir::PathFor("", 1000), "/dev/shm/mayfly-1000");
  EXPECT_EQ(RuntimeDir::PathFor("/x", 1000), "/x");
}

TEST_F(RuntimeDirTest, WhatOthersMayHaveMadeIsRefused) {
  auto expect_refused = [&](const std::string& path, uint32_t uid) {
    for (auto opened : {RuntimeDir::Open(path, uid), RuntimeDir::Create(path, uid)}) {
      ASSERT_FALSE(opened.ok());
      ExpectSentence(opened.failure(), Code::kAccess, path);
    }
  };
  ASSERT_EQ(symlink(At("run").c_str(), At("link").c_str()), 0);
  expect_refused(At("link"), Uid());
  ASSERT_EQ(symlink(At("nowhere").c_str(), At("dangling").c_str()), 0);
  expect_refused(At("dangling"), Uid());
  EXPECT_FALSE(fs::exists(At("nowhere")));
  expect_refused(At("run"), Uid() + 1);
  Write(At("file"), "");
  expect_refused(At("file"), Uid());
  ASSERT_EQ(chmod(At("run").c_str(), 0750), 0);
  expect_refused(At("run"), Uid());

  auto missing = RuntimeDir::Open(At("none"), Uid());
  ASSERT_FALSE(missing.ok());
  ExpectSentence(missing.failure(), Code::kNoEntry, At("none"));
  auto no_parent = RuntimeDir::Create(At("none/run"), Uid());
  ASSERT_FALSE(no_parent.ok());
  ExpectSentence(no_parent.failure(), Code::kNoEntry, "MAYFLY_RUNTIME_DIR");
}

TEST_F(RuntimeDirTest, ASessionLivesWhileARankDoes) {
  ASSERT_TRUE(runtime_.Join(a_, 3).ok());
  ASSERT_TRUE(runtime_.Join(a_, 1).ok());
  EXPECT_EQ(ModeOf(runtime_.SessionPath(a_)), 0700u);
  EXPECT_EQ(ModeOf(runtime_.SessionPath(a_) + "/rank-3.pid"), 0600u);
  auto sessions = Sessions();
  ASSERT_EQ(sessions.size(), 1u);
  EXPECT_EQ(sessions[0].uuid, a_);
  EXPECT_FALSE(sessions[0].file);
  EXPECT_EQ(sessions[0].problem->status.code(), Code::kNoEntry);  // still starting
  EXPECT_EQ(sessions[0].liveness, Liveness::kAlive);
  ASSERT_EQ(sessions[0].processes.size(), 2u);
  EXPECT_EQ(sessions[0].processes[0].rank, 1u);
  EXPECT_EQ(sessions[0].processes[1].pid, static_cast<uint32_t>(getpid()));

  ASSERT_TRUE(WriteSessionFile(runtime_.SessionFilePath(a_), ExampleFile(a_)).ok());
  EXPECT_EQ(Sessions()[0].file, ExampleFile(a_));
  ASSERT_TRUE(runtime_.Leave(a_, 3).ok());
  EXPECT_EQ(Sessions()[0].processes.size(), 1u);
  ASSERT_TRUE(runtime_.Leave(a_, 1).ok());
  EXPECT_TRUE(Sessions().empty());
  EXPECT_TRUE(fs::is_empty(At("run")));
  EXPECT_TRUE(runtime_.Leave(a_, 1).ok());  // twice does no harm
}

TEST_F(RuntimeDirTest, RanksThatJoinAtOnceAllLeaveTheirMark) {
  constexpr uint32_t kRanks = 8;
  std::vector<std::thread> ranks;
  std::atomic<uint32_t> joined = 0;
  for (uint32_t rank = 0; rank < kRanks; ++rank) {
    ranks.emplace_back([&, rank] { joined += runtime_.Join(a_, rank).ok(); });
  }
  for (std::thread& rank : ranks) rank.join();
  EXPECT_EQ(joined, kRanks);
  ASSERT_EQ(Sessions().size(), 1u);
  EXPECT_EQ(Sessions()[0].processes.size(), kRanks);
  EXPECT_EQ(std::distance(fs::directory_iterator(At("run")), {}), 1);
}

TEST_F(RuntimeDirTest, TheLastLivingRankRemovesTheDirectory) {
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  MarkAs(a_, 1, MarkOfADeadProcess());
  ASSERT_TRUE(runtime_.Leave(a_, 0).ok());
  EXPECT_TRUE(fs::is_empty(At("run")));
}

TEST_F(RuntimeDirTest, SessionsAreListedOldestFirst) {
  for (auto [uuid, created] : {std::pair(a_, 200u), std::pair(b_, 100u), std::pair(UuidOf(1), 0u)}) {
    ASSERT_TRUE(runtime_.Join(uuid, 0).ok());
    SessionFile file = ExampleFile(uuid);
    file.created_ns = created;
    if (created == 0) continue;
    ASSERT_TRUE(WriteSessionFile(runtime_.SessionFilePath(uuid), file).ok());
  }
  Write(At("run/notes.txt"), "not a session");
  const auto sessions = Sessions();
  ASSERT_EQ(sessions.size(), 3u);
  EXPECT_EQ(sessions[0].uuid, b_);
  EXPECT_EQ(sessions[1].uuid, a_);
  EXPECT_EQ(sessions[2].uuid, UuidOf(1));
}

TEST_F(RuntimeDirTest, AFileOfAnotherSessionIsNotTaken) {
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_TRUE(WriteSessionFile(runtime_.SessionFilePath(a_), ExampleFile(b_)).ok());
  const auto sessions = Sessions();
  ASSERT_EQ(sessions.size(), 1u);
  EXPECT_FALSE(sessions[0].file);
  ExpectSentence(*sessions[0].problem, Code::kCorrupt, runtime_.SessionFilePath(a_));
}

TEST_F(RuntimeDirTest, OnlyWhatTheDeadLeftIsALeftover) {
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());  // lives
  ASSERT_TRUE(runtime_.Join(b_, 0).ok());  // died
  MarkAs(b_, 0, MarkOfADeadProcess());
  const Uuid unknown = UuidOf(0xc), damaged = UuidOf(0xd), removing = UuidOf(0xe), joining = UuidOf(0xf);
  ASSERT_TRUE(runtime_.Join(unknown, 0).ok());
  ProcessMark elsewhere = MarkOfThisProcess();
  elsewhere.pid_namespace = "pid:[1]";
  MarkAs(unknown, 0, elsewhere);
  ASSERT_TRUE(runtime_.Join(damaged, 0).ok());
  Write(runtime_.SessionPath(damaged) + "/rank-0.pid", "?");
  const std::string half_removed = runtime_.SessionPath(removing) + ".removing.1";
  const std::string being_born = runtime_.SessionPath(joining) + ".joining." + std::to_string(getpid()) + ".0";
  const std::string never_born = runtime_.SessionPath(joining) + ".joining.2147483646.0";
  for (const auto& path : {half_removed, being_born, never_born}) ASSERT_EQ(mkdir(path.c_str(), 0700), 0);
  Write(At("run/notes.txt"), "not ours");

  auto leftovers = runtime_.Leftovers().value();
  std::vector<std::string> paths;
  for (const Leftover& leftover : leftovers) paths.push_back(leftover.path);
  std::vector<std::string> expected = {runtime_.SessionPath(b_), half_removed, never_born};
  std::sort(expected.begin(), expected.end());
  std::sort(paths.begin(), paths.end());
  EXPECT_EQ(paths, expected);

  for (const Leftover& leftover : leftovers) {
    auto removed = runtime_.RemoveLeftover(leftover);
    ASSERT_TRUE(removed.ok()) << removed.failure().sentence;
    EXPECT_TRUE(*removed);
    EXPECT_FALSE(fs::exists(leftover.path));
    EXPECT_TRUE(*runtime_.RemoveLeftover(leftover));  // gone already: that is what was wanted
  }
  EXPECT_TRUE(runtime_.Leftovers()->empty());
  EXPECT_TRUE(fs::exists(At("run/notes.txt")));
  EXPECT_EQ(Sessions().size(), 3u);
}

TEST_F(RuntimeDirTest, ALeftoverThatCameToLifeStays) {
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  MarkAs(a_, 0, MarkOfADeadProcess());
  const auto leftovers = runtime_.Leftovers().value();
  ASSERT_EQ(leftovers.size(), 1u);
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());  // the server came back
  EXPECT_FALSE(*runtime_.RemoveLeftover(leftovers[0]));
  EXPECT_EQ(Sessions()[0].liveness, Liveness::kAlive);
}

TEST_F(RuntimeDirTest, WhatIsKeptOnPurposeSaysSoUntilItIsTakenBack) {
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_TRUE(runtime_.MarkKept(a_, true).ok());
  ASSERT_TRUE(runtime_.MarkKept(a_, true).ok());  // by each of its servers
  EXPECT_TRUE(runtime_.Leftovers()->empty());     // it lives
  ASSERT_TRUE(runtime_.Withdraw(a_, 0).ok());
  auto leftovers = runtime_.Leftovers().value();
  ASSERT_EQ(leftovers.size(), 1u);
  EXPECT_TRUE(leftovers[0].kept);
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_TRUE(runtime_.MarkKept(a_, false).ok());
  ASSERT_TRUE(runtime_.MarkKept(a_, false).ok());
  MarkAs(a_, 0, MarkOfADeadProcess());
  leftovers = runtime_.Leftovers().value();
  ASSERT_EQ(leftovers.size(), 1u);
  EXPECT_FALSE(leftovers[0].kept);  // killed since
}

TEST_F(RuntimeDirTest, WhatADeadRankLeftOutsideGoesWithTheSession) {
  for (uint32_t rank : {0u, 1u}) {
    const std::string segment = At("vader_segment." + std::to_string(rank));
    Write(segment, "x");
    ASSERT_TRUE(runtime_.Join(a_, rank).ok());
    ASSERT_TRUE(runtime_.Note(a_, rank, Trail{"", {segment}, "", ""}).ok());
  }
  MarkAs(a_, 1, MarkOfADeadProcess());
  EXPECT_TRUE(runtime_.Leftovers()->empty());  // rank 0 lives
  ASSERT_TRUE(runtime_.Leave(a_, 0).ok());
  EXPECT_TRUE(fs::exists(At("vader_segment.0")));  // its own library removes it
  EXPECT_FALSE(fs::exists(At("vader_segment.1")));
  EXPECT_TRUE(fs::is_empty(At("run")));

  ASSERT_TRUE(runtime_.Join(b_, 0).ok());
  ASSERT_TRUE(runtime_.Note(b_, 0, Trail{"", {At("vader_segment.0")}, "", ""}).ok());
  MarkAs(b_, 0, MarkOfADeadProcess());
  const auto leftovers = runtime_.Leftovers().value();
  ASSERT_EQ(leftovers.size(), 1u);
  EXPECT_EQ(leftovers[0].outside.here, std::vector<std::string>{At("vader_segment.0")});
  EXPECT_TRUE(*runtime_.RemoveLeftover(leftovers[0]));
  EXPECT_FALSE(fs::exists(At("vader_segment.0")));
}

TEST_F(RuntimeDirTest, WhoComesBackTakesAwayWhatItsDeadProcessLeftOutside) {
  for (const char* segment : {"vader_segment.0", "vader_segment.1"}) Write(At(segment), "x");
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_TRUE(runtime_.Note(a_, 0, Trail{"", {At("vader_segment.0")}, "", ""}).ok());
  MarkAs(a_, 0, MarkOfADeadProcess());
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_TRUE(runtime_.Note(a_, 0, Trail{"", {At("vader_segment.1")}, "", ""}).ok());
  EXPECT_FALSE(fs::exists(At("vader_segment.0")));
  EXPECT_TRUE(fs::exists(At("vader_segment.1")));
}

TEST_F(RuntimeDirTest, AFailedReturnLeavesTheTrail) {
  Write(At("vader_segment.0"), "x");
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_TRUE(runtime_.Note(a_, 0, Trail{"", {At("vader_segment.0")}, "", ""}).ok());
  ASSERT_TRUE(runtime_.Withdraw(a_, 0).ok());
  const auto leftovers = runtime_.Leftovers().value();
  ASSERT_EQ(leftovers.size(), 1u);
  EXPECT_EQ(leftovers[0].outside.here, std::vector<std::string>{At("vader_segment.0")});
}

TEST_F(RuntimeDirTest, ALivingProcessKeepsItsMark) {
  const pid_t child = fork();
  if (child == 0) {
    pause();
    _exit(0);
  }
  ASSERT_TRUE(runtime_.Join(a_, 1).ok());
  ProcessMark mark = MarkOfThisProcess();
  std::ifstream stat("/proc/" + std::to_string(child) + "/stat");
  for (int field = 1; field < 22; ++field) stat.ignore(4096, ' ');
  stat >> mark.start_ticks;
  mark.pid = static_cast<uint32_t>(child);
  MarkAs(a_, 0, mark);
  EXPECT_EQ(runtime_.Join(a_, 0).failure().status, Code::kBusy);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_TRUE(runtime_.Join(a_, 0).ok());
}

TEST_F(RuntimeDirTest, RemovingDoesNotFollowLinks) {
  ASSERT_EQ(mkdir(At("precious").c_str(), 0700), 0);
  Write(At("precious/data"), "kept");
  ASSERT_TRUE(runtime_.Join(a_, 0).ok());
  ASSERT_EQ(symlink(At("precious").c_str(), (runtime_.SessionPath(a_) + "/link").c_str()), 0);
  ASSERT_TRUE(runtime_.Remove(a_).ok());
  EXPECT_FALSE(fs::exists(runtime_.SessionPath(a_)));
  EXPECT_EQ(Read(At("precious/data")), "kept");
}

}  // namespace
}  // namespace mayfly
