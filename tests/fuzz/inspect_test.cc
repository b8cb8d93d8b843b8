// Any fields as what the journals of two shards say, for the tools that look at them: each field is described or said
// not to be one; tables that take what they can are settled, checked against each other and salvaged, whatever they
// contradict: it ends, and each name that salvage writes is one of theirs. Inputs are fields as they come, and images
// of few numbers, so that they agree and collide, with a few changes.
#include "base/log.h"
#include "fake/worked_example.h"
#include "fuzz/fuzz.h"
#include "fuzz/memory_pfs.h"
#include "inspect/fields.h"
#include "inspect/fsck.h"
#include "inspect/outboxes.h"
#include "inspect/repair.h"
#include "meta/images.h"
#include "rpc/history.h"
#include "store/images.h"
#include "unit/wire/message_fill.h"
#include "wire/outbox_records.h"

namespace mayfly {
namespace {

void DescribeAll(Bytes fields) {
  TlvReader reader(fields);
  Tag tag = 0;
  Bytes value;
  while (reader.Next(&tag, &value)) {
    const nlohmann::ordered_json text = DescribeField(tag, value);
    const Status status = CheckField(tag, value);
    const bool known = !NameOfTag(tag).empty();
    FUZZ_CHECK(text.contains("value") == (known && status.ok()) && text.contains("problem") == (known && !status.ok()));
    (void)text.dump();  // throws unless it is UTF-8
  }
}

struct Sink final : FsckSink, SalvageSink {
  void OnFinding(const Finding&) override {}
  void OnProgress(const FsckCounts&) override {}
  void OnLoss(const Loss& loss) override {
    ++losses;
    FUZZ_CHECK(!loss.why.empty());
  }
  void OnWhole(const WholeName& name) override { FUZZ_CHECK(!name.path.empty()); }
  void OnRefusal(const std::string&) override {}
  void OnProgress(const SalvageCounts&) override {}
  uint64_t losses = 0;
};

// Bytes that are there, or not.
struct Storage final : PieceSource {
  void Read(const StoredPiece& piece, uint64_t begin, MutableBytes to, Gaps* gaps) override {
    FUZZ_CHECK(begin >= piece.begin && begin + to.size() <= piece.end());
    if (to.size() == outbox.size()) {
      std::copy(outbox.begin(), outbox.end(), to.begin());
      return;
    }
    std::fill(to.begin(), to.end(), 'x');
    if (piece.place.bytes % 3 == 0) gaps->push_back({begin, begin + to.size(), GapKind::kCorrupt});
  }
  std::vector<uint8_t> outbox;
};

// Built once: it takes longer than a run.
struct World {
  const Layout layout = *Layout::Build({{MemberId(0), "a", 1, 1}, {MemberId(1), "b", 1, 1}});
  const Placement placement = *Placement::Build(layout);
};
const World& TheWorld() {
  static const World world;
  return world;
}

class Run {
 public:
  Run(const uint8_t* data, size_t size) : choices_(data, size) {}

  void Go() {
    Directory(placement_.RootInode(), {});
    for (uint64_t i = 4; i <= 6; ++i) Directory(InodeId::Make(ShardId(i % 2), i), placement_.RootInode());
    for (int i = 0; i < 80 && !choices_.empty(); ++i) One();
    for (uint32_t i = 0; i < 2; ++i) {
      std::vector<uint8_t> fields(out_[i].bytes().begin(), out_[i].bytes().end());
      if (choices_.Byte() % 4 == 0) choices_.Mutate(&fields);
      tables_[i].KeepAccepted(&accepted_[i]);
      FUZZ_CHECK(tables_[i].Apply(fields).ok());
      DescribeAll(fields);
    }
    const uint8_t missing = choices_.Byte() % 8;
    std::vector<SettleShard> settle;
    FsckInput fsck;
    SalvageInput salvage;
    MemoryPfs target;
    Storage storage;
    Sink sink;
    for (uint8_t i = 0; i < 2; ++i) {
      settle.push_back(i == missing ? SettleShard() : SettleShard{&tables_[i], choices_.Byte() % 2 == 0});
      salvage.shards.push_back(i == missing ? SalvageShard() : SalvageShard{&tables_[i], &storage});
      fsck.chunk_file_blocks.push_back(choices_.Byte());
    }
    (void)Settle(settle);
    fsck.layout = salvage.layout = &layout_;
    fsck.placement = salvage.placement = &placement_;
    salvage.root = placement_.RootInode();
    fsck.shards = salvage.shards;
    fsck.with_data = choices_.Byte() % 2 == 0;
    (void)Fsck(fsck, &sink);
    Repair(fsck.chunk_file_blocks);
    for (const SalvageShard& shard : salvage.shards) {
      if (shard.tables != nullptr) WriteDown(shard, &storage);
    }
    storage.outbox.clear();
    salvage.target = &target;
    const auto counts = Salvage(salvage, &sink);
    if (!counts.ok()) {
      FUZZ_CHECK(counts.failure().status.code() == Code::kNoSpace);
      return;
    }
    uint64_t files = 0;
    for (const auto& [path, node] : target.nodes) files += node->type != PfsType::kDirectory;
    FUZZ_CHECK(counts->whole() == (sink.losses == 0));
    FUZZ_CHECK(files <= counts->files + counts->symlinks + counts->partial);  // S1: nothing of a temporary name is left
  }

