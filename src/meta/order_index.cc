#include "meta/order_index.h"

#include <algorithm>

#include "base/check.h"

namespace mayfly {

size_t OrderIndex::LowerBound(uint64_t number) const {
  if (pages_.empty() || number <= pages_.front().number) return 0;
  // Without gaps the page is just there; gaps can only bring it nearer to the front.
  const size_t guess = std::min<uint64_t>(number - pages_.front().number, pages_.size() - 1);
  if (pages_[guess].number == number) return guess;
  const auto end = pages_[guess].number < number ? pages_.end() : pages_.begin() + static_cast<ptrdiff_t>(guess);
  const auto at = std::lower_bound(pages_.begin(), end, number,
                                   [](const Page& page, uint64_t wanted) { return page.number < wanted; });
  return static_cast<size_t>(at - pages_.begin());
}

void OrderIndex::SetRoom(Page& page, uint32_t room) {
  const int used = std::popcount(page.bits);
  std::unique_ptr<DentryRef[]> refs;
  if (room != 0) {
    refs.reset(new DentryRef[room]);
    std::copy_n(page.refs.get(), used, refs.get());
  }
  room_ = room_ - page.room + room;
  page.room = room;
  page.refs = std::move(refs);
  Recount();
}

void OrderIndex::AddPage(uint64_t number) {
  if (!pages_.empty()) {
    Page& last = pages_.back();
    const auto used = static_cast<uint32_t>(std::popcount(last.bits));
    if (used == 0) {  // its room serves the next
      last.number = number;
      return;
    }
    if (used * 4 <= last.room && last.room > 4) SetRoom(last, static_cast<uint32_t>(last.room / 4));
  }
  pages_.push_back(Page{number, 0, 0, nullptr});
  ++empty_;
  Recount();
}

void OrderIndex::Append(uint64_t sequence, DentryRef ref) {
  const uint64_t number = sequence / kPage;
  if (pages_.empty() || pages_.back().number != number) {
    MAYFLY_CHECK(pages_.empty() || pages_.back().number < number);  // O1
    AddPage(number);
  }
  Page& page = pages_.back();
  const int used = std::popcount(page.bits);
  MAYFLY_CHECK(used == RankOf(page, sequence) && (page.bits >> (sequence % kPage)) == 0);
  if (page.bits == 0) --empty_;
  if (static_cast<uint64_t>(used) == page.room) SetRoom(page, std::clamp<uint32_t>(page.room * 4, 4, kPage));
  page.refs[static_cast<size_t>(used)] = ref;
  page.bits |= uint64_t{1} << (sequence % kPage);
  ++size_;
}

bool OrderIndex::Insert(uint64_t sequence, DentryRef ref) {
  const uint64_t number = sequence / kPage;
  if (pages_.empty() || pages_.back().number < number) {
    Append(sequence, ref);
    return true;
  }
  const size_t index = LowerBound(number);
  if (pages_[index].number != number) {
    pages_.insert(pages_.begin() + static_cast<ptrdiff_t>(index), Page{number, 0, 0, nullptr});
    ++empty_;
  }
  Page& page = pages_[index];
  const uint64_t bit = uint64_t{1} << (sequence % kPage);
  if ((page.bits & bit) != 0) return false;
  const int used = std::popcount(page.bits);
  if (used == 0) --empty_;
  if (static_cast<uint64_t>(used) == page.room) SetRoom(page, std::clamp<uint32_t>(page.room * 4, 4, kPage));
  const int rank = RankOf(page, sequence);
  std::copy_backward(page.refs.get() + rank, page.refs.get() + used, page.refs.get() + used + 1);  // O2
  page.refs[static_cast<size_t>(rank)] = ref;
  page.bits |= bit;
  ++size_;
  Recount();
  return true;
}

void OrderIndex::Erase(uint64_t sequence) {
  const size_t index = LowerBound(sequence / kPage);
  MAYFLY_CHECK(index < pages_.size() && pages_[index].number == sequence / kPage);
  Page& page = pages_[index];
  const uint64_t bit = uint64_t{1} << (sequence % kPage);
  MAYFLY_CHECK((page.bits & bit) != 0);
  const int used = std::popcount(page.bits);
  const int rank = RankOf(page, sequence);
  std::copy(page.refs.get() + rank + 1, page.refs.get() + used, page.refs.get() + rank);  // O2
  page.bits &= ~bit;
  --size_;
  const auto left = static_cast<uint32_t>(used - 1);
  if (left == 0) {
    // The last page keeps its room: a create and an unlink in turn must not allocate each time.
    if (index + 1 != pages_.size()) SetRoom(page, 0);
    if (++empty_ * 2 > pages_.size() && pages_.size() > 8) Compact();
  } else if (left * 8 <= page.room && page.room > 4 && index + 1 != pages_.size()) {
    SetRoom(page, static_cast<uint32_t>(page.room / 4));
  }
}

DentryRef OrderIndex::At(uint64_t sequence) const {
  const size_t index = LowerBound(sequence / kPage);
  if (index >= pages_.size() || pages_[index].number != sequence / kPage) return DentryRef::kNone;
  const Page& page = pages_[index];
  if ((page.bits >> (sequence % kPage) & 1) == 0) return DentryRef::kNone;
  return page.refs[static_cast<size_t>(RankOf(page, sequence))];
}

// Drops the empty pages (O1). As many appends or erases as there are pages came before, so each pays for one.
void OrderIndex::Compact() {
  std::vector<Page> kept;
  kept.reserve(pages_.size() - empty_ + 1);
  room_ = 0;
  for (Page& page : pages_) {
    if (page.bits == 0) continue;
    room_ += page.room;
    kept.push_back(std::move(page));
  }
  pages_ = std::move(kept);
  empty_ = 0;
  Recount();
}

void OrderIndex::Recount() {
  const uint64_t now = memory_bytes();
  *total_ += now - counted_;
  counted_ = now;
}

uint64_t OrderIndex::memory_bytes() const { return pages_.capacity() * sizeof(Page) + room_ * sizeof(DentryRef); }

}  // namespace mayfly
