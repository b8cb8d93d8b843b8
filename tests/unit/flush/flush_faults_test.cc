// What a flush does when something goes wrong: nothing half-written gets a name, and the report says what is missing.
#include <sys/xattr.h>

#include "unit/flush/flush_world.h"

namespace mayfly {
namespace {

constexpr size_t kChunk = size_t{1} << kChunkBitsMin;

FlushWorld::Options OptionsOf(uint32_t shards, bool openat2 = true) {
  FlushWorld::Options options;
  options.shards = shards;
  options.openat2 = openat2;
  return options;
}

bool Has(const nlohmann::json& list, std::string_view part) {
  for (const auto& entry : list) {
    if (entry.get<std::string>().find(part) != std::string::npos) return true;
  }
  return false;
}

// Fails `operation` on paths with `part` in them; on temporaries, tells which file by its inode.
std::function<Code(std::string_view, const std::string&)> FailOn(std::string_view operation, std::string part,
                                                                 Code code) {
  return
      [operation = std::string(operation), part = std::move(part), code](std::string_view op, const std::string& path) {
        return op == operation && path.find(part) != std::string::npos ? code : Code::kOk;
      };
}
std::string TemporaryOf(InodeId inode) { return fmt::format("-{:016x}-", inode.value); }

class FlushFaults : public testing::TestWithParam<uint32_t> {
 protected:
  FlushFaults() : world(OptionsOf(GetParam())) {}
  // Nothing of `bad` is there, all of `good` is.
  void ExpectOnlyGood() {
    EXPECT_FALSE(world.Exists("bad"));
    EXPECT_TRUE(world.Content("good") == Noise(2, 3 * kChunk));
    EXPECT_TRUE(world.Temporaries().empty());
    EXPECT_EQ(world.Count("failed"), 1u);
    EXPECT_TRUE(Has(world.report["errors"], "bad: ")) << world.report.dump();
  }
  FlushWorld world;
};
INSTANTIATE_TEST_SUITE_P(Shards, FlushFaults, testing::Values(1, 3));

TEST_P(FlushFaults, AFailingOperationLeavesNoNameAndOthersGoOn) {
  for (const char* operation : {"create", "write", "sync", "read", "truncate", "stat", "times", "mode"}) {
    FlushWorld fresh(OptionsOf(GetParam()));
    const InodeId bad = fresh.File(fresh.root, "bad", Noise(1, 3 * kChunk));
    fresh.File(fresh.root, "good", Noise(2, 3 * kChunk));
    fresh.faults.fail = FailOn(operation, TemporaryOf(bad), Code::kIo);
    EXPECT_EQ(fresh.Flush(), Code::kIo) << operation;
    EXPECT_FALSE(fresh.Exists("bad")) << operation;
    EXPECT_TRUE(fresh.Content("good") == Noise(2, 3 * kChunk));
    EXPECT_TRUE(fresh.Temporaries().empty()) << operation;
    EXPECT_TRUE(Has(fresh.report["errors"], "bad: ")) << fresh.report.dump();
    EXPECT_EQ(fresh.Count("failed"), 1u);
    // And when the PFS is well again, the rest goes.
    fresh.faults.fail = nullptr;
    EXPECT_EQ(fresh.Flush(), Code::kOk);
    EXPECT_EQ(fresh.Count("files"), 1u);
    EXPECT_EQ(fresh.Count("skipped"), 1u);
  }
}

TEST_P(FlushFaults, AFailingRenameLeavesTheOldFile) {
  const InodeId bad = world.File(world.root, "bad", "old");
  EXPECT_EQ(world.Flush(), Code::kOk);
  world.Write(bad, 0, "new");
  world.faults.fail = FailOn("rename", "bad", Code::kIo);
  EXPECT_EQ(world.Flush(), Code::kIo);
  EXPECT_EQ(world.Content("bad"), "old");
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, OtherBytesOnTheStorageAreFound) {
  for (const size_t size : {size_t{1}, size_t{5000}, 4 * kChunk}) {
    world.File(world.root, "f" + std::to_string(size), Noise(size, size));
  }
  world.faults.flip_writes = true;
  EXPECT_EQ(world.Flush(), Code::kIo);
  EXPECT_EQ(world.Count("failed"), 3u);
  EXPECT_TRUE(std::filesystem::is_empty(world.target));
  EXPECT_TRUE(Has(world.report["errors"], "gives back other bytes")) << world.report.dump();
}

TEST_P(FlushFaults, AWriteThatWasCutShortIsFound) {
  world.File(world.root, "bad", Noise(1, 3 * kChunk));
  world.faults.halve_writes = true;
  EXPECT_EQ(world.Flush(), Code::kIo);
  EXPECT_TRUE(std::filesystem::is_empty(world.target));
}

TEST_P(FlushFaults, DamagedMemoryIsReportedAndNotWritten) {
  for (const size_t at : {size_t{0}, size_t{100}, kChunk + 5, 3 * kChunk - 1}) {
    FlushWorld fresh(OptionsOf(GetParam()));
    const InodeId bad = fresh.File(fresh.root, "bad", Noise(1, 3 * kChunk));
    fresh.File(fresh.root, "good", Noise(2, 3 * kChunk));
    fresh.Damage(bad, at);
    EXPECT_EQ(fresh.Flush(), Code::kIo);
    EXPECT_FALSE(fresh.Exists("bad")) << at;
    EXPECT_TRUE(fresh.Exists("good"));
    EXPECT_TRUE(Has(fresh.report["errors"], "bad: its bytes, from ")) << fresh.report.dump();
    EXPECT_TRUE(fresh.Temporaries().empty());
  }
  // A block that the file shows only in part, too.
  const InodeId bad = world.File(world.root, "bad", Noise(1, 9000));
  world.File(world.root, "good", Noise(2, 3 * kChunk));
  world.Write(bad, 8000, Noise(3, 1000));
  world.Damage(bad, 10);
  EXPECT_EQ(world.Flush(), Code::kIo);
  ExpectOnlyGood();
}

TEST_P(FlushFaults, WhyAChunkFileDoesNotGiveBytesIsSaid) {
  for (const size_t size : {size_t{9000}, 3 * kChunk}) {
    for (const Code code : {Code::kCorrupt, Code::kIo}) {
      FlushWorld fresh(OptionsOf(GetParam()));
      fresh.File(fresh.root, "bad", Noise(1, size));
      fresh.fetched = code;
      EXPECT_EQ(fresh.Flush(), Code::kIo);
      const char* const why = code == Code::kIo ? "cannot be read: input/output error" : "do not match their checksum";
      const std::string sentence = std::string("bad: its bytes, from 0 on, ") + why;
      EXPECT_TRUE(Has(fresh.report["errors"], sentence)) << fresh.report.dump();
      EXPECT_TRUE(std::filesystem::is_empty(fresh.target));
    }
  }
}

TEST_P(FlushFaults, AFullPfsIsSaidAndCleanedUp) {
  const InodeId bad = world.File(world.root, "bad", Noise(1, 3 * kChunk));
  world.File(world.root, "good", Noise(2, 3 * kChunk));
  world.faults.fail = FailOn("write", TemporaryOf(bad), Code::kNoSpace);
  EXPECT_EQ(world.Flush(), Code::kNoSpace);
  ExpectOnlyGood();
}

TEST_P(FlushFaults, AFileThatChangesMeanwhileIsCopiedAgain) {
  const InodeId file = world.File(world.root, "f", Noise(1, 6 * kChunk));
  std::string last = Noise(1, 6 * kChunk);
  int changes = 0;
  world.faults.fail = [&](std::string_view operation, const std::string& path) {
    if (operation == "times" && path.find(TemporaryOf(file)) != std::string::npos && changes < 2) {
      const size_t at = (4 * changes + 1) * kChunk + 7;
      world.Write(file, at, "changed");
      last.replace(at, 7, "changed");
      ++changes;
    }
    return Code::kOk;
  };
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  EXPECT_EQ(changes, 2);
  EXPECT_TRUE(world.Content("f") == last);
  EXPECT_EQ(world.Count("files"), 1u);
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, AFileThatNeverStopsChangingIsReported) {
  const InodeId file = world.File(world.root, "f", Noise(1, 6 * kChunk));
  world.faults.fail = [&](std::string_view operation, const std::string& path) {
    if (operation == "times" && path.find(TemporaryOf(file)) != std::string::npos) world.Write(file, 2 * kChunk, "new");
    return Code::kOk;
  };
  EXPECT_EQ(world.Flush(), Code::kBusy);
  EXPECT_FALSE(world.Exists("f"));
  EXPECT_TRUE(Has(world.report["errors"], "f: it changed")) << world.report.dump();
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, AFileThatIsRemovedMeanwhileIsNoFailure) {
  const InodeId file = world.File(world.root, "f", Noise(1, 3 * kChunk));
  world.faults.fail = [&](std::string_view operation, const std::string& path) {
    if (operation == "times" && path.find(TemporaryOf(file)) != std::string::npos) world.InodeOf(file)->nlink = 0;
    return Code::kOk;
  };
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  EXPECT_FALSE(world.Exists("f"));
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, RefusedAttributesAreCountedAndDoNotFail) {
  const InodeId dir = world.Dir(world.root, "dir");
  const InodeId file = world.File(dir, "f", Noise(1, 2 * kChunk));
  const InodeId link = world.Symlink(dir, "l", "f");
  for (const InodeId id : {file, link, dir}) {
    world.InodeOf(id)->uid = geteuid() + 1;
    world.InodeOf(id)->gid = getegid() + 1;
  }
  world.InodeOf(file)->permissions = 06755;
  world.InodeOf(file)->Extra().xattrs.emplace_back("user.a", "1");
  world.InodeOf(file)->Extra().xattrs.emplace_back("user.b", "2");
  world.faults.fail = [](std::string_view operation, const std::string&) {
    return operation == "owner" ? Code::kPermission : operation == "xattr" ? Code::kNotSupported : Code::kOk;
  };
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  EXPECT_EQ(world.Count("refused"), 5u);
  EXPECT_EQ(world.report["refusals"].size(), 5u);
  EXPECT_TRUE(Has(world.report["refusals"], "owner"));
  // The bits were for another owner.
  EXPECT_EQ(world.StatOf("dir/f").st_mode & 07777, 0755u);
}

TEST_P(FlushFaults, WithoutHardLinksThereAreCopies) {
  const InodeId file = world.File(world.root, "a", Noise(1, 2 * kChunk));
  world.HardLink(file, world.root, "b");
  world.HardLink(file, world.root, "c");
  world.faults.fail = [](std::string_view operation, const std::string&) {
    return operation == "link" ? Code::kPermission : Code::kOk;
  };
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  for (const char* name : {"a", "b", "c"}) {
    EXPECT_TRUE(world.Content(name) == Noise(1, 2 * kChunk));
    EXPECT_EQ(world.StatOf(name).st_nlink, 1u);
  }
  EXPECT_EQ(world.Count("refused"), 2u);
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, TheNextNameOfAnInodeIsTriedWhenTheFirstFails) {
  const InodeId a = world.Dir(world.root, "a");
  const InodeId b = world.Dir(world.root, "b");
  const InodeId file = world.File(a, "one", Noise(1, 2 * kChunk));
  world.HardLink(file, b, "two");
  world.HardLink(file, b, "three");
  world.faults.fail = FailOn("create", "a/", Code::kAccess);
  EXPECT_EQ(world.Flush(), Code::kAccess);
  EXPECT_TRUE(world.Content("b/two") == Noise(1, 2 * kChunk));
  EXPECT_EQ(world.StatOf("b/three").st_nlink, 2u);
}

TEST_P(FlushFaults, SomethingOfAnotherTypeInTheTargetIsSaid) {
  world.File(world.root, "f", "data");
  world.File(world.Dir(world.root, "d"), "inner", "data");
  world.File(world.root, "good", "data");
  std::filesystem::create_directories(world.At("f"));
  std::ofstream(world.At("d")) << "a file";
  EXPECT_NE(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("files"), 1u);
  EXPECT_TRUE(Has(world.report["errors"], "f: "));
  EXPECT_TRUE(Has(world.report["errors"], "d/: "));
  EXPECT_TRUE(Has(world.report["missing"], "d/"));
  EXPECT_EQ(world.Count("missing_count"), 1u);
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, ATargetThatCannotBeIsOneSentence) {
  std::ofstream(world.target) << "a file";
  EXPECT_EQ(world.Flush(), Code::kNotDirectory);
  ASSERT_EQ(world.report["errors"].size(), 1u);
  EXPECT_TRUE(Has(world.report["errors"], world.target));
  FlushSpec spec = world.Spec();
  spec.target += "/below";
  EXPECT_EQ(world.Flush(spec), Code::kNotDirectory);
}

TEST_P(FlushFaults, AShardThatCannotOpenTheTargetFailsItsPartOnly) {
  for (int i = 0; i < 30; ++i) world.File(world.root, std::to_string(i), "x");
  int opens = 0;
  world.faults.fail = [&](std::string_view operation, const std::string&) {
    return operation == "open target" && ++opens == 2 ? Code::kAccess : Code::kOk;
  };
  const Code result = world.Flush();
  if (GetParam() == 1) {
    EXPECT_EQ(result, Code::kOk);
    EXPECT_EQ(opens, 1);
    return;
  }
  EXPECT_EQ(result, Code::kAccess);
  EXPECT_GT(world.Count("files"), 0u);
  EXPECT_GT(world.Count("missing_count"), 0u);
  EXPECT_TRUE(Has(world.report["errors"], "on node")) << world.report.dump();
}

TEST_P(FlushFaults, CancelledItEndsCleanlyAndAnotherRunGoesOn) {
  for (int i = 0; i < 80; ++i) world.File(world.root, std::to_string(i), Noise(i, 2 * kChunk));
  uint64_t job = 0;
  int renames = 0;
  world.faults.fail = [&](std::string_view operation, const std::string&) {
    if (operation == "rename" && ++renames == 20) (void)world.flusher().Cancel(job);
    return Code::kOk;
  };
  job = world.Start(world.Spec());
  EXPECT_EQ(world.Finish(job), Code::kInterrupted) << world.report.dump();
  const uint64_t done = world.Count("files");
  EXPECT_GE(done, 20u);
  EXPECT_LT(done, 80u);
  EXPECT_EQ(world.Count("missing_count"), 80 - done);
  EXPECT_TRUE(world.Temporaries().empty());
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Count("skipped"), done);
  EXPECT_EQ(world.Count("files"), 80 - done);
}

TEST_P(FlushFaults, ABudgetTakesTheNewestAndNamesTheRest) {
  const InodeId old = world.Dir(world.root, "old");
  const InodeId recent = world.Dir(world.root, "recent");
  for (int i = 0; i < 60; ++i) {
    const std::string name = fmt::format("{:02}", i);
    world.SetTimes(world.File(old, name, "old"), 0, FlushWorld::kBirth + i * kSecond);
    world.SetTimes(world.File(recent, name, "new"), 0, FlushWorld::kBirth + (1000 + i) * kSecond);
  }
  world.faults.fail = [&](std::string_view operation, const std::string&) {
    if (operation == "create") world.clock.Advance(20 * kMillisecond);
    return Code::kOk;
  };
  FlushSpec spec = world.Spec();
  spec.budget_ms = 500;
  const Nanos began = world.clock.Now();
  EXPECT_EQ(world.Flush(spec), Code::kTimedOut) << world.report.dump();
  EXPECT_LT(world.clock.Now() - began, 7 * kSecond);
  const uint64_t files = world.Count("files");
  EXPECT_GE(files, 20u);
  EXPECT_LT(files, 120u);
  EXPECT_EQ(world.Count("missing_count"), 120 - files);
  // What is there, and what the report calls missing, is everything; none of it is both.
  std::set<std::string> missing;
  for (const auto& entry : world.report["missing"]) missing.insert(entry.get<std::string>());
  EXPECT_EQ(missing.size(), 120 - files);
  EXPECT_EQ(world.Count("missing_cut"), 0u);
  uint64_t there = 0;
  for (const char* dir : {"old", "recent"}) {
    for (int i = 0; i < 60; ++i) {
      const std::string path = fmt::format("{}/{:02}", dir, i);
      EXPECT_NE(world.Exists(path), missing.contains(path)) << path;
      there += world.Exists(path);
    }
  }
  EXPECT_EQ(there, files);
  if (GetParam() == 1) {
    EXPECT_TRUE(world.Exists("recent/59"));
    EXPECT_TRUE(world.Exists("recent/50"));
    EXPECT_FALSE(world.Exists("old/00"));
  }
  EXPECT_TRUE(world.Temporaries().empty());
  // Directories have got what is theirs.
  EXPECT_EQ(world.StatOf("recent").st_mode & 07777, 0755u);
}

// More than a reply carries, and more than a page; and the end of the report's patience.
TEST_P(FlushFaults, ABudgetNamesAllOfManyAndCountsThoseThatAReportHasNoRoomFor) {
  const InodeId dir = world.Dir(world.root, "dir");
  const InodeId other = world.Dir(world.root, "other");
  for (int i = 0; i < 3000; ++i) world.File(dir, fmt::format("{:04}{}", i, std::string(60, 'n')), "data");
  for (int i = 0; i < 9000; ++i) world.File(other, fmt::format("{:04}{}", i, std::string(240, 'n')), "data");
  FlushSpec spec = world.Spec();
  spec.pattern = "dir/*";
  for (const bool all : {false, true}) {
    world.faults.fail = [&, once = true](std::string_view operation, const std::string&) mutable {
      if (operation == "create" && std::exchange(once, false)) world.clock.Advance(kSecond);
      return Code::kOk;
    };
    spec.budget_ms = 500;
    if (all) spec.pattern = "";
    EXPECT_EQ(world.Flush(spec), Code::kTimedOut);
    uint64_t there = 0, named = 0, counted = 0;
    for (const auto& entry : world.report["missing"]) {
      unsigned long long more = 0;
      const auto line = entry.get<std::string>();
      const size_t at = line.find("/ (");
      if (at != std::string::npos && std::sscanf(line.c_str() + at, "/ (%llu more files)", &more) == 1) {
        counted += more;
        continue;
      }
      ++named;
      EXPECT_FALSE(world.Exists(line)) << line;
    }
    for (const char* of : {"dir", "other"}) {
      if (!world.Exists(of)) continue;
      for (const auto& entry : std::filesystem::directory_iterator(world.At(of))) there += entry.is_regular_file();
    }
    EXPECT_EQ(there, world.Count("files") + world.Count("skipped"));
    EXPECT_EQ(there + named + counted, all ? 12000u : 3000u);
    EXPECT_EQ(counted, world.Count("missing_cut"));
    EXPECT_EQ(counted != 0, all);
    EXPECT_EQ(named + counted, world.Count("missing_count"));
    EXPECT_LT(world.report.dump().size(), size_t{kTransferBytesMax});
  }
}

TEST_P(FlushFaults, AHangingPfsDoesNotKeepTheJobBeyondItsBudget) {
  for (int i = 0; i < 20; ++i) world.File(world.root, std::to_string(i), Noise(i, 2 * kChunk));
  FlushSpec spec = world.Spec();
  spec.budget_ms = 2000;
  const uint64_t job = world.Start(spec);
  while (!std::filesystem::exists(world.At("3"))) world.Turn();
  for (uint32_t s = 0; s < GetParam(); ++s) world.HangPfs(ShardId(s), true);
  const Nanos began = world.clock.Now();
  EXPECT_EQ(world.Finish(job), Code::kTimedOut);
  EXPECT_LT(world.clock.Now() - began, 20 * kSecond);
  EXPECT_GT(world.Count("missing_count"), 0u);
  // It comes back: what was under way ends, and leaves nothing.
  for (uint32_t s = 0; s < GetParam(); ++s) world.HangPfs(ShardId(s), false);
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST_P(FlushFaults, WhatAnEarlierFlushLeftIsRemoved) {
  const InodeId dir = world.Dir(world.root, "dir");
  const InodeId file = world.File(dir, "f", "data");
  world.faults.fail = [&](std::string_view operation, const std::string& path) {
    if (operation == "sync" && path.find(TemporaryOf(file)) != std::string::npos) return Code::kIo;
    return operation == "unlink" ? Code::kIo : Code::kOk;
  };
  EXPECT_EQ(world.Flush(), Code::kIo);
  EXPECT_EQ(world.Temporaries().size(), 1u);
  // Somebody else's that may be in use stays.
  std::ofstream(world.At("dir/.mayfly-00000000000000ff-0000000000000001-00000001.tmp")) << "x";
  std::ofstream(world.At("dir/.mayfly-notes")) << "x";
  world.faults.fail = nullptr;
  EXPECT_EQ(world.Flush(), Code::kOk);
  EXPECT_EQ(world.Temporaries().size(), 2u);
}

TEST_P(FlushFaults, ManyFailuresAreCountedAndListedInBounds) {
  for (int i = 0; i < 400; ++i) world.File(world.root, fmt::format("{:0>200}", i));
  world.faults.fail = FailOn("create", "", Code::kNoSpace);
  EXPECT_EQ(world.Flush(), Code::kNoSpace);
  EXPECT_EQ(world.Count("failed"), 400u);
  EXPECT_GT(world.report["errors"].size(), 10u);
  EXPECT_LT(world.report["errors"].size(), 400u);
  EXPECT_LT(world.report.dump().size(), size_t{1} << 20);
}

TEST_P(FlushFaults, ASymlinkInTheTargetNeverLeadsOutOfIt) {
  for (const bool openat2 : {true, false}) {
    FlushWorld fresh(OptionsOf(GetParam(), openat2));
    const std::string outside = fresh.scratch + "/outside";
    std::filesystem::create_directories(outside);
    std::ofstream(outside + "/victim") << "untouched";
    const InodeId dir = fresh.Dir(fresh.root, "dir");
    fresh.File(dir, "victim", "overwritten");
    fresh.File(fresh.Dir(dir, "sub"), "victim", Noise(1, 3 * kChunk));
    fresh.File(fresh.root, "file", "mine");
    fresh.File(fresh.root, "good", "good");
    std::filesystem::create_directories(fresh.target);
    std::filesystem::create_symlink(outside, fresh.At("dir"));
    std::filesystem::create_symlink(outside + "/victim", fresh.At("file"));
    EXPECT_NE(fresh.Flush(), Code::kOk);
    EXPECT_EQ(fresh.Content("good"), "good");
    EXPECT_EQ(fresh.Content("file"), "mine");
    EXPECT_EQ(std::filesystem::status(fresh.At("file")).type(), std::filesystem::file_type::regular);
    EXPECT_EQ(fresh.Content("../outside/victim"), "untouched");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(outside), {}), 1);
    EXPECT_TRUE(Has(fresh.report["errors"], "dir/")) << fresh.report.dump();
    EXPECT_EQ(fresh.Count("missing_count"), 2u);
  }
}