 private:
  // Whatever stands in an outbox, the tables fit together as before; and once it is done nothing is left of it.
  void WriteDown(const SalvageShard& shard, Storage* storage) {
    TlvWriter lent;
    for (uint64_t id = 1; id <= 4; ++id) {
      LoanImage loan;
      loan.process = ClientId(9);
      loan.loan = PlaceLoan{id, id << 20, id == 1 ? kOutboxBytes : 4096};
      lent.Put(kTagLoan, loan, LoanImage::kBytes);
    }
    OutboxImage outbox;
    outbox.process = ClientId(9);
    outbox.loan = 1;
    lent.Put(kTagOutbox, outbox, outbox.encoded_bytes());
    FUZZ_CHECK(shard.tables->Apply(lent.bytes()).ok());
    storage->outbox.assign(kOutboxBytes, 0);
    for (uint32_t i = 0; i < kOutboxSlots && !choices_.empty(); ++i) {
      OutboxSlot* const slot = OutboxSlotAt(storage->outbox, i);
      Encoder e(MutableBytes(slot->records));
      for (int n = choices_.Byte() % 8; n > 0; --n) PutRecord(&e, shard.tables->self());
      slot->serial = 1 + choices_.Byte() % 4;
      slot->done = choices_.Byte() % 4;
      slot->bytes = choices_.Byte() % 8 == 0 ? static_cast<uint32_t>(choices_.U64()) : static_cast<uint32_t>(e.size());
      if (choices_.Byte() % 4 == 0) slot->records[choices_.U64() % OutboxSlot::kRecordsBytes] ^= choices_.Byte();
    }
    const bool sound = shard.tables->finished() && shard.tables->names().Check().empty();
    (void)DoWrittenDown(shard, &placement_, {1'000'000, 2'000'000});
    FUZZ_CHECK(!sound || shard.tables->names().Check().empty());
  }
  void PutRecord(Encoder* e, ShardId self) {
    static constexpr std::string_view kNames[] = {"a", "b", "c", "", "..", "a/b"};
    const uint8_t kind = choices_.Byte();
    const std::string_view name = kNames[choices_.Byte() % std::size(kNames)];
    if (kind % 3 == 0) {
      BirthRecord birth;
      birth.parent = Any();
      birth.inode = choices_.Byte() % 2 == 0 ? Any() : InodeId::Make(self, choices_.Byte());
      birth.permissions = 0644;
      birth.chunk_bits = 16 + choices_.Byte() % 12;
      birth.name = name;
      e->Put(BirthRecord::kKind);
      e->Put(birth);
    } else if (kind % 3 == 1) {
      ContentRecord content;
      content.commit.loan = choices_.Byte() % 6;
      content.commit.inode = Any();
      content.commit.chunk = ChunkIndex(choices_.Byte() % 4);
      content.commit.offset = choices_.Byte() % 2 == 0 ? 0 : static_cast<uint32_t>(choices_.U64());
      content.commit.bytes = choices_.Byte() * 32u;
      content.commit.chunk_bits = 16 + choices_.Byte() % 12;
      if (choices_.Byte() % 2 == 0) content.commit.sums.push_back(choices_.U64());
      e->Put(ContentRecord::kKind);
      e->Put(content);
    } else {
      RemovalRecord removal;
      removal.parent = Any();
      removal.at = static_cast<Nanos>(choices_.U64());
      removal.name = name;
      e->Put(RemovalRecord::kKind);
      e->Put(removal);
    }
  }
  // Either says why not, or leaves nothing to be repaired (N1: it has looked itself); also after one that broke off
  // when it had written one shard's.
  void Repair(const std::vector<uint64_t>& blocks) {
    std::vector<RepairShard> shards(2);
    for (uint32_t i = 0; i < 2; ++i) {
      shards[i].whole = choices_.Byte() % 2 == 0;
      shards[i].chunk_file_blocks = blocks[i];
    }
    const uint32_t first = choices_.Byte() % 3;  // 2: both
    for (int round = 0; round < 3; ++round) {
      for (uint32_t i = 0; i < 2; ++i) {
        shards[i].fields.Clear();
        Copy(accepted_[i].bytes(), &shards[i].fields);
      }
      const auto plan = PlanRepair(layout_, placement_, shards, 7);
      FUZZ_CHECK(plan.ok() || (round == 0 && !plan.failure().sentence.empty()));
      if (!plan.ok()) return;
      for (uint32_t i = 0; i < 2; ++i) {
        FUZZ_CHECK(round < 2 || plan->images[i].empty());
        if (round == 0 && first != 2 && first != i) continue;
        Copy(plan->images[i].bytes(), &accepted_[i]);
        shards[i].whole = true;
      }
    }
  }
  static void Copy(Bytes fields, TlvWriter* out) {
    TlvReader reader(fields);
    Tag tag = 0;
    for (Bytes value; reader.Next(&tag, &value);) Value(out, tag, value);
  }
  static FileType TypeOf(InodeId id) {
    if (id.sequence() <= 3) return FileType::kFile;
    return id.sequence() <= 6 ? FileType::kDirectory : FileType::kSymlink;
  }
  InodeId Any() {
    const uint8_t which = choices_.Byte();
    if (which % 16 == 15) return placement_.RootInode();
    if (which == 0) return InodeId(choices_.U64());
    return InodeId::Make(ShardId(which / 8 % 2), 1 + which % 8);
  }
  InodeId Dir() {
    const uint8_t which = choices_.Byte();
    if (which == 0) return Any();
    if (which % 4 == 0) return placement_.RootInode();
    const uint64_t sequence = 4 + which % 3;
    return InodeId::Make(ShardId(sequence % 2), sequence);
  }
  std::string_view Name() {
    static constexpr std::string_view kNames[] = {"a", "b", "lost+found", "\xff\n", "a.partial", "c"};
    return kNames[choices_.Byte() % 6];
  }
  TlvWriter* Out(InodeId of) {
    const uint32_t home = of.home().value % 2;
    return &out_[choices_.Byte() == 1 ? 1 - home : home];
  }
  void Directory(InodeId id, InodeId parent) {
    InodeImage image;
    image.id = id;
    image.type = FileType::kDirectory;
    image.permissions = 0755;
    image.parent = parent;
    PutImage(Out(id), image);
    for (uint32_t shard = 0; shard < 2; ++shard) {
      PutImage(Out(id), InodeShardImage{id, ShardId(shard)});
      PutImage(&out_[shard], PartImage{id, 0755, 0, 0, 1, 4, 5, 1});
    }
  }
  void Inode() {
    InodeImage image;
    image.id = Any();
    image.type = TypeOf(image.id);
    image.flags = static_cast<uint8_t>(choices_.Byte() & choices_.Byte());
    image.permissions = 0644;
    image.nlink = choices_.Byte() % 4;
    image.size = choices_.Byte() % 4 == 0 ? choices_.U64() : choices_.Below(60'000);
    image.chunk_bits = choices_.Byte() % 8 == 0 ? choices_.Byte() : 18;
    image.parent = Dir();
    image.target = "to";
    PutImage(Out(image.id), image);
  }
  // A range with at most one extent, in the arena or in the chunk file.
  void Range() {
    uint8_t buffer[200];
    Encoder e(buffer);
    const InodeId file = Any();
    const uint64_t begin = choices_.Byte() % 16 == 0 ? choices_.U64() : choices_.Below(20) * 3'000;
    const uint8_t slices = choices_.Byte() % 2;
    const uint64_t serial = 1 + choices_.Byte();
    e(file, begin, begin + 6'000u * slices, uint64_t{choices_.Byte()} * 300, uint64_t{1},
      uint64_t{choices_.Byte()} % 3);
    e(uint64_t{9}, slices, slices);
    if (slices == 1) {
      const uint8_t kind = choices_.Byte() % 3, on_disk = choices_.Byte() % 2 * 8;
      e(serial, (128 + serial * 2) * 4'096, uint32_t{6'000}, uint32_t{6'000}, begin);
      e(static_cast<uint8_t>((kind != 0) | on_disk));
      if (on_disk != 0) e(1 + serial % 40 * 2);
      e(begin, uint32_t{6'000}, uint8_t{0}, kind);
    }
    Value(&out_[choices_.Byte() % 2], kTagFileRange, Bytes(buffer, e.size()));
  }
  static void Value(TlvWriter* out, Tag tag, Bytes value) {
    out->PutWith(tag, value.size(), [value](Encoder& e) { e.Raw(value.data(), value.size()); });
  }
  // A field of any kind, filled by chance.
  template <class T>
  void Filled(Tag tag) {
    Filler filler(choices_.U64(), Filler::How::kByChance);
    T image;
    filler(image);
    out_[choices_.Byte() % 2].Put(tag, image, 1 << 16);
  }
  void Transaction() {
    PreparedImage image;
    const uint64_t coordinator = choices_.Byte() % 3;
    image.txn = TxnId(coordinator << 40 | (1 + choices_.Byte() % 4));
    for (int n = choices_.Byte() % 4; n > 0; --n) {
      TxnOp op;
      op.kind = static_cast<TxnKind>(1 + choices_.Byte() % 5);
      op.inode = op.kind == TxnKind::kLink ? Any() : Dir();
      op.name = Name();
      if (choices_.Byte() % 2 == 0) op.set = Any();
      op.set_type = TypeOf(op.set);
      op.delta = static_cast<int8_t>(choices_.Byte());
      image.ops.push_back(op);
    }
    PutImage(&out_[choices_.Byte() % 2], image);
    if (choices_.Byte() % 2 != 0 || coordinator > 1) return;
    OutcomeImage outcome;
    outcome.txn = image.txn;
    outcome.steps.push_back({ShardId(choices_.Byte() % 2), image.txn});
    out_[coordinator].Put(kTagOutcome, outcome, outcome.encoded_bytes());
  }
  void Intent() {
    IntentImage image;
    image.number = choices_.Byte() % 4;
    image.kind = static_cast<IntentKind>(choices_.Byte() % 6);
    image.inode = Any();
    image.size = choices_.Byte() % 4 == 0 ? choices_.U64() : choices_.Below(20'000);
    image.bytes = choices_.Byte() % 4 == 0 ? choices_.U64() : choices_.Below(20'000);
    image.epoch = choices_.Byte() % 3;
    Out(image.inode)->Put(kTagIntent, image, image.encoded_bytes());
  }
  void One() {
    switch (choices_.Byte() % 16) {
      case 0:
      case 1:
      case 2:
        return Inode();
      case 3:
      case 4:
      case 5: {
        const InodeId parent = Dir(), inode = Any();
        const std::string_view name = Name();
        const uint32_t shard =
            choices_.Byte() % 8 == 0 ? choices_.Byte() % 2 : placement_.DentryShard(parent, name).value;
        const FileType type = choices_.Byte() % 16 == 0 ? FileType::kFile : TypeOf(inode);
        return PutImage(&out_[shard], EntryImage{parent, inode, 1u + choices_.Byte(), type, 6, name});
      }
      case 6:
      case 7:
      case 8:
        return Range();
      case 9:
        return Transaction();
      case 10:
        return Intent();
      case 11: {
        const InodeId inode = Any();
        return PutImage(Out(inode), InodeShardImage{inode, ShardId(choices_.Byte() % 3)});
      }
      case 12: {
        const InodeId inode = Any();
        return PutImage(Out(inode), InodeGoneImage{inode});
      }
      case 13: {
        const InodeId inode = Any();
        return PutImage(Out(inode), OpenImage{inode, ClientId(5), choices_.Byte() % 3u, choices_.Byte() % 2 == 0});
      }
      case 14:
        return Value(&out_[choices_.Byte() % 2], static_cast<Tag>(choices_.U64()), choices_.Some(40));
      default:
        switch (choices_.Byte() % 8) {
          case 0:
            return Filled<AnswerImage>(kTagAnswer);
          case 1:
            return Filled<SoleImage>(kTagSole);
          case 2:
            return Filled<LoanImage>(kTagLoan);
          case 3:
            return Filled<OutcomeImage>(kTagOutcome);
          case 4:
            return Filled<AttachedImage>(kTagAttached);
          case 5:
            return Filled<JobImage>(kTagJob);
          case 6:
            return Filled<OutboxImage>(kTagOutbox);
          default:
            return Filled<XattrImage>(XattrImage::kTag);
        }
    }
  }

  Choices choices_;
  const Layout& layout_ = TheWorld().layout;
  const Placement& placement_ = TheWorld().placement;
  TlvWriter out_[2], accepted_[2];
  ShardTables tables_[2]{ShardTables(ShardId(0)), ShardTables(ShardId(1))};
};

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  SetLogSink([](LogLevel, std::string_view) {}, LogLevel::kError);
  DescribeAll({data, size});
  Run(data, size).Go();
}

// All fields of the format's page, each example a record.
std::vector<FuzzInput> Examples() {
  std::vector<FuzzInput> all;
  for (const auto& [name, bytes] : ReadExample("images.md")) all.push_back(bytes);
  return all;
}

FUZZ_TEST_MAIN(ToolsEndWhateverJournalsSay, 2000)

}  // namespace mayfly
