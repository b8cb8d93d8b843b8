// How a local disk is chosen, refused and bounded; what is left of it when its process is killed.
#include "adapt/local_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fiemap.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>

#include <atomic>
#include <deque>
#include <fstream>
#include <optional>
#include <thread>

#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "adapt/uring/uring_disk.h"
#include "disk_testing.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = Disk::kBlockBytes;
constexpr uid_t kNobody = 65534;

void Finish(LocalDisk& disk) {
  PosixIdle idle;
  idle.Add(&disk);
  while (disk.pending() != 0) {
    if (!disk.Poll()) idle.Sleep(PosixClock().Now() + 60 * kSecond);
  }
}

Status WriteBlock(LocalDisk& disk, DiskFileId file, uint64_t block, Buffer& from) {
  Outcome outcome;
  disk.Write(file, block * kBlock, from.bytes(), &outcome);
  Finish(disk);
  return outcome.status;
}

// "" if a file can be written and read back.
std::string RoundTrip(LocalDisk& disk) {
  const Result<DiskFileId> file = disk.Open("f", {.create = true, .bytes = 64 * kBlock});
  if (!file.ok()) return "open: " + std::string(TextOf(file.code()));
  Buffer out(16 * kBlock), in(16 * kBlock);
  Outcome read;
  if (!WriteBlock(disk, *file, 3, out.Pattern(1)).ok()) return "write";
  disk.Read(*file, 3 * kBlock, in.bytes(), &read);
  Finish(disk);
  return read.status.ok() && in == out ? "" : "read";
}

bool UringWorks() {
  TemporaryDirectory directory;
  return OpenLocalDisk({.directory = {.path = directory.path}}).warning.empty();
}

// --- with and without io_uring --------------------------------------------------------------------------------------

TEST(LocalDisk, SaysHowItWorks) {
  TemporaryDirectory directory;
  for (bool uring : {true, false}) {
    for (bool direct : {true, false}) {
      const LocalDiskOpened opened =
          OpenLocalDisk({.directory = {.path = directory.path, .direct = direct}, .try_uring = uring});
      ASSERT_NE(opened.disk, nullptr) << opened.failure.sentence;
      const Disk::Facts facts = opened.disk->facts();
      EXPECT_EQ(facts.directory, directory.path);
      EXPECT_GT(facts.bytes_total, 0u);
      EXPECT_LE(facts.bytes_free, facts.bytes_total);
      EXPECT_EQ(facts.how,
                std::string(opened.warning.empty() ? "io_uring" : "posix") + (facts.in_memory ? ""
                                                                              : facts.direct  ? ", O_DIRECT"
                                                                                              : ", page cache"));
      EXPECT_TRUE(direct || !facts.direct);
    }
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory.path)) << "trying out leaves nothing behind";
}

TEST(LocalDisk, WhatGoesToARemovedFileIsNotTakenForKept) {
  TemporaryDirectory directory;
  for (bool uring : {true, false}) {
    std::atomic<bool> removed_here{false};
    const LocalDiskOpened opened =
        OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = uring, .removed_here = &removed_here});
    ASSERT_NE(opened.disk, nullptr) << opened.failure.sentence;
    const Result<DiskFileId> file = opened.disk->Open("f", {.create = true, .bytes = 64 * kBlock});
    ASSERT_TRUE(file.ok());
    Buffer out(kBlock);
    const auto flush = [&] {
      Outcome outcome;
      opened.disk->Flush(*file, &outcome);
      Finish(*opened.disk);
      return outcome.status.code();
    };
    EXPECT_TRUE(WriteBlock(*opened.disk, *file, 0, out.Pattern(1)).ok());
    EXPECT_EQ(flush(), Code::kOk);
    std::filesystem::remove(directory.path + "/f");
    EXPECT_EQ(flush(), Code::kNoEntry);
    if (opened.disk->facts().writes_through) {
      Outcome outcome;
      opened.disk->WriteThrough(*file, 0, out.bytes(), &outcome);
      Finish(*opened.disk);
      EXPECT_EQ(outcome.status.code(), Code::kNoEntry);
    }
    int failed = 0;
    for (uint64_t i = 0; i < 64; ++i) failed += WriteBlock(*opened.disk, *file, i, out.Pattern(1)).ok() ? 0 : 1;
    EXPECT_EQ(failed, 1);
    removed_here = true;  // its own process was it, and goes on with the file until it ends
    EXPECT_EQ(flush(), Code::kOk);
  }
}

