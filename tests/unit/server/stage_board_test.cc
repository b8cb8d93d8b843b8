// The queue of a stage-in: who may take what, what happens with what comes back or is lost, and when a job is over.
#include "server/stage_board.h"

#include <gtest/gtest.h>

#include <set>

namespace mayfly {
namespace {

constexpr uint64_t kJob = 7;
constexpr ClientId kCommandProcess(100);
constexpr uint32_t kCommand = StageBoard::kCommand;

class StageBoardTest : public testing::Test {
 protected:
  StageSpec Spec(const std::string& target = "/in", uint32_t streams = 8) {
    StageSpec spec;
    spec.source = "/pfs/data";
    spec.target = target;
    spec.streams = streams;
    return spec;
  }
  void Open(uint32_t servers, uint32_t streams = 8) {
    std::vector<StageBoard::Invited> invited;
    for (uint32_t i = 1; i <= servers; ++i) invited.push_back({i, std::string("node").append(std::to_string(i))});
    ASSERT_TRUE(board.Open(kJob, Spec("/in", streams), kCommandProcess, 1000, std::move(invited)).ok());
  }
  StageBoard::Piece Take(uint32_t worker) {
    auto piece = board.Take(kJob, worker, worker == kCommand ? kCommandProcess : ClientId(worker));
    EXPECT_TRUE(piece.ok());
    return piece.ok() ? *piece : StageBoard::Piece();
  }
  void Done(uint32_t worker, const StageBoard::Piece& piece, StageEnd end = StageEnd::kDone) {
    EXPECT_TRUE(board.GiveBack(kJob, worker, piece.item, end).ok());
  }
  void PutIn(uint32_t worker, StageItem item) {
    StageReport report;
    report.found.push_back(std::move(item));
    EXPECT_TRUE(board.PutIn(kJob, worker, std::move(report)).ok());
  }
  StageItem Item(StageKind kind, std::string path, std::vector<std::string> names = {}) {
    StageItem item;
    item.kind = kind;
    item.path = std::move(path);
    item.names = std::move(names);
    return item;
  }
  StageItem File(std::string path, uint64_t size, uint64_t range) {
    StageItem item = Item(StageKind::kFile, std::move(path));
    item.facts.size = size;
    item.end = range;
    return item;
  }
  StageStatusReply Status(StageSummary* summary = nullptr) {
    StageStatusReply status;
    StageSummary unused;
    EXPECT_TRUE(board.StatusOf(kJob, &status, summary != nullptr ? summary : &unused).ok());
    return status;
  }
  // The source itself, the first piece of every job, taken and done.
  void PassRoot(uint32_t worker) { Done(worker, Take(worker)); }

