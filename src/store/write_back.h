// Takes what was written into the arena to the chunk file: in the order in which it was committed, many writes under
// way at a time, flushed together when somebody waits. One thread, the store's.
// Invariants  B1  kept() = n: a loss of power takes nothing of the first n extents that were written (by the store's
//                 count, unwritten_ever).
//             B2  an extent keeps place and blocks until it is kept, also if it has ended meanwhile: a record that
//                 names it may become durable.
//             B3  writes to one block are under way one at a time: what lies in one reservation may share blocks.
//             B4  after a failed write, flush or read (B5) nothing is ever kept again (the disk's K5).
//             B5  what shares a block with others is written with what the disk has of them: the block is read first. A
//                 write that is torn there leaves the others' bytes as they are.
#pragma once

#include <array>
#include <deque>
#include <memory>

#include "os/block_buffer.h"
#include "os/disk.h"
#include "store/chunk_store.h"
#include "task/sync.h"

namespace mayfly {

struct WriteBackStats {
  uint64_t writes = 0, write_bytes = 0, extents = 0;
  uint64_t flushes = 0;
  uint64_t unkept = 0;  // extents
  bool failed = false;
};

class WriteBack {
 public:
  // All outlive it; `file` is closed with it. Without `flushes`, kept is what a kill of the process does not take.
  WriteBack(Executor* executor, Disk* disk, DiskFileId file, ChunkStore* store, bool flushes);
  ~WriteBack();  // after Stop
  WriteBack(const WriteBack&) = delete;
  WriteBack& operator=(const WriteBack&) = delete;

  // Once a turn of the loop, before the disk's Poll; true if it did anything.
  bool Turn();
  // How many extents were ever written, as of now.
  uint64_t written() const { return store_.extents_.unwritten_ever(); }
  uint64_t kept() const { return kept_; }  // B1
  // Whether it writes before somebody wants it.
  void SetEager(bool eager) { eager_ = eager; }
  // Somebody needs the first `n` to be kept.
  void Want(uint64_t n) { wanted_ = std::max(wanted_, n); }
  // Waits for that. kIo: B4; kTimedOut; kShutdown.
  Task<Status> Kept(uint64_t n, Nanos deadline);
  bool failed() const { return ended_ == Code::kIo; }
  // Nothing new; waits for what is under way.
  Task<void> Stop();

  WriteBackStats stats() const;

 private:
  using Extent = store_internal::Extent;
  static constexpr uint32_t kWritesMax = 16;
  static constexpr uint32_t kGatherBytes = 256 * 1024;  // of extents that are copied together, to be one write
  static constexpr uint32_t kCopyBytesMax = 32 * 1024;  // longer ones are written from where they lie
  static constexpr uint64_t kPutOffBytes = 4u << 20;    // so much of what others write meanwhile puts a flush off

  struct Write;
  // A block that an extent has only a part of.
  struct EdgeRead : Completion {
    Write* write = nullptr;
  };
  struct Write : Completion {
    WriteBack* owner = nullptr;
    uint64_t upto = 0;  // extents, with its own
    uint64_t offset = 0, bytes = 0;
    bool done = false;
    std::unique_ptr<BlockBuffer> gathered;  // kept from one use to the next
    // B5: of one extent, until all edges are there.
    Extent* shared = nullptr;
    uint32_t reading = 0;
    std::unique_ptr<BlockBuffer> blocks;
    std::array<EdgeRead, 2> edges;
  };
  struct FlushOp : Completion {
    WriteBack* owner = nullptr;
  };

  bool StartWrites();
  bool StartFlush();
  void Advance(uint64_t kept);
  bool Begin(Write* write);
  bool BeginShared(Write* write);
  bool WriteShared();
  Extent* Next();
  bool IsBusy(uint64_t offset, uint64_t bytes) const;
  uint64_t Gather(Write* write);
  bool SharesBlocks(const Extent* extent) const;
  void Start(Write* write, uint64_t offset, uint64_t bytes);
  void End(Write* write);
  static void OnEdge(Completion* self, Status status);
  static void OnWritten(Completion* self, Status status);
  static void OnFlushed(Completion* self, Status status);
  void Fail(std::string_view what, Status status);

  Executor& executor_;
  Disk& disk_;
  DiskFileId file_;
  ChunkStore& store_;
  const bool flushes_;
  bool eager_ = true;
  Extent* next_ = nullptr;     // taken from the store, not begun
  std::deque<Extent*> begun_;  // behind kept_: B2
  uint64_t kept_ = 0, on_disk_ = 0, begun_count_ = 0, wanted_ = 0;
  std::array<Write, kWritesMax> writes_;  // a queue
  uint32_t first_write_ = 0, write_count_ = 0;
  FlushOp flush_;
  bool flushing_ = false;
  uint64_t flush_covers_ = 0;
  uint64_t first_wanted_ = 0;   // of those who wait for the next flush; 0: nobody does
  uint64_t put_off_until_ = 0;  // count of bytes written, once that is on the disk
  Code ended_ = Code::kOk;
  WaitQueue waiters_, idle_;
  WriteBackStats counts_;
};

}  // namespace mayfly
