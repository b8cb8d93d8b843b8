// Moves the bytes of files: cuts a range into pieces (one chunk, one message of at most 4 MiB each), keeps several in
// flight, makes and verifies checksums, and puts holes where they belong. Belongs to a lane; no state between calls.
// Invariants  P1  a piece never crosses a chunk.
//             P2  no byte is handed out whose checksum does not fit; a mismatch is asked for once more, then kIo.
//             P3  zeros are handed out only for what was a hole when it was read: where a shard knows of nothing and
//                 the file goes on, it is asked again after the size was.
//             P4  a shard of this node whose arena is mapped gets large pieces by a copy into a place that it lent, and
//                 gives them by a copy from where they lie: only the place travels (mapped_path.cc). Where that does
//                 not work out the bytes are sent.
#pragma once

#include "client/mount.h"
#include "client/open_file.h"
#include "rpc/caller.h"
#include "task/executor.h"
#include "task/task.h"

namespace mayfly {

// Which file, and the right to it. A value.
struct FileId {
  InodeId inode;
  uint8_t chunk_bits = kChunkBitsDefault;
  Grant grant;  // of the open
};

class DataPath {
 public:
  static constexpr uint32_t kInFlight = 16;  // pieces of one call
  // Smaller pieces are sent: their copy costs less than what a place costs beside the message.
  static constexpr size_t kMappedWriteMin = 8 * 1024, kMappedReadMin = 8 * 1024;

  DataPath(Executor& executor, Caller& caller, Mount& mount) : executor_(executor), caller_(caller), mount_(mount) {}

  // One past the last byte that a file can have.
  static uint64_t SizeMax(uint8_t chunk_bits);

  // Reads [offset, offset + to.size()); the count, less than that only at the end of the file. `size_hint`: how long
  // the file may be, so that a small file does not cost messages about what lies behind it.
  Task<Result<size_t>> Read(FileId file, uint64_t offset, MutableBytes to, uint64_t size_hint);
  // Where all of [offset, offset + bytes) lies, in one piece in a mapped arena; invalid where it does not, or where
  // bytes are to be verified when they are copied.
  Task<Placed> Where(FileId file, uint64_t offset, size_t bytes);
  // Where a small file lies, by what its home said when it was opened by a request of `asked`.
  Content ContentOf(const Attr& attr, const PlacedFile& told, Nanos asked);
  // The arena of a shard if it is mapped, or can be now; else null.
  Task<ArenaView*> ArenaOf(ShardId shard);
  // The count: a prefix of `data` when a later piece failed. kFileTooBig at the limit.
  Task<Result<size_t>> Write(FileId file, uint64_t offset, Bytes data);
  // A place of its shard's arena for what will be written from `offset` on, up to `bytes` and within one chunk; invalid
  // where there is none to be had ahead of need. CommitLent makes its first `bytes` bytes the content at `offset`
  // and uses the place up; where that does not work out (false) they can be sent: the place is gone for the shard then,
  // but not before this process lets go of the arena. A place that is not worth a commit is not tried.
  Task<Lent> BorrowFor(FileId file, uint64_t offset, size_t bytes);
  // Of each block; none if this process sends none.
  using Sums = absl::InlinedVector<uint64_t, 8>;
  Sums SumsOf(Bytes data) const;
  // `closing`: with it one open of the file ends, if that can be said in the same message.
  enum class Closing : uint8_t { kNo, kWanted, kDone, kUnheard };
  static bool IsToCommit(FileId file, uint64_t offset, const Lent& lent, size_t bytes) {
    constexpr uint32_t kAnyMax = 512;  // a place that small is not worth keeping for more
    const bool fills = bytes >= kMappedWriteMin || lent.loan.bytes / 2 <= bytes || lent.loan.bytes <= kAnyMax;
    return fills && PieceAt(file, offset, bytes).bytes == bytes;
  }
  // What says so, where IsToCommit. `sums`: SumsOf what is in the place.
  void FillCommit(FileId file, uint64_t offset, const Lent& lent, size_t bytes, Sums sums, CommitRequest* request);
  // A place of kOutboxBytes for this process's outbox there; invalid: there is none to be had.
  Task<Lent> BorrowOutbox(ShardId shard);
  // The call ended without an answer: it may have been served.
  static bool IsUnheard(const Status& status) {
    return status.code() == Code::kTimedOut || status.code() == Code::kUnavailable || status.code() == Code::kShutdown;
  }
  Task<bool> CommitLent(FileId file, uint64_t offset, Lent lent, size_t bytes, Sums sums, Closing* closing,
                        Status* status);
  // At the end of the file, wherever it is; atomic up to 4 MiB. *end: behind the last byte that was appended.
  Task<Result<size_t>> Append(FileId file, Bytes data, uint64_t* end);
  // fallocate's two kinds, on the chunks of [offset, offset + bytes): space for it, or a hole in it.
  enum class Range : uint8_t { kReserve, kPunch };
  Task<Status> ForRange(FileId file, Range kind, uint64_t offset, uint64_t bytes);
  // The next data or hole at or after `from`, which is below `size`; kNoDevice: no data from there on.
  Task<Result<uint64_t>> Seek(FileId file, uint64_t from, bool hole);

