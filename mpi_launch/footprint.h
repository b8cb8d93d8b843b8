// Everything that this process leaves on disk, made here and removed here: its mark and files in the runtime directory,
// the arena files of its shards, the shared session file, and directories made for the flush target.
// Any thread. Invariants  T1  nothing is made after Remove: a start that is interrupted cannot leave something behind.
//                         T2  Remove takes only what this process made or, of files that others may replace, what still
//                             names this session.
#pragma once

#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "session/node_map.h"
#include "session/runtime_dir.h"
#include "session/session_file.h"

namespace mayfly {

class Footprint {
 public:
  // The runtime directory, if need be, and this process's mark as the server `rank` of the session, with its trail.
  Outcome<Done> Join(const std::string& runtime_path, const Uuid& uuid, uint32_t rank, const Trail& trail);
  // Of the session on this node; after Join.
  std::string directory() const;
  // Its memory goes with Remove: its arena removes its own, but it may not have got to it.
  void AddShard(ShardId shard);

  // This node's files: by the first rank of the node.
  Outcome<Done> WriteNodeMap(const NodeMapSource& source);
  Outcome<Done> WriteNodeFile(const SessionFile& file);
  // The shared session file and, beside it, the map: by rank 0.
  Outcome<Done> WriteShared(const std::string& path, const SessionFile& file, const NodeMapSource* map);
  // Remove shall take the shared file and the map too, although rank 0 wrote them: it may have died.
  void CareForShared(const std::string& path, uint32_t protocol);
  // Makes `directory` and its parents and checks that a file can be made in it. Remove takes away what was made, unless
  // Keep was called.
  Outcome<Done> MakeDirectory(const std::string& directory);
  void Keep();
  // Remove shall take the member's storage away (storage.h): by the first rank of the member.
  void CareForStorage(const std::string& base, MemberId member);
  // While `keep`: Remove leaves everything that servers before left, for another try.
  void KeepStorage(bool keep);
  // Remove leaves everything, and says so: the session was ended to be brought back.
  void KeepSession();

  // Gives up after a while if another thread is stuck in a call here (a file system that hangs).
  void Remove();
  // On a signal before a kill. Nothing goes while what the servers keep may still be needed: a flush is to come, and a
  // kill in the middle of it must leave what --recover brings back.
  void RemoveEarly();
  void Withhold();

 private:
  template <class Fn>
  Outcome<Done> Unless(Fn make);

  std::timed_mutex mutex_;
  bool removed_ = false;
  std::optional<RuntimeDir> runtime_;
  std::string directory_;
  Uuid uuid_{};
  uint32_t rank_ = 0;
  uint32_t uid_ = 0;
  uint32_t protocol_ = 0;
  bool default_runtime_ = false;
  std::vector<ShardId> shards_;
  std::string shared_;
  std::vector<std::string> made_;  // parents first
  std::string storage_;            // base, of...
  MemberId member_;
  bool keep_storage_ = false, keep_session_ = false, withheld_ = false;
};

// A file can be made in it and removed. `if_missing`: what to do when there is no such directory.
Outcome<Done> CheckWritable(const std::string& directory, const std::string& option, const std::string& if_missing);

}  // namespace mayfly
