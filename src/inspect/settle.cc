#include "inspect/settle.h"

#include "meta/namespace_look.h"

namespace mayfly {

Settled Settle(const std::vector<SettleShard>& shards) {
  Settled settled;
  for (const SettleShard& shard : shards) {
    if (shard.tables == nullptr) continue;
    if (!shard.tables->Finish()) {
      settled.unknown += NamespaceLook(shard.tables->names()).Prepared().size();
      continue;
    }
    for (const TxnId txn : shard.tables->names().Prepared()) {
      const uint64_t number = txn.value >> 40;
      const SettleShard coordinator = number < shards.size() ? shards[number] : SettleShard();
      const OutcomeImage* outcome = coordinator.tables != nullptr ? coordinator.tables->DecidedFor(txn) : nullptr;
      std::vector<InodeId> died;
      const Nanos time = outcome != nullptr ? outcome->time : 0;
      const Nanos mtime = outcome != nullptr ? outcome->mtime : 0;
      const Status status = shard.tables->names().Decide(txn, outcome != nullptr, time, &died, mtime);
      if (!status.ok() || (outcome == nullptr && !coordinator.whole)) {
        ++settled.unknown;
      } else {
        ++(outcome != nullptr ? settled.committed : settled.aborted);
      }
    }
  }
  return settled;
}

}  // namespace mayfly
