#include "base/histogram.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "fake/sim_random.h"

namespace mayfly {
namespace {

TEST(Histogram, BucketsFollowOneAnotherAndHoldTheirValues) {  // B1
  for (uint32_t i = 0; i < Histogram::kBuckets; ++i) {
    const uint64_t low = Histogram::LowOf(i), next = Histogram::LowOf(i + 1);
    ASSERT_LT(low, next) << i;
    ASSERT_EQ(Histogram::BucketOf(low), i);
    ASSERT_EQ(Histogram::BucketOf(next - 1), i);
    ASSERT_LE((next - low) * 32, std::max<uint64_t>(low, 32)) << i;
  }
  EXPECT_EQ(Histogram::LowOf(0), 0u);
  EXPECT_EQ(Histogram::LowOf(Histogram::kBuckets), uint64_t{1} << Histogram::kBitsMax);
}

TEST(Histogram, ValuesAboveAllAreInTheLastBucketAndTheMaximumIsExact) {  // B2
  for (const uint64_t value : {uint64_t{1} << Histogram::kBitsMax, ~uint64_t{0}}) {
    Histogram h;
    h.Add(value);
    EXPECT_EQ(h.InBucket(Histogram::kBuckets - 1), 1u);
    EXPECT_EQ(h.Percentile(50), value);
    EXPECT_EQ(h.max(), value);
  }
}

TEST(Histogram, EmptyIsAllZeros) {
  const Histogram h;
  EXPECT_EQ(h.Percentile(99), 0u);
  EXPECT_EQ(h.count() + h.sum() + h.max(), 0u);
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram h;
  for (uint64_t v = 1; v <= 60; ++v) h.Add(v);
  EXPECT_EQ(h.Percentile(50), 30u);
  EXPECT_EQ(h.Percentile(90), 54u);
  EXPECT_EQ(h.Percentile(100), 60u);
  EXPECT_EQ(h.Percentile(0), 1u);
  EXPECT_EQ(h.sum(), 1830u);
}

TEST(Histogram, PercentilesAreOffByASixtyFourthAtMost) {
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SimRandom random(seed);
    Histogram h;
    std::vector<uint64_t> values;
    for (uint32_t n = 1 + random.Below(3000); n > 0; --n) {
      values.push_back(random.U64() >> (23 + random.Below(40)));  // below 2^41
      h.Add(values.back());
    }
    std::sort(values.begin(), values.end());
    for (const double percent : {1.0, 50.0, 90.0, 99.0, 100.0}) {
      const auto rank = static_cast<size_t>(std::ceil(percent / 100 * static_cast<double>(values.size())));
      const auto exact = static_cast<double>(values[std::max<size_t>(rank, 1) - 1]);
      ASSERT_LE(std::abs(static_cast<double>(h.Percentile(percent)) - exact), exact / 64) << percent << " of " << seed;
    }
    EXPECT_EQ(h.Percentile(100), std::min(h.max(), h.Percentile(100)));
    EXPECT_EQ(h.max(), values.back());
  }
}

TEST(Histogram, SumsAreAsIfAllHadBeenAddedToOne) {
  SimRandom random(5);
  Histogram a, b, all, sum, parts;
  for (int i = 0; i < 1000; ++i) {
    const uint64_t value = random.U64() >> (20 + random.Below(44));
    (i % 3 == 0 ? a : b).Add(value);
    all.Add(value);
  }
  sum.Add(a);
  sum.Add(b);
  for (const Histogram* h : {&a, &b}) {  // as it travels
    for (uint32_t i = 0; i < Histogram::kBuckets; ++i) parts.AddToBucket(i, h->InBucket(i));
    parts.AddTotals(h->count(), h->sum(), h->max());
  }
  for (const Histogram* h : {&sum, &parts}) {
    EXPECT_EQ(h->count(), 1000u);
    EXPECT_EQ(h->sum(), all.sum());
    EXPECT_EQ(h->max(), all.max());
    for (const double percent : {10.0, 50.0, 99.9}) EXPECT_EQ(h->Percentile(percent), all.Percentile(percent));
  }
}

}  // namespace
}  // namespace mayfly
