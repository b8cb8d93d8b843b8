// The rule by which a place in UCX's queue is given up, on a queue of our own making.
#include "adapt/ucx/shared_fifo.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

namespace mayfly {
namespace {

class SharedFifoTest : public testing::TestWithParam<size_t> {
 protected:
  SharedFifoTest() : memory((GetParam() + SharedFifo::kElements * SharedFifo::kElementBytes) / 8 + 1) {
    const auto pid = static_cast<uint32_t>(getpid());
    std::memcpy(at(136), &pid, sizeof pid);
    for (uint32_t i = 0; i < SharedFifo::kElements; ++i) {
      *Element(i) = 1;
      const uint32_t segment_bytes = 4096;
      std::memcpy(Element(i) + 12, &segment_bytes, sizeof segment_bytes);
    }
  }
  uint8_t* at(size_t offset) { return reinterpret_cast<uint8_t*>(memory.data()) + offset; }
  uint8_t* Element(uint64_t slot) { return at(GetParam() + slot % SharedFifo::kElements * SharedFifo::kElementBytes); }
  bool IsNew() {
    size_t header_bytes = 0;
    const bool is = SharedFifo::IsNew(memory.data(), memory.size() * 8, &header_bytes);
    EXPECT_EQ(header_bytes, is ? GetParam() : 0);
    return is;
  }
  // As UCX does: a sender writes the place that it took.
  void Write(uint64_t slot) { *Element(slot) = slot / SharedFifo::kElements % 2 | 2; }
  bool IsWritten(uint64_t slot) { return (*Element(slot) & 1) == slot / SharedFifo::kElements % 2; }
  // As UCX does: the receiver took all before `slot`.
  void Read(uint64_t slot) { std::memcpy(at(128), &slot, sizeof slot); }
  // How many checks it takes until a place is given up; `most` if none is.
  int ChecksUntilSkipped(uint64_t deaths, int most) {
    for (int i = 1; i < most; ++i) {
      if (fifo.Check(deaths)) return i;
    }
    return most;
  }