TEST_P(FlushFaults, ASymlinkPlantedMeanwhileNeverLeadsOut) {
  for (const bool openat2 : {true, false}) {
    for (const char* when : {"create", "open", "rename"}) {
      FlushWorld fresh(OptionsOf(GetParam(), openat2));
      const std::string outside = fresh.scratch + "/outside";
      std::filesystem::create_directories(outside);
      const InodeId dir = fresh.Dir(fresh.root, "dir");
      for (int i = 0; i < 8; ++i) fresh.File(dir, std::to_string(i), Noise(i, 4 * kChunk));
      bool planted = false;
      fresh.faults.fail = [&](std::string_view operation, const std::string& path) {
        if (!planted && operation == when && path.starts_with("dir/")) {
          planted = true;
          std::filesystem::rename(fresh.At("dir"), fresh.At("moved"));
          std::filesystem::create_symlink(outside, fresh.At("dir"));
        }
        return Code::kOk;
      };
      const bool ok = fresh.Flush() == Code::kOk;
      EXPECT_EQ(ok, !planted) << when;
      EXPECT_TRUE(std::filesystem::is_empty(outside)) << when;
    }
  }
}

TEST(FlushAcrossShards, ADeadMemberCostsItsPartAndIsNamed) {
  FlushWorld world(OptionsOf(3));
  for (int i = 0; i < 60; ++i) world.File(world.root, std::to_string(i), "small");
  const ShardId dead(world.placement->RootShard().value == 0 ? 1 : 0);
  world.Kill(dead);
  EXPECT_EQ(world.Flush(), Code::kIo);
  EXPECT_GT(world.Count("files"), 20u);
  EXPECT_GT(world.Count("missing_count"), 0u);
  EXPECT_TRUE(Has(world.report["errors"], world.NameOf(dead))) << world.report.dump();
  EXPECT_TRUE(Has(world.report["missing"], world.NameOf(dead)));
}

