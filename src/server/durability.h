// What an acknowledged operation survives: nothing; a kill of any or all servers; that, and a loss of power of any or
// all nodes (what was synced or closed, or with Fsync::kAlways every operation). With their words on the command line.
#pragma once

#include <cstdint>
#include <string_view>

namespace mayfly {

enum class Durability : uint8_t { kNone, kProcess, kNode };
enum class Fsync : uint8_t { kCommit, kAlways };

constexpr std::string_view TextOf(Durability level) {
  return level == Durability::kNone ? "none" : level == Durability::kProcess ? "process" : "node";
}
constexpr std::string_view TextOf(Fsync when) { return when == Fsync::kCommit ? "commit" : "always"; }
// Of one of the words.
constexpr Durability DurabilityOf(std::string_view word) {
  return word == "none" ? Durability::kNone : word == "process" ? Durability::kProcess : Durability::kNode;
}
constexpr Fsync FsyncOf(std::string_view word) { return word == "always" ? Fsync::kAlways : Fsync::kCommit; }

}  // namespace mayfly
