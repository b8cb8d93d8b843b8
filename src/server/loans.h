// Places of the arena that clients on this node write into (wire: Loan, Commit, Return): which process has which. One
// thread.
// Invariants  G1  a place is lent to one process under a number that is never used again, and is taken back once.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "store/place.h"

namespace mayfly {

class Loans {
 public:
  uint64_t Lend(ClientId process, Place place) {
    const uint64_t id = ++last_;
    lent_.emplace(id, Lent{process, place});
    bytes_ += place.bytes;
    return id;
  }
  // kStale: it is not lent to this process, or no longer.
  Result<Place> Take(ClientId process, uint64_t id) {
    auto it = lent_.find(id);
    if (it == lent_.end() || it->second.process != process) return Code::kStale;
    const Place place = it->second.place;
    bytes_ -= place.bytes;
    lent_.erase(it);
    return place;
  }
  // All of one process, in the order of lending.
  std::vector<Place> TakeAll(ClientId process) {
    std::vector<uint64_t> ids;
    for (const auto& [id, lent] : lent_) {
      if (lent.process == process) ids.push_back(id);
    }
    std::sort(ids.begin(), ids.end());  // a run is a function of its inputs
    std::vector<Place> places;
    for (uint64_t id : ids) places.push_back(*Take(process, id));
    return places;
  }
  size_t CountOf(ClientId process) const {
    return static_cast<size_t>(
        std::count_if(lent_.begin(), lent_.end(), [&](const auto& e) { return e.second.process == process; }));
  }
  size_t size() const { return lent_.size(); }
  uint64_t bytes() const { return bytes_; }

 private:
  struct Lent {
    ClientId process;
    Place place;
  };
  absl::flat_hash_map<uint64_t, Lent> lent_;
  uint64_t last_ = 0;
  uint64_t bytes_ = 0;
};

}  // namespace mayfly
