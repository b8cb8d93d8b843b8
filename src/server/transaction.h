// What a coordinator remembers of a transaction while it runs. Each Prepare has an id of its own, so one shard may take
// part in several steps.
#pragma once

#include <utility>
#include <vector>

#include "server/shard.h"

namespace mayfly {

struct Shard::Transaction {
  Transaction(TxnId first, Cred c, Nanos until) : next(first), cred(std::move(c)), deadline(until) {}
  struct Step {
    ShardId shard;
    TxnId id;
    bool first;  // changes a link count: decided before those that only change names
  };
  TxnId next;  // id of the next step; the coordinator reserved a block
  Cred cred;
  Nanos deadline;
  Nanos dir_mtime = 0;                             // the newest of the parts that were found empty
  std::vector<Step> asked;                         // everyone who may hold something: also those that did not answer
  static constexpr uint64_t kStepsMax = 1u << 20;  // a step a shard, a few of them
};

}  // namespace mayfly
