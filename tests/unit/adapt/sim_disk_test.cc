// The simulated disk's crashes and faults: whatever os/disk.h allows happens for some seed, and nothing else.
#include "fake/sim_disk.h"

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <optional>

#include "disk_testing.h"
#include "fake/sim_clock.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = Disk::kBlockBytes;
constexpr uint64_t kSeeds = 300;

struct World {
  explicit World(uint64_t seed, uint64_t bytes = uint64_t{1} << 30)
      : platter({.seed = seed, .bytes = bytes, .writes_through = true}) {
    disk = std::make_unique<SimDisk>(platter, clock);
  }
  void Finish() {
    while (disk->pending() != 0) {
      if (!disk->Poll()) clock.AdvanceTo(disk->NextAt());
    }
  }
  DiskFileId Create(std::string_view name, uint64_t blocks) {
    const DiskFileId file = *disk->Open(name, {.create = true, .bytes = blocks * kBlock});
    EXPECT_TRUE(disk->SyncNames().ok());
    return file;
  }
  void Ask(DiskFileId file, uint64_t block, uint8_t fill, uint64_t blocks = 1) {
    memory.emplace_back(blocks * kBlock, fill);
    disk->Write(file, block * kBlock, memory.back().bytes(), &outcomes.emplace_back());
  }
  Status Write(DiskFileId file, uint64_t block, uint8_t fill, uint64_t blocks = 1) {
    Ask(file, block, fill, blocks);
    Finish();
    return outcomes.back().status;
  }
  void AskThrough(DiskFileId file, uint64_t block, uint8_t fill) {
    memory.emplace_back(kBlock, fill);
    disk->WriteThrough(file, block * kBlock, memory.back().bytes(), &outcomes.emplace_back());
  }
  Status WriteThrough(DiskFileId file, uint64_t block, uint8_t fill) {
    AskThrough(file, block, fill);
    Finish();
    return outcomes.back().status;
  }
  Status Flush(DiskFileId file) {
    disk->Flush(file, &outcomes.emplace_back());
    Finish();
    return outcomes.back().status;
  }
  void Crash(bool power) {
    disk->Crash(power);
    disk = std::make_unique<SimDisk>(platter, clock);
  }
  // One letter a block: its byte if all are alike ('0' for 0), 'T' if it is of whole sectors of several, '?' otherwise.
  std::string Look(std::string_view name) const {
    std::string look;
    const std::vector<uint8_t> bytes = platter.Contents(name);
    for (size_t block = 0; block < bytes.size() / kBlock; ++block) {
      std::set<uint8_t> all, sectors;
      for (size_t at = block * kBlock; at < (block + 1) * kBlock; ++at) {
        all.insert(bytes[at]);
        if (at % SimPlatter::kSectorBytes == 0) sectors.clear();
        sectors.insert(bytes[at]);
        if (sectors.size() > 1) return "?";
      }
      look += all.size() > 1 ? 'T' : *all.begin() == 0 ? '0' : static_cast<char>(*all.begin());
    }
    return look;
  }
  SimClock clock;
  SimPlatter platter;
  std::deque<Buffer> memory;
  std::deque<Outcome> outcomes;
  std::unique_ptr<SimDisk> disk;
};

// What `run` leaves, and for how many of the seeds.
using Looks = std::map<std::string, int>;
Looks OverSeeds(const std::function<std::string(World&)>& run, uint64_t bytes = uint64_t{1} << 30) {
  Looks looks;
  for (uint64_t seed = 0; seed < kSeeds; ++seed) {
    World world(seed, bytes);
    ++looks[run(world)];
  }
  return looks;
}

std::set<std::string> KeysOf(const Looks& looks) {
  std::set<std::string> keys;
  for (const auto& [look, count] : looks) keys.insert(look);
  return keys;
}

using Set = std::set<std::string>;

// --- death of the process -------------------------------------------------------------------------------------------

TEST(SimDisk, ADeathKeepsWhatHasCompleted) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 2);
              EXPECT_TRUE(world.Write(file, 0, 'a').ok());
              EXPECT_TRUE(world.Write(file, 1, 'b').ok());
              world.Crash(false);
              return world.Look("f");
            })),
            (Set{"ab"}));
}

