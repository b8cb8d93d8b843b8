// What every disk does (os/disk.h), asked of each: io_uring, plain calls, both through the page cache too and on a
// memory file system, and the simulated one.
#include <fcntl.h>
#include <gtest/gtest.h>

#include <atomic>
#include <csignal>
#include <deque>
#include <optional>

#include "adapt/local_disk.h"
#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "disk_testing.h"
#include "fake/sim_clock.h"
#include "fake/sim_disk.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = Disk::kBlockBytes;

// A place where disks are opened, one after another or two at a time.
class Place {
 public:
  virtual ~Place() = default;
  virtual std::unique_ptr<Disk> Open() = 0;
  // Sleeps until `disk` has something to say.
  virtual void Wait(Disk& disk) = 0;
};

class LocalPlace final : public Place {
 public:
  LocalPlace(bool uring, bool direct, bool in_memory, bool at_once = false)
      : directory_(in_memory ? "/dev/shm" : std::filesystem::temp_directory_path()),
        uring_(uring),
        direct_(direct),
        at_once_(at_once) {}
  std::unique_ptr<Disk> Open() override {
    LocalDiskOpened opened =
        OpenLocalDisk({.directory = {.path = directory_.path, .direct = direct_, .lock_wait = 20 * kMillisecond},
                       .try_uring = uring_,
                       .at_once_in_memory = at_once_});
    EXPECT_TRUE(opened.failure.ok()) << opened.failure.sentence;
    EXPECT_EQ(opened.warning.empty(), uring_ || (at_once_ && opened.disk->facts().in_memory)) << opened.warning;
    return std::move(opened.disk);
  }
  void Wait(Disk& disk) override {
    PosixIdle idle;
    idle.Add(static_cast<LocalDisk*>(&disk));
    idle.Sleep(PosixClock().Now() + 60 * kSecond);
  }

 private:
  TemporaryDirectory directory_;
  bool uring_, direct_, at_once_;
};

// A file of zeros in the place of a raw device.
class DeviceOfTest final : public Place {
 public:
  explicit DeviceOfTest(bool uring) : uring_(uring) {
    const int fd = open(Image().c_str(), O_RDWR | O_CREAT | O_EXCL, 0600);
    if (fd < 0 || ftruncate(fd, 128 << 20) != 0) std::abort();
    close(fd);
  }
  std::unique_ptr<Disk> Open() override {
    LocalDiskOpened opened = OpenLocalDisk(
        {.directory = {.path = Image() + "/mayfly-1/shard-1", .lock_wait = 20 * kMillisecond}, .try_uring = uring_});
    EXPECT_TRUE(opened.failure.ok()) << opened.failure.sentence;
    return std::move(opened.disk);
  }
  void Wait(Disk& disk) override {
    PosixIdle idle;
    idle.Add(static_cast<LocalDisk*>(&disk));
    idle.Sleep(PosixClock().Now() + 60 * kSecond);
  }

 private:
  std::string Image() const { return directory_.path + "/image"; }
  TemporaryDirectory directory_;
  bool uring_;
};

class SimPlace final : public Place {
 public:
  SimPlace() { platter_.faults.latency_max = kMillisecond; }
  std::unique_ptr<Disk> Open() override { return std::make_unique<SimDisk>(platter_, clock_); }
  void Wait(Disk& disk) override { clock_.AdvanceTo(static_cast<SimDisk&>(disk).NextAt()); }

 private:
  SimPlatter platter_{{.seed = 1, .maps = true, .writes_through = true}};
  SimClock clock_;
};

struct Kind {
  const char* name;
  std::function<std::unique_ptr<Place>()> make;
  bool uring;
  bool maps = false;
};

