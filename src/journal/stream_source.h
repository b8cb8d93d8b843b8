// The bytes of the stream for a reader that goes forward: out of the ring, a megabyte ahead, and out of the tail
// region from where that begins. What the device cannot read is zeros, block by block, and counted.
// Invariants  S1  nothing at or behind limit() is read: there the ring holds older laps.
//             S2  a view is good until the next call.
#pragma once

#include "journal/tail_window.h"
#include "os/block_buffer.h"
#include "task/disk_request.h"
#include "task/task.h"

namespace mayfly {

class StreamSource {
 public:
  struct Where {
    DiskFileId file;
    uint64_t ring_bytes = 0;
    uint64_t tail = 0;  // where the live part begins
    TailWindow window;  // may be invalid
    uint64_t low = 0;   // of the window
    uint64_t end = 0;   // where the stream ends, if that is known; a block's first byte
  };
  StreamSource(Executor& executor, Disk& disk, Where where);

  uint64_t limit() const { return limit_; }
  // `bytes` (kBytesMax at most) at `at`, fewer only where limit() comes first; empty if they are not at hand.
  Bytes Have(uint64_t at, uint64_t bytes) const;
  // The same, fetched if need be.
  Task<Bytes> View(uint64_t at, uint64_t bytes);
  // Awaits what is under way; must have ended before the source goes.
  Task<void> Stop();

  uint64_t bytes_read() const { return bytes_read_; }
  uint64_t unreadable_blocks() const { return unreadable_; }

  static constexpr uint64_t kBytesMax = kPayloadBytesMax + 2 * kJournalBlockBytes;

 private:
  static constexpr uint64_t kChunkBytes = 1024 * 1024;

  // How much one transfer from `at` may take.
  uint64_t Extent(uint64_t at) const;
  void StartAhead(uint64_t at);
  // Appends the next chunk to what is held.
  Task<void> Extend();
  Task<void> ReadByBlock(uint64_t at, MutableBytes to);

  Executor& executor_;
  Disk& disk_;
  const Where where_;
  uint64_t limit_ = 0;
  BlockBuffer held_;  // the stream from base_ on, filled_ bytes
  uint64_t base_ = 0, filled_ = 0;
  BlockBuffer ahead_;  // ahead_bytes_ from ahead_at_ on; valid once ahead_request_ is done
  uint64_t ahead_at_ = 0, ahead_bytes_ = 0;
  DiskRequest ahead_request_;
  uint64_t bytes_read_ = 0, unreadable_ = 0;
};

}  // namespace mayfly
