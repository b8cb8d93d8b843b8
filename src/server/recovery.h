// What a shard says of how it came up.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/ids.h"

namespace mayfly {

struct RecoveryReport {
  bool found = false;  // there was a journal, and what it holds was brought back
  bool clean = false;  // it was closed in order
  uint64_t records = 0, bytes = 0;
  uint64_t inodes = 0, files_with_data = 0;
  uint64_t in_doubt = 0;  // transactions whose end has to be asked for
  Nanos took = 0;
  std::vector<std::string> damage;  // a sentence each: ranges of the journal that could not be read
  std::string refusal;              // why nothing is served, for the user
};

}  // namespace mayfly