TEST(SimDisk, ADeathKeepsLosesOrTearsWhatWasUnderWay) {
  for (bool submitted : {true, false}) {
    const Looks looks = OverSeeds([&](World& world) {
      const DiskFileId file = world.Create("f", 2);
      EXPECT_TRUE(world.Write(file, 0, 'a').ok());
      world.Ask(file, 1, 'b');
      if (submitted) world.disk->Poll();
      world.Crash(false);
      EXPECT_EQ(world.outcomes.back().times, 0);
      EXPECT_EQ(world.disk->pending(), 0u);
      return world.Look("f");
    });
    EXPECT_EQ(KeysOf(looks), (Set{"a0", "aT", "ab"}));
    for (const auto& [look, count] : looks) EXPECT_GT(count, 50) << look;
  }
}

TEST(SimDisk, WhatWasUnderWayTogetherHappensInAnyOrder) {
  const Set seen = KeysOf(OverSeeds([](World& world) {
    const DiskFileId file = world.Create("f", 2);
    world.Ask(file, 0, 'a', 2);
    world.Ask(file, 0, 'b', 2);
    world.Finish();
    return world.Look("f");
  }));
  EXPECT_EQ(seen, (Set{"aa", "bb"}));
}

TEST(SimDisk, AnEndWithoutACrashIsADeath) {
  World world(1);
  DiskFileId file = world.Create("f", 1);
  EXPECT_TRUE(world.Write(file, 0, 'a').ok());
  world.disk = std::make_unique<SimDisk>(world.platter, world.clock);
  EXPECT_EQ(world.Look("f"), "a");
  EXPECT_TRUE(world.disk->Open("f", {}).ok()) << "the lock went with its holder";
}

TEST(SimDisk, ADeadHandleFailsOrDoesNothing) {
  World world(1);
  const DiskFileId file = world.Create("f", 1);
  world.disk->Crash(false);
  world.Ask(file, 0, 'a');
  EXPECT_FALSE(world.disk->Poll());
  EXPECT_EQ(world.disk->pending(), 0u);
  EXPECT_EQ(world.disk->NextAt(), kNever);
  EXPECT_EQ(world.disk->Open("f", {}).code(), Code::kIo);
  EXPECT_EQ(world.disk->BytesOf(file).code(), Code::kIo);
  world.disk->Close(file);
}

struct CrashIn : Completion {
  explicit CrashIn(SimDisk& disk) : disk_(disk) {
    fn = [](Completion* self, Status) { static_cast<CrashIn*>(self)->disk_.Crash(false); };
  }
  SimDisk& disk_;
};

TEST(SimDisk, MayCrashInsideOfACompletion) {
  const Looks looks = OverSeeds([](World& world) {
    const DiskFileId file = world.Create("f", 8);
    CrashIn crash(*world.disk);
    for (uint64_t i = 0; i < 8; ++i) world.Ask(file, i, 'a');
    world.disk->Flush(file, &crash);
    while (world.disk->Poll()) {
    }
    int completed = 0;
    for (const Outcome& outcome : world.outcomes) completed += outcome.times;
    return std::to_string(completed);
  });
  EXPECT_EQ(looks.size(), 9u) << "0 to 8 of them had completed";
}

// --- loss of power --------------------------------------------------------------------------------------------------

TEST(SimDisk, AFlushedWriteNeverVanishes) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 4);
              EXPECT_TRUE(world.Write(file, 0, 'a', 4).ok());
              EXPECT_TRUE(world.Write(file, 1, 'b').ok());
              EXPECT_TRUE(world.Flush(file).ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"abaa"}));
}

TEST(SimDisk, WhatWasWrittenThroughNeverVanishesAndNothingElseIsFlushed) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 4);
              EXPECT_TRUE(world.Write(file, 0, 'a', 2).ok());
              EXPECT_TRUE(world.WriteThrough(file, 1, 'b').ok());
              world.Crash(true);
              return world.Look("f").substr(1);
            })),
            (Set{"b00"}));
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 2);
              EXPECT_TRUE(world.Write(file, 0, 'a').ok());
              EXPECT_TRUE(world.WriteThrough(file, 1, 'b').ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"ab", "0b", "Tb"}));
}

