#include "session/trail.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "scratch.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

using TrailTest = Scratch;

const Uuid kUuid = UuidOf(0xa);

std::string NumberOfADeadProcess() {
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return std::to_string(child);
}

TEST(TrailText, ThereAndBack) {
  const Trail trail{"/pfs/a session\nfile",
                    {"/dev/shm/vader_segment.a.0.1.0", "/dev/shm/vader_segment.a.0.1.1"},
                    "/tmp/x",
                    "/nvme/mayfly-1"};
  EXPECT_EQ(ParseTrail(EncodeTrail(trail)), trail);
  EXPECT_EQ(ParseTrail(EncodeTrail(Trail())), Trail());
  using namespace std::string_view_literals;
  for (const auto bad : {"session /a"sv, "session\0"sv, "session a\0"sv, "other /a\0"sv, "session /a\0x"sv, "\0"sv}) {
    EXPECT_FALSE(ParseTrail(bad)) << bad;
  }
}

TEST_F(TrailTest, ASessionFileGoesOnlyIfItIsOfThisSessionAndOfThisHostAlone) {
  const Trail trail{At("s.json"), {}, "", ""};
  SessionFile file = ExampleFile(kUuid);
  file.uid = Uid();
  file.hosts = {"here"};
  ASSERT_TRUE(WriteSessionFile(At("s.json"), file).ok());
  EXPECT_TRUE(LookAlong(trail, {UuidOf(0xb), Uid(), "here", root_}).here.empty());
  EXPECT_EQ(LookAlong(trail, {kUuid, Uid(), "there", root_}).elsewhere, std::vector<std::string>{At("s.json")});
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "there", root_}).empty());
  EXPECT_TRUE(fs::exists(At("s.json")));
  EXPECT_EQ(LookAlong(trail, {kUuid, Uid(), "here", root_}).here, std::vector<std::string>{At("s.json")});
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "here", root_}).empty());
  EXPECT_FALSE(fs::exists(At("s.json")));
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "here", root_}).empty());  // twice does no harm
}

TEST_F(TrailTest, WhatKilledWritersOfThisSessionLeftBesideItGoesToo) {
  const Trail trail{At("s.json"), {}, "", ""};
  const std::string file = At("s.json.new." + UuidText(kUuid) + ".abcdef"), other = UuidText(UuidOf(0xb));
  const std::string map = At("s.json.map.new." + UuidText(kUuid) + ".ghijkl");
  const std::vector<std::string> others = {At("s.json.map.new." + other + ".mnopqr"), At("s.json.news"),
                                           At("s.json.new." + UuidText(kUuid)),
                                           At("t.json.new." + UuidText(kUuid) + ".a")};
  for (const std::string& path : {file, map}) Write(path, "half");
  for (const std::string& path : others) Write(path, "others'");
  EXPECT_EQ(LookAlong(trail, {kUuid, Uid(), "here", root_}).here, (std::vector<std::string>{file, map}));
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "here", root_}).empty());
  EXPECT_FALSE(fs::exists(file));
  EXPECT_FALSE(fs::exists(map));
  for (const std::string& path : others) EXPECT_TRUE(fs::exists(path)) << path;
}

TEST_F(TrailTest, OnlyWhatLooksLikeASegmentOfTheUserGoes) {
  Write(At("vader_segment.host.0.1.0"), "x");
  Write(At("thesis.tex"), "x");
  ASSERT_EQ(symlink(At("thesis.tex").c_str(), At("vader_segment.link").c_str()), 0);
  const Trail trail{"", {At("vader_segment.host.0.1.0"), At("thesis.tex"), At("vader_segment.link")}, "", ""};
  EXPECT_TRUE(LookAlong(trail, {kUuid, Uid() + 1, "here", root_}).here.empty());
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "here", root_}).empty());
  EXPECT_FALSE(fs::exists(At("vader_segment.host.0.1.0")));
  EXPECT_TRUE(fs::exists(At("thesis.tex")));
  EXPECT_TRUE(fs::exists(At("vader_segment.link")));
}