struct DiskTest : testing::TestWithParam<Kind> {
  void SetUp() override {
    if (GetParam().uring) {
      TemporaryDirectory directory;
      const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
      if (!opened.warning.empty()) GTEST_SKIP() << opened.warning;
    }
    place = GetParam().make();
    disk = place->Open();
    ASSERT_NE(disk, nullptr);
  }
  void Finish(Disk& which) {
    while (which.pending() != 0) {
      if (!which.Poll()) place->Wait(which);
    }
  }
  void Finish() { Finish(*disk); }
  DiskFileId Create(std::string_view name, uint64_t blocks) {
    Result<DiskFileId> file = disk->Open(name, {.create = true, .bytes = blocks * kBlock});
    EXPECT_TRUE(file.ok()) << TextOf(file.code());
    return *file;
  }
  Status Write(DiskFileId file, uint64_t block, Buffer& from) {
    Outcome outcome;
    disk->Write(file, block * kBlock, from.bytes(), &outcome);
    Finish();
    EXPECT_EQ(outcome.times, 1);
    return outcome.status;
  }
  Status Read(DiskFileId file, uint64_t block, Buffer& to) {
    Outcome outcome;
    disk->Read(file, block * kBlock, to.bytes(), &outcome);
    Finish();
    EXPECT_EQ(outcome.times, 1);
    return outcome.status;
  }
  Status Flush(DiskFileId file) {
    Outcome outcome;
    disk->Flush(file, &outcome);
    Finish();
    EXPECT_EQ(outcome.times, 1);
    return outcome.status;
  }
  std::unique_ptr<Place> place;
  std::unique_ptr<Disk> disk;
};

TEST_P(DiskTest, WhatWasWrittenIsReadAtEachSize) {
  const DiskFileId file = Create("f", 3000);
  uint64_t block = 0, seed = 0;
  for (uint64_t blocks : {1, 2, 3, 16, 255, 256, 1025}) {
    Buffer out(blocks * kBlock), in(blocks * kBlock);
    ASSERT_TRUE(Write(file, block, out.Pattern(seed++)).ok());
    ASSERT_TRUE(Read(file, block, in).ok());
    ASSERT_EQ(in, out) << blocks << " blocks";
    block += blocks;
  }
  block = seed = 0;
  for (uint64_t blocks : {1, 2, 3, 16, 255, 256, 1025}) {
    Buffer out(blocks * kBlock), in(blocks * kBlock);
    ASSERT_TRUE(Read(file, block, in).ok());
    ASSERT_EQ(in, out.Pattern(seed++)) << "disturbed by its neighbours";
    block += blocks;
  }
  EXPECT_TRUE(Flush(file).ok());
}

TEST_P(DiskTest, WhatWasWrittenThroughIsReadLikeAnythingElse) {
  if (!disk->facts().writes_through) return;  // then nobody asks for it
  const DiskFileId file = Create("f", 300);
  uint64_t block = 0;
  for (uint64_t blocks : {1, 3, 256}) {
    Buffer out(blocks * kBlock), in(blocks * kBlock);
    out.Pattern(blocks);
    Outcome outcome;
    disk->WriteThrough(file, block * kBlock, out.bytes(), &outcome);
    Finish();
    EXPECT_EQ(outcome.times, 1);
    ASSERT_TRUE(outcome.status.ok());
    ASSERT_TRUE(Read(file, block, in).ok());
    EXPECT_EQ(in, out) << blocks << " blocks";
    block += blocks;
  }
}

TEST_P(DiskTest, MoreThanTheRingHoldsMayBeUnderWay) {
  constexpr uint64_t kCount = 1000;
  const DiskFileId file = Create("f", kCount);
  std::deque<Buffer> buffers;
  std::deque<Outcome> outcomes(3 * kCount);
  for (uint64_t i = 0; i < kCount; ++i) {
    buffers.emplace_back(kBlock).Pattern(i);
    disk->Write(file, i * kBlock, buffers.back().bytes(), &outcomes[i]);
  }
  EXPECT_EQ(disk->pending(), kCount);
  EXPECT_EQ(outcomes[0].times, 0) << "outside of Poll";
  Finish();
  std::deque<Buffer> read;
  for (uint64_t i = 0; i < kCount; ++i) {
    read.emplace_back(kBlock);
    disk->Read(file, i * kBlock, read.back().bytes(), &outcomes[kCount + i]);
    disk->Flush(file, &outcomes[2 * kCount + i]);
  }
  Finish();
  for (Outcome& outcome : outcomes) {
    ASSERT_EQ(outcome.times, 1);
    ASSERT_TRUE(outcome.status.ok());
  }
  EXPECT_EQ(read, buffers);
}

