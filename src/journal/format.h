// What a journal consists of, byte by byte: superblock, record header, header of the tail region, header of a
// checkpoint's frame. Plain values, encoded and decoded; nothing here waits or allocates. The page that says what a
// reader owes is share/doc/format/journal.md.
// Invariants  F1  an LSN is the offset of a byte in an endless stream. Byte L lies at L % ring bytes of the ring and
//                 at L % window bytes of the tail region.
//             F2  a record is valid at L only if its LSN is L, its incarnation is the one that the superblock gives
//                 for L, and its checksum, into which session and payload go, holds. So nothing that an earlier
//                 lap, incarnation or session left behind is ever read.
//             F3  decoding trusts no length and no number.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/coding.h"

namespace mayfly {

using JournalUuid = std::array<uint8_t, 16>;

constexpr uint32_t kJournalVersion = 1;
constexpr uint32_t kJournalBlockBytes = 4096;
constexpr uint32_t kSuperblocks = 2;
constexpr uint64_t kRingOffset = uint64_t{kSuperblocks} * kJournalBlockBytes;  // of the ring in the file
constexpr Lsn kFirstLsn{kJournalBlockBytes};                                   // 0 is no place in the stream
constexpr uint64_t kRingBytesMin = 256 * 1024, kRingBytesMax = uint64_t{1} << 40, kRingBytesStep = 64 * 1024;
constexpr uint64_t kWindowBytesMin = 64 * 1024, kWindowBytesMax = 64 * 1024 * 1024;
constexpr uint32_t kPayloadBytesMax = 512 * 1024;  // of one record
constexpr uint32_t kJointsMax = 128;

constexpr uint64_t BlockFloor(uint64_t v) { return v & ~uint64_t{kJournalBlockBytes - 1}; }
constexpr uint64_t BlockCeil(uint64_t v) { return BlockFloor(v + kJournalBlockBytes - 1); }

// Empty if a ring of so many bytes can be; else the sentence that says why not.
std::string CheckJournalBytes(uint64_t ring_bytes);
// Likewise for the tail region's window of that ring.
std::string CheckWindowBytes(uint64_t window_bytes, uint64_t ring_bytes);

// Whose journal it is.
struct JournalIdentity {
  JournalUuid uuid{};
  ShardId shard;
  friend bool operator==(const JournalIdentity&, const JournalIdentity&) = default;
};

// A start of the journal: recovery found the stream's end at `end`, and `incarnation` went on at `start`, a block's
// first byte. What lies at `start` and behind under another incarnation was never acknowledged.
struct Joint {
  static constexpr size_t kBytes = 24;
  Lsn end, start;
  uint32_t incarnation = 0;
  uint32_t zero = 0;
  template <class Io>
  void Fields(Io& io) {
    io(end, start, incarnation, zero);
  }
  friend bool operator==(const Joint&, const Joint&) = default;
};

// Which checkpoint recovery begins with.
struct CheckpointRef {
  static constexpr size_t kBytes = 56;
  uint32_t present = 0;  // 0 or 1
  uint32_t slot = 0;     // of the files checkpoint.0 and checkpoint.1
  uint64_t sequence = 0;
  uint64_t bytes = 0;   // of the file that belong to it
  uint64_t fields = 0;  // bytes of tagged fields
  Lsn start;            // the journal is replayed from here
  Lsn end;              // and at least to here: the state is a moment's only then
  uint64_t checksum = 0;
  template <class Io>
  void Fields(Io& io) {
    io(present, slot, sequence, bytes, fields, start, end, checksum);
  }
  friend bool operator==(const CheckpointRef&, const CheckpointRef&) = default;
};

enum SuperblockFlags : uint32_t { kSuperblockClean = 1 };

// Blocks 0 and 1 of the file, written in turn: the one with sequence s is block s % 2.
struct Superblock {
  static constexpr uint64_t kMagic = 0x314c4e4a59464d00;  // "\0MFYJNL1"
  static constexpr size_t kFixedBytes = 152;
  uint64_t checksum = 0;  // Checksum of bytes 8 .. 4095
  uint64_t magic = kMagic;
  uint32_t version = kJournalVersion;
  ShardId shard;
  JournalUuid uuid{};
  uint64_t ring_bytes = 0;
  uint64_t sequence = 0;
  Lsn tail;     // recovery begins here
  Lsn durable;  // all before it was flushed
  Lsn next;     // where the stream went on; its exact end if clean
  uint32_t wrap = 0;
  uint32_t incarnation = 0;
  uint32_t flags = 0;
  uint32_t joint_count = 0;
  CheckpointRef checkpoint;
  std::array<Joint, kJointsMax> joints;

