// What a UringDisk asks of the kernel: a filter traps its system calls, and what handles the trap looks at each, makes
// it or has it fail. In processes of their own, as a filter stays for good.
#include "adapt/uring/uring_disk.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <ucontext.h>

#include <deque>
#include <fstream>
#include <iterator>
#include <vector>

#include "adapt/posix/clock.h"
#include "adapt/posix/idle.h"
#include "disk_testing.h"

namespace mayfly {
namespace {

constexpr uint64_t kBlock = Disk::kBlockBytes;

// What happened to the calls of io_uring since Watch.
struct Watched {
  std::vector<uint32_t> ways;         // flags of each set-up
  std::vector<uint32_t> submissions;  // how many requests each gave the kernel, or was to
  uint32_t no_ways = 0;               // set-ups with one of these flags fail, as in an older kernel
  std::deque<int> errors;             // of the submissions that come: an errno; 0 makes it, negative in part
};
Watched* watched = nullptr;

#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
constexpr uint32_t kOurs = 0x6d617966;  // in an argument that the call does not look at: let through

long Make(const greg_t* regs) {
  const long result = syscall(regs[REG_RAX], regs[REG_RDI], regs[REG_RSI], regs[REG_RDX], regs[REG_R10], regs[REG_R8],
                              static_cast<long>(kOurs));
  return result < 0 ? -errno : result;
}

long Setup(const greg_t* regs) {
  const uint32_t way = reinterpret_cast<const io_uring_params*>(regs[REG_RSI])->flags;
  watched->ways.push_back(way);
  return (way & watched->no_ways) != 0 ? -EINVAL : Make(regs);
}

long Enter(greg_t* regs) {
  const auto requests = static_cast<uint32_t>(regs[REG_RSI]);
  if (requests == 0) return Make(regs);  // for completions
  watched->submissions.push_back(requests);
  int error = 0;
  if (!watched->errors.empty()) {
    error = watched->errors.front();
    watched->errors.pop_front();
  }
  if (error > 0) return -error;
  if (error < 0) regs[REG_RSI] = (requests + 1) / 2;
  return Make(regs);
}

void OnTrap(int, siginfo_t* info, void* context) {
  const int before = errno;
  greg_t* const regs = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  regs[REG_RAX] = info->si_syscall;
  regs[REG_RAX] = info->si_syscall == __NR_io_uring_setup ? Setup(regs) : Enter(regs);
  errno = before;
}

bool Watch(Watched* into) {
  watched = into;
  struct sigaction action {};
  action.sa_sigaction = OnTrap;
  action.sa_flags = SA_SIGINFO;
  sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_enter, 1, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_io_uring_setup, 0, 2),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, args[5])),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kOurs, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
  };
  const sock_fprog program{std::size(code), code};
  return sigaction(SIGSYS, &action, nullptr) == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}
#else
bool Watch(Watched*) { return false; }
#endif

constexpr const char* kNotHere = "not here";
// What `work` says of a disk in `directory`, whose calls it watches; kNotHere where that cannot be.
std::string InWatchedChild(const std::function<std::string(UringDisk&, Watched&)>& work, uint32_t no_ways = 0) {
  TemporaryDirectory directory;
  return InChild([&]() -> std::string {
    Watched seen;
    seen.no_ways = no_ways;
    if (!Watch(&seen)) return kNotHere;
    LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
    auto* uring = dynamic_cast<UringDisk*>(opened.disk.get());
    if (uring == nullptr) return opened.warning.find("forbidden") != std::string::npos ? kNotHere : opened.warning;
    return work(*uring, seen);
  });
}

#define SKIP_WHERE_NOT_HERE(result) \
  if (result == kNotHere) GTEST_SKIP() << "no io_uring here, or nothing that watches its calls"

