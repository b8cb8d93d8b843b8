// Storage on a real directory: finding it by any of its directories, opening it without a trace, clearing it.
#include <sys/file.h>

#include "inspect/clear.h"
#include "inspect/look.h"
#include "inspect/shard_door.h"
#include "unit/inspect/storage_world.h"

namespace mayfly {
namespace {

namespace fs = std::filesystem;

// ---- finding ----

using Places = StorageWorld;

TEST_F(Places, AreFoundByEachDirectoryOfThePath) {
  MakeDirectories(user.host);
  for (const std::string& directory : {root + "/dir", root + "/dir/", Base()}) {
    const std::vector<MemberPlace> all = Find(directory);
    ASSERT_EQ(all.size(), 2u) << directory;
    EXPECT_EQ(all[0].member, MemberId(0));
    EXPECT_EQ(all[0].uuid, uuid);
    EXPECT_EQ(all[0].host, user.host);
    EXPECT_TRUE(all[0].here);
    EXPECT_FALSE(all[0].in_memory);
    EXPECT_EQ(all[0].session_directory, SessionDirectory());
    ASSERT_EQ(all[0].shards.size(), 2u);
    EXPECT_EQ(all[0].shards[1].shard, ShardId(1));
    EXPECT_EQ(all[0].shards[1].directory, Of(MemberId(0), ShardId(1)));
    EXPECT_TRUE(all[0].shards[1].there);
    EXPECT_EQ(all[1].shards[0].shard, ShardId(2));
  }
  const std::vector<MemberPlace> one = Find(Of(MemberId(1)));
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].member, MemberId(1));
  (void)MakeJournal(MemberId(0), ShardId(1), 1);
  const std::vector<MemberPlace> shard = Find(Of(MemberId(0), ShardId(1)));
  ASSERT_EQ(shard.size(), 1u);
  ASSERT_EQ(shard[0].shards.size(), 1u);
  EXPECT_EQ(shard[0].shards[0].shard, ShardId(1));
  EXPECT_TRUE(shard[0].part);
}

TEST_F(Places, WithoutADirAreInTheRuntimeDirectory) {
  const std::string base = SessionDirectory();
  fs::create_directories(ShardStorage(base, MemberId(0), ShardId(0)));
  for (const std::string& directory : {user.runtime_path, base}) {
    const std::vector<MemberPlace> all = Find(directory);
    ASSERT_EQ(all.size(), 1u) << directory;
    EXPECT_TRUE(all[0].in_memory);
    EXPECT_EQ(all[0].uuid, uuid);
    EXPECT_EQ(all[0].session_directory, base);
  }
}

// P1
TEST_F(Places, ThatAreDamagedAreFoundAllTheSame) {
  MakeDirectories("elsewhere");
  std::ofstream(Of(MemberId(0)) + "/charter", std::ios::trunc) << "{}";
  fs::remove_all(Of(MemberId(1), ShardId(2)));
  const std::vector<MemberPlace> all = Find(root + "/dir");
  ASSERT_EQ(all.size(), 2u);
  EXPECT_FALSE(all[0].charter);
  EXPECT_NE(all[0].charter_problem.find("damaged"), std::string::npos) << all[0].charter_problem;
  EXPECT_EQ(all[0].uuid, uuid);  // by the name
  EXPECT_TRUE(all[0].here);
  EXPECT_EQ(all[0].shards.size(), 2u);
  EXPECT_FALSE(all[1].here);
  ASSERT_EQ(all[1].shards.size(), 1u);
  EXPECT_FALSE(all[1].shards[0].there);
  EXPECT_EQ(ShardDoor::Open(all[1], all[1].shards[0], user).failure().status.code(), Code::kNoEntry);
}

TEST_F(Places, ThatAreNoneAreRefusedWithASentence) {
  const auto nothing = FindPlaces(root, user);
  ASSERT_FALSE(nothing.ok());
  EXPECT_EQ(nothing.failure().status.code(), Code::kNoEntry);
  EXPECT_NE(nothing.failure().sentence.find("--dir"), std::string::npos) << nothing.failure().sentence;
  EXPECT_EQ(FindPlaces(root + "/none", user).failure().status.code(), Code::kNoEntry);
  std::ofstream(root + "/file") << "x";
  EXPECT_EQ(FindPlaces(root + "/file", user).failure().status.code(), Code::kNoEntry);
  fs::create_directories(root + "/member-07/other");
  fs::create_directories(root + "/member-70000/shard-0");
  EXPECT_EQ(FindPlaces(root, user).failure().status.code(), Code::kNoEntry);
}

