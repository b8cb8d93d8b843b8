// Histogram: how often each value came, in buckets that grow with the value: exact below 64, then 32 to a power of two,
// so that a percentile is off by a sixty-fourth at most. Of fixed size: adding never allocates. Sum and maximum are
// exact. Invariants  B1  bucket i holds [LowOf(i), LowOf(i + 1)), and buckets follow one another without a gap.
//             B2  values from 2^kBitsMax on are in the last bucket.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "base/check.h"

namespace mayfly {

class Histogram {
 public:
  static constexpr int kSubBits = 5;   // 32 buckets to a power of two
  static constexpr int kBitsMax = 42;  // of nanoseconds: 73 minutes
  static constexpr uint32_t kBuckets = (kBitsMax - kSubBits + 1) << kSubBits;

  static constexpr uint32_t BucketOf(uint64_t value) {
    const int shift = std::max(static_cast<int>(std::bit_width(value)) - (kSubBits + 1), 0);
    if (shift > kBitsMax - (kSubBits + 1)) return kBuckets - 1;  // B2
    return (static_cast<uint32_t>(shift) << kSubBits) + static_cast<uint32_t>(value >> shift);
  }
  static constexpr uint64_t LowOf(uint32_t bucket) {
    if (bucket < (2u << kSubBits)) return bucket;
    const uint32_t shift = (bucket >> kSubBits) - 1;
    return uint64_t{bucket - (shift << kSubBits)} << shift;
  }

  void Add(uint64_t value) {
    ++counts_[BucketOf(value)];
    ++count_;
    sum_ += value;
    max_ = std::max(max_, value);
  }
  void Add(const Histogram& other) {
    for (uint32_t i = 0; i < kBuckets; ++i) counts_[i] += other.counts_[i];
    AddTotals(other.count_, other.sum_, other.max_);
  }
  // In parts, as it travels: the counts of its buckets, then (`count` is their sum) the rest.
  void AddToBucket(uint32_t bucket, uint64_t count) {
    MAYFLY_CHECK(bucket < kBuckets);
    counts_[bucket] += count;
  }
  void AddTotals(uint64_t count, uint64_t sum, uint64_t max) {
    count_ += count;
    sum_ += sum;
    max_ = std::max(max_, max);
  }

  uint64_t count() const { return count_; }
  uint64_t sum() const { return sum_; }
  uint64_t max() const { return max_; }
  uint64_t InBucket(uint32_t bucket) const { return counts_[bucket]; }
  // The value that so many percent are not above: the middle of its bucket, or the maximum. 0 if there is none.
  uint64_t Percentile(double percent) const {
    const double wanted = percent / 100 * static_cast<double>(count_);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < kBuckets; ++i) {
      seen += counts_[i];
      if (counts_[i] == 0 || static_cast<double>(seen) < wanted) continue;
      if (i == kBuckets - 1) return max_;  // B2
      return std::min(max_, LowOf(i) + (LowOf(i + 1) - LowOf(i)) / 2);
    }
    return max_;
  }

 private:
  std::array<uint64_t, kBuckets> counts_{};
  uint64_t count_ = 0, sum_ = 0, max_ = 0;
};

}  // namespace mayfly
