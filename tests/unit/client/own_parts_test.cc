// What a process knows of a part of a directory that it is alone in.
#include "client/own_parts.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

namespace mayfly {
namespace {

constexpr InodeId kDir{77};
constexpr ShardId kShard{3};

struct OwnPartsOfADirectory : testing::Test {
  // As a shard tells it: numbers from `first` on; `names`: the part begins to be the process's, and these are there.
  void Learn(uint64_t first, std::optional<std::vector<std::string>> names, uint64_t revocations) {
    OwnPart told;
    told.first = first;
    told.tags = {first * 10, first * 10 + 1};
    told.begins = names.has_value();
    if (names) {
      for (const std::string& name : *names) told.names.push_back(Checksum(AsBytes(name)));
    }
    parts.Learn(kDir, kShard, revocations, 22, told, 1000);
  }
  // The number, or 0.
  uint64_t Begin(const std::string& name, Nanos now = 1000) {
    size_t left = 0;
    const auto number = parts.Begin(kDir, kShard, name, now, &left);
    return number ? number->inode.sequence() : 0;
  }
  void End(std::string_view name, bool made) {
    const OwnParts::Outcome outcome{kDir, Checksum(AsBytes(name)), made};
    parts.End(kShard, {&outcome, 1}, {});
  }
  OwnParts parts;
};

TEST_F(OwnPartsOfADirectory, NumbersAreForNewNames) {
  EXPECT_FALSE(parts.any());
  EXPECT_EQ(Begin("a"), 0u);
  Learn(5, {{"there"}}, parts.revocations());
  EXPECT_TRUE(parts.any());
  EXPECT_EQ(Begin("there"), 0u);
  EXPECT_EQ(Begin("a"), 6u);
  EXPECT_EQ(Begin("a"), 0u);
  EXPECT_TRUE(parts.IsUnderWay(kDir, kShard));
  EXPECT_TRUE(parts.IsAnyUnderWay());
  EXPECT_EQ(Begin("b"), 5u);
  EXPECT_EQ(Begin("c"), 0u);  // there are no more
  End("a", true);
  EXPECT_TRUE(parts.IsUnderWay(kDir, kShard));
  End("b", true);
  EXPECT_FALSE(parts.IsUnderWay(kDir, kShard));
  EXPECT_FALSE(parts.IsAnyUnderWay());
  Learn(9, std::nullopt, parts.revocations());
  EXPECT_EQ(Begin("c"), 10u);
}

TEST_F(OwnPartsOfADirectory, WhatIsToldBeforeARevocationCountsNoMore) {
  const uint64_t then = parts.revocations();
  parts.Revoke(kShard, std::vector<InodeId>{kDir});
  Learn(5, {{}}, then);
  Learn(5, {{}}, parts.revocations());  // the shard has not heard yet that it is yielded
  EXPECT_FALSE(parts.any());
  parts.EndYield(kShard, std::vector<InodeId>{kDir});
  Learn(5, std::nullopt, parts.revocations());  // of a part that it has no more
  EXPECT_FALSE(parts.any());
  Learn(5, {{}}, parts.revocations());
  EXPECT_NE(Begin("a"), 0u);
  parts.Revoke(kShard, std::vector<InodeId>{kDir});
  EXPECT_EQ(Begin("b"), 0u);
  EXPECT_TRUE(parts.IsUnderWay(kDir, kShard));  // until it is answered
  EXPECT_TRUE(parts.BeginYield(0, kShard).empty());
}

// A name that is made as anybody makes it, by this thread or another, while the part becomes the process's.
TEST_F(OwnPartsOfADirectory, NamesOnTheirWayAreKnown) {
  {
    std::optional<OwnParts::Asking> before(std::in_place, parts, kDir, kShard, "before", false);
    OwnParts::Asking wish(parts, kDir, kShard, "wish", true);
    { OwnParts::Asking during(parts, kDir, kShard, "during", false); }
    before.reset();
    Learn(5, {{"wish"}}, parts.revocations());
  }
  EXPECT_EQ(Begin("before"), 0u);
  EXPECT_EQ(Begin("during"), 0u);
  EXPECT_EQ(Begin("wish"), 0u);
  { OwnParts::Asking later(parts, kDir, kShard, "later", false); }
  EXPECT_EQ(Begin("later"), 0u);
  EXPECT_NE(Begin("new"), 0u);
}

TEST_F(OwnPartsOfADirectory, ANameThatWentIsNewUnlessOthersCame) {
  Learn(5, {{"a", "b"}}, parts.revocations());
  uint64_t version = parts.VersionOf(kDir, kShard, "a");
  EXPECT_NE(version, 0u);
  parts.ForgetName(kDir, kShard, "a", version);
  EXPECT_NE(Begin("a"), 0u);
  version = parts.VersionOf(kDir, kShard, "b");
  {
    OwnParts::Asking again(parts, kDir, kShard, "b", false);
    EXPECT_EQ(parts.VersionOf(kDir, kShard, "b"), 0u);
  }
  parts.ForgetName(kDir, kShard, "b", version);  // it may be the one that was made meanwhile
  EXPECT_EQ(Begin("b"), 0u);
}

// What was told of may be anything, and so may what this process has asked to be made or removed.
TEST_F(OwnPartsOfADirectory, OnlyWhatWasMadeThereIsKnownToBeAFile) {
  Learn(9, {{"there"}}, parts.revocations());
  const auto remove = [&](const std::string& name) {
    uint64_t hash = 0;
    const bool begun = parts.BeginRemoval(kDir, kShard, name, 1, &hash);
    EXPECT_EQ(hash, Checksum(AsBytes(name)));
    return begun;
  };
  const auto made = [&](const std::string& name, bool ok) {
    EXPECT_NE(Begin(name), 0u);
    EXPECT_FALSE(remove(name));  // not before it is born
    End(name, ok);
  };
  EXPECT_FALSE(remove("there"));
  EXPECT_FALSE(remove("absent"));
  made("a", true);
  made("b", false);
  Learn(20, std::nullopt, parts.revocations());
  made("c", true);
  EXPECT_FALSE(remove("b"));
  EXPECT_TRUE(remove("a"));
  EXPECT_FALSE(remove("a"));
  EXPECT_TRUE(parts.IsUnderWay(kDir, kShard));
  EXPECT_EQ(Begin("a"), 0u);  // not yet
  const OwnParts::Outcome gone{kDir, Checksum(AsBytes("a")), true};
  parts.End(kShard, {}, {&gone, 1});
  EXPECT_FALSE(parts.IsUnderWay(kDir, kShard));
  EXPECT_NE(Begin("a"), 0u);
  (void)parts.VersionOf(kDir, kShard, "c");  // it is being removed as anybody does
  EXPECT_FALSE(remove("c"));
}

TEST_F(OwnPartsOfADirectory, AnIdlePartIsGivenBack) {
  Learn(5, {{}}, parts.revocations());
  EXPECT_NE(Begin("a", 5000), 0u);
  EXPECT_TRUE(parts.BeginYield(4999).empty());
  const auto idle = parts.BeginYield(5000);
  ASSERT_EQ(idle.size(), 1u);
  EXPECT_EQ(idle.begin()->first, kShard);
  EXPECT_EQ(idle.begin()->second, std::vector<InodeId>{kDir});
  EXPECT_FALSE(parts.any());
  // The shard may have told of it before it hears of that, whenever the answer comes.
  const uint64_t during = parts.revocations();
  Learn(9, {{}}, during);
  EXPECT_FALSE(parts.any());
  parts.EndYield(kShard, idle.begin()->second);
  Learn(9, {{}}, during);
  EXPECT_FALSE(parts.any());
  Learn(9, {{}}, parts.revocations());
  EXPECT_TRUE(parts.any());
  parts.Forget();
  EXPECT_FALSE(parts.IsAnyUnderWay());
}

}  // namespace
}  // namespace mayfly
