// The queues of shared memory in which UCX receives from the processes of its host, mended after one of those was
// killed while it wrote.
// All senders of a host share one FIFO a receiver and transport: each takes the next slot (by the head), fills it, and
// marks it written by its owner bit. A sender that is killed between the two leaves a slot that will never be written,
// UCX waits for it for ever, and everything that anybody on the host sends us stands behind it. Nothing in UCX notices
// (up to 1.20; source: uct/sm/mm/base/mm_ep.c, uct_mm_ep_am_common_send). Here a slot that stays unwritten
// for far longer than a living sender takes is marked as a message that UCX drops.
// A receiver that sleeps has set a bit of the head; who takes it away with its slot owes a datagram once it has
// written, and the next senders owe none. One that is killed before leaves a receiver that sleeps on, whoever speaks to
// it. And UCX lets its owner sleep with such a queue if there is no endpoint over it (it waits for a datagram then, in
// a thread of its own, or tries again when the worker is progressed; source: ucp/core/ucp_worker.c,
// ucp_worker_iface_check_events): the last process of a host that was killed made a server deaf for minutes.
// And the other way round: what was sent to a process that has ended, and stands before its full FIFO, waits there for
// ever, and keeps the worker from sleeping.
// The layout is UCX's own affair (the same from 1.13 to 1.20): a FIFO that does not look as expected, to the last
// element, when it is new is not found, and left alone.
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <utility>
#include <vector>

namespace mayfly {

// A second mapping of shared memory that is mapped somewhere in this process. UCX and other libraries unmap theirs in
// other threads at any time; this one stays as long as the object.
class SecondMapping {
 public:
  SecondMapping() = default;
  SecondMapping(uintptr_t address, size_t bytes);  // null if nothing shared is mapped there (any more)
  SecondMapping(SecondMapping&& other) noexcept;
  SecondMapping& operator=(SecondMapping&& other) noexcept;
  ~SecondMapping();
  uint8_t* get() const { return memory_; }
  size_t bytes() const { return bytes_; }

 private:
  uint8_t* memory_ = nullptr;
  size_t bytes_ = 0;
};

class SharedFifo {
 public:
  static constexpr uint32_t kElements = 64, kElementBytes = 128;  // what UcxWorker sets

  // `memory`: a FIFO of this process, new or used; `header_bytes` before its elements.
  SharedFifo(void* memory, size_t header_bytes);
  SharedFifo(SecondMapping mapping, size_t header_bytes);

  // True if `bytes` at `memory` are a FIFO that this process receives by, and nobody has sent to yet; then with the
  // bytes before its elements.
  static bool IsNew(const void* memory, size_t bytes, size_t* header_bytes);

  // What processes that are dead had not read yet counts as read, in all FIFOs of them that are mapped here: what waits
  // for room there can go, and UCX can let go of it. Those of whom one is mapped. One walk over this process's
  // mappings, a millisecond or so where there are hundreds, however many are asked for.
  static std::set<uint32_t> Drain(const std::set<uint32_t>& dead);

  // To be called every 20 ms. `deaths`: how many processes of this host are known to have ended, ever.
  // True if it skipped a slot.
  bool Check(uint64_t deaths);
  // Whether whoever sends next wakes a receiver that sleeps. False for a moment is usual: somebody is about to.
  bool WillWake();
  // The datagram that somebody owed.
  void Wake() const;
  // Takes the next slot as a sender does that is killed before it writes, or (`writes`) before its datagram. For tests.
  void TakeSlot(bool writes = false);

  // A living sender needs a microsecond for a slot, and some scheduling rounds if it loses its core meanwhile. Counted
  // in checks, not in time: a job that was suspended as a whole goes on as if nothing had been.
  static constexpr int kChecksAfterDeath = 50;
  static constexpr int kChecks = 500;  // nobody is known to have ended: perhaps one that we never met

 private:
  uint8_t* element(uint64_t slot) const { return memory_ + header_bytes_ + slot % kElements * kElementBytes; }
  static constexpr uint64_t kNone = ~uint64_t{0};
  // Makes it a message that UCX drops.
  void Fill(uint64_t slot);
  // The first slot that was taken and is not written; kNone if there is none.
  uint64_t FirstUnwritten() const;

  SecondMapping mapping_;
  uint8_t* memory_;
  size_t header_bytes_;
  uint64_t waiting_for_ = kNone;  // a slot
  int checks_ = 0;                // that saw it unwritten
  uint64_t deaths_before_ = 0;    // when it was not waited for yet
  bool has_slept_ = false;        // its receiver sets the bit
};

// Finds the FIFOs that came into being in this process while it lives: those of one worker, if no other thread makes
// one at the same time.
class SharedFifoFinder {
 public:
  SharedFifoFinder();
  std::vector<SharedFifo> Find() const;

 private:
  std::set<uintptr_t> before_;
};

}  // namespace mayfly
