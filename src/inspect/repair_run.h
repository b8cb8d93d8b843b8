// `mayfly fsck --repair` over the real doors: reads all journals, plans (repair.h), and gives each shard whose journal
// does not fit a new checkpoint of all that it holds, with what mends it at the end. One thread.
// Invariants  W1  all journals are open, and so locked, before the first is changed by more than that.
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
  // The journals that get a new checkpoint, as people call them.
  std::vector<std::string> Changed() const;
  // After a failure some shards may have theirs: then it is to be done again.
  Outcome<Done> Write();

 private:
  Repair(Storage storage, PlacesOptions user) : storage_(std::move(storage)), user_(std::move(user)) {}
  // What a normal crash left is no reason.
  bool IsNeeded() const;
  bool Changes(ShardId shard) const;

  Storage storage_;
  PlacesOptions user_;
  std::vector<RepairShard> shards_;
  RepairPlan plan_;
};

}  // namespace mayfly
