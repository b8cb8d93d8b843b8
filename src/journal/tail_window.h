// The tail region: the part of the stream that is not known to be in the ring, in memory that outlives the process.
// Byte L of the stream lies at L % size() behind a header of one block; blocks are where the disk can take them. Where
// the ring itself is such memory the stream is written there, and the region is its header alone.
// Invariants  W1  the header's `low` is stored before any byte of what lay below it is written over, and each store
//                 here is made in program order, so a kill between any two leaves a region that reads right.
//             W2  nothing here waits, allocates or calls the system.
#pragma once

#include <algorithm>
#include <atomic>

#include "journal/format.h"

namespace mayfly {

class TailWindow {
 public:
  static constexpr std::string_view kRegionName = "journal-tail";

  TailWindow() = default;
  // `region` holds a block and the window.
  explicit TailWindow(MutableBytes region)
      : region_(region), window_(region.data() + kJournalBlockBytes), size_(region.size() - kJournalBlockBytes) {}
  // `header` is all of the region; byte L lies in the ring, at L % ring.size().
  TailWindow(MutableBytes header, MutableBytes ring) : region_(header), window_(ring.data()), size_(ring.size()) {}

  bool valid() const { return size_ != 0; }
  uint64_t size() const { return size_; }
  MutableBytes region() const { return region_; }
  MutableBytes all() const { return {window_, size_}; }  // from a page's beginning on

  void SetLow(Lsn low) {
    auto* at = reinterpret_cast<uint64_t*>(region_.data() + offsetof(RegionHeader, low));
    std::atomic_ref<uint64_t>(*at).store(low.value, std::memory_order_release);  // W1
  }
  // Copies `from` to `at`.
  void Put(uint64_t at, Bytes from) {
    const uint64_t place = at % size_, first = std::min<uint64_t>(from.size(), size_ - place);
    if (first != 0) std::memcpy(window_ + place, from.data(), first);
    if (first != from.size()) std::memcpy(window_, from.data() + first, from.size() - first);
  }
  void Zero(uint64_t at, uint64_t bytes) {
    const uint64_t place = at % size_, first = std::min(bytes, size_ - place);
    std::memset(window_ + place, 0, first);
    if (first != bytes) std::memset(window_, 0, bytes - first);
  }
  // The bytes at `at`, as many as lie there in one piece, `bytes` at most.
  MutableBytes Place(uint64_t at, uint64_t bytes) {
    const uint64_t place = at % size_;
    return {window_ + place, std::min(bytes, size_ - place)};
  }
  Bytes Piece(uint64_t at, uint64_t bytes) const {
    const uint64_t place = at % size_;
    return {window_ + place, std::min(bytes, size_ - place)};
  }

 private:
  MutableBytes region_;
  uint8_t* window_ = nullptr;
  uint64_t size_ = 0;
};

}  // namespace mayfly
