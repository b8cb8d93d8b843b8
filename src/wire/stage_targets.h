// Targets of stage-ins, as they are in a StageSpec: absolute, without a '/' at the end.
#pragma once

#include <string>

namespace mayfly {

// Whether one lies in the other, or is the other: two such stage-ins are never under way together.
inline bool TargetsMeet(const std::string& a, const std::string& b) {
  const std::string& outer = a.size() < b.size() ? a : b;
  const std::string& inner = a.size() < b.size() ? b : a;
  if (outer == "/") return true;
  return inner.compare(0, outer.size(), outer) == 0 && (inner.size() == outer.size() || inner[outer.size()] == '/');
}

}  // namespace mayfly