TEST(FlushAcrossShards, AMemberThatDiesMeanwhileFailsWhatItHeld) {
  FlushWorld world(OptionsOf(3));
  for (int i = 0; i < 30; ++i) world.File(world.root, std::to_string(i), Noise(i, 6 * kChunk));
  const ShardId dead(world.placement->RootShard().value == 0 ? 1 : 0);
  const uint64_t job = world.Start(world.Spec());
  while (world.flusher().StatusOf(job)->files_done < 3) world.Turn();
  world.Kill(dead);
  EXPECT_NE(world.Finish(job), Code::kOk);
  EXPECT_GT(world.Count("failed"), 0u);
  EXPECT_TRUE(Has(world.report["errors"], world.NameOf(dead))) << world.report.dump();
  for (int i = 0; i < 30; ++i) {
    const std::string name = std::to_string(i);
    EXPECT_TRUE(!world.Exists(name) || world.Content(name) == Noise(i, 6 * kChunk)) << name;
  }
}

TEST(FlushAcrossShards, LostAndRepeatedMessagesChangeNothing) {
  FlushWorld world(OptionsOf(3));
  const InodeId dir = world.Dir(world.root, "dir");
  for (int i = 0; i < 40; ++i) {
    world.File(dir, "f" + std::to_string(i), Noise(i, 3 * kChunk));
    world.Rename(dir, "f" + std::to_string(i), std::to_string(i));
  }
  SimRandom chance(11);
  world.network().SetPolicy([&](const SimNetwork::Passing&) {
    SimNetwork::Fate fate;
    fate.drop = chance.PerMille(50);
    fate.duplicate = chance.PerMille(50);
    fate.delay = chance.Below(50) * kMillisecond;
    return fate;
  });
  EXPECT_EQ(world.Flush(), Code::kOk) << world.report.dump();
  EXPECT_EQ(world.Count("files"), 40u);
  for (int i = 0; i < 40; ++i) EXPECT_TRUE(world.Content("dir/" + std::to_string(i)) == Noise(i, 3 * kChunk));
  EXPECT_TRUE(world.Temporaries().empty());
}