TEST_P(DiskTest, ANewFileHasItsSizeAndReadsAsZeros) {
  const DiskFileId file = Create("f", 64);
  EXPECT_EQ(*disk->BytesOf(file), 64 * kBlock);
  Buffer in(64 * kBlock, 7), zeros(64 * kBlock);
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(in, zeros);
  EXPECT_EQ(*disk->BytesOf(Create("empty", 0)), 0u);
}

TEST_P(DiskTest, AReadBehindTheEndIsCorruptAndAWriteThereExtends) {
  const DiskFileId file = Create("f", 4);
  Buffer one(kBlock), four(4 * kBlock);
  EXPECT_EQ(Read(file, 4, one).code(), Code::kCorrupt);
  EXPECT_EQ(Read(file, 100, one).code(), Code::kCorrupt);
  EXPECT_EQ(Read(file, 2, four).code(), Code::kCorrupt) << "half of it is there";
  EXPECT_TRUE(Read(file, 0, four).ok());
  ASSERT_TRUE(Write(file, 9, one.Pattern(1)).ok());
  EXPECT_EQ(*disk->BytesOf(file), 10 * kBlock);
  Buffer in(10 * kBlock, 7);
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(in.bytes()[8 * kBlock], 0);
  EXPECT_EQ(std::memcmp(in.bytes().data() + 9 * kBlock, one.bytes().data(), kBlock), 0);
}

TEST_P(DiskTest, WhatIsMappedIsTheFile) {
  const DiskFileId file = Create("f", 4);
  const MutableBytes mapped = disk->Map(file);
  EXPECT_EQ(!mapped.empty(), GetParam().maps);
  if (mapped.empty()) return;
  ASSERT_EQ(mapped.size(), 4 * kBlock);
  EXPECT_EQ(disk->Map(file).data(), mapped.data()) << "once a file";
  mapped[2 * kBlock + 5] = 42;
  Buffer in(4 * kBlock, 7), one(kBlock);
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(std::memcmp(in.bytes().data(), mapped.data(), mapped.size()), 0);
  EXPECT_EQ(in.bytes()[2 * kBlock + 5], 42);
  ASSERT_TRUE(Write(file, 1, one.Pattern(3)).ok());
  EXPECT_EQ(std::memcmp(mapped.data() + kBlock, one.bytes().data(), kBlock), 0);
  // K4, and for whoever opens it next.
  mapped[3 * kBlock] = 43;
  disk.reset();
  disk = place->Open();
  const DiskFileId again = *disk->Open("f", {});
  ASSERT_TRUE(Read(again, 0, in).ok());
  EXPECT_EQ(in.bytes()[2 * kBlock + 5], 42);
  EXPECT_EQ(in.bytes()[3 * kBlock], 43);
  EXPECT_EQ(disk->Map(*disk->Open("empty", {.create = true})).size(), 0u);
}

TEST_P(DiskTest, WhatIsDiscardedReadsAsZeros) {
  const DiskFileId file = Create("f", 64);
  Buffer out(64 * kBlock), in(64 * kBlock);
  ASSERT_TRUE(Write(file, 0, out.Pattern(3)).ok());
  Outcome outcome;
  disk->Discard(file, 16 * kBlock, 32 * kBlock, &outcome);
  Finish();
  EXPECT_EQ(outcome.times, 1);
  ASSERT_TRUE(outcome.status.ok() || outcome.status == Status(Code::kNotSupported));
  if (outcome.status.ok()) std::memset(out.bytes().data() + 16 * kBlock, 0, 32 * kBlock);
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(in, out);
  EXPECT_EQ(*disk->BytesOf(file), 64 * kBlock);
  EXPECT_TRUE(Write(file, 20, out).ok()) << "room again";
}

