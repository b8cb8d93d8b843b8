// An outbox: a place that a shard lent to a process of its node (Loan), in which the process writes down what the shard
// is to do, and goes on. It tells the shard of many of these records in one message (Bundle); should it end before it
// has, the shard finds them there. What the shard reads is whatever the process wrote: it is copied before it is
// looked at.
// Invariants  X1  a slot holds one bundle at a time. The process alone writes it, but for `done`; it writes another one
//                 only once it has heard of the last.
//             X2  the first `bytes` bytes are whole records, whenever the process ends. One that stands there already
//                 changes in `closed` alone.
//             X3  the shard sets `done` once all that came of a bundle is in its journal, and before anybody hears of
//                 it. A bundle that is done is not done again.
#pragma once

#include <atomic>
#include <vector>

#include "base/bytes.h"
#include "wire/data_messages.h"
#include "wire/name_messages.h"

namespace mayfly {

struct OutboxSlot {
  std::atomic<uint64_t> serial;  // of its bundle, by the process: 1, 2, 3...; 0: there was none
  std::atomic<uint64_t> done;    // the last one that was done
  std::atomic<uint32_t> bytes;
  uint8_t unused[44];
  static constexpr size_t kBytes = 4096;
  static constexpr size_t kRecordsBytes = kBytes - 64;
  uint8_t records[kRecordsBytes];
};
static_assert(sizeof(OutboxSlot) == OutboxSlot::kBytes && std::atomic<uint64_t>::is_always_lock_free);

constexpr uint32_t kOutboxSlots = 4, kOutboxBytes = kOutboxSlots * OutboxSlot::kBytes;
constexpr uint32_t kOutboxRecordsMax = 64;  // of one bundle

inline OutboxSlot* OutboxSlotAt(MutableBytes outbox, uint32_t slot) {
  return reinterpret_cast<OutboxSlot*>(outbox.data() + slot * OutboxSlot::kBytes);
}

// A record: its kind, then its fields. `at`: when, by the node's monotonic clock.
enum class RecordKind : uint8_t {
  kBirth = 1,
  kContent = 2,
  kRemoval = 3,
};
constexpr bool IsKnown(RecordKind k) { return k >= RecordKind::kBirth && k <= RecordKind::kRemoval; }

// A file in a part of a directory that is the process's own, open by it unless it was closed meanwhile.
struct BirthRecord {
  static constexpr RecordKind kKind = RecordKind::kBirth;
  static constexpr size_t kClosedAt = 1;  // byte of the record
  bool closed = false;
  InodeId parent;
  InodeId inode;     // a number that was lent
  uint64_t tag = 0;  // of its grant
  uint32_t flags = 0;
  uint16_t permissions = 0;  // umask applied
  uint8_t chunk_bits = 0;
  Nanos at = 0;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(closed, parent, inode, tag, flags, permissions, chunk_bits, at, name);
  }
};

// All bytes of a small new file, as Commit. It is closed with it, unless its birth says that already. The place is used
// up unless the file is not there (kConflict).
struct ContentRecord {
  static constexpr RecordKind kKind = RecordKind::kContent;
  Nanos at = 0;
  CommitRequest commit;
  template <class Io>
  void Fields(Io& io) {
    io(at, commit);
  }
};

// Of a file that the process made in such a part.
struct RemovalRecord {
  static constexpr RecordKind kKind = RecordKind::kRemoval;
  InodeId parent;
  Nanos at = 0;
  std::string_view name;
  template <class Io>
  void Fields(Io& io) {
    io(parent, at, name);
  }
};

struct BundleRequest {
  uint64_t loan = 0;  // the outbox
  uint32_t slot = 0;
  uint64_t serial = 0;
  uint32_t bytes = 0;  // of records
  InodeId more;        // the directory whose numbers run out (OwnPart); 0: none does
  uint32_t core = 0;   // that the process runs on (os/cores.h)
  template <class Io>
  void Fields(Io& io) {
    io(loan, slot, serial, bytes, more, core);
  }
};
// Reply payload, unless all went well and nothing is lent.
struct BundleDone {
  struct Failed {
    uint16_t at = 0;  // which record
    Code code = Code::kIo;
    template <class Io>
    void Fields(Io& io) {
      io(at, code);
    }
  };
  std::vector<Failed> failed;
  std::vector<PlaceLoan> lent;  // as the records wished for
  bool own = false;
  OwnPart part;  // with `own`: further numbers
  static constexpr size_t kBytesMax =
      4 + kOutboxRecordsMax * 3 + 4 + kOutboxRecordsMax * 20 + 1 + 8 + 4 + 8 * OwnPart::kNumbers + 1 + 4;
  template <class Io>
  void Fields(Io& io) {
    io(failed, lent, own);
    if (own) io(part);
  }
};

}  // namespace mayfly
