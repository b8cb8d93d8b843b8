// The hash ring: virtual points of the members on a circle of 2^64 positions; a hash belongs to the first point at or
// after it, clockwise (upwards, with wrap). The slot table (placement.h) is filled along it; on its own it serves only
// reports, because its balance is poor. It is a pure value: built once, never changed, any thread may read it.
// Invariants  R1  points() is sorted by position; positions are distinct.
//             R2  an equal layout and equal options give an equal ring on every rank.
//             R3  every member has at least one point.
// Point keys and tie-breaks: share/doc/format/ring.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "ring/layout.h"

namespace mayfly {

struct RingOptions {
  uint32_t points_per_member = 150;  // on average: a member's points are proportional to its weight
  uint64_t seed = 0;                 // of xxHash64

  friend bool operator==(const RingOptions&, const RingOptions&) = default;
};

struct RingPoint {
  uint64_t position = 0;
  MemberId member;
  uint32_t number = 0;  // of the point within its member

  friend bool operator==(const RingPoint&, const RingPoint&) = default;
};

class Ring {
 public:
  static constexpr uint32_t kPointsPerMemberMax = 4096;

  // Fails with kInvalid if points_per_member is 0 or above kPointsPerMemberMax.
  static Result<Ring> Build(const Layout& layout, const RingOptions& options);

  std::span<const RingPoint> points() const { return points_; }
  // The owner of `hash`. Cannot fail: an empty ring cannot exist.
  MemberId Owner(uint64_t hash) const;
  // The part of the circle that each member owns, by member id; the sum is 1.
  std::vector<double> Shares() const;

  // Where a point lands before ties are broken.
  static uint64_t HashOfPoint(MemberId member, uint32_t number, uint64_t seed);
  // Points that `member` gets: points_per_member scaled by weight over mean weight, rounded, at least 1.
  static uint32_t PointsOf(const Layout& layout, MemberId member, uint32_t points_per_member);
  // Sorts by (position, member, number), then moves each point that does not lie above its predecessor to the position
  // after it (R1). Needs fewer points than positions.
  static void SortAndSeparate(std::vector<RingPoint>& points);

 private:
  Ring() = default;

  std::vector<RingPoint> points_;
  uint32_t member_count_ = 0;
};

}  // namespace mayfly
