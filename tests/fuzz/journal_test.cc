// Any bytes as a journal: superblocks, records, tail region, checkpoint. Recovery ends, gives what the format allows,
// gives the same twice, and a journal that it accepts can be gone on with. Inputs are journals with a few changes,
// records with other fields under a good checksum, and bytes as they come.
#include "base/checksum.h"
#include "fuzz/fuzz.h"
#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

void Decoders(Bytes bytes) {
  const JournalIdentity identity = ExampleIdentity();
  std::vector<uint8_t> block(bytes.begin(), bytes.end());
  block.resize(kRingOffset);
  Superblock s;
  if (DecodeSuperblock(Bytes(block).first(kJournalBlockBytes), identity, &s) == SuperblockState::kGood) {
    std::vector<uint8_t> again(kJournalBlockBytes);
    EncodeSuperblock(s, again);
    FUZZ_CHECK(std::equal(again.begin(), again.end(), block.begin()));
  }
  (void)ChooseSuperblock(block, identity, &s);
  RecordHeader record;
  if (DecodeRecordHeader(bytes, &record)) FUZZ_CHECK(record.span() <= RecordHeader::SpanOf(kPayloadBytesMax));
  RegionHeader region;
  (void)DecodeRegionHeader(bytes, identity, kRingBytesMin, &region);
  FrameHeader frame;
  if (DecodeFrame(bytes, identity.uuid, 1, 0, &frame)) {
    FUZZ_CHECK(FrameHeader::kBytes + frame.field_bytes <= bytes.size());
  }
}

// What a recovery said, to compare with another.
struct Said final : JournalVisitor {
  std::vector<uint64_t> all;
  uint64_t last = 0;
  Status OnCheckpoint(Bytes fields) override {
    all.push_back(fields.size());
    return {};
  }
  Status OnRecord(const JournalRecord& record) override {
    FUZZ_CHECK(record.lsn.value >= last && record.end > record.lsn && record.payload.size() <= kPayloadBytesMax);
    last = record.end.value;
    all.insert(all.end(), {record.lsn.value, record.end.value, record.transaction.value});
    return {};
  }
  void OnDamage(Lsn from, Lsn to) override {
    FUZZ_CHECK(from < to && from.value >= last);
    last = to.value;
    all.insert(all.end(), {from.value, to.value});
  }
  void OnCheckpointDamage(uint64_t from, uint64_t to) override { all.insert(all.end(), {from, to}); }
};

// A region of memory or a stretch of a file, changed in place.
void Scribble(MutableBytes bytes, Choices* choices) {
  for (int n = 1 + choices->Byte() % 4; n > 0; --n) {
    const size_t at = choices->U64() % bytes.size();
    const size_t length = std::min<size_t>(bytes.size() - at, 1 + choices->Below(choices->Byte() % 2 == 0 ? 4 : 9000));
    const uint8_t value = choices->Byte();
    for (size_t i = 0; i < length; ++i)
      bytes[at + i] = static_cast<uint8_t>(value % 3 == 0 ? bytes[at + i] ^ value : value);
  }
}

