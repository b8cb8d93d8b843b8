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
  EXPECT_TRUE(LookAlong(trail, UuidOf(0xb), Uid(), "here").here.empty());
  EXPECT_EQ(LookAlong(trail, kUuid, Uid(), "there").elsewhere, std::vector<std::string>{At("s.json")});
  EXPECT_TRUE(RemoveTrail(trail, kUuid, Uid(), "there").empty());
  EXPECT_TRUE(fs::exists(At("s.json")));
  EXPECT_EQ(LookAlong(trail, kUuid, Uid(), "here").here, std::vector<std::string>{At("s.json")});
  EXPECT_TRUE(RemoveTrail(trail, kUuid, Uid(), "here").empty());
  EXPECT_FALSE(fs::exists(At("s.json")));
  EXPECT_TRUE(RemoveTrail(trail, kUuid, Uid(), "here").empty());  // twice does no harm
}

TEST_F(TrailTest, OnlyWhatLooksLikeASegmentOfTheUserGoes) {
  Write(At("vader_segment.host.0.1.0"), "x");
  Write(At("thesis.tex"), "x");
  ASSERT_EQ(symlink(At("thesis.tex").c_str(), At("vader_segment.link").c_str()), 0);
  const Trail trail{"", {At("vader_segment.host.0.1.0"), At("thesis.tex"), At("vader_segment.link")}, "", ""};
  EXPECT_TRUE(LookAlong(trail, kUuid, Uid() + 1, "here").here.empty());
  EXPECT_TRUE(RemoveTrail(trail, kUuid, Uid(), "here").empty());
  EXPECT_FALSE(fs::exists(At("vader_segment.host.0.1.0")));
  EXPECT_TRUE(fs::exists(At("thesis.tex")));
  EXPECT_TRUE(fs::exists(At("vader_segment.link")));
}

TEST_F(TrailTest, AFolderOfALauncherGoesOnceItsDaemonIsDead) {
  const std::string host = At("ompi.host.0"), living = host + "/pid." + std::to_string(getpid()),
                    dead = host + "/pid." + NumberOfADeadProcess(), other = At("else/pid.1x");
  for (const std::string& path : {living, dead, other}) fs::create_directories(path + "/0");
  for (const std::string& path : {living, dead, other, host}) {
    EXPECT_TRUE(RemoveTrail({"", {}, path, ""}, kUuid, Uid(), "here").empty());
  }
  EXPECT_TRUE(fs::exists(living));
  EXPECT_FALSE(fs::exists(dead));
  EXPECT_TRUE(fs::exists(other));
  fs::rename(living, dead);
  EXPECT_TRUE(RemoveTrail({"", {}, dead, ""}, kUuid, Uid(), "here").empty());
  EXPECT_FALSE(fs::exists(host));
}

}  // namespace
}  // namespace mayfly
