// What outlives servers, in a directory and on a device (a file of zeros): the same calls find, read and remove it.
#include "session/storage_tree.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "device/device.h"
#include "session/storage_layout.h"
#include "session/trail.h"
#include "unit/session/scratch.h"

namespace mayfly {
namespace {

struct StorageTree : Scratch, testing::WithParamInterface<bool> {
  void SetUp() override {
    if (!GetParam()) {
      ASSERT_EQ(mkdir(place.c_str(), 0700), 0);
      std::filesystem::create_directories(Member(0));
      std::filesystem::create_directories(Member(1));
      return;
    }
    const int fd = open(place.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    ASSERT_EQ(ftruncate(fd, 64 << 20), 0);
    close(fd);
    Device device;
    ASSERT_TRUE(device.Open(place, false).ok());
    ASSERT_TRUE(device.Claim().ok());
  }
  Charter CharterOf(uint16_t member, uint32_t uid = geteuid()) const {
    Charter charter = ExampleCharter();
    charter.uid = uid;
    charter.self = MemberId(member);
    return charter;
  }
  std::string Member(uint16_t member) const { return MemberStorage(base, MemberId(member)); }

  const std::string place = At("place");
  const Uuid uuid = ExampleCharter().uuid;
  const std::string base = StorageBase(place, "", uuid);
};

TEST_P(StorageTree, MembersAreFoundReadAndRemoved) {
  for (uint16_t m : {0, 1}) ASSERT_TRUE(WriteCharter(Member(m), CharterOf(m)).ok());
  EXPECT_EQ(FindSessions(place), std::vector<Uuid>{uuid});
  EXPECT_EQ(StorageDirectoriesIn(base), (std::vector<std::string>{Member(0), Member(1)}));
  EXPECT_TRUE(IsStorageDirectory(place) && IsStorageDirectory(base) && IsStorageDirectory(Member(1)));
  EXPECT_TRUE(StorageExists(Member(1) + "/charter"));
  EXPECT_FALSE(StorageExists(Member(2)) || IsStorageDirectory(base + "/member"));
  EXPECT_GT(StorageBytesIn(base), StorageBytesIn(Member(1)));
  EXPECT_EQ(*ReadCharter(Member(1), geteuid()), CharterOf(1));
  EXPECT_EQ(ReadCharter(Member(2), geteuid()).failure().status.code(), Code::kNoEntry);
  const auto found = FindMembers(base, uuid, CharterOf(1).members[1].host, geteuid());
  ASSERT_TRUE(found.ok()) << found.failure().sentence;
  EXPECT_TRUE(std::any_of(found->begin(), found->end(), [](const Charter& one) { return one.self == MemberId(1); }));
  EXPECT_GE(*RemoveStorageTree(Member(1)), 1u);
  EXPECT_EQ(StorageDirectoriesIn(base), std::vector<std::string>{Member(0)});
  EXPECT_FALSE(IsStorageFileInUse(Member(0) + "/charter"));
}

// L1 of a server that was killed: its members, and nothing else.
TEST_P(StorageTree, ATrailLeadsThere) {
  for (uint16_t m : {0, 1}) ASSERT_TRUE(WriteCharter(Member(m), CharterOf(m)).ok());
  Trail trail;
  trail.storage = base;
  const std::string host = CharterOf(1).members[1].host;
  const TrailLook mine{uuid, geteuid(), host, ""}, anothers{uuid, geteuid(), "elsewhere", ""};
  EXPECT_EQ(LookAlong(trail, anothers).here, std::vector<std::string>());
  const std::vector<std::string> here = LookAlong(trail, mine).here;
  ASSERT_FALSE(here.empty());
  EXPECT_TRUE(RemoveTrail(trail, mine).empty());
  for (const std::string& path : here) EXPECT_FALSE(IsStorageDirectory(path)) << path;
  EXPECT_TRUE(LookAlong(trail, mine).here.empty());
}

INSTANTIATE_TEST_SUITE_P(All, StorageTree, testing::Bool(),
                         [](const auto& info) { return std::string(info.param ? "Device" : "Directory"); });

struct OnADevice : StorageTree {};
INSTANTIATE_TEST_SUITE_P(All, OnADevice, testing::Values(true));

TEST_P(OnADevice, TheCharterSaysWhoseItIs) {
  ASSERT_TRUE(WriteCharter(Member(0), CharterOf(0, geteuid() + 1)).ok());
  EXPECT_EQ(ReadCharter(Member(0), geteuid()).failure().status.code(), Code::kAccess);
}

TEST_P(OnADevice, TheDeviceItselfIsNeverRemoved) {
  ASSERT_TRUE(WriteCharter(Member(0), CharterOf(0)).ok());
  EXPECT_FALSE(RemoveStorageTree(place).ok());
  EXPECT_TRUE(ReadCharter(Member(0), geteuid()).ok());
  EXPECT_EQ(*RemoveStorageTree(Member(0)), 1u);
  const std::string left = Read(place);
  EXPECT_TRUE(left.size() == 64 << 20 && std::all_of(left.begin(), left.end(), [](char c) { return c == 0; }));
}

}  // namespace
}  // namespace mayfly