  bool clean() const { return (flags & kSuperblockClean) != 0; }
  std::span<const Joint> live_joints() const { return {joints.data(), joint_count}; }
  // Appends one; the oldest makes room (its boundary is then reported as damage of less than a block, see the page).
  void AddJoint(Joint joint);
  // Drops those that no position from `tail` on needs.
  void TrimJoints();
  // The incarnation whose records are valid at `at`; 0 if before the first that is known.
  uint32_t IncarnationAt(Lsn at) const;
  // The first joint whose end is at or behind `at`, of those that begin behind it; null if none.
  const Joint* JointFrom(Lsn at) const;
};
static_assert(Superblock::kFixedBytes + kJointsMax * Joint::kBytes <= kJournalBlockBytes);

enum class SuperblockState : uint8_t {
  kGood,
  kZeros,    // never written, or wiped
  kTorn,     // checksum or content does not hold
  kForeign,  // something else than a journal
  kFutureVersion,
  kOtherSession,
  kOtherShard,
  kCut,         // the file is shorter than its superblock says
  kUnreadable,  // the device failed
  kMissing,     // there is no file
};
// What is the matter and what the user can do: "the journal's superblocks are ...".
std::string_view SentenceOf(SuperblockState state);

// `block` is of kJournalBlockBytes.
void EncodeSuperblock(const Superblock& superblock, MutableBytes block);
SuperblockState DecodeSuperblock(Bytes block, const JournalIdentity& identity, Superblock* superblock);
// Of the two blocks: the newest good one; else the state that explains best why there is none.
SuperblockState ChooseSuperblock(Bytes both, const JournalIdentity& identity, Superblock* superblock);

enum class RecordType : uint8_t {
  kChanges = 1,  // tagged fields (base/tlv.h)
  kPad = 2,      // fills a block; zeros
};
constexpr bool IsKnown(RecordType type) { return type == RecordType::kChanges || type == RecordType::kPad; }

// In front of each record's payload. The record ends at the next multiple of 8.
struct RecordHeader {
  static constexpr size_t kBytes = 48;
  static constexpr size_t kAlign = 8;
  uint64_t checksum = 0;
  uint32_t payload_bytes = 0;
  RecordType type = RecordType::kChanges;
  uint8_t flags = 0;
  uint16_t zero = 0;
  Lsn lsn;
  uint32_t wrap = 0;  // lsn / ring bytes, the low 32 bits
  uint32_t incarnation = 0;
  TxnId transaction;  // 0: none
  uint32_t session = 0;
  uint32_t durable_behind = kUnknown;  // blocks from what was durable when this was appended to this record's

