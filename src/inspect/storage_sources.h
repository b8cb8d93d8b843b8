// The shards of an open storage as salvage and fsck want them: tables, and bytes read through the shard's door. Lives
// no longer than the storage. One thread.
#pragma once

#include <memory>
#include <vector>

#include "inspect/chunk_writer.h"
#include "inspect/storage.h"

namespace mayfly {

// The bytes of one.
class StoredSource final : public UnwrittenSource {
 public:
  explicit StoredSource(const StoredShard* shard) : shard_(*shard) {}
  void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
    shard_.door->Run(shard_.bytes->Read(piece, begin, to, gaps));
  }
  bool IsInMemory(const StoredPiece& extent) override { return shard_.bytes->IsInMemory(extent); }

 private:
  const StoredShard& shard_;
};

class StorageSources {
 public:
  // Settles the storage's tables; those that contradict themselves become a problem of it.
  explicit StorageSources(Storage* storage) {
    settled_ = Settle(storage->settle_shards());
    for (const auto& shard : storage->shards) {
      sources_.push_back(shard != nullptr ? std::make_unique<StoredSource>(shard.get()) : nullptr);
      shards_.push_back(shard != nullptr ? SalvageShard{shard->tables.get(), sources_.back().get()} : SalvageShard());
      if (shard == nullptr || shard->tables->finished()) continue;
      storage->problems.push_back(NameOf(shard->member, shard->place.shard) +
                                  ": its names contradict each other; they are taken as they are");
    }
  }
  const std::vector<SalvageShard>& shards() const { return shards_; }
  const Settled& settled() const { return settled_; }

 private:
  Settled settled_;
  std::vector<std::unique_ptr<StoredSource>> sources_;
  std::vector<SalvageShard> shards_;
};

}  // namespace mayfly