// What a file system has allocated and nobody has written, in bytes; none if it does not say.
std::optional<uint64_t> UnwrittenBytes(const std::string& path) {
  constexpr uint32_t kExtents = 512;
  std::vector<uint64_t> memory((sizeof(fiemap) + kExtents * sizeof(fiemap_extent)) / 8 + 1);
  auto* map = reinterpret_cast<fiemap*>(memory.data());
  map->fm_length = ~uint64_t{0};
  map->fm_flags = FIEMAP_FLAG_SYNC;
  map->fm_extent_count = kExtents;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  const bool told = fd >= 0 && ioctl(fd, FS_IOC_FIEMAP, map) == 0;
  if (fd >= 0) close(fd);
  if (!told) return std::nullopt;
  uint64_t bytes = 0;
  for (uint32_t i = 0; i < map->fm_mapped_extents; ++i) {
    if ((map->fm_extents[i].fe_flags & FIEMAP_EXTENT_UNWRITTEN) != 0) bytes += map->fm_extents[i].fe_length;
  }
  return bytes;
}

TEST(LocalDisk, AFileIsWrittenOnceWhereThatIsWanted) {
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  ASSERT_NE(opened.disk, nullptr) << opened.failure.sentence;
  constexpr uint64_t kBytes = (5 << 20) + 3 * kBlock;
  ASSERT_TRUE(opened.disk->Open("allocated", {.create = true, .bytes = kBytes}).ok());
  ASSERT_TRUE(opened.disk->Open("written", {.create = true, .bytes = kBytes, .written = true}).ok());
  EXPECT_EQ(std::filesystem::file_size(directory.path + "/written"), kBytes);
  if (UnwrittenBytes(directory.path + "/allocated").value_or(0) == 0) GTEST_SKIP() << "the file system does not tell";
  EXPECT_EQ(UnwrittenBytes(directory.path + "/written"), 0u);
}

TEST(LocalDisk, AMemoryFileSystemIsToldApart) {
  TemporaryDirectory directory("/dev/shm");
  struct statfs fs {};
  ASSERT_EQ(statfs(directory.path.c_str(), &fs), 0);
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  const Disk::Facts facts = opened.disk->facts();
  EXPECT_EQ(facts.in_memory, fs.f_type == TMPFS_MAGIC);
  EXPECT_FALSE(facts.in_memory && facts.direct);
}

TEST(LocalDisk, WithoutUringThereIsOneWarningAndTheSameDisk) {
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = false});
  EXPECT_EQ(opened.warning,
            "io_uring was switched off: local storage goes by plain reads and writes, which are as safe but cost more"
            " processor time");
  EXPECT_TRUE(opened.disk->facts().how.starts_with("posix"));
  EXPECT_EQ(RoundTrip(*opened.disk), "");
}

TEST(LocalDisk, TheWarningNamesCauseAndRemedy) {
  EXPECT_NE(WarningWithoutUring(EPERM, 2).find("kernel.io_uring_disabled = 0 (it is 2)"), std::string::npos);
  EXPECT_NE(WarningWithoutUring(EPERM, 0).find("seccomp profile allow io_uring_setup"), std::string::npos);
  EXPECT_NE(WarningWithoutUring(ENOSYS, 0).find("kernel"), std::string::npos);
  EXPECT_NE(WarningWithoutUring(EOPNOTSUPP, 0).find("Linux 5.11"), std::string::npos);
  EXPECT_NE(WarningWithoutUring(ENOMEM, 0).find("ulimit -l"), std::string::npos);
  EXPECT_NE(WarningWithoutUring(EMFILE, 0).find("ulimit -n"), std::string::npos);
  EXPECT_NE(WarningWithoutUring(EIO, 0).find(std::strerror(EIO)), std::string::npos);
}