  static constexpr uint32_t kUnknown = ~uint32_t{0};
  template <class Io>
  void Fields(Io& io) {
    io(checksum, payload_bytes, type, flags, zero, lsn, wrap, incarnation, transaction, session, durable_behind);
  }
  static constexpr uint64_t SpanOf(uint64_t payload_bytes) {
    return (kBytes + payload_bytes + kAlign - 1) & ~uint64_t{kAlign - 1};
  }
  uint64_t span() const { return SpanOf(payload_bytes); }
  // What is known to have been durable when it was appended; 0 if nothing.
  Lsn durable() const;
  static uint32_t DurableBehind(Lsn lsn, Lsn durable);
};
static_assert(sizeof(RecordHeader) == RecordHeader::kBytes && offsetof(RecordHeader, payload_bytes) == 8 &&
              offsetof(RecordHeader, type) == 12 && offsetof(RecordHeader, lsn) == 16 &&
              offsetof(RecordHeader, wrap) == 24 && offsetof(RecordHeader, transaction) == 32 &&
              offsetof(RecordHeader, session) == 40 && offsetof(RecordHeader, durable_behind) == 44);

// The part of the uuid that stands in each record in the clear.
uint32_t SessionMark(const JournalIdentity& identity);
// Over header (RecordHeader::kBytes, but for the checksum itself), payload's checksum, session.
uint64_t RecordChecksum(const uint8_t* header, uint64_t payload_checksum, const JournalUuid& uuid);
// Writes the header's bytes to `out`, their checksum computed.
void SealRecordHeader(const RecordHeader& header, uint64_t payload_checksum, const JournalUuid& uuid, uint8_t* out);
// The header that `bytes` begins with, if its fields are ones that can be; the checksum is not looked at.
bool DecodeRecordHeader(Bytes bytes, RecordHeader* header);

// The first block of the tail region; the window follows.
struct RegionHeader {
  static constexpr uint64_t kMagic = 0x314c545459464d00;  // "\0MFYTTL1"
  static constexpr size_t kBytes = 80;
  static constexpr uint32_t kVersionWithout = 2;  // of one without a window
  uint64_t checksum = 0;                          // Checksum of bytes 8 .. 71
  uint64_t magic = kMagic;
  uint32_t version = kJournalVersion;  // EncodeRegionHeader sets it
  ShardId shard;
  JournalUuid uuid{};
  uint64_t ring_bytes = 0;
  uint64_t window_bytes = 0;  // 0: all that was appended is in the ring, which lies in memory too
  uint32_t incarnation = 0;   // that made it
  uint32_t zero = 0;
  uint64_t reserved = 0;
  Lsn low;  // all before it is in the ring. Stored alone, as the window moves; not under the checksum
  template <class Io>
  void Fields(Io& io) {
    io(checksum, magic, version, shard);
    for (uint8_t& b : uuid) io(b);
    io(ring_bytes, window_bytes, incarnation, zero, reserved, low);
  }
};
static_assert(sizeof(RegionHeader) == RegionHeader::kBytes && offsetof(RegionHeader, low) == 72 &&
              offsetof(RegionHeader, uuid) == 24 && offsetof(RegionHeader, window_bytes) == 48);

void EncodeRegionHeader(RegionHeader header, MutableBytes block);
// False if it is no tail of this journal (kind, version, session, shard, ring), or does not fit `region`.
bool DecodeRegionHeader(Bytes region, const JournalIdentity& identity, uint64_t ring_bytes, RegionHeader* header);

// In front of each piece of a checkpoint's fields. Frames begin at multiples of kJournalBlockBytes.
struct FrameHeader {
  static constexpr uint32_t kMagic = 0x4d524643;  // "CFRM"
  static constexpr size_t kBytes = 48;
  static constexpr uint32_t kFrameBytes = 256 * 1024;  // the most that a frame takes with its header
  static constexpr uint32_t kFieldsMax = kFrameBytes - kBytes;
  uint64_t checksum = 0;  // Checksum of bytes 8 .. kBytes + field_bytes - 1
  uint32_t magic = kMagic;
  uint32_t field_bytes = 0;
  uint64_t sequence = 0;  // of the checkpoint
  uint64_t offset = 0;    // of this frame in the file
  JournalUuid uuid{};
  template <class Io>
  void Fields(Io& io) {
    io(checksum, magic, field_bytes, sequence, offset);
    for (uint8_t& b : uuid) io(b);
  }
};
static_assert(sizeof(FrameHeader) == FrameHeader::kBytes && offsetof(FrameHeader, sequence) == 16 &&
              offsetof(FrameHeader, uuid) == 32);

// Completes the header of the frame in `frame`, whose fields stand behind it, and zeros the rest of its last block.
// Gives the checksum.
uint64_t SealFrame(FrameHeader header, MutableBytes frame);
// False if `bytes` does not begin with that frame.
bool DecodeFrame(Bytes bytes, const JournalUuid& uuid, uint64_t sequence, uint64_t offset, FrameHeader* header);
// The checksum of a checkpoint so far, and one frame's.
uint64_t MixFrameChecksum(uint64_t so_far, uint64_t frame);

}  // namespace mayfly
