#include "adapt/uring/uring_disk.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/log.h"

namespace mayfly {

namespace {

constexpr uint16_t kBuffers = 4096;  // 256 GiB of an arena's usual segments; 16 bytes of the kernel's memory each

bool CanDoAll(io_uring* ring) {
  io_uring_probe* probe = io_uring_get_probe_ring(ring);
  if (probe == nullptr) return false;
  bool all = true;
  for (int op : {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_FSYNC,
                 IORING_OP_FALLOCATE}) {
    all &= io_uring_opcode_supported(probe, op) != 0;
  }
  io_uring_free_probe(probe);
  return all;
}

// Work of completions waits for us in the kernel, or completions that found no room.
bool KernelHasMore(const io_uring& ring) {
  return (IO_URING_READ_ONCE(*ring.sq.kflags) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

// The kernel is short of memory for the moment, or was interrupted.
bool IsForNow(int error) { return error == EAGAIN || error == EBUSY || error == EINTR || error == ENOMEM; }

}  // namespace

// The newest way that the kernel knows; an errno if it knows none.
int UringDisk::SetUp(Ring* ring) {
  constexpr uint32_t kAlways = IORING_SETUP_CLAMP;
  const uint32_t ways[] = {
      IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_R_DISABLED |
          IORING_SETUP_SUBMIT_ALL,                                                      // 6.1
      IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,  // 5.19
      0,
  };
  int error = ENOSYS;
  for (uint32_t way : ways) {
    io_uring_params params{};
    params.flags = way | kAlways;
    error = -io_uring_queue_init_params(kEntries, &ring->ring, &params);
    if (error == EINVAL) continue;
    if (error != 0) return error;
    ring->deferred = (way & IORING_SETUP_DEFER_TASKRUN) != 0;
    if (CanDoAll(&ring->ring)) return 0;
    io_uring_queue_exit(&ring->ring);
    return EOPNOTSUPP;
  }
  return error;
}

std::unique_ptr<UringDisk> UringDisk::Make(std::unique_ptr<DiskPlace>& place, int* error, bool warns) {
  Ring ring;
  *error = SetUp(&ring);
  if (*error != 0) return nullptr;
  const int event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (event < 0) *error = errno;
  if (*error == 0) *error = -io_uring_register_eventfd(&ring.ring, event);
  if (*error == 0) *error = -io_uring_cq_eventfd_toggle(&ring.ring, false);
  if (*error == 0) return std::unique_ptr<UringDisk>(new UringDisk(std::move(place), ring, event, warns));
  io_uring_queue_exit(&ring.ring);
  if (event >= 0) close(event);
  return nullptr;
}

UringDisk::UringDisk(std::unique_ptr<DiskPlace> place, const Ring& ring, int event, bool warns)
    : LocalDisk(std::move(place)),
      ring_(ring.ring),
      event_(event),
      deferred_(ring.deferred),
      enabled_(!ring.deferred),
      warns_(warns) {
  const std::vector<int> none(kFilesMax, -1);
  files_registered_ = io_uring_register_files(&ring_, none.data(), kFilesMax) == 0;
}

UringDisk::~UringDisk() {
  // The kernel may still write to memory that is then somebody else's (K7).
  while (in_ring_ > 0) {
    io_uring_cqe* cqe = nullptr;
    const int error = -io_uring_submit_and_wait(&ring_, 1);
    if (error > 0 && !IsForNow(error)) break;
    while (io_uring_peek_cqe(&ring_, &cqe) == 0) {
      io_uring_cqe_seen(&ring_, cqe);
      --in_ring_;
    }
  }
  // Now rather than when the kernel gets to it: the file system is free to be unmounted afterwards.
  if (files_registered_) io_uring_unregister_files(&ring_);
  io_uring_queue_exit(&ring_);
  close(event_);
}

Disk::Facts UringDisk::facts() const {
  Facts facts = LocalDisk::facts();
  facts.how = std::string("io_uring") + HowMoved(facts);
  facts.bytes_registered = bytes_registered_;
  facts.transfers = transfers_;
  facts.transfers_registered = transfers_registered_;
  return facts;
}

void UringDisk::OnFile(uint32_t index, int fd) {
  if (!files_registered_) return;
  file_is_registered_[index] = io_uring_register_files_update(&ring_, index, &fd, 1) == 1 && fd >= 0;
}

void UringDisk::Start(const DiskOp& op) {
  uint32_t slot = static_cast<uint32_t>(ops_.size());
  if (free_.empty()) {
    ops_.push_back(op);
  } else {
    slot = free_.back();
    free_.pop_back();
    ops_[slot] = op;
  }
  waiting_.push_back(slot);
}

bool UringDisk::Poll() {
  if (armed_) Disarm();
  if (pending() == 0) return false;  // L1
  const bool refused = EndRefused();
  const bool submitted = Submit();
  const bool reaped = Reap();
  return refused || submitted || reaped;
}

void UringDisk::Enable() {
  // liburing 2.3 declares io_uring_enable_rings and does not export it.
  MAYFLY_CHECK(syscall(__NR_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0) == 0);
  enabled_ = true;  // U3
}

bool UringDisk::Submit() {
  while (!waiting_.empty() && in_ring_ < kEntries) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_);
    if (sqe == nullptr) break;
    Prepare(sqe, waiting_.front());
    waiting_.pop_front();
    ++in_ring_;
  }
  if (io_uring_sq_ready(&ring_) == 0) return false;
  if (!enabled_) Enable();
  const int submitted = io_uring_submit(&ring_);
  if (submitted < 0) MAYFLY_CHECK(IsForNow(-submitted));  // the next Poll tries again
  return true;
}

void UringDisk::Prepare(io_uring_sqe* sqe, uint32_t slot) {
  DiskOp& op = ops_[slot];
  const bool registered = file_is_registered_[op.file];
  const int fd = registered ? static_cast<int>(op.file) : op.fd;
  const Region* region = op.plain ? nullptr : RegionOf(op.data);
  op.fixed = region != nullptr;
  uint32_t bytes = op.call_bytes();
  if (op.fixed) {
    // What lies behind the region's end, in the next one perhaps, is the next call's.
    bytes =
        static_cast<uint32_t>(std::min<size_t>(bytes, region->bytes - static_cast<size_t>(op.data - region->begin)));
  }
  if (op.data != nullptr) ++transfers_;
  if (op.fixed) ++transfers_registered_;
  switch (op.kind) {
    case DiskOp::Kind::kRead:
      if (op.fixed) io_uring_prep_read_fixed(sqe, fd, op.data, bytes, op.call_offset(), region->slot);
      if (!op.fixed) io_uring_prep_read(sqe, fd, op.data, bytes, op.call_offset());
      break;
    case DiskOp::Kind::kWrite:
    case DiskOp::Kind::kWriteThrough:
      if (op.fixed) io_uring_prep_write_fixed(sqe, fd, op.data, bytes, op.call_offset(), region->slot);
      if (!op.fixed) io_uring_prep_write(sqe, fd, op.data, bytes, op.call_offset());
      if (op.kind == DiskOp::Kind::kWriteThrough) sqe->rw_flags = RWF_DSYNC;
      break;
    case DiskOp::Kind::kFlush:
      io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
      break;
    case DiskOp::Kind::kDiscard:
      io_uring_prep_fallocate(sqe, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(op.call_offset()),
                              static_cast<off_t>(op.discard_bytes()));
      break;
  }
  if (registered) sqe->flags |= IOSQE_FIXED_FILE;
  io_uring_sqe_set_data64(sqe, slot);
}

bool UringDisk::Reap() {
  constexpr unsigned kBatch = 64;
  struct {
    uint32_t slot;
    int result;
  } ended[kBatch];
  bool any = false;
  unsigned count = kBatch;
  while (count == kBatch) {
    io_uring_cqe* cqes[kBatch];
    count = io_uring_peek_batch_cqe(&ring_, cqes, kBatch);  // calls the kernel only if KernelHasMore
    for (unsigned i = 0; i < count; ++i) ended[i] = {static_cast<uint32_t>(cqes[i]->user_data), cqes[i]->res};
    io_uring_cq_advance(&ring_, count);
    in_ring_ -= count;
    any |= count != 0;
    for (unsigned i = 0; i < count; ++i) {
      DiskOp op = ops_[ended[i].slot];  // a completion may ask for more, which moves ops_
      if (op.Advance(ended[i].result)) {
        ops_[ended[i].slot] = op;
        waiting_.push_back(ended[i].slot);
        continue;
      }
      free_.push_back(ended[i].slot);
      Ended(op);
    }
  }
  return any;
}

bool UringDisk::Arm() {
  if (!waiting_.empty() || has_refused() || io_uring_sq_ready(&ring_) != 0) return false;
  if (pending() == 0) return true;
  armed_ = true;
  MAYFLY_CHECK(io_uring_cq_eventfd_toggle(&ring_, true) == 0);
  std::atomic_thread_fence(std::memory_order_seq_cst);  // the kernel: first the flag or the entry, then the event
  return io_uring_cq_ready(&ring_) == 0 && !KernelHasMore(ring_);
}

void UringDisk::Disarm() {
  armed_ = false;  // U2
  MAYFLY_CHECK(io_uring_cq_eventfd_toggle(&ring_, false) == 0);
  uint64_t count = 0;
  if (read(event_, &count, sizeof count) < 0) MAYFLY_CHECK(errno == EAGAIN || errno == EINTR);
}

// --- registered memory ----------------------------------------------------------------------------------------------

const UringDisk::Region* UringDisk::RegionOf(const uint8_t* data) const {
  auto after = std::upper_bound(regions_.begin(), regions_.end(), data,
                                [](const uint8_t* at, const Region& region) { return at < region.begin; });
  if (data == nullptr || after == regions_.begin()) return nullptr;
  const Region& region = *(after - 1);
  return static_cast<size_t>(data - region.begin) < region.bytes ? &region : nullptr;
}

bool UringDisk::RegisterPiece(MutableBytes piece) {
  if (free_buffers_.empty() || piece.size() >= refused_) return false;
  const uint16_t slot = free_buffers_.back();
  const iovec memory{piece.data(), piece.size()};
  const int result = io_uring_register_buffers_update_tag(&ring_, slot, &memory, nullptr, 1);
  if (result == 1) {
    free_buffers_.pop_back();
    const Region region{piece.data(), piece.size(), slot};
    regions_.insert(std::upper_bound(regions_.begin(), regions_.end(), region,
                                     [](const Region& a, const Region& b) { return a.begin < b.begin; }),
                    region);
    bytes_registered_ += piece.size();
    return true;
  }
  if (result == -ENOMEM) refused_ = piece.size();
  if (result == -ENOMEM && std::exchange(warns_, false)) {
    MAYFLY_WARN(
        "{} MiB of memory cannot be registered for local storage, which goes a little slower: raise the limit of locked"
        " memory (ulimit -l)",
        piece.size() >> 20);
  }
  return false;
}

void UringDisk::Register(MutableBytes region) {
  if (!std::exchange(buffers_tried_, true) && io_uring_register_buffers_sparse(&ring_, kBuffers) == 0) {
    for (uint16_t slot = kBuffers; slot > 0; --slot) free_buffers_.push_back(static_cast<uint16_t>(slot - 1));
  }
  while (!region.empty()) {
    const size_t bytes = std::min(region.size(), kBufferBytesMax);
    if (!RegisterPiece(region.first(bytes))) return;
    region = region.subspan(bytes);
  }
}

void UringDisk::Unregister(MutableBytes memory) {
  for (size_t i = 0; i < regions_.size();) {
    const Region region = regions_[i];
    if (region.begin < memory.data() || region.begin >= memory.data() + memory.size()) {
      ++i;
      continue;
    }
    const iovec none{};
    MAYFLY_CHECK(io_uring_register_buffers_update_tag(&ring_, region.slot, &none, nullptr, 1) == 1);
    free_buffers_.push_back(region.slot);
    bytes_registered_ -= region.bytes;
    refused_ = ~size_t{0};
    regions_.erase(regions_.begin() + static_cast<ptrdiff_t>(i));
  }
}

}  // namespace mayfly