// From now on io_uring_setup fails in this process, as in a container that forbids it.
bool ForbidUring(int error) {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | static_cast<uint32_t>(error)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog program{std::size(code), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(LocalDisk, WhereAContainerForbidsUringThereIsAWarning) {
  for (int error : {EPERM, ENOSYS, ENOMEM}) {
    TemporaryDirectory directory;
    const std::string result = InChild([&]() -> std::string {
      if (!ForbidUring(error)) return "no seccomp";
      const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
      if (opened.disk == nullptr) return opened.failure.sentence;
      if (opened.warning.empty()) return "no warning";
      if (!opened.disk->facts().how.starts_with("posix")) return opened.disk->facts().how;
      return RoundTrip(*opened.disk);
    });
    if (result == "no seccomp") GTEST_SKIP() << "this kernel lets no process forbid itself system calls";
    EXPECT_EQ(result, "");
  }
}

TEST(LocalDisk, WithoutLockedMemoryNothingIsRegisteredAndAllWorks) {
  if (!UringWorks()) GTEST_SKIP() << "no io_uring here";
  TemporaryDirectory directory;
  ASSERT_EQ(chmod(directory.path.c_str(), 0777), 0);
  EXPECT_EQ(InChild([&]() -> std::string {
              const rlimit little{4096, 4096};
              if (setrlimit(RLIMIT_MEMLOCK, &little) != 0) return "setrlimit";
              if (geteuid() == 0 && setuid(kNobody) != 0) return "setuid";  // root may lock what it likes
              const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
              if (opened.disk == nullptr) return opened.failure.sentence;
              Buffer memory(64 * kBlock);
              opened.disk->Register(memory.bytes());
              const auto* uring = dynamic_cast<UringDisk*>(opened.disk.get());
              if (uring == nullptr && opened.warning.empty()) return "no warning";
              if (uring != nullptr && uring->regions() != 0) return "registered";
              if (const std::string failed = RoundTrip(*opened.disk); !failed.empty()) return failed;
              const Disk::Facts facts = opened.disk->facts();
              if (facts.bytes_registered != 0 || facts.transfers_registered != 0) return "counted";
              return facts.transfers == 2 || uring == nullptr ? "" : "not counted";
            }),
            "");
}

TEST(LocalDisk, RegisteredMemoryIsCounted) {
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  auto* uring = dynamic_cast<UringDisk*>(opened.disk.get());
  if (uring == nullptr) GTEST_SKIP() << opened.warning;
  std::deque<Buffer> memory;
  for (int i = 0; i < 20; ++i) uring->Register(memory.emplace_back(2 * kBlock).bytes());
  const size_t registered = uring->regions();
  EXPECT_TRUE(registered == 20 || geteuid() != 0) << registered << " of 20";
  for (Buffer& buffer : memory) uring->Unregister(buffer.bytes());
  EXPECT_EQ(uring->regions(), 0u);
  for (Buffer& buffer : memory) uring->Register(buffer.bytes());
  EXPECT_EQ(uring->regions(), registered) << "places are used again";
}

TEST(LocalDisk, TransfersInRegisteredMemoryUseThatAndOthersDoNot) {
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  auto* uring = dynamic_cast<UringDisk*>(opened.disk.get());
  if (uring == nullptr) GTEST_SKIP() << opened.warning;
  const DiskFileId file = *uring->Open("f", {.create = true, .bytes = 64 * kBlock});
  Buffer memory(16 * kBlock), in(16 * kBlock);
  memory.Pattern(1);
  // The first half of it: one range inside, one that begins in it and ends outside, one outside.
  uring->Register(memory.bytes().first(8 * kBlock));
  if (uring->regions() == 0) GTEST_SKIP() << "memory may not be locked here";
  EXPECT_EQ(uring->facts().bytes_registered, 8 * kBlock);
  const auto counts = [&] { return std::pair(uring->facts().transfers, uring->facts().transfers_registered); };
  const auto write = [&](uint64_t first, uint64_t blocks) {
    Outcome outcome;
    uring->Write(file, first * kBlock, memory.bytes().subspan(first * kBlock, blocks * kBlock), &outcome);
    Finish(*uring);
    EXPECT_TRUE(outcome.status.ok());
  };
  write(0, 4);
  EXPECT_EQ(counts(), std::pair(uint64_t{1}, uint64_t{1}));
  write(4, 8);
  EXPECT_EQ(counts(), std::pair(uint64_t{3}, uint64_t{2})) << "a part of it by each way";
  write(12, 4);
  EXPECT_EQ(counts(), std::pair(uint64_t{4}, uint64_t{2}));
  Outcome read;
  uring->Read(file, 0, in.bytes(), &read);
  Finish(*uring);
  EXPECT_EQ(counts(), std::pair(uint64_t{5}, uint64_t{2}));
  EXPECT_EQ(in, memory);
  uring->Read(file, 8 * kBlock, memory.bytes().first(8 * kBlock), &read);
  Finish(*uring);
  EXPECT_EQ(counts(), std::pair(uint64_t{6}, uint64_t{3}));
  EXPECT_EQ(std::memcmp(memory.bytes().data(), in.bytes().data() + 8 * kBlock, 8 * kBlock), 0);
  uring->Unregister(memory.bytes().first(8 * kBlock));
  EXPECT_EQ(uring->facts().bytes_registered, 0u);
}

// Address space of `bytes` that is the same little memory again and again.
struct Repeated {
  static constexpr size_t kUnit = size_t{2} << 20;
  explicit Repeated(size_t size) : bytes(size) {
    const int fd = memfd_create("mayfly", MFD_CLOEXEC);
    bool good = fd >= 0 && ftruncate(fd, kUnit) == 0;
    data = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    for (size_t at = 0; good && at < bytes; at += kUnit) {
      void* const where = static_cast<uint8_t*>(data) + at;
      good = mmap(where, kUnit, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == where;
    }
    if (!good) std::abort();
    close(fd);
  }
  ~Repeated() { munmap(data, bytes); }
  MutableBytes span() { return {static_cast<uint8_t*>(data), bytes}; }
  const size_t bytes;
  void* data;
};

TEST(LocalDisk, ARegionLongerThanTheKernelTakesIsRegisteredInPieces) {
  if (geteuid() != 0) GTEST_SKIP() << "not root: more than a GiB may hardly be locked";
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  auto* uring = dynamic_cast<UringDisk*>(opened.disk.get());
  if (uring == nullptr) GTEST_SKIP() << opened.warning;
  Repeated memory(UringDisk::kBufferBytesMax + Repeated::kUnit);
  Buffer pattern(Repeated::kUnit), in(32 * kBlock);
  std::memcpy(memory.data, pattern.Pattern(1).bytes().data(), Repeated::kUnit);
  uring->Register(memory.span());
  ASSERT_EQ(uring->regions(), 2u);
  EXPECT_EQ(uring->facts().bytes_registered, memory.bytes);
  const DiskFileId file = *uring->Open("f", {.create = true, .bytes = 32 * kBlock});
  Outcome written, read;
  uring->Write(file, 0, memory.span().subspan(UringDisk::kBufferBytesMax - 16 * kBlock, 32 * kBlock), &written);
  Finish(*uring);
  ASSERT_TRUE(written.status.ok());
  EXPECT_EQ(uring->facts().transfers_registered, 2u) << "one on each side of the border";
  EXPECT_EQ(uring->facts().transfers, 2u);
  uring->Read(file, 0, in.bytes(), &read);
  Finish(*uring);
  ASSERT_TRUE(read.status.ok());
  EXPECT_EQ(std::memcmp(in.bytes().data(), pattern.bytes().data() + Repeated::kUnit - 16 * kBlock, 16 * kBlock), 0);
  EXPECT_EQ(std::memcmp(in.bytes().data() + 16 * kBlock, pattern.bytes().data(), 16 * kBlock), 0);
  uring->Unregister(memory.span());
  EXPECT_EQ(uring->regions(), 0u);
}

// From now on this thread may say how it went and end its process; any other system call ends that at once.
bool ForbidAll() {
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_write, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_exit_group, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
  };
  const sock_fprog program{std::size(code), code};
  return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 && prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

TEST(LocalDisk, AnIdlePollMakesNoSystemCall) {
  for (bool uring : {true, false}) {
    TemporaryDirectory directory;
    const std::string result = InChild([&]() -> std::string {
      LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = uring});
      if (opened.disk == nullptr) return opened.failure.sentence;
      LocalDisk& disk = *opened.disk.release();  // no more calls for its end
      if (const std::string failed = RoundTrip(disk); !failed.empty()) return failed;
      disk.Poll();  // it sees that it does not sleep any more
      if (!ForbidAll()) return "no seccomp";
      bool worked = false;
      for (int i = 0; i < 1000; ++i) worked |= disk.Poll();
      return worked ? "work" : "none";
    });
    if (result == "no seccomp") GTEST_SKIP() << "this kernel lets no process forbid itself system calls";
    EXPECT_EQ(result, "none");
  }
}

TEST(LocalDisk, MayBeHandedToTheThreadThatUsesIt) {
  TemporaryDirectory directory;
  LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  const DiskFileId before = *opened.disk->Open("before", {.create = true, .bytes = kBlock});
  std::string result = "not run";
  std::thread([&] {
    Buffer out(kBlock);
    Outcome flushed;
    opened.disk->Register(out.bytes());
    result = WriteBlock(*opened.disk, before, 0, out.Pattern(1)).ok() ? RoundTrip(*opened.disk) : "write";
    opened.disk->Unregister(out.bytes());
    opened.disk.reset();
  }).join();
  EXPECT_EQ(result, "");
}

// --- sleep ----------------------------------------------------------------------------------------------------------

TEST(LocalDisk, ASleeperIsWokenByACompletionAndByNothingElse) {
  for (bool uring : {true, false}) {
    TemporaryDirectory directory;
    const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = uring});
    LocalDisk& disk = *opened.disk;
    const DiskFileId file = *disk.Open("f", {.create = true, .bytes = kBlock});
    const int event = disk.event_fds()[0];
    const auto readable = [&](int millis) {
      pollfd fd{event, POLLIN, 0};
      return poll(&fd, 1, millis) == 1;
    };
    EXPECT_TRUE(disk.Arm()) << "nothing to wait for";
    EXPECT_FALSE(readable(0));
    for (int i = 0; i < 50; ++i) {
      Outcome outcome;
      disk.Flush(file, &outcome);
      EXPECT_FALSE(disk.Arm()) << "something to submit";
      EXPECT_TRUE(disk.Poll());
      while (outcome.times == 0) {
        if (disk.Arm()) {
          ASSERT_TRUE(readable(60'000));
        }
        disk.Poll();
      }
      EXPECT_FALSE(readable(0)) << "it was seen";
    }
  }
}

// --- directories that will not do -----------------------------------------------------------------------------------

DiskFailure FailureOf(const std::string& path) { return OpenLocalDisk({.directory = {.path = path}}).failure; }

TEST(LocalDisk, AMissingDirectoryOrAFileIsSaid) {
  TemporaryDirectory directory;
  const std::string missing = directory.path + "/missing", file = directory.path + "/file";
  EXPECT_EQ(FailureOf(missing).code, Code::kNoEntry);
  EXPECT_EQ(FailureOf(missing).sentence,
            "cannot keep data in " + missing +
                ": there is no such directory; create it on every node, or name another with --dir");
  std::ofstream(file) << "x";
  EXPECT_EQ(FailureOf(file).code, Code::kNotDirectory);
  EXPECT_EQ(FailureOf(file).sentence, "cannot keep data in " + file + ": it is not a directory; name one with --dir");
}

TEST(LocalDisk, ADirectoryOfSomebodyElseIsSaid) {
  TemporaryDirectory directory;
  ASSERT_EQ(chmod(directory.path.c_str(), 0555), 0);
  EXPECT_EQ(InChild([&]() -> std::string {
              if (geteuid() == 0 && setuid(kNobody) != 0) return "setuid";
              const DiskFailure failure = FailureOf(directory.path);
              return failure.code == Code::kAccess ? failure.sentence : std::string(TextOf(failure.code));
            }),
            "cannot keep data in " + directory.path +
                ": you may not write there; change its permissions, or name another directory with --dir");
}

TEST(LocalDisk, EachCauseHasItsSentence) {
  EXPECT_EQ(DirectoryFailure("/d", EROFS).code, Code::kReadOnly);
  EXPECT_NE(DirectoryFailure("/d", EROFS).sentence.find("mounted read-only"), std::string::npos);
  for (int full : {ENOSPC, EDQUOT}) {
    EXPECT_EQ(DirectoryFailure("/d", full).code, Code::kNoSpace);
    EXPECT_NE(DirectoryFailure("/d", full).sentence.find("full, or your quota is used up"), std::string::npos);
  }
  EXPECT_EQ(DirectoryFailure("/d", EIO).code, Code::kIo);
  EXPECT_NE(DirectoryFailure("/d", EIO).sentence.find("device fails"), std::string::npos);
  EXPECT_NE(DirectoryFailure("/d", ELOOP).sentence.find(std::strerror(ELOOP)), std::string::npos);
}

bool WriteText(const char* path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.close();
  return file.good();
}

// Root of a user namespace of its own, where an ordinary user may mount.
bool BecomeRootForMounts() {
  const uid_t uid = geteuid();
  const gid_t gid = getegid();
  return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && WriteText("/proc/self/setgroups", "deny") &&
         WriteText("/proc/self/uid_map", "0 " + std::to_string(uid) + " 1") &&
         WriteText("/proc/self/gid_map", "0 " + std::to_string(gid) + " 1");
}

// A memory file system of `size` at `at`, seen by this process alone; false where that is not allowed.
bool MountSmall(const std::string& at, const char* size) {
  if (unshare(CLONE_NEWNS) != 0 && !BecomeRootForMounts()) return false;
  mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr);
  return mount("mayfly", at.c_str(), "tmpfs", 0, ("size=" + std::string(size)).c_str()) == 0;
}

