// The journal of one shard: what changed, in order, in a ring on the disk, whose unwritten tail stands in memory that
// outlives the process. Append copies a record there (no system call, no wait); Turn, once a turn of the loop, writes
// behind and flushes for those who wait, in groups; checkpoints let the ring's tail move. Redo only: a record holds
// after-images. One thread owns it, drives `disk` and `executor`, and keeps both until Stop or Close has returned.
// Format: share/doc/format/journal.md; reading: recover.h.
// Invariants  J1  a record is in the region before Append returns: a kill loses nothing that was appended.
//             J2  Durable(lsn) resolves only after a flush that was asked for after the writes of all before `lsn` had
//                 completed, or after a write through of all that no such flush had covered. Who asks while either is
//                 under way is in the next group.
//             J3  a block that was flushed is never written again until the ring's tail has passed it: before a flush
//                 the stream is padded to the block's end.
//             J4  nothing at or behind the tail of the last durable superblock is written over.
//             J5  after a failed write or flush the journal has failed for good: Append, Durable, WaitForRoom give
//                 kIo (the disk's K5). At level `process` too: the region is not the place to collect what no disk
//                 takes, and a shard that goes read-only loses nothing.
//             J7  with HoldBack nothing goes to the disk before Release said that it may: what records speak of is
//             there
//                 first.
//             J6  no LSN is used twice: what recovery found no record at is never gone back to.
//             J8  where a loss of power is survived, Open makes what the region alone had durable at one moment,
//                 all of it or nothing: who opens has brought to the disk what the last of these records speak of,
//                 and not what earlier ones spoke of and
//                 later ones took back.
//             J9  where a loss of power is not survived and the ring lies in memory that can be written to directly
//                 (Disk::Map), Append writes into the ring, and there is no window: nothing is copied twice. J1 holds,
//                 as that memory outlives the process too; the region says how far the stream goes.
#pragma once

#include <array>
#include <memory>

#include "journal/recover.h"
#include "os/block_buffer.h"
#include "task/disk_request.h"
#include "task/sync.h"

namespace mayfly {

class CheckpointWriter;

struct JournalOptions {
  JournalIdentity identity;
  uint64_t ring_bytes = 256 * 1024 * 1024;  // CheckJournalBytes; of a new journal
  uint64_t window_bytes = 4 * 1024 * 1024;  // CheckWindowBytes; of a new tail region
  // A group begins so long after its first record, whether or not somebody waits for it; 0: when somebody waits.
  Nanos commit_interval = 0;
  bool survives_power = true;  // or a kill alone: what the system has of the files is as good as what the device has
};

struct JournalStats {
  uint64_t ring_bytes = 0, window_bytes = 0;
  uint64_t live_bytes = 0;       // of the ring, from its tail on
  uint64_t unwritten_bytes = 0;  // of them, in the region alone
  uint64_t unflushed_bytes = 0;
  uint32_t incarnation = 0;
  bool failed = false;
  // Since it was opened:
  uint64_t records = 0, record_bytes = 0, pads = 0, pad_bytes = 0;
  uint64_t writes = 0, write_bytes = 0;
  uint64_t groups = 0;         // commits: one flush each
  uint64_t group_waiters = 0;  // that they released; / groups is the mean size
  uint64_t group_waiters_max = 0;
  uint64_t flushes = 0;  // of groups and of superblocks
  uint64_t superblocks = 0;
  uint64_t stalls = 0;   // waits for room
  Nanos stalled = 0;     // the time of all of them together
  uint64_t refused = 0;  // Append without room
  uint64_t checkpoints = 0, checkpoints_failed = 0, checkpoint_bytes = 0;
};

class Journal {
 public:
  // What Turn tries to write at once, and what it waits to have.
  static constexpr uint64_t kWriteBytesMin = 64 * 1024, kWriteBytesMax = 1024 * 1024;