// One block each, written under way together.
struct Writes {
  Writes(LocalDisk& disk, uint32_t count) {
    file = *disk.Open("f", {.create = true, .bytes = count * kBlock});
    for (uint32_t i = 0; i < count; ++i) {
      buffers.emplace_back(kBlock).Pattern(i);
      disk.Write(file, i * kBlock, buffers.back().bytes(), &outcomes.emplace_back());
    }
  }
  // What is not as it should be.
  std::string Differs(LocalDisk& disk) {
    for (const Outcome& outcome : outcomes) {
      if (outcome.times != 1) return "a write ended " + std::to_string(outcome.times) + " times";
      if (!outcome.status.ok()) return "a write failed: " + std::string(TextOf(outcome.status.code()));
    }
    return buffers.size() * kBlock == BytesAsWritten(disk.facts().directory) ? "" : "not what was written";
  }
  // How many bytes of the file are those that were written, up to the first that is not.
  uint64_t BytesAsWritten(const std::string& directory) {
    std::ifstream in(directory + "/f", std::ios::binary);
    Buffer found(kBlock);
    uint64_t bytes = 0;
    for (Buffer& buffer : buffers) {
      if (!in.read(reinterpret_cast<char*>(found.bytes().data()), kBlock) || !(found == buffer)) break;
      bytes += kBlock;
    }
    return bytes;
  }
  DiskFileId file;
  std::deque<Buffer> buffers;
  std::deque<Outcome> outcomes;
};

void Finish(LocalDisk& disk) {
  PosixIdle idle;
  idle.Add(&disk);
  while (disk.pending() != 0) {
    if (!disk.Poll()) idle.Sleep(PosixClock().Now() + 60 * kSecond);
  }
}

std::string Listed(const std::vector<uint32_t>& numbers) {
  std::string text;
  for (uint32_t number : numbers) text += (text.empty() ? "" : " ") + std::to_string(number);
  return text;
}

TEST(UringDisk, TheBatchOfATurnIsOneSystemCall) {
  const std::string result = InWatchedChild([](UringDisk& disk, Watched& seen) -> std::string {
    seen.submissions.clear();
    Writes writes(disk, 100);
    Outcome read, flushed;
    Buffer into(kBlock);
    disk.Flush(writes.file, &flushed);
    if (!seen.submissions.empty()) return "it does not wait for the turn's end";
    disk.Poll();
    if (Listed(seen.submissions) != "101") return "calls for 101 requests: " + Listed(seen.submissions);
    Finish(disk);
    if (seen.submissions.size() != 1) return "more calls later: " + Listed(seen.submissions);
    // More than the ring holds.
    seen.submissions.clear();
    std::deque<Outcome> reads;
    std::deque<Buffer> buffers;
    for (uint32_t i = 0; i < UringDisk::kEntries + 44; ++i) {
      disk.Read(writes.file, i % 100 * kBlock, buffers.emplace_back(kBlock).bytes(), &reads.emplace_back());
    }
    disk.Poll();
    if (Listed(seen.submissions) != "256") return "calls for a full ring: " + Listed(seen.submissions);
    Finish(disk);
    for (size_t i = 0; i < reads.size(); ++i) {
      if (reads[i].times != 1 || !reads[i].status.ok() || !(buffers[i] == writes.buffers[i % 100])) return "a read";
    }
    return writes.Differs(disk);
  });
  SKIP_WHERE_NOT_HERE(result);
  EXPECT_EQ(result, "");
}

TEST(UringDisk, WhatTheKernelHasNoRoomForIsAskedForAgain) {
  for (int error : {EAGAIN, EBUSY, ENOMEM, EINTR, -1 /* half of it */}) {
    const std::string result = InWatchedChild([&](UringDisk& disk, Watched& seen) -> std::string {
      seen.submissions.clear();
      seen.errors.assign(5, error);
      Writes writes(disk, 40);
      disk.Poll();
      if (seen.submissions.size() != 1) return "calls: " + Listed(seen.submissions);
      if (disk.pending() == 0) return "nothing is pending";
      if (error > 0 && disk.Arm()) return "it would sleep with requests that the kernel does not have";
      Finish(disk);
      if (error > 0 && Listed(seen.submissions) != "40 40 40 40 40 40") return "calls: " + Listed(seen.submissions);
      if (error < 0 && !Listed(seen.submissions).starts_with("40 20 10")) return "calls: " + Listed(seen.submissions);
      return writes.Differs(disk);
    });
    SKIP_WHERE_NOT_HERE(result);
    EXPECT_EQ(result, "") << error;
  }
}

