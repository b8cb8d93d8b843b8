#include "journal/format.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checksum.h"

namespace mayfly {
namespace {

template <class Io, class S>
void SuperblockFields(Io& io, S& s) {
  io(s.checksum, s.magic, s.version, s.shard);
  for (auto& b : s.uuid) io(b);
  io(s.ring_bytes, s.sequence, s.tail, s.durable, s.next, s.wrap, s.incarnation, s.flags, s.joint_count, s.checkpoint);
}

bool AllZero(Bytes bytes) {
  return std::all_of(bytes.begin(), bytes.end(), [](uint8_t b) { return b == 0; });
}

// Numbers that a journal of ours can have written.
bool Plausible(const Superblock& s) {
  if (!CheckJournalBytes(s.ring_bytes).empty() || s.joint_count == 0 || s.joint_count > kJointsMax) return false;
  if (s.tail < kFirstLsn || s.next < s.tail || s.next.value - s.tail.value > s.ring_bytes) return false;
  if (s.clean() && s.next.value % kJournalBlockBytes != 0) return false;
  if (s.checkpoint.present > 1 || s.checkpoint.slot > 1) return false;
  if (s.checkpoint.present == 1 && (s.checkpoint.start > s.checkpoint.end || s.checkpoint.start != s.tail ||
                                    s.checkpoint.bytes % kJournalBlockBytes != 0)) {
    return false;
  }
  const std::span<const Joint> joints = s.live_joints();
  for (size_t i = 0; i < joints.size(); ++i) {
    if (joints[i].end > joints[i].start || joints[i].start.value % kJournalBlockBytes != 0) return false;
    if (joints[i].start.value - joints[i].end.value >= kJournalBlockBytes) return false;
    if (i != 0 && (joints[i].end < joints[i - 1].start || joints[i].incarnation <= joints[i - 1].incarnation)) {
      return false;
    }
  }
  return joints.back().incarnation == s.incarnation && s.incarnation != 0;
}

// How much a state explains when there is no good superblock.
int Weight(SuperblockState state) {
  switch (state) {
    case SuperblockState::kGood:
      return 9;
    case SuperblockState::kFutureVersion:
      return 8;
    case SuperblockState::kOtherSession:
      return 7;
    case SuperblockState::kOtherShard:
      return 6;
    case SuperblockState::kTorn:
      return 5;
    case SuperblockState::kForeign:
      return 4;
    case SuperblockState::kZeros:
      return 3;
    case SuperblockState::kCut:
    case SuperblockState::kUnreadable:
    case SuperblockState::kMissing:
      return 0;
  }
  return 0;
}

}  // namespace

std::string CheckJournalBytes(uint64_t ring_bytes) {
  if (ring_bytes < kRingBytesMin || ring_bytes > kRingBytesMax) {
    return fmt::format("a journal has {} KiB to {} GiB, not {} bytes", kRingBytesMin >> 10, kRingBytesMax >> 30,
                       ring_bytes);
  }
  if (ring_bytes % kRingBytesStep != 0) {
    return fmt::format("a journal's size is a multiple of {} KiB, which {} bytes is not", kRingBytesStep >> 10,
                       ring_bytes);
  }
  return {};
}

std::string CheckWindowBytes(uint64_t window_bytes, uint64_t ring_bytes) {
  const uint64_t most = std::min(kWindowBytesMax, ring_bytes / 2);
  if (window_bytes < kWindowBytesMin || window_bytes > most) {
    return fmt::format("the tail of a journal of {} bytes has {} KiB to {} KiB, not {} bytes", ring_bytes,
                       kWindowBytesMin >> 10, most >> 10, window_bytes);
  }
  if (window_bytes % kJournalBlockBytes != 0) {
    return fmt::format("the size of a journal's tail is a multiple of 4 KiB, which {} bytes is not", window_bytes);
  }
  return {};
}

void Superblock::AddJoint(Joint joint) {
  if (joint_count == kJointsMax) {
    std::copy(joints.begin() + 1, joints.end(), joints.begin());
    --joint_count;
  }
  joints[joint_count++] = joint;
}

void Superblock::TrimJoints() {
  uint32_t first = 0;
  while (first + 1 < joint_count && joints[first + 1].start <= tail) ++first;
  std::copy(joints.begin() + first, joints.begin() + joint_count, joints.begin());
  joint_count -= first;
}

uint32_t Superblock::IncarnationAt(Lsn at) const {
  uint32_t found = 0;
  for (const Joint& joint : live_joints()) {
    if (joint.start <= at) found = joint.incarnation;
  }
  return found;
}

const Joint* Superblock::JointFrom(Lsn at) const {
  for (const Joint& joint : live_joints()) {
    if (joint.start > at) return &joint;
  }
  return nullptr;
}

std::string_view SentenceOf(SuperblockState state) {
  switch (state) {
    case SuperblockState::kGood:
      return "the journal is good";
    case SuperblockState::kZeros:
      return "the journal was never written, or was wiped (its superblocks are zeros): put a copy of it back, or give "
             "the "
             "session up with `mayfly clean`";
    case SuperblockState::kTorn:
      return "both superblocks of the journal are damaged: put a copy of it back, or give the session up with `mayfly "
             "clean`";
    case SuperblockState::kForeign:
      return "the file `journal` is no journal of Mayfly: give another --dir";
    case SuperblockState::kFutureVersion:
      return "the journal was written by a newer Mayfly: use that version to recover it";
    case SuperblockState::kOtherSession:
      return "the journal belongs to another session: give another --dir, or recover that session";
    case SuperblockState::kOtherShard:
      return "the journal belongs to another shard of this session: put each file back into its own directory";
    case SuperblockState::kCut:
      return "the journal's file is shorter than it was made: put the whole file back, or give the session up with "
             "`mayfly clean`";
    case SuperblockState::kUnreadable:
      return "the journal cannot be read (the device reports errors): look at the kernel's log, or give the session up "
             "with "
             "`mayfly clean`";
    case SuperblockState::kMissing:
      return "there is no journal in the directory: give the --dir of the first start, or give the session up with "
             "`mayfly clean`";
  }
  return "";
}

void EncodeSuperblock(const Superblock& superblock, MutableBytes block) {
  MAYFLY_CHECK(block.size() == kJournalBlockBytes);
  std::memset(block.data(), 0, block.size());
  Encoder e(block);
  SuperblockFields(e, superblock);
  MAYFLY_CHECK(e.ok() && e.size() == Superblock::kFixedBytes);
  for (const Joint& joint : superblock.live_joints()) e.Put(joint);
  MAYFLY_CHECK(e.ok());
  const uint64_t checksum = Checksum(block.subspan(sizeof(uint64_t)));
  std::memcpy(block.data(), &checksum, sizeof checksum);
}

SuperblockState DecodeSuperblock(Bytes block, const JournalIdentity& identity, Superblock* superblock) {
  if (block.size() != kJournalBlockBytes) return SuperblockState::kTorn;
  if (AllZero(block)) return SuperblockState::kZeros;
  Decoder d(block);
  *superblock = {};
  SuperblockFields(d, *superblock);
  const bool holds = superblock->checksum == Checksum(block.subspan(sizeof(uint64_t)));
  // The checksum and where magic and version stand are what all versions have in common.
  if (superblock->magic != Superblock::kMagic) {
    return superblock->magic == 0 ? SuperblockState::kTorn : SuperblockState::kForeign;
  }
  if (!holds) return SuperblockState::kTorn;
  if (superblock->version != kJournalVersion) return SuperblockState::kFutureVersion;
  if (superblock->uuid != identity.uuid) return SuperblockState::kOtherSession;
  if (superblock->shard != identity.shard) return SuperblockState::kOtherShard;
  if (superblock->joint_count > kJointsMax) return SuperblockState::kTorn;  // F3
  for (uint32_t i = 0; i < superblock->joint_count; ++i) d.Get(superblock->joints[i]);
  return d.ok() && Plausible(*superblock) ? SuperblockState::kGood : SuperblockState::kTorn;
}

SuperblockState ChooseSuperblock(Bytes both, const JournalIdentity& identity, Superblock* superblock) {
  MAYFLY_CHECK(both.size() == kRingOffset);
  SuperblockState best = SuperblockState::kMissing;
  for (uint32_t i = 0; i < kSuperblocks; ++i) {
    Superblock one;
    const SuperblockState state =
        DecodeSuperblock(both.subspan(size_t{i} * kJournalBlockBytes, kJournalBlockBytes), identity, &one);
    if (state == SuperblockState::kGood && (best != SuperblockState::kGood || one.sequence > superblock->sequence)) {
      *superblock = one;
    }
    if (Weight(state) > Weight(best)) best = state;
  }
  return best;
}

Lsn RecordHeader::durable() const {
  if (durable_behind == kUnknown) return Lsn(0);
  const uint64_t block = lsn.value / kJournalBlockBytes;
  return durable_behind > block ? Lsn(0) : Lsn((block - durable_behind) * kJournalBlockBytes);
}

uint32_t RecordHeader::DurableBehind(Lsn lsn, Lsn durable) {
  const uint64_t blocks = lsn.value / kJournalBlockBytes - durable.value / kJournalBlockBytes;
  return static_cast<uint32_t>(std::min<uint64_t>(blocks, kUnknown));
}

uint32_t SessionMark(const JournalIdentity& identity) {
  return static_cast<uint32_t>(Hash64(identity.uuid, identity.shard.value));
}

uint64_t RecordChecksum(const uint8_t* header, uint64_t payload_checksum, const JournalUuid& uuid) {
  constexpr size_t kSkip = sizeof(RecordHeader::checksum), kRest = RecordHeader::kBytes - kSkip;
  std::array<uint8_t, kRest + sizeof payload_checksum + sizeof uuid> text;
  std::memcpy(text.data(), header + kSkip, kRest);
  std::memcpy(text.data() + kRest, &payload_checksum, sizeof payload_checksum);
  std::memcpy(text.data() + kRest + sizeof payload_checksum, uuid.data(), sizeof uuid);
  return Checksum(text);
}

void SealRecordHeader(const RecordHeader& header, uint64_t payload_checksum, const JournalUuid& uuid, uint8_t* out) {
  Encoder e(MutableBytes(out, RecordHeader::kBytes));
  e.Put(header);
  const uint64_t checksum = RecordChecksum(out, payload_checksum, uuid);
  std::memcpy(out, &checksum, sizeof checksum);
}

bool DecodeRecordHeader(Bytes bytes, RecordHeader* header) {
  if (bytes.size() < RecordHeader::kBytes) return false;
  Decoder d(bytes.first(RecordHeader::kBytes));
  d.Get(*header);
  return d.Finish().ok() && header->payload_bytes <= kPayloadBytesMax && header->flags == 0 && header->zero == 0;
}

void EncodeRegionHeader(RegionHeader header, MutableBytes block) {
  MAYFLY_CHECK(block.size() >= RegionHeader::kBytes);
  if (header.window_bytes == 0) header.version = RegionHeader::kVersionWithout;
  Encoder e(block);
  e.Put(header);
  header.checksum = Checksum(block.subspan(8, offsetof(RegionHeader, low) - 8));
  std::memcpy(block.data(), &header.checksum, sizeof header.checksum);
}

bool DecodeRegionHeader(Bytes region, const JournalIdentity& identity, uint64_t ring_bytes, RegionHeader* header) {
  if (region.size() < RegionHeader::kBytes) return false;
  Decoder d(region.first(RegionHeader::kBytes));
  d.Get(*header);
  return d.Finish().ok() && header->checksum == Checksum(region.subspan(8, offsetof(RegionHeader, low) - 8)) &&
         header->magic == RegionHeader::kMagic && header->uuid == identity.uuid && header->shard == identity.shard &&
         header->ring_bytes == ring_bytes && header->window_bytes == region.size() - kJournalBlockBytes &&
         header->low >= kFirstLsn &&
         (header->window_bytes == 0
              ? header->version == RegionHeader::kVersionWithout && header->low.value % RecordHeader::kAlign == 0
              : header->version == kJournalVersion && CheckWindowBytes(header->window_bytes, ring_bytes).empty() &&
                    header->low.value % kJournalBlockBytes == 0);
}

uint64_t SealFrame(FrameHeader header, MutableBytes frame) {
  MAYFLY_CHECK(header.field_bytes <= FrameHeader::kFieldsMax);
  const size_t used = FrameHeader::kBytes + header.field_bytes;
  MAYFLY_CHECK(frame.size() >= BlockCeil(used));
  Encoder e(frame);
  e.Put(header);
  std::memset(frame.data() + used, 0, BlockCeil(used) - used);
  const uint64_t checksum = Checksum(frame.subspan(8, used - 8));
  std::memcpy(frame.data(), &checksum, sizeof checksum);
  return checksum;
}

bool DecodeFrame(Bytes bytes, const JournalUuid& uuid, uint64_t sequence, uint64_t offset, FrameHeader* header) {
  if (bytes.size() < FrameHeader::kBytes) return false;
  Decoder d(bytes.first(FrameHeader::kBytes));
  d.Get(*header);
  if (!d.Finish().ok() || header->magic != FrameHeader::kMagic || header->field_bytes > FrameHeader::kFieldsMax ||
      header->uuid != uuid || header->sequence != sequence || header->offset != offset) {
    return false;
  }
  const size_t used = FrameHeader::kBytes + header->field_bytes;
  return bytes.size() >= used && header->checksum == Checksum(bytes.subspan(8, used - 8));
}

uint64_t MixFrameChecksum(uint64_t so_far, uint64_t frame) {
  std::array<uint8_t, 16> both;
  std::memcpy(both.data(), &so_far, 8);
  std::memcpy(both.data() + 8, &frame, 8);
  return Checksum(both);
}

}  // namespace mayfly
