// The places of a lane's unanswered calls to one shard (wire/header.h, Sequence): the lowest free one is taken first,
// so that the table on the other side stays as small as the calls that run side by side.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "base/check.h"
#include "wire/header.h"

namespace mayfly {

class Places {
 public:
  bool full() const { return taken_ == Sequence::kPlacesMax; }
  uint32_t taken() const { return taken_; }
  uint32_t Take() {
    MAYFLY_CHECK(!full());
    ++taken_;
    size_t word = 0;
    while (words_[word] == ~uint64_t{0}) ++word;
    const int bit = std::countr_one(words_[word]);
    words_[word] |= uint64_t{1} << bit;
    return static_cast<uint32_t>(word * 64 + bit);
  }
  void Give(uint32_t place) {
    const uint64_t bit = uint64_t{1} << (place % 64);
    MAYFLY_CHECK((words_[place / 64] & bit) != 0);
    words_[place / 64] &= ~bit;
    --taken_;
  }

 private:
  static_assert(Sequence::kPlacesMax % 64 == 0);
  std::array<uint64_t, Sequence::kPlacesMax / 64> words_{};  // a set bit is a place that is taken
  uint32_t taken_ = 0;
};

}  // namespace mayfly