TEST(SimDisk, AWriteThroughThatFailsOrIsCutOffIsThereOrNotOrTorn) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              world.platter.faults.flush_errors = 1000;
              EXPECT_EQ(world.WriteThrough(file, 0, 'a').code(), Code::kIo);
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a", "0", "T"}));
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              world.AskThrough(file, 0, 'a');
              world.disk->Poll();
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a", "0", "T"}));
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              world.platter.faults.lose_flushes = true;
              EXPECT_TRUE(world.WriteThrough(file, 0, 'a').ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a", "0", "T"}));
}

TEST(SimDisk, UnflushedWritesFareEachOnItsOwn) {
  const Looks looks = OverSeeds([](World& world) {
    const DiskFileId file = world.Create("f", 2);
    EXPECT_TRUE(world.Write(file, 0, 'a').ok());
    EXPECT_TRUE(world.Write(file, 1, 'b').ok());
    world.Crash(true);
    return world.Look("f");
  });
  EXPECT_EQ(KeysOf(looks), (Set{"00", "0T", "0b", "T0", "TT", "Tb", "a0", "aT", "ab"}));
}

TEST(SimDisk, AnUnflushedOverwriteLeavesOldOrNewSectors) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              EXPECT_TRUE(world.Write(file, 0, 'a').ok());
              EXPECT_TRUE(world.Flush(file).ok());
              EXPECT_TRUE(world.Write(file, 0, 'b').ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a", "b", "T"}));
}

TEST(SimDisk, AFlushCoversWhatHadCompletedWhenItWasAskedFor) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 2);
              EXPECT_TRUE(world.Write(file, 0, 'a').ok());
              world.Ask(file, 1, 'b');
              EXPECT_TRUE(world.Flush(file).ok());
              EXPECT_TRUE(world.outcomes.front().status.ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a0", "aT", "ab"}));
}

TEST(SimDisk, AFileThatGrewMayShrinkAgainUntilItIsFlushed) {
  const auto run = [](bool flush) {
    return KeysOf(OverSeeds([&](World& world) {
      const DiskFileId file = world.Create("f", 0);
      EXPECT_TRUE(world.Write(file, 1, 'b').ok());
      EXPECT_TRUE(!flush || world.Flush(file).ok());
      world.Crash(true);
      return world.Look("f");
    }));
  };
  EXPECT_EQ(run(true), (Set{"0b"}));
  EXPECT_EQ(run(false), (Set{"", "0T", "0b"}));
}

TEST(SimDisk, NamesComeBackAsOfSomeMomentSinceTheLastSync) {
  const auto run = [](bool sync) {
    return KeysOf(OverSeeds([&](World& world) {
      world.Create("a", 1);
      (void)*world.disk->Open("b", {.create = true});
      EXPECT_TRUE(world.disk->Rename("b", "a").ok());
      (void)*world.disk->Open("c", {.create = true});
      EXPECT_TRUE(!sync || world.disk->SyncNames().ok());
      world.Crash(true);
      const std::vector<std::string> list = *world.disk->List();
      std::string names;
      for (const std::string& name : list) names += name;
      return names + std::to_string(*world.disk->BytesOf(*world.disk->Open("a", {})) / kBlock);
    }));
  };
  EXPECT_EQ(run(true), (Set{"ac0"}));
  EXPECT_EQ(run(false), (Set{"a1", "ab1", "a0", "ac0"}));
}

TEST(SimDisk, AMemoryFileSystemEndsWithThePower) {
  for (bool power : {false, true}) {
    SimClock clock;
    SimPlatter platter({.in_memory = true});
    auto disk = std::make_unique<SimDisk>(platter, clock);
    EXPECT_TRUE(disk->facts().in_memory);
    ASSERT_TRUE(disk->Open("f", {.create = true}).ok());
    EXPECT_TRUE(disk->SyncNames().ok());
    disk->Crash(power);
    disk = std::make_unique<SimDisk>(platter, clock);
    EXPECT_EQ(disk->List()->size(), power ? 0u : 1u);
  }
}

// --- faults ---------------------------------------------------------------------------------------------------------