TEST_F(TrailTest, AFolderOfALauncherGoesOnceItsDaemonIsDead) {
  const std::string host = At("ompi.host.0"), living = host + "/pid." + std::to_string(getpid()),
                    dead = host + "/pid." + NumberOfADeadProcess(), other = At("else/pid.1x");
  for (const std::string& path : {living, dead, other}) fs::create_directories(path + "/0");
  for (const std::string& path : {living, dead, other, host}) {
    EXPECT_TRUE(RemoveTrail({"", {}, path, ""}, {kUuid, Uid(), "here", root_}).empty());
  }
  EXPECT_TRUE(fs::exists(living));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(other));
  fs::rename(living, dead);
  EXPECT_TRUE(RemoveTrail({"", {}, dead, ""}, {kUuid, Uid(), "here", root_}).empty());
  EXPECT_FALSE(fs::exists(host));
}

struct StorageTrail : TrailTest {
  StorageTrail() : base(At("mayfly-" + UuidText(kUuid))), trail{"", {}, "", base} {
    for (const std::string member : {"/member-0", "/member-1"}) fs::create_directories(base + member + "/shard-0");
    for (uint16_t i = 0; i < 2; ++i) {
      Charter charter = ExampleCharter();  // on node1 and node2
      charter.uuid = kUuid;
      charter.self = MemberId(i);
      EXPECT_TRUE(WriteCharter(base + "/member-" + std::to_string(i), charter).ok());
    }
  }
  TrailFound Look(const std::string& host) { return LookAlong(trail, {kUuid, Uid(), host, root_}); }
  using Paths = std::vector<std::string>;
  const std::string base;
  const Trail trail;
};

TEST_F(StorageTrail, OnlyWhatServersOfThisNodeMadeGoes) {
  EXPECT_EQ(Look("node2").here, Paths{base + "/member-1"});
  EXPECT_TRUE(LookAlong(trail, {kUuid, Uid() + 1, "node2", root_}).here.empty());
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "node2", root_}).empty());
  EXPECT_FALSE(fs::exists(base + "/member-1"));
  EXPECT_TRUE(fs::exists(base + "/member-0"));
}

TEST_F(StorageTrail, WhoseAMemberWithADamagedCharterIsAnotherOneSays) {
  Write(base + "/member-1/charter", "{");
  EXPECT_EQ(Look("node2").here, Paths{base + "/member-1"});
  EXPECT_EQ(Look("node1").here, Paths{base + "/member-0"});
  EXPECT_TRUE(Look("node1").unknown.empty());
  fs::remove(base + "/member-1/charter");
  EXPECT_EQ(Look("node2").here, Paths{base + "/member-1"});
}

TEST_F(StorageTrail, WhoseMembersWithoutChartersAreTheMapSays) {
  for (const std::string member : {"/member-0", "/member-1"}) Write(base + member + "/charter", "{");
  EXPECT_EQ(Look("node1").unknown, (Paths{base + "/member-0", base + "/member-1"}));
  EXPECT_TRUE(Look("node1").here.empty());  // nobody says
  std::ofstream(At("map"), std::ios::binary) << AsText(Bytes(ExampleMap(UuidOf(0xb))));
  fs::permissions(At("map"), fs::perms::owner_read | fs::perms::owner_write);
  EXPECT_TRUE(Look("node1").here.empty());  // of another session
  std::ofstream(At("map"), std::ios::binary) << AsText(Bytes(ExampleMap(kUuid)));
  EXPECT_EQ(Look("node1").here, Paths{base + "/member-1"});  // the map has node0 and node1
  EXPECT_TRUE(Look("node1").unknown.empty());
  EXPECT_TRUE(RemoveTrail(trail, {kUuid, Uid(), "node1", root_}).empty());
  EXPECT_FALSE(fs::exists(base + "/member-1"));
  EXPECT_TRUE(fs::exists(base + "/member-0"));
}

// A newer Mayfly's is not damaged, and may be anybody's.
TEST_F(StorageTrail, WhatANewerMayflyWroteStays) {
  std::string text = Read(base + "/member-1/charter");
  text.replace(text.find("\"version\": 1"), 12, "\"version\": 2");
  Write(base + "/member-1/charter", text);
  EXPECT_TRUE(Look("node2").here.empty());
}

}  // namespace
}  // namespace mayfly
