#include "session/discover.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>

#include "scratch.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

class DiscoverTest : public Scratch {
 protected:
  DiscoverTest() : runtime_(RuntimeDir::Create(At("run"), Uid()).value()) {
    options_.runtime_path = At("run");
    options_.host = "here";
    options_.uid = Uid();
    options_.protocol = kSpoken;
  }

  // A session with a server on this node.
  SessionFile Start(uint8_t n, const std::string& job, SessionState state = SessionState::kReady) {
    SessionFile file = ExampleFile(UuidOf(n));
    file.job = job;
    file.state = state;
    file.map_path = runtime_.MapPath(file.uuid);
    EXPECT_TRUE(runtime_.Join(file.uuid, 0).ok());
    EXPECT_TRUE(WriteSessionFile(runtime_.SessionFilePath(file.uuid), file).ok());
    if (state != SessionState::kStarting) Write(runtime_.MapPath(file.uuid), AsText(ExampleMap(file.uuid)));
    return file;
  }
  void Kill(const SessionFile& file) {
    ProcessMark mark = MarkOfThisProcess();
    ++mark.start_ticks;
    Write(runtime_.SessionPath(file.uuid) + "/rank-0.pid", EncodeMark(mark));
  }
  // The same session with all its servers on this host.
  void MakeSingleHost(SessionFile& file, bool durable = false) {
    file.hosts = {"here"};
    file.durable = durable;
    EXPECT_TRUE(WriteSessionFile(runtime_.SessionFilePath(file.uuid), file).ok());
  }
  Uuid Found(const DiscoverOptions& options) {
    auto found = Discover(options);
    EXPECT_TRUE(found.ok()) << found.failure().sentence;
    if (!found.ok()) return Uuid{};
    auto map = OpenNodeMap(*found);
    EXPECT_TRUE(map.ok()) << map.failure().sentence;
    if (!map.ok()) return Uuid{};
    EXPECT_EQ(map->session(), found->file.uuid);
    return found->file.uuid;
  }
  void ExpectFailure(const DiscoverOptions& options, Code code, const std::string& about) {
    auto found = Discover(options);
    ASSERT_FALSE(found.ok());
    ExpectSentence(found.failure(), code, about);
  }

  RuntimeDir runtime_;
  DiscoverOptions options_;
};

TEST_F(DiscoverTest, NothingThereIsNoSession) {
  ExpectFailure(options_, Code::kNotMapped, "MAYFLY_SESSION");
  options_.runtime_path = At("none");
  ExpectFailure(options_, Code::kNotMapped, "MAYFLY_SESSION");
  options_.session_variable = UuidText(UuidOf(1));
  ExpectFailure(options_, Code::kNotMapped, options_.session_variable);
  options_.session_variable = At("session.json");
  ExpectFailure(options_, Code::kNotMapped, At("session.json"));
}

TEST_F(DiscoverTest, WhatIsNamedFirstCounts) {
  const SessionFile by_path = Start(1, "j1"), by_variable = Start(2, "j2"), by_job = Start(3, "j3"),
                    alone = Start(4, "");
  options_.path = runtime_.SessionFilePath(by_path.uuid);
  options_.session_variable = runtime_.SessionFilePath(by_variable.uuid);
  options_.job = "j3";
  EXPECT_EQ(Found(options_), by_path.uuid);
  options_.path.clear();
  EXPECT_EQ(Found(options_), by_variable.uuid);
  options_.session_variable = UuidText(by_variable.uuid);
  EXPECT_EQ(Found(options_), by_variable.uuid);
  options_.session_variable.clear();
  EXPECT_EQ(Found(options_), by_job.uuid);
  options_.job = "j5";  // no session of its own: the one that belongs to no job
  EXPECT_EQ(Found(options_), alone.uuid);
}