TEST(SimDisk, WhatAFailedFlushLeftNoLaterOneMakesDurable) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              EXPECT_TRUE(world.Write(file, 0, 'a').ok());
              world.platter.faults.flush_errors = 1000;
              EXPECT_EQ(world.Flush(file).code(), Code::kIo);
              world.platter.faults.flush_errors = 0;
              EXPECT_EQ(world.Look("f"), "a") << "nobody sees it";
              EXPECT_TRUE(world.Flush(file).ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a", "0"}));
}

TEST(SimDisk, ALostFlushIsALie) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              world.platter.faults.lose_flushes = true;
              EXPECT_TRUE(world.Write(file, 0, 'a').ok());
              EXPECT_TRUE(world.Flush(file).ok());
              world.Crash(true);
              return world.Look("f");
            })),
            (Set{"a", "0", "T"}));
}

TEST(SimDisk, ErrorsComeAsOftenAsIsWanted) {
  World world(7);
  const DiskFileId file = world.Create("f", 1);
  world.platter.faults = {.read_errors = 300, .write_errors = 100, .flush_errors = 500};
  Buffer in(kBlock);
  std::map<std::string, int> failed;
  for (int i = 0; i < 2000; ++i) {
    failed["write"] += world.Write(file, 0, 'a') == Status(Code::kIo) ? 1 : 0;
    failed["flush"] += world.Flush(file) == Status(Code::kIo) ? 1 : 0;
    world.disk->Read(file, 0, in.bytes(), &world.outcomes.emplace_back());
    world.Finish();
    failed["read"] += world.outcomes.back().status == Status(Code::kIo) ? 1 : 0;
  }
  EXPECT_NEAR(failed["read"], 600, 100);
  EXPECT_NEAR(failed["write"], 200, 70);
  EXPECT_NEAR(failed["flush"], 1000, 120);
}

TEST(SimDisk, AFailedWriteIsThereOrNotOrTorn) {
  EXPECT_EQ(KeysOf(OverSeeds([](World& world) {
              const DiskFileId file = world.Create("f", 1);
              world.platter.faults.write_errors = 1000;
              EXPECT_EQ(world.Write(file, 0, 'a').code(), Code::kIo);
              return world.Look("f");
            })),
            (Set{"a", "0", "T"}));
}

TEST(SimDisk, AFullOneRefusesUntilThereIsRoom) {
  World world(1, 8 * kBlock);
  EXPECT_EQ(world.disk->Open("big", {.create = true, .bytes = 9 * kBlock}).code(), Code::kNoSpace);
  EXPECT_TRUE(world.disk->List()->empty());
  const DiskFileId file = world.Create("f", 6);
  EXPECT_EQ(world.disk->facts().bytes_free, 2 * kBlock);
  EXPECT_EQ(world.Write(file, 6, 'a', 3).code(), Code::kNoSpace);
  EXPECT_TRUE(world.Write(file, 0, 'a', 6).ok()) << "what is allocated is there";
  EXPECT_TRUE(world.Write(file, 6, 'b', 2).ok());
  EXPECT_EQ(world.Write(file, 8, 'c').code(), Code::kNoSpace);
  world.disk->Discard(file, 0, 4 * kBlock, &world.outcomes.emplace_back());
  world.Finish();
  EXPECT_EQ(world.Look("f"), "0000aabb");
  EXPECT_TRUE(world.Write(file, 8, 'c', 4).ok());
  EXPECT_EQ(world.Write(file, 0, 'd').code(), Code::kNoSpace) << "its room went to others";
  world.disk->Close(file);
  EXPECT_TRUE(world.disk->Remove("f").ok());
  EXPECT_EQ(world.disk->facts().bytes_free, 8 * kBlock);
  const DiskFileId other = world.Create("g", 0);
  world.platter.faults.no_space = 1000;
  EXPECT_EQ(world.Write(other, 0, 'a').code(), Code::kNoSpace);
}