// Else the kernel would read and write memory that is somebody else's by then.
TEST(UringDisk, EndsAfterWhatIsInItsRingHoweverOftenTheKernelHasNoRoom) {
  for (int error : {EAGAIN, EBUSY, ENOMEM, EINTR}) {
    TemporaryDirectory directory;
    const std::string result = InChild([&]() -> std::string {
      Watched seen;
      if (!Watch(&seen)) return kNotHere;
      LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
      if (dynamic_cast<UringDisk*>(opened.disk.get()) == nullptr) return kNotHere;
      seen.errors.assign(4, error);
      Writes writes(*opened.disk, 40);
      opened.disk->Poll();
      opened.disk.reset();
      if (!seen.errors.empty()) return "it did not ask again";
      return writes.BytesAsWritten(directory.path) == 40 * kBlock ? "" : "it did not wait";
    });
    SKIP_WHERE_NOT_HERE(result);
    EXPECT_EQ(result, "") << error;
  }
}

// An older kernel refuses the flags that it does not know.
TEST(UringDisk, IsSetUpInTheNewestWayThatTheKernelKnows) {
  constexpr uint32_t kNewest = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
                               IORING_SETUP_R_DISABLED | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP;
  constexpr uint32_t kOlder =
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP;
  constexpr uint32_t kOldest = IORING_SETUP_CLAMP;
  struct Case {
    uint32_t no_ways;
    std::vector<uint32_t> ways;
  };
  const Case cases[] = {{0, {kNewest}},
                        {IORING_SETUP_DEFER_TASKRUN, {kNewest, kOlder}},
                        {IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_COOP_TASKRUN, {kNewest, kOlder, kOldest}}};
  for (const Case& one : cases) {
    const std::string result = InWatchedChild(
        [&](UringDisk& disk, Watched& seen) -> std::string {
          // A real kernel may be an older one than it is played to be.
          std::vector<uint32_t> begin = seen.ways;
          if (begin.size() > one.ways.size()) begin.resize(one.ways.size());
          if (begin != one.ways) return "it was set up by " + Listed(seen.ways);
          Writes writes(disk, 10);
          Finish(disk);
          return writes.Differs(disk);
        },
        one.no_ways);
    SKIP_WHERE_NOT_HERE(result);
    EXPECT_EQ(result, "") << one.no_ways;
  }
}

// The kernel has the file itself, and does not look its number up for each request: another file that gets that number
// gets nothing.
TEST(UringDisk, GoesByRegisteredFiles) {
  TemporaryDirectory directory;
  const LocalDiskOpened opened = OpenLocalDisk({.directory = {.path = directory.path}});
  auto* disk = dynamic_cast<UringDisk*>(opened.disk.get());
  if (disk == nullptr) GTEST_SKIP() << opened.warning;
  Writes writes(*disk, 3);
  Finish(*disk);
  const std::string other = directory.path + "/other";
  const int fd = open(other.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  ASSERT_GE(fd, 0);
  int replaced = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code ignored;
    if (std::filesystem::read_symlink(entry.path(), ignored) != directory.path + "/f") continue;
    replaced += dup2(fd, std::stoi(entry.path().filename())) >= 0;
  }
  close(fd);
  ASSERT_EQ(replaced, 1);
  Outcome written, read, flushed;
  Buffer in(kBlock);
  disk->Write(writes.file, kBlock, writes.buffers[1].Pattern(99).bytes(), &written);
  Finish(*disk);
  disk->Read(writes.file, kBlock, in.bytes(), &read);
  disk->Flush(writes.file, &flushed);
  Finish(*disk);
  EXPECT_TRUE(written.status.ok() && read.status.ok() && flushed.status.ok());
  EXPECT_TRUE(in == writes.buffers[1]);
  EXPECT_EQ(writes.Differs(*disk), "");
  EXPECT_EQ(std::filesystem::file_size(other), 0u);
}

}  // namespace
}  // namespace mayfly