TEST_F(DiscoverTest, AWrongNameIsNotReplacedByAGuess) {
  Start(1, "j1");
  options_.session_variable = At("elsewhere.json");
  ExpectFailure(options_, Code::kNotMapped, At("elsewhere.json"));
  options_.path = At("other.json");
  ExpectFailure(options_, Code::kNotMapped, At("other.json"));
}

TEST_F(DiscoverTest, TheOnlyLiveSessionIsFoundPastDeadOnes) {
  SessionFile dead = Start(1, "j1");
  Kill(dead);
  const SessionFile live = Start(2, "j2");
  EXPECT_EQ(Found(options_), live.uuid);
}

TEST_F(DiscoverTest, SeveralLiveSessionsAreListed) {
  const SessionFile a = Start(1, "j1"), b = Start(2, "");
  ExpectFailure(options_, Code::kInvalid, "MAYFLY_SESSION");
  ExpectFailure(options_, Code::kInvalid, runtime_.SessionFilePath(a.uuid) + " (job j1)");
  ExpectFailure(options_, Code::kInvalid, runtime_.SessionFilePath(b.uuid));
  options_.job = "j1";
  EXPECT_EQ(Found(options_), a.uuid);
  Start(3, "j1");
  ExpectFailure(options_, Code::kInvalid, "2 sessions");
}

TEST_F(DiscoverTest, TwoSessionsOfOneUserDoNotMeet) {
  const SessionFile a = Start(1, "j1");
  options_.job = "j2";  // its own servers are not up yet
  ExpectFailure(options_, Code::kNotMapped, runtime_.SessionFilePath(a.uuid));
  const SessionFile b = Start(2, "j2");
  EXPECT_EQ(Found(options_), b.uuid);
  options_.job = "j1";
  EXPECT_EQ(Found(options_), a.uuid);

  // A map that ended up in the wrong place is not used.
  Write(runtime_.MapPath(a.uuid), AsText(ExampleMap(b.uuid)));
  auto map = OpenNodeMap(*Discover(options_));
  ASSERT_FALSE(map.ok());
  ExpectSentence(map.failure(), Code::kCorrupt, runtime_.MapPath(a.uuid));
}

TEST_F(DiscoverTest, ASessionThatIsStartingSaysSo) {
  ASSERT_TRUE(runtime_.Join(UuidOf(1), 0).ok());  // no session file yet
  ExpectFailure(options_, Code::kAgain, runtime_.SessionPath(UuidOf(1)));
  ASSERT_TRUE(runtime_.Leave(UuidOf(1), 0).ok());
  const SessionFile file = Start(2, "", SessionState::kStarting);
  for (const std::string& path : {std::string(), runtime_.SessionFilePath(file.uuid)}) {
    options_.path = path;
    auto found = Discover(options_);
    ASSERT_TRUE(found.ok()) << found.failure().sentence;
    EXPECT_EQ(found->file.state, SessionState::kStarting);
    EXPECT_EQ(found->local_servers, Liveness::kAlive);
    EXPECT_EQ(found->map_path, "");
  }
  options_.path.clear();
  auto map = OpenNodeMap(*Discover(options_));
  ASSERT_FALSE(map.ok());
  ExpectSentence(map.failure(), Code::kAgain, runtime_.SessionFilePath(file.uuid));
}

TEST_F(DiscoverTest, AReadySessionWithoutItsMapIsDamaged) {
  const SessionFile file = Start(1, "");
  fs::remove(runtime_.MapPath(file.uuid));
  ExpectFailure(options_, Code::kCorrupt, runtime_.MapPath(file.uuid));
}

TEST_F(DiscoverTest, ServersThatCanBeBroughtBackAreWaitedFor) {
  SessionFile file = Start(1, "j1");
  MakeSingleHost(file, /*durable=*/true);
  EXPECT_EQ(Found(options_), file.uuid);
  Kill(file);
  options_.session_variable = UuidText(file.uuid);
  ExpectFailure(options_, Code::kAgain, "--recover");
}

