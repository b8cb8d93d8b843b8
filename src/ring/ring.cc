#include "ring/ring.h"

#include <algorithm>
#include <array>
#include <limits>
#include <tuple>

#include "base/checksum.h"
#include "base/coding.h"

namespace mayfly {

uint64_t Ring::HashOfPoint(MemberId member, uint32_t number, uint64_t seed) {
  std::array<uint8_t, 8> key;
  Encoder encoder(key);
  encoder(uint32_t{member.value}, number);
  return Hash64(key, seed);
}

uint32_t Ring::PointsOf(const Layout& layout, MemberId member, uint32_t points_per_member) {
  const uint64_t total = layout.total_weight();
  const uint64_t scaled = uint64_t{points_per_member} * layout.member(member).weight * layout.member_count();
  return static_cast<uint32_t>(std::max<uint64_t>(1, (scaled + total / 2) / total));  // R3
}

void Ring::SortAndSeparate(std::vector<RingPoint>& points) {
  std::sort(points.begin(), points.end(), [](const RingPoint& a, const RingPoint& b) {
    return std::tuple(a.position, a.member.value, a.number) < std::tuple(b.position, b.member.value, b.number);
  });
  constexpr uint64_t kLast = std::numeric_limits<uint64_t>::max();
  // The upper bound leaves room above for the points still to come, so that a tie at the very end cannot wrap.
  for (size_t i = 0; i < points.size(); ++i) {
    const uint64_t room = points.size() - 1 - i;
    if (i > 0) points[i].position = std::max(points[i].position, points[i - 1].position + 1);
    points[i].position = std::min(points[i].position, kLast - room);
  }
}

Result<Ring> Ring::Build(const Layout& layout, const RingOptions& options) {
  if (options.points_per_member == 0 || options.points_per_member > kPointsPerMemberMax) return Code::kInvalid;
  Ring ring;
  ring.member_count_ = layout.member_count();
  ring.points_.reserve(size_t{layout.member_count()} * (size_t{options.points_per_member} + 1));
  for (const Member& m : layout.members()) {
    const uint32_t count = PointsOf(layout, m.id, options.points_per_member);
    for (uint32_t n = 0; n < count; ++n) ring.points_.push_back({HashOfPoint(m.id, n, options.seed), m.id, n});
  }
  SortAndSeparate(ring.points_);
  return ring;
}

MemberId Ring::Owner(uint64_t hash) const {
  auto at = std::lower_bound(points_.begin(), points_.end(), hash,
                             [](const RingPoint& p, uint64_t h) { return p.position < h; });
  return at == points_.end() ? points_.front().member : at->member;
}

std::vector<double> Ring::Shares() const {
  std::vector<double> shares(member_count_, 0.0);
  if (points_.size() == 1) {
    shares[0] = 1.0;
    return shares;
  }
  uint64_t previous = points_.back().position;
  for (const RingPoint& p : points_) {
    shares[p.member.value] += static_cast<double>(p.position - previous) * 0x1p-64;  // wraps once, at the first
    previous = p.position;
  }
  return shares;
}

}  // namespace mayfly
