// What a coordinator remembers of a transaction while it runs. Each Prepare has an id of its own, so one shard may take
// part in several steps.
#pragma once

#include <utility>
#include <vector>

#include "server/images.h"
#include "server/shard.h"

namespace mayfly {

struct Shard::Transaction {
  // `owner` outlives it, and answers those who ask how it ended for as long as it is there.
  Transaction(Shard* owner, Cred c, Nanos until) : shard(owner), cred(std::move(c)), deadline(until) {}
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;
  ~Transaction() {
    for (const Step& step : asked) shard->open_txns_.erase(step.id);
  }
  using Step = OutcomeImage::Step;

  Shard* const shard;
  Cred cred;
  Nanos deadline;
  Nanos dir_mtime = 0;      // the newest of the parts that were found empty
  std::vector<Step> asked;  // everyone who may hold something: also those that did not answer
};

}  // namespace mayfly
