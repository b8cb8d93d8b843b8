// What a shard keeps beside its namespace and its chunks, as fields of the journal (share/doc/format/images.md). Each
// is an after-image: a later one of the same key replaces it.
#pragma once

#include <vector>

#include "base/tlv.h"
#include "wire/messages.h"

namespace mayfly {

// 0x0301 is an answer (rpc/history.h).
constexpr Tag kTagSole = 0x0302, kTagLoan = 0x0303, kTagGeneration = 0x0304, kTagNextTxn = 0x0305, kTagOutcome = 0x0306,
              kTagIntent = 0x0307, kTagAttached = 0x0308, kTagJob = 0x0309, kTagRefusing = 0x030a, kTagOutbox = 0x030b;

// Who may hold unsent writes of a file. No process: nobody any more.
struct SoleImage {
  InodeId inode;
  ClientId process;
  static constexpr size_t kBytes = 16;
  template <class Io>
  void Fields(Io& io) {
    io(inode, process);
  }
};

// A place of the arena that a process writes into. bytes 0: it was taken back.
struct LoanImage {
  ClientId process;
  PlaceLoan loan;
  uint8_t slab_pages = 0;  // Arena::SlabPagesOf
  static constexpr size_t kBytes = 8 + 8 + 8 + 4 + 1;
  template <class Io>
  void Fields(Io& io) {
    io(process, loan, slab_pages);
  }
};

// The loan that is a process's outbox (wire/outbox.h), and as whom the shard does what it finds there. 0: it has none.
struct OutboxImage {
  ClientId process;
  uint64_t loan = 0;
  Cred cred;
  size_t encoded_bytes() const { return 8 + 8 + 4 + 4 + 4 + cred.groups.size() * 4; }
  template <class Io>
  void Fields(Io& io) {
    io(process, loan, cred);
  }
};

// A process that was told how to map the arena, until it is gone.
struct AttachedImage {
  ClientId process;
  bool attached = false;
  static constexpr size_t kBytes = 9;
  template <class Io>
  void Fields(Io& io) {
    io(process, attached);
  }
};

// A commit that was decided here, until every participant has acknowledged it: then `steps` is empty. What is not
// there was never decided, or is over: presumed abort.
struct OutcomeImage {
  struct Step {
    ShardId shard;
    TxnId id;
    bool first = false;  // decided before those that only change names
    static constexpr size_t kBytes = 13;
    template <class Io>
    void Fields(Io& io) {
      io(shard, id, first);
    }
  };
  TxnId txn;  // of the first step
  Nanos time = 0, mtime = 0;
  std::vector<Step> steps;
  bool refused = false;  // not written: by one who takes no changes before it has been started again
  size_t encoded_bytes() const { return 8 + 16 + 4 + steps.size() * Step::kBytes; }
  template <class Io>
  void Fields(Io& io) {
    io(txn, time, mtime, steps);
  }
};

// Something that this shard, as an inode's home, has begun at other shards, and takes up again if it dies in between.
enum class IntentKind : uint8_t {
  kNone = 0,       // it is done
  kDrop = 1,       // the chunks of a removed file
  kTruncate = 2,   // to `size`, as of `epoch`
  kAppend = 3,     // back to `size`, from which `bytes` were to be appended
  kRights = 4,     // of a directory, to its parts
  kPrivileged = 5  // suid or sgid of a file, to its shards
};
constexpr bool IsKnown(IntentKind k) { return k <= IntentKind::kPrivileged; }

struct IntentImage {
  uint64_t number = 0;  // counted up, never used again
  IntentKind kind = IntentKind::kNone;
  InodeId inode;
  uint64_t size = 0;            // kTruncate, kAppend
  uint64_t epoch = 0;           // kTruncate
  uint64_t bytes = 0;           // kAppend
  bool clear_mtime = false;     // kRights
  std::vector<ShardId> shards;  // kDrop, kTruncate
  size_t encoded_bytes() const { return 8 + 1 + 8 + 24 + 1 + 4 + shards.size() * 4; }
  template <class Io>
  void Fields(Io& io) {
    io(number, kind, inode, size, epoch, bytes, clear_mtime, shards);
  }
};

// A flush, or the end of the session, that the root's shard leads, so that a server that comes back takes it up.
enum class JobState : uint8_t {
  kForgotten = 0,
  kRuns = 1,
  kEnded = 2  // its outcome stands; of a stop that is final the servers have yet to leave
};
constexpr bool IsKnown(JobState s) { return s <= JobState::kEnded; }

struct JobImage {
  static constexpr size_t kReportBytesMax = 32 * 1024;
  uint64_t id = 0;  // also among the flusher's jobs
  JobState state = JobState::kForgotten;
  bool stop = false, flushes = false, keep = false, by_signal = false;
  FlushSpec spec;
  Nanos budget_until = 0;   // time of day; 0: no limit
  Code result = Code::kOk;  // kEnded
  std::string report;       // kEnded; what is longer than kReportBytesMax is not kept
  size_t encoded_bytes() const {
    return 8 + 1 + 4 + (3 * 4 + 4) + spec.source.size() + spec.target.size() + spec.pattern.size() + 8 + 1 + 4 +
           report.size();
  }
  template <class Io>
  void Fields(Io& io) {
    io(id, state, stop, flushes, keep, by_signal, spec, budget_until, result, report);
  }
};

// Nobody else may look at the file's size before it is done.
inline bool ChangesSize(const IntentImage& intent) {
  return intent.kind == IntentKind::kTruncate || intent.kind == IntentKind::kAppend;
}

}  // namespace mayfly