  StageBoard board;
};

TEST_F(StageBoardTest, BeginsWithTheSourceItselfAndIsOverWhenNothingIsLeftOrOut) {
  Open(1);
  const StageBoard::Piece root = Take(1);
  EXPECT_EQ(root.what.kind, StageKind::kEntries);
  EXPECT_EQ(root.what.path, "");
  EXPECT_EQ(root.what.names, std::vector<std::string>{""});
  EXPECT_FALSE(Status().done);
  Done(1, root);
  EXPECT_TRUE(Status().done);
  EXPECT_TRUE(Take(1).over);
}

TEST_F(StageBoardTest, NoMorePiecesAreOutThanStreams) {
  Open(2, 2);
  const StageBoard::Piece root = Take(1);
  for (int i = 0; i < 5; ++i) PutIn(1, Item(StageKind::kEntries, "", {std::string("f").append(std::to_string(i))}));
  EXPECT_EQ(board.Takeable(kJob, true), 1u);
  EXPECT_NE(Take(2).item, 0u);
  EXPECT_EQ(board.Takeable(kJob, true), 0u);
  EXPECT_EQ(Take(2).item, 0u);
  Done(1, root);
  EXPECT_NE(Take(1).item, 0u);
}

TEST_F(StageBoardTest, TheCommandHelpsOnlyWhenNoServerDoes) {
  Open(2);
  EXPECT_EQ(Take(kCommand).item, 0u);  // they may still come
  EXPECT_TRUE(board.Decline(kJob, 1).ok());
  EXPECT_EQ(Take(kCommand).item, 0u);
  EXPECT_FALSE(board.EveryoneCame(kJob));
  EXPECT_TRUE(board.Decline(kJob, 2).ok());
  EXPECT_TRUE(board.EveryoneCame(kJob));
  EXPECT_NE(Take(kCommand).item, 0u);
}

TEST_F(StageBoardTest, TheCommandDoesNotWaitForServersThatDoNotCome) {
  Open(1);
  EXPECT_EQ(Take(kCommand).item, 0u);
  board.StopWaiting(kJob);
  EXPECT_NE(Take(kCommand).item, 0u);
}

TEST_F(StageBoardTest, AJobThatIsHeldGivesNothingOutBeforeItIsReleased) {
  ASSERT_TRUE(board.Open(kJob, Spec(), kCommandProcess, 1000, {{1, "node1"}}, true).ok());
  EXPECT_EQ(Take(1).item, 0u);
  EXPECT_EQ(Take(kCommand).item, 0u);
  EXPECT_EQ(board.Takeable(kJob, true), 0u);
  EXPECT_FALSE(Status().done);
  board.Release(kJob);
  EXPECT_NE(Take(1).item, 0u);
}

TEST_F(StageBoardTest, AJobThatIsRefusedHasFailedAndSaysWhy) {
  ASSERT_TRUE(board.Open(kJob, Spec(), kCommandProcess, 1000, {{1, "node1"}}, true).ok());
  board.Refuse(kJob, "node1 still copies");
  EXPECT_TRUE(Take(1).over);
  StageSummary summary;
  const StageStatusReply status = Status(&summary);
  EXPECT_TRUE(status.done);
  EXPECT_EQ(status.counts.failed, 1u);
  EXPECT_EQ(summary.failures, std::vector<std::string>{"node1 still copies"});
  EXPECT_TRUE(board.Open(8, Spec(), kCommandProcess, 1000, {}).ok());
}

TEST_F(StageBoardTest, WhatIsForTheCommandOnlyAndWhatWasDeclinedGoesToTheCommand) {
  Open(1);
  const StageBoard::Piece root = Take(1);
  StageItem linked = Item(StageKind::kEntries, "", {"a", "b"});
  linked.command_only = true;
  PutIn(1, linked);
  PutIn(1, Item(StageKind::kDirectory, "other"));
  Done(1, root);
  const StageBoard::Piece directory = Take(1);
  EXPECT_EQ(directory.what.path, "other");
  EXPECT_EQ(Take(1).item, 0u);
  const StageBoard::Piece mine = Take(kCommand);
  EXPECT_EQ(mine.what.names, linked.names);
  Done(1, directory, StageEnd::kDeclined);
  EXPECT_EQ(Take(1).item, 0u);
  const StageBoard::Piece declined = Take(kCommand);
  EXPECT_EQ(declined.what.path, "other");
  EXPECT_TRUE(declined.what.command_only);
  Done(kCommand, mine);
  Done(kCommand, declined);
  const StageBoard::Piece end = Take(kCommand);  // its attributes as well
  EXPECT_EQ(end.what.kind, StageKind::kDirectoryEnds);
  EXPECT_EQ(end.what.names, std::vector<std::string>{"other"});
}

TEST_F(StageBoardTest, ALargeFileIsTakenByRangesAndEndsWhenAllAreThere) {
  Open(2);
  const StageBoard::Piece root = Take(1);
  PutIn(1, File("big", 250, 100));
  Done(1, root);
  EXPECT_EQ(board.Takeable(kJob, true), 3u);
  std::vector<StageBoard::Piece> ranges = {Take(1), Take(2), Take(1)};
  EXPECT_EQ(ranges[0].what.begin, 0u);
  EXPECT_EQ(ranges[1].what.begin, 100u);
  EXPECT_EQ(ranges[2].what.begin, 200u);
  EXPECT_EQ(ranges[2].what.end, 250u);
  Done(1, ranges[0]);
  Done(2, ranges[1], StageEnd::kStopped);  // somebody else does it
  Done(1, ranges[2]);
  const StageBoard::Piece again = Take(1);
  EXPECT_EQ(again.what.kind, StageKind::kRange);
  EXPECT_EQ(again.what.begin, 100u);
  EXPECT_EQ(Take(2).item, 0u);
  Done(1, again);
  const StageBoard::Piece end = Take(2);
  EXPECT_EQ(end.what.kind, StageKind::kFileEnd);
  EXPECT_EQ(end.what.path, "big");
  Done(2, end);
  EXPECT_TRUE(Status().done);
  EXPECT_EQ(Status().counts.failed, 0u);
}

TEST_F(StageBoardTest, AFileWithAFailedRangeCountsOnceAndNeverEnds) {
  Open(1);
  const StageBoard::Piece root = Take(1);
  PutIn(1, File("big", 1000, 100));
  Done(1, root);
  const StageBoard::Piece one = Take(1), two = Take(1);
  Done(1, one, StageEnd::kFailed);
  EXPECT_EQ(Take(1).item, 0u);  // the other ranges are in vain
  Done(1, two, StageEnd::kFailed);
  EXPECT_TRUE(Status().done);
  EXPECT_EQ(Status().counts.failed, 1u);
}

TEST_F(StageBoardTest, DirectoriesEndWhenAllElseHasDeepestFirst) {
  Open(1);
  const StageBoard::Piece root = Take(1);
  PutIn(1, Item(StageKind::kDirectory, ""));
  Done(1, root);
  const StageBoard::Piece top = Take(1);
  PutIn(1, Item(StageKind::kDirectory, "a"));
  PutIn(1, Item(StageKind::kDirectory, "b"));
  Done(1, top);
  const StageBoard::Piece b = Take(1), a = Take(1);
  StageItem deep = Item(StageKind::kDirectory, "b/c");
  deep.facts = {.inode = 7, .size = 0, .mtime = 9};
  PutIn(1, deep);
  Done(1, b);
  Done(1, a);
  const StageBoard::Piece c = Take(1);
  EXPECT_EQ(Take(1).item, 0u);
  Done(1, c);
  std::vector<std::vector<std::string>> ends;
  for (int i = 0; i < 3; ++i) {
    const StageBoard::Piece end = Take(1);
    EXPECT_EQ(end.what.kind, StageKind::kDirectoryEnds);
    EXPECT_EQ(Take(1).item, 0u);  // one level after the other
    ASSERT_EQ(end.what.seen.size(), end.what.names.size());
    EXPECT_EQ(end.what.seen[0] == deep.facts, i == 0);  // by these a server knows what it does not see
    ends.push_back(end.what.names);
    Done(1, end);
  }
  EXPECT_EQ(ends, (std::vector<std::vector<std::string>>{{"b/c"}, {"b", "a"}, {""}}));
  EXPECT_TRUE(Status().done);
}

TEST_F(StageBoardTest, WhatADeadServerHadInWorkHasFailedAndTheRestGoesOn) {
  Open(2);
  const StageBoard::Piece root = Take(1);
  PutIn(1, Item(StageKind::kEntries, "d", {"x", "y", "z"}));
  PutIn(1, File("big", 300, 100));
  PutIn(1, Item(StageKind::kEntries, "d", {"w"}));
  Done(1, root);
  EXPECT_EQ(Take(2).what.kind, StageKind::kRange);
  const StageBoard::Piece second = Take(1), third = Take(1);
  EXPECT_EQ(Take(2).what.names.size(), 3u);
  board.Gone(ClientId(2));
  EXPECT_EQ(board.Take(kJob, 2, ClientId(2)).code(), Code::kNoEntry);
  Done(1, second);
  Done(1, third);
  const StageBoard::Piece rest = Take(1);
  EXPECT_EQ(rest.what.names, std::vector<std::string>{"w"});
  Done(1, rest);
  StageSummary summary;
  EXPECT_TRUE(Status(&summary).done);
  EXPECT_EQ(Status().counts.failed, 4u);  // three entries and the file
  ASSERT_EQ(summary.failures.size(), 2u);
  EXPECT_NE(summary.failures[0].find("node2"), std::string::npos);
}

// One that never heard what it was given: nobody waits for that.
TEST_F(StageBoardTest, WhatAWorkerThatGivesUpHadInWorkHasFailed) {
  Open(1);
  const auto first = Take(1);
  PutIn(1, Item(StageKind::kEntries, "", {"a", "b"}));
  Done(1, first);
  EXPECT_NE(Take(1).item, 0u);
  EXPECT_TRUE(board.Decline(kJob, 1).ok());
  EXPECT_EQ(board.Take(kJob, 1, ClientId(1)).code(), Code::kNoEntry);
  EXPECT_EQ(Status().counts.failed, 2u);
  StageSummary summary;
  EXPECT_TRUE(Status(&summary).done);
  ASSERT_EQ(summary.failures.size(), 1u);
  EXPECT_NE(summary.failures[0].find("the server on node1"), std::string::npos);
}

TEST_F(StageBoardTest, ACommandThatGivesUpAndCancelsIsNotWaitedFor) {
  Open(0);
  EXPECT_NE(Take(kCommand).item, 0u);
  EXPECT_TRUE(board.Decline(kJob, kCommand).ok());
  board.Cancel(kJob);
  EXPECT_TRUE(Status().done);
}

TEST_F(StageBoardTest, ACancelledJobIsOverWhenWhatIsOutHasComeBack) {
  for (const bool death : {false, true}) {
    board = StageBoard();
    Open(1);
    const StageBoard::Piece root = Take(1);
    PutIn(1, Item(StageKind::kDirectory, "a"));
    death ? board.Gone(kCommandProcess) : board.Cancel(kJob);
    EXPECT_TRUE(Take(1).over);
    EXPECT_FALSE(Status().done);
    Done(1, root, StageEnd::kStopped);
    EXPECT_TRUE(Status().done);
    EXPECT_TRUE(Status().cancelled);
  }
}

TEST_F(StageBoardTest, OneJobATargetAtATime) {
  Open(0);
  for (const char* target : {"/in", "/in/below", "/"}) {
    EXPECT_EQ(board.Open(8, Spec(target), kCommandProcess, 1000, {}).code(), Code::kBusy) << target;
  }
  EXPECT_TRUE(board.Open(8, Spec("/inner"), kCommandProcess, 1000, {}).ok());
  PassRoot(kCommand);
  EXPECT_TRUE(board.Open(9, Spec("/in/below"), kCommandProcess, 1000, {}).ok());
}

TEST_F(StageBoardTest, JobsThatAreOverMakeRoomForNewOnesAndOthersDoNot) {
  for (uint64_t id = 1; id <= StageBoard::kJobsMax; ++id) {
    ASSERT_TRUE(board.Open(id, Spec(std::string("/").append(std::to_string(id))), kCommandProcess, 1000, {}).ok());
  }
  EXPECT_EQ(board.Open(99, Spec("/x"), kCommandProcess, 1000, {}).code(), Code::kBusy);
  board.Cancel(3);
  EXPECT_TRUE(board.Open(99, Spec("/x"), kCommandProcess, 1000, {}).ok());
  EXPECT_EQ(board.MayUse(3, 1000).code(), Code::kNoEntry);
}

TEST_F(StageBoardTest, AJobIsItsUsersAlone) {
  Open(0);
  EXPECT_TRUE(board.MayUse(kJob, 1000).ok());
  EXPECT_TRUE(board.MayUse(kJob, 0).ok());
  EXPECT_EQ(board.MayUse(kJob, 1001).code(), Code::kNoEntry);
}

TEST_F(StageBoardTest, StrangersAndWhatIsNotOutAreRefused) {
  Open(1);
  EXPECT_EQ(board.Take(kJob, 9, ClientId(9)).code(), Code::kNoEntry);
  EXPECT_EQ(board.PutIn(kJob, 9, StageReport()).code(), Code::kNoEntry);
  EXPECT_EQ(board.Decline(kJob, 9).code(), Code::kNoEntry);
  const StageBoard::Piece root = Take(1);
  EXPECT_EQ(board.GiveBack(kJob, kCommand, root.item, StageEnd::kDone).code(), Code::kNoEntry);
  Done(1, root);
  EXPECT_EQ(board.GiveBack(kJob, 1, root.item, StageEnd::kDone).code(), Code::kNoEntry);
  // Kinds that only the board makes, and files of no size or no range.
  ASSERT_TRUE(board.Open(99, Spec("/x"), kCommandProcess, 1000, {}).ok());
  StageReport report;
  for (StageKind kind : {StageKind::kRange, StageKind::kFileEnd, StageKind::kDirectoryEnds}) {
    report.found.push_back(Item(kind, "p"));
  }
  report.found.push_back(File("p", 0, 1));
  report.found.push_back(File("p", 1, 0));
  EXPECT_TRUE(board.PutIn(99, kCommand, std::move(report)).ok());
  EXPECT_EQ(board.Takeable(99, false), 1u);  // the source itself
}

TEST_F(StageBoardTest, AFullQueueSaysSo) {
  Open(1);
  const StageBoard::Piece root = Take(1);
  EXPECT_FALSE(root.full);
  const std::vector<std::string> names(64, std::string(250, 'n'));
  for (uint64_t bytes = 0; bytes < StageBoard::kQueuedBytesMax; bytes += 64 * 250) {
    PutIn(1, Item(StageKind::kEntries, "d", names));
  }
  EXPECT_TRUE(Take(1).full);
}

TEST_F(StageBoardTest, CountsAreByWorkerAndInAll) {
  Open(2);
  const StageBoard::Piece root = Take(1);
  for (uint32_t worker : {1u, 2u, 2u}) {
    StageReport report;
    report.counts = {.files_found = 1, .bytes_found = 10, .files_done = 1, .bytes_done = 10};
    report.failures.push_back("a sentence");
    EXPECT_TRUE(board.PutIn(kJob, worker, std::move(report)).ok());
  }
  Done(1, root);
  StageSummary summary;
  EXPECT_EQ(Status(&summary).counts.files_done, 3u);
  ASSERT_EQ(summary.shares.size(), 2u);
  EXPECT_EQ(summary.shares[0].host, "node1");
  EXPECT_EQ(summary.shares[0].counts.files_done, 1u);
  EXPECT_EQ(summary.shares[1].counts.bytes_done, 20u);
  EXPECT_EQ(summary.failures.size(), 3u);
}

}  // namespace
}  // namespace mayfly