// ---- opening ----

using Door = StorageWorld;

// D1
TEST_F(Door, LeavesNoTrace) {
  MakeDirectories(user.host);
  MakeJournal(MemberId(0), ShardId(0), 5).reset();
  const std::set<std::string> before = Everything();
  const MemberPlace member = Find(Of(MemberId(0)))[0];
  auto door = ShardDoor::Open(member, member.shards[0], user);
  ASSERT_TRUE(door.ok()) << door.failure().sentence;
  const JournalLook look = (*door)->Run(LookAtJournal(&(*door)->executor(), (*door)->from(), nullptr));
  EXPECT_EQ(look.verdict(), Verdict::kWhole);
  EXPECT_EQ(look.tail, TailMemory::kRead);
  EXPECT_EQ(look.recovered.records, 5u);
  EXPECT_TRUE((*door)->Unchanged(look.recovered.superblock).ok());
  EXPECT_EQ(Everything(), before);
  // Nor does it stand in the way of a server that comes back.
  const std::string kept = SessionDirectory() + "/" + KeptPrefix(ShardId(0)) + ".journal-tail";
  for (const std::string& path : {Of(MemberId(0), ShardId(0)) + "/journal", kept}) {
    const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(fd, 0) << path;
    EXPECT_EQ(flock(fd, LOCK_EX | LOCK_NB), 0) << path;
    close(fd);
  }
}

// D2
TEST_F(Door, DoesNotOpenToWhatAServerHas) {
  MakeDirectories(user.host);
  auto journal = MakeJournal(MemberId(0), ShardId(0), 1);
  const MemberPlace member = Find(Of(MemberId(0)))[0];
  const auto refused = ShardDoor::Open(member, member.shards[0], user);
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.failure().status.code(), Code::kBusy);
  journal->CloseInOrder();
  journal.reset();
  auto door = ShardDoor::Open(member, member.shards[0], user);
  ASSERT_TRUE(door.ok());
  JournalLook look = (*door)->Run(LookAtJournal(&(*door)->executor(), (*door)->from(), nullptr));
  ASSERT_TRUE((*door)->Unchanged(look.recovered.superblock).ok());
  // One that came and went since.
  --look.recovered.superblock.sequence;
  const Outcome<Done> unchanged = (*door)->Unchanged(look.recovered.superblock);
  ASSERT_FALSE(unchanged.ok());
  EXPECT_EQ(unchanged.failure().status.code(), Code::kBusy);
}

// ---- clearing ----

struct Clearing : StorageWorld {
  ClearPlan Plan(const std::string& directory) { return PlanClear(Find(directory), user); }
};

TEST_F(Clearing, TakesWhatWasClosedInOrderWithoutForce) {
  MakeDirectories(user.host);
  for (const auto& [member, shard] : {std::pair(0, 0), std::pair(0, 1), std::pair(1, 2)}) {
    MakeJournal(MemberId(static_cast<uint16_t>(member)), ShardId(static_cast<uint32_t>(shard)), 3)->CloseInOrder();
  }
  const ClearPlan plan = Plan(root + "/dir");
  EXPECT_EQ(plan.journals, 3u);
  EXPECT_GE(plan.bytes, 3 * kRingBytesMin);
  EXPECT_TRUE(plan.forbidden.empty());
  EXPECT_TRUE(plan.dirty.empty()) << plan.dirty[0];
  const Cleared cleared = Clear(plan, user);
  EXPECT_TRUE(cleared.result.ok()) << cleared.result.failure().sentence;
  EXPECT_TRUE(fs::is_empty(root + "/dir"));
  EXPECT_TRUE(fs::exists(root + "/dir"));  // the user's
  EXPECT_TRUE(fs::is_empty(user.runtime_path));
}