TEST(FlushAcrossShards, WorkThatNobodyAsksForIsGivenUp) {
  FlushWorld world(OptionsOf(3));
  for (int i = 0; i < 30; ++i) world.File(world.root, std::to_string(i), Noise(i, 3 * kChunk));
  const ShardId root = world.placement->RootShard();
  const uint64_t job = world.Start(world.Spec());
  while (world.flusher().StatusOf(job)->files_done < 3) world.Turn();
  for (uint32_t s = 0; s < 3; ++s) world.HangPfs(ShardId(s), true);
  for (int i = 0; i < 50; ++i) world.Turn();
  world.Kill(root);
  const Nanos until = world.clock.Now() + Flusher::kAbandonNanos + 30 * kSecond;
  while (world.clock.Now() < until) world.Turn();
  for (uint32_t s = 0; s < 3; ++s) world.HangPfs(ShardId(s), false);
  while (world.Step()) {
  }
  // The living have removed what they had begun; the dead one's remains.
  for (const std::string& path : world.Temporaries()) {
    uint64_t job_number = 0, inode = 0;
    ASSERT_EQ(sscanf(path.c_str() + path.rfind('/') + 1, ".mayfly-%16lx-%16lx-", &job_number, &inode), 2) << path;
    EXPECT_EQ(InodeId(inode).home(), root) << path;
  }
}