TEST(SimDisk, BitsRotWhereTheyAreToldTo) {
  World world(3);
  const DiskFileId file = world.Create("f", 3);
  EXPECT_TRUE(world.Write(file, 0, 'a', 3).ok());
  EXPECT_TRUE(world.Flush(file).ok());
  world.platter.Rot("f", kBlock + 100, 50, 1);
  for (bool power : {false, true}) {
    const std::vector<uint8_t> bytes = world.platter.Contents("f");
    int rotten = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] == 'a') continue;
      ++rotten;
      EXPECT_TRUE(i >= kBlock + 100 && i < kBlock + 150) << i;
      EXPECT_EQ(__builtin_popcount(bytes[i] ^ 'a'), 1);
    }
    EXPECT_EQ(rotten, 1);
    if (!power) world.Crash(true);
  }
}

TEST(SimDisk, FilesAreCutAndDeletedBehindTheServersBack) {
  World world(3);
  const DiskFileId file = world.Create("f", 4);
  EXPECT_TRUE(world.Write(file, 0, 'a', 4).ok());
  world.platter.Truncate("f", 2 * kBlock);
  EXPECT_EQ(world.Look("f"), "aa");
  Buffer in(kBlock);
  world.disk->Read(file, 2 * kBlock, in.bytes(), &world.outcomes.emplace_back());
  world.Finish();
  EXPECT_EQ(world.outcomes.back().status.code(), Code::kCorrupt);
  world.platter.Remove("f");
  EXPECT_TRUE(world.Write(file, 0, 'b').ok()) << "it is open";
  world.Crash(true);
  EXPECT_EQ(world.disk->Open("f", {}).code(), Code::kNoEntry);
}

TEST(SimDisk, ADirectoryThatIsGoneFailsEveryCallOnNames) {
  World world(3);
  world.Create("f", 1);
  world.platter.faults.slow_calls = Code::kReadOnly;
  EXPECT_EQ(world.disk->Open("f", {}).code(), Code::kReadOnly);
  EXPECT_EQ(world.disk->Remove("f").code(), Code::kReadOnly);
  EXPECT_EQ(world.disk->Rename("f", "g").code(), Code::kReadOnly);
  EXPECT_EQ(world.disk->SyncNames().code(), Code::kReadOnly);
  EXPECT_EQ(world.disk->List().code(), Code::kReadOnly);
}

TEST(SimDisk, ASlowOneTakesItsTime) {
  World world(5);
  const DiskFileId file = world.Create("f", 1);
  world.platter.faults.latency_min = 2 * kMillisecond;
  world.platter.faults.latency_max = 5 * kMillisecond;
  std::set<Nanos> times;
  for (int i = 0; i < 100; ++i) {
    const Nanos start = world.clock.Now();
    world.Ask(file, 0, 'a');
    EXPECT_EQ(world.disk->NextAt(), start);
    EXPECT_TRUE(world.disk->Poll());
    EXPECT_FALSE(world.disk->Poll());
    world.Finish();
    const Nanos took = world.clock.Now() - start;
    EXPECT_TRUE(took >= 2 * kMillisecond && took <= 5 * kMillisecond) << took;
    times.insert(took);
  }
  EXPECT_GT(times.size(), 50u);
}

TEST(SimDisk, OneSeedIsOneHistory) {
  const auto run = [](uint64_t seed) {
    World world(seed);
    world.platter.faults = {.write_errors = 100, .flush_errors = 100, .latency_max = kMillisecond};
    std::string history;
    for (int life = 0; life < 5; ++life) {
      const Result<DiskFileId> found = world.disk->Open("f", {});
      const DiskFileId file = found.ok() ? *found : world.Create("f", 16);
      for (int i = 0; i < 40; ++i) {
        world.Ask(file, static_cast<uint64_t>(i * 7 % 16), static_cast<uint8_t>('a' + i % 20));
        if (i % 3 == 0) world.disk->Poll();
        if (i % 13 == 12) (void)world.Flush(file);
      }
      world.Crash(life % 2 == 0);
      history += world.Look("f") + "\n";
    }
    for (const Outcome& outcome : world.outcomes) history += std::to_string(static_cast<int>(outcome.status.code()));
    return history;
  };
  for (uint64_t seed = 0; seed < 20; ++seed) EXPECT_EQ(run(seed), run(seed));
  EXPECT_NE(run(1), run(2));
}

}  // namespace
}  // namespace mayfly
