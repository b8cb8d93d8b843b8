// The entries of one part in the order they came, for listings that others' creates and unlinks do not disturb.
// Sequences only grow, so adding is an append; page n covers sequences 64 n to 64 n + 63 and keeps a bit for each that
// is there, and their dentries packed: what went leaves no gap.
// Owned by one part, used by one thread. The dentries belong to the store.
// Invariants  O1  pages are in the order of their number; of more than 8 at most half are empty; an empty last one
//                 becomes the next.
//             O2  a page's references are as many as its bits, in the order of the bits.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <vector>

#include "meta/dentry_store.h"

namespace mayfly {

class OrderIndex {
 public:
  // `total` takes part in what all indices of a namespace weigh; not owned, outlives the index.
  explicit OrderIndex(uint64_t* total) : total_(total) {}
  ~OrderIndex() { *total_ -= counted_; }
  OrderIndex(const OrderIndex&) = delete;
  OrderIndex& operator=(const OrderIndex&) = delete;

  // `sequence` is greater than every one before it.
  void Append(uint64_t sequence, DentryRef ref);
  // Any sequence, for recovery; false if it is there. O(pages) where it is not near the end.
  bool Insert(uint64_t sequence, DentryRef ref);
  // `sequence` is there.
  void Erase(uint64_t sequence);
  // The lines that Erase touches last, on their way. `sequence` is there.
  void PrefetchErase(uint64_t sequence) const {
    const Page& page = pages_[LowerBound(sequence / kPage)];
    __builtin_prefetch(page.refs.get(), 1);
    __builtin_prefetch(page.refs.get() + RankOf(page, sequence), 1);
  }
  // kNone if it is not there.
  DentryRef At(uint64_t sequence) const;
  uint64_t size() const { return size_; }
  // The lowest that Append takes: above every one that is there, and not below the page of the last one that was.
  uint64_t append_from() const {
    if (pages_.empty()) return 0;
    const Page& last = pages_.back();
    return last.number * kPage + static_cast<uint64_t>(kPage - std::countl_zero(last.bits));
  }
  uint64_t memory_bytes() const;  // beside the object itself

  // Visits entries with a sequence above `after`, in order, until `visit(DentryRef)` says false. True if it reached the
  // end. O(log pages) to begin.
  template <class Visit>
  bool ForEachAfter(uint64_t after, Visit&& visit) const {
    const uint64_t first = after + 1;
    for (size_t i = LowerBound(first / kPage); i < pages_.size(); ++i) {
      const Page& page = pages_[i];
      uint64_t bits = page.bits;
      if (page.number == first / kPage) bits &= ~uint64_t{0} << (first % kPage);
      for (int rank = std::popcount(page.bits) - std::popcount(bits); bits != 0; bits &= bits - 1, ++rank) {
        if (!visit(page.refs[static_cast<size_t>(rank)])) return false;
      }
    }
    return true;
  }

 private:
  static constexpr uint64_t kPage = 64;
  struct Page {
    uint64_t number : 48;
    uint64_t room : 16;  // references allocated
    uint64_t bits;
    std::unique_ptr<DentryRef[]> refs;
  };
  static int RankOf(const Page& page, uint64_t sequence) {
    return std::popcount(page.bits & ((uint64_t{1} << (sequence % kPage)) - 1));
  }
  void AddPage(uint64_t number);
  void SetRoom(Page& page, uint32_t room);
  // The first page with `number` or a greater one.
  size_t LowerBound(uint64_t number) const;
  void Compact();
  // After memory was taken or given back.
  void Recount();

  uint64_t* total_;
  uint64_t counted_ = 0;  // of it, this one's
  std::vector<Page> pages_;
  uint64_t size_ = 0;
  uint64_t room_ = 0;   // of all pages
  uint64_t empty_ = 0;  // pages without a bit
};

}  // namespace mayfly
