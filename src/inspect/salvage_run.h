// `mayfly salvage` over the real doors: from the directories that the user names to the copy. One thread.
#pragma once

#include <string>
#include <vector>

#include "inspect/outboxes.h"
#include "inspect/places.h"
#include "inspect/salvage.h"

namespace mayfly {

struct SalvageRequest {
  std::vector<std::string> directories;  // as FindPlaces takes them
  std::string target;                    // absolute; empty or not there
  PlacesOptions user;
};

struct Salvaged {
  Uuid session{};
  SalvageCounts counts;
  Settled in_doubt;
  WrittenDown written_down;
  std::vector<std::string> problems;  // why something may not be in the copy, beside what has a line of its own
  std::vector<std::string> notes;
  // All that the servers had acknowledged is there, as it was.
  bool whole() const { return counts.whole() && problems.empty() && in_doubt.unknown == 0; }
};

// kBusy if a server lives, or came to life meanwhile; kNotEmpty; and whatever keeps it from the storage or the target.
Outcome<Salvaged> SalvageTo(const SalvageRequest& request, SalvageSink* sink);

}  // namespace mayfly
