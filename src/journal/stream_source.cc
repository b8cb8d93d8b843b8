#include "journal/stream_source.h"

namespace mayfly {

StreamSource::StreamSource(Executor& executor, Disk& disk, Where where)
    : executor_(executor),
      disk_(disk),
      where_(where),
      held_(BlockCeil(kBytesMax) + kJournalBlockBytes + kChunkBytes),
      ahead_(kChunkBytes),
      ahead_request_(executor, disk) {
  limit_ = BlockFloor(where_.tail) + where_.ring_bytes;  // S1
  if (where_.window.valid()) limit_ = std::min(limit_, where_.low + where_.window.size());
  if (where_.end != 0) limit_ = std::min(limit_, where_.end);
}

Bytes StreamSource::Have(uint64_t at, uint64_t bytes) const {
  if (at >= limit_) return {};
  bytes = std::min(bytes, limit_ - at);
  if (at < base_ || at + bytes > base_ + filled_) return {};
  return {held_.data() + (at - base_), bytes};
}

uint64_t StreamSource::Extent(uint64_t at) const {
  uint64_t end = std::min(limit_, at + kChunkBytes);
  end = std::min(end, at - at % where_.ring_bytes + where_.ring_bytes);  // to the ring's end
  if (where_.window.valid() && at < where_.low) end = std::min(end, where_.low);
  return end - at;
}

void StreamSource::StartAhead(uint64_t at) {
  ahead_at_ = at;
  ahead_bytes_ = 0;
  if (at >= limit_ || (where_.window.valid() && at >= where_.low)) return;
  ahead_bytes_ = Extent(at);
  ahead_request_.Read(where_.file, kRingOffset + at % where_.ring_bytes, ahead_.span().first(ahead_bytes_));
}

Task<Bytes> StreamSource::View(uint64_t at, uint64_t bytes) {
  MAYFLY_CHECK(bytes <= kBytesMax);
  if (at >= limit_) co_return Bytes{};
  bytes = std::min(bytes, limit_ - at);
  const uint64_t from = BlockFloor(at);
  if (at < base_ || from > base_ + filled_) {  // elsewhere
    base_ = from;
    filled_ = 0;
  }
  while (at + bytes > base_ + filled_) {
    if (from > base_) {
      const uint64_t drop = from - base_;
      std::memmove(held_.data(), held_.data() + drop, filled_ - drop);
      base_ = from;
      filled_ -= drop;
    }
    co_await Extend();
  }
  co_return Have(at, bytes);
}

Task<void> StreamSource::Extend() {
  const uint64_t at = base_ + filled_;
  MutableBytes room = held_.span().subspan(filled_);
  if (where_.window.valid() && at >= where_.low) {
    const uint64_t want = std::min<uint64_t>({limit_ - at, kChunkBytes, room.size()});
    const Bytes piece = where_.window.Piece(at, want);
    std::memcpy(room.data(), piece.data(), piece.size());
    filled_ += piece.size();
    co_return;
  }
  if (ahead_at_ != at || ahead_bytes_ == 0) {
    (void)co_await ahead_request_;
    StartAhead(at);
  }
  const Status status = co_await ahead_request_;
  bytes_read_ += ahead_bytes_;
  if (!status.ok()) co_await ReadByBlock(at, ahead_.span().first(ahead_bytes_));
  std::memcpy(room.data(), ahead_.data(), ahead_bytes_);
  filled_ += ahead_bytes_;
  StartAhead(at + ahead_bytes_);
}

Task<void> StreamSource::ReadByBlock(uint64_t at, MutableBytes to) {
  DiskRequest request(executor_, disk_);
  for (uint64_t done = 0; done < to.size(); done += kJournalBlockBytes) {
    const MutableBytes block = to.subspan(done, kJournalBlockBytes);
    request.Read(where_.file, kRingOffset + (at + done) % where_.ring_bytes, block);
    const Status status = co_await request;
    if (status.ok()) continue;
    std::memset(block.data(), 0, block.size());
    ++unreadable_;
  }
}

Task<void> StreamSource::Stop() { (void)co_await ahead_request_; }

}  // namespace mayfly