TEST(FlushServes, NothingThatIsMalformed) {
  FlushWorld world({});
  FlushDirRequest dir;
  dir.job = 1;
  FlushFileRequest file;
  file.job = 1;
  file.inode = world.root;
  FlushWorkReply reply;
  std::string out;
  const auto code = [&](Task<Status> task) {
    world.Run(task);
    return task.Take().code();
  };
  EXPECT_EQ(code(world.flusher().ServeDir(dir, "rubbish", &reply, &out)), Code::kCorrupt);
  EXPECT_EQ(code(world.flusher().ServeFile(file, "", &reply, &out)), Code::kCorrupt);
  for (const std::string& path :
       {std::string("../x"), std::string("a//b"), std::string("/abs"), std::string("a/.."), std::string("a\0b", 3)}) {
    FlushPath where;
    where.target = world.target;
    where.path = path;
    std::string payload(1000, '\0');
    Encoder e(MutableBytes(reinterpret_cast<uint8_t*>(payload.data()), payload.size()));
    e.Put(where);
    payload.resize(e.size());
    EXPECT_EQ(code(world.flusher().ServeFile(file, payload, &reply, &out)), Code::kInvalid);
    EXPECT_EQ(code(world.flusher().ServeChunks(file, payload, &reply, &out)), Code::kInvalid);
    EXPECT_EQ(code(world.flusher().ServeDir(dir, payload, &reply, &out)), Code::kInvalid);
  }
}

}  // namespace
}  // namespace mayfly
