#include "inspect/shard_tables.h"

#include <algorithm>

#include "inspect/fields.h"
#include "meta/images.h"
#include "store/images.h"

namespace mayfly {
namespace {

template <class Image>
Status Read(Bytes value, Image* image) {
  Decoder d(value);
  d.Get(*image);
  return d.Finish();
}

}  // namespace

// Nothing is ever placed in the arena: it has no memory.
class ShardTables::NoMemory final : public ArenaMemory {
 public:
  Result<std::vector<Found>> Adopt() override { return std::vector<Found>(); }
  Result<MutableBytes> Map(size_t) override { return Code::kNoSpace; }
  std::span<ArenaStamp> Stamps(MutableBytes) override { return {}; }
  std::span<ArenaStamp> Changes() override { return {}; }
  ArenaBoard* Board() override { return nullptr; }
  void Unmap(MutableBytes) override {}
  void Keep() override {}
  void Prefault(MutableBytes) override {}
  std::string Name() const override { return {}; }
  bool IsAttached(uint64_t) override { return false; }
};

ShardTables::ShardTables(ShardId self)
    : self_(self),
      names_({.self = self}),
      no_memory_(std::make_unique<NoMemory>()),
      budget_(uint64_t{1} << 60),  // whatever the tables take
      arena_(no_memory_.get(), &budget_),
      store_(&arena_, &budget_) {}

ShardTables::~ShardTables() = default;

Status ShardTables::OnRecord(const JournalRecord& record) {
  if (record.in_region && accepted_ != nullptr) before_tail_ = std::min(before_tail_, accepted_->size());
  return Apply(record.payload, record.in_region);
}

Status ShardTables::Apply(Bytes fields, bool unwritten) {
  TlvReader reader(fields);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) {
    const bool good = ApplyField(tag, value, unwritten).ok();
    if (!good) ++refused_;  // B1
    if (!good || accepted_ == nullptr || !CheckField(tag, value).ok()) continue;
    accepted_->PutWith(tag, value.size(), [&](Encoder& e) { e.Raw(value.data(), value.size()); });
  }
  if (!reader.Finish().ok()) ++refused_;
  return {};
}

Status ShardTables::ApplyField(Tag tag, Bytes value, bool unwritten) {
  if (IsNamesTag(tag)) return names_.Apply(tag, value);
  if (IsStoreTag(tag)) return store_.Apply(tag, value, unwritten);
  if (tag == kTagOutcome) {
    OutcomeImage image;
    MAYFLY_TRY(Read(value, &image));
    outcomes_.erase(image.txn);
    if (!image.steps.empty()) outcomes_.emplace(image.txn, std::move(image));
    return {};
  }
  if (tag == kTagIntent) {
    IntentImage image;
    MAYFLY_TRY(Read(value, &image));
    intents_.erase(image.number);
    if (image.kind != IntentKind::kNone) intents_.emplace(image.number, std::move(image));
    return {};
  }
  if (tag == kTagLoan) {
    LoanImage image;
    MAYFLY_TRY(Read(value, &image));
    (void)loans_.Take(image.process, image.loan.id);
    if (image.loan.bytes != 0) loans_.Lend(image.process, image.loan.id, Place{image.loan.offset, image.loan.bytes});
    return {};
  }
  if (tag == kTagOutbox) {
    OutboxImage image;
    MAYFLY_TRY(Read(value, &image));
    outboxes_.erase(image.process);
    if (image.loan != 0) outboxes_.emplace(image.process, std::move(image));
    return {};
  }
  if (tag == kTagGeneration) {
    Generation generation;
    MAYFLY_TRY(Read(value, &generation));
    generation_ = std::max(generation_, generation);
    return {};
  }
  return {};  // of clients and servers that are gone
}

bool ShardTables::Finish() {
  std::vector<InodeId> dead, orphans;
  finished_ = names_.FinishRecovery(&dead, &orphans).ok();
  return finished_;
}

const OutcomeImage* ShardTables::DecidedFor(TxnId step) const {
  for (const auto& [id, outcome] : outcomes_) {
    const auto is_it = [step](const OutcomeImage::Step& one) { return one.id == step; };
    if (std::any_of(outcome.steps.begin(), outcome.steps.end(), is_it)) return &outcome;
  }
  return nullptr;
}

bool ShardTables::DropBegunFor(InodeId file) const {
  return std::any_of(intents_.begin(), intents_.end(), [file](const auto& intent) {
    return intent.second.kind == IntentKind::kDrop && intent.second.inode == file;
  });
}

std::optional<ShardTables::SizeBegun> ShardTables::SizeBegunFor(InodeId file) const {
  std::optional<SizeBegun> begun;
  for (const auto& [number, intent] : intents_) {
    if (intent.inode != file || !ChangesSize(intent)) continue;
    if (intent.kind == IntentKind::kTruncate) return SizeBegun{.limit = intent.size, .epoch = intent.epoch};
    begun = SizeBegun{.limit = intent.size, .append_end = intent.size + intent.bytes};
  }
  return begun;
}

}  // namespace mayfly