TEST(LocalDisk, AFullOrReadOnlyFileSystemIsSaidAndAFullOneSparesWhatIsThere) {
  TemporaryDirectory directory;
  for (bool uring : {true, false}) {
    const std::string result = InChild([&]() -> std::string {
      if (!MountSmall(directory.path, "1m")) return "no mount";
      const auto open = [&] { return OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = uring}); };
      LocalDiskOpened opened = open();
      if (opened.disk == nullptr) return opened.failure.sentence;
      if (!opened.disk->facts().in_memory) return "in_memory";
      if (opened.disk->Open("big", {.create = true, .bytes = 4 << 20}).code() != Code::kNoSpace) return "big";
      if (!opened.disk->List()->empty()) return "leftover";
      const DiskFileId file = *opened.disk->Open("f", {.create = true, .bytes = 200 * kBlock});
      Buffer out(100 * kBlock), in(100 * kBlock);
      if (!WriteBlock(*opened.disk, file, 0, out.Pattern(1)).ok()) return "write";
      if (WriteBlock(*opened.disk, file, 200, out).code() != Code::kNoSpace) return "write to a full one";
      if (!WriteBlock(*opened.disk, file, 100, out).ok()) return "write to what is allocated";
      const DiskFailure full = open().failure;
      if (full.code != Code::kNoSpace || full.sentence.find("full") == std::string::npos) return "full";
      Outcome discarded, read;
      opened.disk->Discard(file, 100 * kBlock, 100 * kBlock, &discarded);
      Finish(*opened.disk);
      if (!open().failure.ok()) return "room again";
      opened.disk->Read(file, 0, in.bytes(), &read);
      Finish(*opened.disk);
      if (!read.status.ok() || !(in == out)) return "read";
      opened.disk.reset();
      if (mount(nullptr, directory.path.c_str(), nullptr, MS_REMOUNT | MS_RDONLY, nullptr) != 0) return "remount";
      const DiskFailure read_only = open().failure;
      if (read_only.code != Code::kReadOnly) return "read-only: " + read_only.sentence;
      LocalDiskOpened tool = OpenLocalDisk({.directory = {.path = directory.path, .read_only = true}});
      const Result<DiskFileId> again = tool.disk->Open("f", {});
      if (!again.ok() || tool.disk->Open("g", {.create = true}).code() != Code::kReadOnly) return "tool";
      return "";
    });
    if (result == "no mount") GTEST_SKIP() << "neither root nor user namespaces: no small file system to fill";
    EXPECT_EQ(result, "");
  }
}