TEST_P(DiskTest, NamesAreMadeListedRenamedAndRemoved) {
  EXPECT_TRUE(disk->List()->empty());
  EXPECT_EQ(disk->Open("b", {}).code(), Code::kNoEntry);
  Buffer out(kBlock), in(kBlock);
  const DiskFileId b = Create("b", 1), a = Create("A-1_.x", 1);
  EXPECT_EQ(disk->Open("b", {.create = true}).code(), Code::kExists);
  ASSERT_TRUE(Write(b, 0, out.Pattern(5)).ok());
  EXPECT_EQ(*disk->List(), (std::vector<std::string>{"A-1_.x", "b"}));
  EXPECT_TRUE(disk->Rename("b", "A-1_.x").ok());
  EXPECT_TRUE(disk->SyncNames().ok());
  EXPECT_EQ(*disk->List(), (std::vector<std::string>{"A-1_.x"}));
  ASSERT_TRUE(Read(b, 0, in).ok());
  EXPECT_EQ(in, out) << "an open file is what it was, whatever its name";
  disk->Close(a);
  disk->Close(b);
  const DiskFileId again = *disk->Open("A-1_.x", {});
  ASSERT_TRUE(Read(again, 0, in).ok());
  EXPECT_EQ(in, out);
  EXPECT_EQ(disk->Rename("b", "c").code(), Code::kNoEntry);
  EXPECT_EQ(disk->Remove("b").code(), Code::kNoEntry);
  EXPECT_TRUE(disk->Remove("A-1_.x").ok());
  EXPECT_TRUE(disk->List()->empty());
  for (const char* name : {"", ".", "..", "a/b", "/etc/passwd", "a b", "a\n"}) {
    EXPECT_EQ(disk->Open(name, {.create = true}).code(), Code::kInvalid) << name;
    EXPECT_EQ(disk->Remove(name).code(), Code::kInvalid) << name;
    EXPECT_EQ(disk->Rename(name, "x").code(), Code::kInvalid) << name;
    EXPECT_EQ(disk->Rename("x", name).code(), Code::kInvalid) << name;
  }
}

TEST_P(DiskTest, AFileIsOpenToWriteOnce) {
  DiskFileId file = Create("f", 4);
  Buffer out(kBlock), in(kBlock);
  ASSERT_TRUE(Write(file, 1, out.Pattern(1)).ok());
  std::unique_ptr<Disk> other = place->Open();
  EXPECT_EQ(other->Open("f", {}).code(), Code::kBusy);
  EXPECT_EQ(disk->Open("f", {}).code(), Code::kBusy);
  const Result<DiskFileId> reader = other->Open("f", {.read_only = true});
  ASSERT_TRUE(reader.ok());
  Outcome outcome;
  other->Read(*reader, kBlock, in.bytes(), &outcome);
  Finish(*other);
  EXPECT_TRUE(outcome.status.ok());
  EXPECT_EQ(in, out);
  disk->Close(file);
  file = *other->Open("f", {});
  EXPECT_EQ(disk->Open("f", {}).code(), Code::kBusy);
  other.reset();
  EXPECT_TRUE(disk->Open("f", {}).ok());
}

TEST_P(DiskTest, ThereIsAnEndToOpenFiles) {
  std::vector<DiskFileId> files;
  for (uint32_t i = 0; i < Disk::kFilesMax; ++i) files.push_back(Create(std::to_string(i), 1));
  EXPECT_EQ(disk->Open("more", {.create = true}).code(), Code::kTooManyFiles);
  EXPECT_EQ(disk->List()->size(), size_t{Disk::kFilesMax});
  disk->Close(files[17]);
  EXPECT_EQ(Create("more", 1), files[17]);
  Buffer out(kBlock), in(kBlock);
  ASSERT_TRUE(Write(files[17], 0, out.Pattern(9)).ok());
  ASSERT_TRUE(Read(files[17], 0, in).ok());
  EXPECT_EQ(in, out);
}

