#include "client/path_walk.h"

#include "client/lane.h"
#include "unit/client/client_world.h"

namespace mayfly {
namespace {

ClientOptions Short() {
  ClientOptions options;
  options.op_timeout = 2 * kSecond;
  return options;
}

struct PathWalkTest : testing::Test {
  ClientWorld world;
  ClientProcess process{world, Short(), 0};
  FakeServer& server = world.server;
  Lane& lane = process.lane();

  InodeId Dir(InodeId parent, const std::string& name, uint16_t permissions = 0755) {
    return server.Add(parent, name, FileType::kDirectory, permissions);
  }
  InodeId File(InodeId parent, const std::string& name) { return server.Add(parent, name, FileType::kFile, 0644); }
  Code StatCode(Lane& on, std::string_view path, bool follow = true) {
    return world.Wait(on.Stat(path, follow)).code();
  }
  // The inode that a path leads to, or none.
  InodeId Of(std::string_view path, bool follow = true) {
    auto attr = world.Wait(lane.Stat(path, follow));
    return attr.ok() ? attr->inode : InodeId();
  }
};

TEST_F(PathWalkTest, ACachedPathCostsOneMessage) {
  const InodeId a = Dir(server.root(), "a"), b = Dir(a, "b"), f = File(b, "f");
  EXPECT_EQ(Of("/a/b/f"), f);
  server.log.clear();
  EXPECT_EQ(Of("/a//b/./f"), f);
  ASSERT_EQ(server.log.size(), 1u);
  EXPECT_EQ(server.log[0].method, Method::kLookup);
  EXPECT_EQ(server.log[0].walked_at, server.generation());
}

// The way to the last path's directory is not looked up again, whatever comes behind it or instead of it.
TEST_F(PathWalkTest, ThePathBeforeMakesNoDifference) {
  const InodeId a = Dir(server.root(), "a"), b = Dir(a, "b"), c = Dir(b, "c"), f = File(b, "f"), g = File(a, "g");
  const InodeId top = File(server.root(), "f"), deep = File(c, "f");
  server.nodes[server.Add(server.root(), "l", FileType::kSymlink).value].target = "a/b";
  const std::vector<std::pair<std::string, InodeId>> paths = {
      {"/a/b/f", f},      {"/a/b/f", f},         {"/a/b/./f", f},      {"/a/b//f", f},        {"/a/b/../g", g},
      {"/a/b/../b/f", f}, {"a/b/f", f},          {"f", top},           {"/f", top},           {"//f", top},
      {"/a/b/.", b},      {"/a/b/..", a},        {"/a/b/", b},         {"/a/b", b},           {"/a/b//", b},
      {"/a/b/c/f", deep}, {"/l/f", f},           {"/l/c/f", deep},     {"/a/b/g", {}},        {"/a/b/f/", {}},
      {"/a/b/f/g", {}},   {"/a/b/../../f", top}, {"/", server.root()}, {"/..", server.root()}};
  for (const auto& [first, found] : paths) {
    ClientProcess fresh(world, Short(), 0);
    for (const auto& [second, also] : paths) {
      (void)world.Wait(fresh.lane().Stat(first, true));
      auto attr = world.Wait(fresh.lane().Stat(second, true));
      EXPECT_EQ(attr.ok() ? attr->inode : InodeId(), also) << first << " then " << second;
    }
  }
  EXPECT_EQ(Of("/a/b/f"), f);
  server.entries[{a.value, "b"}] = c;  // somebody has moved it
  server.SetGeneration(2);
  EXPECT_EQ(StatCode(lane, "/a/b/f"), Code::kOk);
  EXPECT_EQ(Of("/a/b/f"), deep);
}

TEST_F(PathWalkTest, TheFirstRequestNamesAGeneration) {
  File(server.root(), "f");
  EXPECT_EQ(StatCode(lane, "f"), Code::kOk);
  for (const FakeCall& call : server.log) {
    if (call.method == Method::kLookup) {
      EXPECT_NE(call.walked_at.value, 0u);
    }
  }
}

TEST_F(PathWalkTest, ANewerGenerationEmptiesTheCacheAndWalksAgain) {
  const InodeId a = Dir(server.root(), "a");
  File(a, "f");
  EXPECT_EQ(StatCode(lane, "/a/f"), Code::kOk);
  // Somebody moved another directory to its place.
  const InodeId other = Dir(server.root(), "a");
  const InodeId g = File(other, "f");
  server.SetGeneration(2);
  EXPECT_EQ(Of("/a/f"), g);
}

TEST_F(PathWalkTest, ALongPathIsWalkedToItsEndThoughGenerationsFollowEachOther) {
  std::string path;
  InodeId at = server.root();
  for (int i = 0; i < 30; ++i) {
    at = Dir(at, "d" + std::to_string(i));
    path += "/d" + std::to_string(i);
  }
  path += "/f";
  const InodeId f = File(at, "f");
  auto stat = lane.Stat(path, true);
  uint64_t generation = 1;
  for (int turn = 1; !stat.done(); ++turn) {
    ASSERT_TRUE(world.Turn());
    if (turn % 16 == 0) server.SetGeneration(++generation);  // long before all can be asked for one by one
  }
  auto attr = stat.Take();
  ASSERT_TRUE(attr.ok());
  EXPECT_EQ(attr->inode, f);
  EXPECT_GT(generation, 2u);
}

TEST_F(PathWalkTest, WhatTheCacheAloneDecidesIsConfirmed) {
  const InodeId a = Dir(server.root(), "a");
  File(a, "f");
  EXPECT_EQ(StatCode(lane, "/a/f"), Code::kOk);
  EXPECT_EQ(world.Wait(lane.Mkdir("/a/.", 0755)).code(), Code::kExists);
  server.entries.erase({server.root().value, "a"});
  server.SetGeneration(2);
  EXPECT_EQ(world.Wait(lane.Mkdir("/a/.", 0755)).code(), Code::kNoEntry);
  EXPECT_EQ(world.Wait(lane.Open("/a/x/", kOpenRead | kOpenCreate, 0644)).code(), Code::kNoEntry);
}

TEST_F(PathWalkTest, ADenialIsNotRemembered) {
  ClientProcess user(world, Short(), 1000);
  const InodeId a = Dir(server.root(), "a", 0700);
  File(a, "f");
  EXPECT_EQ(StatCode(user.lane(), "/a/f"), Code::kAccess);
  EXPECT_EQ(StatCode(lane, "/a/f"), Code::kOk);  // root may
  server.nodes[a.value].attr.permissions = 0711;
  EXPECT_EQ(StatCode(user.lane(), "/a/f"), Code::kOk);
}

TEST_F(PathWalkTest, ADirectoryMustBeSearchableForItsDotsToo) {
  ClientProcess user(world, Short(), 1000);
  Dir(server.root(), "a", 0600);
  EXPECT_EQ(StatCode(user.lane(), "/a"), Code::kOk);
  EXPECT_EQ(StatCode(user.lane(), "/a/."), Code::kAccess);
  EXPECT_EQ(StatCode(user.lane(), "/a/.."), Code::kAccess);
  server.nodes[server.root().value].attr.permissions = 0700;
  EXPECT_EQ(StatCode(user.lane(), "/"), Code::kOk);
}

TEST_F(PathWalkTest, DotDotGoesBackWhereTheSymlinkLed) {
  const InodeId a = Dir(server.root(), "a"), b = Dir(a, "b"), c = Dir(b, "c");
  server.AddLink(server.root(), "to_c", "a/b/c");
  EXPECT_EQ(Of("/to_c"), c);
  EXPECT_EQ(Of("/to_c/.."), b);
  EXPECT_EQ(Of("/to_c/../.."), a);
  EXPECT_EQ(Of("/../../.."), server.root());
  EXPECT_EQ(Of("/to_c", false), server.Find(server.root(), "to_c")->attr.inode);
}

TEST_F(PathWalkTest, SymlinksAreRelativeToWhereTheyAre) {
  const InodeId a = Dir(server.root(), "a"), b = Dir(a, "b"), f = File(a, "f");
  server.AddLink(b, "up", "../f");
  server.AddLink(b, "top", "/a/f");
  server.AddLink(b, "dangling", "../nothing");
  EXPECT_EQ(Of("a/b/up"), f);
  EXPECT_EQ(Of("a/b/top"), f);
  EXPECT_EQ(StatCode(lane, "a/b/dangling"), Code::kNoEntry);
  EXPECT_EQ(StatCode(lane, "a/b/dangling", false), Code::kOk);
}

TEST_F(PathWalkTest, FortySymlinksAreFollowedAndNotOneMore) {
  const InodeId f = File(server.root(), "0");
  for (int i = 1; i <= 41; ++i) server.AddLink(server.root(), std::to_string(i), std::to_string(i - 1));
  EXPECT_EQ(Of("40"), f);
  EXPECT_EQ(StatCode(lane, "41"), Code::kLoop);
  server.AddLink(server.root(), "self", "self/x");
  EXPECT_EQ(StatCode(lane, "self"), Code::kLoop);
}

TEST_F(PathWalkTest, ATrailingSlashDemandsADirectory) {
  const InodeId a = Dir(server.root(), "a");
  File(server.root(), "f");
  server.AddLink(server.root(), "to_a", "a");
  server.AddLink(server.root(), "to_f", "f");
  EXPECT_EQ(Of("/a/"), a);
  EXPECT_EQ(Of("/to_a/", false), a);  // and is followed
  EXPECT_EQ(StatCode(lane, "/f/"), Code::kNotDirectory);
  EXPECT_EQ(StatCode(lane, "/to_f/", false), Code::kNotDirectory);
  EXPECT_EQ(StatCode(lane, "/f/x"), Code::kNotDirectory);
  EXPECT_EQ(world.Wait(lane.Unlink("/f/")).code(), Code::kNotDirectory);
  EXPECT_EQ(world.Wait(lane.Unlink("/a/")).code(), Code::kIsDirectory);
  EXPECT_EQ(world.Wait(lane.Mkdir("/new/", 0755)).code(), Code::kOk);
}

TEST_F(PathWalkTest, LongNamesAndPaths) {
  File(server.root(), std::string(255, 'n'));
  EXPECT_EQ(StatCode(lane, std::string(255, 'n')), Code::kOk);
  EXPECT_EQ(StatCode(lane, std::string(256, 'n')), Code::kNameTooLong);
  EXPECT_EQ(StatCode(lane, "missing/" + std::string(256, 'n')), Code::kNoEntry);
  EXPECT_EQ(StatCode(lane, std::string(256, 'n') + "/x"), Code::kNameTooLong);
  EXPECT_EQ(StatCode(lane, ""), Code::kNoEntry);
  EXPECT_EQ(StatCode(lane, std::string(4095, '/')), Code::kOk);
  EXPECT_EQ(StatCode(lane, std::string(4096, '/')), Code::kNameTooLong);
}

TEST_F(PathWalkTest, AnEntryThatATransactionHoldsIsTriedAgain) {
  File(server.root(), "f");
  server.Script(Method::kUnlink, {Code::kBusy, Code::kConflict, Code::kBusy});
  EXPECT_EQ(world.Wait(lane.Unlink("f")).code(), Code::kOk);
  EXPECT_EQ(server.count(Method::kUnlink), 4u);
}

TEST_F(PathWalkTest, TryingAgainEndsAtTheDeadline) {
  File(server.root(), "f");
  server.On<Method::kUnlink>([](const NameRequest&, Empty*, FakeCall&) { return Code::kBusy; });
  const Nanos before = world.clock.Now();
  EXPECT_EQ(world.Wait(lane.Unlink("f")).code(), Code::kTimedOut);
  EXPECT_LE(world.clock.Now() - before, 2 * kSecond);
  EXPECT_LT(server.count(Method::kUnlink), 2000u);  // and not as fast as it can
}

TEST_F(PathWalkTest, TheDirectoryOfAMkdirIsNotCached) {
  EXPECT_EQ(world.Wait(lane.Mkdir("/d", 0755)).code(), Code::kOk);
  server.log.clear();
  EXPECT_EQ(StatCode(lane, "/d/x"), Code::kNoEntry);
  EXPECT_EQ(server.count(Method::kLookup), 2u);
}

}  // namespace
}  // namespace mayfly
