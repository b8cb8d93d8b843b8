// Bytes of files: sent to the shard of their chunk, which a client of its node may have mapped. Each request shows the
// grant of its open (types.h), but for those of peers. Part of wire/messages.h, which has the table of methods.
#pragma once

#include "wire/types.h"

namespace mayfly {

// Payload: the bytes. `sums`: XXH3 of each 64 KiB block of the payload, or none.
struct WriteRequest {
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;  // within the chunk
  uint8_t chunk_bits = 0;
  Grant grant;  // to write
  // Of a peer that appends, as in FileJoinReply, + 1: stored only while this shard is at it. A home that died in the
  // middle of an append cuts the file back when it is started again, and nothing of it may come after that. 0: any.
  uint64_t epoch = 0;
  absl::InlinedVector<uint64_t, 8> sums;
  template <class Io>
  void Fields(Io& io) {
    io(inode, chunk, offset, chunk_bits, grant, epoch, sums);
  }
};

struct ReadRequest {
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;
  uint32_t bytes = 0;  // at most kTransferBytesMax
  uint8_t chunk_bits = 0;
  bool want_sums = false;
  bool mapped = false;  // by a process that has the arena mapped: it wants to know where the bytes lie
  Grant grant;          // to read
  template <class Io>
  void Fields(Io& io) {
    io(inode, chunk, offset, bytes, chunk_bits, want_sums, mapped, grant);
  }
};
// Payload: the bytes of the parts that are no hole, in order; or, if they were asked for `mapped`, `runs` that hold
// them. The parts may cover less than was asked: when `cut`, ask again from there; otherwise this shard knows of
// nothing beyond (a hole or the end: the file's size tells).
struct ReadReply {
  absl::InlinedVector<Part, 4> parts;
  bool cut = false;
  bool size_known = false;  // the home answered for a file whose chunks are all here: `size` is exact
  uint64_t size = 0;
  absl::InlinedVector<PlacedRun, 4> runs;
  uint32_t stamp = 0;  // the sum of the stamps of the runs (os/arena_memory.h)
  template <class Io>
  void Fields(Io& io) {
    io(parts, cut, size_known, size, runs, stamp);
  }
};

// ---- writing into the arena, by a client on the server's node that has it mapped -----------------------------------
// A place is lent to a process until it is committed, returned, or the process is gone. ArenaName's reply payload: the
// name to attach by (os/arena_view.h), empty if nobody can.

struct LoanRequest {
  uint64_t loan = 0;    // its number: the process's choice, never the same twice
  uint32_t bytes = 0;   // at most kTransferBytesMax
  bool ahead = false;   // of need: refused while little memory is free
  bool outbox = false;  // of kOutboxBytes (wire/outbox.h); a process has one at most
  template <class Io>
  void Fields(Io& io) {
    io(loan, bytes, ahead, outbox);
  }
};
struct LoanReply {
  PlaceLoan loan;
  template <class Io>
  void Fields(Io& io) {
    io(loan);
  }
};
// As Write, for bytes that lie at the front of a lent place. The loan is used up, whatever the answer, but for
// kConflict: with `closes`, the file is not there yet. The reply's loan is the next one, if one was wished for and
// there is memory enough.
struct CommitRequest {
  uint64_t loan = 0;
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;  // within the chunk
  uint32_t bytes = 0;
  uint8_t chunk_bits = 0;
  uint64_t next = 0;        // number of the next loan
  uint32_t next_bytes = 0;  // 0: none is wanted
  absl::InlinedVector<uint64_t, 8> sums;
  Grant grant;          // to write
  bool closes = false;  // to the home: once the bytes are the file's, one open by this process ends, as by Close
  template <class Io>
  void Fields(Io& io) {
    io(loan, inode, chunk, offset, bytes, chunk_bits, next, next_bytes, sums, grant, closes);
  }
};
struct ReturnRequest {
  std::vector<uint64_t> loans;  // at most kLoansMax; unknown ones are passed over
  static constexpr uint32_t kLoansMax = 128;
  template <class Io>
  void Fields(Io& io) {
    io(loans);
  }
};

// To the home, which places the data. Payload and sums as in WriteRequest.
struct AppendRequest {
  InodeId inode;
  Grant grant;  // to write
  absl::InlinedVector<uint64_t, 8> sums;
  template <class Io>
  void Fields(Io& io) {
    io(inode, grant, sums);
  }
};
struct OffsetReply {
  uint64_t offset = 0;
  bool found = false;  // ChunkSeek: there is one on this shard
  template <class Io>
  void Fields(Io& io) {
    io(offset, found);
  }
};

// ChunkReserve, ChunkPunch: to the shard of the chunk. Extend: to the home (chunk and offset unused).
struct RangeRequest {
  InodeId inode;
  ChunkIndex chunk;
  uint32_t offset = 0;
  uint64_t bytes = 0;  // Extend: the least size the file has afterwards
  uint8_t chunk_bits = 0;
  Grant grant;  // to write
  template <class Io>
  void Fields(Io& io) {
    io(inode, chunk, offset, bytes, chunk_bits, grant);
  }
};
// The next data, or hole, at or after file offset `from` on the asked shard; for a hole within chunk `from` lies in.
struct SeekRequest {
  InodeId inode;
  uint64_t from = 0;
  bool hole = false;
  uint8_t chunk_bits = 0;
  Grant grant;  // any: lseek goes wherever a file is open
  template <class Io>
  void Fields(Io& io) {
    io(inode, from, hole, chunk_bits, grant);
  }
};

}  // namespace mayfly