TEST_P(DiskTest, ADiskOpenedAgainHasWhatWasWritten) {
  Buffer out(8 * kBlock), in(8 * kBlock);
  ASSERT_TRUE(Write(Create("f", 8), 0, out.Pattern(2)).ok());
  disk.reset();
  disk = place->Open();
  const DiskFileId file = *disk->Open("f", {});
  EXPECT_EQ(*disk->BytesOf(file), 8 * kBlock);
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(in, out);
}

// Asks for the next from inside of a completion, through a file's whole length.
struct Chain : Completion {
  Chain(Disk& disk, DiskFileId file, uint64_t blocks) : disk_(disk), file_(file), left_(blocks) {
    fn = [](Completion* self, Status status) { static_cast<Chain*>(self)->Next(status); };
    Next({});
  }
  void Next(Status status) {
    EXPECT_TRUE(status.ok());
    if (left_ == 0) return;
    --left_;
    disk_.Write(file_, left_ * kBlock, buffer_.bytes(), this);
  }
  Disk& disk_;
  DiskFileId file_;
  uint64_t left_;
  Buffer buffer_{kBlock, 0x77};
};

TEST_P(DiskTest, ACompletionMayAskForMore) {
  const DiskFileId file = Create("f", 200);
  std::deque<Chain> chains;
  for (int i = 0; i < 8; ++i) chains.emplace_back(*disk, file, 200);
  Finish();
  Buffer in(200 * kBlock), all(200 * kBlock, 0x77);
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(in, all);
}

TEST_P(DiskTest, RegisteredMemoryIsAsGoodAsAny) {
  const DiskFileId file = Create("f", 64);
  Buffer a(32 * kBlock), b(32 * kBlock), in(16 * kBlock);
  disk->Register(a.bytes());
  ASSERT_TRUE(Write(file, 0, a.Pattern(1)).ok());
  disk->Register(b.bytes());
  ASSERT_TRUE(Read(file, 0, b).ok());
  EXPECT_EQ(a, b);
  disk->Unregister(a.bytes());
  ASSERT_TRUE(Write(file, 32, a.Pattern(2)).ok());
  ASSERT_TRUE(Read(file, 32, b).ok());
  EXPECT_EQ(a, b);
  Outcome outcome;
  disk->Write(file, 0, b.bytes().subspan(8 * kBlock, 16 * kBlock), &outcome);
  Finish();
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(std::memcmp(in.bytes().data(), b.bytes().data() + 8 * kBlock, 16 * kBlock), 0);
  disk->Unregister(b.bytes());
}

TEST_P(DiskTest, NothingPendingIsNothingToDo) {
  EXPECT_FALSE(disk->Poll());
  const DiskFileId file = Create("f", 1);
  EXPECT_FALSE(disk->Poll());
  EXPECT_TRUE(Flush(file).ok());
  EXPECT_EQ(disk->pending(), 0u);
  EXPECT_FALSE(disk->Poll());
}

// On a device in pieces, which a transfer crosses.
TEST_P(DiskTest, AFileThatGrowsAmidOthersIsWhole) {
  const DiskFileId file = *disk->Open("f", {.create = true}), between = Create("between", 3000);
  Buffer out(5000 * kBlock), in(5000 * kBlock);
  out.Pattern(1);
  std::deque<Outcome> outcomes;
  for (uint64_t at = 0; at < 5000; at += 50) {
    disk->Write(file, at * kBlock, out.bytes().subspan(at * kBlock, 50 * kBlock), &outcomes.emplace_back());
  }
  Finish();
  for (const Outcome& outcome : outcomes) ASSERT_TRUE(outcome.status.ok()) << TextOf(outcome.status.code());
  EXPECT_EQ(*disk->BytesOf(file), 5000 * kBlock);
  Buffer other(3000 * kBlock), zeros(256 * kBlock);
  ASSERT_TRUE(Write(between, 0, other.Pattern(2)).ok());
  ASSERT_TRUE(Read(file, 0, in).ok());
  EXPECT_EQ(in, out);
  ASSERT_TRUE(Write(file, 0, out.Pattern(3)).ok());
  disk.reset();
  disk = place->Open();
  ASSERT_TRUE(Read(*disk->Open("f", {}), 0, in).ok());
  EXPECT_EQ(in, out);
  Buffer others(3000 * kBlock);
  ASSERT_TRUE(Read(*disk->Open("between", {}), 0, others).ok());
  EXPECT_EQ(others, other);
}

