// `mayfly fsck` over the real doors, and what it says. One thread.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "inspect/fsck.h"
#include "inspect/places.h"

namespace mayfly {

struct FsckRequest {
  std::vector<std::string> directories;  // as FindPlaces takes them
  bool with_data = false;
  PlacesOptions user;
};

struct Checked {
  Uuid session{};
  FsckCounts counts;
  Settled in_doubt;
  std::vector<std::string> problems;  // journals and chunk files that are damaged, or whose part in memory is gone
  std::vector<std::string> absent;    // what was not given, and not checked
  std::vector<std::string> notes;
  bool consistent() const { return counts.all_findings() == 0 && problems.empty(); }
  bool complete() const { return absent.empty() && in_doubt.unknown == 0; }
};

// kBusy if a server lives, or came to life meanwhile; and whatever keeps it from the storage.
Outcome<Checked> CheckStorage(const FsckRequest& request, FsckSink* sink);

nlohmann::ordered_json DescribeFinding(const Finding& finding);
nlohmann::ordered_json DescribeChecked(const Checked& checked);
std::string SummaryOf(const Checked& checked);

}  // namespace mayfly