TEST_F(Clearing, SaysWhatIsOnlyThere) {
  MakeDirectories(user.host);
  MakeJournal(MemberId(0), ShardId(0), 3).reset();
  MakeJournal(MemberId(0), ShardId(1), 0).reset();  // nothing in it
  MakeJournal(MemberId(1), ShardId(2), 3)->CloseInOrder();
  const ClearPlan plan = Plan(Base());
  EXPECT_TRUE(plan.forbidden.empty());
  ASSERT_EQ(plan.dirty.size(), 1u);
  EXPECT_NE(plan.dirty[0].find("shard 0"), std::string::npos) << plan.dirty[0];
  EXPECT_NE(plan.dirty[0].find("3 records"), std::string::npos) << plan.dirty[0];
  // What cannot be read may hold something.
  fs::resize_file(Of(MemberId(1), ShardId(2)) + "/journal", 100'000);
  EXPECT_EQ(Plan(Base()).dirty.size(), 2u);
}

// C1
TEST_F(Clearing, LeavesWhatAServerHasOpen) {
  MakeDirectories(user.host);
  MakeJournal(MemberId(0), ShardId(0), 1)->CloseInOrder();
  MakeJournal(MemberId(0), ShardId(1), 1)->CloseInOrder();
  const ClearPlan before = Plan(Of(MemberId(0)));
  EXPECT_TRUE(before.forbidden.empty());
  auto journal = MakeJournal(MemberId(1), ShardId(2), 1);
  const ClearPlan plan = Plan(root + "/dir");
  ASSERT_EQ(plan.forbidden.size(), 1u);
  EXPECT_NE(plan.forbidden[0].find("shard 2"), std::string::npos) << plan.forbidden[0];
  // One that came to life between the plan and the removal.
  ClearPlan late = plan;
  late.forbidden.clear();
  const Cleared cleared = Clear(late, user);
  ASSERT_FALSE(cleared.result.ok());
  EXPECT_EQ(cleared.result.failure().status.code(), Code::kBusy);
  EXPECT_TRUE(cleared.removed.empty());
  EXPECT_TRUE(fs::exists(Of(MemberId(0), ShardId(0)) + "/journal"));
}

// C1: the other member of the session lives; its directory may be somewhere else.
TEST_F(Clearing, LeavesASessionOfWhichAProcessLives) {
  MakeDirectories(user.host);
  MakeJournal(MemberId(0), ShardId(0), 1)->CloseInOrder();
  const auto runtime = RuntimeDir::Open(user.runtime_path, user.uid);
  ASSERT_TRUE(runtime.ok()) << runtime.failure().sentence;
  const ClearPlan before = Plan(Of(MemberId(0)));
  ASSERT_TRUE(runtime->Join(uuid, 7).ok());
  const ClearPlan plan = Plan(Of(MemberId(0)));
  ASSERT_EQ(plan.forbidden.size(), 1u);
  EXPECT_NE(plan.forbidden[0].find("server 7"), std::string::npos) << plan.forbidden[0];
  const Cleared cleared = Clear(before, user);
  ASSERT_FALSE(cleared.result.ok());
  EXPECT_EQ(cleared.result.failure().status.code(), Code::kBusy);
  EXPECT_TRUE(fs::exists(Of(MemberId(0), ShardId(0)) + "/journal"));
}

// C2, and what is another member's stays: the session's place in the runtime directory too.
TEST_F(Clearing, LeavesOtherMembers) {
  MakeDirectories("elsewhere");
  MakeJournal(MemberId(0), ShardId(0), 1)->CloseInOrder();
  MakeJournal(MemberId(1), ShardId(2), 1).reset();
  const ClearPlan plan = Plan(root + "/dir");
  ASSERT_EQ(plan.elsewhere.size(), 1u);
  EXPECT_NE(plan.elsewhere[0].find("elsewhere"), std::string::npos) << plan.elsewhere[0];
  EXPECT_EQ(plan.members.size(), 1u);
  EXPECT_TRUE(plan.dirty.empty());
  EXPECT_TRUE(Clear(plan, user).result.ok());
  EXPECT_FALSE(fs::exists(Of(MemberId(0))));
  EXPECT_TRUE(fs::exists(Of(MemberId(1), ShardId(2)) + "/journal"));
}

TEST_F(Clearing, DoesNotTakeAShardAlone) {
  MakeDirectories(user.host);
  MakeJournal(MemberId(0), ShardId(0), 1)->CloseInOrder();
  EXPECT_EQ(Plan(Of(MemberId(0), ShardId(0))).forbidden.size(), 1u);
}

// Whose servers made it is not known: then it may be a living host's.
TEST_F(Clearing, OfAMemberWithoutACharterNeedsForce) {
  MakeDirectories(user.host);
  fs::remove(Of(MemberId(0)) + "/charter");
  MakeJournal(MemberId(0), ShardId(0), 1)->CloseInOrder();
  EXPECT_EQ(Plan(Of(MemberId(0))).dirty.size(), 1u);
}

}  // namespace
}  // namespace mayfly