TEST_P(DiskTest, ADiskDestroyedWithSomethingUnderWayCompletesNothing) {
  const DiskFileId file = Create("f", 512);
  std::deque<Outcome> outcomes(64);
  {
    Buffer memory(512 * kBlock, 1);
    for (uint64_t i = 0; i < 64; ++i) {
      disk->Write(file, i * 8 * kBlock, memory.bytes().subspan(i * 8 * kBlock, 8 * kBlock), &outcomes[i]);
      if (i == 31) disk->Poll();
    }
    for (Outcome& outcome : outcomes) outcome.times = 0;
    disk.reset();
  }
  for (const Outcome& outcome : outcomes) EXPECT_EQ(outcome.times, 0);
  disk = place->Open();
  EXPECT_TRUE(disk->Open("f", {}).ok());
}

using DiskDeathTest = DiskTest;

TEST_P(DiskDeathTest, UnalignedIsACallersBug) {
  const DiskFileId file = Create("f", 4), readable = *disk->Open("f", {.read_only = true});
  Buffer memory(4 * kBlock);
  Outcome outcome;
  EXPECT_DEATH(disk->Read(file, 512, memory.bytes(), &outcome), "");
  EXPECT_DEATH(disk->Write(file, 0, memory.bytes().first(1000), &outcome), "");
  EXPECT_DEATH(disk->Write(file, 0, memory.bytes().subspan(512, kBlock), &outcome), "");
  EXPECT_DEATH(disk->Discard(file, kBlock, 512, &outcome), "");
  EXPECT_DEATH(disk->Read(file, 0, MutableBytes(), &outcome), "");
  EXPECT_DEATH(disk->Write(readable, 0, memory.bytes(), &outcome), "");
  EXPECT_DEATH(disk->Flush(DiskFileId(63), &outcome), "");
}

template <bool uring, bool direct, bool in_memory>
std::unique_ptr<Place> MakeLocal() {
  return std::make_unique<LocalPlace>(uring, direct, in_memory);
}

const Kind kKinds[] = {
    {"Uring", MakeLocal<true, true, false>, true},
    {"UringPageCache", MakeLocal<true, false, false>, true},
    {"UringShm", MakeLocal<true, true, true>, true},
    {"Posix", MakeLocal<false, true, false>, false},
    {"PosixPageCache", MakeLocal<false, false, false>, false},
    {"PosixShm", MakeLocal<false, true, true>, false},
    {"MemoryAtOnce", [] { return std::make_unique<LocalPlace>(false, true, true, true); }, false, true},
    {"DeviceUring", [] { return std::make_unique<DeviceOfTest>(true); }, true},
    {"DevicePosix", [] { return std::make_unique<DeviceOfTest>(false); }, false},
    {"Sim", [] { return std::make_unique<SimPlace>(); }, false, true},
};
constexpr auto kNameOf = [](const testing::TestParamInfo<Kind>& info) { return std::string(info.param.name); };
INSTANTIATE_TEST_SUITE_P(All, DiskTest, testing::ValuesIn(kKinds), kNameOf);
INSTANTIATE_TEST_SUITE_P(All, DiskDeathTest, testing::ValuesIn(kKinds), kNameOf);

}  // namespace
}  // namespace mayfly