  // By handle, from the home.
  Task<Result<Attr>> GetAttr(InodeId inode, bool exact);

 private:
  struct Piece {
    ChunkIndex chunk;
    uint32_t offset = 0;  // within the chunk
    uint32_t bytes = 0;
  };
  // What a piece's read came to: `covered` bytes are right; less than asked where the shard knew of nothing more.
  struct Got {
    uint32_t covered = 0;
    bool size_known = false;
    uint64_t size = 0;
  };
  static Piece PieceAt(FileId file, uint64_t offset, uint64_t bytes);  // P1
  Nanos Deadline() { return executor_.now() + mount_.options().op_timeout; }
  ShardId ShardOf(FileId file, ChunkIndex chunk) const {
    return mount_.placement().ChunkShard(file.inode.home(), chunk);
  }

  ReadRequest RequestFor(FileId file, Piece piece, bool mapped) const;
  Task<Status> ReadPiece(FileId file, Piece piece, MutableBytes to, Got* got);
  Task<Status> Ask(FileId file, Piece piece, MutableBytes to, ReadReply* reply, uint32_t* covered);
  Task<Status> WritePiece(FileId file, Piece piece, Bytes data);
  // mapped_path.cc
  // After Arenas::BeginAsking. *arena: null if it cannot be mapped.
  Task<Status> AskForArena(ShardId shard, ArenaView** arena);
  // False: the bytes must be sent; else *status is the outcome.
  Task<bool> WriteMapped(ArenaView* arena, ShardId shard, FileId file, Piece piece, Bytes data, Status* status);
  // `ahead`: of need, so the shard may refuse. False: there is none; *status is not ok if asking failed altogether.
  Task<bool> Borrow(ArenaView* arena, ShardId shard, uint32_t bytes, bool ahead, Lent* lent, Status* status);
  // All but sums and `closes`.
  void Fill(FileId file, Piece piece, const Lent& lent, CommitRequest* request);
  Task<bool> Commit(FileId file, Piece piece, Lent lent, Sums sums, Closing* closing, Status* status);
  enum class Copied : uint8_t { kOk, kMoved, kDamaged };
  Copied CopyMapped(ArenaView* arena, const ReadReply& reply, MutableBytes to);
  Task<Status> RangePiece(FileId file, Range kind, Piece piece);
  Task<Status> ReadStride(FileId file, uint64_t offset, MutableBytes to, size_t* done, bool* ended);
  Task<Status> SeekAt(FileId file, ShardId shard, uint64_t from, bool hole, OffsetReply* reply);

  Executor& executor_;
  Caller& caller_;
  Mount& mount_;
};

}  // namespace mayfly
