// Decodes the worked example of share/doc/format/journal.md, and builds it again.
#include "journal/format.h"

#include <gtest/gtest.h>

#include "base/checksum.h"
#include "base/tlv.h"
#include "fake/worked_example.h"
#include "unit/journal/journal_world.h"

namespace mayfly {
namespace {

std::string Dump(const std::string& name, Bytes bytes) {
  std::string text;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i % 16 == 0) text += fmt::format("\n{:<10}", name);
    text += fmt::format("{}{:02x}", i % 16 == 8 ? "  " : " ", bytes[i]);
  }
  return text + "\n";
}

constexpr uint64_t kRing = 1024 * 1024;

struct JournalFormat : testing::Test {
  void Same(const std::string& name, const std::vector<uint8_t>& built) {
    EXPECT_EQ(page[name], built) << Dump(name, built);
  }
  ExamplePage page = ReadExample("journal.md");
  JournalIdentity identity = ExampleIdentity();
};

Superblock ExampleSuperblock() {
  Superblock s;
  s.shard = ShardId(3);
  s.uuid = ExampleIdentity().uuid;
  s.ring_bytes = kRing;
  s.sequence = 9;
  s.tail = Lsn(0x102340);
  s.durable = Lsn(0x10a000);
  s.next = Lsn(0x10b018);
  s.wrap = 1;
  s.incarnation = 2;
  s.checkpoint.present = 1;
  s.checkpoint.slot = 1;
  s.checkpoint.sequence = 4;
  s.checkpoint.bytes = 0x41000;
  s.checkpoint.fields = 0x40800;
  s.checkpoint.start = s.tail;
  s.checkpoint.end = Lsn(0x109f00);
  s.checkpoint.checksum = 0x0123456789abcdef;
  s.AddJoint({kFirstLsn, kFirstLsn, 1, 0});
  s.AddJoint({Lsn(0x107e28), Lsn(0x108000), 2, 0});
  return s;
}

TEST_F(JournalFormat, Superblock) {
  std::vector<uint8_t> block(kJournalBlockBytes);
  EncodeSuperblock(ExampleSuperblock(), block);
  constexpr size_t kShown = Superblock::kFixedBytes + 2 * Joint::kBytes;
  Same("superblock", {block.begin(), block.begin() + kShown});
  std::vector<uint8_t> shown = page["superblock"];
  shown.resize(kJournalBlockBytes);
  Superblock s;
  ASSERT_EQ(DecodeSuperblock(shown, identity, &s), SuperblockState::kGood);
  EXPECT_EQ(s.tail, Lsn(0x102340));
  EXPECT_EQ(s.checkpoint, ExampleSuperblock().checkpoint);
  EXPECT_EQ(s.joint_count, 2u);
  EXPECT_EQ(s.joints[1], ExampleSuperblock().joints[1]);
  EXPECT_FALSE(s.clean());
  EXPECT_EQ(s.IncarnationAt(s.tail), 1u);
  EXPECT_EQ(s.IncarnationAt(Lsn(0x107fff)), 1u);
  EXPECT_EQ(s.IncarnationAt(Lsn(0x108000)), 2u);
  EXPECT_EQ(s.JointFrom(s.tail)->start, Lsn(0x108000));
  EXPECT_EQ(s.JointFrom(Lsn(0x108000)), nullptr);
}

std::vector<uint8_t> BuiltRecord(RecordHeader header, Bytes payload) {
  std::vector<uint8_t> bytes(RecordHeader::SpanOf(payload.size()));
  header.payload_bytes = static_cast<uint32_t>(payload.size());
  SealRecordHeader(header, Checksum(payload), ExampleIdentity().uuid, bytes.data());
  std::copy(payload.begin(), payload.end(), bytes.begin() + RecordHeader::kBytes);
  return bytes;
}

RecordHeader ExampleHeader(Lsn lsn) {
  RecordHeader header;
  header.lsn = lsn;
  header.wrap = static_cast<uint32_t>(lsn.value / kRing);
  header.incarnation = 2;
  header.session = SessionMark(ExampleIdentity());
  header.durable_behind = RecordHeader::DurableBehind(lsn, Lsn(0x10a000));
  return header;
}

