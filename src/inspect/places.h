// Finds what servers keep on this node, from whatever directory the user names: that of --dir, a session's, a member's
// or a shard's in it, or the runtime directory with the sessions that have no --dir. Without a server and without MPI:
// what all tools that work on storage begin with. Values and looks at directories, any thread. Invariants  P1  what is
// damaged (a charter, say) is found all the same; what is missing of it is said.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "session/storage_layout.h"

namespace mayfly {

// Who looks, from where, how patiently.
struct PlacesOptions {
  uint32_t uid = 0;          // who must own it
  std::string host;          // this one, as members are named
  std::string runtime_path;  // of this user's sessions: RuntimeDir::PathFor
  // How long a dead session's journal may still be locked: until the kernel has ended its last transfers.
  Nanos lock_wait = 5 * kSecond;
};

struct ShardPlace {
  ShardId shard;
  std::string directory;
  bool there = false;  // the directory; else only the charter speaks of it
};

struct MemberPlace {
  std::string directory;
  std::string base;  // the session's: the directory's parent
  MemberId member;
  std::optional<Uuid> uuid;
  std::optional<Charter> charter;
  std::string charter_problem;  // a sentence, if there is no charter
  bool charter_lost = false;    // and no other user or version of Mayfly can read one either
  std::string host;             // of its servers; empty if nobody knows
  bool here = false;            // they were on this host, as far as is known: then its memory is here too
  bool in_memory = false;       // `base` is the session's runtime directory
  // With the arena's segments and kept memory; need not be there. Empty if the session is not known.
  std::string session_directory;
  std::vector<ShardPlace> shards;  // by number
  bool part = false;               // the user named one of them, the others are not in the list
};

// All members in `directory`, by session and number. kNoEntry if there is none, with a sentence.
Outcome<std::vector<MemberPlace>> FindPlaces(const std::string& directory, const PlacesOptions& options);

// kBusy if a process of the member's session lives on this host, or if that cannot be told. The session's other members
// may live although this one does not.
Outcome<Done> CheckDead(const MemberPlace& member, const PlacesOptions& options);

// "shard 3 of member 1 (node7)".
std::string NameOf(const MemberPlace& member, ShardId shard);

}  // namespace mayfly
