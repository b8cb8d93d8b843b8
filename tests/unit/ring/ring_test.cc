#include "ring/ring.h"

#include <gtest/gtest.h>

#include <numeric>

#include "layouts.h"

namespace mayfly {
namespace {

constexpr uint64_t kLast = ~uint64_t{0};

TEST(Ring, PointsAreSortedAndDistinct) {
  const Ring ring = Ring::Build(EqualLayout(64, 1), {}).value();
  ASSERT_EQ(ring.points().size(), 64u * 150u);
  for (size_t i = 1; i < ring.points().size(); ++i) {
    ASSERT_LT(ring.points()[i - 1].position, ring.points()[i].position);  // R1
  }
}

TEST(Ring, OwnerIsTheNextPointClockwise) {
  const Ring ring = Ring::Build(EqualLayout(8, 1), {}).value();
  const auto points = ring.points();
  EXPECT_EQ(ring.Owner(0), points.front().member);
  EXPECT_EQ(ring.Owner(kLast), points.front().member);  // wraps
  for (size_t i = 0; i < points.size(); ++i) {
    EXPECT_EQ(ring.Owner(points[i].position), points[i].member);
    EXPECT_EQ(ring.Owner(points[i].position + 1), points[(i + 1) % points.size()].member);
  }
}

TEST(Ring, PointsFollowTheWeights) {
  const Layout layout = WeightedLayout({{1, 1}, {2, 1}, {3, 1}});
  EXPECT_EQ(Ring::PointsOf(layout, MemberId(0), 150), 75u);
  EXPECT_EQ(Ring::PointsOf(layout, MemberId(1), 150), 150u);
  EXPECT_EQ(Ring::PointsOf(layout, MemberId(2), 150), 225u);
  const Layout uneven = WeightedLayout({{1, 1}, {Layout::kWeightMax, 1}});
  EXPECT_EQ(Ring::PointsOf(uneven, MemberId(0), 150), 1u);  // R3
}

TEST(Ring, SharesAddUpToTheWholeCircle) {
  for (uint32_t points : {1u, 2u, 150u}) {
    for (uint32_t members : {1u, 2u, 100u}) {
      const auto shares = Ring::Build(EqualLayout(members, 1), {.points_per_member = points}).value().Shares();
      ASSERT_EQ(shares.size(), members);
      EXPECT_NEAR(std::accumulate(shares.begin(), shares.end(), 0.0), 1.0, 1e-9) << members << " x " << points;
    }
  }
}

TEST(Ring, ImpossibleOptionsAreRefused) {
  const Layout layout = EqualLayout(2, 1);
  EXPECT_EQ(Ring::Build(layout, {.points_per_member = 0}).code(), Code::kInvalid);
  EXPECT_EQ(Ring::Build(layout, {.points_per_member = Ring::kPointsPerMemberMax + 1}).code(), Code::kInvalid);
}

TEST(Ring, TiedPointsMoveUpInOrderOfMemberAndNumber) {
  std::vector<RingPoint> points = {{7, MemberId(2), 0}, {7, MemberId(1), 1}, {8, MemberId(0), 0}, {7, MemberId(1), 0}};
  Ring::SortAndSeparate(points);
  EXPECT_EQ(points, (std::vector<RingPoint>{
                        {7, MemberId(1), 0}, {8, MemberId(1), 1}, {9, MemberId(2), 0}, {10, MemberId(0), 0}}));
}

TEST(Ring, TiedPointsAtTheEndOfTheCircleDoNotWrap) {
  std::vector<RingPoint> points = {
      {kLast, MemberId(0), 0}, {kLast, MemberId(1), 0}, {kLast - 1, MemberId(2), 0}, {3, MemberId(2), 1}};
  Ring::SortAndSeparate(points);
  EXPECT_EQ(
      points,
      (std::vector<RingPoint>{
          {3, MemberId(2), 1}, {kLast - 2, MemberId(2), 0}, {kLast - 1, MemberId(0), 0}, {kLast, MemberId(1), 0}}));
}

}  // namespace
}  // namespace mayfly
