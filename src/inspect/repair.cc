#include "inspect/repair.h"

#include <algorithm>
#include <memory>

#include "inspect/fsck_run.h"
#include "inspect/mend.h"
#include "meta/images.h"
#include "meta/namespace_look.h"

namespace mayfly {
namespace {

// Each takes something that the one before could not know of: a directory that was made again may have no name.
constexpr int kRoundsMax = 16;
// What a journal gave out and has no image of any more; beyond it it is no number of ours.
constexpr uint64_t kNumbersLostMax = uint64_t{1} << 32;

class Planner final : public FsckSink {
 public:
  Planner(const Layout& layout, const Placement& placement, const std::vector<RepairShard>& shards, Nanos now)
      : shards_(shards), now_(now) {
    plan_.images.resize(shards.size());
    input_.layout = &layout;
    input_.placement = &placement;
    for (const RepairShard& shard : shards) input_.chunk_file_blocks.push_back(shard.chunk_file_blocks);
  }

  Outcome<RepairPlan> Run() {
    for (int round = 0; round < kRoundsMax; ++round) {
      Apply();
      if (round == 0 && ReserveNumbers()) Apply();
      SettleAll();
      Mender mender(&input_, now_, &plan_.images);
      mender_ = &mender;
      left_.clear();
      (void)Fsck(input_, this);
      const bool mended = mender.Finish();
      mender_ = nullptr;
      if (mended || Forget()) continue;
      if (const Outcome<Done> good = Judge(); !good.ok()) return good.failure();
      RaiseGeneration();
      return std::move(plan_);
    }
    return Fail(Code::kCorrupt,
                "what the journals hold contradicts itself again and again ({}); save what there is with "
                "`mayfly salvage`",
                left_);
  }

  void OnFinding(const Finding& finding) override {
    left_ = LineOf(finding);
    if (finding.mend.kind != MendKind::kNone) ++plan_.mended;
    mender_->Add(finding);
  }
  void OnProgress(const FsckCounts&) override {}

 private:
  // The tables as a recovery makes them by now.
  void Apply() {
    tables_.clear();
    input_.shards.clear();
    for (uint32_t i = 0; i < shards_.size(); ++i) {
      tables_.push_back(TablesWith(ShardId(i), shards_[i], plan_.images[i].bytes()));
      input_.shards.push_back({tables_[i].get(), nullptr});
    }
  }

  // Where a journal lost something others may still have what was of its inodes: none gets such a number.
  bool ReserveNumbers() {
    bool any = false;
    std::vector<uint64_t> greatest(shards_.size(), 0);
    const auto note = [&greatest](InodeId id) {
      const uint32_t home = id.home().value;
      if (home < greatest.size()) greatest[home] = std::max(greatest[home], id.sequence());
    };
    for (const auto& tables : tables_) {
      const NamespaceLook look(tables->names());
      for (const InodeId dir : look.Parts()) {
        note(dir);
        look.ForEachEntry(dir, [&](std::string_view, InodeId inode, FileType) { note(inode); });
      }
      tables->store().ForEachFile(note);
    }
    for (uint32_t i = 0; i < shards_.size(); ++i) {
      const NextSequenceImage image{greatest[i] + 1};
      const uint64_t next = tables_[i]->names().next_sequence();
      if (shards_[i].whole || image.next <= next || image.next - next > kNumbersLostMax) continue;
      PutImage(&plan_.images[i], image);
      any = true;
    }
    return any;
  }

  // What is decided here is an image like others.
  void SettleAll() {
    std::vector<SettleShard> settle;
    for (uint32_t i = 0; i < shards_.size(); ++i) {
      tables_[i]->names().SetRecorder(&plan_.images[i]);
      settle.push_back({tables_[i].get(), shards_[i].whole});
    }
    const Settled now = Settle(settle);
    for (const auto& tables : tables_) tables->names().SetRecorder(nullptr);
    plan_.settled.committed += now.committed;
    plan_.settled.aborted += now.aborted;
    finished_ = true;
    for (const auto& tables : tables_) finished_ = finished_ && tables->finished();
    if (finished_) plan_.settled.unknown += now.unknown;
  }

  // Where nothing else is wrong any more it is what was prepared that cannot be: as if it had never been. False: there
  // is none.
  bool Forget() {
    bool any = false;
    for (uint32_t i = 0; i < shards_.size(); ++i) {
      if (tables_[i]->finished()) continue;
      for (const TxnId txn : NamespaceLook(tables_[i]->names()).Prepared()) {
        PutImage(&plan_.images[i], DecidedImage{txn});
        ++plan_.settled.unknown;
        any = true;
      }
    }
    return any;
  }

  // Clients that come back walk anew: what they had cached may lead elsewhere.
  void RaiseGeneration() {
    const auto nothing = [](const TlvWriter& images) { return images.empty(); };
    if (std::all_of(plan_.images.begin(), plan_.images.end(), nothing)) return;
    const uint32_t root = input_.placement->RootShard().value;
    const Generation next(tables_[root]->generation().value + 1);
    plan_.images[root].Put(kTagGeneration, next, sizeof next);
  }

  // N1.
  Outcome<Done> Judge() const {
    std::string why;
    if (!finished_) why = "the names of a shard contradict each other in a way that fsck does not know";
    if (!left_.empty()) why = left_;
    if (why.empty()) return Done{};
    return Fail(Code::kCorrupt, "it cannot be repaired: {}; save what there is with `mayfly salvage`", why);
  }

  const std::vector<RepairShard>& shards_;
  const Nanos now_;
  FsckInput input_;
  RepairPlan plan_;
  std::vector<std::unique_ptr<ShardTables>> tables_;
  Mender* mender_ = nullptr;
  bool finished_ = false;
  std::string left_;  // the last finding of the round
};

}  // namespace

std::unique_ptr<ShardTables> TablesWith(ShardId shard, const RepairShard& from, Bytes images) {
  auto tables = std::make_unique<ShardTables>(shard);
  const Bytes fields = from.fields.bytes();
  (void)tables->Apply(fields.first(from.before_tail));
  (void)tables->Apply(fields.subspan(from.before_tail), true);
  (void)tables->Apply(images);
  return tables;
}

Outcome<RepairPlan> PlanRepair(const Layout& layout, const Placement& placement, const std::vector<RepairShard>& shards,
                               Nanos now) {
  MAYFLY_CHECK(shards.size() == layout.shard_count());
  return Planner(layout, placement, shards, now).Run();
}

}  // namespace mayfly