TEST(LocalDisk, AWritePastTheLimitOfFilesFailsAlone) {
  for (bool uring : {true, false}) {
    TemporaryDirectory directory;
    EXPECT_EQ(InChild([&]() -> std::string {
                signal(SIGXFSZ, SIG_IGN);
                const rlimit small{64 * kBlock, 64 * kBlock};
                if (setrlimit(RLIMIT_FSIZE, &small) != 0) return "setrlimit";
                const LocalDiskOpened opened =
                    OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = uring});
                const DiskFileId file = *opened.disk->Open("f", {.create = true, .bytes = 16 * kBlock});
                Buffer out(32 * kBlock);
                if (WriteBlock(*opened.disk, file, 64, out).code() != Code::kFileTooBig) return "past";
                if (WriteBlock(*opened.disk, file, 48, out).code() != Code::kFileTooBig) return "across";
                if (!WriteBlock(*opened.disk, file, 32, out).ok()) return "before";
                return *opened.disk->BytesOf(file) == 64 * kBlock ? "" : "size";
              }),
              "");
  }
}

TEST(LocalDisk, SpecialFilesAndLinksAreNotOpened) {
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  ASSERT_EQ(symlink("/etc/passwd", (directory.path + "/link").c_str()), 0);
  ASSERT_EQ(mkfifo((directory.path + "/pipe").c_str(), 0600), 0);
  ASSERT_EQ(mkdir((directory.path + "/directory").c_str(), 0700), 0);
  EXPECT_EQ(opened.disk->Open("link", {}).code(), Code::kLoop);
  EXPECT_EQ(opened.disk->Open("link", {.create = true}).code(), Code::kExists);
  EXPECT_FALSE(opened.disk->Open("pipe", {.read_only = true}).ok());
  EXPECT_FALSE(opened.disk->Open("directory", {.read_only = true}).ok());
  EXPECT_TRUE(opened.disk->List()->empty()) << "not ours";
}

