// One shard's tables out of its journal: names, where the bytes of its files lie, and what it had begun with others.
// Filled by the images as a recovery fills a server's; no byte of data is read, so it takes the memory of the tables
// alone. One thread.
// Invariants  B1  what does not decode, or contradicts the tables, is left out and counted; the rest is applied: a tool
//                 saves what there is where a server would refuse.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>

#include "inspect/look.h"
#include "meta/namespace.h"
#include "server/images.h"
#include "server/loans.h"
#include "store/chunk_store.h"

namespace mayfly {

class ShardTables final : public LookVisitor {
 public:
  explicit ShardTables(ShardId self);
  ~ShardTables() override;

  // The images, in order: of a pass over a journal (LookAtJournal), or whoever has some.
  void OnSuperblocks(const JournalLook&) override {}
  Status OnCheckpoint(Bytes fields) override { return Apply(fields); }
  Status OnRecord(const JournalRecord& record) override;
  void OnDamage(Lsn, Lsn) override {}
  void OnCheckpointDamage(uint64_t, uint64_t) override {}
  // kOk, see B1. `unwritten`: as ChunkStore::Apply.
  Status Apply(Bytes fields, bool unwritten = false);
  // From now on *accepted, which outlives the call of Apply, gets the fields that are not left out, in their order.
  void KeepAccepted(TlvWriter* accepted) { accepted_ = accepted; }
  // How many bytes of them came before the first record that the journal's ring need not have; all, if there is none.
  size_t accepted_before_tail() const { return std::min(before_tail_, accepted_ != nullptr ? accepted_->size() : 0); }

  // Behind the last of them: transactions can be decided from now on. False: the names contradict each other, and what
  // is prepared stays undone.
  bool Finish();
  bool finished() const { return finished_; }

  ShardId self() const { return self_; }
  Namespace& names() { return names_; }
  const Namespace& names() const { return names_; }
  ChunkStore& store() { return store_; }
  const ChunkStore& store() const { return store_; }
  // Places of the arena that processes had, and which of them are outboxes (outboxes.h), by process.
  Loans& loans() { return loans_; }
  const std::map<ClientId, OutboxImage>& outboxes() const { return outboxes_; }
  uint64_t refused() const { return refused_; }          // fields, B1
  Generation generation() const { return generation_; }  // of the namespace; of use at the root's home
  // Whether this shard, as the coordinator, decided that the step of that number is to be done; null: it did not, or
  // all have acknowledged it.
  const OutcomeImage* DecidedFor(TxnId step) const;

  // A home had begun to drop what other shards have of a file that is gone.
  bool DropBegunFor(InodeId file) const;

  // What a home had begun to do to a file's size, and nobody was told of yet: bytes at and behind `limit` are not the
  // file's any more, of a truncation at shards that had not heard of its epoch.
  struct SizeBegun {
    uint64_t limit = 0;
    uint64_t epoch = ~uint64_t{0};
    uint64_t append_end = 0;  // of an append, else 0: beyond it somebody else wrote, and nothing is cut
  };
  std::optional<SizeBegun> SizeBegunFor(InodeId file) const;

 private:
  Status ApplyField(Tag tag, Bytes value, bool unwritten);

  class NoMemory;
  const ShardId self_;
  Namespace names_;
  std::unique_ptr<NoMemory> no_memory_;
  MemoryBudget budget_;
  Arena arena_;
  ChunkStore store_;
  std::map<TxnId, OutcomeImage> outcomes_;
  std::map<uint64_t, IntentImage> intents_;
  Loans loans_;
  std::map<ClientId, OutboxImage> outboxes_;
  Generation generation_{1};
  uint64_t refused_ = 0;
  TlvWriter* accepted_ = nullptr;
  bool finished_ = false;
  size_t before_tail_ = ~size_t{0};
};

}  // namespace mayfly