  // A new journal: the files must not be there (kExists). kNoSpace, kInvalid (sizes), kIo.
  static Task<Result<std::unique_ptr<Journal>>> Create(Executor* executor, Disk* disk, KeptMemory* kept,
                                                       JournalOptions options);
  // Goes on behind what Recover found. The region that it found, if any, is kept as it is. `first`: fields of a record
  // that is in the region as soon as the journal counts as opened; short.
  static Task<Result<std::unique_ptr<Journal>>> Open(Executor* executor, Disk* disk, KeptMemory* kept,
                                                     JournalOptions options, Recovered recovered, Bytes first = {});
  ~Journal();
  Journal(const Journal&) = delete;
  Journal& operator=(const Journal&) = delete;

  // Appends a record (tagged fields) and gives the LSN behind it, for Durable. kTooBig: more than payload_max();
  // kNoSpace: region or ring are full; kIo: J5; kShutdown: after Close or Stop.
  Result<Lsn> Append(Bytes fields, TxnId transaction = TxnId());
  uint64_t payload_max() const { return payload_max_; }
  Lsn head() const { return Lsn(head_); }
  Lsn durable() const { return Lsn(durable_); }

  // Whether work that will append up to `bytes` of fields, in one record or several, may begin. A reserve is kept
  // beyond it for work that has begun: a quarter of the region, an eighth of the ring.
  bool HasRoom(uint64_t bytes) const { return head_ + RecordHeader::SpanOf(bytes) <= soft_limit_; }
  // Waits for that, first come first served. kTimedOut, kIo, kShutdown. kTooBig if there never will be.
  Task<Status> WaitForRoom(uint64_t bytes, Nanos deadline);

  // J7. From now on, what is appended waits in the region for Release: of all before `lsn`.
  void HoldBack() { released_ = head_; }
  void Release(Lsn lsn);
  // Something would be written if it were released.
  bool WantsRelease() const;

  // As Durable, for who looks at durable() instead of waiting.
  void Want(Lsn lsn) {
    wanted_ = std::max(wanted_, lsn.value);
    ++asked_;
  }
  // J2. kIo, kTimedOut (it may become durable all the same), kShutdown.
  Task<Status> Durable(Lsn lsn, Nanos deadline);

  // Once a turn of the loop, before the disk's Poll; true if it did anything.
  bool Turn() { return ended_ == Code::kOk && !is_quiet() && TurnNow(); }
  // When Turn must be called at the latest, for a loop that sleeps; kNever if it need not.
  Nanos next_turn() const;

  // Whether a checkpoint is due: half the ring is live, or the journal was opened often since the last.
  bool WantsCheckpoint() const {
    constexpr uint32_t kJointsMany = 8;
    return head_ - tail_ > ring_bytes_ / 2 || superblock_.joint_count > kJointsMany;
  }
  // A checkpoint of the state as of now; nothing is suspended between this and the first change it does not hold.
  // kBusy: one is being written; kIo.
  Result<std::unique_ptr<CheckpointWriter>> BeginCheckpoint();

  // Everything flushed, the superblock marked clean, the region removed; then as Stop. The next recovery searches for
  // nothing.
  Task<Status> Close();
  // No more of anything; waits for what is under way. The journal on the disk is as if the process had been killed.
  Task<void> Stop();

  bool failed() const { return ended_ == Code::kIo; }  // J5
  // What Append writes to, to be touched before its pages are needed. Until Close or Stop.
  MutableBytes memory() const { return window_.all(); }
  JournalStats stats() const;
  const Superblock& superblock() const { return superblock_; }

 private:
  friend class CheckpointWriter;
  struct WriteOp : Completion {
    Journal* journal = nullptr;
    uint64_t to = 0;
    bool done = false;
    bool through = false;  // and is all that its group waits for
  };
  struct FlushOp : Completion {
    Journal* journal = nullptr;
  };
  struct Change {
    bool clean = false;
    bool has_checkpoint = false;
    CheckpointRef checkpoint;
  };
  static constexpr uint32_t kWritesMax = 8;
  // Room for the padding of a block's rest, which may run over the next block.
  static constexpr uint64_t kPadRoom = 2 * kJournalBlockBytes;

  Journal(Executor& executor, Disk& disk, KeptMemory& kept, const JournalOptions& options);

