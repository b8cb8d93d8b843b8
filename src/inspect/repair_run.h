// `mayfly fsck --repair` over the real doors: reads all journals, plans (repair.h), and gives each shard whose journal
// does not fit a new checkpoint of all that it holds, with what mends it at the end. One thread.
// Invariants  W1  all journals that change are open, and so locked, before the first is changed by more than that.
//             W2  at level `node`, what killed servers had in memory alone is on the disk at all shards before the
//                 first gets a checkpoint: what a repair decided at one shard may rest on what another had in memory,
//                 and after a loss of power, also in its midst, each shard has that, repaired or not.
//             W3  where a part of that memory is gone nothing is written at all.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "inspect/places.h"
#include "inspect/repair.h"
#include "inspect/storage.h"

namespace mayfly {

class Repair {
 public:
  // Nothing is written. kBusy if a server lives; kInvalid with a sentence where not all is there that it takes.
  static Outcome<std::unique_ptr<Repair>> Prepare(const std::vector<std::string>& directories,
                                                  const PlacesOptions& user);
  Repair(const Repair&) = delete;
  Repair& operator=(const Repair&) = delete;

  const RepairPlan& plan() const { return plan_; }
  // What goes from the servers' memory to the disk besides: bytes of files that are perhaps not there yet.
  uint64_t unwritten_bytes() const { return unwritten_bytes_; }
  // The journals that get a new checkpoint, as people call them.
  std::vector<std::string> Changed() const;
  // After a failure some shards may have theirs: then it is to be done again.
  Outcome<Done> Write();

 private:
  Repair(Storage storage, PlacesOptions user) : storage_(std::move(storage)), user_(std::move(user)) {}
  // What a normal crash left is no reason.
  bool IsNeeded() const;
  bool Changes(ShardId shard) const;
  bool IsOpened(const StoredShard& shard) const;
  bool keeps_data() const { return storage_.durability == "node"; }
  Outcome<Done> FindUnwritten();

  Storage storage_;
  PlacesOptions user_;
  std::vector<RepairShard> shards_;
  RepairPlan plan_;
  std::vector<std::unique_ptr<ShardTables>> tables_;  // by shard, as they will be; of those that are opened
  uint64_t unwritten_bytes_ = 0;
};

}  // namespace mayfly