  std::vector<uint64_t> memory;
  SharedFifo fifo{memory.data(), GetParam()};
};

TEST_P(SharedFifoTest, OnlyANewOneOfThisProcessIsTaken) {
  EXPECT_TRUE(IsNew());
  for (size_t offset : {size_t{0}, size_t{128}, size_t{136}, GetParam(), GetParam() + 63 * 128}) {
    *at(offset) ^= 2;
    EXPECT_FALSE(IsNew()) << offset;
    *at(offset) ^= 2;
  }
  *at(7) = 0x80;  // its receiver sleeps
  EXPECT_TRUE(IsNew());
  size_t header_bytes;
  EXPECT_FALSE(SharedFifo::IsNew(memory.data(), 4096, &header_bytes));
}

TEST_P(SharedFifoTest, ASlotThatIsNeverWrittenIsSkippedSoonerAfterADeath) {
  EXPECT_EQ(ChecksUntilSkipped(3, 1000), 1000) << "nobody sent anything";
  for (uint64_t slot = 0; slot < 200; ++slot) {  // in each round of the owner bit
    SCOPED_TRACE(slot);
    fifo.TakeSlot();
    fifo.TakeSlot();
    Write(slot + 1);
    const bool died = slot % 2 == 0;
    EXPECT_EQ(ChecksUntilSkipped(died ? 100 + slot : 100 + slot - 1, 10'000),
              died ? SharedFifo::kChecksAfterDeath : SharedFifo::kChecks);
    EXPECT_TRUE(IsWritten(slot));
    EXPECT_TRUE(IsWritten(slot + 1));
    EXPECT_FALSE(fifo.Check(100 + slot));
    ++slot;
    Read(slot + 1);
    fifo.Check(100 + slot);
  }
}

TEST_P(SharedFifoTest, OneThatIsWrittenInTimeIsLeftAlone) {
  for (uint64_t slot = 0; slot < 150; ++slot) {
    fifo.TakeSlot();
    fifo.TakeSlot();
    Write(slot + 1);
    EXPECT_EQ(ChecksUntilSkipped(slot, SharedFifo::kChecksAfterDeath), SharedFifo::kChecksAfterDeath);
    Write(slot);
    const uint8_t flags = *Element(slot);
    EXPECT_EQ(ChecksUntilSkipped(slot, 1000), 1000);
    EXPECT_EQ(*Element(slot), flags);
    ++slot;
    Read(slot + 1);
  }
}

TEST_P(SharedFifoTest, OneDeathMayHaveLeftSeveral) {
  for (int i = 0; i < 3; ++i) fifo.TakeSlot();
  for (uint64_t slot = 0; slot < 3; ++slot) {
    EXPECT_EQ(ChecksUntilSkipped(1, 10'000), SharedFifo::kChecksAfterDeath) << slot;
    EXPECT_TRUE(IsWritten(slot));
  }
}

TEST_P(SharedFifoTest, AReceiverThatSleepsIsWokenForWhoWasKilledBefore) {
  EXPECT_TRUE(fifo.WillWake()) << "it has never slept: nobody owes it anything";
  const int receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
  sockaddr_un where{AF_UNIX, {}};
  socklen_t bytes = sizeof where;
  ASSERT_EQ(bind(receiver, reinterpret_cast<const sockaddr*>(&where), sizeof where.sun_family), 0);
  ASSERT_EQ(getsockname(receiver, reinterpret_cast<sockaddr*>(&where), &bytes), 0);
  std::memcpy(at(8), &bytes, sizeof bytes);
  std::memcpy(at(12), &where, bytes);
  *at(7) = 0x80;  // it sleeps
  EXPECT_TRUE(fifo.WillWake());
  fifo.TakeSlot(true);
  EXPECT_FALSE(fifo.WillWake());
  EXPECT_FALSE(fifo.Check(0)) << "it is written";
  char byte;
  EXPECT_EQ(recv(receiver, &byte, 1, 0), -1);
  fifo.Wake();
  EXPECT_EQ(recv(receiver, &byte, 1, 0), 1);
  for (int i = 0; i < 10'000; ++i) fifo.Wake();  // nobody listens: no wait
  close(receiver);
  fifo.Wake();
}

// As UCX sees it in a sender: the queues of processes that are dead, mapped here.
TEST_P(SharedFifoTest, TheQueuesOfTheDeadAreEmptied) {
  constexpr size_t kBytes = 12288;
  constexpr uint32_t kDead = 0x7ffffff0, kOther = kDead + 1, kLiving = kDead + 2;  // no process has such numbers
  const uint64_t head = 200, tail = 160;
  const auto tail_of = [](const uint8_t* mapped) {
    uint64_t now;
    std::memcpy(&now, mapped + 128, sizeof now);
    return now;
  };
  std::memcpy(at(0), &head, sizeof head);
  Read(tail);
  std::vector<uint8_t*> queues;
  for (const uint32_t pid : {kDead, kDead, kOther, kLiving}) {
    void* const mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(mapped, MAP_FAILED);
    std::memcpy(at(136), &pid, sizeof pid);
    std::memcpy(mapped, memory.data(), memory.size() * 8);
    queues.push_back(static_cast<uint8_t*>(mapped));
  }
  using Pids = std::set<uint32_t>;
  EXPECT_EQ(SharedFifo::Drain({kDead + 7}), Pids());
  for (const uint8_t* queue : queues) EXPECT_EQ(tail_of(queue), tail);
  EXPECT_EQ(SharedFifo::Drain({kDead, kDead + 7, kOther}), Pids({kDead, kOther}));
  for (const int i : {0, 1, 2}) EXPECT_EQ(tail_of(queues[i]), head);
  EXPECT_EQ(tail_of(queues[3]), tail);
  for (uint8_t* queue : queues) munmap(queue, kBytes);
  EXPECT_EQ(SharedFifo::Drain({kDead, kOther}), Pids());
}

// UCX unmaps its peers' queues in other threads while this one looks for them.
TEST_P(SharedFifoTest, WhatIsUnmappedMeanwhileIsNotRead) {
  constexpr size_t kBytes = 12288;
  std::atomic<bool> stop = false;
  std::thread other([&] {
    while (!stop) {
      void* mapped[32];
      for (void*& m : mapped) m = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
      for (void* m : mapped) munmap(m, kBytes);
    }
  });
  const SharedFifoFinder finder;
  for (int i = 0; i < 2000; ++i) {
    EXPECT_TRUE(finder.Find().empty());
    EXPECT_TRUE(SharedFifo::Drain({0x7ffffff0}).empty());
  }
  stop = true;
  other.join();
}

TEST_P(SharedFifoTest, WhatWasFoundStaysMapped) {
  constexpr size_t kBytes = 12288;
  const SharedFifoFinder finder;
  void* mapped = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(mapped, MAP_FAILED);
  std::memcpy(mapped, memory.data(), memory.size() * 8);
  std::vector<SharedFifo> found = finder.Find();
  ASSERT_EQ(found.size(), 1);
  found[0].TakeSlot();
  EXPECT_EQ(static_cast<uint64_t*>(mapped)[0], 1) << "it is another memory";
  munmap(mapped, kBytes);
  int checks = 1;
  while (!found[0].Check(1)) ++checks;
  EXPECT_EQ(checks, SharedFifo::kChecksAfterDeath);
}

INSTANTIATE_TEST_SUITE_P(All, SharedFifoTest, testing::Values(192, 256));

}  // namespace
}  // namespace mayfly