  static Status CreateFiles(Disk& disk, const JournalOptions& options);
  static Task<Status> Refresh(Journal* journal);
  Status OpenFiles();
  Status AdoptRegion(const Recovered& recovered);
  // J9; empty: it is none of these.
  MutableBytes RingInMemory();
  Status CreateRegion(uint64_t low, uint64_t window_bytes);
  // All of an adopted region: what a joint says came before it is on the disk.
  Task<Status> WriteAgain(uint64_t from, uint64_t to);
  Task<Status> WriteOut(uint64_t upto);
  // `flushed`: all before it is known to be.
  Task<Status> WriteOutAtOnce(uint64_t flushed);
  void SetLimits();
  bool TurnNow();
  // Nobody waits and there is nothing to write; the answer of most turns where all is in the ring at once.
  bool is_quiet() const {
    return in_ring_ && !group_ && wanted_ <= durable_ && room_waiters_.empty() && options_.commit_interval == 0 &&
           head_ - superblock_head_ < ring_bytes_ / 8;
  }
  void Put(RecordType type, Bytes payload, TxnId transaction);
  void Appended();
  void Pad();
  bool StartGroup(Nanos now);
  bool StartWrites();
  bool StartFlush();
  // One piece that may be written through, and is all of the group.
  bool IsWholeGroup(uint64_t bytes) const;
  void StartWrite(uint64_t bytes);
  static void OnWritten(Completion* self, Status status);
  static void OnFlushed(Completion* self, Status status);
  void EndGroup(const char* what, Status status, uint64_t covers);
  void SetDurable(uint64_t durable);
  void WakeRoom();
  void WakeAll();
  void Fail(std::string_view what, Status status);
  void CloseFiles();
  Task<Status> WriteSuperblock(Change change);
  Task<Status> WriteSuperblockAlone(Change change);

  Executor& executor_;
  Disk& disk_;
  KeptMemory& kept_;
  const JournalOptions options_;
  const uint32_t session_;
  const bool writes_through_;  // the disk can
  uint64_t ring_bytes_;
  uint64_t payload_max_ = 0;
  DiskFileId file_, checkpoint_files_[2];
  TailWindow window_;
  bool registered_ = false;  // its region, with the disk
  bool in_ring_ = false;     // J9
  Superblock superblock_;    // the last that is durable

  // Places in the stream: tail_ <= durable_ <= low_ <= issued_ <= head_.
  uint64_t tail_ = 0;     // recovery begins here
  uint64_t durable_ = 0;  // flushed before
  uint64_t low_ = 0;      // written before
  uint64_t issued_ = 0;   // given to the disk before
  uint64_t head_ = 0;     // the next record
  uint64_t hard_limit_ = 0, soft_limit_ = 0;

  std::array<WriteOp, kWritesMax> writes_;  // a queue
  uint32_t first_write_ = 0, write_count_ = 0;
  FlushOp flush_;
  bool flushing_ = false;
  uint64_t flush_covers_ = 0;
  bool group_ = false;                    // one is under way
  uint64_t group_target_ = 0;             // its end
  uint64_t wanted_ = 0;                   // somebody waits for it to be durable
  uint64_t waiters_ = 0;                  // in durable_waiters_
  uint64_t asked_ = 0;                    // by Want, since the last group began
  uint64_t released_ = kNever;            // J7
  uint64_t pad_begin_ = 0, pad_end_ = 0;  // the last
  uint64_t group_waiters_ = 0;
  Nanos committed_at_ = 0;
  WaitQueue durable_waiters_, idle_;

  struct RoomWaiter {
    uint64_t bytes = 0;
  };
  std::deque<RoomWaiter*> room_waiters_;  // in the order of room_queue_
  WaitQueue room_queue_;

  Code ended_ = Code::kOk;  // kIo: failed; kShutdown: stopped
  bool closing_ = false;
  BlockBuffer superblock_block_;
  bool superblock_busy_ = false;
  uint64_t superblock_head_ = 0;  // head_ when the last was written
  WaitQueue superblock_free_;
  bool checkpoint_running_ = false;
  uint64_t checkpoint_sequence_ = 0;
  Gate gate_;
  JournalStats counts_;
};

}  // namespace mayfly
