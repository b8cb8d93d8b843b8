// Places of the arena that clients on this node write into (wire: Loan, Commit, Return): which process has which. One
// thread.
// Invariants  L1  a place is lent to one process under a number that the process chose and never uses again, and is
// taken
//                 back once. So a process whose call had no answer can still name what it may have been lent.
#pragma once

#include <absl/container/flat_hash_map.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "store/place.h"

namespace mayfly {

class Loans {
 public:
  bool Has(ClientId process, uint64_t id) const { return lent_.contains(Key(process.value, id)); }
  // Not a number that the process has in use.
  void Lend(ClientId process, uint64_t id, Place place) { lent_.emplace(Key(process.value, id), place); }
  // Invalid: as Take.
  Place Find(ClientId process, uint64_t id) const {
    const auto it = lent_.find(Key(process.value, id));
    return it != lent_.end() ? it->second : Place();
  }
  // kStale: it is not lent to this process, or no longer.
  Result<Place> Take(ClientId process, uint64_t id) {
    auto it = lent_.find(Key(process.value, id));
    if (it == lent_.end()) return Code::kStale;
    const Place place = it->second;
    lent_.erase(it);
    return place;
  }
  // The numbers of all that one process has.
  std::vector<uint64_t> IdsOf(ClientId process) const {
    std::vector<uint64_t> ids;
    for (const auto& [key, place] : lent_) {
      if (key.first == process.value) ids.push_back(key.second);
    }
    std::sort(ids.begin(), ids.end());  // a run is a function of its inputs
    return ids;
  }
  // Every loan: process, number, place; in order.
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, Place>> All() const {
    std::vector<std::pair<Key, Place>> all(lent_.begin(), lent_.end());
    std::sort(all.begin(), all.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    return all;
  }
  // Process and number of every loan, in no order.
  std::vector<std::pair<uint64_t, uint64_t>> Keys() const {
    std::vector<Key> keys;
    keys.reserve(lent_.size());
    for (const auto& [key, place] : lent_) keys.push_back(key);
    return keys;
  }
  size_t CountOf(ClientId process) const {
    return static_cast<size_t>(
        std::count_if(lent_.begin(), lent_.end(), [&](const auto& e) { return e.first.first == process.value; }));
  }
  size_t size() const { return lent_.size(); }
  void Clear() { lent_.clear(); }

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // process, number
  absl::flat_hash_map<Key, Place> lent_;
};

}  // namespace mayfly