// Records as a damaged server might have written them: fields that are others, under a checksum that holds.
void ForgeRecords(MutableBytes bytes, const JournalIdentity& identity, Choices* choices) {
  std::vector<size_t> found;
  for (size_t at = 0; at + RecordHeader::kBytes <= bytes.size(); at += RecordHeader::kAlign) {
    uint32_t session = 0;
    std::memcpy(&session, bytes.data() + at + offsetof(RecordHeader, session), sizeof session);
    if (session == SessionMark(identity)) found.push_back(at);
  }
  for (int n = 1 + choices->Byte() % 4; n > 0 && !found.empty(); --n) {
    const size_t at = found[choices->Below(static_cast<uint32_t>(std::min<size_t>(found.size(), 65536)))];
    RecordHeader header;
    Decoder(bytes.subspan(at)).Get(header);
    switch (choices->Byte() % 7) {
      case 0:
        header.payload_bytes = choices->Byte() % 4 == 0 ? static_cast<uint32_t>(choices->U64()) : choices->Below(4000);
        break;
      case 1:
        header.type = static_cast<RecordType>(choices->Byte() % 4);
        break;
      case 2:
        header.lsn.value += (choices->Byte() - 128) * int64_t{8};
        break;
      case 3:
        header.incarnation += static_cast<uint32_t>(choices->Byte() % 8) - 4;
        break;
      case 4:
        header.durable_behind = choices->Byte();
        break;
      case 5:
        header.wrap ^= choices->Byte() % 4;
        break;
      default:
        header.transaction = TxnId(choices->U64());
    }
    const size_t end = std::min<size_t>(bytes.size(), at + RecordHeader::kBytes + header.payload_bytes);
    const Bytes payload = Bytes(bytes).subspan(at + RecordHeader::kBytes, end - at - RecordHeader::kBytes);
    SealRecordHeader(header, Checksum(payload), identity.uuid, bytes.data() + at);
  }
}

void Whole(Choices* choices) {
  JournalWorld world(7);
  world.Create();
  const uint32_t records = choices->Below(300);
  for (uint32_t i = 0; i < records; ++i) {
    (void)world.AppendCell(i % 30, i, choices->Byte() * 4);
    const uint8_t what = choices->Byte();
    if (what < 100) world.Turn();
    if (what > 250) FUZZ_CHECK(world.Checkpoint({{1, i}}).ok());
    if (what == 250) {
      world.Crash(false);
      TableVisitor visitor;
      world.Reopen(&visitor);
    }
  }
  world.Crash(false);
  if (choices->Byte() % 2 == 0) {
    const MutableBytes region = *world.kept->Find(TailWindow::kRegionName);
    if (choices->Byte() % 2 == 0) {
      ForgeRecords(region.subspan(kJournalBlockBytes), world.options.identity, choices);
    } else {
      Scribble(region, choices);
    }
  } else if (choices->Byte() % 3 == 0) {
    world.node.CutPower();
  }
  world.Reboot();
  if (choices->Byte() % 2 == 0) {
    std::vector<uint8_t> file = world.platter.Contents(kJournalFileName);
    // Superblocks are accepted with a checksum that holds: give them one, whatever is in them.
    const MutableBytes blocks = MutableBytes(file).first(kRingOffset);
    const bool in_superblocks = choices->Byte() % 2 == 0;
    if (!in_superblocks && choices->Byte() % 2 == 0) {
      ForgeRecords(MutableBytes(file).subspan(kRingOffset), world.options.identity, choices);
    } else {
      Scribble(in_superblocks ? blocks : MutableBytes(file), choices);
    }
    for (uint32_t i = 0; in_superblocks && i < kSuperblocks; ++i) {
      const MutableBytes block = blocks.subspan(size_t{i} * kJournalBlockBytes, kJournalBlockBytes);
      const uint64_t checksum = Checksum(block.subspan(8));
      std::memcpy(block.data(), &checksum, sizeof checksum);
    }
    world.Overwrite(0, file);
  }
  Said first, second;
  auto found = world.Recover(&first);
  if (!found.ok()) {
    FUZZ_CHECK(found.code() == Code::kCorrupt);
    return;
  }
  world.Reboot();
  auto again = world.Recover(&second);
  FUZZ_CHECK(again.ok() && first.all == second.all && found->end == again->end);
  world.Open(*again);
  FUZZ_CHECK(world.journal != nullptr);
  (void)world.AppendCell(1, 1);
}

}  // namespace

void Fuzz(const uint8_t* data, size_t size) {
  Decoders({data, size});
  Choices choices(data, size);
  Whole(&choices);
}

std::vector<FuzzInput> Examples() { return {}; }

FUZZ_TEST_MAIN(AnyBytesAreRecoveredOrRefused, 200)

}  // namespace mayfly
