// A local disk on io_uring: what was asked for since the last Poll goes to the kernel in one system call, and without
// one what has ended is found in the ring. No thread of ours, no SQPOLL (it starves nodes of few cores).
// Invariants  U1  at most kEntries requests are in the ring, so its completion queue never overflows; the rest waits in
//                 the order in which it came.
//             U2  the eventfd is silent but between an Arm that said true and the next Poll.
//             U3  the ring is enabled at the first submission, and by it belongs to that thread (SINGLE_ISSUER).
#pragma once

#include <liburing.h>

#include <deque>
#include <memory>
#include <vector>

#include "adapt/local_disk.h"

namespace mayfly {

class UringDisk final : public LocalDisk {
 public:
  static constexpr uint32_t kEntries = 256;

  // Takes `place`; null, with an errno in `error` and the place untouched, if io_uring cannot be had. `warns`:
  // says it, once, if memory may not be locked.
  static std::unique_ptr<UringDisk> Make(std::unique_ptr<DiskPlace>& place, int* error, bool warns);
  UringDisk(const UringDisk&) = delete;
  UringDisk& operator=(const UringDisk&) = delete;
  // Waits for what is in the ring.
  ~UringDisk() override;

  Facts facts() const override;
  bool Poll() override;
  void Register(MutableBytes region) override;
  void Unregister(MutableBytes region) override;
  std::span<const int> event_fds() override { return {&event_, 1}; }
  bool Arm() override;

  // How many pieces of memory are registered; each of kBufferBytesMax at most.
  size_t regions() const { return regions_.size(); }
  static constexpr size_t kBufferBytesMax = size_t{1} << 30;  // the kernel's limit

 private:
  struct Ring {
    io_uring ring{};
    bool deferred = false;  // it is still disabled, and its completions wait for a call
  };
  struct Region {
    const uint8_t* begin;
    size_t bytes;
    uint16_t slot;
  };

  UringDisk(std::unique_ptr<DiskPlace> place, const Ring& ring, int event, bool warns);
  static int SetUp(Ring* ring);
  void Start(const DiskOp& op) override;
  void OnFile(uint32_t index, int fd) override;
  void Enable();
  bool Submit();
  bool Reap();
  void Prepare(io_uring_sqe* sqe, uint32_t slot);
  // Where the memory at `data` is registered; null: nowhere.
  const Region* RegionOf(const uint8_t* data) const;
  bool RegisterPiece(MutableBytes piece);
  void Disarm();

  io_uring ring_;
  int event_;
  bool deferred_;
  bool enabled_;
  bool armed_ = false;
  bool files_registered_ = false;
  std::vector<bool> file_is_registered_ = std::vector<bool>(kFilesMax);

  std::vector<DiskOp> ops_;
  std::vector<uint32_t> free_;    // of ops_
  std::deque<uint32_t> waiting_;  // for a place in the ring
  uint32_t in_ring_ = 0;          // U1

  std::vector<Region> regions_;  // sorted by address, disjoint
  std::vector<uint16_t> free_buffers_;
  bool buffers_tried_ = false;
  bool warns_;                   // when memory may not be locked
  size_t refused_ = ~size_t{0};  // pieces of so many bytes may not: they are pinned first, and counted then
  uint64_t bytes_registered_ = 0;
  uint64_t transfers_ = 0, transfers_registered_ = 0;
};

}  // namespace mayfly