TEST_F(DiscoverTest, ASessionWhoseServersAreGoneIsStale) {
  SessionFile file = Start(1, "j1");
  MakeSingleHost(file);
  EXPECT_EQ(Found(options_), file.uuid);
  Kill(file);
  ExpectFailure(options_, Code::kNotMapped, "no session");
  options_.job = "j1";
  ExpectFailure(options_, Code::kStale, "mayfly clean");
  options_.session_variable = UuidText(file.uuid);
  ExpectFailure(options_, Code::kStale, "mayfly clean");
  ASSERT_TRUE(WriteSessionFile(At("shared.json"), file).ok());
  options_.path = At("shared.json");
  ExpectFailure(options_, Code::kStale, At("shared.json"));
  ASSERT_TRUE(runtime_.Remove(file.uuid).ok());  // cleaned, only the shared file was forgotten
  ExpectFailure(options_, Code::kStale, At("shared.json"));
}

TEST_F(DiscoverTest, OtherHostsStillServeASessionWhoseLocalServerDied) {
  const SessionFile file = Start(1, "j1");
  Kill(file);
  options_.job = "j1";
  auto found = Discover(options_);
  ASSERT_TRUE(found.ok()) << found.failure().sentence;
  EXPECT_EQ(found->local_servers, Liveness::kDead);
  EXPECT_EQ(Found(options_), file.uuid);
}

TEST_F(DiscoverTest, TheLocalCopyIsPreferredAndTheLaterStateCounts) {
  SessionFile file = Start(1, "", SessionState::kReady);
  SessionFile shared = file;
  shared.state = SessionState::kStarting;
  ASSERT_TRUE(WriteSessionFile(At("shared.json"), shared).ok());
  Write(At("shared.json.map"), AsText(ExampleMap(file.uuid, View(1))));
  options_.path = At("shared.json");
  auto found = Discover(options_);
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->map_path, runtime_.MapPath(file.uuid));
  EXPECT_EQ(found->file.state, SessionState::kReady);
  shared.state = SessionState::kStopping;
  ASSERT_TRUE(WriteSessionFile(At("shared.json"), shared).ok());
  EXPECT_EQ(Discover(options_)->file.state, SessionState::kStopping);
}

TEST_F(DiscoverTest, ANodeWithoutServersUsesTheMapBesideTheSharedFile) {
  SessionFile file = ExampleFile(UuidOf(5));
  file.map_path = At("run/none/map");
  ASSERT_TRUE(WriteSessionFile(At("shared.json"), file).ok());
  options_.path = At("shared.json");
  ExpectFailure(options_, Code::kNotMapped, At("shared.json.map"));
  Write(At("shared.json.map"), AsText(ExampleMap(file.uuid)));
  EXPECT_EQ(Found(options_), file.uuid);
  // Nor does a runtime directory that is not in order stand in its way.
  ASSERT_EQ(chmod(At("run").c_str(), 0755), 0);
  EXPECT_EQ(Found(options_), file.uuid);
  options_.path.clear();
  ExpectFailure(options_, Code::kAccess, At("run"));
}

TEST_F(DiscoverTest, AnotherRuntimeDirectoryIsFoundThroughTheFile) {
  const SessionFile file = Start(1, "");
  options_.runtime_path = At("none");
  options_.path = runtime_.SessionFilePath(file.uuid);
  EXPECT_EQ(Found(options_), file.uuid);
}

TEST_F(DiscoverTest, ServersOfAnotherVersionAreNamed) {
  SessionFile file = Start(1, "");
  file.protocol = kSpoken.max + 1;
  ASSERT_TRUE(WriteSessionFile(runtime_.SessionFilePath(file.uuid), file).ok());
  ExpectFailure(options_, Code::kNotSupported, runtime_.SessionFilePath(file.uuid));
}

}  // namespace
}  // namespace mayfly