TEST_F(JournalFormat, Records) {
  TlvWriter w;
  PutCell(w, 5, 0x1122334455667788);
  RecordHeader header = ExampleHeader(Lsn(0x10b018));
  header.transaction = TxnId(0x30000000007);
  Same("record", BuiltRecord(header, w.bytes()));
  RecordHeader seen;
  ASSERT_TRUE(DecodeRecordHeader(page["record"], &seen));
  EXPECT_EQ(seen.payload_bytes, 18u);
  EXPECT_EQ(seen.type, RecordType::kChanges);
  EXPECT_EQ(seen.transaction, TxnId(0x30000000007));
  EXPECT_EQ(seen.durable(), Lsn(0x10a000));
  EXPECT_EQ(seen.lsn.value + seen.span(), 0x10b060u);
  // The padding behind it, to the block's end.
  header = ExampleHeader(Lsn(0x10b060));
  header.type = RecordType::kPad;
  const std::vector<uint8_t> zeros(0x10c000 - 0x10b060 - RecordHeader::kBytes);
  std::vector<uint8_t> pad = BuiltRecord(header, zeros);
  pad.resize(RecordHeader::kBytes);
  Same("pad", pad);
}

TEST_F(JournalFormat, Region) {
  RegionHeader header;
  header.shard = identity.shard;
  header.uuid = identity.uuid;
  header.ring_bytes = kRing;
  header.window_bytes = kWindowBytesMin;
  header.incarnation = 2;
  header.low = Lsn(0x10b000);
  std::vector<uint8_t> built(RegionHeader::kBytes);
  EncodeRegionHeader(header, built);
  Same("region", built);
  std::vector<uint8_t> region = page["region"];
  region.resize(kJournalBlockBytes + kWindowBytesMin);
  RegionHeader seen;
  ASSERT_TRUE(DecodeRegionHeader(region, identity, kRing, &seen));
  EXPECT_EQ(seen.low, Lsn(0x10b000));
  EXPECT_FALSE(DecodeRegionHeader(region, identity, 2 * kRing, &seen));
  EXPECT_FALSE(DecodeRegionHeader(Bytes(region).first(region.size() - kJournalBlockBytes), identity, kRing, &seen));
}

TEST_F(JournalFormat, Frame) {
  TlvWriter w;
  PutCell(w, 5, 0x1122334455667788);
  FrameHeader header;
  header.field_bytes = static_cast<uint32_t>(w.size());
  header.sequence = 4;
  header.offset = FrameHeader::kFrameBytes;
  header.uuid = identity.uuid;
  std::vector<uint8_t> frame(kJournalBlockBytes, 0xff);
  std::copy(w.bytes().begin(), w.bytes().end(), frame.begin() + FrameHeader::kBytes);
  SealFrame(header, frame);
  EXPECT_EQ(std::count(frame.begin() + 66, frame.end(), 0), kJournalBlockBytes - 66);
  frame.resize(FrameHeader::kBytes + w.size());
  Same("frame", frame);
  FrameHeader seen;
  EXPECT_TRUE(DecodeFrame(page["frame"], identity.uuid, 4, FrameHeader::kFrameBytes, &seen));
  EXPECT_FALSE(DecodeFrame(page["frame"], identity.uuid, 5, FrameHeader::kFrameBytes, &seen));
  EXPECT_FALSE(DecodeFrame(page["frame"], identity.uuid, 4, 0, &seen));
}

TEST_F(JournalFormat, EveryBitOfTheChecksumsCounts) {
  std::vector<uint8_t> block(kJournalBlockBytes);
  EncodeSuperblock(ExampleSuperblock(), block);
  for (size_t bit = 0; bit < block.size() * 8; bit += bit < 2000 ? 1 : 37) {
    block[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    Superblock s;
    EXPECT_NE(DecodeSuperblock(block, identity, &s), SuperblockState::kGood) << bit;
    block[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
  std::vector<uint8_t> record = page["record"];
  const auto holds = [&] {
    RecordHeader h;
    return DecodeRecordHeader(record, &h) && RecordHeader::kBytes + h.payload_bytes <= record.size() &&
           h.checksum == RecordChecksum(record.data(),
                                        Checksum(Bytes(record).subspan(RecordHeader::kBytes, h.payload_bytes)),
                                        identity.uuid);
  };
  ASSERT_TRUE(holds());
  for (size_t bit = 0; bit < (RecordHeader::kBytes + 18) * 8; ++bit) {
    record[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
    EXPECT_FALSE(holds()) << bit;
    record[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
  }
}

}  // namespace
}  // namespace mayfly
