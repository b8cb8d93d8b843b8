#include "inspect/salvage_run.h"

#include "adapt/posix/clock.h"
#include "adapt/posix/pfs_tree.h"
#include "inspect/storage.h"

namespace mayfly {
namespace {

class DoorSource final : public PieceSource {
 public:
  explicit DoorSource(StoredShard* shard) : shard_(*shard) {}
  void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
    shard_.door->Run(shard_.bytes->Read(piece, begin, to, gaps));
  }

 private:
  StoredShard& shard_;
};

Outcome<std::shared_ptr<PfsRoot>> OpenTarget(const std::string& path, bool* made) {
  PosixPfsTree tree;
  std::shared_ptr<PfsRoot> root;
  PfsStatus status = tree.Open(path, true, &root, made);
  bool empty = true;
  if (status.ok()) status = root->List("", [&empty](std::string_view) { empty = false; });
  if (!status.ok()) return Fail(status.code, "{}", status.why);
  if (empty) return root;
  return Fail(Code::kNotEmpty, "{} is not empty: name a directory that is, or is not there yet", path);
}

}  // namespace

Outcome<Salvaged> SalvageTo(const SalvageRequest& request, SalvageSink* sink) {
  Outcome<Storage> storage = OpenStorage(request.directories, request.user);
  if (!storage.ok()) return storage.failure();
  SalvageInput input;
  Outcome<std::shared_ptr<PfsRoot>> target = OpenTarget(request.target, &input.target_made);
  if (!target.ok()) return target.failure();
  Salvaged salvaged;
  salvaged.session = storage->charter.uuid;
  salvaged.in_doubt = Settle(storage->settle_shards());
  for (const auto& shard : storage->shards) {
    if (shard == nullptr || shard->tables->finished()) continue;
    storage->problems.push_back(NameOf(shard->member, shard->place.shard) +
                                ": its names contradict each other; they are saved as they are");
  }
  std::vector<std::unique_ptr<DoorSource>> sources;
  for (const auto& shard : storage->shards) {
    if (shard != nullptr) sources.push_back(std::make_unique<DoorSource>(shard.get()));
    input.shards.push_back(shard != nullptr ? SalvageShard{shard->tables.get(), sources.back().get()} : SalvageShard());
  }
  input.layout = &storage->layout;
  input.placement = &storage->placement;
  input.target = target->get();
  input.number = PosixClock().Wall();
  const Outcome<SalvageCounts> counts = Salvage(input, sink);
  if (!counts.ok()) return counts.failure();
  if (const Outcome<Done> unchanged = Unchanged(*storage); !unchanged.ok()) return unchanged.failure();
  salvaged.counts = *counts;
  salvaged.problems = std::move(storage->problems);
  salvaged.notes = std::move(storage->notes);
  return salvaged;
}

}  // namespace mayfly