// D1, asked by somebody else.
TEST(LocalDisk, TellsWhetherAnotherHasAFileOpenToWrite) {
  TemporaryDirectory directory;
  LocalDiskOpened looker =
      OpenLocalDisk({.directory = {.path = directory.path, .read_only = true, .lock_wait = 0}, .try_uring = false});
  EXPECT_EQ(looker.disk->InUse("f").code(), Code::kNoEntry);
  EXPECT_EQ(looker.disk->InUse("../f").code(), Code::kInvalid);
  LocalDiskOpened writer = OpenLocalDisk({.directory = {.path = directory.path, .lock_wait = 0}, .try_uring = false});
  const DiskFileId file = *writer.disk->Open("f", {.create = true, .bytes = kBlock});
  EXPECT_TRUE(*looker.disk->InUse("f"));
  writer.disk->Close(file);
  EXPECT_FALSE(*looker.disk->InUse("f"));
  const DiskFileId read = *looker.disk->Open("f", {.read_only = true});  // a reader has no lock
  EXPECT_FALSE(*looker.disk->InUse("f"));
  EXPECT_TRUE(writer.disk->Open("f", {}).ok());
  looker.disk->Close(read);
}

// --- death ----------------------------------------------------------------------------------------------------------

// K4, D1: what had completed is there, and nothing of the dead process's still lands once the file is open again.
TEST(LocalDisk, AKilledProcessLosesNothingCompletedAndWritesNothingMore) {
  constexpr uint64_t kBlocks = 2048;
  for (bool uring : {true, false}) {
    TemporaryDirectory directory;
    const auto open = [&] { return OpenLocalDisk({.directory = {.path = directory.path}, .try_uring = uring}); };
    StandingChild child([&] {
      static LocalDiskOpened opened = open();
      const DiskFileId file = *opened.disk->Open("f", {.create = true, .bytes = kBlocks * kBlock});
      static Buffer memory(kBlocks * kBlock);
      static std::deque<Outcome> outcomes(kBlocks);
      memory.Pattern(1);
      if (!WriteBlock(*opened.disk, file, 0, memory).ok()) _exit(1);
      std::memset(memory.bytes().data(), 0xff, memory.bytes().size());
      for (uint64_t i = kBlocks / 2; i < kBlocks; ++i) {
        opened.disk->Write(file, i * kBlock, memory.bytes().subspan(i * kBlock, kBlock), &outcomes[i]);
      }
      opened.disk->Poll();  // under way when it is killed
    });
    ASSERT_TRUE(child.ready());
    {
      const LocalDiskOpened other =
          OpenLocalDisk({.directory = {.path = directory.path, .lock_wait = 0}, .try_uring = uring});
      EXPECT_EQ(other.disk->Open("f", {}).code(), Code::kBusy);
    }
    child.Kill();
    const LocalDiskOpened opened = open();
    const Result<DiskFileId> file = opened.disk->Open("f", {});
    ASSERT_TRUE(file.ok()) << TextOf(file.code());
    Buffer expected(kBlocks * kBlock), in(kBlocks * kBlock), later(kBlocks * kBlock);
    expected.Pattern(1);
    Outcome first, second;
    opened.disk->Read(*file, 0, in.bytes(), &first);
    Finish(*opened.disk);
    ASSERT_TRUE(first.status.ok());
    EXPECT_EQ(std::memcmp(in.bytes().data(), expected.bytes().data(), kBlocks / 2 * kBlock), 0);
    ASSERT_TRUE(WriteBlock(*opened.disk, *file, 0, expected).ok());
    opened.disk->Flush(*file, &first);
    opened.disk->Read(*file, 0, later.bytes(), &second);
    Finish(*opened.disk);
    EXPECT_EQ(later, expected);
  }
}

}  // namespace
}  // namespace mayfly
