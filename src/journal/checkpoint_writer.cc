#include "journal/checkpoint_writer.h"

#include "base/log.h"
#include "base/tlv.h"

namespace mayfly {

CheckpointWriter::CheckpointWriter(Journal& journal, const CheckpointRef& ref)
    : journal_(journal),
      file_(journal.checkpoint_files_[ref.slot]),
      ref_(ref),
      frames_{BlockBuffer(FrameHeader::kFrameBytes), BlockBuffer(FrameHeader::kFrameBytes)},
      request_(journal.executor_, journal.disk_) {}

CheckpointWriter::~CheckpointWriter() { journal_.checkpoint_running_ = false; }

Task<Status> CheckpointWriter::Idle() { co_return co_await request_; }

bool CheckpointWriter::Fill(Bytes* fields) {
  TlvReader reader(*fields);
  Tag tag = 0;
  Bytes value;
  size_t take = 0;
  while (reader.Next(&tag, &value)) {
    const size_t bytes = kTlvHeaderBytes + value.size();
    MAYFLY_CHECK(bytes <= FrameHeader::kFieldsMax);
    if (field_bytes_ + take + bytes > FrameHeader::kFieldsMax) break;
    take += bytes;
  }
  if (take == 0) return false;
  std::memcpy(frames_[open_].data() + FrameHeader::kBytes + field_bytes_, fields->data(), take);
  field_bytes_ += take;
  *fields = fields->subspan(take);
  return true;
}

Task<Status> CheckpointWriter::Put(Bytes fields) {
  while (status_.ok() && !fields.empty()) {
    if (Fill(&fields)) continue;
    MAYFLY_CHECK(field_bytes_ != 0);  // else they are no whole fields
    Note(co_await WriteFrame());
  }
  co_return status_;
}

Task<Status> CheckpointWriter::WriteFrame() {
  const Status before = co_await request_;
  if (!before.ok()) co_return before;
  FrameHeader header;
  header.field_bytes = static_cast<uint32_t>(field_bytes_);
  header.sequence = ref_.sequence;
  header.offset = frame_count_++ * FrameHeader::kFrameBytes;
  header.uuid = journal_.options_.identity.uuid;
  const MutableBytes frame = frames_[open_].span();
  ref_.checksum = MixFrameChecksum(ref_.checksum, SealFrame(header, frame));
  // All but the last take a frame's place whole, so that a reader finds each without the one before.
  const size_t used = BlockCeil(FrameHeader::kBytes + field_bytes_);
  request_.Write(file_, header.offset, frame.first(used));
  ref_.bytes = header.offset + used;
  ref_.fields += field_bytes_;
  open_ ^= 1;
  field_bytes_ = 0;
  co_return Status();
}

Task<Status> CheckpointWriter::Finish() {
  if (status_.ok()) Note(co_await FinishAlone());
  (void)co_await request_;
  if (status_.ok()) {
    ++journal_.counts_.checkpoints;
    journal_.counts_.checkpoint_bytes += ref_.bytes;
  }
  co_return status_;
}

void CheckpointWriter::Note(Status status) {
  status_ = status;
  if (status.ok()) return;
  ++journal_.counts_.checkpoints_failed;
  if (journal_.ended_ != Code::kOk) return;  // that has been said
  MAYFLY_WARN("a checkpoint in {} failed ({}): the last one stays, and the journal fills up until one succeeds",
              journal_.disk_.facts().directory, TextOf(status.code()));
}

Task<Status> CheckpointWriter::FinishAlone() {
  if (field_bytes_ != 0) MAYFLY_CO_TRY(co_await WriteFrame());
  MAYFLY_CO_TRY(co_await request_);
  request_.Flush(file_);
  MAYFLY_CO_TRY(co_await request_);
  ref_.end = journal_.head();
  MAYFLY_CO_TRY(co_await journal_.Durable(ref_.end, kNever));  // P2
  Journal::Change change;
  change.has_checkpoint = true;
  change.checkpoint = ref_;
  co_return co_await journal_.WriteSuperblock(change);  // P1
}

}  // namespace mayfly
