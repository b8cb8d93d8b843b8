#include "journal/walk.h"

#include "base/checksum.h"

namespace mayfly {

RecordWalk::RecordWalk(StreamSource* source, const JournalIdentity& identity, JournalVisitor* visitor,
                       Recovered* recovered)
    : source_(*source),
      uuid_(identity.uuid),
      session_(SessionMark(identity)),
      visitor_(*visitor),
      recovered_(*recovered),
      superblock_(recovered->superblock),
      window_low_(recovered->region.empty() ? kNone : recovered->region_low.value) {
  // Each of these was said only after all before it was in the ring or flushed.
  proven_ = std::max(superblock_.durable.value, superblock_.live_joints().back().end.value);
  if (superblock_.checkpoint.present != 0) proven_ = std::max(proven_, superblock_.checkpoint.end.value);
  if (window_low_ != kNone) proven_ = std::max(proven_, window_low_);
  if (superblock_.clean()) proven_ = superblock_.next.value;
  proven_ = std::min(proven_, source_.limit());  // numbers that cannot be would have the stream go on where it is not
}

bool RecordWalk::HeaderFits(uint64_t at, const RecordHeader& header) const {
  if (header.lsn.value != at || header.session != session_) return false;
  if (header.wrap != static_cast<uint32_t>(at / superblock_.ring_bytes)) return false;
  const uint32_t incarnation = superblock_.IncarnationAt(Lsn(at));
  const bool known = incarnation != 0;  // else older than the joints that are kept
  if (known ? header.incarnation != incarnation : header.incarnation >= superblock_.joints[0].incarnation) return false;
  const Joint* joint = superblock_.JointFrom(Lsn(at));
  return joint == nullptr || at + header.span() <= joint->end.value;
}

Task<bool> RecordWalk::Look(uint64_t at) {
  Bytes bytes = source_.Have(at, RecordHeader::kBytes);
  if (bytes.empty()) bytes = co_await source_.View(at, RecordHeader::kBytes);
  reach_ = at + RecordHeader::kBytes;
  begun_ = false;
  if (!DecodeRecordHeader(bytes, &header_) || !HeaderFits(at, header_)) co_return false;
  reach_ = at + header_.span();
  begun_ = true;
  const uint64_t used = RecordHeader::kBytes + header_.payload_bytes;
  bytes = source_.Have(at, used);
  if (bytes.empty()) bytes = co_await source_.View(at, used);
  if (bytes.size() != used) co_return false;
  payload_ = bytes.subspan(RecordHeader::kBytes);
  co_return header_.checksum == RecordChecksum(bytes.data(), Checksum(payload_), uuid_);
}

Task<uint64_t> RecordWalk::Find(uint64_t from, uint64_t to) {
  constexpr uint64_t kStepBytes = 64 * 1024;
  constexpr size_t kLsnAt = offsetof(RecordHeader, lsn);
  for (uint64_t at = from; at < to;) {
    Bytes view = co_await source_.View(at, kStepBytes + RecordHeader::kBytes);
    if (view.size() < RecordHeader::kBytes) co_return 0;
    const uint64_t places = std::min((view.size() - RecordHeader::kBytes) / RecordHeader::kAlign + 1,
                                     (to - at + RecordHeader::kAlign - 1) / RecordHeader::kAlign);
    uint64_t candidate = 0;
    for (uint64_t i = 0; i < places; ++i) {
      uint64_t lsn = 0;
      std::memcpy(&lsn, view.data() + i * RecordHeader::kAlign + kLsnAt, sizeof lsn);
      if (lsn == at + i * RecordHeader::kAlign) {
        candidate = lsn;
        break;
      }
    }
    if (candidate == 0) {
      at += places * RecordHeader::kAlign;
      continue;
    }
    const bool valid = co_await Look(candidate);
    if (valid) co_return candidate;
    at = candidate + RecordHeader::kAlign;
  }
  co_return 0;
}

Task<uint64_t> RecordWalk::KnownFrom(uint64_t from, uint64_t to) {
  uint64_t known = proven_;
  for (uint64_t next = from; next != 0 && next < to && known < from;) {
    const bool valid = co_await Look(next);
    if (!valid) {
      next = co_await Find(next + RecordHeader::kAlign, to);
      continue;
    }
    // What is appended to the region follows on what is there.
    known = std::max(known, next >= window_low_ ? next : header_.durable().value);
    next += header_.span();
  }
  co_return known;
}

Task<uint64_t> RecordWalk::Behind(uint64_t at) {
  const uint64_t reach = reach_;
  const bool begun = begun_;
  const uint64_t to = std::min(std::max(proven_, at + kLookBehindEnd), source_.limit());
  const uint64_t found = co_await Find(at + RecordHeader::kAlign, to);
  uint64_t known = proven_;
  if (found > known) known = co_await KnownFrom(found, to);
  // A record that began before `known` and ended behind it may have been torn; not one of before the region, all of
  // which was in the ring: then it is the header that is damaged, and ends where nothing ended.
  const bool in_ring = window_low_ != kNone && at < window_low_;
  const bool was_whole = in_ring || known >= reach || (found != 0 && known >= found);
  if (!was_whole) {
    recovered_.torn = Lsn(found != 0 ? found : begun ? reach : at);
    co_return 0;
  }
  proven_ = known;
  co_return found == 0 ? known : std::min(found, known);
}

uint64_t RecordWalk::OverJoint(uint64_t at) const {
  const Joint* joint = superblock_.JointFrom(Lsn(at));
  return joint != nullptr && at >= joint->end.value ? joint->start.value : at;
}

Status RecordWalk::Deliver() {
  JournalRecord record;
  record.lsn = header_.lsn;
  record.end = Lsn(header_.lsn.value + header_.span());
  record.transaction = header_.transaction;
  record.incarnation = header_.incarnation;
  record.in_region = !recovered_.region.empty() && !recovered_.all_in_ring() && record.end.value > window_low_;
  record.type = header_.type;
  record.flags = header_.flags;
  record.payload = payload_;
  if (record.type == RecordType::kPad) {
    ++recovered_.pads;
    visitor_.OnPad(record);
    return {};
  }
  ++recovered_.records;
  recovered_.record_bytes += header_.span();
  return visitor_.OnRecord(record);
}

Task<Status> RecordWalk::Run() {
  uint64_t at = superblock_.tail.value;
  while (at < source_.limit()) {
    at = OverJoint(at);
    if (superblock_.clean() && at >= superblock_.next.value) break;
    const bool valid = co_await Look(at);
    if (valid) {
      MAYFLY_CO_TRY(Deliver());
      proven_ = std::max(proven_, header_.durable().value);
      at += header_.span();
      continue;
    }
    const uint64_t next = co_await Behind(at);
    if (next == 0) break;  // V2: torn
    recovered_.damage.push_back({Lsn(at), Lsn(next)});
    visitor_.OnDamage(Lsn(at), Lsn(next));
    at = next;
  }
  recovered_.end = Lsn(at);
  recovered_.torn = std::max(recovered_.torn, recovered_.end);
  co_return Status();
}

}  // namespace mayfly
